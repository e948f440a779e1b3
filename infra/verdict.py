"""Why a suite did not pass: its report judged, the cause before its consequences. Pure."""

from __future__ import annotations

from infra.errors import SuiteFailed
from infra.placeholders import one_line
from infra.report import SuiteResult

LINES = 25
_LOOK = "check the suite's packages or paths in the service's file, and INFRA_WORKSPACE"
_NO_TESTS = 5  # pytest's exit code where nothing was collected, or all deselected
_REASONS = {
    "no such package": "no-suite-found",
    "compile": "suite-does-not-compile",
    "timeout": "suite-hung",
    "interrupted": "suite-killed",
}
# How Ginkgo, gotestsum and pytest say that what the catalogue names is not there.
_NOT_FOUND = ("no test suites", "no packages to test", "file or directory not found")


def judge(result: SuiteResult, code: int, tail: tuple[str, ...], *, check: str) -> SuiteFailed | None:
    """Return why a suite did not pass; None when it did. `check` is a command that shows what does not compile."""
    if result.broken:
        return _broken(result.broken, tail, check)
    if code < 0:
        return _killed(code, f"after {result.tests} tests", tail)
    if not result.cases and (missing := _not_found(tail)):
        return missing
    if not result.cases and code not in (0, _NO_TESTS):
        # A suite that was killed leaves a report without anything in it (Ginkgo 2.28).
        return SuiteFailed(
            f"the suite ended with exit code {code} before it could report a test: it crashed or was killed",
            reference="suite-killed",
            remedy="look at the end of logs/suite.log",
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
            remedy=f"{first.location or 'logs/suite.log'}",
            evidence=evidence[:LINES],
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
            remedy="check the suite's packages or paths in the service's file, and what stands after --",
        )
    if code != 0:
        return SuiteFailed(
            f"all tests passed, but the suite ended with exit code {code}",
            reference="suite-exit-code",
            remedy="look at the end of logs/suite.log",
            evidence=tail[-LINES:],
        )
    return None


def no_report(code: int, tail: tuple[str, ...]) -> SuiteFailed:
    """Return the error for a suite that has left no report that can be read."""
    if code < 0:
        return _killed(code, "and left no report", tail)
    if missing := _not_found(tail):
        return missing
    return SuiteFailed(
        f"the suite ended with exit code {code} and left no report",
        reference="no-report",
        remedy="look at logs/suite.log",
        evidence=tail[-LINES:],
    )


def hung(timeout_s: float, told: tuple[str, ...]) -> SuiteFailed:
    """Return the error for a suite that took too long; `told` is what it said when it was asked where."""
    return SuiteFailed(
        f"the suite did not end within {timeout_s:g} s",
        reference="suite-hung",
        remedy="the stacks of what hung are at the end of logs/suite.log",
        evidence=told[-LINES:],
    )


def _killed(code: int, when: str, tail: tuple[str, ...]) -> SuiteFailed:
    return SuiteFailed(
        f"the suite was killed by signal {-code} {when}",
        reference="suite-killed",
        remedy="look at the end of logs/suite.log",
        evidence=tail[-LINES:],
    )


def _not_found(tail: tuple[str, ...]) -> SuiteFailed | None:
    """Return the error for a runner that says that there is nothing where the catalogue points."""
    if not any(words in line for words in _NOT_FOUND for line in tail):
        return None
    return SuiteFailed(
        "no test suite was found",
        reference="no-suite-found",
        remedy=_LOOK,
        blame="user",
        evidence=tail[-LINES:],
    )


def _broken(reasons: tuple[str, ...], tail: tuple[str, ...], check: str) -> SuiteFailed:
    """Return the error for what concerns a whole suite, by the runner's own words."""
    reference, remedy = "suite-broken", "look at the end of logs/suite.log"
    for sign, known in _REASONS.items():
        if any(sign in reason.lower() for reason in reasons):
            reference = known
            break
    if reference == "suite-does-not-compile":
        remedy = check
    if reference == "no-suite-found":
        return SuiteFailed("; ".join(reasons), reference=reference, remedy=_LOOK, blame="user", evidence=tail[-LINES:])
    return SuiteFailed("; ".join(reasons), reference=reference, remedy=remedy, evidence=tail[-LINES:])
