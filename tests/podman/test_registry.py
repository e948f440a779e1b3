"""Images from a registry: a real one of the tests' own, up, down, and silent. The host's storage is not touched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from product import (
    CATALOG,
    LABEL,
    Done,
    Podman,
    Project,
    eventually,
    free_ports,
    git,
    new_run,
    step,
    step_names,
    suite,
)

REDIS = "docker.io/library/redis:7-alpine"
PLAIN = ("--service", "plain")


@dataclass
class Registry:
    """A registry that may be started and stopped; a registries.conf leads docker.io to it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.folder / "config.yml"
        config.write_text(
            f"version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {self.folder}/data\n"
            f"http:\n  addr: 127.0.0.1:{self.port}\n  secret: of-no-use\n",
            encoding="utf-8",
        )
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(("docker-registry", "serve", str(config)), stdout=log, stderr=log)
        eventually("the registry answers", self.answers, 20)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/", timeout=5).status == 200)
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nothing listens at its port while the block goes on."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Connections to its port are taken and never answered while the block goes on."""
        with self.down(), socket.create_server(("127.0.0.1", self.port)):
            yield


@dataclass(frozen=True)
class Place:
    """A project whose engine has an empty storage of its own and finds docker.io at the tests' registry."""

    project: Project
    podman: Podman
    registry: Registry

    def run(self, *words: str, **env: str) -> tuple[Done, dict[str, Any]]:
        run = new_run()
        done = self.project.invoke(*words, "--run", run, **env)
        assert self.podman.left_of(run) == []
        return done, self.project.report(run)

    def forget(self) -> None:
        """Have no image, whoever made it."""
        for row in self.podman.rows("images"):
            self.podman("rmi", "--force", row["Id"], check=False)
        assert self.podman.rows("images") == []


