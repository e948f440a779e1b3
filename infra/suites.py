"""The suite: a Go or Python test command that runs while the stack is watched, and whose own report is believed.

Never its console text and never its exit code alone: green without a report, or with nothing run, is a failure.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra import ginkgo, tools
from infra.commands import Command
from infra.errors import SuiteFailed
from infra.model import GinkgoSuite, Step
from infra.placeholders import one_line
from infra.report import SuiteResult
from infra.signals import Interrupts

_LOOK_EVERY_S = 0.25
_GRACE_S = 10.0
_DUMP_S = 1.5
_LINES = 25
_REASONS = {"compile": "suite-does-not-compile", "timeout": "suite-hung", "interrupted": "suite-killed"}


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """All that one suite needs: where, with what environment, watched how."""

    spec: GinkgoSuite
    args: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    logs: Path
    on_line: Callable[[str], None]
    look: Callable[[], None]
    interrupts: Interrupts
    mask: Callable[[str], str]


def environment(
    base: Mapping[str, str], *, given: Mapping[str, str], path: tuple[str, ...], unset: tuple[str, ...], cwd: Path
) -> dict[str, str]:
    """Return a suite's environment: the host's less `unset`, folders first on PATH, the catalogue's on top."""
    environ = {key: value for key, value in base.items() if key not in unset}
    folders = [str((cwd / folder).resolve()) for folder in path]
    environ["PATH"] = os.pathsep.join([*folders, environ.get("PATH", os.defpath)])
    return environ | dict(given)


def run(suite: SuiteRun) -> tuple[SuiteResult | None, SuiteFailed | None]:
    """Run the suite to its end; return what its own report says, and why it did not pass. Raises what `look` raises."""
    report = suite.logs / "ginkgo.json"
    binary = _ginkgo(suite)
    try:
        code, tail = _watched(suite, ginkgo.command(binary, suite.spec, suite.args, report))
    finally:
        binary.unlink(missing_ok=True)
    if not report.exists():
        return None, _no_report(code, tail)
    report.write_text(suite.mask(report.read_text(encoding="utf-8", errors="replace")), encoding="utf-8")
    try:
        result = ginkgo.read(report, suite.spec.allowed_skips)
    except ValueError:
        return None, _no_report(code, tail)
    return result, judge(suite, report, result, code, tail)


def run_step(suite: SuiteRun, step: Step, command: tuple[str, ...]) -> None:
    """Run a command on the host before the suite. Raises `SuiteFailed`."""
    with _command(suite, command, f"before-{step.name}.log") as running:
        code = running.wait(step.timeout)
        if code != 0:
            why = f"took more than {step.timeout:g} s" if code is None else f"exit code {code}"
            raise SuiteFailed(
                f"{running}: {why}",
                reference="before-suite-command-failed",
                remedy=f"run it in {suite.cwd}: {running}",
                evidence=tuple(running.tail)[-_LINES:],
            )


def _command(suite: SuiteRun, argv: tuple[str, ...], log: str) -> Command:
    if shutil.which(argv[0], path=suite.env.get("PATH")) is None:
        raise tools.not_installed(argv[0])
    program = str(shutil.which(argv[0], path=suite.env.get("PATH")))
    return Command(
        (program, *argv[1:]),
        env=suite.env,
        cwd=suite.cwd,
        log=suite.logs / log,
        on_line=suite.on_line,
        mask=suite.mask,
    )


def _ginkgo(suite: SuiteRun) -> Path:
    """Build the ginkgo command of the version that the workspace's go.mod asks for; unchanged, that takes 0.3 s."""
    binary = suite.logs.parent / "bin" / "ginkgo"
    argv = ("go", "build", "-o", str(binary), ginkgo.PACKAGE)
    with _command(suite, argv, "ginkgo-build.log") as building:
        code = building.wait(600)
        if code != 0:
            raise SuiteFailed(
                f"ginkgo could not be built in {suite.cwd} (exit code {code})",
                reference="ginkgo-build-failed",
                remedy=f"cd {suite.cwd} && go build {ginkgo.PACKAGE}",
                blame="user",
                evidence=tuple(building.tail)[-_LINES:],
            )
    return binary


