"""Whether a run was handed to a person, so that no sweep ends it.

The marker, a volume that no container uses, says so; `podman volume prune` takes it. Of the development stack a second
witness tells: volumes with data carry the reason and the root of the checkout, and there the run's folder says that the
run was handed over. Until then, as in a first bootstrap that was interrupted, those labels alone say nothing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from infra import labels, rundir, settings
from infra.engine.client import Engine
from infra.engine.types import Resource
from infra.labels import Labels


def marker(run: str) -> str:
    """Return the name of the volume that says a run was handed to a person."""
    return f"{run}-kept"


def hand_over(engine: Engine, folder: Path, run: str, marks: Labels) -> None:
    """Say that a run is a person's from here on, by both witnesses; those that are there stay."""
    rundir.hand_over(folder)
    if not _is_marked(engine, run):
        engine.create_volume(marker(run), marks)


def reason(volume: Resource) -> str | None:
    """Return why the run of a volume was handed to a person, as far as this volume is a witness of it."""
    run = volume.labels.get(labels.RUN, "")
    said = volume.labels.get(labels.KEPT)
    if volume.name == marker(run):
        return said or "kept"
    root = volume.labels.get(labels.ROOT)
    is_handed_over = root and labels.is_run(run) and rundir.is_handed_over(settings.runs_of(Path(root)) / run)
    return said if is_handed_over else None


def take_back(engine: Engine, run: str) -> None:
    """Say, in the checkout that had it, that a run is a person's no more; the marker goes with the sweep."""
    roots = {volume.labels[labels.ROOT] for volume in engine.volumes({labels.RUN: run}) if labels.ROOT in volume.labels}
    for root in roots:
        with contextlib.suppress(OSError):
            rundir.take_back(settings.runs_of(Path(root)) / run)


def is_kept(engine: Engine, run: str) -> bool:
    """Whether the run was handed to a person."""
    return why(engine, run) is not None


def why(engine: Engine, run: str) -> str | None:
    """Return why the run was handed to a person; None where it was not."""
    return next(filter(None, map(reason, engine.volumes({labels.RUN: run}))), None)


def is_certain(engine: Engine, folder: Path, run: str) -> bool:
    """Whether both witnesses are there."""
    return rundir.is_handed_over(folder) and _is_marked(engine, run)


def _is_marked(engine: Engine, run: str) -> bool:
    return any(volume.name == marker(run) for volume in engine.volumes({labels.RUN: run}))
