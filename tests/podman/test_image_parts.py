"""Builds side by side, and what a build leaves: nothing that runs, and nothing of the host in the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import LABEL, Podman, Project, free_ports, git, new_run, redis_catalog, step, suite

PROXY = "https://proxy.of-this-host.example,off"
CONTAINERFILE = """\
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}}
ARG GOPROXY
COPY {name}.txt /
RUN test "$GOPROXY" = "{proxy}" && sleep 1.5
"""
COMPONENT = """\
image = "localhost/{name}"
command = ["sleep", "60"]
[build]
containerfile = "{name}.Containerfile"
[build.images]
BASE_IMAGE = "docker.io/library/debian:trixie-slim"
[ports]
http = 80
[ready]
probe = "http"
port = "http"
"""


@dataclass(frozen=True)
class Built:
    """Two images that had to be built in one run."""

    names: tuple[str, str]
    report: dict[str, Any]
    left: list[str]
    containers: list[dict[str, Any]]


@pytest.fixture(scope="module")
def built(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("parts")
    run = new_run()
    names = (f"left-{run}", f"right-{run}")
    workspace = folder / "workspace"
    workspace.mkdir()
    catalog = redis_catalog(folder / "catalog", {}, 0)
    for name in names:
        (workspace / f"{name}.Containerfile").write_text(CONTAINERFILE.format(name=name, proxy=PROXY), encoding="utf-8")
        (workspace / f"{name}.txt").write_text(name, encoding="utf-8")
        (catalog / "components" / f"{name}.toml").write_text(COMPONENT.format(name=name), encoding="utf-8")
    ports = "".join(f"{name} = {port}\n" for name, port in zip(names, free_ports(2), strict=True))
    text = f'language = "go"\nstack = ["{names[0]}", "{names[1]}"]\n[ports]\n{ports}{suite("./test")}'
    (catalog / "services" / "both.toml").write_text(text, encoding="utf-8")
    git(workspace, "init", "--quiet")
    git(workspace, "add", "--all")
    project = make_project(catalog=catalog, workspace=workspace)
    try:
        done = project.invoke("images.build", "--service", "both", "--run", run, GOPROXY=PROXY)
        assert done.code == 0, done.text
        yield Built(names, project.report(run), podman.left_of(run), podman.containers(run))
    finally:
        for name in names:
            for row in podman.rows("images", "--filter", f"label={LABEL}.image={name}"):
                podman("rmi", row["Id"], check=False)


def test_two_images_are_built_side_by_side(built: Built) -> None:
    one, other = (step(built.report, f"image {name}") for name in built.names)
    assert (one["note"], other["note"]) == ("built: there was none", "built: there was none")
    both = min(end(one), end(other)) - max(one["start_s"], other["start_s"])
    assert both > 1, (one, other)


def end(one: dict[str, Any]) -> float:
    return float(one["start_s"] + one["duration_s"])


def test_a_base_that_both_want_is_had_once(built: Built) -> None:
    assert [one["name"] for one in built.report["steps"]].count("image debian") == 1


def test_nothing_runs_and_no_tag_of_the_run_is_left(built: Built) -> None:
    assert (built.left, built.containers) == ([], [])
    assert not any(one["name"] in built.names for one in built.report["steps"]), "nothing was started"


def test_a_setting_of_the_host_serves_the_build_and_is_not_in_the_image(built: Built, podman: Podman) -> None:
    for name in built.names:
        (row,) = podman.rows("images", "--filter", f"label={LABEL}.image={name}")
        assert (
            "of-this-host"
            not in podman("image", "inspect", "--format", "{{json .Config}} {{json .Labels}}", row["Id"]).out
        )


def test_a_setting_of_the_host_is_in_no_layer_of_the_main_jobs_image(
    warm: Project, podman: Podman, tmp_path: Path
) -> None:
    rows = podman.rows("images", "--filter", f"label={LABEL}.image=datastorage")
    newest = next(row for row in rows if any("localhost/datastorage:" in name for name in row.get("Names") or ()))
    shown = podman("image", "inspect", newest["Id"]).out
    told = podman("history", "--no-trunc", newest["Id"]).out
    for word in ("GOPROXY", "ca-certificates.crt", "SSL_CERT_FILE"):
        assert word not in shown + told
