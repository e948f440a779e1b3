"""What a run has outside of the engine: its private folder, which names its owner, and its builds' control group."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

_OWNER = "owner"


def private_folder(run: str) -> Path:
    """Return a run's folder outside the repository: short, because a socket's path has 107 bytes at most."""
    return _base() / f"infra-{os.getuid()}-{run}"


def _base() -> Path:
    """The folder for temporary files, where a socket can be addressed in it: short and plain."""
    given = tempfile.gettempdir()
    return Path(given if re.fullmatch(r"[A-Za-z0-9/._+-]{1,70}", given) else "/tmp")


def make_private_folder(run: str, owner: str) -> Path:
    """Make a run's folder, with its owner's name in it: killed at once, nothing else may tell whose it was."""
    folder = private_folder(run)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _OWNER).write_text(owner, encoding="ascii")
    return folder


def private_folders() -> Iterator[tuple[str, str]]:
    """Yield (run, owner) of the private folders of this user that are there."""
    for folder in _base().glob(f"infra-{os.getuid()}-*"):
        run = folder.name.rpartition("-")[2]
        if re.fullmatch("[0-9a-f]{8}", run):
            try:
                yield run, (folder / _OWNER).read_text(encoding="utf-8")
            except (OSError, ValueError):
                continue


def bridge(run: str) -> str:
    """Return the name of the network interface of a run's network: 15 characters at most."""
    return f"infra{run}"


def cgroup(run: str) -> str:
    """Return the name of the control group of a run's builds."""
    return f"infra-{run}"
