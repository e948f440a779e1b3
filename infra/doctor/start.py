"""What a run looks at before it starts anything: what is certain to fail is said at once, what may is a note.

Only what costs next to nothing: no process is started and the engine is not asked.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from infra import disks, tools
from infra.doctor import facts
from infra.model import TierSpec
from infra.plan import Plan


def check_tools(spec: TierSpec, cwd: Path, environ: Mapping[str, str]) -> None:
    """Raise `Unavailable` where the first command of a suite is not there.

    A command before the suite may install the rest, so of those only the first one is looked for.
    """
    if "PATH" in spec.env or "PATH" in spec.unset:  # then another PATH is looked through, with values of the run's
        return
    path = spec.environment(environ, {}, cwd)["PATH"]
    wanted = _first(spec)
    if wanted and shutil.which(wanted, path=path) is None:
        error = tools.not_installed(wanted)
        error.step = spec.before[0].name if spec.before else "suite"
        raise error


def _first(spec: TierSpec) -> str:
    """Return the first command of a suite, or nothing where it is known later only."""
    if spec.before:
        word = spec.before[0].command[0]
        return "" if "{" in word else word
    suite = spec.suite
    if suite.runner == "pytest":
        return "" if suite.requirements else "python3"
    return "go"


def notes(made: Plan, *, remote: bool) -> tuple[str, ...]:
    """Return what may be in the run's way: a disk that is nearly full, and limits beyond this host's memory."""
    said = []
    disk = disks.scarce(remote=remote)
    if disk is not None:
        said.append(f"{disks.said(disk)}; to do: {disk.frees}")
    limits = sum(step.memory_mb or 0 for step in made.steps)
    if limits and not remote:
        total = facts.power().total_mb
        if limits > total:
            said.append(f"the stack may take {limits} MiB of memory, and this host has {total}")
    return tuple(said)
