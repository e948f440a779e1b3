"""What the kernel counts of a container: its control group, on v1, hybrid and v2.

Which version a host has is not asked: each file is looked for where the versions have it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")
_MB = 1024 * 1024
_MEMORY_MOUNTS = ("memory", "", "unified")
_CPU_MOUNTS = ("cpuacct", "cpu,cpuacct", "", "unified")
# No limit is the greatest number of pages on v1.
_NO_LIMIT = 1 << 60
_NEAR = 0.9
_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a container has used since it was started. Memory is what its limit counts, the cache of files too.

    `memory_held_mb` is what of it is no cache of files; it is read where the limit is near, and 0 elsewhere.
    `failed_charges` counts how often the limit was met: that alone is nothing bad, caches are made smaller then. With
    version 1 it stays 0 in newer kernels (Linux 6.18).
    """

    memory_mb: float
    memory_peak_mb: float
    memory_limit_mb: float | None
    oom_kills: int
    failed_charges: int
    cpu_s: float
    memory_held_mb: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Group:
    """A container's control group: the folder that counts memory, and the one that counts CPU time."""

    memory: Path
    cpu: Path
    v1: bool

    def usage(self) -> Usage | None:
        """Read the counters; None once the group is gone, or is going."""
        try:
            return self._v1() if self.v1 else self._v2()
        except (OSError, ValueError, LookupError):
            return None

    def _v1(self) -> Usage:
        now, limit = _number(self.memory, "memory.usage_in_bytes"), _number(self.memory, "memory.limit_in_bytes")
        cpu_ns = _number(self.cpu, "cpuacct.usage")
        # Where memory and swap have one limit, it is the latter that is met.
        failed = _number(self.memory, "memory.failcnt") + _number(self.memory, "memory.memsw.failcnt", 0)
        return _usage(
            now=now,
            peak=_number(self.memory, "memory.max_usage_in_bytes"),
            limit=limit if limit < _NO_LIMIT else None,
            oom_kills=_table(self.memory, "memory.oom_control").get("oom_kill", 0),
            failed=failed,
            cpu_s=cpu_ns / 1e9,
            files=self._files("total_inactive_file", "total_active_file") if _near(now, limit) else None,
        )

    def _v2(self) -> Usage:
        events = _table(self.memory, "memory.events")
        now, told = _number(self.memory, "memory.current"), _text(self.memory, "memory.max").strip()
        limit = None if told == "max" else int(told)
        return _usage(
            now=now,
            peak=_number(self.memory, "memory.peak", now),  # since Linux 5.19
            limit=limit,
            oom_kills=events.get("oom_kill", 0),
            failed=events.get("max", 0),
            cpu_s=_table(self.cpu, "cpu.stat")["usage_usec"] / 1e6,
            files=self._files("inactive_file", "active_file") if _near(now, limit) else None,
        )

    def _files(self, *names: str) -> int:
        stat = _table(self.memory, "memory.stat")
        return sum(stat.get(name, 0) for name in names)


class Alarm:
    """Wakes whoever polls `fd` for `events` when the kernel kills in a group, and on v1 when the group is removed.

    On v1 the kernel counts one for each time that memory ran out and one more for the removal: two or more of a group
    that is gone mean memory, also to those who cannot read the kernel's log.
    """

    def __init__(self, group: Group) -> None:
        self._v1 = group.v1
        self.count = 0
        if group.v1:
            self.events = select.POLLIN
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            try:
                _register(group.memory, self.fd)
            except OSError:
                self.close()
                raise
        else:
            self.events = select.POLLPRI
            self.fd = os.open(group.memory / "memory.events", os.O_RDONLY | os.O_CLOEXEC)

    def heard(self) -> bool:
        """Take what is there to be read, so that the next poll waits for what is new; return whether there was."""
        try:
            if self._v1:
                self.count += os.eventfd_read(self.fd)
                return True
            os.pread(self.fd, _BYTES, 0)
        except OSError:  # nothing new, or the group is gone
            return False
        return False

    def ran_out_of_gone(self, patience_ms: int) -> int:
        """Return how often memory ran out in a group that is gone. The kernel counts the removal a moment after it."""
        if not self._v1:
            return 0
        poll = select.poll()
        poll.register(self.fd, self.events)
        if poll.poll(patience_ms):
            self.heard()
        return max(0, self.count - 1)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


def find(
    container_id: str, cgroup: str | None, pid: int | None, *, root: Path = ROOT, proc: Path = PROC
) -> Group | None:
    """Return a running container's control group; None where it has ended, or the host does not count memory for it.

    `cgroup` and `pid` are the engine's; where its group is no folder here, the process says where it is. Below the
    container's own group may be one for its processes (crun's `container`), which has no limit: the path ends with the
    part that carries the container's id.
    """
    told = [*([cgroup] if cgroup else []), *_paths(pid, proc)]
    for path in dict.fromkeys(_whole(one, container_id) for one in told if container_id in one):
        memory = _folder(root, _MEMORY_MOUNTS, path, ("memory.usage_in_bytes", "memory.current"))
        cpu = _folder(root, _CPU_MOUNTS, path, ("cpuacct.usage", "cpu.stat"))
        if memory is not None and cpu is not None:
            return Group(memory=memory, cpu=cpu, v1=(memory / "memory.usage_in_bytes").exists())
    return None


def _register(memory: Path, fd: int) -> None:
    watched = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
    try:
        control = os.open(memory / "cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(control, f"{fd} {watched}".encode())
        finally:
            os.close(control)
    finally:
        os.close(watched)


def _paths(pid: int | None, proc: Path) -> list[str]:
    """The paths of a process's groups; its lines are `number:controllers:path`."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines() if pid else []
    except OSError:
        return []
    return [line.split(":", maxsplit=2)[2] for line in lines if line.count(":") > 1]


def _whole(path: str, container_id: str) -> str:
    end = path.find("/", path.index(container_id))
    return (path if end < 0 else path[:end]).lstrip("/")


def _folder(root: Path, mounts: Iterable[str], path: str, names: Iterable[str]) -> Path | None:
    folders = (root / mount / path for mount in mounts)
    return next((folder for folder in folders if any((folder / name).exists() for name in names)), None)


def _near(now: int, limit: int | None) -> bool:
    return limit is not None and now >= _NEAR * limit


def _usage(
    *, now: int, peak: int, limit: int | None, oom_kills: int, failed: int, cpu_s: float, files: int | None
) -> Usage:
    return Usage(
        memory_mb=now / _MB,
        memory_peak_mb=peak / _MB,
        memory_limit_mb=None if limit is None else limit / _MB,
        oom_kills=oom_kills,
        failed_charges=failed,
        cpu_s=cpu_s,
        memory_held_mb=0.0 if files is None else max(0, now - files) / _MB,
    )


def _text(folder: Path, name: str) -> str:
    fd = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _BYTES).decode("ascii")
    finally:
        os.close(fd)


def _number(folder: Path, name: str, default: int | None = None) -> int:
    """Read a file that holds a number; where there is no such file, and there need not be, the default."""
    try:
        return int(_text(folder, name))
    except FileNotFoundError:
        if default is None:
            raise
        return default


def _table(folder: Path, name: str) -> dict[str, int]:
    """Read a file of lines that each hold a name and a number."""
    rows = (line.split() for line in _text(folder, name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
