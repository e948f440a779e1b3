"""Whom the kernel has killed, out of memory, by its own log. Only root reads that on most hosts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

KERNEL_LOG = Path("/dev/kmsg")
PROC = Path("/proc")
_BYTES = 64 * 1024
_VICTIM = re.compile(r"\btask=(.*),pid=(\d+),uid=\d+$")
_KILLED = re.compile(r"Killed process (\d+) ")
_ABOUT = ("oom-kill:", "memory.oom.group", " killed as a result of ")


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A process that the kernel chose to kill; `pid` is the host's."""

    pid: int
    name: str


def kernel_log(container_id: str, log: Path = KERNEL_LOG) -> tuple[str, ...] | None:
    """Return the lines in which the kernel says whom it killed in a container; None where its log is not ours to read.

    It is asked and not looked at: everybody may open it by its mode, and by `kernel.dmesg_restrict` only root.
    """
    try:
        return killings(_messages(log), container_id)
    except OSError:
        return None


def is_alive(pid: int, proc: Path = PROC) -> bool:
    """Whether a process of this host runs; one that waits to be reaped does not."""
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(") ")[2][:1] not in ("Z", "X", "")


def killings(lines: Iterable[str], container_id: str) -> tuple[str, ...]:
    """Return the lines of a kernel's log that are about a container's memory and its victims."""
    found: list[str] = []
    victim = ""
    for line in lines:
        killed = _KILLED.search(line)
        if container_id in line and any(words in line for words in _ABOUT):
            found.append(line)
            named = _VICTIM.search(line)
            victim = named[2] if named else "next"  # Linux 4 names it in the line after
        elif killed and victim in (killed[1], "next"):
            found.append(line)
            victim = ""
    return tuple(found)


def victims(lines: Iterable[str]) -> tuple[Victim, ...]:
    """Return whom the kernel chose, from what `kernel_log` has found."""
    return tuple(Victim(name=found[1], pid=int(found[2])) for line in lines if (found := _VICTIM.search(line)))


def _messages(log: Path) -> Iterator[str]:
    """Yield what the log holds now, a message at a time, without the numbers before its `;`."""
    fd = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while read := _record(fd):
            lines = (line.partition(b";") for line in read.split(b"\n"))
            yield from (text.decode("utf-8", "replace") for _, there, text in lines if there)
    except BlockingIOError:  # that was the last one
        return
    finally:
        os.close(fd)


def _record(fd: int) -> bytes:
    """Read the next record of the kernel's, whole as it gives them."""
    while True:
        try:
            return os.read(fd, _BYTES)
        except BrokenPipeError:  # what was to be read next has been overwritten meanwhile
            continue
