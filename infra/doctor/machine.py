"""The virtual machine in which Podman runs on macOS: what `podman machine list` says against whether it answers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from infra.doctor.checks import Check, failure, ok, warning

_ASK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A row of `podman machine list --format json`."""

    name: str
    default: bool
    running: bool
    starting: bool


def read(text: str) -> tuple[Machine, ...]:
    """Read the command's output. Raises `ValueError`."""
    rows = json.loads(text or "[]")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("podman machine list says what is no list")
    return tuple(
        Machine(
            name=str(row.get("Name", "")).removesuffix("*"),
            default=bool(row.get("Default")) or str(row.get("Name", "")).endswith("*"),
            running=bool(row.get("Running")),
            starting=bool(row.get("Starting")),
        )
        for row in rows
    )


def machines() -> tuple[Machine, ...]:
    """Ask podman for its machines. Raises `OSError`, `ValueError` and `subprocess.SubprocessError`."""
    argv = ["podman", "machine", "list", "--format", "json"]
    return read(subprocess.run(argv, capture_output=True, text=True, timeout=_ASK_S, check=True).stdout)


def judge(found: tuple[Machine, ...], *, answers: bool) -> Check:
    """Judge the default machine by what is said of it and by whether its engine answers. Pure."""
    if not found:
        if answers:
            return ok("machine", "none, and none is needed: the engine answers")
        return failure("machine", "there is no podman machine", "podman machine init --now")
    one = next((row for row in found if row.default), found[0])
    again = f"podman machine stop {one.name}; podman machine start {one.name}"
    if one.starting and not answers:
        return warning("machine", f"{one.name} is starting, which takes 15 to 20 s", "podman machine list")
    if one.running and not answers:
        return failure("machine", f"{one.name} is said to be running, but its engine does not answer", again)
    if not one.running and not one.starting and answers:
        return warning("machine", f"{one.name} is said to be stopped, but an engine answers", again)
    if not one.running and not answers:
        return failure("machine", f"{one.name} is stopped", f"podman machine start {one.name}")
    return ok("machine", f"{one.name} is running")
