"""A stack for another process: `python -m infra.serve TASK` brings it up, says where it is, and ends with its starter.

The task is JSON: root, service, tier, ports, fresh, the number of workers that want values of their own, and two file
descriptors. `answers` is written lines of JSON: `{"env": {...}}` once the stack is ready, `{"error": {...}}` where it
is not, has ended early, or has left something behind. `until` is read: how the tests ended (`exit_code`, `said`), and
its end, when the starter has gone. Where the starter dies while the stack comes up, the pipe that INFRA_PARENT_PIPE
names tells (`signals`). The steps, and why they failed, are printed.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from infra import bootstrap, plan, settings
from infra.attempts import execute
from infra.catalog.loading import load
from infra.errors import Blame, Cause, Ended, Invalid, Outcome
from infra.report import Report
from infra.reporters.console import ConsoleReporter
from infra.request import Pipe, Request
from infra.settings import Settings
from infra.tasks import common

# Options of `invoke suite.run` have another name here; those of other tasks do not.
_OPTION = re.compile(r"--(service|tier|ports|fresh)\b")
_PART = re.compile(r"([,;] |  # )")


class _Console(ConsoleReporter):
    """Names pytest's options where it says what to do."""

    def note(self, text: str) -> None:
        super().note(_for_pytest(text))

    def failed(self, outcome: Outcome, blame: Blame, cause: Cause) -> None:
        super().failed(outcome, blame, replace(cause, remedy=_for_pytest(cause.remedy)))

    def run_finished(self, report: Report) -> None:
        cause = report.cause
        super().run_finished(replace(report, cause=cause and replace(cause, remedy=_for_pytest(cause.remedy))))


def _for_pytest(text: str) -> str:
    parts = _PART.split(text)
    return "".join(part if "invoke " in part else _OPTION.sub(r"--infra-\1", part) for part in parts)


def main(text: str) -> int:
    """Serve until the starter has gone; return the exit code of design.md."""
    task = json.loads(text)
    pipe = Pipe(answers=int(task["answers"]), until=int(task["until"]))
    root = Path(task["root"])
    with common.told():
        try:
            request = Request(
                service=task["service"],
                tier=task["tier"],
                ports=task["ports"],
                fresh=bool(task["fresh"]),
                path=bootstrap.tool_path(root),
                served=pipe,
            )
            found = settings.read(root)
            _check_workers(found, request, int(task["workers"]))
            report = execute(found, request, _Console(Console(highlight=False), verbose=False), "serve")
        except Ended as error:
            pipe.tell_error(error.outcome, error.exit_code, error.message)
            error.remedy = _for_pytest(error.remedy)
            raise
    if report.cause is not None:
        pipe.tell_error(report.outcome, report.exit_code, report.cause.message)
    return report.exit_code


def _check_workers(found: Settings, request: Request, asked: int) -> None:
    """Refuse more workers than the tier has values for, before anything is started."""
    made = plan.make(load(found.catalog), found, service=request.service, tier=request.tier, ports=request.ports)
    has = made.worker_count
    if 0 < has < asked:
        where = f"services/{made.service}.toml"
        raise Invalid(
            f"{asked} xdist workers, and {made.service} {made.tier} has values for {has}",
            reference="too-many-workers",
            remedy=f"python3 -m pytest -n {has}  # or count = {asked} in [tiers.{made.tier}.workers] of {where}",
        )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
