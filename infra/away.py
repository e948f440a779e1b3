"""What is deliberately away: containers that somebody has killed or frozen, for a suite that tests failure.

A mark stands in the private folder of the run that did it, so that it ends with that run; a person who has none marks
the folders of the runs that use the stack. It is put there before anything is done to the container, and taken away
when that is ready again: whoever watches never sees a death that nothing explains. What came of an outage may show
long after it, so a mark that is taken away leaves a record that lasts as long as the run.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra import lock
from infra.lease_names import private_folder, private_folders

# Those that end a program. Any other one, such as HUP, takes nothing away.
SIGNALS = ("KILL", "TERM", "INT", "QUIT", "ABRT", "SEGV", "BUS", "ILL", "FPE")
_FOLDER = "away"
_RECORD = "away-before"
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


def put(container: str, by: str | None, holders: Iterable[str]) -> Mark:
    """Mark a container in the folders of some runs, and return the mark; one that has ended meanwhile needs none.

    Raises `OSError` where a mark cannot be written, and has put none then.
    """
    mark = Mark(container=container, by=by, token=secrets.token_hex(8))
    with lock.alone(_LOCK):
        try:
            for run in holders:
                with contextlib.suppress(FileNotFoundError):
                    _write(run, mark)
        except OSError:
            withdraw(mark)
            raise
    return mark


def marks(container: str) -> tuple[Mark, ...]:
    """Return the marks of a container, of whichever run of this user."""
    return tuple(mark for run, _ in private_folders() for mark in _read(private_folder(run) / _FOLDER / container))


def marks_of(run: str) -> tuple[Mark, ...]:
    """Return what a run has taken away itself, and not given back."""
    return tuple(mark for mark in _all(private_folder(run) / _FOLDER) if mark.by == run)


def ever(run: str) -> frozenset[str]:
    """Return the containers that a run has taken away in its life, also those that it has given back."""
    before = _all(private_folder(run) / _RECORD)
    return frozenset(mark.container for mark in (*marks_of(run), *before) if mark.by == run)


def take(gone: Iterable[Mark]) -> None:
    """Take marks away that were read before; one that was put anew since stays."""
    with lock.alone(_LOCK):
        for run, mark in _standing(gone):
            _end(run, mark)


def withdraw(mark: Mark) -> None:
    """Take back the mark of what was never done: nothing was away, and no record says so."""
    with lock.alone(_LOCK):
        for run, _ in _standing([mark]):
            (private_folder(run) / _FOLDER / mark.container).unlink(missing_ok=True)


def _write(run: str, mark: Mark) -> None:
    """Put a mark into a run's folder at once or not at all; one that was there before is over."""
    folder = private_folder(run)
    for name in (_FOLDER, _RECORD):  # the record's here, so that none is lost to a disk that is full by then
        (folder / name).mkdir(exist_ok=True)
    part = folder / f".{_FOLDER}-{mark.container}"
    try:
        part.write_text(f"{mark.by or _PERSON} {mark.token}", encoding="ascii")
        for before in _read(folder / _FOLDER / mark.container):
            _end(run, before)
        part.replace(folder / _FOLDER / mark.container)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _end(run: str, mark: Mark) -> None:
    """End a mark in a run's folder; of its own it keeps the record."""
    path = private_folder(run) / _FOLDER / mark.container
    with contextlib.suppress(FileNotFoundError):
        if mark.by == run:
            path.replace(private_folder(run) / _RECORD / mark.container)
        else:
            path.unlink()


def _standing(gone: Iterable[Mark]) -> tuple[tuple[str, Mark], ...]:
    """Return which of some marks stand in the folders of which runs."""
    old = set(gone)
    runs = [run for run, _ in private_folders()]
    paths = [(run, private_folder(run) / _FOLDER / name) for run in runs for name in {mark.container for mark in old}]
    return tuple((run, mark) for run, path in paths for mark in _read(path) if mark in old)


def _all(folder: Path) -> tuple[Mark, ...]:
    with contextlib.suppress(OSError):
        return tuple(mark for path in sorted(folder.iterdir()) for mark in _read(path))
    return ()


def _read(path: Path) -> Iterator[Mark]:
    with contextlib.suppress(OSError, ValueError):
        by, token = path.read_text(encoding="ascii").split()
        yield Mark(container=path.name, by=None if by == _PERSON else by, token=token)
