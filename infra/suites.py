"""The suite: a Go or Python test command that runs while the stack is watched, and whose own report is believed.

Never its console text and never its exit code alone: green without a report, or with nothing run, is a failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, assert_never

from infra import tools, verdict
from infra.bounded import BoundedLog
from infra.commands import Command
from infra.errors import SuiteFailed, Unavailable, edit
from infra.masked_report import masked_result
from infra.masking import in_pieces
from infra.model import GinkgoSuite, GotestsumSuite, PytestSuite, Step, SuiteSpec
from infra.report import SuiteResult
from infra.runners import program
from infra.runners.ginkgo import Ginkgo
from infra.runners.gotestsum import Gotestsum
from infra.runners.places import placed
from infra.runners.pytest import Pytest
from infra.signals import Interrupts
from infra.verdict import LINES

_LOOK_EVERY_S = 0.25
_GRACE_S = 10.0
_DUMP_S = 1.5
_PIECE = 1024 * 1024


class Runner(Protocol):
    """What `infra` knows of a test runner. `tool` is the Go package of its command, where go.mod asks for a version."""

    @property
    def report(self) -> str:
        """The report's file name."""

    @property
    def hang(self) -> tuple[signal.Signals, ...]:
        """The signals that make it say where it hangs, one after another."""

    @property
    def end(self) -> signal.Signals:
        """The signal after which it still writes its report."""

    @property
    def check(self) -> str:
        """A command that shows why a suite cannot be started."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that it writes into, and that only one suite at a time can use."""

    def command(self, program: Sequence[str], args: Sequence[str], report: Path) -> tuple[str, ...]:
        """Return the command line."""

    def read(self, report: Path) -> SuiteResult:
        """Read its report. Raises ValueError where it is none."""


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """All that one suite needs: where, with what environment, watched how. `python` runs pytest."""

    spec: SuiteSpec
    args: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    logs: Path
    # Where the runner writes its own report, with whatever secrets, as long as the run goes on.
    raw: Path
    on_line: Callable[[str], None]
    look: Callable[[], None]
    interrupts: Interrupts
    mask: Callable[[str], str]
    # Told what the suite's own report says, also of a suite that was ended because its stack had died.
    heard: Callable[[SuiteResult | None], None] = lambda _: None
    python: str = "python3"
    file: str = verdict.SERVICES
    """What declares it."""

    def with_python(self, python: Path) -> SuiteRun:
        """Return the same with the python of an environment of its own, which is first on PATH, too."""
        path = os.pathsep.join([str(python.parent), self.env.get("PATH", os.defpath)])
        return replace(
            self, python=str(python), env={**self.env, "PATH": path, "VIRTUAL_ENV": str(python.parent.parent)}
        )


def runner_of(spec: SuiteSpec) -> Runner:
    """Return the runner that a suite declares."""
    match spec:
        case GinkgoSuite():
            return Ginkgo(spec=spec)
        case GotestsumSuite():
            return Gotestsum(spec=spec)
        case PytestSuite():
            return Pytest(spec=spec)
        case _:
            assert_never(spec)


def run(suite: SuiteRun) -> tuple[SuiteResult | None, SuiteFailed | None]:
    """Run the suite to its end; return what its own report says, and why it did not pass. Raises what `look` raises."""
    runner = runner_of(suite.spec)
    suite.raw.mkdir(parents=True, exist_ok=True)
    report = suite.raw / runner.report
    with _program(suite) as words:
        try:
            with _turn(suite, runner.folders):
                code, tail = _watched(suite, runner, runner.command(words, suite.args, report))
        finally:
            over = datetime.now(UTC)
            result = _read(suite, runner, report)
            suite.heard(result)
    if result is None and any("No module named pytest" in line for line in tail):
        raise Unavailable(
            f"the suite's python has no pytest: {shutil.which(suite.python, path=suite.env.get('PATH'))}",
            reference="tool-missing",
            remedy=edit(suite.file, 'suite: requirements = ["requirements-test.txt"], or install pytest there'),
            blame="user",
        )
    check = f"cd {shlex.quote(str(suite.cwd))} && {runner.check}"
    error = (
        verdict.no_report(code, tail, suite.file)
        if result is None
        else verdict.judge(result, code, tail, check=check, file=suite.file)
    )
    if error is not None:
        error.shown = over
    return result, error


