"""Run invoke, count the points at which it could die, and kill it at one: `crashing.py --log FILE [...] -- TASK ...`.

A point is a call to the engine that changes something, a command of podman's that does, a process that is started, and
one poll of each probe. The interpreter tells of each before it happens (audit events), so nothing of the product is
changed or knows. `--after` lets what was begun go on for a while: 0 is just before it, 0.01 is in the middle of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

_REQUEST = re.compile(rb"(GET|POST|PUT|DELETE) /v[\d.]+/libpod(/\S*) HTTP")
_STATE = re.compile(r"/containers/([a-z][a-z0-9-]*)-[0-9a-f]{8}/json")
_CHANGES = ("build", "run", "untag", "import", "tag", "rmi", "load", "create")


class Points:
    """The points of one run, in the order in which they are reached. Called from any thread."""

    def __init__(self, log: Path, at: int, after: float, reaper_first: bool) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._at = at
        self._after = after
        self._reaper_first = reaper_first
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._count = 0
        self._looks: dict[str, int] = {}
        self._reached = threading.Event()
        threading.Thread(target=self._kill_later, daemon=True).start()

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        """Take an audit event. A child that has not yet become another program is not the owner."""
        if event not in ("http.client.send", "subprocess.Popen") or os.getpid() != self._owner:
            return
        name = self._request(args[1]) if event == "http.client.send" else self._process(args[1])
        if name is not None:
            with self._lock:
                self._count += 1
                os.write(self._log, f"{name}\n".encode())
                if self._count == self._at:
                    self._die()

    def _request(self, data: object) -> str | None:
        found = _REQUEST.match(data) if isinstance(data, bytes) else None
        if found is None:
            return None
        method, path = found[1].decode(), found[2].decode()
        if method != "GET":
            return f"{method} {path.partition('?')[0]}"
        state = _STATE.fullmatch(path)
        if state is None:
            return None
        # After its start each is asked once for its ports; the second look is the first of its gate's polls.
        looks = self._looks[state[1]] = self._looks.get(state[1], 0) + 1
        return f"poll {state[1]}" if looks == 2 else None

    @staticmethod
    def _process(argv: object) -> str | None:
        words = [str(word) for word in argv] if isinstance(argv, list | tuple) else []
        program = Path(words[0]).name if words else ""
        if program == "podman":
            word = next((word for word in words[1:] if word in _CHANGES), None)
            return f"podman {word}" if word else None
        if "infra.reaper" in words:
            return "start reaper"
        return None if program == "git" else f"start {' '.join([program, *words[1:2]])}"

    def _die(self) -> None:
        if self._after > 0:
            self._reached.set()
        else:
            self._kill()

    def _kill_later(self) -> None:
        self._reached.wait()
        time.sleep(self._after)
        self._kill()

    def _kill(self) -> None:
        if self._reaper_first:
            for process in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if self._is_reaper(process):
                        os.kill(int(process.name), signal.SIGKILL)
        os.kill(self._owner, signal.SIGKILL)
        time.sleep(60)  # not one step further

    def _is_reaper(self, process: Path) -> bool:
        if not process.name.isdecimal() or b"infra.reaper" not in (process / "cmdline").read_bytes():
            return False
        return int((process / "stat").read_text().rpartition(")")[2].split()[1]) == self._owner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--after", type=float, default=0.0)
    parser.add_argument("--reaper-first", action="store_true")
    parser.add_argument("task", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    sys.addaudithook(Points(given.log, given.at, given.after, given.reaper_first).hook)
    sys.argv = ["invoke", *given.task[1:]]
    sys.path[0] = str(Path.cwd())
    runpy.run_module("invoke", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
