"""Standard output whose reader may stop reading: waited for while a run goes on, not when it was told to end.

Ctrl-S, `less`, a stopped `tee`: a write to such an output waits for ever, and a signal only ends the one that it meets.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO, cast

# What a terminal or a pipe takes at once when it says that it takes something.
_CHUNK = 256
_LOOK_S = 0.1
_PATIENCE_S = 2.0


@contextlib.contextmanager
def patient(interrupted: Callable[[], bool]) -> Iterator[None]:
    """Put such an output in place of `sys.stdout` until the block ends. What it cannot write in the end it drops."""
    stream = sys.stdout
    try:
        stream.flush()
        sys.stdout = cast(TextIO, _Output(stream.fileno(), stream.encoding, interrupted))
    except (AttributeError, OSError, ValueError):  # none, or without a descriptor, as in tests, or closed
        pass
    try:
        yield
    finally:
        sys.stdout = stream


class _Output(io.TextIOBase):
    """What rich and print need of a stream."""

    def __init__(self, descriptor: int, encoding: str, interrupted: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._interrupted = interrupted
        self._until: float | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.encode(self._encoding, "backslashreplace")
        while data:
            if select.select([], [self._descriptor], [], self._wait_s())[1]:
                with contextlib.suppress(BlockingIOError):  # whoever shares it may have made it so
                    data = data[os.write(self._descriptor, data[:_CHUNK]) :]
            elif self._until is not None and time.monotonic() > self._until:
                break
        return len(text)

    def _wait_s(self) -> float:
        if not self._interrupted():
            return _LOOK_S
        if self._until is None:
            self._until = time.monotonic() + _PATIENCE_S
        return max(0.0, min(_LOOK_S, self._until - time.monotonic()))