def _read(suite: SuiteRun, runner: Runner, report: Path) -> SuiteResult | None:
    """Read the suite's own report, and keep it among the logs, both masked. Never raises: why it ended comes first."""
    result = None
    # A report is whatever a program has written.
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        result = masked_result(placed(runner.read(report), suite.cwd), suite.mask)
    with contextlib.suppress(OSError):
        _keep_masked(report, suite.logs / report.name, suite.mask)
    with contextlib.suppress(OSError):
        report.unlink(missing_ok=True)
        for other in suite.raw.iterdir():  # what a person has asked for after `--`
            shutil.move(other, suite.logs / other.name)
    return result


def _keep_masked(report: Path, to: Path, mask: Callable[[str], str]) -> None:
    part = to.with_name(f".{to.name}.part")
    try:
        with report.open(encoding="utf-8", errors="replace", newline="") as raw, BoundedLog(part) as kept:
            for text in in_pieces(iter(lambda: raw.read(_PIECE), ""), mask):
                kept.write(text.encode("utf-8", "replace"))
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


def run_step(suite: SuiteRun, step: Step, command: tuple[str, ...]) -> None:
    """Run a command on the host before the suite. Raises `SuiteFailed`."""
    with start(suite, command, f"before-{step.name}.log") as running:
        code = running.wait(step.timeout)
        if code != 0:
            why = f"took more than {step.timeout:g} s" if code is None else f"exit code {code}"
            raise SuiteFailed(
                f"{running}: {why}",
                reference="before-suite-command-failed",
                remedy=f"cd {shlex.quote(str(suite.cwd))} && {running}",
                evidence=tuple(running.tail)[-LINES:],
            )


def start(suite: SuiteRun, argv: tuple[str, ...], log: str, shown: bool = True) -> Command:
    """Return a command of a suite's, in its folder and its environment. Raises `Unavailable` where it is missing."""
    program = shutil.which(argv[0], path=suite.env.get("PATH"))
    if program is None:
        raise tools.not_installed(argv[0])
    return Command(
        (program, *argv[1:]),
        env=suite.env,
        cwd=suite.cwd,
        log=suite.logs / log,
        on_line=suite.on_line if shown else lambda _: None,
        mask=suite.mask,
    )


def _program(suite: SuiteRun) -> contextlib.AbstractContextManager[tuple[str, ...]]:
    if not suite.spec.tool:
        return contextlib.nullcontext((suite.python, "-m", "pytest"))
    return program.had(suite.spec.tool, suite.cwd, suite.logs.parent / "bin", partial(start, suite))


@contextlib.contextmanager
def _turn(suite: SuiteRun, folders: Sequence[str]) -> Iterator[None]:
    """Have folders for this suite alone, by a lock on the folder itself: it ends with its holder."""
    deadline = time.monotonic() + suite.spec.timeout
    with contextlib.ExitStack() as stack:
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                held = os.open(suite.cwd / folder, os.O_RDONLY)
                stack.callback(os.close, held)
                _wait_for(suite, held, folder, deadline)
        yield


def _wait_for(suite: SuiteRun, held: int, folder: str, deadline: float) -> None:
    told = False
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                suite.on_line(f"# waiting: another run has its suite in {folder}")
                told = True
            suite.look()
            time.sleep(_LOOK_EVERY_S)
            if time.monotonic() > deadline:
                raise SuiteFailed(
                    f"another run has had its suite in {suite.cwd / folder} for {suite.spec.timeout:g} s",
                    reference="suite-folder-busy",
                    remedy="invoke infra.status  # wait, or give this run a workspace of its own (INFRA_WORKSPACE)",
                    blame="user",
                ) from None
        else:
            return


def _watched(suite: SuiteRun, runner: Runner, argv: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Run the command, looking at the stack all the while: a dependency that dies ends the suite at once."""
    with start(suite, argv, "suite.log") as running:
        suite.on_line(f"+ {running}")
        deadline = time.monotonic() + suite.spec.timeout
        try:
            while (code := running.wait(_LOOK_EVERY_S)) is None:
                suite.look()
                if time.monotonic() > deadline:
                    raise verdict.hung(suite.spec.timeout, _asked(running, runner.hang))
        except BaseException:
            grace = _GRACE_S if suite.interrupts.first is not None else 1.0
            running.end(grace, suite.interrupts.hurry, runner.end)
            raise
        return code, tuple(running.tail)


def _asked(running: Command, signals: Sequence[signal.Signals]) -> tuple[str, ...]:
    """Ask a suite where it hangs, and return the first answer.

    While a spec runs in parallel, Ginkgo catches what its process prints, so Go's own dump alone may be lost.
    """
    running.tail.clear()
    told: tuple[str, ...] = ()
    for number, signum in enumerate(signals, start=1):
        running.signal(signum)
        running.wait(number * _DUMP_S)
        told = told or tuple(running.tail)[:LINES]
    return told