def _watched(suite: SuiteRun, argv: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Run the command, looking at the stack all the while: a dependency that dies ends the suite at once."""
    with _command(suite, argv, "suite.log") as running:
        suite.on_line(f"+ {running}")
        deadline = time.monotonic() + suite.spec.timeout
        try:
            while (code := running.wait(_LOOK_EVERY_S)) is None:
                suite.look()
                if time.monotonic() > deadline:
                    raise _hung(suite, running)
        except BaseException:
            running.end(_GRACE_S if suite.interrupts.first is not None else 1.0, suite.interrupts.hurry)
            raise
        return code, tuple(running.tail)


def _hung(suite: SuiteRun, running: Command) -> SuiteFailed:
    """Ask where it hangs: Ginkgo (SIGUSR1) for its running specs, then Go (SIGQUIT) for all goroutines.

    While a spec runs in parallel, Ginkgo catches what its process prints, so Go's own dump alone may be lost.
    """
    running.tail.clear()
    running.signal(signal.SIGUSR1)
    running.wait(_DUMP_S)
    told = tuple(running.tail)[:_LINES]
    running.signal(signal.SIGQUIT)
    running.wait(2 * _DUMP_S)
    return SuiteFailed(
        f"the suite did not end within {suite.spec.timeout:g} s",
        reference="suite-hung",
        remedy="the stacks of what hung are at the end of logs/suite.log",
        evidence=told or tuple(running.tail)[-_LINES:],
    )


def _no_report(code: int, tail: tuple[str, ...]) -> SuiteFailed:
    if code < 0:
        return SuiteFailed(
            f"the suite was killed by signal {-code} and left no report",
            reference="suite-killed",
            remedy="look at the end of logs/suite.log",
            evidence=tail[-_LINES:],
        )
    if any("no test suites" in line for line in tail):
        return SuiteFailed(
            "no test suite was found",
            reference="no-suite-found",
            remedy="check suite.packages in the service's file, and INFRA_WORKSPACE",
            blame="user",
            evidence=tail[-_LINES:],
        )
    return SuiteFailed(
        f"the suite ended with exit code {code} and left no report",
        reference="no-report",
        remedy="look at logs/suite.log",
        evidence=tail[-_LINES:],
    )


def _broken(suite: SuiteRun, reasons: tuple[str, ...], tail: tuple[str, ...]) -> SuiteFailed:
    """Return the error for what concerns a whole suite, by Ginkgo's own words."""
    reference, remedy = "suite-broken", "look at the end of logs/suite.log"
    for sign, known in _REASONS.items():
        if any(sign in reason.lower() for reason in reasons):
            reference = known
            break
    if reference == "suite-does-not-compile":
        remedy = f"cd {suite.cwd} && go vet {' '.join(suite.spec.packages)}"
    return SuiteFailed("; ".join(reasons), reference=reference, remedy=remedy, evidence=tail[-_LINES:])


def judge(suite: SuiteRun, report: Path, result: SuiteResult, code: int, tail: tuple[str, ...]) -> SuiteFailed | None:
    """Return why a suite did not pass, the cause before its consequences; None when it did."""
    if broken := ginkgo.special_failures(report):
        return _broken(suite, broken, tail)
    if not result.cases and code != 0:
        # A suite that was killed leaves a report without anything in it (Ginkgo 2.28).
        return SuiteFailed(
            f"the suite ended with exit code {code} before it could report a test: it crashed or was killed",
            reference="suite-killed",
            remedy="look at the end of logs/suite.log",
            evidence=tail[-_LINES:],
        )
    failures = [case for case in result.cases if case.state == "failed"]
    if failures:
        first = failures[0]
        evidence = tuple(f"{case.name}: {one_line(case.message)} ({case.location})" for case in failures)
        setup = first.setup
        return SuiteFailed(
            f"{first.name} failed: {one_line(first.message) or 'no message'}"
            if setup
            else f"{len(failures)} of {result.tests} tests failed, first: {first.name}",
            reference="suite-setup-failed" if setup else "tests-failed",
            remedy=f"{first.location or 'logs/suite.log'}",
            evidence=evidence[:_LINES],
        )
    if unexpected := [case for case in result.cases if case.unexpected]:
        return SuiteFailed(
            f"{len(unexpected)} tests skipped themselves, first: {unexpected[0].name}: {unexpected[0].message}",
            reference="unexpected-skip",
            remedy="make them run, or name them in suite.allowed_skips",
        )
    if result.passed == 0:
        return SuiteFailed(
            f"no test ran ({result.skipped} skipped)",
            reference="no-test-ran",
            remedy="check suite.packages and the focus after --",
        )
    if code != 0:
        return SuiteFailed(
            f"all tests passed, but the suite ended with exit code {code}",
            reference="suite-exit-code",
            remedy="look at the end of logs/suite.log",
            evidence=tail[-_LINES:],
        )
    return None
