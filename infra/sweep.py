"""The sweep is the cleanup: one function ends a run, whoever calls it.

Remove what the run owns, look again, remove again. Names are ours, so no handle is needed; removing nothing is
success; a removal that fails skips none of the others. Callers: the end of every run, the reaper, the start of every
run, `infra.down`, `infra.gc`.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from infra import buildah, labels, processes, remnants
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused, NoAnswer
from infra.engine.types import Container, Resource
from infra.errors import InfraError
from infra.kept import is_kept, reason
from infra.labels import Life
from infra.lease_names import bridge, drop_unfinished_folders, private_folder, private_folders, remove_private_folder

_ROUNDS = 4
_PAUSE_S = 0.15
_REAPER_S = 5.0
# For removals that the engine does not answer, in all.
_SILENT_S = 30.0
_NETWORKS = "networks"


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something of a run that is still there, and how to remove it."""

    kind: str
    name: str
    remove: Callable[[Engine], None]
    id: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run as the engine's labels tell it. `root` is the folder that made it; an older version's says none."""

    run: str
    service: str
    tier: str
    created: str
    owner: labels.Owner | None
    kept: str | None
    root: str | None = None

    @property
    def life(self) -> Life:
        """Whether its owner lives."""
        return self.owner.life() if self.owner else Life.UNKNOWN


def runs(engine: Engine) -> tuple[FoundRun, ...]:
    """Return all runs that have left a label in the engine, oldest first."""
    found: dict[str, Mapping[str, str]] = {}
    kept: dict[str, str] = {}
    roots: dict[str, str] = {}
    every = {labels.RUN: ""}
    for volume in engine.volumes(every):
        if (why := reason(volume)) is not None:
            kept[volume.labels[labels.RUN]] = why
    # `podman commit` copies a container's labels to an image, and so to what is run from that: look at the name too.
    containers = [one for one in engine.containers(every) if is_our_name(one.name, one.labels[labels.RUN])]
    stored: list[Resource | Container] = [*containers, *engine.volumes(every)]
    for carrier in (*engine.networks(every), *stored):
        # Anything may carry a label; a run is named by 8 hex digits, and an empty name would select every run.
        if labels.is_run(carrier.labels[labels.RUN]):
            found.setdefault(carrier.labels[labels.RUN], carrier.labels)
            if root := carrier.labels.get(labels.ROOT):
                roots.setdefault(carrier.labels[labels.RUN], root)
    rows = [
        FoundRun(
            run=run,
            service=carried.get(labels.SERVICE, ""),
            tier=carried.get(labels.TIER, ""),
            created=carried.get(labels.CREATED, ""),
            owner=labels.Owner.parse(carried.get(labels.OWNER, "")),
            kept=kept.get(run),
            root=roots.get(run),
        )
        for run, carried in found.items()
    ]
    here = {one.labels[labels.RUN] for one in stored}
    rows = [row for row in rows if row.run in here or row.life is not Life.DEAD or not _is_elsewhere(engine, row.run)]
    return tuple(sorted(rows, key=lambda row: row.created))


def _is_elsewhere(engine: Engine, run: str) -> bool:
    """Whether a run's containers go on in another storage: networks are shared, and the marker of a kept one is not."""
    storages = processes.storages(lambda name: is_our_name(name, run))
    return bool(storages) and buildah.store(engine, "containers") not in storages


def sweep_run(engine: Engine, run: str, built_since: float | None = None) -> tuple[str, ...]:
    """Remove everything that `run` owns and return what could not be removed, in words.

    `built_since` says from when on (seconds since the epoch) builds of the run were going on that were ended already.
    Raises `NoAnswer` where the engine does not answer, after what needs no engine: the run's processes are ended.
    """
    if not labels.is_run(run):
        raise ValueError(f"not the name of a run: {run!r}")
    left: tuple[str, ...] = ()
    silent_since: float | None = None
    gone: set[Leftover] = set()
    for attempt in range(_ROUNDS):
        if attempt > 1:  # the second look is to see that the removal has worked: there is nothing to wait for
            time.sleep(_PAUSE_S)
        ours = processes.working(run)
        built_since = min((one.started for one in ours if one.role == "build"), default=built_since)
        processes.kill(one.process for one in ours)
        buildah.kill(run)
        try:
            buildah.remove_half_done(engine, run, built_since)
            found = _find(engine, run)
        except EngineRefused as error:
            left = (f"unknown, the engine does not say: {error.message}",)
            continue
        gone.update(found)
        began = time.monotonic()
        silent = _remove(engine, run, found)
        monitors = processes.monitors(lambda name: is_our_name(name, run))
        processes.kill(monitors)
        left = (*(str(one) for one in found), *(str(one) for one in ours), *(f"monitor {m.pid}" for m in monitors))
        if not left:
            engine.version()  # whoever answers every list with an empty one is no engine to believe
            networks = _noted(run) | {one.name: one.id for one in gone if one.kind == "network"}
            remnants.clear([one.id for one in gone if one.kind == "container"], networks, bridge(run))
            return ()
        if silent is not None:
            silent_since = silent_since or began
            if time.monotonic() - silent_since > _SILENT_S or attempt == _ROUNDS - 1:
                raise silent
    return left


def sweep_dead(engine: Engine) -> tuple[str, ...]:
    """End all that dead owners have left; return the runs of which nothing is left."""
    return tuple(dict.fromkeys((*sweep_runs(engine), *sweep_orphans(engine))))


