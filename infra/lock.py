"""Locks of this host, among all runs of a user: held while a block goes on, given back by the kernel when one dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# As long as a change may take that the engine does not answer.
_LONGEST_S = 35.0
_LOOK_S = 0.005
_TURN_S = 0.1
_TURN_LONGEST_S = 1800.0
_FLAGS = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_mine = threading.local()


@contextlib.contextmanager
def alone(name: str = "") -> Iterator[None]:
    """Hold a lock while the block goes on, also within such a block of the same thread.

    Who waits too long goes on without it: a change that may be lost is better than none.
    """
    path = _path(name)
    held: set[Path] = _mine.__dict__.setdefault("held", set())
    if path in held:
        yield
        return
    with contextlib.ExitStack() as files:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, _FLAGS, 0o600)
            files.callback(os.close, descriptor)
            _wait(descriptor)
        held.add(path)
        try:
            yield
        finally:
            held.discard(path)


@contextlib.contextmanager
def turn(
    name: str, waits: Callable[[int], None], late: Callable[[int], Exception], longest_s: float = _TURN_LONGEST_S
) -> Iterator[None]:
    """Hold a lock while the block goes on; `waits` is called where another process has it, with its id (0: not known).

    Raises `late` of that id after `longest_s` seconds. Where there is none to be had (its file is a link, or somebody
    else's) it goes on without, like `alone`.
    """
    with contextlib.ExitStack() as files:
        descriptor = None
        with contextlib.suppress(OSError):
            descriptor = os.open(_path(name), _FLAGS, 0o600)
            files.callback(os.close, descriptor)
        said, deadline = False, time.monotonic() + longest_s
        while descriptor is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace")
                pid = int(holder) if holder.isdecimal() else 0
                if time.monotonic() > deadline:
                    raise late(pid) from None
                if not said:
                    waits(pid)
                said = True
                time.sleep(_TURN_S)
            except OSError:
                break
            else:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                break
        yield


def _path(name: str) -> Path:
    return Path(f"/tmp/infra-{os.getuid()}{name}.lock")  # not TMPDIR: it must be the same for all


def _wait(descriptor: int) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_S)
        else:
            return
