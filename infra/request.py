"""What a person asked for, on the command line."""

from __future__ import annotations

from dataclasses import dataclass


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
