"""gotestsum: plain `go test`, and the events of test2json that it writes down. Pure.

What counts is the tests without subtests: a parent fails because its child does, unless all children are well. One that
began and did not end has crashed. https://pkg.go.dev/cmd/test2json, https://github.com/gotestyourself/gotestsum
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.model import GotestsumSuite
from infra.report import SETUP, Case, SuiteResult

_CHATTER = re.compile(r"^\s*(=== |--- |PASS$|FAIL$|FAIL\t|ok  \t|exit status )")
_LOCATION = re.compile(r"^([\w.-]+\.go:\d+):", re.MULTILINE)
_FRAME = re.compile(r"^(\S+\.go:\d+) \+0x", re.MULTILINE)
_TIMED_OUT = "panic: test timed out after "
_NO_PACKAGE = ("directory not found", "no such file or directory", "no Go files in ", "matched no packages")


@dataclass(frozen=True, kw_only=True)
class Gotestsum:
    """A suite of plain Go tests."""

    spec: GotestsumSuite
    folders = ()
    report = "gotestsum.jsonl"
    hang = (signal.SIGQUIT,)
    end = signal.SIGTERM

    def command(self, program: Sequence[str], args: Sequence[str], report: Path) -> tuple[str, ...]:
        """Return the command line: ours, then for `go test` the catalogue's and what a person gave after `--`.

        `-count=1`: what was green before says nothing of a stack that is there now.
        """
        own = ("--format=testname", "--format-hide-empty-pkg", f"--jsonfile={report}")
        timeout = f"-timeout={int(self.spec.timeout) + 60}s"
        return (*program, *own, "--", "-count=1", timeout, *args, *self.spec.packages)

    @property
    def check(self) -> str:
        """The command that shows what does not compile."""
        return f"go vet {' '.join(self.spec.packages)}"

    def read(self, report: Path) -> SuiteResult:
        """Read the events. Raises ValueError where they are none."""
        packages: dict[str, _Package] = {}
        broken: list[str] = []
        times: list[datetime] = []
        for event in _events(report):
            if "Time" in event:
                times.append(datetime.fromisoformat(event["Time"]))
            if "ImportPath" in event:
                if event["Action"] == "build-output" and not str(event["Output"]).startswith("#"):
                    broken.append(str(event["Output"]).strip())
                continue
            packages.setdefault(event["Package"], _Package(name=event["Package"])).take(event)
        cases = [case for package in packages.values() for case in package.cases(self.spec.allowed_skips)]
        cases.sort(key=lambda case: not case.setup)
        duration = (max(times) - min(times)).total_seconds() if times else 0.0
        timeouts = tuple(package.timed_out for package in packages.values() if package.timed_out)
        return SuiteResult(cases=tuple(cases), duration_s=duration, broken=(*_broken(broken), *timeouts))


@dataclass
class _Test:
    state: str = ""
    elapsed_s: float = 0.0
    ended_at: float | None = None
    output: list[str] = field(default_factory=list)


@dataclass
class _Package:
    """What has been heard of a package so far; its own output is that of no test."""

    name: str
    own: _Test = field(default_factory=_Test)
    tests: dict[str, _Test] = field(default_factory=dict)
    broken: bool = False
    timed_out: str = ""

    def take(self, event: dict[str, Any]) -> None:
        test = self.tests.setdefault(event["Test"], _Test()) if event.get("Test") else self.own
        match event["Action"]:
            case "output":
                text = str(event["Output"])
                test.output.append(text)
                if text.startswith(_TIMED_OUT):
                    self.timed_out = f"timeout: {text.removeprefix('panic: ').strip()} in {self.name}"
            case "pass" | "fail" | "skip" as state if test.state != "fail":  # with -count=2, one failure is enough
                test.state, test.elapsed_s = state, float(event.get("Elapsed") or 0.0)
                test.ended_at = datetime.fromisoformat(event["Time"]).timestamp() if "Time" in event else None
        self.broken = self.broken or "FailedBuild" in event

    def cases(self, allowed_skips: Sequence[str]) -> Iterator[Case]:
        failed = False
        parents = {parent for name in self.tests for parent in _parents(name)}
        failing = {
            parent for name, test in self.tests.items() if test.state in ("fail", "") for parent in _parents(name)
        }
        for name, test in self.tests.items():
            if name in failing or (name in parents and test.state == "pass"):
                continue
            case = self._case(name, test, allowed_skips)
            failed = failed or case.state == "failed"
            yield case
        if self.own.state == "fail" and not failed and not self.broken:
            message = _message(self.own.output)
            yield Case(name=f"{SETUP} {self.name}", state="failed", message=message, setup=True)

    def _case(self, name: str, test: _Test, allowed_skips: Sequence[str]) -> Case:
        full = f"{self.name} {name}"
        message = _message(test.output) if test.state != "pass" else ""
        above = (self.tests[parent] for parent in _parents(name) if parent in self.tests)
        while test.state == "fail" and not message and (parent := next(above, None)):
            message = _message(parent.output)  # a panic in a subtest is told by its parent
        location = _location(self.name, message)
        if test.state not in ("pass", "fail", "skip"):
            message = f"it did not end: {message or _message(self.own.output) or 'its process is gone'}"
        return Case(
            name=full,
            state="passed" if test.state == "pass" else "skipped" if test.state == "skip" else "failed",
            duration_s=test.elapsed_s,
            message=message,
            location=location,
            unexpected=test.state == "skip" and full not in allowed_skips,
            ended_at=test.ended_at,
            cut_off=test.state not in ("pass", "fail", "skip"),
        )


def _broken(said: Sequence[str]) -> tuple[str, ...]:
    """Return why packages could not be built: that there are none is no error of the compiler's."""
    if not said:
        return ()
    missing = any(words in said[0] for words in _NO_PACKAGE)
    return (f"{'there is no such package' if missing else 'it does not compile'}: {said[0]}", *said[1:])


def _parents(name: str) -> Iterator[str]:
    """Yield the tests that a subtest is inside of, the nearest first."""
    while (name := name.rpartition("/")[0]) != "":
        yield name


def _location(package: str, message: str) -> str:
    """Return where a test failed: the last line it told of, or where a panic came from outside of Go's own library."""
    if told := _LOCATION.findall(message):
        return f"{package}/{told[-1]}"
    frames: list[str] = _FRAME.findall(message)
    library = [frame.partition("testing/testing.go:")[0] for frame in frames if "/testing/testing.go:" in frame]
    return next((frame for frame in frames if not frame.startswith(("_testmain.go:", *library))), "")


def _events(report: Path) -> Iterator[dict[str, Any]]:
    # By line feeds alone: Go writes other ends of lines, such as U+0085, as they are.
    lines = report.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError:
            if number == len(lines):  # it was killed while it wrote
                return
            raise
        if not isinstance(event, dict) or "Action" not in event or not event.keys() & {"Package", "ImportPath"}:
            raise ValueError(f"{report} has a line that is no event of test2json")
        yield event


def _message(output: Sequence[str]) -> str:
    lines = [line.rstrip() for line in "".join(output).splitlines()]
    return "\n".join(line.strip() for line in lines if line.strip() and not _CHATTER.match(line))
