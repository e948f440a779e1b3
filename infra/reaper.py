"""The process that outlives its owner: `python -m infra.reaper '<json>'`, in a session of its own.

It reads its standard input, a pipe of which the owner holds the only other end. "done" means that the owner has
cleaned up; an end without it means that the owner is gone, and the sweep is ours. It serves the private engine, where
there is one, so that killing the owner cuts no call of the engine in half.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_SERVICE_START_S = 10.0
_SERVICE_STOP_S = 3.0


def command(task: dict[str, Any]) -> list[str]:
    """Return the command line of a reaper for a task: run, url, identity, service, folder."""
    return [sys.executable, "-m", "infra.reaper", json.dumps(task)]


def main(argument: str) -> int:
    """Serve, wait for the owner's word or end, clean up. Prints `ready` once the engine answers."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _ignore)
    task = json.loads(argument)
    with _service(task):
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        word = sys.stdin.buffer.read()
        if word.strip() != b"done":
            _sweep(task)
    if folder := task["folder"]:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _sweep(task: dict[str, Any]) -> None:
    # Imported here: a reaper that is not needed costs no more than a pipe.
    from infra.engine.client import Engine  # noqa: PLC0415
    from infra.sweep import is_kept, sweep_run  # noqa: PLC0415

    engine = Engine(task["url"], identity=task["identity"])
    if not is_kept(engine, task["run"]):
        left = sweep_run(engine, task["run"])
        sys.stderr.write(f"owner gone; swept {task['run']}; left: {', '.join(left) or 'nothing'}\n")


@contextlib.contextmanager
def _service(task: dict[str, Any]) -> Iterator[None]:
    if not task["service"]:
        yield
        return
    environ = {**os.environ, **task["env"], "INFRA_ROLE": "service"}
    log = None if not task["log"] else Path(task["log"]).open("ab")  # noqa: SIM115 - lives as long as the service
    process = subprocess.Popen(task["service"], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for_socket(process, Path(task["url"].removeprefix("unix://")))
        yield
    finally:
        process.terminate()
        try:
            process.wait(_SERVICE_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ignore(_signum: int, _frame: FrameType | None) -> None:
    """Not SIG_IGN: the service that is started from here would inherit that."""


def _wait_for_socket(process: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + _SERVICE_START_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"podman's service did not start: exit code {process.poll()}")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
