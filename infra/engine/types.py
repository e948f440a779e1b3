"""What the engine speaks in: rows and states as frozen values of ours, and what to create."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

HOST = "127.0.0.1"
"""Where ports are published, and asked."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A row of the engine's list. `external` ones are storage without a container: half made, or a build's."""

    id: str
    name: str
    state: str
    created: str
    labels: Mapping[str, str]
    host_ports: tuple[int, ...]
    external: bool


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """A container as inspected. `ports` maps container port to host port; `exit_code` counts once it has exited.

    `pid` and `cgroup`, the path of its control group, are there while it runs. `started` and `finished` are those of
    the last start and the last end: after a restart `finished` is before `started`.
    """

    id: str
    status: str
    exit_code: int
    oom_killed: bool
    error: str
    ports: Mapping[int, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    cgroup: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    memory_limit_mb: int | None = None
    stop_grace_s: int | None = None
    restarts: int = 0
    user: str = ""

    @property
    def dead(self) -> bool:
        """Whether it ran and has ended."""
        return self.status in ("exited", "stopped", "dead", "removing")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that has happened to a container: `died`, `kill`, `cleanup`."""

    name: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A network or volume: its name and its labels. Only networks have an id."""

    name: str
    labels: Mapping[str, str]
    id: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image in local storage. `created` is seconds since the epoch, `size` is bytes."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    created: int
    size: int


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """What to create. `ports` maps container port to host port, 0 for any free one; `hosts` names to addresses.

    Without an `address` the engine chooses one. With `cgroup_v2` a container that meets its memory limit ends whole.
    `volume` is a volume's name and where it is; `restarts` is how often the engine starts it again when it fails.
    """

    name: str
    image: str
    alias: str
    network: str
    address: str | None
    hosts: Mapping[str, str]
    command: tuple[str, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    ports: Mapping[int, int]
    stop_grace_s: float
    memory_mb: int | None
    cgroup_v2: bool = False
    volume: tuple[str, str] | None = None
    restarts: int = 0

    @property
    def limits(self) -> Mapping[str, Mapping[str, object]]:
        """The limits as the engine takes them. It refuses `unified` where control groups are of version 1."""
        if self.memory_mb is None:
            return {}
        limit = self.memory_mb * 1024 * 1024
        memory = {"memory": {"limit": limit, "swap": limit}}
        return {**memory, "unified": {"memory.oom.group": "1"}} if self.cgroup_v2 else memory

    @property
    def mac(self) -> str | None:
        """A hardware address that follows from `address`, and so is the same when the container is started again.

        Podman makes up a new one each time; its neighbours, which know the old one for half a minute, do not reach it.
        """
        packed = ipaddress.ip_address(self.address).packed if self.address else b""
        return ":".join(f"{byte:02x}" for byte in (0x0A, 0x58, *packed[-4:])) if packed else None


@dataclass(frozen=True, kw_only=True)
class TarFile:
    """A file to copy into a container."""

    path: str
    content: bytes
    mode: int
    owner: int
