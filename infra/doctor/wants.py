"""What services want of a host, as their catalogue declares it. Pure; no plan is made, so no workspace is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.catalog.declared import Catalog, host_ports
from infra.model import TierSpec
from infra.placeholders import plain


@dataclass(frozen=True, kw_only=True)
class WantedPort:
    """A fixed port of the host, and what of which service is to have it."""

    service: str
    part: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Wants:
    """What one tier of one service wants. `unlimited` are the components that declare no memory."""

    catalog: Path
    service: str
    tier: str
    spec: TierSpec
    memory_mb: int
    largest: tuple[str, int]
    unlimited: tuple[str, ...]
    ports: tuple[WantedPort, ...]

    @property
    def name(self) -> str:
        """The service and its tier."""
        return f"{self.service} {self.tier}"

    @property
    def processes(self) -> int:
        """How many processes its suite runs side by side."""
        return max(self.spec.suite.procs, self.spec.worker_count)


def of(catalog: Catalog, service: str, tier: str) -> tuple[Wants, ...]:
    """Return what a tier of a service wants, or of every service that has it. Raises `Invalid` for an unknown one."""
    if service:
        return (_wants(catalog, service, tier, catalog.tier(service, tier)),)
    named = [(name, dict(one.tiers.items())) for name, one in sorted(catalog.services.items())]
    return tuple(
        _wants(catalog, name, tier, spec) for name, tiers in named for key, spec in tiers.items() if key == tier
    )


def _wants(catalog: Catalog, name: str, tier: str, spec: TierSpec) -> Wants:
    service = catalog.services[name]
    stack = service.stack_of(tier)
    limits = {part: catalog.components[part].memory_mb or 0 for part in stack}
    ports = [
        WantedPort(service=name, part=part, number=number)
        for part in stack
        for number in host_ports(service, part, catalog.components[part].ports).values()
    ]
    ports += [WantedPort(service=name, part="suite", number=one) for one in service.suite_ports_of(tier).values()]
    return Wants(
        catalog=catalog.folder,
        service=name,
        tier=tier,
        spec=spec,
        memory_mb=sum(limits.values()),
        largest=max(((part, mb) for part, mb in limits.items()), key=lambda one: one[1], default=("", 0)),
        unlimited=tuple(plain(part) for part, mb in limits.items() if not mb),
        ports=tuple(ports),
    )


def hungriest(wants: Iterable[Wants]) -> Wants | None:
    """Return who declares the most memory, and of those the one with the most components."""
    return max(wants, key=lambda one: (one.memory_mb, len(one.unlimited)), default=None)


def busiest(wants: Iterable[Wants]) -> Wants | None:
    """Return whose suite runs the most processes."""
    return max(wants, key=lambda one: one.processes, default=None)
