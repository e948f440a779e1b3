"""The two disks that builds fill: container storage, and the folder of runs' private files. Which, how full, whose."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra import cache
from infra.engine import store
from infra.engine.store import Stored
from infra.errors import NoImage, Unavailable
from infra.lease_names import private_folder

# What a build of the largest image of a stack takes; with less it may fail, and a small one succeeds.
FULL_BYTES = 1024**3
# No image of a stack is built with less.
_REFUSED_BYTES = 64 * 1024**2
_FEW_INODES = 1000
# A run's folder holds a socket and some lines of text before anything is built.
_NOTHING_BYTES = 1024**2
_WORTH_BYTES = 256 * 1024**2
_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A file system as its user has it. `ours` is what our images take of it, `cached` what `images.prune` may drop."""

    what: str
    path: str
    total: int
    free: int
    inodes: int | None = None
    ours: int | None = None
    cached: int = 0

    @property
    def lacks(self) -> str:
        """What is too little of it for a build, in words; nothing where it does."""
        if self.inodes is not None and self.inodes < _FEW_INODES:
            return f"only {self.inodes} more files fit on it"
        if self.free < FULL_BYTES:
            return f"a build wants {FULL_BYTES / _GB:.1f} GB"
        return ""

    @property
    def is_full(self) -> bool:
        """Whether no build at all can succeed on it."""
        return self.free <= _REFUSED_BYTES or (self.inodes is not None and self.inodes < _FEW_INODES)

    @property
    def described(self) -> str:
        """How much of it is free, and how much is taken by what is ours, in words."""
        ours = "" if self.ours is None else f", {self.ours / _GB:.1f} GB are images of ours"
        return f"{self.free / _GB:.1f} GB free of {self.total / _GB:.1f} GB{ours}"

    @property
    def frees(self) -> str:
        """The command that frees it, or that shows what fills it."""
        if self.cached > _WORTH_BYTES:
            return f"invoke images.prune --days 0  # drops what is cached of ours, {self.cached / _GB:.1f} GB at most"
        if self.ours is not None:
            return "podman system df  # shows what fills it"
        return f"du -xhd1 {shlex.quote(self.path)} | sort -h  # the largest are last"


def temporary() -> Disk:
    """Look at the disk of runs' private folders, which builds have as TMPDIR."""
    return _look("temporary files", private_folder("x").parent)


def storage(stored: Stored | None = None, root: Path | None = None) -> Disk:
    """Look at the disk of container storage on this host; `stored` is what of it is ours."""
    root = root or store.graph_root()
    if stored is None:
        return _look("container storage", root)
    cached = min(stored.bytes, sum(image.size for image in stored.images if cache.is_cached(image)))
    return _look("container storage", root, ours=stored.bytes, cached=cached)


def scarce(*, remote: bool) -> Disk | None:
    """Return a disk that has little room for a build, or None. The storage of an engine elsewhere is not seen."""
    return _first(lambda disk: bool(disk.lacks), remote=remote)


def _first(wanted: Callable[[Disk], bool], *, remote: bool) -> Disk | None:
    for disk in (temporary(), *(() if remote else (storage(),))):
        if wanted(disk):
            return disk if disk.what == "temporary files" else _stored(store.graph_root())
    return None


def check_room(*, remote: bool) -> None:
    """Raise `NoImage` where there is no room for anything that could be built."""
    disk = _first(lambda disk: disk.is_full, remote=remote)
    if disk is not None:
        raise NoImage(said(disk), reference="disk-full", remedy=disk.frees)


def check_start() -> None:
    """Raise `Unavailable` where not even a run's own folder can be written."""
    disk = temporary()
    if disk.free < _NOTHING_BYTES:
        raise Unavailable(said(disk), reference="disk-full", remedy=disk.frees)


def said(disk: Disk) -> str:
    """Return which disk is full, in one sentence."""
    return f"the disk of {disk.what} ({disk.path}) has too little room: {disk.described}; {disk.lacks}"


def words(*, remote: bool, root: str | None = None) -> dict[str, str]:
    """Return what the cause `disk-full` says of the disk that is fuller, for an error that has come up meanwhile.

    `root` is the engine's own folder of its storage, where it may be another one than this user's. Never raises: that
    error comes first.
    """
    try:
        where = Path(root) if root is not None else store.graph_root()
        disk = min((temporary(), *(() if remote else (_stored(where),))), key=lambda one: one.free)
    except OSError:
        return {}
    return {"disk": f" ({disk.what}, {disk.path}: {disk.described})", "disk_fix": disk.frees}


def _stored(root: Path) -> Disk:
    """The disk of a storage, with what of it is ours where that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return storage(store.ours(root), root)
    return storage(root=root)


def _look(what: str, path: Path, *, ours: int | None = None, cached: int = 0) -> Disk:
    """Look at the file system that a folder is on, or would be."""
    there = next(one for one in (path, *path.parents) if one.exists())
    seen = os.statvfs(there)
    return Disk(
        what=what,
        path=str(path),
        total=seen.f_blocks * seen.f_frsize,
        free=seen.f_bavail * seen.f_frsize,
        inodes=seen.f_favail if seen.f_files else None,  # some file systems count none
        ours=ours,
        cached=cached,
    )
