"""What Podman forgets of what it has removed: runtime states, control groups, names, a bridge, forwarded ports.

A container whose monitor was killed goes from Podman's books, and the OCI runtime is told nothing (4.3.1, each time).
One whose network cannot be taken down goes too, with no more than a line in the log (netavark fails where the firewall
is busy, or is killed): its ports stay forwarded to an address that nobody has, and whoever has them next is not
reached. All of it is known by the container's id or the network's name, and is cleared when neither is there any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra import firewall

_CGROUPS = Path("/sys/fs/cgroup")
_RUNTIMES = ("runc", "crun")
# linux/sockios.h
_SIOCSIFFLAGS = 0x8914
_SIOCBRDELBR = 0x89A1


def clear(containers: Iterable[str], networks: Mapping[str, str], interface: str) -> None:
    """Clear what is left of containers (ids) and networks (names to ids, with their bridge) that were removed.

    What is in use stays. A bridge and a firewall are only root's: a rootless Podman has a network namespace for them.
    """
    for container in containers:
        names = (f"libpod_parent/libpod-{container}", f"libpod_parent/libpod-conmon-{container}")
        if all(map(remove_groups, names)):
            for runtime in _RUNTIMES:
                shutil.rmtree(_runtime_folder() / runtime / container, ignore_errors=True)
    for network, network_id in networks.items():
        # The name server reads it again when the next container comes or goes.
        with contextlib.suppress(OSError):
            (_runtime_folder() / "containers/networks/aardvark-dns" / network).unlink()
        if os.geteuid() == 0:
            _remove_bridge(interface)
            firewall.remove(network, network_id)


def _remove_bridge(interface: str) -> None:
    """Remove a bridge, if it is there; one that is up cannot be."""
    if not Path("/sys/class/net", interface, "bridge").is_dir():
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = interface.encode()
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", name, 0))
        fcntl.ioctl(any_socket, _SIOCBRDELBR, struct.pack("16s", name))


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
