"""The gate: poll a probe until it passes, its container dies, or its time is over. tenacity is used only here.

Policy: the first poll at once, then 10 ms growing to 250 ms, about a twentieth of the time waited so far. Each poll
looks at the container first, so that a dead one ends the gate at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from infra import probes
from infra.engine.client import Engine
from infra.engine.types import ContainerState
from infra.errors import InfraError, NotReady
from infra.plan import PlannedStep

_FIRST_S = 0.01
_GROWTH = 1.05
_LONGEST_S = 0.25
_EVIDENCE_LINES = 20


class _NotYet(Exception):
    """The probe's answer while it is no."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A step's readiness: what to ask, of which container."""

    engine: Engine
    step: PlannedStep
    ports: Mapping[str, int]

    def wait(self, mask: Callable[[str], str]) -> int:
        """Wait until the step is ready and return the number of polls. Raises `NotReady`."""
        polls = 0
        began = start = time.monotonic()

        def poll() -> None:
            nonlocal polls, began
            polls += 1
            began = time.monotonic()
            state = self.engine.state(self.step.container)
            if state is None:
                raise gone(self.step)
            if state.dead and (self.step.kind != "job" or state.exit_code != 0):
                raise died(self.engine, self.step, state, mask)
            reason = probes.check(self.step.ready, self.ports, state)
            if reason is not None:
                raise _NotYet(reason)

        def give_up(call: RetryCallState) -> None:
            reason = str(call.outcome.exception()) if call.outcome else "no answer"
            raise NotReady(
                f"not ready after {self.step.ready.timeout:g} s and {polls} polls: {mask(reason)}",
                reference="not-ready-in-time",
                remedy=f"look at logs/{self.step.name}.log, or allow more time in ready.timeout",
                step=self.step.name,
                blame="product" if self.step.image.build else "infrastructure",
                evidence=log_tail(self.engine, self.step, mask),
            )

        Retrying(
            retry=retry_if_exception_type(_NotYet),
            wait=wait_exponential(multiplier=_FIRST_S, exp_base=_GROWTH, max=_LONGEST_S),
            # The last poll begins after the time is over: who was stopped (Ctrl-Z) looks once more before it judges.
            stop=lambda _: began - start >= self.step.ready.timeout,
            retry_error_callback=give_up,
        )(poll)
        return polls


def gone(step: PlannedStep) -> NotReady:
    """Return the error for a container that does not exist any more."""
    return NotReady(
        f"the container {step.container} is gone: somebody removed it",
        reference="component-removed",
        remedy="run it again; do not prune containers while a run is going on",
        step=step.name,
    )


def died(engine: Engine, step: PlannedStep, state: ContainerState, mask: Callable[[str], str]) -> NotReady:
    """Return the error for a container that has ended, with the end of its log."""
    tail = log_tail(engine, step, mask)
    meaning = {137: " (SIGKILL)", 143: " (SIGTERM)", 139: " (SIGSEGV)", 134: " (SIGABRT)"}.get(state.exit_code, "")
    what = f"the container exited with code {state.exit_code}{meaning}"
    if state.oom_killed:
        what += ", out of memory"
    if step.kind == "job":
        what = f"the job failed: exit code {state.exit_code}{meaning}"
    if tail and (cause := _telling_line(tail)):
        what += f": {cause}"
    error = NotReady(
        what,
        reference="job-failed" if step.kind == "job" else "component-died",
        remedy=f"look at logs/{step.name}.log in the run's folder",
        step=step.name,
        blame="product" if step.image.build or step.kind == "job" else "infrastructure",
        evidence=tail,
    )
    error.since = state.finished
    return error


def log_tail(engine: Engine, step: PlannedStep, mask: Callable[[str], str]) -> tuple[str, ...]:
    """Return the last lines of a component's log, secrets masked."""
    try:
        text = engine.logs(step.container, tail=_EVIDENCE_LINES)
    except InfraError:  # it was removed meanwhile, or the engine has gone: that there is no log hides no cause
        return ()
    return tuple(mask(line) for line in text.splitlines())


def _telling_line(tail: tuple[str, ...]) -> str:
    """The line that most likely says why: the first with an error's word in it, else the last."""
    for line in tail:
        if any(word in line for word in ("ERROR", "FATAL", "PANIC", "panic:", '"level":"ERROR"')):
            return line.strip()
    return tail[-1].strip()
