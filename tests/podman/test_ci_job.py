"""A job of the workflow, its own steps in a fresh clone and a storage without images; and images handed over."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ci_job import Job, main
from product import ROOT, Podman, Project, edit, free_ports

from infra import bootstrap

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
def machine(archive: Path) -> Iterator[Job]:
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
        _warm(job.source)
        yield job
    finally:
        _remove(folder)


def _warm(source: Path) -> None:
    """Make the clone's .venv one that has been made before, of what this python has: pip would take most of the time.

    `bootstrap` finds it current. What it does where there is none, `tests/test_bootstrap.py` sees, and the soak below.
    """
    venv = source / ".venv"
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(venv)], check=True)
    (library,) = venv.glob("lib/python*/site-packages")
    (library / "warm.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    for name in ("nox", "invoke"):
        script = venv / "bin" / name
        script.write_text(f"#!{venv}/bin/python\nimport runpy\nrunpy.run_module('{name}', run_name='__main__')\n")
        script.chmod(0o755)
    (venv / "stamp.json").write_text(json.dumps(bootstrap._stamp(source)))
    assert bootstrap._current(source)


@pytest.mark.soak
def test_the_whole_workflow_runs_on_machines_that_have_nothing_of_it(tmp_path: Path) -> None:
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(yaml.load((ROOT / ".github/workflows/suites.yml").read_text(), yaml.BaseLoader)))
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="jobs-"))
    try:
        assert main(workflow, ROOT, folder, "integration-gateway") == 0
    finally:
        for machine in folder.iterdir():
            _remove(machine)
        folder.rmdir()


def _remove(machine: Path) -> None:
    # Podman mounts the storage onto itself.
    subprocess.run(["umount", str(machine / "containers/graph/overlay")], check=False, capture_output=True)
    shutil.rmtree(machine, ignore_errors=True)


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


def test_half_an_archive_is_one_message_and_loads_nothing(archive: Path, project: Project, tmp_path: Path) -> None:
    half = tmp_path / "half.tar"
    half.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    done = project.invoke("images.load", "--file", str(half))
    assert (done.code, done.out) == (78, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"invalid: {half} is no whole archive of images: unexpected end of data; to do: ls -l ")
    assert second.startswith("  blame: user; ")


def test_a_damaged_archive_of_full_length_is_one_message_and_loads_nothing(
    archive: Path, project: Project, tmp_path: Path
) -> None:
    bad, data = tmp_path / "bad.tar", bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        layer = max(tar, key=lambda member: member.size)
    data[layer.offset_data + layer.size // 2] ^= 1
    bad.write_bytes(data)
    done = project.invoke("images.load", "--file", str(bad))
    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"invalid: {bad} is no whole archive of images: the bytes of {layer.name} are not those")
    assert done.err.splitlines()[1].startswith("  blame: user; ")


def test_an_archive_that_cannot_be_written_is_said_before_anything_is_built(project: Project, tmp_path: Path) -> None:
    before = sorted(project.runs.glob("*"))
    done = project.invoke("images.save", "--service", "gateway", "--file", str(tmp_path / "no" / "images.tar"))
    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(
        f"invalid: {tmp_path}/no/images.tar cannot be written: No such file or directory; to do: ls -ld {tmp_path}/no;"
    )
    assert sorted(project.runs.glob("*")) == before
    assert list(tmp_path.iterdir()) == []
