"""What a run has outside of the engine: its private folder, which names its owner, and its builds' control group."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from infra import lock, run_names
from infra.errors import Invalid, NotReady
from infra.labels import Life, Owner, life

# Not TMPDIR: whoever sweeps must find it. And short, because a socket's path has 107 bytes at most.
_BASE = Path("/tmp")
_OWNER = "owner"
_USES = "uses"
_ENGINE = "engine"
_SLOT = "slot"
USERS = "-users"
_MADE_S = 60.0


def private_folder(run: str) -> Path:
    """Return a run's folder outside the repository."""
    return _BASE / f"infra-{os.getuid()}-{run}"


def make_private_folder(run: str, owner: str) -> Path:
    """Make a run's folder, at once with its owner's name in it: killed then, nothing else may tell whose it was.

    Raises `Invalid` where there is one: a run of that name lives, or is not swept yet.
    """
    folder = private_folder(run)
    part = Path(tempfile.mkdtemp(dir=_BASE, prefix=f".{folder.name}-"))
    try:
        (part / _OWNER).write_text(owner, encoding="ascii")
        part.rename(folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and folder.exists():
            raise taken(run) from error
        raise
    return folder


def use(run: str, stack: str) -> None:
    """Write down that a run uses the stack of another one, as long as it goes on.

    What is done to a stack because nobody else uses it is done under the same lock.
    """
    with lock.alone(USERS):
        (private_folder(run) / _USES).write_text(stack, encoding="ascii")


def stack_of(run: str) -> str:
    """Return whose stack a run has: that of the one it uses, else its own."""
    with contextlib.suppress(OSError, ValueError):
        return (private_folder(run) / _USES).read_text(encoding="ascii")
    return run


def note_engine(run: str, url: str, identity: str | None) -> None:
    """Write down which engine a run has: who works for the run needs none of its own."""
    (private_folder(run) / _ENGINE).write_text(f"{url}\n{identity or ''}\n", encoding="utf-8")


def engine_of(run: str) -> tuple[str, str | None] | None:
    """Return the address of a run's engine, and the key for it; None where the run is not there."""
    with contextlib.suppress(OSError, ValueError):
        url, identity = (private_folder(run) / _ENGINE).read_text(encoding="utf-8").splitlines()
        return url, identity or None
    return None


def slot(run: str) -> int:
    """Return a small number that no other run of this user has while this one goes on."""
    with lock.alone("-slots"):
        others = [other for other, owner in private_folders() if other != run and life(owner) is not Life.DEAD]
        taken = {_slot_of(other) for other in others}
        mine = next(number for number in itertools.count() if number not in taken)
        (private_folder(run) / _SLOT).write_text(str(mine), encoding="ascii")
    return mine


def _slot_of(run: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((private_folder(run) / _SLOT).read_text(encoding="ascii"))
    return None


def users_of(stack: str) -> dict[str, Owner]:
    """Return the runs of this user that use the stack of another one now, and their owners."""
    found = {}
    for run, text in private_folders():
        owner = Owner.parse(text)
        with contextlib.suppress(OSError, ValueError):
            used = (private_folder(run) / _USES).read_text(encoding="ascii")
            if used == stack and owner is not None and owner.life() is Life.ALIVE:
                found[run] = owner
    return found


def refuse_used(stack: str) -> None:
    """Raise `NotReady` for a stack that a suite is using now, before it is ended or torn from under that."""
    for run, owner in users_of(stack).items():
        raise NotReady(
            f"the stack of run {stack} is in use: run {run} (process {owner.pid}) has its suite going in it",
            reference="stack-in-use",
            remedy=f"kill {owner.pid}  # ends run {run}; or wait until it has ended",
            blame="user",
        )


def drop_unfinished_folders() -> None:
    """Remove what was killed in the moment in which it made its folder."""
    for part in _BASE.glob(f".infra-{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _MADE_S:
                shutil.rmtree(part, ignore_errors=True)


def taken(run: str) -> Invalid:
    """Return the error for a run's name that another run on this host, or in this engine, has."""
    return Invalid(
        f"there is a run {run} already",
        reference="run-exists",
        remedy=f"invoke infra.gc --run {run}  # ends that one; or leave --run out",
    )


def remove_private_folder(run: str, owner: str) -> None:
    """Remove a run's folder where it is this owner's; not through a mount that is in it, which is never ours."""
    folder = private_folder(run)
    if _owner_of(folder) != owner or is_mounted_in(folder):
        return
    with contextlib.suppress(OSError):  # its owner's name goes last: with what cannot be removed it stays
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _OWNER:
                path.unlink()
        if [path.name for path in folder.iterdir()] == [_OWNER]:
            (folder / _OWNER).unlink()
            folder.rmdir()


def is_mounted_in(folder: Path) -> bool:
    """Whether something is mounted in a folder for this process."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(line.split(" ")[4].startswith(f"{folder}/") for line in mounts.splitlines())


def private_folders() -> Iterator[tuple[str, str]]:
    """Yield (run, owner) of the private folders of this user that are there."""
    for folder in _BASE.glob(f"infra-{os.getuid()}-*"):
        run = folder.name.rpartition("-")[2]
        owner = _owner_of(folder) if re.fullmatch(run_names.RUN, run) else None
        if owner is not None:
            yield run, owner


def _owner_of(folder: Path) -> str | None:
    try:
        return (folder / _OWNER).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def bridge(run: str) -> str:
    """Return the name of the network interface of a run's network: 15 characters at most."""
    return f"infra{run}"


def cgroup(run: str) -> str:
    """Return the name of the control group of a run's builds."""
    return f"infra-{run}"
