"""Which migrations a database that stays has: a table in the database itself says it, written by their own job.

Around each file's statements goes one that says "begun" and one that says "applied". Migrations are not idempotent and
some cannot run in a transaction, so a file that failed half way is remembered as begun, and tried again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from infra import databases
from infra.databases import Server
from infra.errors import NotReady
from infra.plan import PlannedStep

_TABLE = "infra.migrations"
_PREPARE = f"""
CREATE SCHEMA IF NOT EXISTS infra;
CREATE TABLE IF NOT EXISTS {_TABLE} (
    job text NOT NULL, name text NOT NULL, sha256 text NOT NULL,
    begun timestamptz NOT NULL DEFAULT clock_timestamp(), applied timestamptz, PRIMARY KEY (job, name))
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A migration that was begun, as the table has it."""

    name: str
    sha256: str
    applied: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a server says: a job's rows in the order in which they were begun, and the names of its databases."""

    rows: tuple[Row, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Migrations:
    """A folder's files and a database's record compared. `begun` are those of `pending` that have failed before."""

    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def warning(self) -> str | None:
        """What is said of applied ones that are not what was applied: nothing here can put that right."""
        parts = [
            *([f"edited since they were applied: {', '.join(self.edited)}"] if self.edited else []),
            *([f"applied, and not in the folder: {', '.join(self.gone)}"] if self.gone else []),
        ]
        afresh = "to start afresh, without your data: invoke dev.cleanup && invoke dev.bootstrap"
        return f"stale data: migrations {'; '.join(parts)}; {afresh}" if parts else None


def compared(files: Mapping[str, str], rows: Iterable[Row]) -> Migrations:
    """Compare files (name to SQL, in the order of application) with what a database says of itself. Pure."""
    known = {row.name: row for row in rows}
    done = {name for name, row in known.items() if row.applied}
    return Migrations(
        applied=tuple(name for name in known if name in done),
        pending=tuple(name for name in files if name not in done),
        begun=tuple(name for name in files if name in known and name not in done),
        edited=tuple(name for name, sql in files.items() if name in done and known[name].sha256 != _hash(sql)),
        gone=tuple(name for name in known if name in done and name not in files),
    )


def sql_files(job: PlannedStep, target: str) -> dict[str, str]:
    """Return the migrations of a job, name to SQL, in the order of application."""
    found = {file.path.removeprefix(f"{target}/"): file.content for file in job.files if file.path.startswith(target)}
    return {name: found[name] for name in found.get("order", "").splitlines()}


def recorded(job: PlannedStep, target: str, names: Iterable[str]) -> PlannedStep:
    """Return the job with these migrations alone, each of which writes down that it was begun and applied. Pure."""
    wanted = tuple(names)

    def around(name: str, sql: str) -> str:
        key = f"{_text(job.name)}, {_text(name)}"
        begin = (
            f"INSERT INTO {_TABLE} (job, name, sha256) VALUES ({key}, '{_hash(sql)}') ON CONFLICT (job, name) "
            "DO UPDATE SET sha256 = excluded.sha256, begun = clock_timestamp(), applied = NULL; "
        )
        # On the first line, so that errors name the lines of the file.
        return f"{begin}{sql}\n;\nUPDATE {_TABLE} SET applied = clock_timestamp() WHERE (job, name) = ({key});\n"

    return _with(job, target, wanted, around)


def elsewhere(job: PlannedStep, target: str, database: str, other: str) -> PlannedStep:
    """Return the job pointed at another database, and unable to touch any that it was not pointed at. Pure.

    It is where the environment names the database: alone (`PGDATABASE`, `POSTGRES_DB`), or at the end of a URL.
    """
    in_url = re.compile(rf"(?<=[^/]/){re.escape(database)}(?=$|\?)")

    def pointed(key: str, value: str) -> str:
        if value == database and re.search(r"DB|DATABASE", key):
            return other
        return in_url.sub(other, value) if "://" in value else value

    def guarded(_name: str, sql: str) -> str:
        why = f"the job is to fill {other}; name the database in its env as PGDATABASE or at the end of a URL"
        guard = f"IF current_database() <> {_text(other)} THEN RAISE EXCEPTION {_text(why)}; END IF;"
        return f"DO $infra$ BEGIN {guard} END $infra$; {sql}"

    moved = replace(job, env={key: pointed(key, value) for key, value in job.env.items()})
    return _with(moved, target, tuple(sql_files(job, target)), guarded)


def read(server: Server, job: str, *, prepare: bool) -> Record:
    """Ask a server which migrations of a job its database has, and what databases there are. Raises `NotReady`."""

    def refused(lines: tuple[str, ...]) -> NotReady:
        return NotReady(
            f"which migrations {server.database} has cannot be read: {lines[0]}",
            reference="migrations-unknown",
            remedy="invoke dev.bootstrap  # asks again; where it never can, dev.cleanup removes it with your data",
            evidence=lines,
        )

    with databases.connected(server, server.database, refused) as connection:
        if prepare:
            connection.execute(_PREPARE)
        names = tuple(name for (name,) in connection.execute("SELECT datname FROM pg_database"))
        if connection.execute("SELECT to_regclass(%s)", [_TABLE]).fetchone() == (None,):
            return Record(rows=(), databases=names)
        query = f"SELECT name, sha256, applied IS NOT NULL FROM {_TABLE} WHERE job = %s ORDER BY begun, name"
        rows = connection.execute(query, [job]).fetchall()
    return Record(rows=tuple(Row(name=n, sha256=h, applied=done) for n, h, done in rows), databases=names)


def _with(job: PlannedStep, target: str, names: tuple[str, ...], change: Callable[[str, str], str]) -> PlannedStep:
    """Return the job with these migrations alone, each of them changed."""
    every = sql_files(job, target)
    paths = {f"{target}/{name}" for name in every}
    texts = {f"{target}/{name}": change(name, every[name]) for name in names}
    texts[f"{target}/order"] = "".join(f"{name}\n" for name in names)
    files = (file for file in job.files if file.path not in paths or file.path in texts)
    return replace(job, files=tuple(replace(file, content=texts.get(file.path, file.content)) for file in files))


def _hash(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()


def _text(value: str) -> str:
    """Quote a text for SQL."""
    doubled = value.replace("'", "''")
    return f"'{doubled}'"
