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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

_TAIL = 400
_DRAIN_S = 2.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Command:
    """One command while it runs; a context manager that leaves no process of its group behind.

    Output goes, masked, to `log` and, line by line, to `on_line` (from another thread). `tail` holds the last
    lines, without colours.
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

    def end(self, grace_s: float, hurry: threading.Event) -> None:
        """Terminate the group and kill it after the grace period, or once `hurry` is set."""
        if grace_s > 0:
            self._signal(signal.SIGTERM)
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
        assert self.process.stdout is not None
        with self._log.open("ab") as log, self.process.stdout as out:
            for raw in out:
                text = self._mask(raw.decode("utf-8", "replace"))
                log.write(text.encode("utf-8", "replace"))
                log.flush()
                line = text.rstrip("\n")
                self.tail.append(_COLOUR.sub("", line))
                self._on_line(line)
