"""Taking a component away: whose deed it is, what becomes of its mark, and the fixture; the engine is scripted."""

import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from given import ROOT, plan_of

from infra import away, components, lease, lease_names
from infra.components import Target
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.engine.types import ContainerState, Event
from infra.errors import Internal
from infra.lease_names import private_folder
from infra.run_names import new_run

RUNNING = ContainerState(id="1", status="running", exit_code=0, oom_killed=False, error="", ports={})


class Refusing(Engine):
    """An engine of one container that refuses what would take it away. `state_after` is how that is after a deed."""

    def __init__(self, before: ContainerState, after: ContainerState | None) -> None:
        self.url = "tcp://127.0.0.1:1"
        self.now: ContainerState | None = before
        self.after = after
        self.asked: list[str] = []

    def state(self, container: str) -> ContainerState | None:
        return self.now

    def kill(self, container: str, signum: str) -> None:
        self._refuse(f"kill {signum}")

    def freeze(self, container: str, *, frozen: bool) -> None:
        if not frozen and self.now is not None:
            self.now = replace(self.now, status="running")
            return
        self._refuse("pause")

    def _refuse(self, what: str) -> None:
        self.asked.append(what)
        self.now = self.after
        raise EngineRefused("pause is not supported for rootless containers with cgroups v1", 500)

    def log_pieces(self, container: str, tail: int | None = None) -> Generator[bytes, None, None]:
        yield b""

    def container_events(self, container: str) -> tuple[Event, ...]:
        return (Event(name="start", at=datetime.now(UTC)),)


@pytest.fixture
def run() -> Iterator[str]:
    name = new_run()
    with lease.named(name):
        yield name


def target(tmp_path: Path, engine: Engine, by: str | None, stack: str) -> Target:
    made = plan_of(tmp_path / new_run())
    step = next(step for step in made.steps if step.kind == "service")
    step = replace(step, container=f"unit-{step.name}-{stack}")
    return Target(engine=engine, made=made, step=step, run=by, stack=stack)


@pytest.mark.parametrize("deed", [Target.pause, lambda target: target.kill("KILL")])
def test_what_the_engine_refuses_leaves_no_mark_where_the_component_runs_on(
    tmp_path: Path, run: str, deed: object
) -> None:
    assert callable(deed)
    engine = Refusing(RUNNING, RUNNING)
    one = target(tmp_path, engine, run, run)
    with pytest.raises(EngineRefused):
        deed(one)
    assert len(engine.asked) == 1
    assert away.marks(one.step.container) == ()
    assert away.ever(run) == frozenset()


def test_what_was_frozen_before_stays_known_as_away_before_when_it_goes_on_and_is_not_killed(
    tmp_path: Path, run: str
) -> None:
    one = target(tmp_path, Refusing(replace(RUNNING, status="paused"), RUNNING), run, run)
    away.put(one.step.container, run, [run])
    with pytest.raises(EngineRefused):
        one.kill("TERM")
    assert away.marks(one.step.container) == ()
    assert away.ever(run) == {one.step.container}


def test_the_mark_stays_where_it_is_away_all_the_same(tmp_path: Path, run: str) -> None:
    paused = replace(RUNNING, status="paused")
    one = target(tmp_path, Refusing(RUNNING, paused), run, run)
    with pytest.raises(EngineRefused):
        one.pause()
    assert [mark.by for mark in away.marks(one.step.container)] == [run]


def test_what_has_ended_meanwhile_needs_no_signal(tmp_path: Path, run: str) -> None:
    one = target(tmp_path, Refusing(RUNNING, replace(RUNNING, status="exited", exit_code=137)), run, run)
    assert one.kill("KILL").what == "killed with SIGKILL (exit code 137)"
    assert [mark.by for mark in away.marks(one.step.container)] == [run]


def test_nothing_is_done_where_the_mark_cannot_be_written(tmp_path: Path, run: str) -> None:
    (private_folder(run) / "away").write_text("no folder", encoding="ascii")
    engine = Refusing(RUNNING, RUNNING)
    one = target(tmp_path, engine, run, run)
    with pytest.raises(Internal) as raised:
        one.kill("KILL")
    assert "is left as it is" in raised.value.message
    assert "File exists" in raised.value.message
    assert engine.asked == []


def test_a_person_marks_the_run_whose_stack_it_is_and_those_that_use_it(tmp_path: Path, run: str) -> None:
    user = new_run()
    with lease.named(user):
        lease_names.use(user, run)
        one = target(tmp_path, Refusing(RUNNING, replace(RUNNING, status="paused")), None, run)
        with pytest.raises(EngineRefused):
            one.pause()
        assert [mark.by for mark in away.marks(one.step.container)] == [None, None]
        assert away.marks_of(run) == away.marks_of(user) == ()


def test_only_the_suite_of_a_run_that_goes_on_takes_away_as_that_run(run: str) -> None:
    assert components.doer(run, run) == run
    assert components.doer("", run) is None, "a person, also where the run goes on"
    assert components.doer(new_run(), run) is None, "another run's suite"
    kept = new_run()
    assert components.doer(kept, kept) is None, "who has sourced the environment of a kept stack"
    lease_names.use(run, kept)
    assert components.doer(run, kept) == run
    assert components.doer(run, run) is None


SUITE = """
import pytest

def test_takes_three(infra_component):
    for name in ("one", "two", "three"):
        infra_component(name).kill()

def test_waits(infra_component): infra_component("one").wait(timeout="3m")

def test_is_wrong(infra_component): infra_component("one").wait(timeout="long")
"""
PROGRAM = """#!/bin/sh
echo "$@" >>"$CALLS"
case "$*" in
*infra.start*one*|*infra.start*two*) echo "refused" >&2; exit 75;;
*long*) echo "is a duration" >&2; exit 78;;
esac
"""


def suite(tmp_path: Path, test: str, *, mode: int = 0o755) -> tuple[str, list[str]]:
    """Run one test with a program in place of ours; return what pytest said, and the program's calls."""
    (tmp_path / "test_it.py").write_text(SUITE, encoding="utf-8")
    program = tmp_path / "invoke"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(mode)
    calls = tmp_path / "calls"
    calls.touch()
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-p", "infra.pytest_components", "-p", "no:cacheprovider", "-k", test, "."),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "INFRA_INVOKE": str(program), "CALLS": str(calls), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout, calls.read_text(encoding="utf-8").splitlines()


def test_the_fixture_starts_all_that_were_asked_for_and_says_which_are_not_back(tmp_path: Path) -> None:
    said, calls = suite(tmp_path, "test_takes_three")
    assert calls[3:] == [f"infra.start --component {name}" for name in ("one", "two", "three")]
    assert "1 passed" in said
    assert "1 error" in said
    assert "infra.start one: refused" in said
    assert "infra.start two: refused" in said


def test_the_fixture_waits_as_long_as_it_was_told_and_leaves_a_wrong_duration_to_the_program(tmp_path: Path) -> None:
    _, calls = suite(tmp_path, "test_waits")
    assert calls[0] == "infra.wait --for ready --timeout 3m --component one"
    said, _ = suite(tmp_path, "test_is_wrong")
    assert "infra.wait one: is a duration" in said


def test_a_program_that_cannot_be_called_fails_the_test_in_one_line(tmp_path: Path) -> None:
    said, _ = suite(tmp_path, "test_waits", mode=0o644)
    assert "infra.wait one: [Errno 13] Permission denied" in said
    assert "Traceback" not in said
