"""Signals as a real process gets them: one exception, once, and cleaning up is never cut short."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from given import ROOT

PROGRAM = """
import os, sys, time
sys.path.insert(0, {root!r})
from infra import signals
from infra.errors import Interrupted

def say(*words):
    print(*words, flush=True)

def wait():
    end = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.01)

try:
    with signals.caught() as interrupts:
        try:
{body}
        except Interrupted as error:
            say("interrupted", error.exit_code, error)
            say("cleaning")
            for _ in range(200):
                time.sleep(0.01)
                if interrupts.hurry.is_set():
                    say("hurry")
                    break
            raise
except Interrupted as error:
    raise SystemExit(error.exit_code)
say("went on")
"""
WAIT = """
say("ready")
wait()
"""
HELD = """
with interrupts.held():
    say("ready")
    end = time.monotonic() + 5
    while interrupts.first is None and time.monotonic() < end:
        time.sleep(0.01)
    say("cleaned", interrupts.first)
interrupts.check()
"""
NESTED = """
with interrupts.held():
    with interrupts.held():
        pass
    say("ready")
    time.sleep(0.5)
    say("cleaned")
say("not yet")
interrupts.check()
"""
RAISED = """
with interrupts.held():
    try:
        with interrupts.raised():
            say("ready")
            wait()
    finally:
        say("cleaned", interrupts.first)
"""
ONCE = """
say("ready")
time.sleep(0.3)
"""


class Program:
    """The program while it runs, line by line."""

    def __init__(self, body: str, environ: dict[str, str], pass_fds: tuple[int, ...], ignored: tuple[int, ...]) -> None:
        text = PROGRAM.format(root=str(ROOT), body="\n".join(f"            {line}" for line in body.splitlines()))

        def ignore() -> None:
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(signum, signal.SIG_IGN if signum in ignored else signal.SIG_DFL)

        self.process = subprocess.Popen(
            [sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            bufsize=0,
            env={"PATH": os.defpath, **environ},
            pass_fds=pass_fds,
            preexec_fn=ignore,  # noqa: PLW1509 - no threads here, and no other way to start with signals ignored
            start_new_session=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 10)[0], "nothing was said for 10 s"
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self) -> tuple[int, list[str]]:
        said = self.process.communicate(timeout=10)[0].decode().splitlines()
        return self.process.returncode, said


class Start:
    """Starts programs and leaves none behind."""

    def __init__(self) -> None:
        self.programs: list[Program] = []

    def __call__(
        self,
        body: str,
        environ: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        ignored: tuple[int, ...] = (),
    ) -> Program:
        program = Program(body, environ or {}, pass_fds, ignored)
        self.programs.append(program)
        assert program.line() == "ready"
        return program


@pytest.fixture
def start() -> Iterator[Start]:
    starting = Start()
    yield starting
    for program in starting.programs:
        program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_interrupts_once_and_the_second_only_hurries(signum: signal.Signals, code: int, start: Start) -> None:
    program = start(WAIT)
    program.process.send_signal(signum)
    assert program.line() == f"interrupted {code} interrupted by {signum.name}"
    assert program.line() == "cleaning"
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "hurry"
    assert program.end() == (code, [])


def test_a_signal_that_arrives_while_held_waits_until_it_is_asked_for(start: Start) -> None:
    program = start(HELD)
    program.process.send_signal(signal.SIGTERM)
    assert program.line() == "cleaned 15"
    assert program.line() == "interrupted 143 interrupted by SIGTERM"
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == 143


def test_an_inner_hold_does_not_end_the_outer_one(start: Start) -> None:
    program = start(NESTED)
    program.process.send_signal(signal.SIGTERM)
    assert [program.line() for _ in range(3)] == ["cleaned", "not yet", "interrupted 143 interrupted by SIGTERM"]


def test_a_block_of_a_held_one_may_be_interrupted(start: Start) -> None:
    program = start(RAISED)
    program.process.send_signal(signal.SIGTERM)
    assert [program.line() for _ in range(2)] == ["cleaned 15", "interrupted 143 interrupted by SIGTERM"]


def test_a_terminal_that_hangs_up_twice_hurries_nothing(start: Start) -> None:
    program = start(WAIT)
    program.process.send_signal(signal.SIGHUP)
    assert program.line() == "interrupted 129 interrupted by SIGHUP"
    assert program.line() == "cleaning"
    program.process.send_signal(signal.SIGHUP)
    assert program.end() == (129, [])


def test_many_signals_at_once_are_one_interrupt(start: Start) -> None:
    program = start(WAIT)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        program.process.send_signal(signum)
    code, said = program.end()
    assert code in (130, 143, 129)
    assert len([line for line in said if line.startswith("interrupted")]) == 1
    assert said[-1] == "hurry"


def test_a_hangup_that_was_ignored_at_start_stays_ignored(start: Start) -> None:
    program = start(ONCE, ignored=(signal.SIGHUP,))
    program.process.send_signal(signal.SIGHUP)
    assert program.end() == (0, ["went on"])


def test_an_interrupt_that_was_ignored_at_start_is_caught(start: Start) -> None:
    program = start(WAIT, ignored=(signal.SIGINT,))
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "interrupted 130 interrupted by SIGINT"


def test_the_handlers_are_given_back() -> None:
    text = (
        f"import sys, signal; sys.path.insert(0, {str(ROOT)!r})\n"
        "from infra import signals\n"
        "caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)\n"
        "before = [signal.getsignal(one) for one in caught]\n"
        "with signals.caught():\n"
        "    assert all(signal.getsignal(one) not in before for one in caught)\n"
        "assert [signal.getsignal(one) for one in caught] == before\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=20)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_the_end_of_the_parents_pipe_interrupts_and_says_why(start: Start, pipe: tuple[int, int]) -> None:
    read, write = pipe
    environ = {"INFRA_PARENT_PIPE": f"{read}:{os.fstat(read).st_ino}"}
    program = start(WAIT, environ, pass_fds=(read,))
    time.sleep(0.3)
    assert program.process.poll() is None
    os.close(write)
    assert program.line() == "interrupted 143 the process that started this run is gone"


@pytest.mark.parametrize("said", ["", "x", "99999:1", "{read}", "{read}:1", ":"])
def test_what_is_not_the_parents_pipe_is_left_alone(said: str, start: Start, pipe: tuple[int, int]) -> None:
    read, write = pipe
    program = start(ONCE, {"INFRA_PARENT_PIPE": said.format(read=read)}, pass_fds=(read,))
    os.close(write)
    assert program.end() == (0, ["went on"])


@pytest.mark.parametrize(("late", "said"), [(0.0, []), (1.2, ["hurry"])])
def test_what_nox_tells_again_is_no_second_interrupt(
    late: float, said: list[str], start: Start, pipe: tuple[int, int]
) -> None:
    """After a Ctrl-C nox sends a SIGTERM of its own, after 0.3 s."""
    read, _ = pipe
    program = start(WAIT, {"INFRA_PARENT_PIPE": f"{read}:{os.fstat(read).st_ino}"}, pass_fds=(read,))
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "interrupted 130 interrupted by SIGINT"
    assert program.line() == "cleaning"
    time.sleep(late)
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == (130, said)


def test_a_nox_that_dies_of_the_same_signal_hurries_nothing(start: Start, pipe: tuple[int, int]) -> None:
    read, write = pipe
    program = start(WAIT, {"INFRA_PARENT_PIPE": f"{read}:{os.fstat(read).st_ino}"}, pass_fds=(read,))
    program.process.send_signal(signal.SIGTERM)
    os.close(write)
    assert program.line() == "interrupted 143 interrupted by SIGTERM"
    assert program.end() == (143, ["cleaning"])


# -- an output that nobody reads

SILENT = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from infra import signals
from infra.errors import Interrupted

sys.stderr.write("ready\\n")
try:
    with signals.caught(output=True) as interrupts:
        end = time.monotonic() + float(sys.argv[1])
        while time.monotonic() < end:
            time.sleep(0.01)
except Interrupted as error:
    time.sleep(0.1)
    sys.stderr.write(f"{{error}} {{interrupts.hurry.is_set()}}\\n")
    raise SystemExit(error.exit_code)
"""
CLOSED = "the output was closed: nobody reads it any more False\n"
Ends = Callable[[], tuple[int, int]]


