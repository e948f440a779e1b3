"""What is known of a run's end while it is still going on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.plan import Plan
from infra.report import EngineFacts, Resources, Scene


@dataclass
class Ending:
    """What is known of a run's end while it is still going on."""

    engine: EngineFacts | None = None
    left: tuple[str, ...] = ()
    kept: bool = False
    stack: str | None = None
    plan: Plan | None = None
    scene: Scene | None = None
    mask: Callable[[str], str] = field(default=str)
    resources: tuple[Resources, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
