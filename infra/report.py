"""What happened in a run: steps, durations, cause, outcome. Frozen values; `as_json` is the contract of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from infra.errors import Blame, Cause, Outcome

SCHEMA = 1
SETUP = "[set-up]"
Status = Literal["passed", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One finished step. `start_s` counts from the run's start; `note` is one line of what was decided or seen."""

    name: str
    status: Status
    start_s: float
    duration_s: float
    polls: int = 0
    note: str = ""
    cause: Cause | None = None

    @property
    def end_s(self) -> float:
        """Seconds from the run's start to the step's end."""
        return self.start_s + self.duration_s


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test as the suite's own report has it. `unexpected` marks a skip that nobody allowed.

    `setup` marks what is no test but broke some: it is a failure, and it does not count. `worker` is the number of the
    parallel process that ran it, where the report says so.
    """

    name: str
    state: Literal["passed", "failed", "skipped"]
    duration_s: float = 0.0
    message: str = ""
    location: str = ""
    unexpected: bool = False
    setup: bool = False
    worker: int | None = None
    # Seconds since the epoch, where the report says so.
    ended_at: float | None = field(default=None, compare=False)
    # It was going on when the suite was told to end.
    cut_off: bool = field(default=False, compare=False)

    def failed_before(self, moment: float | None) -> bool:
        """Whether it had failed by then; one of which that cannot be told has."""
        if self.state != "failed" or self.cut_off:
            return False
        return moment is None or self.ended_at is None or self.ended_at < moment


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """What the suite's own report says. `skipped` counts pending and unfocused tests too.

    `broken` is why a whole suite could not run, such as that it does not compile.
    """

    cases: tuple[Case, ...]
    duration_s: float
    broken: tuple[str, ...] = ()

    def _count(self, state: str) -> int:
        return sum(case.state == state and not case.setup for case in self.cases)

    @property
    def tests(self) -> int:
        """All tests, run or not."""
        return sum(not case.setup for case in self.cases)

    @property
    def passed(self) -> int:
        """Tests that passed."""
        return self._count("passed")

    @property
    def failed(self) -> int:
        """Tests that failed."""
        return self._count("failed")

    @property
    def skipped(self) -> int:
        """Tests that were not run."""
        return self._count("skipped")

    def as_json(self) -> dict[str, Any]:
        """Return the contract's fields and the names that a reader looks for."""
        return {
            "tests": self.tests,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "duration_s": round(self.duration_s, 3),
            "failures": [asdict(case) for case in self.cases if case.state == "failed"],
            "unexpected_skips": [case.name for case in self.cases if case.unexpected],
        }

    def sentence(self) -> str:
        """Say it in one line."""
        parts = [f"{self.passed} passed"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.skipped:
            parts.append(f"{self.skipped} skipped")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class WorkerResult:
    """A parallel process of the suite: where its database is, or was (the password masked), and whether it is kept."""

    number: int
    database: str
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a container has used, None where it could not be seen. `memory_held_mb` is without the cache of files.

    That is seen near the limit only, and 0 elsewhere; the peak is the kernel's own, with the cache.
    """

    component: str
    memory_peak_mb: float | None
    memory_held_mb: float | None
    memory_limit_mb: int | None
    cpu_s: float | None
    oom_kills: int | None


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """The engine that served the run, and what was worked around on its host."""

    version: str
    rootless: bool
    runtime: str
    host: str
    workarounds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Something that was seen before a failed run was taken down: a heading, and a line for each fact."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What was there when a run failed, and what of it could not be had, in sentences."""

    sections: tuple[Section, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of those that `--retry-infra` has made of one wish; `reference` is its cause's."""

    run: str
    outcome: str
    reference: str | None
    duration_s: float

    def as_json(self) -> dict[str, Any]:
        """Return it as the report has it."""
        return asdict(self) | {"duration_s": round(self.duration_s, 3)}


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run that has ended. `started` is ISO 8601 in UTC.

    `attempts` ends with this run, and `most_attempts` is how many there may be; `goes_again` says that another follows,
    `not_again` why none does although there might.
    """

    run: str
    service: str
    tier: str
    outcome: Outcome
    blame: Blame | None
    exit_code: int
    started: str
    duration_s: float
    steps: tuple[StepResult, ...]
    suite: SuiteResult | None
    cause: Cause | None
    engine: EngineFacts | None
    left_behind: tuple[str, ...]
    directory: str
    kept: bool = False
    stack: str | None = None
    notes: tuple[str, ...] = ()
    workers: tuple[WorkerResult, ...] = ()
    resources: tuple[Resources, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    scene: Scene | None = None
    attempts: tuple[Attempt, ...] = ()
    most_attempts: int = 1
    goes_again: bool = False
    not_again: str | None = None

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return max(len(self.attempts), 1)

    @property
    def retry_of(self) -> str | None:
        """The run that this one repeats."""
        return self.attempts[-2].run if len(self.attempts) > 1 else None

    @property
    def flaky(self) -> bool:
        """Whether it has passed, but not at once."""
        return self.outcome is Outcome.PASSED and self.retry_of is not None

    def critical_path(self) -> tuple[StepResult, ...]:
        """Return the chain of steps that the run's duration is made of, in order."""
        return critical_path(self.steps)

    def sentence(self) -> str:
        """Say in one line how it ended; the console and the JSON say the same because both ask here."""
        what = str(self.outcome)
        if self.retry_of is not None:
            before = ", ".join(f"run {one.run} {one.reference or one.outcome}" for one in self.attempts[:-1])
            what += f"{' only' if self.flaky else ''} at attempt {self.attempt} of {self.most_attempts} ({before})"
        if self.suite is not None:
            what += f": {self.suite.sentence()} in {self.suite.duration_s:.1f} s"
        if self.left_behind:
            what += f"; LEFT BEHIND: {', '.join(self.left_behind)}"
        elif self.kept:
            what += f"; the stack stays up as run {self.stack or self.run}"
        elif self.engine is not None:
            what += "; nothing left behind"
        return f"{what} (run {self.run}, {self.duration_s:.1f} s, exit code {self.exit_code})"

    def as_json(self) -> dict[str, Any]:
        """Return the contract of report.json, and what we add to it."""
        return {
            "schema": SCHEMA,
            "engine": asdict(self.engine) if self.engine else None,
            "run": self.run,
            "service": self.service,
            "tier": self.tier,
            "outcome": str(self.outcome),
            "blame": self.blame,
            "exit_code": self.exit_code,
            "started": self.started,
            "duration_s": round(self.duration_s, 3),
            "steps": [_step(step) for step in self.steps],
            "critical_path": [{"name": s.name, "duration_s": round(s.duration_s, 3)} for s in self.critical_path()],
            "suite": self.suite.as_json() if self.suite else None,
            "cause": asdict(self.cause) if self.cause else None,
            "left_behind": list(self.left_behind),
            "kept": self.kept,
            "stack": self.stack,
            "notes": list(self.notes),
            "workers": [asdict(worker) for worker in self.workers],
            "resources": [asdict(one) for one in self.resources],
            "images": dict(self.images),
            "scene": asdict(self.scene) if self.scene else None,
            "attempt": self.attempt,
            "most_attempts": self.most_attempts,
            "attempts": [one.as_json() for one in self.attempts],
            "retry_of": self.retry_of,
            "goes_again": self.goes_again,
            "flaky": self.flaky,
        }


def _step(step: StepResult) -> dict[str, Any]:
    rounded = {"start_s": round(step.start_s, 3), "duration_s": round(step.duration_s, 3)}
    return asdict(step) | rounded


def critical_path(steps: Sequence[StepResult]) -> tuple[StepResult, ...]:
    """Walk back from the step that ended last: before each came the one that ended last before it started."""
    path: list[StepResult] = []
    before = float("inf")
    while candidates := [step for step in steps if step.end_s <= before + 0.001 and step not in path]:
        last = max(candidates, key=lambda step: (step.end_s, step.start_s))
        path.insert(0, last)
        before = last.start_s
    return tuple(path)