@pytest.fixture(scope="module")
def place(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    if "CONTAINER_HOST" in os.environ or Path("/run/podman/podman.sock").exists():
        pytest.skip("the engine of this host is not started by the tests, so it has no storage of theirs")
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(folder, free_ports(1)[0])
    registry.start()
    try:
        at = f"127.0.0.1:{registry.port}/library/redis:7-alpine"
        podman("push", "--quiet", "--tls-verify=false", redis_of(podman), f"docker://{at}")
        env = storage(folder, podman) | registries(folder, registry.port)
        project = make_project(catalog=catalog(folder / "catalog"))
        mine = Podman({**podman.env, **env})
        yield Place(Project(project.folder, env), mine, registry)
    finally:
        registry.stop()
        unmount(folder)


def redis_of(podman: Podman) -> str:
    """The Redis that the main job uses on this host, wherever it came from."""
    if podman("image", "exists", REDIS, check=False).code == 0:
        return REDIS
    rows = podman.rows("images", "--filter", f"label={LABEL}.image=redis")
    return str(next(name for row in rows for name in row.get("Names") or () if name.startswith("localhost/redis:")))


def storage(folder: Path, podman: Podman) -> dict[str, str]:
    """A storage of the tests' own, of the same kind as the host's."""
    driver = podman("info", "--format", "{{.Store.GraphDriverName}}").out.strip()
    path = folder / "storage.conf"
    path.write_text(
        f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        '[storage.options.overlay]\nskip_mount_home = "true"\n',
        encoding="utf-8",
    )
    return {"CONTAINERS_STORAGE_CONF": str(path)}


def registries(folder: Path, port: int) -> dict[str, str]:
    path = folder / "registries.conf"
    path.write_text(
        f'[[registry]]\nprefix = "docker.io"\nlocation = "127.0.0.1:{port}"\ninsecure = true\n', encoding="utf-8"
    )
    return {"CONTAINERS_REGISTRIES_CONF": str(path)}


def catalog(folder: Path) -> Path:
    """Services of Redis alone; the recipe that stands in for its image is built in a second and runs nothing."""
    for name in ("components", "services", "local"):
        (folder / name).mkdir(parents=True)
    text = (CATALOG / "components" / "redis.toml").read_text(encoding="utf-8")
    assert REDIS in text
    (folder / "components" / "redis.toml").write_text(text, encoding="utf-8")
    unknown = text.replace(REDIS, "docker.io/library/redis:no-such-tag")
    (folder / "components" / "unknown.toml").write_text(unknown, encoding="utf-8")
    for name, component in (("plain", "redis"), ("unknown", "unknown")):
        head = f'language = "go"\nstack = ["{component}"]\n[ports]\n{component} = {free_ports(1)[0]}\n'
        (folder / "services" / f"{name}.toml").write_text(head + suite("./test/runner/pending"), encoding="utf-8")
    recipe = f'image = "{REDIS}"\ncontainerfile = "redis.Containerfile"\n'
    (folder / "local" / "redis.toml").write_text(recipe, encoding="utf-8")
    (folder / "local" / "redis.Containerfile").write_text("FROM scratch\nCOPY redis-note /\n", encoding="utf-8")
    (folder / "local" / "redis-note").write_text("made here\n", encoding="utf-8")
    return folder


def unmount(folder: Path) -> None:
    """What the storage driver has left mounted, the innermost first; then the folder can go."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(("umount", "--lazy", mount), check=False, timeout=20, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_registry_image_is_pulled_and_the_suite_runs_on_it(place: Place) -> None:
    place.forget()
    done, report = place.run("suite.run", *PLAIN, "--ports", "auto")
    assert done.code == 0, done.text
    assert step(report, "image redis")["note"] == "pulled from its registry"
    assert step_names(report)[-4:] == ["redis", "check", "suite", "teardown"]
    # An image that the run did not build is never removed, so nothing is asked the next time.
    with place.registry.down():
        done, report = place.run("images.build", *PLAIN)
    assert done.code == 0, done.text
    assert step(report, "image redis")["note"] == "registry image, already here"


def test_images_from_registries_alone_are_pulled_too(place: Place) -> None:
    place.forget()
    done, report = place.run("images.build", *PLAIN, INFRA_IMAGES="registry")
    assert done.code == 0, done.text
    assert step(report, "image redis")["note"] == "pulled from its registry"


def test_images_made_here_alone_ask_no_registry(place: Place) -> None:
    place.forget()
    done, report = place.run("images.build", *PLAIN, INFRA_IMAGES="local")
    assert done.code == 0, done.text
    assert step(report, "image redis")["note"] == "built: there was none"


@pytest.mark.parametrize("images", ["auto", "registry"])
def test_a_manifest_that_the_registry_does_not_know_is_told_in_its_words(place: Place, images: str) -> None:
    done, report = place.run("suite.run", "--service", "unknown", "--ports", "auto", INFRA_IMAGES=images)
    assert done.code == 74, done.text
    assert (report["outcome"], report["exit_code"]) == ("no-image", 74)
    cause = report["cause"]
    assert (cause["step"], cause["reference"]) == ("image redis", "image-unknown")
    assert 'the registry has no image docker.io/library/redis:no-such-tag ("manifest unknown")' in cause["message"]
    assert "unknown" not in step_names(report), "no container was made"


@pytest.mark.parametrize("state", ["down", "silent"])
def test_where_no_registry_answers_the_image_is_made_here(place: Place, state: str) -> None:
    place.forget()
    with getattr(place.registry, state)():
        done, report = place.run("images.build", *PLAIN)
    assert done.code == 0, done.text
    assert step(report, "image redis")["note"] == "built: there was none"
    # It is asked once and for 3 s at most; three retries of a pull are longer than the whole run.
    assert report["duration_s"] < 20


def test_where_no_registry_answers_and_there_is_no_recipe_there_is_no_image(place: Place) -> None:
    with place.registry.down():
        done, report = place.run("images.build", "--service", "unknown")
    assert done.code == 74, done.text
    cause = report["cause"]
    assert cause["reference"] == "registry-unreachable"
    assert "connection refused" in "\n".join(cause["evidence"])
    assert "local/<name>.toml" in cause["remedy"]


def test_images_from_registries_alone_fail_where_none_answers(place: Place) -> None:
    place.forget()
    with place.registry.down():
        done, report = place.run("images.build", *PLAIN, INFRA_IMAGES="registry")
    assert done.code == 74, done.text
    cause = report["cause"]
    assert (cause["step"], cause["reference"]) == ("image redis", "registry-unreachable")
    assert "connection refused" in cause["message"]


UBI = "registry.nowhere.invalid/ubi9/ubi-minimal:latest"


@pytest.mark.parametrize(
    ("bases", "answers", "chosen"),
    [
        ((UBI, REDIS), True, "pulled from its registry"),
        ((UBI, REDIS), False, "built: there was none"),
        ((REDIS, UBI), True, "pulled from its registry"),
    ],
    ids=["the second whose registry answers", "the second that has a recipe", "the first, and no other is asked for"],
)
def test_of_several_base_images_the_first_that_can_be_had_is_taken(
    bases: tuple[str, str],
    answers: bool,
    chosen: str,
    place: Place,
    make_project: Callable[..., Project],
    tmp_path: Path,
) -> None:
    place.forget()
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "Containerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY note /\n", encoding="utf-8")
    (workspace / "note").write_text("on any base\n", encoding="utf-8")
    git(workspace, "init", "--quiet")
    git(workspace, "add", "--all")
    folder = catalog(tmp_path / "catalog")
    (folder / "components" / "layered.toml").write_text(
        f'image = "localhost/layered"\n[build]\ncontainerfile = "Containerfile"\n'
        f"[build.images]\nBASE_IMAGE = {json.dumps(list(bases))}\n"
        '[ports]\nredis = 6379\n[ready]\nprobe = "redis"\nport = "redis"\n',
        encoding="utf-8",
    )
    port = free_ports(1)[0]
    text = f'language = "go"\nstack = ["layered"]\n[ports]\nlayered = {port}\n{suite("./test/runner/pending")}'
    (folder / "services" / "layered.toml").write_text(text, encoding="utf-8")
    made = replace(make_project(catalog=folder, workspace=workspace), env=place.project.env)
    run = new_run()
    with contextlib.nullcontext() if answers else place.registry.down():
        done = made.invoke("images.build", "--service", "layered", "--run", run)
    assert done.code == 0, done.text
    report = made.report(run)
    assert sorted(name for name in step_names(report) if name.startswith("image ")) == ["image layered", "image redis"]
    assert step(report, "image redis")["note"] == chosen
