"""A fixture of the pytest plug-in: components of the stack that a test takes away, and that come back after it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

# The program bounds what it does by itself: `start` by the time that the component's gate has.
_LONGEST_S = 900.0
_MORE_S = 60.0


@dataclass(frozen=True)
class Component:
    """One component of the stack. All workers of a suite have the same one."""

    name: str

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal and wait until it has ended. That is no fault of the run."""
        self._do("infra.kill", "--signal", signal)

    def pause(self) -> None:
        """Freeze it: its connections stay, and nothing answers."""
        self._do("infra.pause")

    def start(self) -> None:
        """Start it again, or let it go on, and wait until it is ready."""
        self._do("infra.start")

    def wait(self, what: Literal["ready", "gone"] = "ready", timeout: str = "30s") -> None:
        """Wait until it is ready, or has ended."""
        self._do("infra.wait", "--for", what, "--timeout", timeout, longest=_seconds(timeout) + _MORE_S)

    def _do(self, *words: str, longest: float = _LONGEST_S) -> None:
        program = os.environ.get("INFRA_INVOKE")
        if not program:
            pytest.fail("there is no stack: run pytest with --infra-service NAME, or through the runner", pytrace=False)
        argv = (program, *words, "--component", self.name)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=longest, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.fail(f"{words[0]} {self.name}: {error}", pytrace=False)
        if done.returncode:
            pytest.fail(f"{words[0]} {self.name}: {done.stderr or done.stdout}", pytrace=False)


@pytest.fixture
def infra_component() -> Iterator[Callable[[str], Component]]:
    """Components by their names; those that were asked for are running again when the test is over."""
    asked: dict[str, Component] = {}
    yield lambda name: asked.setdefault(name, Component(name))
    not_back = [text for component in asked.values() if (text := _failure(component.start))]
    if not_back:
        pytest.fail("\n".join(not_back), pytrace=False)


def _failure(do: Callable[[], None]) -> str:
    """Do something, and return why it failed, or nothing: one that fails keeps no other one from being done."""
    try:
        do()
    except pytest.fail.Exception as error:
        return str(error)
    return ""


def _seconds(timeout: str) -> float:
    """Return a duration in seconds; what is none the program refuses at once."""
    from infra.values import seconds  # noqa: PLC0415 - it brings pydantic, which each pytest would load

    try:
        return float(str(seconds(timeout)))
    except ValueError:
        return 0.0
