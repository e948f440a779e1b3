"""The cache of built images: kept across runs, and dropped, oldest first, beyond an age and a size.

Runs share it: what is looked for and then named, and what is looked at and then dropped, is so under one lock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from infra import labels
from infra.content import Content
from infra.engine import names
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.engine.types import Image

MAX_AGE_S = 30 * 24 * 3600.0
MAX_BYTES = 20 * 1024**3


def doomed(images: tuple[Image, ...], *, now: float, max_age_s: float, max_bytes: float) -> tuple[Image, ...]:
    """Return which cached images go: too old, or the oldest beyond the size. Pure."""
    kept_bytes = 0.0
    gone = []
    for image in sorted(images, key=lambda one: one.created, reverse=True):
        kept_bytes += image.size
        if now - image.created > max_age_s or kept_bytes > max_bytes:
            gone.append(image)
    return tuple(gone)


def take(engine: Engine, known: str, ref: str) -> tuple[str, Mapping[str, str]] | None:
    """Give a run's name to an image that is there by name or id; return its id and labels, or None where it is not."""
    with names.alone():
        found = engine.image(known)
        if found is not None:
            engine.tag(found[0], ref)
        return found


def add(engine: Engine, image: str, name: str, ref: str) -> tuple[str, Mapping[str, str]] | None:
    """Give a new image the cache's name and a run's; return what has them then, as another may have been faster."""
    with names.alone():
        found = take(engine, name, ref)
        if found is None:
            found = take(engine, image, ref)
            if found is not None:
                engine.tag(image, name)
        elif found[0] != image:
            with contextlib.suppress(EngineRefused):
                engine.remove_image(image)
        return found


def why_not(engine: Engine, name: str, content: Content) -> str:
    """Say why an image is not in the cache: it never was, or what of its content differs from the newest one's."""
    earlier = [
        one
        for one in engine.images(reference=f"{name}:*")
        if any(labels.is_cache_tag(tag, one.labels) for tag in one.tags)
    ]
    if not earlier:
        return "built: there was none"
    newest = max(earlier, key=lambda image: image.created)
    changed = content.changed_since(newest.labels.get(labels.CONTENT, ""))
    return f"built: changed {', '.join(changed) or 'nothing that is known'}"


def drop(engine: Engine, *, max_age_s: float = MAX_AGE_S, max_bytes: float = MAX_BYTES) -> tuple[Image, ...]:
    """Drop what is `doomed` and return it. What somebody has named, and what is still needed, stays.

    An image without a name is nobody's that could be told: what is built on one of ours has our labels too.
    """
    cached = tuple(image for image in engine.images({labels.IMAGE: ""}) if is_cached(image))
    gone = []
    for image in reversed(doomed(cached, now=time.time(), max_age_s=max_age_s, max_bytes=max_bytes)):
        try:
            with names.alone():  # a run may have found it meanwhile
                # By less than a whole name: for a whole one newer Podmans show no other name of the image.
                reference = image.tags[0].rpartition("/")[2]
                again = [one for one in engine.images(reference=reference) if one.id == image.id]
                if again and is_cached(again[0]):
                    for name in again[0].tags:
                        engine.remove_image(name)
                    gone.append(image)
        except EngineRefused:
            continue
    return tuple(gone)


def is_cached(image: Image) -> bool:
    """Whether it has a name, and none but those of the cache."""
    return bool(image.tags) and all(labels.is_cache_tag(name, image.labels) for name in image.tags)
