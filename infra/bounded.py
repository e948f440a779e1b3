"""Files that stay small whatever is written: of what is too long the beginning and the end are kept, and it says so."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

# A log while it is written.
LOG_BYTES = 4 * 1024 * 1024
_KEPT_AT_START = 4


class BoundedLog:
    """A log that is appended to and never larger than `limit`: the first quarter stays, and the newest of the rest."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path = path
        self._limit = limit

    def __enter__(self) -> BoundedLog:
        # Not "a+b": what is too long is written anew in place, so that whoever follows the file goes on doing so.
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        self._size = self._file.seek(0, os.SEEK_END)
        self._cut = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Append; what is in the file is what a reader sees."""
        self._file.write(data)
        self._file.flush()
        self._size += len(data)
        if self._size > self._limit:
            self._shorten()

    def _shorten(self) -> None:
        head, tail = self._limit // _KEPT_AT_START, self._limit // 2
        self._file.seek(self._size - tail)
        kept = self._file.read(tail)
        self._cut += self._size - head - tail
        self._file.seek(head)
        self._file.write(_marker(self._cut) + kept)
        self._file.truncate()
        self._file.flush()
        self._size = self._file.tell()


class Ends:
    """Of a stream of bytes the beginning and the end, held in no more memory than they take."""

    def __init__(self, limit: int) -> None:
        self._head = bytearray()
        self._room = limit // _KEPT_AT_START
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._most = limit - self._room
        self.cut = 0

    def take(self, data: bytes) -> None:
        """Take the next bytes in."""
        at_start = self._room - len(self._head)
        self._head += data[:at_start] if at_start > 0 else b""
        data = data[max(at_start, 0) :][-self._most :] if self._most else b""
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= self._most:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self.cut += gone

    def bytes(self) -> bytes:
        """Return what was kept, with a line between where something was cut."""
        return bytes(self._head) + (_marker(self.cut) if self.cut else b"") + b"".join(self._tail)


def cut(path: Path, limit: int) -> None:
    """Shorten a file in place to its beginning and its end."""
    size = path.stat().st_size
    if size <= limit:
        return
    head = limit // _KEPT_AT_START
    marker = _marker(size - limit)
    with path.open("r+b") as file:
        file.seek(size - max(limit - head - len(marker), 0))
        tail = file.read()
        file.seek(head)
        file.write(marker + tail)
        file.truncate()


def trim(folders: Iterable[Path], limit: int) -> None:
    """Shorten the files below these folders until they have no more than `limit` bytes in all: the longest, evenly."""
    sizes: dict[Path, int] = {}
    for path in (Path(at, name) for folder in folders for at, _, names in os.walk(folder) for name in names):
        with contextlib.suppress(OSError):  # some files go while they are looked at
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode):
                sizes[path] = seen.st_size
    level = _level(sizes.values(), limit)
    for path in sizes:
        with contextlib.suppress(OSError):
            cut(path, level)


def _level(sizes: Iterable[int], limit: int) -> int:
    """Return how long a file may be so that all of them fit: who has less than a fair share leaves others the rest."""
    left, waiting = limit, sorted(sizes)
    for number, size in enumerate(waiting):
        share = left // (len(waiting) - number)
        if size > share:
            return share
        left -= size
    return limit


def _marker(count: int) -> bytes:
    return f"\n[{count} bytes were cut here]\n".encode()
