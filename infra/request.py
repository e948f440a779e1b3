"""What a person asked for, on the command line."""

from __future__ import annotations

import contextlib
import json
import os
import select
from dataclasses import dataclass

from infra.errors import Outcome
from infra.report import Attempt


@dataclass(frozen=True, kw_only=True)
class Pipe:
    """File descriptors to whoever is served: `answers` takes lines of JSON, `until` ends with that process."""

    answers: int
    until: int

    def has_word(self, seconds: float) -> bool:
        """Wait so long for a word of that process, or its end; whether there is one."""
        poll = select.poll()
        poll.register(self.until, select.POLLIN | select.POLLHUP)
        return bool(poll.poll(seconds * 1000))

    def tell(self, value: object) -> None:
        """Answer one line; nobody may be there any more."""
        with contextlib.suppress(OSError):
            os.write(self.answers, json.dumps(value).encode() + b"\n")

    def tell_error(self, outcome: Outcome, exit_code: int, message: str) -> None:
        """Answer why there is no stack, or none any more."""
        self.tell({"error": {"outcome": str(outcome), "exit_code": exit_code, "message": message}})


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked for. `args` go to the suite; `path` is the PATH that finds the project's tools.

    `retries` is how often a run may be repeated, `earlier` are the attempts before this one.
    """

    service: str | None
    tier: str = "integration"
    run: str | None = None
    ports: str = "fixed"
    fresh: bool = False
    follow: bool = False
    args: tuple[str, ...] = ()
    path: str = ""
    served: Pipe | None = None
    retries: int = 0
    earlier: tuple[Attempt, ...] = ()

    @property
    def may_go_again(self) -> bool:
        """Whether another attempt is allowed after this one."""
        return len(self.earlier) < self.retries
