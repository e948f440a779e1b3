"""Run a command on a host of its own: what it starts meets nothing that runs elsewhere on this machine.

    python tests/hosts/enter.py FOLDER COMMAND ...

Processes, network, /run, /tmp, /var/tmp, shared memory and Podman's storage are the host's; FOLDER holds those that are
on a disk. Kernel, control groups and all other files are the machine's. With the command ends all that it has started.
Linux, root, util-linux, slirp4netns; standard library only. The exit code is the command's, 69 without a network.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 30.0
_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_STORAGE = Path("/var/lib/containers")
_RESOLVER = "10.0.2.3"  # slirp4netns's, which asks the machine's own


def enter(folder: Path, command: Sequence[str]) -> int:
    """Make the host and run the command there; return its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, told = os.pipe()
    inside = (sys.executable, __file__, "--inside", str(ready), str(folder), *command)
    spaces = (*_WITH_US, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *inside)
    for number in (signal.SIGINT, signal.SIGTERM):  # what is inside ends, and this with it
        signal.signal(number, lambda *_: None)
    with subprocess.Popen(spaces, pass_fds=[ready]) as host:
        os.close(ready)
        _until_it_has_a_network_of_its_own(host)
        network = (
            *_WITH_US,
            "slirp4netns",
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            f"--ready-fd={told}",
        )
        with subprocess.Popen(
            (*network, str(host.pid), "tap0"),
            pass_fds=[told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "network.log").open("wb"),
        ) as slirp:
            os.close(told)
            try:
                return host.wait()
            finally:
                slirp.terminate()


def _until_it_has_a_network_of_its_own(host: subprocess.Popen[bytes]) -> None:
    mine = Path("/proc/self/ns/net").readlink()
    deadline = time.monotonic() + _SECONDS
    with contextlib.suppress(OSError):  # it has ended
        while host.poll() is None and Path(f"/proc/{host.pid}/ns/net").readlink() == mine:
            if time.monotonic() > deadline:
                host.kill()
            time.sleep(0.01)


def inside(ready: int, folder: Path, command: Sequence[str]) -> int:
    """Be the first process of the host: furnish it, run the command, bury the orphans."""
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal tells the command, too
    with os.fdopen(ready, "rb") as network:
        if network.read(1) != b"1":
            print(f"no network for a host of its own: {(folder / 'network.log').read_text()}", file=sys.stderr)
            return 69
    _furnish(folder)
    started = os.posix_spawnp(command[0], list(command), os.environ)
    while True:
        ended, status = os.wait()
        if ended == started:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _furnish(folder: Path) -> None:
    """Mount what is the host's own over what is the machine's."""
    resolver = Path("/etc/resolv.conf").resolve()
    for name in ("containers", "tmp", "var-tmp", "groups"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o1777 if "tmp" in name else 0o755)
    (folder / "resolv.conf").write_text(f"nameserver {_RESOLVER}\n", encoding="utf-8")
    _STORAGE.mkdir(parents=True, exist_ok=True)
    for shown in (Path.cwd(), Path(f"/tmp/pytest-of-{getpass.getuser()}")):  # what is below /tmp and has to be seen
        if shown.is_relative_to("/tmp"):
            (inner := folder / "tmp" / shown.relative_to("/tmp")).mkdir(parents=True, exist_ok=True)
            shown.mkdir(mode=0o700, exist_ok=True)
            _mount("--rbind", shown, inner)
    _mount("--bind", folder / "var-tmp", "/var/tmp")
    _mount("--bind", folder / "containers", _STORAGE)
    _mount("--bind", folder / "resolv.conf", resolver)
    _mount("-t", "tmpfs", "-o", "mode=755", "run", "/run")
    _mount("-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm")
    if resolver.is_relative_to("/run"):
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_text(f"nameserver {_RESOLVER}\n", encoding="utf-8")
    # What /sys shows of the network is that of the process that mounts it.
    _mount("--rbind", "/sys/fs/cgroup", folder / "groups")
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("--rbind", folder / "groups", "/sys/fs/cgroup")
    subprocess.run(("umount", "-R", folder / "groups"), check=True)
    _mount("--rbind", folder / "tmp", "/tmp")  # the last: it may hide the folder


def _mount(*words: str | Path) -> None:
    subprocess.run(("mount", *words), check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        sys.exit(inside(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
    sys.exit(enter(Path(sys.argv[1]).resolve(), sys.argv[2:]))
