"""What a person asked for, on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pipe:
    """File descriptors to whoever is served: `answers` takes lines of JSON, `until` ends with that process."""

    answers: int
    until: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for. `args` go to the suite; `path` is the PATH that finds the project's tools."""

    service: str | None
    tier: str = "integration"
    run: str | None = None
    ports: str = "fixed"
    fresh: bool = False
    follow: bool = False
    args: tuple[str, ...] = ()
    path: str = ""
    served: Pipe | None = None
