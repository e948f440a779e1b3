"""What Podman forgets of a container whose monitor was killed: the OCI runtime's state, empty control groups, names.

Podman removes such a container from its own books and tells the runtime nothing (seen with 4.3.1, each time). All of it
is known by the container's id or the network's name, and is only cleared when neither is there any more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_RUNTIMES = ("runc", "crun")


def clear(containers: Iterable[str], networks: Iterable[str]) -> None:
    """Clear what is left of containers (ids) and networks (names) that were removed; what is in use stays."""
    for container in containers:
        names = (f"libpod_parent/libpod-{container}", f"libpod_parent/libpod-conmon-{container}")
        if all(map(remove_groups, names)):
            for runtime in _RUNTIMES:
                shutil.rmtree(_runtime_folder() / runtime / container, ignore_errors=True)
    for network in networks:
        # The name server reads it again when the next container comes or goes.
        with contextlib.suppress(OSError):
            (_runtime_folder() / "containers/networks/aardvark-dns" / network).unlink()


def _runtime_folder() -> Path:
    return Path("/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


def remove_groups(name: str) -> bool:
    """Remove a control group without processes from all hierarchies; return whether it is gone from all.

    The kernel keeps an empty one until its folder is removed, and refuses where there are processes in it.
    """
    tops = (_CGROUPS, *(path for path in _CGROUPS.glob("*") if path.is_dir()))
    groups = [top / name for top in tops]
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    return not any(group.exists() for group in groups)
