"""A folder of numbered .sql files, as teams keep them, made ready to be applied in order. Pure.

Rules (catalog-facts.md): versions sort as numbers (999 before 1000), a version that two files have is an error that
names both, and of a file with goose markers only the Up part is applied.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from infra.errors import Invalid, edit, edit_key
from infra.placeholders import plain

_NAME = re.compile(r"^(\d+)[_-].*\.sql$|^(\d+)\.sql$")
_MARKER = re.compile(r"^--\s*\+goose\s+(Up|Down)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One file: its version, its name, and the SQL that goes up."""

    version: int
    name: str
    sql: str


def up_part(sql: str) -> str:
    """Return what `goose up` would run; a file without markers is taken whole. Line numbers are kept."""
    lines = sql.splitlines(keepends=True)
    if not any(_MARKER.match(line) for line in lines):
        return sql
    up = False
    kept = []
    for line in lines:
        marker = _MARKER.match(line)
        if marker is not None:
            up = marker[1].lower() == "up"
        kept.append(line if up else "\n")
    return "".join(kept)


def _goes_down_only(sql: str) -> bool:
    kinds = {marker[1].lower() for line in sql.splitlines() if (marker := _MARKER.match(line))}
    return kinds == {"down"}


def read(folder: Path, key: str) -> tuple[Migration, ...]:
    """Read a migration folder in the order of application. Raises `Invalid`; `key` says which word named it."""
    if not folder.is_dir():
        raise Invalid(
            f"{key}: no migration folder at {folder}",
            reference="migrations-missing",
            remedy=edit_key(key, "the folder of the migrations; or point INFRA_WORKSPACE at the right workspace"),
        )
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None or not path.name.isprintable():
            raise Invalid(
                f"{plain(str(path))}: a migration's name begins with its number, like 0001_name.sql",
                reference="migration-name",
                remedy=f"ls {shlex.quote(str(folder))}  # rename or remove {plain(path.name)}",
            )
        version = int(match[1] or match[2])
        text = _text(path)
        if _goes_down_only(text):
            raise Invalid(
                f"{path}: it has a goose Down marker and no Up marker, so nothing of it would be applied",
                reference="migration-markers",
                remedy=edit(path, "-- +goose Up above what is to be applied"),
            )
        if version in found:
            raise _twice(found[version], path, version)
        found[version] = Migration(version=version, name=path.name, sql=up_part(text))
    if not found:
        raise Invalid(
            f"{key}: no .sql files in {folder}",
            reference="migrations-missing",
            remedy=edit_key(key, "the folder of the migrations; or point INFRA_WORKSPACE at the right workspace"),
        )
    return tuple(found[version] for version in sorted(found))


def _twice(first: Migration, second: Path, version: int) -> Invalid:
    """Return the error for two files with one number. Which of them a database has already, nobody knows here.

    So the remedy renames none: one that is applied would be gone, and be applied again.
    """
    taken = [int(match[1] or match[2]) for path in second.parent.glob("*.sql") if (match := _NAME.match(path.name))]
    width = len(second.name) - len(second.name.lstrip("0123456789"))
    both = " ".join(shlex.quote(str(second.with_name(name))) for name in (first.name, second.name))
    return Invalid(
        f"{second.parent}: two migrations have number {version}: {first.name} and {second.name}",
        reference="duplicate-migration",
        remedy=f"ls -l {both}  # {max(taken) + 1:0{width}d} is free: for the later one, which no database has yet",
    )


def _text(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for
        raise Invalid(
            f"{path}: cannot be read: it is no file",
            reference="migration-unreadable",
            remedy=f"ls -l {shlex.quote(str(path))}  # repair or remove it",
        )
    try:
        # utf-8-sig: an editor's byte order mark would hide a first line that is a marker.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        message = f"{path}: cannot be read: {why}"
        raise Invalid(
            message, reference="migration-unreadable", remedy=f"ls -l {shlex.quote(str(path))}  # repair or remove it"
        ) from error
