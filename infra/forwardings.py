"""Processes that outlive the containers of dead runs: conmons, and the forwardings of their ports without root.

Podman's own processes have the environment of the service that they were started by, and a private service names its
owner there (`reaper`). What has no such mark, or an owner that may live, or another user, is somebody else's.
"""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from infra.labels import ENV_OWNER, Life, life

_FORWARDER = "rootlessport"


@dataclass(frozen=True, kw_only=True)
class Forwarding:
    """A process of Podman's for a container of a dead run that is gone."""

    process: psutil.Process
    what: str

    def __str__(self) -> str:
        return f"{self.what} (process {self.process.pid})"


def stale(published: Set[int] | None) -> tuple[Forwarding, ...]:
    """Return what is left of containers that are gone. `published` are the ports of all containers that are there.

    Without them (the engine is none of our own, so they tell nothing) only conmons are looked for.
    """
    found = []
    for process in psutil.process_iter():
        try:
            what = _left_of(process, published)
            if what and _is_of_a_dead_owner(process):
                found.append(Forwarding(process=process, what=what))
        except (psutil.Error, OSError):
            continue
    return tuple(found)


def _left_of(process: psutil.Process, published: Set[int] | None) -> str:
    name = process.name()
    if name == "conmon":
        return _monitored_and_gone(process)
    if name.startswith(_FORWARDER) and published is not None:
        listening = {one.laddr.port for one in process.net_connections(kind="tcp") if one.status == psutil.CONN_LISTEN}
        if listening and not listening & published:
            return f"forwarding of port {', '.join(map(str, sorted(listening)))}"
    return ""


def _monitored_and_gone(process: psutil.Process) -> str:
    """Return which container a conmon watches, where the engine has removed its folder: then it is gone from there."""
    words = dict(pairwise(process.cmdline()))
    bundle = words.get("-b", "")
    # One of an exec ends by itself. A path is that of its own mount namespace.
    if not bundle.startswith("/") or "--exec-process-spec" in words:
        return ""
    return "" if Path(f"/proc/{process.pid}/root{bundle}").exists() else f"monitor of container {words.get('-n', '')}"


def _is_of_a_dead_owner(process: psutil.Process) -> bool:
    owner = process.environ().get(ENV_OWNER, "")
    return process.uids().effective == os.geteuid() and life(owner) is Life.DEAD
