"""`invoke infra.doctor`: what a run needs of this host, and the command that mends what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from infra.errors import EXIT_CODES, Invalid, Outcome
from infra.tasks import common

if TYPE_CHECKING:
    from infra.doctor.checks import Check
    from infra.doctor.examine import Subject
    from infra.settings import Settings


@task(
    help={
        "service": "what this service wants; without it the most that any service of the catalogue does",
        "tier": "unit, integration (default) or e2e",
        "json": "print JSON and nothing else",
        "fix": "first mend what is ours alone: leftovers and forwardings of dead runs, aged images",
    }
)
def doctor(_: Context, service: str = "", tier: str = "integration", json: bool = False, fix: bool = False) -> None:
    """Look whether this host has what a run needs. Exit code 69 where a check failed, 0 where none did."""
    from infra.doctor.checks import document, worst

    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        print(f"fix: {text}", file=sys.stderr if json else sys.stdout, flush=True)

    with common.told():
        checks = _examined(common.read_settings(), service, tier, say if fix else None)
        if json:
            common.show(document(checks) | ({"fixed": said} if fix else {}))
        else:
            with common.stopped(sys.stdout):
                _print(checks)
    common.leave(EXIT_CODES[Outcome.UNAVAILABLE] if worst(checks) == "failure" else 0)


def _subject(settings: Settings, service: str, tier: str) -> tuple[Subject, tuple[Check, ...]]:
    """A service that there is not is an error; a catalogue that cannot be read leaves the host to be looked at."""
    from infra import bootstrap
    from infra.catalog.loading import load
    from infra.doctor import wants
    from infra.doctor.checks import failure
    from infra.doctor.examine import Subject

    wanted: tuple[wants.Wants, ...] = ()
    checks: tuple[Check, ...] = ()
    try:
        catalog = load(settings.catalog)
    except Invalid as error:
        if service:
            raise
        checks = (failure("catalogue", error.message, error.remedy),)
    else:
        wanted = wants.of(catalog, service, tier)
    path = bootstrap.tool_path(common.root())
    return Subject(settings=settings, wants=wanted, asked=bool(service), path=path), checks


def _examined(settings: Settings, service: str, tier: str, say: Callable[[str], None] | None) -> tuple[Check, ...]:
    from infra import signals
    from infra.doctor.reach import reach

    with signals.caught(), reach() as reached:
        from infra.doctor import examine, fixes

        subject, checks = _subject(settings, service, tier)
        ours = examine.stored()
        if say is not None and reached.lease is not None:
            fixes.apply(reached.lease, ours, say)
            ours = examine.stored()
        asked = examine.ask({**examine.of_host(subject), **examine.of_engine(subject, reached, ours)})
        return (*checks, *examine.answers(asked))


def _print(checks: tuple[Check, ...]) -> None:
    from infra.doctor.checks import worst

    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{check.state:<7}  {check.name:<{width}}  {check.seen}")
        if check.fix:
            print(f"{'':<7}  {'':<{width}}  fix: {check.fix}")
    counts = [f"{sum(c.state == state for c in checks)} {state}" for state in ("failure", "warning", "ok")]
    print(f"{worst(checks)}: {', '.join(counts)}")
