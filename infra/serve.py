"""A stack for another process: `python -m infra.serve TASK` brings it up, says where it is, and ends with its starter.

The task is JSON: root, service, tier, ports, fresh, and two file descriptors. `answers` is written one line of JSON:
`{"env": {...}}` once the stack is ready, `{"error": {...}}` where it is not or has ended early. `until` is only ever
read: it ends when the starter closes it. Where the starter dies while the stack comes up, the pipe that
INFRA_PARENT_PIPE names tells (`signals`). The steps are printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from infra import bootstrap, settings
from infra.errors import Ended
from infra.execute import execute
from infra.request import Pipe, Request
from infra.tasks import common


def main(text: str) -> int:
    """Serve until the starter has gone; return the exit code of design.md."""
    task = json.loads(text)
    pipe = Pipe(answers=int(task["answers"]), until=int(task["until"]))
    root = Path(task["root"])
    try:
        request = Request(
            service=task["service"],
            tier=task["tier"],
            ports=task["ports"],
            fresh=bool(task["fresh"]),
            path=bootstrap.tool_path(root),
            served=pipe,
        )
        report = execute(settings.read(root), request, common.reporter(verbose=False), "serve")
    except Ended as error:
        _answer(pipe, {"error": {"outcome": str(error.outcome), "exit_code": error.exit_code, **asdict(error.cause())}})
        return error.exit_code
    if report.cause is not None:
        said = {"outcome": str(report.outcome), "exit_code": report.exit_code, **asdict(report.cause)}
        _answer(pipe, {"error": said | {"directory": report.directory}})
    return report.exit_code


def _answer(pipe: Pipe, value: object) -> None:
    with contextlib.suppress(OSError):
        os.write(pipe.answers, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
