"""What is known of a fault, as values: a cause is told from these and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Doing = Literal["start", "gate", "watch", "pull", "build", "engine", "call", "suite"]


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """What a container had of memory, in MiB. `kernel` are the kernel's own words of what it killed.

    `peak_mb` is of the whole life and counts caches of files; `last_mb` is what the last look saw it hold, without.
    `certain` says that the kernel has killed in it. `would_show` says that it would be known if it had: its log can be
    read. Without either, a peak at the limit is all there is.
    """

    limit_mb: float | None = None
    peak_mb: float | None = None
    last_mb: float | None = None
    oom_kills: int = 0
    failed_charges: int = 0
    kernel: tuple[str, ...] = ()
    certain: bool = False
    would_show: bool = False
    first_kill: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """A file that the catalogue has put into a container."""

    mode: str
    owner: int


@dataclass(frozen=True, kw_only=True)
class ContainerFacts:
    """A container as the engine and the kernel show it. Times in seconds.

    `asked` is what somebody else has asked the engine to do with it shortly before its end: `stop` where its state was
    seen to be `stopping` (Podman 4.3.1 has no event of that) or an event says so, `kill` and `restart` by events;
    `listens` are the addresses on which something in it takes TCP connections, as in `0.0.0.0:8080`.
    """

    status: str
    exit_code: int = 0
    oom_flag: bool = False
    error: str = ""
    lived_s: float | None = None
    asked: tuple[str, ...] = ()
    stop_grace_s: float | None = None
    memory: MemoryFacts | None = None
    listens: tuple[str, ...] | None = None
    cpu_s: float | None = None
    user: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known of one fault.

    `said` is one sentence of whoever refused: the probe's last answer, the engine, a registry. `log` is the end of what
    the container, the build or the suite has written. `others` has every component of the stack in its order, with its
    state in words: "ready", "not started yet", "exited with code 1". `places` are names of files and folders for
    remedies: component, service, log, workspace, migrations. `files` are the catalogue's in this container, `address`
    is each component's, `ports` the published ones (host port to `component.port`), `declared_ports` those inside.
    `has_old_data` says that its data are in a volume that was there before it was started.
    """

    doing: Doing
    step: str
    kind: Literal["service", "job", "image", "suite", "run"] = "service"
    service: str = ""
    ours: bool = False
    said: str = ""
    log: tuple[str, ...] = ()
    container: ContainerFacts | None = None
    image: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    asked_port: int | None = None
    declared_ports: tuple[int, ...] = ()
    has_old_data: bool = False
    waited_s: float | None = None
    polls: int = 0
    server_log: tuple[str, ...] = ()
    """What the stack's PostgreSQL has written, where somebody says that it has refused a password."""
    waits_for: tuple[str, ...] = ()
    """What holds the locks that a job waits for, in words."""

    @property
    def dead(self) -> bool:
        """Whether it is about a container that has ended."""
        return self.container is not None and self.container.status in ("exited", "stopped", "dead", "removing")
