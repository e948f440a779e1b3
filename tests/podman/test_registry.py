"""Registries that answer, that do not know an image, that are gone and that never say a word: all real ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import (
    LABEL,
    WORKSPACE,
    Done,
    Podman,
    Project,
    edit,
    free_ports,
    new_run,
    redis_catalog,
    run_in,
    step,
    step_names,
    suite,
)
from registry import Registry, beside, official_redis, push, registries_conf, serving, silent, storage

OFFICIAL = "docker.io/library/redis:7-alpine"
OTHER = "docker.io/library/valkey:8-alpine"
SERVICES = {
    "cache": suite("./test/runner/pending"),
    "caches": 'stack = ["redis", "valkey"]\n[ports]\nredis = 28399\nvalkey = 28398\n' + suite("./test/runner/pending"),
    "missing": 'stack = ["missing"]\n[ports]\nmissing = 28397\n' + suite("./test/runner/pending"),
}


@dataclass(frozen=True)
class Ended:
    done: Done
    report: dict[str, Any]

    @property
    def cause(self) -> dict[str, Any]:
        return dict(self.report["cause"] or {})

    @property
    def end(self) -> tuple[int, str, str | None, str | None]:
        return self.done.code, self.report["outcome"], self.cause.get("reference"), self.report["blame"]

    def note(self, name: str) -> str:
        return str(step(self.report, name)["note"])


@pytest.fixture(scope="module")
def shop(warm: Project, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Services of Redis alone, of two images of one registry, and of an image that no registry has."""
    folder = tmp_path_factory.mktemp("registry")
    catalog = redis_catalog(folder / "catalog", SERVICES, free_ports(1)[0])
    for name, image in (("valkey", OTHER), ("missing", "docker.io/library/redis:no-such-tag")):
        shutil.copy(catalog / "components" / "redis.toml", catalog / "components" / f"{name}.toml")
        edit(catalog / "components" / f"{name}.toml", OFFICIAL, image)
    workspace = folder / "workspace"
    workspace.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(WORKSPACE / name, workspace)
    shutil.copytree(WORKSPACE / "test" / "runner" / "pending", workspace / "test" / "runner" / "pending")
    return make_project(catalog=catalog, workspace=workspace)


@pytest.fixture(scope="module")
def registry(
    shop: Project, podman: Podman, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Registry, dict[str, str]]]:
    """A registry that has Redis, under two names, and the environment that leads docker.io to it."""
    built = run(shop, "images.build", "cache", {"INFRA_IMAGES": "local"})
    content = built.note("image redis").partition("content ")[2].split(";")[0]
    folder = tmp_path_factory.mktemp("registry-server")
    made = official_redis(podman, f"localhost/redis:{content}")
    try:
        with serving(folder / "server") as server:
            for name in (OFFICIAL, OTHER):
                push(podman, made, server, name.removeprefix("docker.io/"))
            yield server, registries_conf(folder / "registries.conf", server.port)
    finally:
        podman("rmi", made)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with storage(tmp_path_factory.mktemp("storage") / "store") as env:
        yield env


@pytest.fixture
def gone(tmp_path: Path) -> dict[str, str]:
    """docker.io is a port on which nothing listens."""
    return registries_conf(tmp_path / "registries.conf", free_ports(1)[0])


def run(shop: Project, task: str, service: str, env: dict[str, str], *words: str) -> Ended:
    name = new_run()
    ports = ("--ports", "auto", "--run", name) if task == "suite.run" else ()
    done = shop.invoke(task, "--service", service, *ports, *words, **env)
    return Ended(done, shop.report(name if ports else run_in(done.text)))


@dataclass(frozen=True)
class Pulled:
    first: Ended
    second: Ended
    images: list[dict[str, Any]]
    pruned: Done
    after: list[dict[str, Any]]


@pytest.fixture(scope="module")
def pulled(shop: Project, registry: tuple[Registry, dict[str, str]], store: dict[str, str], podman: Podman) -> Pulled:
    """Two runs, one after the other, and what is in the storage then."""
    env = {**registry[1], **store, "INFRA_IMAGES": "auto"}
    there = beside(podman, env)
    first = run(shop, "suite.run", "cache", env)
    second = run(shop, "suite.run", "cache", {**env, "INFRA_IMAGES": "registry"})
    images = there.rows("images")
    pruned = shop.invoke("images.prune", "--days", "0", "--json", **env)
    return Pulled(first, second, images, pruned, there.rows("images"))


def test_where_a_registry_answers_the_image_is_pulled_and_the_run_says_so(pulled: Pulled) -> None:
    assert pulled.first.done.code == 0, pulled.first.done.text
    assert pulled.first.note("image redis") == "pulled from its registry"
    assert any("image redis" in line and "pulled from its registry" in line for line in pulled.first.done.lines)
    assert [name for name in step_names(pulled.first.report) if name.startswith("image ")] == ["image redis"]


