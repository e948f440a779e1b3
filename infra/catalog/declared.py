"""A whole catalogue, and what is asked of it. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.devstack import DEV, DevStack
from infra.errors import Invalid, edit
from infra.model import Component, Recipe, Service, TierSpec
from infra.placeholders import nearest, plain


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """A whole catalogue. Keys are file names without `.toml`; recipes are keyed by the image they stand for."""

    folder: Path
    components: Mapping[str, Component]
    services: Mapping[str, Service]
    recipes: Mapping[str, Recipe]
    dev: DevStack | None = None

    def service(self, name: str | None) -> Service:
        """Return a service, or raise `Invalid` with the nearest name."""
        if name and name in self.services:
            return self.services[name]
        if name == DEV and self.dev is not None:
            raise Invalid(
                f'"{DEV}" is no service, it is the development stack',
                reference="unknown-service",
                remedy="invoke dev.status  # and dev.bootstrap, dev.test, dev.cleanup",
            )
        said = f'unknown service "{name}"' if name else "no service given"
        raise Invalid(
            f"{said}{nearest(name or '', self.services)}",
            reference="unknown-service",
            remedy=f"invoke infra.plan --service {_best(name, self.services)}",
        )

    def tier(self, service: str | None, tier: str) -> TierSpec:
        """Return a tier of a service, or raise `Invalid` with the nearest name."""
        tiers = self.service(service).tiers
        for name, spec in tiers.items():
            if name == tier:
                return spec
        raise Invalid(
            f'service "{service}" has no tier "{tier}"{nearest(tier, tiers)}',
            reference="unknown-tier",
            remedy=f"invoke infra.plan --service {service} --tier {_best(tier, tiers)}",
        )


def _best(word: str | None, known: Collection[str]) -> str:
    """Return the nearest of the known words for a command line, and all of them behind it."""
    near = difflib.get_close_matches(word or "", known, n=1, cutoff=0.0) or ["NAME"]
    return f"{near[0]}  # there are: {', '.join(sorted(known)) or 'none'}"


def host_ports(service: Service | DevStack, component: str, declared: Mapping[str, int]) -> dict[str, int]:
    """Return the fixed host ports that a service gives a component, by port name."""
    given = service.ports.get(component, {})
    if isinstance(given, int):
        return dict.fromkeys(declared, given)
    return dict(given)


def wrong(path: Path, key: str, what: str, reference: str = "catalogue") -> Invalid:
    """Return the error for one key of one file."""
    text = f"{key}: {what}" if key else what
    return Invalid(f"{plain(str(path))}: {plain(text)}", reference=reference, remedy=edit(path, key))
