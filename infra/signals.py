"""Three signals, and the end of the nox that started us, become one exception, once.

The first raises `Interrupted` in the main thread; later ones only shorten the grace of what is being stopped. While
a teardown runs, the first one is noted and raised when the teardown is over: cleaning up is never cut short.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from infra.errors import Interrupted

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_PIPE = "INFRA_PARENT_PIPE"


@dataclass
class Interrupts:
    """What has arrived so far. `hurry` is set by a second signal."""

    first: int | None = None
    why: str | None = None
    hurry: threading.Event = field(default_factory=threading.Event)
    _held: bool = False

    def arrive(self, signum: int) -> None:
        """Take a signal in: raise for the first, unless held."""
        if self.first is not None:
            self.hurry.set()
            return
        self.first = signum
        if not self._held:
            raise Interrupted(signum, self.why)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing interrupt this block. The caller asks `check()` when its work is done."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def check(self) -> None:
        """Raise for a signal that arrived while held."""
        if self.first is not None:
            raise Interrupted(self.first, self.why)


@contextlib.contextmanager
def caught() -> Iterator[Interrupts]:
    """Catch the signals until the block ends. A SIGHUP that was ignored at start (nohup) stays ignored."""
    interrupts = Interrupts()

    def handle(signum: int, _frame: FrameType | None) -> None:
        interrupts.arrive(signum)

    previous = {}
    for signum in _CAUGHT:
        if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
            continue
        previous[signum] = signal.signal(signum, handle)
    stop = _watch_parent(interrupts)
    try:
        yield interrupts
    finally:
        stop.set()
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _watch_parent(interrupts: Interrupts) -> threading.Event:
    """End the run when the nox that holds the other end of our pipe is gone: it could not tell us."""
    stop = threading.Event()
    pipe = _parent_pipe()
    if pipe is not None:
        threading.Thread(target=_wait_for_end, args=(pipe, interrupts, stop), daemon=True).start()
    return stop


def _parent_pipe() -> int | None:
    """Return the descriptor that ends with nox, `<fd>:<inode>` in the environment; another file there is not it."""
    descriptor, _, inode = os.environ.get(PARENT_PIPE, "").partition(":")
    if not descriptor.isdecimal():
        return None
    try:
        return int(descriptor) if str(os.fstat(int(descriptor)).st_ino) == inode else None
    except OSError:
        return None


def _wait_for_end(pipe: int, interrupts: Interrupts, stop: threading.Event) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    while not stop.is_set():
        if poll.poll(200) and not stop.is_set():
            with contextlib.suppress(OSError):
                if os.read(pipe, 1):
                    continue
            if interrupts.first is None:
                interrupts.why = "the nox that started this run is gone"
            os.kill(os.getpid(), signal.SIGTERM)
            return
