"""The command of a Go suite's runner, of the version that the workspace's go.mod asks for."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.commands import Command
from infra.errors import SuiteFailed
from infra.verdict import LINES

_BUILD_S = 600.0
# Starts a command of the suite's: its words, its log, and whether what it prints is shown.
Start = Callable[[tuple[str, ...], str, bool], Command]


@contextlib.contextmanager
def had(package: str, cwd: Path, folder: Path, start: Start) -> Iterator[tuple[str, ...]]:
    """Have the command of a package until the block ends. Raises `SuiteFailed`.

    Go keeps its tools linked: to be told where takes 0.2 s. What go.mod requires and does not call a tool is linked in
    `folder`, for each run, which takes a second more.
    """
    name = package.rpartition("/")[2]
    with start(("go", "tool", "-n", package), f"{name}-build.log", False) as asked:
        known = asked.wait(_BUILD_S) == 0 and asked.tail and Path(asked.tail[-1]).is_file()
    if known:
        yield (asked.tail[-1],)
        return
    binary = folder / name
    try:
        with start(("go", "build", "-o", str(binary), package), f"{name}-build.log", True) as building:
            code = building.wait(_BUILD_S)
        if code != 0:
            raise SuiteFailed(
                f"{name} could not be built in {cwd} (exit code {code})",
                reference="runner-build-failed",
                remedy=f"cd {shlex.quote(str(cwd))} && go get -tool {package} && go mod tidy",
                blame="user",
                evidence=tuple(building.tail)[-LINES:],
            )
        yield (str(binary),)
    finally:
        binary.unlink(missing_ok=True)
