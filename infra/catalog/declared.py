"""A whole catalogue, and what is asked of it. Pure."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.devstack import DEV, DevStack
from infra.errors import Invalid, again
from infra.model import Component, PostgresProbe, ProbeSpec, Recipe, Service, TierSpec
from infra.placeholders import nearest, render

POSTGRES_TEXTS = ("database", "user", "password")
"""What of a probe may have placeholders."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a component is declared: in `path`, which says what `own` holds; what it does not is said by `base`."""

    path: Path
    own: Mapping[str, object]
    base: Path | None = None

    def file_of(self, key: str) -> Path:
        """Return the file that says a key (`env.NAME`, `files.0.content`)."""
        at: object = self.own
        for part in key.split("."):
            if not isinstance(at, dict):
                return self.path
            if part not in at:
                return self.base or self.path
            at = at[part]
        return self.path


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """A whole catalogue. Keys are file names without `.toml`; recipes are keyed by the image they stand for.

    Components and recipes are its own and, of names and images that it does not declare, the package's. A recipe's
    folder is that of its files.
    """

    folder: Path
    components: Mapping[str, Component]
    services: Mapping[str, Service]
    recipes: Mapping[str, Recipe]
    origins: Mapping[str, Origin]
    recipe_folders: Mapping[str, Path]
    dev: DevStack | None = None

    def own_file(self, component: str) -> Path:
        """Return the file in which a person changes a component; for a built-in it may not be there yet."""
        return self.folder / "components" / f"{component}.toml"

    def mended(self, component: str, remedy: str) -> str:
        """Return a remedy that would edit a built-in's file as one that edits the catalogue's own."""
        origin, own = self.origins[component], self.own_file(component)
        words = "" if origin.path == own else f'extends = "{component}", and '
        for path in {origin.path, origin.base} - {own, None}:
            remedy = remedy.replace(f"{shlex.quote(str(path))}  # ", f"{shlex.quote(str(own))}  # {words}")
        return remedy

    def texts(self, *stack: str) -> dict[str, str]:
        """Return the values of the placeholders that a stack's components declare, or those of all components."""
        found: dict[str, str] = {}
        for name in stack or self.components:
            component = self.components[name]
            found |= {f"{name}.values.{key}": text for key, text in component.values.items()}
            found |= {f"{name}.secrets.{key}": text for key, text in component.secrets.items()}
        return found

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
            remedy=again(f"--service {_best(name, self.services)}"),
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
            remedy=again(f"--service {service} --tier {_best(tier, tiers)}"),
        )


def _best(word: str | None, known: Collection[str]) -> str:
    """Return the nearest of the known words for a command line, and all of them behind it.

    None that is only guessed: what is pasted may be a command that removes something.
    """
    near = difflib.get_close_matches(word or "", known, n=1) or ["NAME"]
    return f"{near[0]}  # there are: {', '.join(sorted(known)) or 'none'}"


def host_ports(service: Service | DevStack, component: str, declared: Mapping[str, int]) -> dict[str, int]:
    """Return the fixed host ports that a service gives a component, by port name."""
    given = service.ports.get(component, {})
    if isinstance(given, int):
        return dict.fromkeys(declared, given)
    return dict(given)


def rendered(ready: ProbeSpec, values: Mapping[str, str]) -> ProbeSpec:
    """Return a probe with its placeholders filled in."""
    if not isinstance(ready, PostgresProbe):
        return ready
    return ready.model_copy(update={key: render(getattr(ready, key), values) for key in POSTGRES_TEXTS})
