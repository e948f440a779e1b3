"""The cache of built images: kept across runs, and dropped, oldest first, beyond an age and a size."""

from __future__ import annotations

import time

from infra import labels
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.engine.types import Image
from infra.sweep import run_tags

MAX_AGE_S = 30 * 24 * 3600.0
MAX_BYTES = 20 * 1024**3


def doomed(
    images: tuple[Image, ...], in_use: frozenset[str], *, now: float, max_age_s: float, max_bytes: float
) -> tuple[Image, ...]:
    """Return which cached images go: too old, or the oldest beyond the size. Images of runs stay. Pure."""
    kept_bytes = 0.0
    gone = []
    for image in sorted(images, key=lambda one: one.created, reverse=True):
        if in_use.intersection(image.tags):
            continue
        kept_bytes += image.size
        if now - image.created > max_age_s or kept_bytes > max_bytes:
            gone.append(image)
    return tuple(gone)


def images(engine: Engine, *, max_age_s: float = MAX_AGE_S, max_bytes: float = MAX_BYTES) -> tuple[Image, ...]:
    """Drop what is `doomed` and return it. What somebody has named, and what is still needed, stays."""
    cached = engine.images({labels.IMAGE: ""})
    using = frozenset(run_tags(engine))
    gone = []
    for image in reversed(doomed(cached, using, now=time.time(), max_age_s=max_age_s, max_bytes=max_bytes)):
        try:
            if all(labels.is_cache_tag(name, image.labels) for name in image.tags):
                for name in image.tags or (image.id,):
                    engine.remove_image(name)
                gone.append(image)
        except EngineRefused:
            continue
    return tuple(gone)
