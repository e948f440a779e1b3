"""The project's own tests: `nox -s tests [-- ARGUMENTS OF PYTEST]`.

Without arguments all of them, on as many hosts of their own as there are processors, but four at most (`enter.py`): a
file at a time on each, so that stacks, ports and what is killed of one meet nothing of another. With any argument those
that it chooses, on this host, one by one; so all where such hosts cannot be made. Either is said.

The images are built once, on a host that is kept as `.infra/hosts/seed` (1 GB) and copied.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ROOT / ".infra" / "hosts"
ENTER = (sys.executable, str(Path(__file__).with_name("enter.py")))
# Their stacks have all images of the catalogue: who builds them once, before, builds them for all hosts.
_SERVICES = ("aianalysis", "gateway")
# All that the suites are linked from, which each host would compile anew at the same time; it says nothing.
_COMPILE = ("go", "-C", "tests/workspace", "list", "-e", "-export", "-test", "-deps", "-f={{if false}}{{end}}", "./...")
_AT_MOST = 4
_NEEDED = ("unshare", "setpriv", "slirp4netns", "podman")
_WORDS = {"-m", "soak"}


def main(argv: Sequence[str]) -> int:
    """Run pytest; return its exit code."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of a thousand commands would compile the product
    os.environ.setdefault("GOFLAGS", "-ldflags=-w")  # nobody debugs the suites: a third of the time of linking them
    pytest = [sys.executable, "-m", "pytest", *argv]
    if not set(argv) <= _WORDS:
        _here(pytest, "some of them were asked for")
    if why := _impossible():
        _here(pytest, why)
    HOSTS.mkdir(parents=True, exist_ok=True)
    with (HOSTS / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _here(pytest, "another run of the tests has the hosts of this checkout")
        for name in ("TMPDIR", "PYTEST_DEBUG_TEMPROOT"):
            os.environ.pop(name, None)  # what is in /tmp/pytest-of-USER is seen from the hosts
        return Spread(lock).run(pytest)


def _here(pytest: list[str], why: str) -> NoReturn:
    print(f"tests on this host, one by one: {why}", flush=True)
    os.execv(pytest[0], pytest)


def _impossible() -> str:
    """Why there cannot be hosts of their own, or nothing."""
    if sys.platform != "linux" or os.geteuid():
        return "hosts of their own want root on Linux"
    if gone := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"hosts of their own want {', '.join(gone)}"
    host = HOSTS / f"tried-{os.getpid()}"
    tried = subprocess.run((*ENTER, str(host), "true"), capture_output=True, text=True, check=False)
    shutil.rmtree(host, ignore_errors=True)
    return (tried.stderr.strip() or f"exit code {tried.returncode}") if tried.returncode else ""


class Spread:
    """A run of the tests on hosts; whatever it has started holds the lock, too."""

    def __init__(self, lock: IO[str]) -> None:
        self._lock = lock
        self._running: subprocess.Popen[bytes] | None = None
        self._ended_by = signal.SIGINT
        self._signals: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._told)

    def _told(self, number: int, _: object) -> None:
        """A terminal tells SIGINT to what is running, too; nox tells SIGTERM a moment after that."""
        self._signals.append(number)
        if number == signal.SIGTERM and self._signals != [signal.SIGINT, signal.SIGTERM] and self._running:
            self._running.send_signal(self._ended_by)

    def run(self, pytest: Sequence[str]) -> int:
        """Make the hosts, run pytest with a worker on each, remove them; return the exit code."""
        seed, made = HOSTS / "seed", HOSTS / "seed" / "made"
        hosts = [HOSTS / str(number) for number in range(1, min(len(os.sched_getaffinity(0)), _AT_MOST) + 1)]
        if not made.exists():  # an end in the middle of a build may have left anything
            shutil.rmtree(seed, ignore_errors=True)
        try:
            began = time.monotonic()
            if shutil.which("go") and (code := self._ends(_COMPILE)):
                return code
            compiled = time.monotonic()
            made.unlink(missing_ok=True)
            for service in _SERVICES:
                build = (sys.executable, "-m", "invoke", "images.build", "--service", service)
                if code := self._ends((*ENTER, str(seed), *build), signal.SIGTERM):
                    return code
            made.touch()
            built = time.monotonic()
            for host in hosts:
                shutil.rmtree(host, ignore_errors=True)
                host.mkdir()
                if code := self._ends(("cp", "-a", "--reflink=auto", str(seed / "containers"), str(host))):
                    return code
            spent = (compiled - began, built - compiled, time.monotonic() - built)
            print(
                "{} hosts: Go {:.1f} s, images {:.1f} s, copies of them {:.1f} s".format(len(hosts), *spent), flush=True
            )
            return self._ends((*pytest, *distribution(hosts)))
        finally:
            for host in hosts:
                shutil.rmtree(host, ignore_errors=True)

    def _ends(self, argv: Sequence[str], ended_by: signal.Signals = signal.SIGINT) -> int:
        """Wait for a command's end; return its exit code, 130 after an interrupt."""
        if not self._signals:
            with subprocess.Popen(argv, cwd=ROOT, pass_fds=[self._lock.fileno()]) as running:
                self._running, self._ended_by = running, ended_by
                code = running.wait()
        return 130 if self._signals else code


def distribution(hosts: Sequence[Path]) -> list[str]:
    """Return the words with which pytest-xdist runs whole files on these hosts, in the order of their collection."""
    pythons = [shlex.join((*ENTER, str(host), sys.executable)) for host in hosts]
    words = [word for python in pythons for word in ("--tx", f"popen//python={python}")]
    return ["-p", "tests.hosts.alone", "--dist", "loadfile", "--no-loadscope-reorder", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
