"""The engine, reached like a run does. It imports little: who examines imports the rest while the engine starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from infra import lease
from infra.doctor.checks import Check, failure
from infra.errors import InfraError
from infra.lease import Lease
from infra.run_names import new_run


@dataclass(frozen=True, kw_only=True)
class Reached:
    """The engine, or why there is none."""

    lease: Lease | None = None
    error: Check | None = None


@contextlib.contextmanager
def reach() -> Iterator[Reached]:
    """Reach the engine; what is wrong with it is an answer, and no error."""
    with contextlib.ExitStack() as stack:
        try:
            reached = Reached(lease=stack.enter_context(lease.hold(new_run(), "infra", "none", looks=True)))
        except InfraError as error:
            reached = Reached(error=failure("engine", error.message, error.remedy))
        except OSError as error:
            seen = f"a private service cannot be started: {error}"
            reached = Reached(error=failure("engine", seen, "df -h /tmp  # a run has its folder there"))
        yield reached
