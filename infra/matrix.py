"""Which suites of a catalogue CI runs: a selection, and the matrix that GitHub's `fromJson` takes. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args

from infra.catalog.declared import Catalog
from infra.errors import Invalid, again
from infra.model import Tier, TierSpec
from infra.placeholders import nearest

# What a job does beside what the catalogue gives a time: checkout, packages, images, teardown, artifacts.
_AROUND_S = 15 * 60.0
_RUNNABLE = ("podman",)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One tier of one service that can be run, and so many seconds at most."""

    service: str
    tier: Tier
    language: str
    seconds: float
    stack: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the contract of `ci.matrix`."""
        return {
            "session": f"{self.tier}-{self.service}",
            "service": self.service,
            "tier": self.tier,
            "language": self.language,
            "timeout_minutes": math.ceil((self.seconds + _AROUND_S) / 60),
        }


def chosen(
    catalog: Catalog, *, services: str = "", tiers: str = "", languages: str = "", stacked: bool = False
) -> tuple[Chosen, ...]:
    """Return what can be run of a selection; each is a list of names with commas, and all where it is empty.

    `stacked` leaves out what has no stack, and so no images. A tier whose target does not exist yet is not in it.
    Raises `Invalid` for names that nothing has.
    """
    wanted = _words(services, catalog.services)
    for name in wanted:
        catalog.service(name)
    among = _words(tiers, get_args(Tier))
    for tier in among:
        if tier not in get_args(Tier):
            raise Invalid(
                f'unknown tier "{tier}"{nearest(tier, get_args(Tier))}',
                reference="unknown-tier",
                remedy=again(f"--tier integration  # there are: {', '.join(get_args(Tier))}"),
            )
    spoken = sorted({service.language for service in catalog.services.values()})
    speak = _words(languages, spoken)
    for language in speak:
        if language not in spoken:
            raise Invalid(
                f'no service is written in "{language}"{nearest(language, spoken)}',
                reference="arguments",
                remedy=f"invoke ci.matrix  # there are: {', '.join(spoken)}",
            )
    return tuple(
        Chosen(
            service=name,
            tier=tier,
            language=service.language,
            seconds=_seconds(catalog, spec, service.stack_of(tier)),
            stack=service.stack_of(tier),
        )
        for name, service in sorted(catalog.services.items())
        for tier in get_args(Tier)
        if (spec := service.tiers.get(tier)) is not None
        and spec.target in _RUNNABLE
        and name in wanted
        and tier in among
        and service.language in speak
        and (service.stack_of(tier) or not stacked)
    )


def _seconds(catalog: Catalog, spec: TierSpec, stack: tuple[str, ...]) -> float:
    """Return how long a run takes at most by what the catalogue allows: gates, commands before the suite, the suite."""
    gates = sum(catalog.components[name].ready.timeout for name in stack)
    return gates + sum(step.timeout for step in spec.before) + spec.suite.timeout


def _words(text: str, every: Collection[str]) -> tuple[str, ...]:
    """Return a list with commas as its words, or all of them for none."""
    return tuple(word.strip() for word in text.split(",") if word.strip()) or tuple(every)
