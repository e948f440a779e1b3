"""Host ports: whether they are free, and who holds one that is not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import psutil

from infra import labels
from infra.engine.client import Engine
from infra.errors import NotReady
from infra.labels import Life, life_of
from infra.plan import HOST, Plan, PlannedPort
from infra.sweep import marker


def check_free(plan: Plan, engine: Engine | None) -> None:
    """Raise `NotReady` for the first fixed port of the plan that is taken, naming who holds it."""
    for step, port in _fixed(plan):
        if port.host is not None and not is_free(port.host):
            raise taken(step, port.host, engine)


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
    who, remedy = holder(port, engine)
    return NotReady(
        f"port {port} is taken by {who}",
        reference="port-taken",
        remedy=f"{remedy}  # or wait until it has ended, or use --ports auto",
        step=step,
        blame="user",
    )


def holder(port: int, engine: Engine | None) -> tuple[str, str]:
    """Return who holds a port and the command that ends it."""
    for container in engine.containers() if engine else ():
        if port in container.host_ports and container.state == "running":
            run = container.labels.get(labels.RUN)
            if run is None:
                return f"container {container.name}", f"podman stop {container.name}"
            service = container.labels.get(labels.SERVICE)
            if engine and any(volume.name == marker(run) for volume in engine.volumes({labels.RUN: run})):
                state = "kept up for a person"
            else:
                state = {Life.ALIVE: "its owner is alive", Life.DEAD: "its owner is dead"}.get(
                    life_of(container.labels), "its owner cannot be seen from here"
                )
            alive = state == "its owner is alive"
            remedy = "invoke infra.status" if alive else f"invoke infra.down --run {run}"
            return f"run {run} of {service} (container {container.name}, {state})", remedy
    for connection in psutil.net_connections(kind="tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            return _process(
                connection.pid
            ), f"kill {connection.pid}" if connection.pid else f"ss -ltnp 'sport = :{port}'"
    return "another process", f"ss -ltnp 'sport = :{port}'"


def _process(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"process {pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    except psutil.Error:
        return f"process {pid}"


def _fixed(plan: Plan) -> Iterator[tuple[str, PlannedPort]]:
    for step in plan.steps:
        for port in step.ports:
            yield step.name, port
    for port in plan.suite_ports:
        yield "suite", port
