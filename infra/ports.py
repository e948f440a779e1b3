"""Host ports: whether they are free, and who holds one that is not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from infra import kept, labels
from infra.devstack import BOOTSTRAP
from infra.engine.client import Engine
from infra.engine.types import HOST, Container
from infra.errors import NotReady
from infra.labels import Life, life_of

if TYPE_CHECKING:
    from infra.plan import Plan, PlannedPort

# On one of these a listener keeps 127.0.0.1 from being bound.
_BLOCKING = (HOST, "0.0.0.0", "::", "::ffff:127.0.0.1")
_LIVES = "its owner is alive"
_OTHER = "or use --ports auto"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a port, in words; the command that ends it, or shows it; and what shows that."""

    who: str
    remedy: str
    shown: str


def check_free(plan: Plan, engine: Engine | None) -> None:
    """Raise `NotReady` for the first fixed port of the plan that is taken, naming who holds it."""
    for step, port in _fixed(plan):
        if port.host is not None and not is_free(port.host):
            raise taken(step, port.host, engine)


def fixed(plan: Plan) -> tuple[int, ...]:
    """Return the ports of this host that the plan wants."""
    return tuple(port.host for _, port in _fixed(plan) if port.host is not None)


def any_free() -> int:
    """Return a port of 127.0.0.1 that is free now. Nobody holds it until the suite does."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound now, as a published port would."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno not in (errno.EADDRINUSE, errno.EACCES)
    return True


def taken(step: str, port: int, engine: Engine | None) -> NotReady:
    """Return the error for a taken port."""
    found = holder(port, engine)
    return NotReady(
        f"port {port} is taken by {found.who}",
        reference="port-taken",
        remedy=found.remedy,
        step=step,
        blame="user",
        evidence=(f"{HOST}:{port}: address already in use", found.shown),
    )


def holder(port: int, engine: Engine | None) -> Holder:
    """Return who holds a port."""
    for container in engine.containers() if engine else ():
        if engine and port in container.host_ports and container.state == "running":
            return _of_container(container, port, engine)
    for connection in psutil.net_connections(kind="tcp"):
        at = connection.laddr
        if at and at.port == port and at.ip in _BLOCKING and connection.status == psutil.CONN_LISTEN:
            who = _process(connection.pid)
            remedy = f"kill {connection.pid}  # {_OTHER}" if connection.pid else _asked(port)
            return Holder(who=who, remedy=remedy, shown=f"{who} listens on {at.ip}:{port}")
    return Holder(who="another process", remedy=_asked(port), shown="no process of this user is seen to listen on it")


def _asked(port: int) -> str:
    return f"sudo ss -ltnp 'sport = :{port}'  # shows who; {_OTHER}"


def _of_container(container: Container, port: int, engine: Engine) -> Holder:
    shown = f"container {container.name} is running and publishes {HOST}:{port}"
    run = container.labels.get(labels.RUN)
    if run is None:
        return Holder(
            who=f"container {container.name}", remedy=f"podman stop {container.name}  # {_OTHER}", shown=shown
        )
    why = kept.why(engine, run)
    state = "kept up for a person" if why is not None else _life(container)
    remedy = f"invoke infra.down --run {run}  # {_OTHER}"
    if why == BOOTSTRAP:
        remedy = f"invoke dev.cleanup --run {run}  # removes a development stack with its data; {_OTHER}"
    elif state == _LIVES:
        remedy = f"invoke infra.status  # wait until run {run} has ended, {_OTHER}"
    who = f"run {run} of {container.labels.get(labels.SERVICE)} (container {container.name}, {state})"
    if root := container.labels.get(labels.ROOT):
        who += f", made from {root}"
    owner = labels.Owner.parse(container.labels.get(labels.OWNER, ""))
    return Holder(who=who, remedy=remedy, shown=f"{shown}; owner: {owner}" if owner else shown)


def _life(container: Container) -> str:
    """Return whether anybody cares for a run, in words."""
    lives = {Life.ALIVE: _LIVES, Life.DEAD: "its owner is dead"}
    return lives.get(life_of(container.labels), "its owner cannot be seen from here")


def _process(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        # Its command line may hold what is secret to somebody else, and this goes into reports.
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"


def _fixed(plan: Plan) -> Iterator[tuple[str, PlannedPort]]:
    for step in plan.steps:
        for port in step.ports:
            yield step.name, port
    for port in plan.suite_ports:
        yield "suite", port
