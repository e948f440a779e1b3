"""Images of a run: when they are built, what is said of it, what is in them, and what is kept of them."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import (
    LABEL,
    SECRET,
    Done,
    Podman,
    Project,
    free_ports,
    git,
    new_run,
    redis_catalog,
    step,
    suite,
)

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY cmd/ /cmd/
RUN cp -r /cmd /made
"""


@dataclass(frozen=True)
class Small:
    """A workspace with an image that is built in a second, and the project that has it."""

    project: Project
    folder: Path
    name: str

    def build(self, **env: str) -> tuple[Done, dict[str, Any]]:
        run = new_run()
        done = self.project.invoke("images.build", "--service", "small", "--run", run, **env)
        return done, self.project.report(run)

    def note(self) -> str:
        """What the report says of the image after another build."""
        done, report = self.build()
        assert done.code == 0, done.text
        return str(step(report, f"image {self.name}")["note"])


@pytest.fixture(scope="module")
def small(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Small]:
    folder = tmp_path_factory.mktemp("small")
    workspace = folder / "workspace"
    (workspace / "cmd").mkdir(parents=True)
    (workspace / "cmd" / "hello.txt").write_text("hello\n", encoding="utf-8")
    (workspace / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    (workspace / ".containerignore").write_text("*\n!cmd\n", encoding="utf-8")
    git(workspace, "init", "--quiet")
    git(workspace, "add", "--all")
    name = f"small-{new_run()}"
    catalog = redis_catalog(folder / "catalog", {}, 0)
    (catalog / "components" / "small.toml").write_text(COMPONENT.format(name=name), encoding="utf-8")
    (catalog / "services" / "small.toml").write_text(
        f'language = "go"\nstack = ["small"]\n[ports]\nsmall = {free_ports(1)[0]}\n{suite("./test")}', encoding="utf-8"
    )
    yield Small(make_project(catalog=catalog, workspace=workspace), workspace, name)
    for row in podman.rows("images", "--filter", f"label={LABEL}.image={name}"):
        podman("rmi", row["Id"], check=False)


COMPONENT = """\
image = "localhost/{name}"
command = ["sleep", "60"]
[build]
containerfile = "Dockerfile"
[build.images]
BASE_IMAGE = "docker.io/library/debian:trixie-slim"
[ports]
small = 80
[ready]
probe = "http"
port = "small"
"""


def test_an_image_is_built_once_and_then_only_when_its_content_changes(small: Small, podman: Podman) -> None:
    assert small.note() == "built: there was none"
    assert small.note().startswith("unchanged, content ")
    # A changed file that git tracks, added to its index or not.
    (small.folder / "cmd" / "hello.txt").write_text("hello again\n", encoding="utf-8")
    assert small.note() == "built: changed context"
    # The way it is built.
    (small.folder / "Dockerfile").write_text(DOCKERFILE + "ENV MADE=1\n", encoding="utf-8")
    assert small.note() == "built: changed containerfile"
    # What the ignore file leaves out is no part of it.
    (small.folder / "README.md").write_text("not in the context\n", encoding="utf-8")
    git(small.folder, "add", "--all")
    assert small.note().startswith("unchanged, content ")
    # Nor is what git does not track, and that is said.
    (small.folder / "cmd" / "junk.txt").write_text("junk\n", encoding="utf-8")
    done, report = small.build()
    assert step(report, f"image {small.name}")["note"].startswith("unchanged, content ")
    said = f"{small.name}: not in the build, because git does not track it: cmd/junk.txt"
    assert said in report["notes"]
    assert said in done.out
    # No run's tag is left, and nothing was started.
    assert podman.left_of(report["run"]) == []
    assert [one["name"] for one in report["steps"]][-1] == "teardown"
    # What is built is what was hashed.
    (newest,) = cached(podman, small.name)[:1]
    shown = podman("run", "--rm", "--network", "none", newest["Id"], "sh", "-c", "ls /cmd; cat /made/hello.txt").out
    assert shown == "hello.txt\nhello again\n"


def cached(podman: Podman, name: str) -> list[dict[str, Any]]:
    """Images of that name, the newest first."""
    rows = podman.rows("images", "--filter", f"label={LABEL}.image={name}")
    return sorted(rows, key=lambda row: str(row.get("CreatedAt") or row["Created"]), reverse=True)


def test_a_build_that_fails_is_told_with_its_step_and_that_steps_output(small: Small, podman: Podman) -> None:
    before = (small.folder / "Dockerfile").read_text(encoding="utf-8")
    failing = "RUN echo this step is fine\nRUN echo the compiler says no >&2; exit 7\nRUN echo never\n"
    (small.folder / "Dockerfile").write_text(before + failing, encoding="utf-8")
    try:
        done, report = small.build()
    finally:
        (small.folder / "Dockerfile").write_text(before, encoding="utf-8")
    assert done.code == 74, done.text
    assert (report["outcome"], report["blame"]) == ("no-image", "product")
    cause = report["cause"]
    assert (cause["step"], cause["reference"]) == (f"image {small.name}", "build-failed")
    assert "RUN echo the compiler says no >&2; exit 7" in cause["message"]
    evidence = "\n".join(cause["evidence"])
    assert "\nthe compiler says no" in evidence
    assert "this step is fine" not in evidence
    log = small.project.runs / report["run"] / "logs" / f"build-{small.name}.log"
    assert "this step is fine" in log.read_text(encoding="utf-8")
    assert cause["remedy"] == f"less .infra/runs/{report['run']}/logs/{log.name}"
    assert podman.left_of(report["run"]) == []


def test_a_build_trusts_the_hosts_authorities_and_no_layer_holds_them(
    small: Small, podman: Podman, tmp_path: Path
) -> None:
    marker = f"authority-{new_run()}"
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    bundle = tmp_path / "bundle.crt"
    known = system.read_bytes() if system.exists() else b""
    bundle.write_bytes(known + f"\n# {marker}\n".encode())
    before = (small.folder / "Dockerfile").read_text(encoding="utf-8")
    # The pattern is not the marker itself: that would be in the image's history.
    looking = f"RUN grep -q {marker[:-1]}. /etc/ssl/certs/ca-certificates.crt\n"
    (small.folder / "Dockerfile").write_text(before + looking, encoding="utf-8")
    try:
        done, report = small.build(SSL_CERT_FILE=str(bundle))
    finally:
        (small.folder / "Dockerfile").write_text(before, encoding="utf-8")
    assert done.code == 0, done.text
    assert any("certificate authorities of its own" in one for one in report["engine"]["workarounds"])
    saved = tmp_path / "image.tar"
    podman("save", "--output", str(saved), cached(podman, small.name)[0]["Id"])
    assert marker.encode() not in saved.read_bytes()
    # Debian's own are in its packages; none has been added by the build.
    assert set(bundles(saved)) <= set(bundles(base_of(podman, tmp_path)))


def base_of(podman: Podman, folder: Path) -> Path:
    """The image below, saved: the recipe's, or the registry's where registries answer."""
    rows = cached(podman, "debian")
    base = str(rows[0]["Id"]) if rows else "docker.io/library/debian:trixie-slim"
    podman("save", "--output", str(folder / "base.tar"), base)
    return folder / "base.tar"


def bundles(saved: Path) -> list[str]:
    """The files that are certificate bundles and not empty, in all layers of a saved image."""
    found = []
    with tarfile.open(saved) as image:
        for entry in image.getmembers():
            if not entry.isfile() or entry.name.endswith(".json") or entry.name == "repositories":
                continue
            file = image.extractfile(entry)
            assert file is not None
            with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=file) as layer:
                found += [one.name for one in layer if one.isfile() and one.size and one.name.endswith(BUNDLES)]
    return found


