"""Child processes that do a run's work: in a session of their own, their output line by line, ended with escalation."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType

from infra.bounded import BoundedLog
from infra.masking import in_pieces

_TAIL = 400
_DRAIN_S = 2.0
# Longer lines come in pieces: a program that never ends its line would fill the memory.
_LINE = 64 * 1024
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Command:
    """One command while it runs; a context manager that leaves no process of its group behind.

    Output goes, masked, to `log`, of which the beginning and the end are kept, and, line by line, to `on_line` (from
    another thread). `tail` holds the last lines, without colours.
    Raises FileNotFoundError or PermissionError on enter, as subprocess does.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None],
        cwd: Path | None = None,
        mask: Callable[[str], str] = str,
    ) -> None:
        self.argv = tuple(argv)
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._env = dict(env)
        self._log = log
        self._on_line = on_line
        self._cwd = cwd
        self._mask = mask

    def __str__(self) -> str:
        return shlex.join(self.argv)

    def __enter__(self) -> Command:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            self.argv,
            env=self._env,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end(0.0, threading.Event())
        self._signal(signal.SIGKILL)
        self._reader.join(_DRAIN_S)

    def wait(self, timeout: float) -> int | None:
        """Wait for the end; return the exit code, or None when `timeout` seconds were not enough."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout)
            self._reader.join(_DRAIN_S)
            return code
        return None

    def end(self, grace_s: float, hurry: threading.Event, how: signal.Signals = signal.SIGTERM) -> None:
        """Terminate the group and kill it after the grace period, or once `hurry` is set."""
        if grace_s > 0:
            self._signal(how)
            deadline = time.monotonic() + grace_s
            while self.process.poll() is None and time.monotonic() < deadline and not hurry.is_set():
                time.sleep(0.02)
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_DRAIN_S)

    def signal(self, signum: int) -> None:
        """Send a signal to the whole group."""
        self._signal(signum)

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signum)

    def _read(self) -> None:
        with BoundedLog(self._log) as log:
            for text in self._lines():
                log.write(text.encode("utf-8", "replace"))
                line = text.rstrip("\n")
                self.tail.append(_COLOUR.sub("", line)[:_LINE])
                self._on_line(line)

    def _lines(self) -> Iterator[str]:
        """The output, masked, by lines; what is longer than a line may be comes in pieces."""
        assert self.process.stdout is not None
        long = False
        with self.process.stdout as out:

            def rest() -> Iterator[str]:
                nonlocal long
                while long and (raw := out.readline(_LINE)):
                    long = not raw.endswith(b"\n")
                    yield raw.decode("utf-8", "replace")

            while raw := out.readline(_LINE):
                long = not raw.endswith(b"\n")
                yield from in_pieces(chain([raw.decode("utf-8", "replace")], rest()), self._mask)
