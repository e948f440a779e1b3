"""pytest: its command line, and its JUnit report, which is believed instead of its console text. Pure.

An expected failure (xfail) is pending work; any other skip was asked for by the test itself. What could not be
collected is a broken set-up. https://docs.pytest.org/en/stable/how-to/output.html#creating-junitxml-format-files
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from infra.errors import SuiteFailed
from infra.model import PytestSuite
from infra.report import SETUP, Case, SuiteResult

_LOCATION = re.compile(r"^([^\s:]+\.py:\d+):", re.MULTILINE)
_SYNTAX = re.compile(r'^E +File "(.+)", line (\d+)$', re.MULTILINE)
_COLLECTING = "collection failure"
_NOT_COLLECTED = re.compile(r", ['\"]Skipped: (.+)['\"]\)$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Pytest:
    """A suite of pytest's."""

    spec: PytestSuite
    folders = ()
    report = "pytest.xml"
    # pytest has Python's faulthandler on: all threads' stacks, and the process ends.
    hang = (signal.SIGABRT,)
    # Of a SIGTERM it dies without its report.
    end = signal.SIGINT

    def command(self, program: Sequence[str], args: Sequence[str], report: Path) -> tuple[str, ...]:
        """Return the command line: ours, the catalogue's, then what a person gave after `--`: paths of it are all."""
        paths = () if any(_is_path(word) for word in args) else self.spec.paths
        processes = (f"--numprocesses={self.spec.procs}",) if self.spec.procs > 1 else ()
        return (*program, f"--junit-xml={report}", *processes, *args, *paths)

    @property
    def check(self) -> str:
        """The command that shows what cannot be imported."""
        return f"python3 -m pytest --collect-only {' '.join(self.spec.paths)}"

    def read(self, report: Path) -> SuiteResult:
        """Read a JUnit report. Raises ValueError where it is not one."""
        try:
            root = ElementTree.parse(report).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(f"{report} is not a JUnit report: {error}") from error
        cases: dict[str, Case] = {}
        for element in root.iter("testcase"):
            for case in _cases(element, self.spec.allowed_skips):
                # A test whose tear-down fails is told twice: what failed counts, and of two failures the first.
                known = cases.get(case.name)
                if known is None or (case.state == "failed" and known.state != "failed"):
                    cases[case.name] = case
        ordered = sorted(cases.values(), key=lambda case: not case.setup)
        duration = sum(float(suite.get("time") or 0.0) for suite in root.iter("testsuite"))
        return SuiteResult(cases=tuple(ordered), duration_s=duration)


def _is_path(word: str) -> bool:
    return not word.startswith("-") and ("::" in word or word.endswith(".py"))


def _cases(element: ElementTree.Element, allowed_skips: Sequence[str]) -> Iterator[Case]:
    name = ".".join(filter(None, (element.get("classname"), element.get("name"))))
    if not name:  # the test during which the session was given up
        return
    case = Case(name=name, state="passed", duration_s=float(element.get("time") or 0.0))
    # The first of each: what failed in a subtest is told before that some did.
    found: dict[str, ElementTree.Element] = {child.tag: child for child in reversed(element)}
    for tag in ("error", "failure"):
        if (child := found.get(tag)) is not None:
            message = child.get("message") or ""
            location = [f"{file}:{line}" for file, line in _SYNTAX.findall(child.text or "")]
            location = location or _LOCATION.findall(child.text or "")
            setup = message == _COLLECTING
            if setup:
                lines = [line[1:].strip() for line in (child.text or "").splitlines() if line.startswith("E ")]
                message = f"it could not be collected: {lines[-1] if lines else 'see logs/suite.log'}"
            yield replace(
                case,
                name=f"{SETUP} {name}" if setup else name,
                state="failed",
                message=message,
                location=location[-1] if location else "",
                setup=setup,
            )
            return
    if (skipped := found.get("skipped")) is not None:
        state: Literal["skipped"] = "skipped"
        asked_for = skipped.get("type") != "pytest.xfail"
        message = skipped.get("message") or ""
        if told := _NOT_COLLECTED.search(skipped.text or ""):  # a whole module
            message = told[1]
        yield replace(case, state=state, message=message, unexpected=asked_for and name not in allowed_skips)
        return
    yield case


_ENDS = {1: "tests-failed", 5: "no-test-ran"}
_MEANINGS = {
    0: "passed",
    1: "tests failed",
    2: "it was interrupted, or a file could not be imported",
    5: "no test ran",
}


def ended(word: bytes) -> str:
    """Return what a pytest that has ended says of its tests. Raises `SuiteFailed` where they did not pass."""
    if not word:
        raise SuiteFailed(
            "pytest ended before it could say how its tests did: it crashed or was killed",
            reference="suite-killed",
            remedy="python3 -m pytest  # run it again",
        )
    told = json.loads(word)
    code = int(told["exit_code"])
    said = told["said"] or _MEANINGS.get(code, "see its output")
    if code != 0:
        message = f"pytest ended with exit code {code}: {said}"
        remedy = "python3 -m pytest --last-failed  # what it has said is above"
        raise SuiteFailed(message, reference=_ENDS.get(code, "suite-exit-code"), remedy=remedy)
    return f"run by pytest: {said}"
