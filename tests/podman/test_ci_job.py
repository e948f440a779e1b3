"""A job of the workflow, its own steps in a fresh clone and a storage without images; and images handed over."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ci_job import Job
from product import ROOT, Podman, Project, edit, free_ports

GATEWAY = {"session": "integration-gateway", "service": "gateway", "tier": "integration", "language": "go"}
SUITE = "Run the suite"


@pytest.fixture(scope="module")
def archive(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the job `images` hands to the others, of one service."""
    file = tmp_path_factory.mktemp("artifacts") / "images" / "images.tar"
    file.parent.mkdir()
    done = project.invoke("images.save", "--service", "gateway", "--tier", "integration", "--file", str(file))
    assert done.code == 0, done.text
    print(done.lines[-1])
    return file


@pytest.fixture(scope="module")
def machine(archive: Path, podman: Podman) -> Iterator[Job]:
    """A machine of a job's own: a clone, and no image."""
    workflow = dict(yaml.load((ROOT / ".github/workflows/suites.yml").read_text(), yaml.BaseLoader))
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="job-"))  # short: sockets are in it
    job = Job(
        name="integration",
        definition=workflow["jobs"]["integration"],
        workflow=workflow,
        repository=ROOT,
        machine=folder,
        artifacts=archive.parents[1],
        needs={"images": {"result": "success"}},
        matrix=GATEWAY,
    )
    try:
        job.set_up()
        # Other tests have that port.
        port = free_ports(1)[0]
        edit(job.source / "infra/catalog/services/gateway.toml", "redis = 16380", f"redis = {port}")
        yield job
    finally:
        _remove(job, podman)


def _remove(job: Job, podman: Podman) -> None:
    theirs = Podman(storage(job) | dict(podman.env) | storage(job))
    if (job.machine / "containers" / "graph").is_dir():
        root = theirs("info", "--format", "{{.Store.GraphRoot}}").out.strip()
        assert root == str(job.machine / "containers" / "graph")
        theirs("rmi", "--all", "--force", check=False)
        subprocess.run(["umount", f"{root}/overlay"], check=False, capture_output=True)
    shutil.rmtree(job.machine, ignore_errors=True)


def storage(job: Job) -> dict[str, str]:
    return {"CONTAINERS_STORAGE_CONF": str(job.machine / "containers" / "storage.conf")}


def report_of(job: Job) -> Mapping[str, Any]:
    return dict(json.loads((job.source / ".infra/runs/latest/report.json").read_text()))


@pytest.fixture(scope="module")
def ran(machine: Job) -> Job:
    """The job after its last step."""
    for step in machine.definition["steps"]:
        machine.step(step)
    return machine


def test_every_step_of_the_job_succeeds(ran: Job) -> None:
    assert ran.result == "success", ran.told
    assert {name: code for name, code in ran.codes.items() if code} == {}
    assert list(ran.told) == ["Set up", "Load the images", SUITE, "Remove what is left"]


def test_with_the_images_of_another_job_nothing_is_built_or_pulled(ran: Job) -> None:
    images = [step for step in report_of(ran)["steps"] if step["name"].startswith("image ")]
    assert [step["name"] for step in images] == ["image debian", "image redis"]
    assert [step["note"].partition(",")[0] for step in images] == ["unchanged", "unchanged"]
    assert f"loaded 2 images from {ran.machine}/temp/images.tar" in ran.told["Load the images"]


def test_the_console_folds_and_the_summary_is_written(ran: Job) -> None:
    assert "::group::stack of gateway integration\n" in ran.told[SUITE]
    summary = (ran.machine / "runner" / "step_summary").read_text()
    assert summary.startswith("### gateway integration: passed\n")
    assert "| suite | passed |" in summary


def test_what_is_kept_of_a_job_that_passed_is_junit_alone(ran: Job) -> None:
    kept = sorted(path.name for path in ran.artifacts.iterdir() if path.name != "images")
    assert kept == ["junit-integration-gateway"]
    assert list((ran.artifacts / kept[0]).rglob("junit.xml"))


