"""The seam between doing and telling: reporters observe, the recorder times the steps. Nothing here prints."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from infra.errors import Blame, Cause, Ended, InfraError, Interrupted, Outcome
from infra.plan import Plan
from infra.report import Report, StepResult


class Reporter:
    """Observes a run. Every method is optional; a test's double is a reporter too."""

    def run_started(self, plan: Plan, directory: str) -> None:
        """A plan was made, nothing was done yet."""

    def note(self, text: str) -> None:
        """Something worth a line that is no step."""

    def step_started(self, name: str) -> None:
        """A step began."""

    def step_progress(self, name: str, line: str) -> None:
        """A line of a build's or pull's output."""

    def step_finished(self, step: StepResult) -> None:
        """A step ended, well or not."""

    def failed(self, outcome: Outcome, blame: Blame, cause: Cause) -> None:
        """Why the run will not pass: known now, and everything is still there."""

    def suite_line(self, line: str) -> None:
        """A line of the suite's output."""

    def log_line(self, component: str, line: str) -> None:
        """A line of a component's log, where they are followed."""

    def run_finished(self, report: Report) -> None:
        """The run is over and everything of it is known."""


class Reporters(Reporter):
    """Several reporters as one; calls come from more than one thread, reporters see one at a time.

    A reporter that fails (a closed pipe, a full disk) is told no more, and the run goes on: observing breaks nothing.
    """

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = list(reporters)
        self._lock = threading.RLock()

    def run_started(self, plan: Plan, directory: str) -> None:
        self._tell(lambda one: one.run_started(plan, directory))

    def note(self, text: str) -> None:
        self._tell(lambda one: one.note(text))

    def step_started(self, name: str) -> None:
        self._tell(lambda one: one.step_started(name))

    def step_progress(self, name: str, line: str) -> None:
        self._tell(lambda one: one.step_progress(name, line))

    def step_finished(self, step: StepResult) -> None:
        self._tell(lambda one: one.step_finished(step))

    def failed(self, outcome: Outcome, blame: Blame, cause: Cause) -> None:
        self._tell(lambda one: one.failed(outcome, blame, cause))

    def suite_line(self, line: str) -> None:
        self._tell(lambda one: one.suite_line(line))

    def log_line(self, component: str, line: str) -> None:
        self._tell(lambda one: one.log_line(component, line))

    def run_finished(self, report: Report) -> None:
        self._tell(lambda one: one.run_finished(report))

    def _tell(self, tell: Callable[[Reporter], None]) -> None:
        with self._lock:
            for one in tuple(self._reporters):
                try:
                    tell(one)
                # rich leaves a program whose output is closed
                except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a reporter may do wrong
                    self._reporters.remove(one)
                    self.note(f"{type(one).__name__} failed and is told no more: {type(error).__name__}: {error}")


@dataclass
class StepHandle:
    """What a running step may say of itself."""

    polls: int = 0
    note: str = ""


class Recorder:
    """Times the steps of a run and tells the reporters. `folder` is the run's directory, `mask` takes out secrets."""

    def __init__(self, watch: Reporter, *, folder: str = ".", mask: Callable[[str], str] = str) -> None:
        self.watch = watch
        self._folder = folder
        self._mask = mask
        self._named: Ended | None = None
        self._lock = threading.Lock()
        self.steps: list[StepResult] = []
        self.notes: list[str] = []
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self._started

    def note(self, text: str) -> None:
        """Keep a line for the report and show it."""
        self.notes.append(text)
        self.watch.note(text)

    def name(self, error: Ended, step: str | None = None) -> Cause:
        """Tell at once why the run will not pass, the first time that it is known; return that cause, masked."""
        error.name(step, self._folder)
        cause = error.cause().masked(self._mask)
        with self._lock:
            first = self._named is None
            self._named = self._named or error
        if first:
            self.watch.failed(error.outcome, error.blame, cause)
        return cause

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[StepHandle]:
        """Time a step. An error of ours that leaves the block gets the step's name and is the step's cause."""
        handle = StepHandle()
        start = self.elapsed_s
        self.watch.step_started(name)
        done = StepResult(name=name, status="passed", start_s=start, duration_s=0.0)
        try:
            yield handle
        except Interrupted:
            done = replace(done, status="interrupted")
            raise
        except InfraError as error:
            done = replace(done, status="failed", cause=self.name(error, name))
            raise
        except BaseException:
            done = replace(done, status="failed")
            raise
        finally:
            done = replace(done, duration_s=self.elapsed_s - start, polls=handle.polls, note=handle.note)
            self.steps.append(done)
            self.watch.step_finished(done)
