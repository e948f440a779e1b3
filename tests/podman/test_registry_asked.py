"""How often a registry is asked, and what is never removed: seen from the registry's side."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import CATALOG, LABEL, Done, Podman, Project, edit, free_ports, new_run, redis_catalog, run_in, step, suite
from registry import Registry, beside, push, registries_conf, serving, silent, storage

OFFICIAL = "docker.io/library/redis:7-alpine"
OTHER = "docker.io/library/valkey:8-alpine"
TWO = "[ports]\nredis = 28399\nvalkey = 28398\n"
SERVICES = {
    "one": suite("./test/runner/pending"),
    "two": f'stack = ["redis", "valkey"]\n{TWO}{suite("./test/runner/pending")}',
}


@dataclass(frozen=True)
class Shop:
    """Services of one and of two images of one registry, with a storage beside the host's."""

    project: Project
    podman: Podman
    registry: Registry

    def build(self, service: str, *words: str, mode: str = "auto") -> tuple[Done, dict[str, Any], list[str]]:
        """Have a service's images; return what was said, the report, and the manifests that were asked for."""
        before = len(self.registry.manifests())
        done = self.project.invoke("images.build", "--service", service, *words, INFRA_IMAGES=mode)
        assert done.code == 0, done.text
        return done, self.project.report(run_in(done.text)), self.registry.manifests()[before:]

    def forget(self) -> None:
        self.podman("rmi", "--ignore", OFFICIAL, OTHER)


@pytest.fixture(scope="module")
def shop(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("asked")
    catalog = redis_catalog(folder / "catalog", SERVICES, free_ports(1)[0])
    shutil.copy(CATALOG / "components" / "redis.toml", catalog / "components" / "valkey.toml")
    edit(catalog / "components" / "valkey.toml", OFFICIAL, OTHER)
    # Nothing is started here, so an image of one small file is enough.
    made = f"localhost/tests-{new_run()}:one"
    (folder / "file").write_text(made, encoding="utf-8")
    (folder / "Containerfile").write_text("FROM scratch\nCOPY file /\n", encoding="utf-8")
    podman("build", "--quiet", "--tag", made, "--file", str(folder / "Containerfile"), str(folder))
    try:
        with serving(folder / "server") as server, storage(folder / "store") as store:
            for name in (OFFICIAL, OTHER):
                push(podman, made, server, name.removeprefix("docker.io/"))
            env = {**store, **registries_conf(folder / "registries.conf", server.port)}
            project = Project(make_project(catalog=catalog).folder, env)
            yield Shop(project, beside(podman, env), server)
    finally:
        podman("rmi", made)


def test_it_is_asked_once_a_run_whether_it_answers_and_once_for_each_image(shop: Shop) -> None:
    shop.forget()
    done, report, asked = shop.build("two", "--verbose")
    assert {step(report, f"image {name}")["note"] for name in ("redis", "valkey")} == {"pulled from its registry"}
    assert sorted(set(asked)) == ["library/redis", "library/valkey"]
    assert len(asked) == 3, asked
    assert "Copying blob" in done.out, "--verbose shows a pull's progress"


def test_with_registries_alone_it_is_not_asked_whether_it_answers(shop: Shop) -> None:
    shop.forget()
    _, _, asked = shop.build("one", mode="registry")
    assert asked == ["library/redis"]


def test_what_is_here_is_not_asked_for_and_a_prune_of_everything_leaves_it(shop: Shop) -> None:
    shop.build("one")
    _, report, asked = shop.build("one")
    assert (step(report, "image redis")["note"], asked) == ("registry image, already here", [])
    pruned = shop.project.invoke("images.prune", "--days", "0", "--gigabytes", "0", "--json")
    assert pruned.json() == {"removed": []}, pruned.text
    (row,) = [row for row in shop.podman.rows("images") if OFFICIAL in row["Names"]]
    assert not any(key.startswith(LABEL) for key in row["Labels"] or {})


def test_one_that_never_answers_is_asked_once_and_waited_for_3_s(warm: Project, tmp_path: Path) -> None:
    """Four official names stand in this catalogue; the storage is the host's, where their recipes are built."""
    with silent() as port:
        env = registries_conf(tmp_path / "registries.conf", port.port)
        done = Project(warm.folder, env).invoke("images.build", "--service", "notification")
        asked = len(port.accepted)
    assert done.code == 0, done.text
    report = warm.report(run_in(done.text))
    for name, version in (("redis", "Redis server v="), ("pgvector", "postgres (PostgreSQL) "), ("golang", "go1.")):
        assert version in step(report, f"image {name}")["note"], "what stands in for it says its version"
    assert asked == 1
    waited = min(one["start_s"] for one in report["steps"] if one["name"].startswith("image "))
    assert step(report, "engine")["duration_s"] + 2.9 <= waited < step(report, "engine")["duration_s"] + 6
