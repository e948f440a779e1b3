"""What a check says: its name, a state, what was seen, and the command that mends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

from infra.errors import Ended

State = Literal["ok", "warning", "failure"]
GB = 1e9
DEADLINE_S = 0.8

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One answer. `fix` is a shell line that a person can paste; there is none where nothing is to be done."""

    name: str
    state: State
    seen: str
    fix: str = ""


def ok(name: str, seen: str) -> Check:
    """Return the answer of a check that found nothing wrong."""
    return Check(name=name, state="ok", seen=seen)


def warning(name: str, seen: str, fix: str = "") -> Check:
    """Return the answer of a check that found what may be in a run's way."""
    return Check(name=name, state="warning", seen=seen, fix=fix)


def failure(name: str, seen: str, fix: str = "") -> Check:
    """Return the answer of a check that found what no run gets past."""
    return Check(name=name, state="failure", seen=seen, fix=fix)


def unchecked(name: str, why: str) -> Check:
    """Return the answer of a check that could not be made: neither good nor bad news, so a warning."""
    return warning(name, f"could not be checked: {why}")


def worst(checks: Iterable[Check]) -> State:
    """Return the worst state of all."""
    order = get_args(State)
    return max((check.state for check in checks), key=order.index, default="ok")


def document(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the contract of `infra.doctor --json`."""
    checks = tuple(checks)
    return {"checks": [asdict(check) for check in checks], "state": worst(checks)}


def background(work: Callable[[], T]) -> Future[T]:
    """Do work in a thread that nobody has to wait for, not even at the end of the process."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


class Asked:
    """A check under way: one that hangs or raises is a warning, and holds up no other."""

    def __init__(self, name: str, question: Callable[[], Check], deadline_s: float = DEADLINE_S) -> None:
        self._name = name
        self._deadline_s = deadline_s
        self._began = time.monotonic()
        self._answer = background(question)

    def answer(self) -> Check:
        """Wait for the answer, no longer than the check's own deadline."""
        wait([self._answer], max(0.0, self._began + self._deadline_s - time.monotonic()))
        if not self._answer.done():
            return unchecked(self._name, f"no answer within {self._deadline_s:g} s")
        error = self._answer.exception()
        if error is None:
            return self._answer.result()
        return unchecked(self._name, error.message if isinstance(error, Ended) else str(error) or type(error).__name__)
