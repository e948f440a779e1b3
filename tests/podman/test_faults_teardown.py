"""F46 to F48 of docs/faults.md, each made for real: a run that is cancelled, that is repeated, that is killed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from faults import row, small_project
from product import Podman, Project, eventually, new_run

TESTS = {
    "waiting": """
        def test_a():
            print("it waits", flush=True)
            time.sleep(60)
        """,
    "once": """
        def test_a():
            if first_time("once"):
                kill("redis"); time.sleep(20)
        """,
}


@pytest.fixture(scope="module")
def few(warm: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small_project(tmp_path_factory.mktemp("faults"), TESTS, tier='env = { PYTEST_ADDOPTS = "-s" }')


def title_of(project: Project, run: str) -> str:
    return (project.runs / run / "diagnosis.md").read_text(encoding="utf-8").splitlines()[0]


def test_f46_a_run_that_is_cancelled_has_its_evidence(few: Project, podman: Podman) -> None:
    with few.going("suite.run", "--service", "waiting", "--ports", "auto") as going:
        going.says("it waits")
        began = time.monotonic()
        os.kill(going.process.pid, signal.SIGTERM)
        assert going.ends(60) == 143, going.text
    report, folder = few.report(going.run), few.runs / going.run
    row(
        "F46", "SIGTERM during the suite", title_of(few, going.run)[2:], time.monotonic() - began, "user", "interrupted"
    )
    assert (report["outcome"], report["cause"]["reference"], report["blame"]) == ("interrupted", "interrupted", "user")
    assert title_of(few, going.run).startswith("# interrupted: interrupted by SIGTERM; to do: invoke infra.status")
    assert "Ready to accept connections" in (folder / "logs" / "redis.log").read_text()
    assert "it waits" in (folder / "logs" / "suite.log").read_text()
    assert "Running" in (folder / "inspect" / "redis.json").read_text()
    assert "create" in (folder / "logs" / "events.jsonl").read_text()
    assert "redis: running since" in (folder / "diagnosis.md").read_text()
    assert podman.left_of(going.run) == []


def test_f47_a_second_attempt_leaves_the_first_ones_evidence_alone(few: Project, podman: Podman) -> None:
    first = new_run()
    done = few.invoke("suite.run", "--service", "once", "--run", first, "--retry-infra", "1")
    assert done.code == 0, done.text
    before, after = few.report(first), few.report()
    cause = before["cause"]
    title = title_of(few, first)[2:]
    row("F47", "a run that is repeated", title, cause["named_after_s"], before["blame"], cause["reference"])
    assert title_of(few, first).startswith("# not-ready: redis: ")
    # Where the kernel's log cannot be read nothing tells who has killed it.
    assert before["cause"]["reference"] in ("killed-from-outside", "killed")
    assert "SIGKILL (exit code 137)" in before["cause"]["message"]
    assert before["blame"] == "infrastructure"
    assert (after["retry_of"], after["outcome"]) == (first, "passed")
    for run in (first, after["run"]):
        assert "Ready to accept connections" in (few.runs / run / "logs" / "redis.log").read_text()
        assert podman.left_of(run) == []
    assert not (few.runs / after["run"] / "diagnosis.md").exists()
    assert "redis: exited with code 137" in (few.runs / first / "diagnosis.md").read_text()


def test_f48_what_a_killed_run_has_left_is_swept_and_its_evidence_is_saved(few: Project, podman: Podman) -> None:
    with few.going("suite.run", "--service", "waiting", "--ports", "auto") as going:
        going.says("it waits")
        began = time.monotonic()
        os.kill(going.process.pid, signal.SIGKILL)
        going.ends(10)
        eventually("nothing is left", lambda: podman.left_of(going.run) == [], 60)
        seconds = time.monotonic() - began
    folder = few.runs / going.run
    eventually("the page", (folder / "diagnosis.md").exists, 10)
    title = title_of(few, going.run)[2:]
    row("F48", "SIGKILL to the owner; until nothing was left", title, seconds, "infrastructure", "owner-killed")
    assert title_of(few, going.run) == "# killed: the process that owned this run ended without a word: it was killed"
    page = (folder / "diagnosis.md").read_text()
    assert "- reference: owner-killed\n" in page
    assert "redis: running since" in page
    assert "Ready to accept connections" in (folder / "logs" / "redis.log").read_text()
    assert f"swept {going.run}" in (folder / "logs" / "engine.log").read_text()
