"""Ginkgo v2: its command line, and its JSON report, which is believed instead of its console text. Pure.

What counts is the `It` nodes (pitfalls.md): JUnit counts BeforeSuite once a process and calls everything unfocused
skipped. A skip with a reason was asked for by the spec itself; pending and unfocused specs have none.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from infra.model import GinkgoSuite
from infra.report import SETUP, Case, SuiteResult

_FAILED = ("failed", "panicked", "interrupted", "aborted", "timedout")
_CUT_OFF = ("interrupted", "aborted")
_NANO = 1e9


@dataclass(frozen=True, kw_only=True)
class Ginkgo:
    """A suite of Ginkgo's."""

    spec: GinkgoSuite
    report = "ginkgo.json"
    # Asked where it hangs: Ginkgo for its running specs, then Go for all goroutines.
    hang = (signal.SIGUSR1, signal.SIGQUIT)
    end = signal.SIGTERM

    def command(self, program: Sequence[str], args: Sequence[str], report: Path) -> tuple[str, ...]:
        """Return the command line: ours, the catalogue's, then what a person gave after `--`."""
        return (
            *program,
            "run",
            f"--procs={self.spec.procs}",
            f"--json-report={report.name}",
            f"--output-dir={report.parent}",
            f"--timeout={int(self.spec.timeout) + 60}s",
            "--randomize-all",
            "--keep-going",
            *args,
            *self.spec.packages,
        )

    @property
    def check(self) -> str:
        """The command that shows what does not compile."""
        return f"go vet {' '.join(self.spec.packages)}"

    @property
    def folders(self) -> tuple[str, ...]:
        """Ginkgo puts a package's test binary into the package's folder."""
        return tuple(sorted({package.partition("...")[0] or "." for package in self.spec.packages}))

    def read(self, report: Path) -> SuiteResult:
        """Read a JSON report. Raises ValueError where it is not one."""
        suites = _suites(report)
        allowed = self.spec.allowed_skips
        cases = [case for suite in suites for spec in suite.get("SpecReports") or () for case in _cases(spec, allowed)]
        duration = sum(int(suite.get("RunTime") or 0) for suite in suites) / _NANO
        # A failed set-up node is the cause of everything after it, so it comes first.
        cases.sort(key=lambda case: not case.setup)
        # Each process has run its own BeforeSuite: the same failure once, not once a process.
        return SuiteResult(cases=tuple(dict.fromkeys(cases)), duration_s=duration, broken=_broken(suites))


def _broken(suites: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the reasons that concern a whole suite, such as a failure to compile; no consequences of another's."""
    reasons = (reason for suite in suites for reason in suite.get("SpecialSuiteFailureReasons") or ())
    return tuple(reason for reason in dict.fromkeys(reasons) if "prior suites failed" not in reason)


def _suites(report: Path) -> list[dict[str, Any]]:
    suites = json.loads(report.read_text(encoding="utf-8"))
    if not isinstance(suites, list) or not all(isinstance(suite, dict) for suite in suites):
        raise ValueError(f"{report} is not a Ginkgo report")
    return suites


def _cases(spec: dict[str, Any], allowed_skips: Sequence[str]) -> Iterator[Case]:
    kind = str(spec.get("LeafNodeType", ""))
    state = str(spec.get("State", ""))
    failure = spec.get("Failure") or {}
    message = str(failure.get("Message") or failure.get("ForwardedPanic") or "")
    if kind == "It":
        name = " ".join((*(spec.get("ContainerHierarchyTexts") or ()), str(spec.get("LeafNodeText", ""))))
        skipped_itself = state == "skipped" and bool(message) and not message.startswith("Spec skipped because")
        yield Case(
            name=name,
            state=_state(state),
            duration_s=int(spec.get("RunTime") or 0) / _NANO,
            message="pending" if state == "pending" else message,
            location=_location(failure),
            unexpected=skipped_itself and name not in allowed_skips,
            worker=int(spec.get("ParallelProcess") or 0) or None,
            ended_at=_moment(spec.get("EndTime")),
            cut_off=state in _CUT_OFF,
        )
    elif state in _FAILED:
        yield Case(
            name=f"{SETUP} {kind}",
            state="failed",
            message=message,
            location=_location(failure),
            setup=True,
            ended_at=_moment(spec.get("EndTime")),
            cut_off=state in _CUT_OFF,
        )


def _moment(text: object) -> float | None:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(str(text)).timestamp()
    return None


def _state(state: str) -> Literal["passed", "failed", "skipped"]:
    if state == "passed":
        return "passed"
    return "failed" if state in _FAILED else "skipped"


def _location(failure: dict[str, Any]) -> str:
    location = failure.get("Location") or {}
    return f"{location['FileName']}:{location['LineNumber']}" if location.get("FileName") else ""
