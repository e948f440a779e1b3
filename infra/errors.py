"""Every way a run can end, and the one family of exceptions that carries it.

An error holds data; the text a person sees is made by the reporters. Exit codes are the contract of design.md
section 5, `Outcome` is the same word in the report.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

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
    """Why a run did not pass. `remedy` is what to do next, a command where there is one."""

    reference: str
    step: str | None
    message: str
    remedy: str
    evidence: tuple[str, ...] = ()


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
        super().__init__(message)
        self.message = message
        self.reference = reference
        self.remedy = remedy
        self.step = step
        self.evidence = evidence
        self.blame = blame or type(self).blame

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
        )


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
    """A component did not get ready or died, or a port is taken.

    `since` is when, where the engine says it, in seconds since the epoch.
    """

    outcome = Outcome.NOT_READY
    since: float | None = None


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


class Interrupted(Ended):
    """A signal, or the end of the nox that started us. Exit code 128+n.

    No `Exception`, like KeyboardInterrupt: it comes at any moment, and whoever handles an error must not swallow it.
    """

    outcome = Outcome.INTERRUPTED
    blame: Blame = "user"

    def __init__(self, signum: int, why: str | None = None) -> None:
        name = signal.Signals(signum).name
        super().__init__(why or f"interrupted by {name}", reference="interrupted", remedy="run it again")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number."""
        return 128 + self.signum