BUNDLES = ("ca-certificates.crt", "ca-bundle.crt", "cert.pem", "bundle.crt")


def test_the_main_jobs_image_holds_no_authority_of_the_hosts_and_no_secret(
    warm: Project, podman: Podman, tmp_path: Path
) -> None:
    newest = cached(podman, "datastorage")[0]["Id"]
    saved = tmp_path / "image.tar"
    podman("save", "--output", str(saved), newest)
    held = saved.read_bytes()
    assert SECRET.encode() not in held
    for authority in Path("/usr/local/share/ca-certificates").rglob("*.crt"):
        line = max(authority.read_bytes().splitlines()[1:12], key=len)
        assert line not in held, authority
    assert SECRET not in podman("history", "--no-trunc", newest).out
    assert SECRET not in podman("image", "inspect", newest).out


def test_an_images_labels_say_what_it_was_made_of(warm: Project, podman: Podman) -> None:
    carried = cached(podman, "datastorage")[0]["Labels"]
    parts = dict(part.split("=") for part in carried[f"{LABEL}.content"].split())
    assert set(parts) == {"context", "containerfile", "base", "arguments"}
    assert f"{LABEL}.run" not in carried, "an image outlives the run that built it"


# -- the cache


@dataclass(frozen=True)
class Tiny:
    """Images of no size: one of ours that is old, one of ours that is in a run's use, one that is nobody's."""

    old: str
    used: str
    others: str


