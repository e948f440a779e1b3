"""The labels and names that are the only state: what a resource carries, and who owned it.

An owner is a process of one host, boot and pid namespace. Only an owner that can be seen to be dead from here is
dead; everything else is somebody's.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import psutil

PREFIX = "dev.kubernaut.infra"
RUN = f"{PREFIX}.run"
SERVICE = f"{PREFIX}.service"
TIER = f"{PREFIX}.tier"
COMPONENT = f"{PREFIX}.component"
OWNER = f"{PREFIX}.owner"
CREATED = f"{PREFIX}.created"
KEPT = f"{PREFIX}.kept"
ROOT = f"{PREFIX}.root"
DATA = f"{PREFIX}.data"
IMAGE = f"{PREFIX}.image"
CONTENT = f"{PREFIX}.content"
DECLARED = f"{PREFIX}.declared"

ENV_RUN = "INFRA_RUN"
ENV_OWNER = "INFRA_OWNER"
ENV_ROLE = "INFRA_ROLE"

Labels = dict[str, str]


class Life(Enum):
    """What can be said of an owner from here."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that owns a run. `started` is the kernel's start time of the pid, in its own unit."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    def __str__(self) -> str:
        return "/".join((self.host, self.boot, self.namespace, str(self.pid), self.started))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Read a label's value; None for what we did not write."""
        parts = text.split("/")
        if len(parts) != 5 or not all(parts) or not parts[3].isdecimal():
            return None
        return cls(host=parts[0], boot=parts[1], namespace=parts[2], pid=int(parts[3]), started=parts[4])

    @classmethod
    def of(cls, pid: int) -> Owner:
        """Return the owner that process `pid` of this host would be. Raises `psutil.NoSuchProcess`."""
        return cls(host=platform.node(), boot=_boot(), namespace=_namespace(), pid=pid, started=_started(pid))

    def life(self) -> Life:
        """Say whether the owner lives: by host, boot, pid namespace, pid and the pid's start time."""
        if self.host != platform.node():
            return Life.UNKNOWN
        if self.boot != _boot():
            return Life.DEAD
        if self.namespace != _namespace():
            return Life.UNKNOWN
        try:
            started = _started(self.pid)
        except psutil.NoSuchProcess:
            return Life.DEAD
        return Life.ALIVE if started == self.started else Life.DEAD


def is_run(text: str) -> bool:
    """Whether this is the name of a run: 8 hex digits."""
    return re.fullmatch(r"[0-9a-f]{8}", text) is not None


def is_run_tag(ref: str, carried: Mapping[str, str]) -> bool:
    """Whether a run has put this tag onto an image of ours. An image derived from ours has our labels, not our name."""
    name = re.escape(carried.get(IMAGE, ""))
    return re.fullmatch(rf"localhost/([a-z0-9._-]+/)*{name}:[a-z][a-z0-9-]*-[0-9a-f]{{8}}", ref) is not None


def is_cache_tag(ref: str, carried: Mapping[str, str]) -> bool:
    """Whether this is the name under which an image of ours is cached: its content's hash."""
    name = re.escape(carried.get(IMAGE, ""))
    return re.fullmatch(rf"localhost/([a-z0-9._-]+/)*{name}:[0-9a-f]{{12}}", ref) is not None


def life(text: str) -> Life:
    """Say whether the owner that is written there lives; an unreadable one is UNKNOWN, so never touched."""
    owner = Owner.parse(text)
    return Life.UNKNOWN if owner is None else owner.life()


def life_of(labels: Mapping[str, str]) -> Life:
    """Say whether the owner named by `labels` lives."""
    return life(labels.get(OWNER, ""))


@cache
def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    argv = ["sysctl", "-n", "kern.bootsessionuuid"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=5).stdout.strip()


@cache
def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return "none"


def _started(pid: int) -> str:
    """The start time of a pid; a zombie is as dead as a pid that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            raise psutil.NoSuchProcess(pid) from None
        return f"{psutil.Process(pid).create_time():.2f}"
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise psutil.NoSuchProcess(pid)
    return fields[19]
