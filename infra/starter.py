"""The other side of `serve`: a process that has a stack for this one, and ends it with this one, however that ends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.signals import PARENT_PIPE

_END_S = 90.0
GONE: Mapping[str, Any] = {
    "outcome": "internal",
    "message": "the process that has the stack is gone",
    "exit_code": 70,
}


@dataclass
class Served:
    """The process that has the stack, and our ends of its pipes. `over` is set once we have let it go."""

    process: subprocess.Popen[bytes]
    until: int
    life: int
    answers: int
    ready: bool = False
    starter: int = field(default_factory=os.getpid)
    over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, task: Mapping[str, object]) -> Served:
        """Start the process with a task of `serve`, less the descriptors."""
        answers, their_answers = os.pipe()
        their_until, until = os.pipe()
        their_life, life = os.pipe()
        package_parent = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
        whole = {**task, "answers": their_answers, "until": their_until}
        try:
            # A session of its own: a Ctrl-C is for pytest, which ends the stack when its tests have ended.
            process = subprocess.Popen(
                (sys.executable, "-P", "-m", "infra.serve", json.dumps(whole)),
                env={**os.environ, "PYTHONPATH": path, PARENT_PIPE: f"{their_life}:{os.fstat(their_life).st_ino}"},
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__,
                pass_fds=(their_answers, their_until, their_life),
                start_new_session=True,
            )
        finally:
            for theirs in (their_answers, their_until, their_life):
                os.close(theirs)
        served = cls(process=process, until=until, life=life, answers=answers)
        # What a test forks may outlive us, and would keep the stack.
        os.register_at_fork(after_in_child=served._let_go)
        return served

    def read(self) -> Mapping[str, Any]:
        """Read one answer; nothing where there will be no more."""
        line = b""
        while not line.endswith(b"\n"):
            if not (data := os.read(self.answers, 1)):
                return {}
            line += data
        answer = dict(json.loads(line))
        self.ready = self.ready or "env" in answer
        return answer

    def end(self, word: bytes = b"") -> bool:
        """End the stack and wait for it; `word` is how the tests ended. Return whether it was not ended before.

        Whoever does not wait leaves it to the process that has it.
        """
        if self.over.is_set() or os.getpid() != self.starter:
            return False
        self.over.set()
        with contextlib.suppress(OSError):
            os.write(self.until, word)
        self._close_until()
        if not self.ready:
            self._close_life()  # while the stack comes up, nothing else is heard
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            self.process.wait(_END_S)
        return True

    def close(self) -> None:
        """Hear no more."""
        with contextlib.suppress(OSError):
            os.close(self.answers)

    def _let_go(self) -> None:
        self._close_until()
        self._close_life()

    def _close_until(self) -> None:
        ours, self.until = self.until, -1
        with contextlib.suppress(OSError):
            os.close(ours)

    def _close_life(self) -> None:
        ours, self.life = self.life, -1
        with contextlib.suppress(OSError):
            os.close(ours)
