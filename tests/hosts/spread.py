"""The project's own tests: `nox -s tests [-- ARGUMENTS OF PYTEST]`.

All of them take as many hosts of their own as there are processors (`enter.py`), a file at a time on each, so that
stacks, ports and what is killed of one meet nothing of another. Chosen ones (a path, `-k`, `-s` ...) run here, one by
one, and so do all where such hosts cannot be made, which is said.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

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
    chosen = [word for word in argv if word not in ("-m", "soak")]
    if chosen:
        return _pytest(argv)
    if why := _impossible():
        print(f"all tests on this host, one after another: {why}", flush=True)
        return _pytest(argv)
    hosts = _hosts()
    try:
        return _pytest([*argv, *_distribution(hosts)])
    finally:
        for host in hosts:
            shutil.rmtree(host, ignore_errors=True)


def _pytest(argv: Sequence[str]) -> int:
    return subprocess.call((sys.executable, "-m", "pytest", *argv), cwd=ROOT)


def _impossible() -> str:
    """Why there cannot be hosts of their own, or nothing."""
    if sys.platform != "linux" or os.geteuid():
        return "hosts of their own want root on Linux"
    if gone := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"hosts of their own want {', '.join(gone)}"
    tried = subprocess.run((*ENTER, str(_SEED), "true"), capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


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
