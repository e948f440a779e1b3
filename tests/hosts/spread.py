"""The project's own tests: `nox -s tests [-- ARGUMENTS OF PYTEST]`.

All of them take as many hosts of their own as there are processors (`enter.py`), a file at a time on each, so that
stacks, ports and what is killed of one meet nothing of another. Chosen ones (a path, `-k`, `-s` ...) run here, one by
one, and so do all where such hosts cannot be made, which is said.
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
_SEED = HOSTS / "seed"
ENTER = (sys.executable, str(Path(__file__).with_name("enter.py")))
# Their stacks have all images of the catalogue: who builds them once, before, builds them for all hosts.
_SERVICES = ("aianalysis", "gateway")
_AT_MOST = 4
_NEEDED = ("unshare", "setpriv", "slirp4netns", "podman")


def main(argv: Sequence[str]) -> int:
    """Run pytest; return its exit code."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of a thousand commands would compile the product
    os.environ.setdefault("GOFLAGS", "-ldflags=-w")  # nobody debugs the suites: a third of the time of linking them
    pytest = [sys.executable, "-m", "pytest", *argv]
    if not set(argv) <= {"-m", "soak"}:
        _here(pytest)
    HOSTS.mkdir(parents=True, exist_ok=True)
    with (HOSTS / "lock").open("w") as lock:
        if why := _impossible(lock):
            print(f"all tests on this host, one after another: {why}", flush=True)
            _here(pytest)
        return _on_hosts(pytest)


def _here(pytest: list[str]) -> NoReturn:
    os.execv(pytest[0], pytest)


def _impossible(lock: IO[str]) -> str:
    """Why there cannot be hosts of their own, or nothing; then the lock is held."""
    if sys.platform != "linux" or os.geteuid():
        return "hosts of their own want root on Linux"
    if gone := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"hosts of their own want {', '.join(gone)}"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return "others of this checkout have its hosts"
    tried = subprocess.run((*ENTER, str(_SEED), "true"), capture_output=True, text=True, check=False)
    return (tried.stderr.strip() or f"exit code {tried.returncode}") if tried.returncode else ""


def _on_hosts(pytest: Sequence[str]) -> int:
    """Run pytest with workers on hosts that last as long as it does."""
    hosts = _hosts()
    try:
        with subprocess.Popen((*pytest, *_distribution(hosts))) as running:
            signal.signal(signal.SIGINT, lambda *_: None)  # a terminal tells pytest, too
            signal.signal(signal.SIGTERM, lambda *_: running.send_signal(signal.SIGINT))
            return running.wait()
    finally:
        for host in hosts:
            shutil.rmtree(host, ignore_errors=True)


def _hosts() -> list[Path]:
    """Make the hosts' storages, each with all images; return their folders."""
    began = time.monotonic()
    for service in _SERVICES:
        command = (*ENTER, str(_SEED), sys.executable, "-m", "invoke", "images.build", "--service", service)
        if code := subprocess.call(command, cwd=ROOT):
            raise SystemExit(code)
    built = time.monotonic()
    hosts = [HOSTS / str(number) for number in range(1, min(len(os.sched_getaffinity(0)), _AT_MOST) + 1)]
    for host in hosts:
        shutil.rmtree(host, ignore_errors=True)
        host.mkdir()
        subprocess.run(("cp", "-a", "--reflink=auto", _SEED / "containers", host), check=True)
    copied = time.monotonic()
    print(f"{len(hosts)} hosts: images {built - began:.1f} s, copies of them {copied - built:.1f} s", flush=True)
    return hosts


def _distribution(hosts: Sequence[Path]) -> list[str]:
    """The words with which pytest-xdist runs whole files on these hosts, as they are collected."""
    pythons = [shlex.join((*ENTER, str(host), sys.executable)) for host in hosts]
    words = [word for python in pythons for word in ("--tx", f"popen//python={python}")]
    return ["-p", "tests.hosts.alone", "--dist", "loadfile", "--no-loadscope-reorder", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
