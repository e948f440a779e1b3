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
def turn(name: str, waits: Callable[[], None]) -> Iterator[None]:
    """Hold a lock while the block goes on, however long another process has it; `waits` is called where one has.

    Where there is none to be had (its file is a link, or somebody else's) it goes on without, like `alone`.
    """
    with contextlib.ExitStack() as files:
        descriptor = None
        with contextlib.suppress(OSError):
            descriptor = os.open(_path(name), _FLAGS, 0o600)
            files.callback(os.close, descriptor)
        said = False
        while descriptor is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    waits()
                said = True
                time.sleep(_TURN_S)
            except OSError:
                break
            else:
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
