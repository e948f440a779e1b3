"""`invoke infra.kill`, `.start`, `.pause` and `.wait`: for suites that test failure, and for a person at a stack."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from invoke.context import Context
from invoke.tasks import task

from infra.away import SIGNALS
from infra.errors import Invalid
from infra.tasks import common

if TYPE_CHECKING:
    from infra.components import For, Said, Target

_Asked = TypeVar("_Asked")
_HELP = {
    "component": "a long-running component of the stack",
    "run": "the run, 8 hex digits; in a suite it is the suite's own",
    "service": "the service whose stack a person has up",
    "tier": "unit, integration (default) or e2e",
    "json": "print JSON and nothing else",
}


@task(help=_HELP | {"signal": f"one of {', '.join(SIGNALS)}"})
def kill(
    _: Context,
    component: str = "",
    run: str = "",
    service: str = "",
    tier: str = "integration",
    signal: str = "KILL",
    json: bool = False,
) -> None:
    """Kill a component and wait until it has ended; no fault of the run, until infra.start."""
    from infra.components import Target, signal_name

    _do(component, run, service, tier, json, lambda: signal_name(signal), Target.kill)


@task(help=_HELP)
def pause(
    _: Context, component: str = "", run: str = "", service: str = "", tier: str = "integration", json: bool = False
) -> None:
    """Freeze a component: it keeps its connections and answers nothing, until infra.start."""
    _do(component, run, service, tier, json, lambda: None, lambda target, _: target.pause())


@task(help=_HELP)
def start(
    _: Context, component: str = "", run: str = "", service: str = "", tier: str = "integration", json: bool = False
) -> None:
    """Start a component again, or let it go on, and wait until it is ready."""
    _do(component, run, service, tier, json, lambda: None, lambda target, _: target.start())


@task(help=_HELP | {"for": "ready (default) or gone", "timeout": "how long, as in 30s or 500ms"})
def wait(
    _: Context,
    component: str = "",
    run: str = "",
    service: str = "",
    tier: str = "integration",
    for_: str = "ready",
    timeout: str = "30s",
    json: bool = False,
) -> None:
    """Wait until a component is ready, or has ended; 75 where that is not so in time."""
    _do(component, run, service, tier, json, lambda: _wanted(for_, timeout), lambda target, two: target.wait(*two))


def _do(
    component: str,
    run: str,
    service: str,
    tier: str,
    json: bool,
    checked: Callable[[], _Asked],
    work: Callable[[Target, _Asked], Said],
) -> None:
    """Find the component and do something to it; what was asked is checked before anything else is."""
    from infra import components, labels, lease_names
    from infra import status as status_of
    from infra.catalog.loading import load

    with common.told():
        asked = checked()
        settings = common.read_settings()
        catalog = load(settings.catalog)
        suite = os.environ.get(labels.ENV_RUN, "")
        of = run or ("" if service else suite)
        with common.engine_of(of) as engine:
            stack = lease_names.stack_of(of) if of else ""
            found = status_of.one_run(engine, catalog, settings.root, service, tier, stack)
            said = work(components.find(engine, catalog, settings, found, suite, component), asked)
        if json:
            common.show(asdict(said))
        else:
            print(f"{said.component} of run {said.run}: {said.what}, {said.seconds:.2f} s")


def _wanted(what: str, timeout: str) -> tuple[For, float]:
    from infra.components import FOR
    from infra.values import seconds

    for known in FOR:
        if what == known:
            try:
                return known, float(str(seconds(timeout)))
            except ValueError as error:
                what = f'--timeout is a duration such as 500ms, 30s or 15m, not "{timeout}"'
                raise Invalid(what, reference="arguments", remedy="invoke infra.wait --help") from error
    raise Invalid(
        f'--for is {" or ".join(FOR)}, not "{what}"',
        reference="arguments",
        remedy="invoke infra.wait --help",
    )


TASKS = (kill, pause, start, wait)
