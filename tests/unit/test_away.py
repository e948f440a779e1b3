"""What is deliberately away: marks in the private folders of runs, and the words of the tasks that put them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from given import CATALOG, settings_with

from infra import away, components, lease, lease_names, rundir
from infra.errors import Invalid
from infra.lease_names import private_folder
from infra.run_names import new_run

STACK = new_run()
REDIS = f"gateway-redis-{STACK}"


@pytest.fixture
def run() -> Iterator[str]:
    """A run of this process's own."""
    name = new_run()
    with lease.named(name):
        yield name


@pytest.fixture
def other() -> Iterator[str]:
    name = new_run()
    with lease.named(name):
        yield name


def test_a_mark_says_who_it_was_and_goes_with_its_run() -> None:
    name = new_run()
    with lease.named(name):
        away.put(REDIS, name, [name])
        assert [(mark.container, mark.by, mark.who) for mark in away.marks(REDIS)] == [(REDIS, name, f"run {name}")]
        assert [mark.container for mark in away.marks_of(name)] == [REDIS]
    assert away.marks(REDIS) == ()
    assert not private_folder(name).exists()


def test_a_mark_of_one_container_is_none_of_another(run: str) -> None:
    away.put(REDIS, run, [run])
    assert away.marks(f"gateway-redis-{new_run()}") == ()
    assert away.marks(REDIS[:-1]) == ()


def test_another_runs_mark_is_seen_and_is_not_ones_own(run: str, other: str) -> None:
    away.put(REDIS, other, [other])
    assert [mark.by for mark in away.marks(REDIS)] == [other]
    assert away.marks_of(run) == ()


def test_a_persons_mark_stands_in_the_folders_of_those_who_use_the_stack(run: str, other: str) -> None:
    lease_names.use(run, STACK)
    assert lease_names.users_of(STACK).keys() == {run}
    assert lease_names.stack_of(run) == STACK
    assert lease_names.stack_of(other) == other
    away.put(REDIS, None, lease_names.users_of(STACK))
    [mark] = away.marks(REDIS)
    assert (mark.by, mark.who) == (None, "a person (infra.kill or infra.pause)")
    assert away.marks_of(run) == (), "what a person has done is not the suite's"


def test_marks_that_were_read_are_taken_away_and_one_that_was_put_since_stays(run: str, other: str) -> None:
    away.put(REDIS, run, [run])
    away.put(REDIS, other, [other])
    seen = away.marks(REDIS)
    away.put(REDIS, run, [run])
    away.take(seen)
    assert [mark.by for mark in away.marks(REDIS)] == [run]
    away.take(away.marks(REDIS))
    assert away.marks(REDIS) == ()
    away.take(seen)


def test_what_a_run_took_away_is_known_as_long_as_the_run_goes_on() -> None:
    name, someone = new_run(), new_run()
    with lease.named(name), lease.named(someone):
        assert away.ever(name) == frozenset()
        away.put(REDIS, name, [name])
        assert away.ever(name) == {REDIS}
        away.take(away.marks(REDIS))
        assert away.marks(REDIS) == ()
        assert away.ever(name) == {REDIS}
        assert away.ever(someone) == frozenset()
        away.put(f"{REDIS}-2", name, [name])
        assert away.ever(name) == {REDIS, f"{REDIS}-2"}
    assert away.ever(name) == frozenset()


def test_what_a_person_took_away_is_none_of_the_runs_and_hides_nothing_of_it(run: str) -> None:
    away.put(REDIS, None, [run])
    away.take(away.marks(REDIS))
    assert away.ever(run) == frozenset()
    away.put(REDIS, run, [run])
    away.put(REDIS, None, [run])
    assert [mark.by for mark in away.marks(REDIS)] == [None]
    assert away.ever(run) == {REDIS}
    away.take(away.marks(REDIS))
    assert away.marks(REDIS) == ()
    assert away.ever(run) == {REDIS}


def test_the_mark_of_what_was_not_done_is_withdrawn_and_no_record_is_left(run: str) -> None:
    away.withdraw(away.put(REDIS, run, [run]))
    assert away.marks(REDIS) == ()
    assert away.ever(run) == frozenset()
    away.take([away.put(REDIS, run, [run])])
    later = away.put(REDIS, run, [run])
    away.withdraw(later)
    away.withdraw(later)
    assert away.marks(REDIS) == ()
    assert away.ever(run) == {REDIS}


def test_a_mark_that_cannot_be_written_is_an_error_and_none_is_left_elsewhere(run: str, other: str) -> None:
    (private_folder(other) / "away").write_text("no folder", encoding="ascii")
    with pytest.raises(FileExistsError):
        away.put(REDIS, None, [run, other])
    assert away.marks(REDIS) == ()


def test_a_mark_that_nobody_can_read_is_none(run: str) -> None:
    (private_folder(run) / "away").mkdir()
    for text in (b"", b"one", b"a b c", b"\xff \xfe"):
        (private_folder(run) / "away" / REDIS).write_bytes(text)
        assert away.marks(REDIS) == ()
        assert away.marks_of(run) == ()


def test_a_run_that_has_ended_needs_no_mark() -> None:
    gone = new_run()
    away.put(REDIS, gone, [gone])
    assert away.marks(REDIS) == ()
    assert not private_folder(gone).exists()


def test_a_run_without_an_engine_has_none_at_hand(run: str) -> None:
    assert lease_names.engine_of(run) is None
    lease_names.note_engine(run, f"unix://{private_folder(run)}/no-service.sock", None)
    assert lease_names.engine_of(run) == (f"unix://{private_folder(run)}/no-service.sock", None)
    assert lease.engine_at_hand(run) is None
    assert lease.engine_at_hand(new_run()) is None


@pytest.mark.parametrize(
    ("text", "name"), [("KILL", "KILL"), ("kill", "KILL"), ("SIGINT", "INT"), ("15", "TERM"), ("sigquit", "QUIT")]
)
def test_a_signal_has_its_name_or_its_number(text: str, name: str) -> None:
    assert components.signal_name(text) == name


@pytest.mark.parametrize("text", ["", "FOO", "0", "99", "HUP", "SIGSIGKILL", "STOP", "-9", "9 9"])
def test_what_ends_no_component_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as raised:
        components.signal_name(text)
    assert raised.value.reference == "unknown-signal"


def test_the_program_that_a_suite_calls_works_from_anywhere(tmp_path: Path) -> None:
    root = tmp_path / "a 'root' of $HOME"
    (root / "workspace").mkdir(parents=True)
    settings = settings_with(CATALOG, root / "workspace")
    program = rundir.write_program(settings, tmp_path / "a run")
    done = subprocess.run(
        [program, "infra.wait", "--component", "redis", "--for", "ever"],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines()[0] == 'invalid: --for is ready or gone, not "ever"; to do: invoke infra.wait --help'
