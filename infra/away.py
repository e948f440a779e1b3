"""What is deliberately away: containers that somebody has killed or frozen, for a suite that tests failure.

A mark stands in the private folder of the run that did it, so that it ends with that run; a person who has none marks
the folders of the runs that use the stack. It is put there before anything is done to the container, and taken away
when that is ready again: whoever watches never sees a death that nothing explains.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra import lock
from infra.lease_names import private_folder, private_folders

_FOLDER = "away"
_LOCK = "-away"
_PERSON = "-"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Who took a container away: a run, or None for a person. `token` tells two of one doer apart."""

    container: str
    by: str | None
    token: str

    @property
    def who(self) -> str:
        """Who it was, in words."""
        return f"run {self.by}" if self.by else "a person (infra.kill or infra.pause)"


def put(container: str, by: str | None, holders: Iterable[str]) -> None:
    """Mark a container in the folders of some runs; one that has ended meanwhile needs no mark."""
    text = f"{by or _PERSON} {secrets.token_hex(8)}"
    with lock.alone(_LOCK):
        for run in holders:
            folder = private_folder(run)
            part = folder / f".{_FOLDER}-{container}"
            with contextlib.suppress(OSError):
                (folder / _FOLDER).mkdir(exist_ok=True)
                part.write_text(text, encoding="ascii")
                part.replace(folder / _FOLDER / container)


def marks(container: str) -> tuple[Mark, ...]:
    """Return the marks of a container, of whichever run of this user."""
    return tuple(mark for run, _ in private_folders() for mark in _read(private_folder(run) / _FOLDER / container))


def marks_of(run: str) -> tuple[Mark, ...]:
    """Return what a run has taken away itself, and not given back."""
    with contextlib.suppress(OSError):
        paths = sorted((private_folder(run) / _FOLDER).iterdir())
        return tuple(mark for path in paths for mark in _read(path) if mark.by == run)
    return ()


def is_away(container: str, run: str) -> bool:
    """Whether this run has taken the container away itself."""
    return any(mark.by == run for mark in marks(container))


def take(gone: Iterable[Mark]) -> None:
    """Take marks away that were read before; one that was put anew since stays."""
    old = set(gone)
    with lock.alone(_LOCK):
        for run, _ in private_folders():
            for container in {mark.container for mark in old}:
                path = private_folder(run) / _FOLDER / container
                if old.intersection(_read(path)):
                    path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[Mark]:
    with contextlib.suppress(OSError, ValueError):
        by, token = path.read_text(encoding="ascii").split()
        yield Mark(container=path.name, by=None if by == _PERSON else by, token=token)