def pair() -> tuple[int, int]:
    ends = socket.socketpair()
    return ends[0].detach(), ends[1].detach()


def silent(stdout: int, seconds: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", SILENT, str(seconds)]
    return subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("ends", [os.pipe, pair], ids=["pipe", "socket"])
def test_an_output_that_is_closed_interrupts_though_nothing_is_written(ends: Ends) -> None:
    reading, writing = ends()
    with silent(writing, 10) as program:
        os.close(writing)
        assert program.stderr is not None
        assert program.stderr.readline() == "ready\n"
        time.sleep(0.3)
        assert program.poll() is None
        os.close(reading)
        assert (program.wait(5), program.stderr.read()) == (141, CLOSED)


def test_a_signal_and_then_a_closed_output_are_one_interrupt() -> None:
    """As a Ctrl-C is that ends a `tee` too."""
    reading, writing = os.pipe()
    with silent(writing, 10) as program:
        os.close(writing)
        assert program.stderr is not None
        program.stderr.readline()
        time.sleep(0.3)
        program.send_signal(signal.SIGINT)
        os.close(reading)
        assert (program.wait(5), program.stderr.read()) == (130, "interrupted by SIGINT False\n")


def test_an_output_that_is_a_file_interrupts_nothing(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file, silent(file.fileno(), 0.5) as program:
        assert program.wait(10) == 0


def test_an_output_that_somebody_reads_interrupts_nothing() -> None:
    reading, writing = os.pipe()
    with silent(writing, 0.5) as program:
        os.close(writing)
        assert program.wait(10) == 0
        os.close(reading)


def test_an_interrupt_before_a_run_catches_it_is_told_like_any_other() -> None:
    says = """
import signal
from infra.tasks import common
signal.signal(signal.SIGINT, signal.default_int_handler)
with common.told():
    signal.raise_signal(signal.SIGINT)
"""
    argv = (sys.executable, "-c", says)
    done = subprocess.run(argv, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("interrupted: interrupted by SIGINT")
