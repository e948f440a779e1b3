"""Two strangers' repositories (tests/examples), as their people use them: a copy elsewhere, nox, and what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from product import ROOT, Done, Podman, Project, edit, git, run_in, step, step_names

from infra.ports import is_free

EXAMPLES = ROOT / "tests" / "examples"
# In the order in which a run of each has them, less the images, which are had side by side.
STEPS = {
    "parcels": ["engine", "postgres", "migrations", "nats", "parcels", "check", "requirements", "suite", "teardown"],
    "seats": ["engine", "redis", "seats", "check", "suite", "teardown"],
}
IMAGES = {
    "parcels": ["debian", "nats", "parcels", "pgvector", "python"],
    "seats": ["debian", "golang", "redis", "seats"],
}
PORTS = {"parcels": (17032, 17022, 17023, 17080), "seats": (17179, 17180)}
PASSED = {"parcels": 10, "seats": 7}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """Have a repository of a stranger's own: nothing of this one is in it, or above it."""

    @cache
    def make(name: str) -> Project:
        folder = tmp_path_factory.mktemp("strangers") / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns(".infra", "__pycache__"))
        for words in (("init", "--quiet"), ("add", "--all")):
            git(folder, *words)
        return Project(folder, seconds=600)

    return make


@contextmanager
def broken(path: Path, old: str, new: str) -> Iterator[None]:
    """Have a mistake in a file until the block ends."""
    before = path.read_text(encoding="utf-8")
    edit(path, old, new)
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def nox(project: Project, session: str, *args: str, **env: str) -> tuple[Done, dict[str, Any]]:
    """Run a session to its end; return what it said, and the report."""
    done = project.python("nox", "-s", session, *args, **env)
    return done, project.report(run_in(done.text))


def untracked(folder: Path) -> str:
    argv = ("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=all")
    lines = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith("A "))


@pytest.mark.parametrize("name", STEPS)
def test_the_main_session_of_a_stranger_is_green_and_leaves_nothing(
    name: str, stranger: Callable[[str], Project], podman: Podman
) -> None:
    project = stranger(name)
    done, report = nox(project, f"integration-{name}")
    assert done.code == 0, done.text
    assert (report["service"], report["outcome"], report["blame"], report["cause"]) == (name, "passed", None, None)
    steps = step_names(report)
    assert [one for one in steps if not one.startswith("image ")] == STEPS[name]
    assert sorted(one.removeprefix("image ") for one in steps if one.startswith("image ")) == IMAGES[name]
    assert {one["status"] for one in report["steps"]} == {"passed"}
    assert (report["suite"]["tests"], report["suite"]["passed"]) == (PASSED[name], PASSED[name])
    assert report["left_behind"] == []
    assert podman.left_of(report["run"]) == []
    assert [port for port in PORTS[name] if not is_free(port)] == []
    assert untracked(project.folder) == "", "what a run writes is in .infra"


def test_a_bug_in_a_strangers_service_is_found_by_the_suite(stranger: Callable[[str], Project], podman: Podman) -> None:
    project = stranger("parcels")
    with broken(project.folder / "parcels" / "app.py", 'if found["state"] == "delivered":', "if not found:"):
        done, report = nox(project, "integration-parcels", "--", "-k", "deliver")
    assert done.code == 1, done.text
    assert (report["outcome"], report["cause"]["reference"], report["cause"]["step"]) == (
        "failed",
        "tests-failed",
        "suite",
    )
    assert sorted(case["name"].rpartition(".")[2] for case in report["suite"]["failures"]) == [
        "test_of_eight_who_deliver_at_once_one_does",
        "test_what_was_delivered_moves_no_more",
    ]
    assert report["blame"] == "test"
    assert podman.left_of(report["run"]) == []


def test_a_strangers_component_that_is_broken_is_named(stranger: Callable[[str], Project], podman: Podman) -> None:
    project = stranger("seats")
    with broken(project.folder / "infra-catalog" / "components" / "seats.toml", "redis:6379", "redis:6380"):
        done, report = nox(project, "integration-seats")
    assert done.code == 1, done.text
    assert (report["outcome"], report["exit_code"], report["blame"]) == ("not-ready", 75, "product")
    assert report["cause"]["step"] == "seats"
    assert "redis does not answer" in json.dumps(report["cause"])
    assert step(report, "redis")["status"] == "passed"
    assert report["suite"] is None
    assert podman.left_of(report["run"]) == []


def test_the_unit_tier_of_a_stranger_wants_no_engine(stranger: Callable[[str], Project]) -> None:
    done, report = nox(stranger("seats"), "unit-seats", CONTAINER_HOST="unix:///nowhere/podman.sock")
    assert done.code == 0, done.text
    assert (report["engine"], report["suite"]["passed"]) == (None, 2)
