"""A fixture of the pytest plug-in: components of the stack that a test takes away, and that come back after it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

_LONGEST_S = 120.0


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
        self._do("infra.wait", "--for", what, "--timeout", timeout)

    def _do(self, *words: str) -> None:
        program = os.environ.get("INFRA_INVOKE")
        if not program:
            pytest.fail("there is no stack: run pytest with --infra-service NAME, or through the runner", pytrace=False)
        argv = (program, *words, "--component", self.name)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
        if done.returncode:
            pytest.fail(f"{words[0]} {self.name}: {done.stderr or done.stdout}", pytrace=False)


@pytest.fixture
def infra_component() -> Iterator[Callable[[str], Component]]:
    """Components by their names; those that were asked for are running again when the test is over."""
    asked: dict[str, Component] = {}
    yield lambda name: asked.setdefault(name, Component(name))
    for component in asked.values():
        component.start()
