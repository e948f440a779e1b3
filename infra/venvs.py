"""Virtual environments of Python suites: one for what some requirement files hold, made once, used by many runs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from infra import suites
from infra.errors import Invalid, Unavailable
from infra.suites import SuiteRun
from infra.verdict import LINES

_MADE = "made"
# A folder or an archive of this host: what is in it counts, and where it is.
_LOCAL = re.compile(rb"^\s*(?:(?:-e|--editable)[\s=]+)?((?:\.{1,2}|/|file:)[^\s;#]*)", re.MULTILINE)
_INCLUDED = re.compile(rb"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)
_INSTALL_S = 900.0
_UNUSED_S = 30 * 24 * 3600.0


def python_of(folder: Path, files: tuple[Path, ...], suite: SuiteRun) -> tuple[Path, str]:
    """Return the python of an environment with these requirements, and one line of what was done.

    Two runs that want the same wait for each other. Raises `Invalid` for a file that is missing, and `Unavailable`
    with pip's own words where it cannot be made.
    """
    key = _key(files)
    venv = folder / key
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{key}.lock"):
        made = venv / _MADE
        why = f"unchanged, content {key}"
        if not made.exists():
            shutil.rmtree(venv, ignore_errors=True)
            _make(venv, files, suite)
            why = f"made, content {key}"
        made.touch()
    _drop_unused(folder)
    return venv / "bin" / "python", why


def _key(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    waiting, seen = list(files), set[Path]()
    while waiting:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        try:
            text = file.read_bytes()
            digest.update(text + b"\0")
        except OSError as error:
            raise Invalid(
                f"{file}: the suite's requirements cannot be read: {error.strerror}",
                reference="requirements-missing",
                remedy=f"ls -l {shlex.quote(str(file))}  # suite.requirements names it; is INFRA_WORKSPACE right?",
            ) from error
        for local in _LOCAL.findall(text):
            digest.update(_tree(file.parent / os.fsdecode(local)))
        waiting += [file.parent / os.fsdecode(name) for name in _INCLUDED.findall(text)]
    return digest.hexdigest()[:12]


def _tree(path: Path) -> bytes:
    """Return what tells one state of a folder from another: its place, and its files' names, sizes and times."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    seen = [str(path.resolve())]
    for file in files:
        if file.is_file() and not {"__pycache__", ".git"} & set(file.parts) and ".egg-info" not in str(file):
            stat = file.stat()
            seen.append(f"{file} {stat.st_size} {stat.st_mtime_ns}")
    return "\n".join(seen).encode()


def _make(venv: Path, files: tuple[Path, ...], suite: SuiteRun) -> None:
    base = str(getattr(sys, "_base_executable", sys.executable))
    named = [word for file in files for word in ("-r", str(file))]
    for argv in (
        (base, "-m", "venv", str(venv)),
        (str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input", *named),
    ):
        with suites.start(suite, argv, "requirements.log") as running:
            code = running.wait(_INSTALL_S)
            if code != 0:
                raise Unavailable(
                    f"{running}: {'took too long' if code is None else f'exit code {code}'}",
                    reference="requirements-not-installed",
                    remedy=f"cd {shlex.quote(str(suite.cwd))} && {running}",
                    evidence=tuple(running.tail)[-LINES:],
                )


def _drop_unused(folder: Path) -> None:
    """Remove what no run has used for 30 days, and what was killed while it was made."""
    for venv in folder.iterdir():
        with contextlib.suppress(OSError):
            used = venv / _MADE if (venv / _MADE).exists() else venv
            if venv.is_dir() and _is_old(used):
                with _alone(folder / f"{venv.name}.lock"):
                    if _is_old(used):  # nobody has used it while this one waited
                        shutil.rmtree(venv, ignore_errors=True)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _UNUSED_S


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
