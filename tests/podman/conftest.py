"""What all tests against the real Podman are given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults import small_catalog, small_workspace
from killing import Ground, new_run, until_clean
from product import CATALOG, WORKSPACE, Podman, Project

from infra import lease
from infra.engine.client import Engine
from infra.engine.discover import private_environment
from infra.lease import Lease


@pytest.fixture(scope="session", autouse=True)
def _inner_pytest(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each pytest that tests start removes old temporary folders at its end: those of others like it, and not ours."""
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(tmp_path_factory.mktemp("inner"))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """The podman command, with what this host needs for it to work."""
    given, _ = private_environment(tmp_path_factory.mktemp("engine"))
    return Podman({**os.environ, **dict(given)})


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The real catalogue and the real workspace, with run directories of the tests' own."""
    return Project.make(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def warm(project: Project) -> Project:
    """The same, with all images of the main job built: what comes after has the time of its own work."""
    done = replace(project, seconds=900).invoke("images.build", "--service", "notification")
    assert done.code == 0, done.text
    return project


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Project]:
    """Make a project of a catalogue and a workspace of its own."""

    def make(*, catalog: Path = CATALOG, workspace: Path = WORKSPACE) -> Project:
        return Project.make(tmp_path_factory.mktemp("project"), catalog=catalog, workspace=workspace)

    return make


@pytest.fixture
def faulty(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Make a project of a small catalogue and a small workspace."""

    def make(
        components: dict[str, str],
        stack: list[str],
        files: dict[str, str] | None = None,
        workspace: Path | None = None,
        **more: object,
    ) -> Project:
        catalog = small_catalog(tmp_path / "catalog", components, stack, **more)  # type: ignore[arg-type]
        return make_project(catalog=catalog, workspace=workspace or small_workspace(tmp_path / "workspace", files))

    return make


@pytest.fixture(scope="module")
def held() -> Iterator[Lease]:
    """An engine to look with, and a run of this process's own, which is alive."""
    with lease.hold(new_run(), "beside", "none") as one:
        yield one


@pytest.fixture
def engine(held: Lease) -> Engine:
    return held.engine.clone()


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A ground on which all images have been built once; the run that did it has left nothing either."""
    made = Ground.make(tmp_path_factory.mktemp("ground") / "root")
    with lease.hold(new_run(), "beside", "none") as looking, made.main_job("--fresh") as run:
        code = run.ends(600)
        assert code == 0, "\n".join(run.lines)
        _, left = until_clean(looking.engine, run.run, 0.0)
        assert left == []
    return made
