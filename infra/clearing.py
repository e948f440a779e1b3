"""Containers of the development stack taken down, to be made anew: only where all is there of which they are made."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from infra import devlook, lease_names, lock, ports
from infra.devlook import Seen
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.errors import NotReady
from infra.lease import Lease
from infra.plan import PlannedStep
from infra.stack import DEFAULT_GRACE_S, Stack, stop


def take_down(stack: Stack, old: Sequence[Seen], images: Mapping[str, str], dropped: tuple[str, ...] = ()) -> None:
    """Remove containers that are made anew, and some that are not.

    Nothing is removed where what is needed to make them is not there: their images, and ports that somebody else
    has; nor where a suite goes on in the stack.
    """
    engine = stack.engine
    own = {port for one in old for port in one.ports.values()}
    for one in old:
        for port in one.step.ports:
            if port.host is not None and port.host not in own and not ports.is_free(port.host):
                raise taken(one.step.name, port.host, stack.lease)
        _ = images[one.step.name]  # which are made, or had, when they are first asked for
    live = [one for one in old if one.state is not None and not one.state.dead and one.why != devlook.LOST]
    with lock.alone(lease_names.USERS):
        if dropped or live:
            lease_names.refuse_used(stack.plan.run)
        for one in old:
            stack.recorder.note(f"{one.step.name} was {one.why}: it is made anew{with_data(engine, one.step)}")
        for name in dropped:
            stack.recorder.note(f"{name} is not declared any more: it is removed; its data stay until dev.cleanup")
        for name in dropped:
            stop(engine, name, DEFAULT_GRACE_S)
            _remove(engine, name)
        for one in reversed(old):
            if one in live:
                _wake(engine, one)
                stop(engine, one.step.container, DEFAULT_GRACE_S)
            _remove(engine, one.step.container)


def taken(step: str, port: int, lease: Lease) -> NotReady:
    """Return the error for a port that somebody else has: it may well be a database that is to stay."""
    found = ports.holder(port, lease.engine)
    return NotReady(
        f"port {port} is taken by {found.who}",
        reference="port-taken",
        remedy="invoke dev.bootstrap --ports auto  # free ports, which dev.status tells; or end what has it",
        step=step,
        blame="user",
        evidence=(f"127.0.0.1:{port}: address already in use", found.shown),
    )


def with_data(engine: Engine, step: PlannedStep) -> str:
    """Return with what a component is made anew, in words."""
    if step.volume is None:
        return ""
    return ", with its data" if has_volume(engine, step) else ", with none: there is no volume of its data"


def has_volume(engine: Engine, step: PlannedStep) -> bool:
    """Whether the volume of a component's data is there."""
    return step.volume is not None and step.volume[0] in {one.name for one in engine.volumes()}


def _remove(engine: Engine, container: str) -> None:
    """Remove a container; where its monitor was killed, Podman before 2025 refuses once."""
    with contextlib.suppress(EngineRefused):
        engine.remove(container)
        return
    engine.remove(container)


def _wake(engine: Engine, seen: Seen) -> None:
    """Let one go on that is frozen, or whose first process was stopped: those end with no grace."""
    with contextlib.suppress(EngineRefused):
        if seen.state is not None and seen.state.status == "paused":
            engine.freeze(seen.step.container, frozen=False)
        elif seen.hangs:
            engine.kill(seen.step.container, "SIGCONT")
