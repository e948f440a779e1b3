"""Processes on this host that belong to runs: found by `INFRA_RUN` in their environment, or by a container's name.

Containers belong to conmon, not to us: what Podman left half started (a conmon, a `runc init`) is known by the
container's name in conmon's arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from infra.labels import ENV_OWNER, ENV_ROLE, ENV_RUN, Life, Owner, life

_MONITORS = ("conmon", "runc", "crun")
_SERVICE_ENDS_S = 3.0
_SERVED = re.compile(r"unix://.*/infra-\d+-([0-9a-f]{8})/podman\.sock")


@dataclass(frozen=True, kw_only=True)
class RunProcess:
    """A process that carries a run's name. `role` is suite, build, service or reaper."""

    process: psutil.Process
    run: str
    role: str
    owner: str
    life: Life

    def __str__(self) -> str:
        return f"{self.role} process {self.process.pid}"

    @property
    def started(self) -> float:
        """When it started, in seconds since the epoch, less what the kernel's clock may be off."""
        try:
            return self.process.create_time() - 1.0
        except psutil.Error:
            return time.time() - 1.0


def environment(run: str, owner: Owner, role: str) -> dict[str, str]:
    """Return what makes a child process ours."""
    return {ENV_RUN: run, ENV_OWNER: str(owner), ENV_ROLE: role}


def of_runs() -> Iterator[RunProcess]:
    """Yield all processes that carry a run's name and owner and can be read from here."""
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            run, role = environ.get(ENV_RUN), environ.get(ENV_ROLE, "")
            if run is None and ENV_OWNER in environ:
                run, role = _served_run(process), "service"
            if run and process.status() != psutil.STATUS_ZOMBIE:
                owner = environ.get(ENV_OWNER, "")
                yield RunProcess(process=process, run=run, role=role, owner=owner, life=life(owner))
        except psutil.Error:
            continue


def _served_run(process: psutil.Process) -> str | None:
    """Return the run whose private engine a process serves: its children carry no mark of the run either."""
    words = process.cmdline()
    found = _SERVED.fullmatch(words[-1]) if "service" in words else None
    return found[1] if found else None


def end_helpers(run: str, wait_s: float, owner: str | None = None) -> None:
    """A reaper that still works is given its time; what remains of it, and of its service, is ended.

    With `owner` only that owner's: a run that was refused its name has a reaper, too.
    """
    helpers = [p for p in of_runs() if p.run == run and p.role in ("reaper", "service") and owner in (None, p.owner)]
    reapers = [p.process for p in helpers if p.role == "reaper"]
    if reapers:
        wait([p.process for p in helpers], wait_s)
    kill(reapers)  # first: it would serve the engine anew
    # Killed while it creates something, a service would leak a lock of Podman's, of which a host has 2048.
    services = [p.process for p in helpers if p.role == "service"]
    for service in services:
        with contextlib.suppress(psutil.Error):
            service.terminate()
            service.resume()  # one that was stopped could not end
    wait(services, _SERVICE_ENDS_S)
    kill(services)


def working(run: str) -> tuple[RunProcess, ...]:
    """Return the suite and build processes of a run."""
    return tuple(p for p in of_runs() if p.run == run and p.role in ("suite", "build"))


def others_podman(url: str) -> tuple[psutil.Process, ...]:
    """Return every Podman and buildah that does not serve `url`: each may build or create something just now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() in ("podman", "buildah") and url not in process.cmdline():
                found.append(process)
    return tuple(found)


def monitors(is_ours: Callable[[str], bool]) -> tuple[psutil.Process, ...]:
    """Return conmons, and what they started, of containers whose name satisfies `is_ours`."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.name() not in _MONITORS:
                continue
            argv = process.cmdline()
            if any(flag == "-n" and is_ours(name) for flag, name in pairwise(argv)):
                for one in (process, *process.children(recursive=True)):
                    found[one.pid] = one
        except psutil.Error:
            continue
    return tuple(found.values())


def storages(is_ours: Callable[[str], bool]) -> frozenset[Path]:
    """Return the folders of the storages, as in `<graph root>/overlay-containers`, of containers that are monitored."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.name() == _MONITORS[0]:
                flags = dict(pairwise(process.cmdline()))
                if is_ours(flags.get("-n", "")) and "-b" in flags:
                    found.add(Path(flags["-b"]).parents[1])
        except (psutil.Error, IndexError):
            continue
    return frozenset(found)


def kill(processes: Iterable[psutil.Process], wait_s: float = 2.0) -> None:
    """Kill processes and wait until they are gone; never ourselves."""
    doomed = [process for process in processes if process.pid != os.getpid()]
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    wait(doomed, wait_s)


def wait(processes: Iterable[psutil.Process], wait_s: float) -> None:
    """Wait until processes have ended. A zombie has: whoever should reap it may be slow."""
    deadline = time.monotonic() + wait_s
    waiting = [process for process in processes if _lives(process)]
    while waiting and time.monotonic() < deadline:
        time.sleep(0.01)
        waiting = [process for process in waiting if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
