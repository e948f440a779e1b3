"""The process that outlives its owner: `python -m infra.reaper '<json>'`, in a session of its own.

It reads its standard input, a pipe of which the owner holds the only other end. First comes the engine to use, a line
of JSON; then "done", which means that the owner has cleaned up, or "sweep", that it could not. An end without either
means that the owner is gone, and the sweep is ours too. The reaper is there before anything else of the run is, and
serves the private engine, where there is one, so that killing the owner cuts no call of the engine in half. An engine
that does not answer is asked again for some time: a private one is served anew, another may come back.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from infra.lease_names import remove_private_folder

if TYPE_CHECKING:
    from infra.engine.client import Engine

_SERVICE_START_S = 10.0
_SERVICE_STOP_S = 3.0
_CALLS_END_S = 2.0
TRY_S = 120.0
_PAUSE_S = (0.2, 0.5, 1.0, 2.0)
_ALIVE_S = 3.0
_ALIVE_AGAIN_S = 10.0
# An engine that is back first does what it was asked for long ago.
_SETTLE_S = 1.0
DONE = b"done\n"
SWEEP = b"sweep\n"
LATER = b"later\n"


def command(task: dict[str, Any]) -> list[str]:
    """Return the command line of a reaper for a task: run, owner, log, looks."""
    return [sys.executable, "-m", "infra.reaper", json.dumps(task)]


def main(argument: str) -> int:
    """Serve, wait for the owner's word or end, clean up. Prints `ready` once the engine answers."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _ignore)
    task = json.loads(argument)
    try:
        engine = sys.stdin.buffer.readline()
        return 0 if engine in (b"", DONE, SWEEP) else _serve(task | json.loads(engine))
    finally:
        remove_private_folder(task["run"], task["owner"])


def _serve(task: dict[str, Any]) -> int:
    """Return the exit code: 0 when there is nothing left to sweep."""
    with contextlib.ExitStack() as services:
        service = services.enter_context(_service(task))
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        owner = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not task["looks"]:  # now there is time for it, when the owner has died there is not
            from infra import evidence, sweep  # noqa: F401, PLC0415

        word = sys.stdin.buffer.read()
        if word == DONE:
            return 0
        if word != SWEEP:  # else they have had their time
            _let_calls_end(service, task["url"].removeprefix("unix://"))
        return _sweep(task, services, owner if word == SWEEP else None)


def _let_calls_end(service: int | None, path: str) -> None:
    """Wait for the calls that the owner had under way: what they make must be there when the sweep looks.

    A handler of the engine goes on after its caller has died, and closes its end of the socket when it is through. An
    engine that is not ours serves others too, so there it is given a moment.
    """
    import psutil  # noqa: PLC0415 - like the sweep

    if service is None:
        time.sleep(_CALLS_END_S / 4)
        return
    deadline = time.monotonic() + _CALLS_END_S
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(service)
        while time.monotonic() < deadline:
            # The one that remains is the socket that listens.
            if sum(str(one.laddr) == path for one in process.net_connections(kind="unix")) <= 1:
                return
            time.sleep(0.02)


def _sweep(task: dict[str, Any], services: contextlib.ExitStack, owner: int | None) -> int:
    """Sweep, and try again while the engine does not answer; what somebody has swept meanwhile is swept.

    An owner that lives has handed nothing over, even where the marker for it was made; it waits for the first try.
    """
    from infra.engine.client import Engine  # noqa: PLC0415
    from infra.errors import InfraError  # noqa: PLC0415
    from infra.kept import is_kept  # noqa: PLC0415
    from infra.sweep import sweep_run  # noqa: PLC0415

    run, deadline, alive_s = task["run"], time.monotonic() + TRY_S, _ALIVE_S
    pauses = iter(_PAUSE_S)
    while True:
        try:
            Engine(task["url"], identity=task["identity"], timeout=alive_s).version()
            if alive_s != _ALIVE_S and not task["service"]:
                time.sleep(_SETTLE_S)
            engine = Engine(task["url"], identity=task["identity"])
            if owner is None and (is_kept(engine, run) or _is_anothers(engine, run, task["owner"])):
                return 0
            if owner is None:
                _save_evidence(engine, task)
            left = sweep_run(engine, run)
            sys.stderr.write(f"owner gone; swept {run}; left: {', '.join(left) or 'nothing'}\n")
            return 1 if left else 0
        except InfraError as error:
            sys.stderr.write(f"not swept yet: {error.message}\n")
        sys.stderr.flush()
        if owner is not None and alive_s == _ALIVE_S and not task["service"]:
            with contextlib.suppress(OSError):
                os.write(owner, LATER)
        alive_s = _ALIVE_AGAIN_S
        if time.monotonic() > deadline:
            sys.stderr.write(f"gave up after {TRY_S:g} s; the next start sweeps {run}\n")
            return 1
        time.sleep(next(pauses, _PAUSE_S[-1]))
        services.close()
        services.enter_context(_service(task))


def _save_evidence(engine: Engine, task: Mapping[str, Any]) -> None:
    """Save what a run that was killed cannot save itself: once, and never at the price of the sweep."""
    from infra import evidence, masking  # noqa: PLC0415

    folder = Path(task["log"]).parent.parent if task["log"] else None
    if folder is None or not folder.is_dir() or any((folder / n).exists() for n in ("report.json", "diagnosis.md")):
        return
    secrets = frozenset(task.get("secrets", ()))
    place = evidence.Place(run=task["run"], folder=folder, mask=lambda text: masking.masked(text, secrets))
    with contextlib.suppress(Exception):
        evidence.of_killed(engine, place)


def _is_anothers(engine: Engine, run: str, owner: str) -> bool:
    """Whether the run's name is another's in this engine, and our owner died before it was refused."""
    from infra import labels  # noqa: PLC0415

    return any(one.labels.get(labels.OWNER) != owner for one in engine.networks({labels.RUN: run}))


@contextlib.contextmanager
def _service(task: dict[str, Any]) -> Iterator[int | None]:
    """Serve the private engine; the pid of its service, or None where there is none."""
    if not task["service"]:
        yield None
        return
    environ = _service_environment(task["env"])
    path = Path(task["url"].removeprefix("unix://"))
    path.unlink(missing_ok=True)  # of one that was killed
    log = subprocess.DEVNULL if not task["log"] else Path(task["log"]).open("ab")  # noqa: SIM115 - lives as long as the service
    process = subprocess.Popen(task["service"], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for_socket(process, path)
        yield process.pid
    finally:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # one that was stopped could not end
        try:
            process.wait(_SERVICE_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _service_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Without the run's marks: Podman starts daemons that all runs share (aardvark-dns, a rootless pause process).

    They inherit this, and must not be taken for the run's. The service itself is known by its socket's path.
    """
    marks = ("INFRA_RUN", "INFRA_ROLE", "CONTAINER_HOST")
    return {key: value for key, value in os.environ.items() if key not in marks} | dict(given)


def _ignore(_signum: int, _frame: FrameType | None) -> None:
    """Not SIG_IGN: the service that is started from here would inherit that."""


def _wait_for_socket(process: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + _SERVICE_START_S
    while not _listens(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"podman's service did not start: exit code {process.poll()}")
        time.sleep(0.01)


def _listens(path: Path) -> bool:
    """Whether somebody accepts there: the file is there before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


if __name__ == "__main__":
    atexit.register(gc.freeze)  # its owner waits for its end: see infra.tasks
    sys.exit(main(sys.argv[1]))
