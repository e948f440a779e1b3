"""Run a command on a host of its own: what it starts meets nothing that runs elsewhere on this machine.

    python tests/hosts/enter.py FOLDER COMMAND ...

Processes, network, IPC, /run, /tmp, /var/tmp, /dev/shm, and Podman's storage and networks are the host's; FOLDER holds
those that are on a disk. Kernel, control groups and all other files are the machine's: also the working folder and
pytest's where they are below /tmp. With the command ends all that it has started. Linux, root, util-linux, slirp4netns;
standard library only. The exit code is the command's; 69 and a line where there is no such host, or its network ends.
"""

from __future__ import annotations

import getpass
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

UNAVAILABLE = 69
_SECONDS = 30.0
_MOMENT_S = 1.0
_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_SPACES = ("unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
_NETWORK = ("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback")
_RESOLVER = "nameserver 10.0.2.3\n"  # slirp4netns's, which asks the machine's own
# What of the host is on a disk, and where it is in its folder.
_KEPT = {
    Path("/etc/containers/networks"): "networks",
    Path("/var/lib/containers"): "containers",
    Path("/var/tmp"): "var-tmp",
    Path("/tmp"): "tmp",
}
_VOLATILE = {Path("/run"): "mode=755", Path("/dev/shm"): "mode=1777"}


def enter(folder: Path, command: Sequence[str]) -> int:
    """Make the host and run the command there; return its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    begun, begins = os.pipe()
    ready, readies = os.pipe()
    first = (sys.executable, __file__, "--inside", str(begins), str(ready), str(folder), *command)
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal tells the command, too, and with it ends this
    log = folder / "network.log"
    with subprocess.Popen((*_WITH_US, *_SPACES, *first), pass_fds=[begins, ready]) as host, log.open("wb") as said:
        os.close(begins)
        os.read(begun, 1)  # nothing, where it has ended
        for end in (begun, ready):
            os.close(end)
        with _network(host.pid, readies, said) as network:
            os.close(readies)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # one of the two
            if network.poll() is not None:
                try:
                    return _told(host.wait(_MOMENT_S))  # it may have ended because the host does
                except subprocess.TimeoutExpired:
                    host.kill()
                    print(f"a host of its own has no network: {log.read_text().strip()}", file=sys.stderr)
                    return UNAVAILABLE
            network.terminate()
            return _told(host.wait())


def _network(host: int, ready: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start what gives a process's network namespace a way out; it writes to `ready` when there is one."""
    return subprocess.Popen(
        (*_WITH_US, *_NETWORK, f"--ready-fd={ready}", str(host), "tap0"),
        pass_fds=[ready],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,  # a terminal's interrupt would end it before the command
    )


def inside(begins: int, ready: int, folder: Path, command: Sequence[str]) -> int:
    """Be the first process of the host: furnish it, run the command, bury the orphans."""
    signal.signal(signal.SIGINT, lambda *_: None)
    os.write(begins, b"1")
    os.close(begins)
    try:
        _furnish(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"a host of its own cannot be made: {error}", file=sys.stderr)
        return UNAVAILABLE
    if not select.select([ready], [], [], _SECONDS)[0]:
        print(f"a host of its own has no network after {_SECONDS:g} s", file=sys.stderr)
        return UNAVAILABLE
    if not os.read(ready, 1):
        time.sleep(_SECONDS)  # it has ended, which is told outside, and this is killed
        return UNAVAILABLE
    os.close(ready)
    try:
        started = os.posix_spawnp(command[0], list(command), os.environ)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while True:
        ended, status = os.wait()
        if ended == started:
            return _told(os.waitstatus_to_exitcode(status))


def _told(code: int) -> int:
    """An exit code as a shell tells it."""
    return code if code >= 0 else 128 - code


def _furnish(folder: Path) -> None:
    """Mount what is the host's own over what is the machine's."""
    kept = {hidden: folder / name for hidden, name in _KEPT.items()}
    for hidden, own in kept.items():
        own.mkdir(exist_ok=True)
        own.chmod(0o1777 if "tmp" in hidden.name else 0o755)
        hidden.mkdir(parents=True, exist_ok=True)
    for shown in (Path.cwd(), Path(f"/tmp/pytest-of-{getpass.getuser()}")):
        if shown in (*kept, *_VOLATILE) or any(shown.is_relative_to(one) for one in _VOLATILE):
            raise OSError(f"{shown} is another folder there")
        for hidden, own in kept.items():
            if shown.is_relative_to(hidden):
                shown.mkdir(mode=0o700, exist_ok=True)
                (own / shown.relative_to(hidden)).mkdir(parents=True, exist_ok=True)
                _mount("--rbind", shown, own / shown.relative_to(hidden))
    # What /sys shows of the network is that of the process that mounts it.
    (groups := folder / "groups").mkdir(exist_ok=True)
    _mount("--rbind", "/sys/fs/cgroup", groups)
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("--rbind", groups, "/sys/fs/cgroup")
    subprocess.run(("umount", "-R", groups), check=True)
    resolver = Path("/etc/resolv.conf").resolve()
    volatile = any(resolver.is_relative_to(one) for one in _VOLATILE)
    if not volatile:
        (folder / "resolv.conf").write_text(_RESOLVER, encoding="utf-8")
        _mount("--bind", folder / "resolv.conf", resolver)
    for hidden, mode in _VOLATILE.items():
        _mount("-t", "tmpfs", "-o", mode, hidden.name, hidden)
    if volatile:
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_text(_RESOLVER, encoding="utf-8")
    for hidden, own in kept.items():  # /tmp is the last: it may hide the folder
        _mount("--rbind", own, hidden)


def _mount(*words: str | Path) -> None:
    subprocess.run(("mount", *words), check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(inside(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:]))
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(enter(Path(sys.argv[1]).resolve(), sys.argv[2:]))
