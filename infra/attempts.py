"""Runs of one wish: `--retry-infra N` repeats one that the infrastructure has ended. Each is a run of its own.

Own name, own directory, own report; nothing of an attempt is written over by the next one. With INFRA_KEEP=1 only the
stack of the last one stays up: it has the ports.
"""

from __future__ import annotations

import time
from dataclasses import replace

from infra import plan, ports, run_names
from infra.catalog.loading import load
from infra.errors import InfraError, Outcome
from infra.execute import once, watched
from infra.holding import Goal
from infra.report import Report
from infra.request import Request
from infra.settings import Settings
from infra.signals import Interrupts
from infra.watch import Reporter, Reporters

# An engine or a registry that did not answer has a moment; everything else has nothing to wait for.
_RECOVER_S = 2.0
# The engine's helpers let go of the ports that they had published just after a container is gone.
_PORTS_S = 5.0
_LOOK_S = 0.1


def execute(settings: Settings, request: Request, console: Reporter, goal: Goal) -> Report:
    """Do a run, and repeat it as often as was asked for; return the last report. Raises `Interrupted` in between."""
    with watched() as interrupts:
        while True:
            report = once(settings, request, console, goal, interrupts)
            if not report.goes_again:
                return report
            request = replace(request, run=run_names.new_run(), earlier=report.attempts)
            cause = report.cause
            why = f"{cause.step + ': ' if cause.step else ''}{cause.reference}" if cause else str(report.outcome)
            Reporters([console]).note(
                f"attempt {report.attempt} of {report.most_attempts} (run {report.run}) was ended by the infrastructure"
                f" ({why}), and no test had failed: it is repeated as run {request.run}"
            )
            with interrupts.raised():
                _wait(settings, request, report, interrupts)


def _wait(settings: Settings, request: Request, report: Report, interrupts: Interrupts) -> None:
    """Wait for what the next attempt needs; it says itself what it does not get."""
    if report.outcome in (Outcome.UNAVAILABLE, Outcome.NO_IMAGE):
        interrupts.hurry.wait(_RECOVER_S)
    if report.stack is not None:  # it was a person's, and stays up
        return
    wanted, deadline = _wanted(settings, request), time.monotonic() + _PORTS_S
    while time.monotonic() < deadline and not all(map(ports.is_free, wanted)):
        interrupts.hurry.wait(_LOOK_S)


def _wanted(settings: Settings, request: Request) -> tuple[int, ...]:
    """Return the ports of the next attempt; none where it cannot be planned, which it says itself."""
    try:
        made = plan.make(
            load(settings.catalog),
            settings,
            service=request.service,
            tier=request.tier,
            run=request.run,
            ports=request.ports,
        )
    except InfraError:
        return ()
    return ports.fixed(made)
