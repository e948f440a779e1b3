"""Names of a run that are not labels: its private folder and its builds' control group."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def private_folder(run: str) -> Path:
    """Return a run's folder outside the repository: short, because a socket's path has 107 bytes at most."""
    return Path(tempfile.gettempdir()) / f"infra-{os.getuid()}-{run}"


def cgroup(run: str) -> str:
    """Return the name of the control group of a run's builds."""
    return f"infra-{run}"
