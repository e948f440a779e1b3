"""Every way a run can end, and the one family of exceptions that carries it.

An error holds data; the text a person sees is made by the reporters. Exit codes are the contract of design.md
section 5, `Outcome` is the same word in the report.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar, Literal

from infra.placeholders import plain

Blame = Literal["infrastructure", "product", "test", "user"]


class Outcome(StrEnum):
    """The report's word for how a run ended."""

    PASSED = "passed"
    FAILED = "failed"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    NOT_READY = "not-ready"
    NO_IMAGE = "no-image"
    INTERNAL = "internal"
    INTERRUPTED = "interrupted"


EXIT_CODES = {
    Outcome.PASSED: 0,
    Outcome.FAILED: 1,
    Outcome.INVALID: 78,
    Outcome.UNAVAILABLE: 69,
    Outcome.NOT_READY: 75,
    Outcome.NO_IMAGE: 74,
    Outcome.INTERNAL: 70,
}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a run did not pass. `remedy` is a line for a shell, with words for a person behind a `#`.

    `named_after_s` is how long after the engine showed it the cause was told; None where nothing has that time.
    """

    reference: str
    step: str | None
    message: str
    remedy: str
    evidence: tuple[str, ...] = ()
    named_after_s: float | None = None

    def masked(self, mask: Callable[[str], str]) -> Cause:
        """Return the same without secrets."""
        evidence = tuple(map(mask, self.evidence))
        return replace(self, message=mask(self.message), remedy=mask(self.remedy), evidence=evidence)

    def line(self, outcome: str) -> str:
        """Return the first line that a person sees: how it ended, the step, the cause, and what to do."""
        where = f"{self.step}: " if self.step else ""
        remedy = f"; to do: {self.remedy}" if self.remedy else ""
        return f"{outcome}: {where}{self.message}{remedy}"


def edit(path: object, what: str = "") -> str:
    """Return the remedy that is a change of a file: a line for a shell, and words on what to change."""
    words = f"  # {plain(what)}" if what else ""
    return f"${{EDITOR:-vi}} {shlex.quote(plain(str(path)))}{words}"


def edit_key(where: str, what: str) -> str:
    """Return the remedy for a key of a file, `where` being `<path>: <key>`."""
    path, _, key = where.rpartition(": ")
    return edit(path or "infra/catalog", f"{key}: {what}")


def again(words: str) -> str:
    """Return the remedy that is the task of this process with other words; `infra.plan` where none was called."""
    own = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
    task = next((word for word in own if re.fullmatch(r"(ci|dev|images|infra|suite)\.[a-z]+", word)), "infra.plan")
    return f"invoke {task} {words}"


class Ended(BaseException):
    """Whatever ends a run early; `message` is one sentence, `remedy` the next thing to do."""

    outcome: ClassVar[Outcome] = Outcome.INTERNAL
    blame: Blame = "infrastructure"

    def __init__(
        self,
        message: str,
        *,
        reference: str,
        remedy: str = "",
        step: str | None = None,
        blame: Blame | None = None,
        evidence: tuple[str, ...] = (),
    ) -> None:
        # What others have said may have lines; the one that a person sees first is one.
        message = " ".join(message.split("\n")).strip()
        super().__init__(message)
        self.message = message
        self.reference = reference
        self.remedy = remedy
        self.step = step
        self.evidence = evidence
        self.blame = blame or type(self).blame
        self.shown: datetime | None = None
        """When the engine showed it, where that is known."""
        self.named_after_s: float | None = None

    @property
    def exit_code(self) -> int:
        """The process's exit code for this error."""
        return EXIT_CODES[self.outcome]

    def cause(self) -> Cause:
        """Return the same facts as a value, for the report."""
        return Cause(
            reference=self.reference,
            step=self.step,
            message=self.message,
            remedy=self.remedy,
            evidence=self.evidence,
            named_after_s=self.named_after_s,
        )

    def name(self, step: str | None, folder: str) -> None:
        """Say where it was met, and when; `{folder}` in the remedy becomes the run's directory."""
        self.step = self.step or step
        self.remedy = self.remedy.replace("{folder}", folder)
        if self.shown is not None and self.named_after_s is None:
            self.named_after_s = round((datetime.now(UTC) - self.shown).total_seconds(), 3)


class InfraError(Ended, Exception):
    """Base of all errors of ours."""


class Invalid(InfraError):
    """The catalogue or the arguments are wrong; nothing was started."""

    outcome = Outcome.INVALID
    blame: Blame = "user"


class Unavailable(InfraError):
    """Podman or a tool is missing, too old, or does not answer."""

    outcome = Outcome.UNAVAILABLE


class NotReady(InfraError):
    """A component did not get ready or died, or a port is taken."""

    outcome = Outcome.NOT_READY


class NoImage(InfraError):
    """An image could not be pulled or built."""

    outcome = Outcome.NO_IMAGE


class SuiteFailed(InfraError):
    """Tests failed, did not compile, none ran, hung, or the suite was killed."""

    outcome = Outcome.FAILED
    blame: Blame = "test"


class Internal(InfraError):
    """An error of ours, or something was left behind."""

    outcome = Outcome.INTERNAL


_AGAIN = "invoke infra.status  # what was kept, if anything; then run it again"


class Interrupted(Ended):
    """A signal, or the end of the nox that started us. Exit code 128+n.

    No `Exception`, like KeyboardInterrupt: it comes at any moment, and whoever handles an error must not swallow it.
    """

    outcome = Outcome.INTERRUPTED
    blame: Blame = "user"

    def __init__(self, signum: int, why: str | None = None) -> None:
        name = signal.Signals(signum).name
        super().__init__(why or f"interrupted by {name}", reference="interrupted", remedy=_AGAIN)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number."""
        return 128 + self.signum