@pytest.fixture
def tiny(podman: Podman, tmp_path: Path) -> Iterator[Tiny]:
    mark = new_run()
    names = Tiny(
        f"localhost/tiny-{mark}:{mark}0000", f"localhost/tiny-{mark}:{mark}1111", f"localhost/stranger-{mark}:old"
    )
    ours = ("--label", f"{LABEL}.image=tiny-{mark}", "--label", f"{LABEL}.content=made=by-hand")
    for name, marks, more in ((names.old, ours, ""), (names.used, ours, "LABEL used=1"), (names.others, (), "")):
        (tmp_path / "file").write_text(name, encoding="utf-8")
        text = f"FROM scratch\nCOPY file /\n{more}\n"
        (tmp_path / "Containerfile").write_text(text, encoding="utf-8")
        # An age beyond any limit: 1970.
        podman("build", "--quiet", "--timestamp", "0", "--tag", name, *marks, str(tmp_path))
    yield names
    for name in (names.old, names.used, names.others):
        podman("rmi", name, check=False)


def there(podman: Podman, name: str) -> bool:
    return podman("image", "exists", name, check=False).code == 0


def test_images_list_shows_those_that_are_ours(project: Project, podman: Podman, tiny: Tiny) -> None:
    listed = project.invoke("images.list", "--json").json()["images"]
    tags = [tag for one in listed for tag in one["tags"]]
    assert tiny.old in tags
    assert tiny.others not in tags
    row = next(one for one in listed if tiny.old in one["tags"])
    assert row.keys() == {"image", "id", "tags", "created", "bytes"}
    assert row["created"].startswith("1970-01-01")
    created = [one["created"] for one in listed]
    assert created == sorted(created, reverse=True)
    text = project.invoke("images.list").out
    assert text.splitlines()[0].split() == ["image", "tags", "MB", "age"]
    assert tiny.old.partition("/")[2].partition(":")[0] in text


def test_images_prune_drops_what_is_old_and_ours_and_nothing_else(project: Project, podman: Podman, tiny: Tiny) -> None:
    # 3,000 days: no image of this machine's is that old but those of 1970.
    done = project.invoke("images.prune", "--days", "3000", "--gigabytes", "1000", "--json")
    assert done.code == 0, done.text
    removed = [tag for one in done.json()["removed"] for tag in one["tags"]]
    assert set(removed) >= {tiny.old, tiny.used}
    assert not there(podman, tiny.old)
    assert there(podman, tiny.others)


def test_images_prune_spares_what_a_run_uses(
    warm: Project, podman: Podman, tiny: Tiny, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    """A stack that is up has its tags; a tag that no run has is dropped instead, and is no use."""
    catalog = redis_catalog(tmp_path / "catalog", {"user": suite("./test/runner/pending")}, free_ports(1)[0])
    project = make_project(catalog=catalog)
    run = new_run()
    assert project.invoke("infra.up", "--service", "user", "--run", run).code == 0
    try:
        tag = f"{tiny.used.rpartition(':')[0]}:user-{run}"
        podman("tag", tiny.used, tag)
        done = project.invoke("images.prune", "--days", "3000", "--gigabytes", "1000", "--json")
        removed = [name for one in done.json()["removed"] for name in one["tags"]]
        assert tiny.old in removed
        assert tiny.used not in removed
        assert there(podman, tag)
    finally:
        project.invoke("infra.down", "--run", run)
    assert not there(podman, tag)
    assert there(podman, tiny.used), "an image that the run did not build stays"
