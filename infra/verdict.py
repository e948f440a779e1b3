"""Why a suite did not pass: its report judged, the cause before its consequences. Pure."""

from __future__ import annotations

import re

from infra.causes.table import signal_name
from infra.errors import SuiteFailed, edit
from infra.placeholders import one_line
from infra.report import SuiteResult

LINES = 25
_LOG = "less {folder}/logs/suite.log"
_LOOK = "the suite's packages or paths; is INFRA_WORKSPACE right?"
SERVICES = "infra/catalog/services"
# As Go's compiler and vet say it: file, line, column.
_COMPILER = re.compile(r"\s*(?:vet: )?\S+\.go:\d+(?::\d+)?: ")
_NO_TESTS = 5  # pytest's exit code where nothing was collected, or all deselected
# How Ginkgo, gotestsum and pytest say that what the catalogue names is not there.
_NOT_FOUND = ("no test suites", "no packages to test", "file or directory not found")


def judge(
    result: SuiteResult, code: int, tail: tuple[str, ...], *, check: str, file: str = SERVICES
) -> SuiteFailed | None:
    """Return why a suite did not pass; None when it did.

    `check` is a command that shows what does not compile, `file` declares the suite.
    """
    if result.broken:
        return _broken(result.broken, tail, check, file)
    if code < 0:
        return _killed(code, f"after {result.tests} tests", tail)
    if not result.cases and (missing := _not_found(tail, file)):
        return missing
    if not result.cases and code not in (0, _NO_TESTS):
        # A suite that was killed leaves a report without anything in it (Ginkgo 2.28).
        return SuiteFailed(
            f"the suite ended with exit code {code} before it could report a test: it crashed or was killed",
            reference="suite-killed",
            remedy=_LOG,
            evidence=tail[-LINES:],
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
            remedy=_at(first.location),
            evidence=evidence[:LINES],
        )
    if unexpected := [case for case in result.cases if case.unexpected]:
        return SuiteFailed(
            f"{len(unexpected)} tests skipped themselves, first: {unexpected[0].name}: {unexpected[0].message}",
            reference="unexpected-skip",
            remedy=edit(file, "suite.allowed_skips: name them, or make them run"),
        )
    if result.passed == 0:
        return SuiteFailed(
            f"no test ran ({result.skipped} skipped)",
            reference="no-test-ran",
            remedy=edit(file, f"{_LOOK}; and what stands after --"),
        )
    if code != 0:
        return SuiteFailed(
            f"all tests passed, but the suite ended with exit code {code}",
            reference="suite-exit-code",
            remedy=_LOG,
            evidence=tail[-LINES:],
        )
    return None


def no_report(code: int, tail: tuple[str, ...], file: str = SERVICES) -> SuiteFailed:
    """Return the error for a suite that has left no report that can be read."""
    if code < 0:
        return _killed(code, "and left no report", tail)
    if missing := _not_found(tail, file):
        return missing
    return SuiteFailed(
        f"the suite ended with exit code {code} and left no report",
        reference="no-report",
        remedy=_LOG,
        evidence=tail[-LINES:],
    )


def hung(timeout_s: float, told: tuple[str, ...]) -> SuiteFailed:
    """Return the error for a suite that took too long; `told` is what it said when it was asked where."""
    return SuiteFailed(
        f"the suite did not end within {timeout_s:g} s",
        reference="suite-hung",
        remedy=f"{_LOG}  # the stacks of what hung are at its end",
        evidence=told[-LINES:],
    )


def _killed(code: int, when: str, tail: tuple[str, ...]) -> SuiteFailed:
    return SuiteFailed(
        f"the suite was killed by {signal_name(-code)} (signal {-code}) {when}",
        reference="suite-killed",
        remedy=_LOG,
        evidence=tail[-LINES:],
    )


def _not_found(tail: tuple[str, ...], file: str) -> SuiteFailed | None:
    """Return the error for a runner that says that there is nothing where the catalogue points."""
    if not any(words in line for words in _NOT_FOUND for line in tail):
        return None
    return SuiteFailed(
        "no test suite was found",
        reference="no-suite-found",
        remedy=edit(file, _LOOK),
        blame="user",
        evidence=tail[-LINES:],
    )


def _at(location: str) -> str:
    """Return the remedy for a place in a suite: a path can be edited, one that is not known to be there is told."""
    file, _, line = location.rpartition(":")
    if file.startswith("/"):
        return edit(file, f"line {line}")
    return f"{_LOG}  # {location}" if location else _LOG


def _broken(reasons: tuple[str, ...], tail: tuple[str, ...], check: str, file: str) -> SuiteFailed:
    """Return the error for what concerns a whole suite, by the runner's own words."""
    said, words, end = "; ".join(reasons), " ".join(reasons).lower(), tail[-LINES:]
    if "no such package" in words:
        remedy = edit(file, _LOOK)
        return SuiteFailed(said, reference="no-suite-found", remedy=remedy, blame="user", evidence=end)
    if "compile" in words:
        at = next(filter(_COMPILER.match, said.splitlines()), None)
        said = f"the suite does not compile: {at.strip()}" if at else said
        return SuiteFailed(said, reference="suite-does-not-compile", remedy=check, evidence=end)
    if "timeout" in words:
        return SuiteFailed(said, reference="suite-hung", remedy=_LOG, evidence=end)
    if "interrupted" in words:
        return SuiteFailed(said, reference="suite-killed", remedy=_LOG, evidence=end)
    return SuiteFailed(said, reference="suite-broken", remedy=_LOG, evidence=end)
