"""The names of images change one at a time on a host: Podman loses one of two changes to the same image that meet.

It reads an image's names, changes them and writes them back (seen with 4.3.1, in one service and in two: of 240 tags
set by four threads 35 were lost, and 16 that were taken away came back). So all runs of a user wait for each other.
What looks at a name and then acts on it is one change too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# As long as a change may take that the engine does not answer.
_LONGEST_S = 35.0
_LOOK_S = 0.005
_held = threading.local()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock while the block goes on, also within such a block; the kernel takes it from a process that dies.

    Who waits too long goes on without it: a change that may be lost is better than none.
    """
    if getattr(_held, "by_this_thread", False):
        yield
        return
    path = Path(f"/tmp/infra-{os.getuid()}.lock")  # not TMPDIR: it must be the same for all
    with contextlib.ExitStack() as files:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            files.callback(os.close, descriptor)
            _wait(descriptor)
        _held.by_this_thread = True
        try:
            yield
        finally:
            _held.by_this_thread = False


def _wait(descriptor: int) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_S)
        else:
            return


def short_name(ref: str) -> str:
    """Return the last part of an image's path without tag or digest: `localhost/my-service:x` is `my-service`."""
    return ref.split("@", maxsplit=1)[0].rpartition("/")[2].split(":")[0]
