"""Three signals, the end of the nox that started us, and an output that nobody reads become one exception, once.

The first raises `Interrupted` in the main thread; a second Ctrl-C or SIGTERM only shortens the grace of what is being
stopped. While a teardown runs, the first one is noted and raised when the teardown is over: cleaning up is never cut
short.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from infra.errors import Interrupted

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# After a Ctrl-C nox sends a SIGTERM of its own (0.3 s later), and when it is terminated it ends: the same interrupt.
_ECHO_S = 1.0
# A Ctrl-C ends a `tee` behind us, and a SIGTERM to the group nox, before this process's main thread has seen its own.
_SETTLE_S = 0.1
_STDOUT = 1
PARENT_PIPE = "INFRA_PARENT_PIPE"


@dataclass
class Interrupts:
    """What has arrived so far. `hurry` is set by a second signal. `news` is what a SIGTERM of our own stands for."""

    first: int | None = None
    why: str | None = None
    news: tuple[int, str] | None = None
    through_nox: bool = False
    hurry: threading.Event = field(default_factory=threading.Event)
    _at: float = 0.0
    _held: bool = False

    def arrive(self, signum: int) -> None:
        """Take a signal in: raise for the first, unless held."""
        if self.first is not None:
            if not self._is_echo(signum):
                self.hurry.set()
            return
        self._at = time.monotonic()
        self.first, self.why = self.news or (signum, None)
        if not self._held:
            raise Interrupted(self.first, self.why)

    def _is_echo(self, signum: int) -> bool:
        """A closed terminal hangs up more than once, and nox repeats a Ctrl-C as SIGTERM: no second wish of anybody."""
        repeated = self.through_nox and signum == signal.SIGTERM and time.monotonic() - self._at < _ECHO_S
        return repeated or signum == signal.SIGHUP

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing interrupt this block. The caller asks `check()` when its work is done."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Let signals raise in this block of a held one: what arrives as it ends is raised inside, or held."""
        self._held = False
        try:
            self.check()
            yield
        finally:
            self._held = True

    def check(self) -> None:
        """Raise for a signal that arrived while held."""
        if self.first is not None:
            raise Interrupted(self.first, self.why)


@contextlib.contextmanager
def caught(*, output: bool = False) -> Iterator[Interrupts]:
    """Catch the signals until the block ends. A SIGHUP that was ignored at start (nohup) stays ignored.

    With `output` a stdout that nobody reads any more interrupts too, as SIGPIPE would: Python ignores that one.
    """
    pipe, stdout = _parent_pipe(), _stdout() if output else None
    interrupts = Interrupts(through_nox=pipe is not None)

    def handle(signum: int, _frame: FrameType | None) -> None:
        interrupts.arrive(signum)

    previous = {}
    for signum in _CAUGHT:
        if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
            continue
        previous[signum] = signal.signal(signum, handle)
    stop = threading.Event()
    if pipe is not None or stdout is not None:
        threading.Thread(target=_watch, args=(pipe, stdout, interrupts, stop), daemon=True).start()
    try:
        yield interrupts
    finally:
        stop.set()
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _parent_pipe() -> int | None:
    """Return the descriptor that ends with nox, `<fd>:<inode>` in the environment; another file there is not it."""
    descriptor, _, inode = os.environ.get(PARENT_PIPE, "").partition(":")
    if not descriptor.isdecimal():
        return None
    try:
        return int(descriptor) if str(os.fstat(int(descriptor)).st_ino) == inode else None
    except OSError:
        return None


def _stdout() -> int | None:
    """Return a copy of stdout where it is a pipe or a socket: rich puts /dev/null there when a write has failed."""
    try:
        kind = os.fstat(_STDOUT).st_mode
        return os.dup(_STDOUT) if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) else None
    except OSError:
        return None


def _watch(pipe: int | None, stdout: int | None, interrupts: Interrupts, stop: threading.Event) -> None:
    """Interrupt when the nox that holds the other end of our pipe is gone, or the reader of our output."""
    poll = select.poll()
    if pipe is not None:
        poll.register(pipe, select.POLLIN | select.POLLHUP)
    if stdout is not None:
        poll.register(stdout, 0)  # POLLERR and POLLHUP come unasked
    while not stop.is_set():
        for descriptor, _ in poll.poll(200):
            if descriptor == pipe and _has_word(descriptor):
                continue
            poll.unregister(descriptor)
            if stop.wait(_SETTLE_S):
                break
            if descriptor == pipe:
                _wake(interrupts, signal.SIGTERM, "the process that started this run is gone")
            elif interrupts.first is None:  # after an interrupt it says nothing new
                _wake(interrupts, signal.SIGPIPE, "the output was closed: nobody reads it any more")
    if stdout is not None:
        os.close(stdout)


def _has_word(pipe: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.read(pipe, 1))
    return False


def _wake(interrupts: Interrupts, signum: int, why: str) -> None:
    """Signals are handled in the main thread, whatever it waits for."""
    if interrupts.first is None:
        interrupts.news = (signum, why)
    os.kill(os.getpid(), signal.SIGTERM)