def test_the_next_run_has_it_already(pulled: Pulled) -> None:
    assert pulled.second.done.code == 0, pulled.second.done.text
    assert pulled.second.note("image redis") == "registry image, already here"
    assert step(pulled.second.report, "image redis")["duration_s"] < 1


def test_an_image_that_no_run_built_is_still_there_afterwards_and_after_a_prune(pulled: Pulled) -> None:
    assert [row["Names"] for row in pulled.images] == [[OFFICIAL]]
    assert not any(key.startswith(LABEL) for row in pulled.images for key in row["Labels"] or {})
    assert pulled.pruned.json() == {"removed": []}
    assert [row["Names"] for row in pulled.after] == [[OFFICIAL]]


def test_the_registry_is_asked_once_a_run_whether_it_answers_and_once_an_image_for_it(
    shop: Project,
    pulled: Pulled,
    registry: tuple[Registry, dict[str, str]],
    store: dict[str, str],
    podman: Podman,
) -> None:
    server, conf = registry
    env = {**conf, **store}
    beside(podman, env)("rmi", OFFICIAL)
    before = len(server.manifests())
    ended = run(shop, "images.build", "caches", env, "--verbose")
    assert ended.done.code == 0, ended.done.text
    assert {ended.note(f"image {name}") for name in ("redis", "valkey")} == {"pulled from its registry"}
    asked = server.manifests()[before:]
    assert sorted(set(asked)) == ["library/redis", "library/valkey"]
    assert len(asked) == 3, asked
    assert "Copying blob" in ended.done.out


def test_with_registry_alone_it_is_pulled_without_asking_first(
    shop: Project,
    pulled: Pulled,
    registry: tuple[Registry, dict[str, str]],
    store: dict[str, str],
    podman: Podman,
) -> None:
    server, conf = registry
    env = {**conf, **store, "INFRA_IMAGES": "registry"}
    beside(podman, env)("rmi", "--ignore", OFFICIAL)
    before = len(server.manifests())
    ended = run(shop, "images.build", "cache", env)
    assert (ended.done.code, ended.note("image redis")) == (0, "pulled from its registry"), ended.done.text
    assert server.manifests()[before:] == ["library/redis"]


@pytest.mark.parametrize("mode", ["auto", "registry"])
def test_an_image_that_the_registry_does_not_know_is_told_in_the_registrys_words(
    shop: Project, registry: tuple[Registry, dict[str, str]], store: dict[str, str], mode: str
) -> None:
    ended = run(shop, "images.build", "missing", {**registry[1], **store, "INFRA_IMAGES": mode})
    assert ended.end == (74, "no-image", "pull-failed", "infrastructure"), ended.done.text
    assert ended.cause["step"] == "image redis"
    assert "docker.io/library/redis:no-such-tag could not be pulled" in ended.cause["message"]
    assert "manifest unknown" in ended.cause["message"]
    assert ended.cause["remedy"] == "podman pull docker.io/library/redis:no-such-tag"


def test_where_no_registry_answers_the_recipe_is_used_and_the_run_says_which_version_that_is(
    shop: Project, gone: dict[str, str]
) -> None:
    ended = run(shop, "images.build", "cache", gone)
    assert ended.done.code == 0, ended.done.text
    assert ended.note("image redis").startswith("unchanged, content ")
    assert "Redis server v=" in ended.note("image redis")
    assert step_names(ended.report) == ["engine", "image debian", "image redis", "teardown"]


def test_without_a_registry_and_without_a_recipe_there_is_no_image(shop: Project, gone: dict[str, str]) -> None:
    ended = run(shop, "images.build", "missing", gone)
    assert ended.end == (74, "no-image", "registry-unreachable", "infrastructure"), ended.done.text
    assert "no registry answers for docker.io/library/redis:no-such-tag" in ended.cause["message"]
    assert "connection refused" in ended.cause["evidence"][-1]
    assert "local/<name>.toml" in ended.cause["remedy"]


def test_with_registry_alone_a_registry_that_is_gone_is_no_image_although_there_is_a_recipe(
    shop: Project, gone: dict[str, str]
) -> None:
    ended = run(shop, "images.build", "cache", {**gone, "INFRA_IMAGES": "registry"})
    assert ended.end == (74, "no-image", "pull-failed", "infrastructure"), ended.done.text
    assert "connection refused" in ended.cause["message"]


def test_a_registry_that_never_answers_is_asked_once_a_run_and_waited_for_3_s(warm: Project, tmp_path: Path) -> None:
    """Four official names stand in this catalogue; none of them waits on its own."""
    with silent() as port:
        env = registries_conf(tmp_path / "registries.conf", port.port)
        done = warm.invoke("images.build", "--service", "notification", **env)
        asked = len(port.accepted)
    assert done.code == 0, done.text
    report = warm.report(run_in(done.text))
    assert {name for name in step_names(report) if name.startswith("image ")} >= {"image redis", "image pgvector"}
    assert asked == 1
    assert 3 <= report["duration_s"] < 10, done.text
