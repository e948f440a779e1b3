"""Checks of what the engine has: who holds ports, what dead runs have left, images beyond the cache's bounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from infra import buildah, cache, forwardings, labels, ports, sweep
from infra.catalog.names import nox_command
from infra.doctor.checks import GB, Check, failure, ok, warning
from infra.doctor.wants import WantedPort, Wants
from infra.engine import store
from infra.engine.client import OLDEST, Engine
from infra.engine.discover import Connection
from infra.engine.types import Image
from infra.forwardings import Forwarding
from infra.sweep import FoundRun

_UP = "infra.up"
_SHOWN = 3


def numbers(version: str) -> tuple[int, ...]:
    """Return a version that the engine has told as numbers."""
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".") if part.isdecimal())


def version(told: str) -> Check:
    """Judge the engine's version; one that is too old was refused when it was found."""
    oldest = ".".join(map(str, OLDEST))
    if numbers(told) < OLDEST:
        return failure("version", f"Podman {told}; {oldest} is the oldest supported", f"{nox_command()} -s bootstrap")
    return ok("version", f"Podman {told}; {oldest} is the oldest supported")


def fixed_ports(engine: Engine | None, root: Path, wants: Sequence[Wants], *, asked: bool) -> Check:
    """Look at the fixed ports of services, and at who holds those that are taken.

    A stack that is up holds its own, and runs from the `root` that made it use it. Of services that nobody has asked
    for it is a warning.
    """
    found = sweep.runs(engine) if engine else ()
    up = {(one.service, one.tier) for one in found if one.kept == _UP and one.root == str(root)}
    wanted = [port for one in wants if (one.service, one.tier) not in up for port in one.ports]
    taken = [port for port in wanted if not ports.is_free(port.number)]
    said = [
        f"{name} {tier} is up" for name, tier in sorted(up) if any((w.service, w.tier) == (name, tier) for w in wants)
    ]
    held = [(port, found.who, found.remedy) for port in taken[:_SHOWN] for found in [ports.holder(port.number, engine)]]
    return judge_ports(wanted, held, len(taken), said, asked=asked)


def judge_ports(
    wanted: Sequence[WantedPort],
    held: Sequence[tuple[WantedPort, str, str]],
    count: int,
    up: Sequence[str],
    *,
    asked: bool,
) -> Check:
    """Judge ports that are held (by whom, and what ends that). Pure."""
    if not held:
        seen = f"{len(wanted)} fixed ports are free" if wanted else "no fixed port is wanted"
        return ok("ports", "; ".join([seen, *up]))
    each = [f"{port.number} of {port.service} ({port.part}) is taken by {who}" for port, who, _ in held]
    more = [f"and {count - len(held)} more"] if count > len(held) else []
    _, who, fix = held[0]
    if "gvproxy" in who:
        fix = "podman machine stop; podman machine start  # it forwards for a container that is gone"
    say = failure if asked else warning
    return say("ports", "; ".join([*each, *more, *up]), fix)


def leftovers(engine: Engine) -> Check:
    """Look at what dead runs have left: in the engine, as processes, as folders, as builds."""
    return judge_leftovers(*dead_runs(engine))


def dead_runs(engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...], tuple[FoundRun, ...]]:
    """Return the runs that a sweep would end, those that are gone but for containers of their builds, and all."""
    building = buildah.runs_of_working_containers(engine)
    # Asked afterwards: a run that began meanwhile has its network before its first build.
    living = sweep.not_dead(engine) if building else set()
    dead = sweep.dead(engine)
    found = sweep.runs(engine)  # the marker of a stack that is kept is made before its owner ends
    kept = {one.run for one in found if one.kept}
    gone = tuple(run for run in building if run not in living and run not in dead)
    return tuple(run for run in dead if run not in kept), gone, found


def judge_leftovers(dead: Sequence[str], builds: Sequence[str], found: Sequence[FoundRun]) -> Check:
    """Judge which runs have left something. Pure."""
    services = {one.run: one.service for one in found}
    named = [f"{run} of {services[run]}" if services.get(run) else run for run in dead]
    said = [f"of dead runs: {', '.join(named)}"] if dead else []
    said += [f"builds of runs that are gone: {', '.join(dict.fromkeys(builds))}"] if builds else []
    if said:
        return warning("leftovers", "; ".join(said), "invoke infra.gc")
    others = [f"run {one.run} of {one.service} is kept ({one.kept})" for one in found if one.kept]
    return ok("leftovers", "; ".join(["none", *others]))


def stale_forwardings(engine: Engine | None, connection: Connection | None) -> tuple[Forwarding, ...]:
    """Look for processes of Podman's that forward to, or watch, containers of dead runs that are gone."""
    private = engine is not None and connection is not None and connection.service
    published = {port for one in engine.containers() for port in one.host_ports} if engine and private else None
    return forwardings.stale(published)


def judge_forwardings(found: Sequence[object]) -> Check:
    """Judge processes that are left of containers. Pure."""
    if not found:
        return ok("forwardings", "none is stale")
    return warning("forwardings", f"left of dead runs: {', '.join(map(str, found))}", "invoke infra.doctor --fix")


def aged(engine: Engine | None, stored: store.Stored | None) -> tuple[Image, ...]:
    """Return the cached images that are beyond the cache's bounds, by the storage's files where those can be read."""
    images = stored.images if stored is not None else engine.images({labels.IMAGE: ""}) if engine else ()
    cached = tuple(image for image in images if cache.is_cached(image))
    return cache.doomed(cached, now=time.time(), max_age_s=cache.MAX_AGE_S, max_bytes=cache.MAX_BYTES)


def judge_images(gone: Sequence[Image], stored: store.Stored | None) -> Check:
    """Judge images that are too old, or beyond the cache's size. Pure."""
    bounds = f"{cache.MAX_AGE_S / 86400:.0f} days, {cache.MAX_BYTES / 1024**3:.0f} GB"
    if gone:
        size = sum(image.size for image in gone) / GB
        seen = f"{len(gone)} cached images, {size:.1f} GB, are beyond the cache's bounds ({bounds})"
        return warning("images", seen, "invoke images.prune")
    cached = "" if stored is None else f" of {sum(map(cache.is_cached, stored.images))}"
    return ok("images", f"none{cached} in the cache is beyond its bounds ({bounds})")
