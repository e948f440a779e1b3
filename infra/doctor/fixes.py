"""The fixes that touch only what is ours, each said before it is done. What lives, or is foreign, is refused.

Nothing is decided here by what a check has seen: the sweep, the cache and the forwardings look again themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future

from infra import cache, processes, sweep
from infra.doctor import engine as checks
from infra.doctor.checks import GB
from infra.engine.store import Stored
from infra.lease import Lease

_STORED_S = 10.0


def apply(held: Lease, ours: Future[Stored], say: Callable[[str], None]) -> None:
    """Sweep dead runs, end what forwards for their containers, drop aged images. Raises what the engine refuses."""
    engine = held.engine
    dead, builds, _ = checks.dead_runs(engine)
    for run in dead:
        say(f"sweep run {run}: its owner is dead")
    for run in builds:
        say(f"remove what a build of run {run} has left: the run is gone")
    if dead or builds:
        sweep.sweep_dead(engine)
    stale = checks.stale_forwardings(engine, held.connection)
    for one in stale:
        say(f"end the {one}: its container is gone")
    processes.kill(one.process for one in stale)
    stored: Stored | None = None
    if not held.connection.remote:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, TimeoutError):
            stored = ours.result(_STORED_S)
    aged = checks.aged(engine, stored)
    if aged:
        size = sum(image.size for image in aged) / GB
        say(f"drop {len(aged)} cached images, {size:.1f} GB: they are beyond the cache's bounds")
        cache.drop(engine)