def test_a_cancelled_job_ends_by_itself_removes_everything_and_is_kept(ran: Job, podman: Podman) -> None:
    theirs = Podman(dict(podman.env) | storage(ran))

    def is_up() -> bool:
        return any(row["State"] == "running" for row in theirs.rows("ps", "--all"))

    ran.cancel = lambda step: is_up if step.get("name") == SUITE else None
    steps = ran.definition["steps"]
    at = next(index for index, step in enumerate(steps) if step.get("name") == SUITE)
    for step in steps[at:]:
        ran.step(step)
    assert ran.result == "cancelled"
    assert ran.codes[SUITE] > 0, "nox ended by itself, not by a kill"
    assert ran.codes["Remove what is left"] == 0
    assert theirs.rows("ps", "--all") == []
    report = report_of(ran)
    assert (report["outcome"], report["left_behind"]) == ("interrupted", [])
    kept = ran.artifacts / "run-integration-gateway" / ".infra" / "runs" / report["run"]
    assert {"report.json", "junit.xml", "diagnosis.md"} <= {path.name for path in kept.iterdir()}


def test_a_whole_archive_is_loaded_and_says_what_was_there(archive: Path, project: Project) -> None:
    done = project.invoke("images.load", "--file", str(archive))
    assert (done.code, done.err) == (0, "")
    assert "loaded 0 images from" in done.lines[-1]
    assert "2 were there" in done.lines[-1]


def _half(archive: Path, bad: Path) -> None:
    data = archive.read_bytes()
    bad.write_bytes(data[: len(data) // 2])


def _without_the_last_blob(archive: Path, bad: Path) -> None:
    with tarfile.open(archive) as whole, tarfile.open(bad, "w") as part:
        for member in whole.getmembers()[:-2]:
            part.addfile(member, whole.extractfile(member))


def _zipped_text(_: Path, bad: Path) -> None:
    bad.write_bytes(gzip.compress(b"hello"))


def _another_tar(_: Path, bad: Path) -> None:
    with tarfile.open(bad, "w") as tar:
        tar.add(ROOT / "tasks.py", "../tasks.py")


def _newer(_: Path, bad: Path) -> None:
    index = bad.with_name("images.json")
    index.write_text('{"schema": 2, "images": {}}')
    with tarfile.open(bad, "w") as tar:
        tar.add(index, "images.json")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_half, "unexpected end of data"),
        (_without_the_last_blob, "it lacks "),
        (_zipped_text, "truncated header"),
        (_another_tar, "it holds '../tasks.py'"),
        (_newer, "what it says of itself cannot be read"),
        (lambda _, bad: bad.write_bytes(b""), "empty file"),
        (lambda _, bad: bad.mkdir(), "Is a directory"),
    ],
    ids=["half", "lacks", "text", "another", "newer", "empty", "folder"],
)
def test_what_is_no_whole_archive_is_one_message(
    spoil: Callable[[Path, Path], object], says: str, archive: Path, project: Project, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tar"
    spoil(archive, bad)
    done = project.invoke("images.load", "--file", str(bad))
    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"invalid: {bad} is no whole archive of images: {says}")
    assert [line for line in done.err.splitlines() if not line.startswith(("invalid: ", "  blame: user"))] == []


def test_a_file_that_is_not_there_and_one_that_cannot_be_written_are_one_message_each(
    project: Project, tmp_path: Path
) -> None:
    done = project.invoke("images.load", "--file", str(tmp_path / "none.tar"))
    assert (done.code, done.err.startswith(f"invalid: there is no file {tmp_path}/none.tar; to do: ")) == (78, True)
    before = sorted(project.runs.glob("*"))
    done = project.invoke("images.save", "--service", "gateway", "--file", str(tmp_path / "no" / "images.tar"))
    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(
        f"invalid: {tmp_path}/no/images.tar cannot be written: No such file or directory; to do: "
    )
    assert sorted(project.runs.glob("*")) == before, "nothing was built for it"
    assert list(tmp_path.iterdir()) == []