def sweep_orphans(engine: Engine) -> tuple[str, ...]:
    """Drop working containers of which the run is not there any more; in nobody's way, they can wait."""
    return tuple(dict.fromkeys(buildah.remove_dead(engine, lambda: not_dead(engine))))


def sweep_runs(engine: Engine) -> tuple[str, ...]:
    """End every run whose owner is dead and that nobody was handed; return those of which nothing is left."""
    swept = []
    drop_unfinished_folders()
    for run in dead(engine):
        processes.end_helpers(run, _REAPER_S)
        # The marker is made before its owner ends: look for it only after the owner was seen to be dead.
        if not is_kept(engine, run) and not sweep_run(engine, run):
            swept.append(run)
        for name, owner in private_folders():
            if name == run and labels.life(owner) is Life.DEAD:
                remove_private_folder(name, owner)
    return tuple(swept)


def dead(engine: Engine) -> tuple[str, ...]:
    """Return the runs whose owner is dead, and nobody's else: by labels, by processes, by private folders."""
    lives = [(found.run, found.life) for found in runs(engine)]
    lives += [(process.run, process.life) for process in processes.of_runs()]
    lives += [(run, labels.life(owner)) for run, owner in private_folders()]
    others = {run for run, life in lives if life is not Life.DEAD}
    found = dict.fromkeys(run for run, _ in lives if run not in others)
    return tuple(run for run in found if not _is_elsewhere(engine, run))


def is_our_name(name: str, run: str) -> bool:
    """Whether a container's name is one that this run gives: `<service>-<component>-<run>`."""
    return re.fullmatch(rf"[a-z][a-z0-9._-]*-{re.escape(run)}", name) is not None


def _find(engine: Engine, run: str) -> tuple[Leftover, ...]:
    """List what the run owns, in the order of removal: the network, which carries the owner, is the last."""
    mine = {labels.RUN: run}
    found = [
        Leftover(kind="container", name=c.name, remove=_container(c.name), id=c.id)
        for c in engine.containers(mine)
        if is_our_name(c.name, run)
    ]
    known = {one.name for one in found}
    for row in engine.containers(external=True):
        if row.external and row.name not in known and is_our_name(row.name, run):
            found.append(Leftover(kind="half-made container", name=row.name, remove=_container(row.name)))
    for working in buildah.working_containers(engine, run):
        found.append(Leftover(kind="working container", name=working, remove=_container(working)))
    for volume in engine.volumes(mine):
        found.append(Leftover(kind="volume", name=volume.name, remove=_volume(volume.name)))
    for ref in _tags(engine, run):
        found.append(Leftover(kind="image tag", name=ref, remove=_tag(ref)))
    for network in engine.networks(mine):
        found.append(Leftover(kind="network", name=network.name, remove=_network(network.name), id=network.id))
    return tuple(found)


def _note(run: str, networks: Mapping[str, str]) -> None:
    """Write down which networks (names to ids) are removed: killed before the rest of them is, nothing else tells."""
    with contextlib.suppress(OSError):
        (private_folder(run) / _NETWORKS).write_text(json.dumps(networks), encoding="utf-8")


def _noted(run: str) -> dict[str, str]:
    try:
        return dict(json.loads((private_folder(run) / _NETWORKS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _container(name: str) -> Callable[[Engine], None]:
    return lambda engine: engine.remove(name)


def _volume(name: str) -> Callable[[Engine], None]:
    return lambda engine: engine.remove_volume(name)


def _tag(ref: str) -> Callable[[Engine], None]:
    return lambda engine: engine.untag(ref)


def _network(name: str) -> Callable[[Engine], None]:
    return lambda engine: engine.remove_network(name)


def _remove(engine: Engine, run: str, found: Iterable[Leftover]) -> NoAnswer | None:
    """Remove containers side by side, then the rest one after another; failures show when looked at again.

    A removal without an answer skips none of the others, and is returned; an engine that has none at all ends it. The
    network is what tells of the run: it stays while anything else does.
    """
    silent: list[NoAnswer] = []
    failed: list[Leftover] = []
    containers = [one for one in found if "container" in one.kind]
    networks = [one for one in found if one.kind == "network"]
    others = [one for one in found if one not in (*containers, *networks)]

    def quietly(one: Leftover, client: Engine) -> None:
        try:
            one.remove(client)
        except NoAnswer as error:
            failed.append(one)
            silent.append(error)
            with contextlib.suppress(EngineRefused):
                engine.clone().version()
        except InfraError:
            failed.append(one)

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda one: quietly(one, engine.clone()), containers))
    for one in others:
        quietly(one, engine)
    if networks and not failed:
        _note(run, {one.name: one.id for one in networks})
        for one in networks:
            quietly(one, engine)
    return silent[0] if silent else None


def _tags(engine: Engine, run: str) -> tuple[str, ...]:
    """Return the tags that a run has put onto images of ours: `localhost/<image>:<consumer>-<8 hex>`."""
    tags = [
        tag
        for image in engine.images(reference=f"*:*-{run}")
        for tag in image.tags
        if labels.is_run_tag(tag, image.labels)
    ]
    # An image that two runs use comes with the tags of both.
    return tuple(tag for tag in tags if tag.endswith(f"-{run}"))


def not_dead(engine: Engine) -> set[str]:
    """Return the runs that have something in the engine, or on this host an owner that is not dead.

    The engine alone may not know: a service of Podman's does not see a network that another one has created within the
    kernel's tick in which it looked last.
    """
    found = {found.run for found in runs(engine)}
    found |= {process.run for process in processes.of_runs() if process.life is not Life.DEAD}
    return found | {run for run, owner in private_folders() if labels.life(owner) is not Life.DEAD}
