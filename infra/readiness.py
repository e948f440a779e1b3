"""The gate: poll a probe until it passes, its container dies, or its time is over. tenacity is used only here.

Policy: the first poll at once, then 10 ms growing to 250 ms, about a twentieth of the time waited so far. Each poll
looks at the container first, so that a dead one ends the gate at once, and now and then at the others that run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying, retry_if_exception_type, retry_if_result, wait_exponential

from infra import probes
from infra.diagnose import Inquiry
from infra.plan import PlannedStep
from infra.sampling import Sampler

_FIRST_S = 0.01
_GROWTH = 1.05
_LOOK_EVERY_S = 0.25
_LONGEST_S = 0.25
# An answer that no time changes is asked for this much longer: the server may be about to end.
_SETTLED_S = 0.3


class _NotYet(Exception):
    """The probe's answer while it is no."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A step's readiness: what to ask, of which container."""

    inquiry: Inquiry
    step: PlannedStep
    ports: Mapping[str, int]
    look: Callable[[], None] = lambda: None
    sampler: Sampler = field(default_factory=Sampler)

    def wait(self) -> int:
        """Wait until the step is ready and return the number of polls. Raises `NotReady`, and what `look` raises."""
        polls = 0
        began = start = looked = time.monotonic()
        settled: tuple[str, float] | None = None

        def poll() -> None:
            nonlocal polls, began, looked, settled
            polls += 1
            began = time.monotonic()
            state = self.inquiry.look_at(self.step)
            if state is None:
                raise self.inquiry.gone(self.step)
            ended = state.dead and (self.step.kind != "job" or state.exit_code != 0)
            if ended or self.sampler.child_killed(self.step.name, state):
                self.look()
                raise self.inquiry.died(self.step, state, "gate")
            reason = probes.check(self.step.ready, self.ports, state)
            if reason is None:
                return
            if not probes.is_final(reason):
                settled = None
            elif settled is None or settled[0] != reason:
                settled = (reason, began)
            elif began - settled[1] >= _SETTLED_S:
                raise self.inquiry.late(self.step, reason, waited_s=round(began - start, 1), polls=polls)
            if began - looked >= _LOOK_EVERY_S:
                looked = began
                self.look()
            raise _NotYet(reason)

        def give_up(call: RetryCallState) -> None:
            reason = str(call.outcome.exception()) if call.outcome else "no answer"
            raise self.inquiry.late(self.step, reason, waited_s=self.step.ready.timeout, polls=polls)

        Retrying(
            retry=retry_if_exception_type(_NotYet),
            wait=wait_exponential(multiplier=_FIRST_S, exp_base=_GROWTH, max=_LONGEST_S),
            # The last poll begins after the time is over: who was stopped (Ctrl-Z) looks once more before it judges.
            stop=lambda _: began - start >= self.step.ready.timeout,
            retry_error_callback=give_up,
        )(poll)
        return polls


def until(ask: Callable[[], str | None], seconds: float) -> str | None:
    """Ask until there is nothing more to wait for (None), or the time is over; return what it was then, in words."""
    start = began = time.monotonic()

    def poll() -> str | None:
        nonlocal began
        began = time.monotonic()
        return ask()

    asking = Retrying(
        retry=retry_if_result(lambda why: why is not None),
        wait=wait_exponential(multiplier=_FIRST_S, exp_base=_GROWTH, max=_LONGEST_S),
        stop=lambda _: began - start >= seconds,
        retry_error_callback=lambda call: str(call.outcome.result()) if call.outcome else "no answer",
    )
    return asking(poll)
