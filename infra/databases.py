"""Databases of workers: clones of a migrated one, made from a template that is built once.

A name says what it is, whose, and since when, and that is all the state there is:
`infra_<kind>_<host, boot, pid namespace>_<pid>_<its start>_<created>_<what>`. Kinds: `t` a template (what: the
migrations' hash), `w` a worker's (run and number), `k` one of a failed worker that a person wants to look at. What
carries no such name is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, LiteralString
from urllib.parse import quote

from infra.engine.types import HOST
from infra.errors import NotReady
from infra.labels import Life, Owner
from infra.masking import MASK

if TYPE_CHECKING:
    import psycopg

_CALL_S = 60.0
_OLD_S = 7 * 24 * 3600.0
_FILE_COPY_SINCE = 150_000
_LONGEST = 63
_MAINTENANCE = "postgres"
# Beyond those of templates, which are 32 bits.
_SWEEPING = 1 << 40
_NAME = re.compile(
    r"infra_(?P<kind>[twk])_(?P<host>[0-9a-f]{6})(?P<boot>[0-9a-f]{3})(?P<namespace>[0-9a-f]{6})"
    r"_(?P<pid>[1-9a-z][0-9a-z]{0,6})_(?P<started>\d+(p\d+)?)_(?P<created>[0-9a-f]+)_(?P<what>[0-9a-f]{8}(_\d+)?)",
    re.ASCII,
)

Kind = Literal["t", "w", "k"]


@dataclass(frozen=True, kw_only=True)
class Server:
    """A PostgreSQL of a stack, and the database of it that is migrated."""

    port: int
    user: str
    password: str = field(repr=False)
    database: str

    def dsn(self, database: str) -> str:
        """Return where a database is, as a person may read it: the password is masked."""
        return f"postgresql://{quote(self.user)}:{MASK}@{HOST}:{self.port}/{quote(database)}"


@dataclass(frozen=True, kw_only=True)
class Name:
    """A database's name, taken apart. `created` is in seconds since the epoch."""

    kind: Kind
    owner: Owner
    created: int
    what: str

    def __str__(self) -> str:
        owner = self.owner
        place = f"{_short(owner.host, 6)}{_short(owner.boot, 3)}{_short(owner.namespace, 6)}"
        started = owner.started.replace(".", "p")
        text = f"infra_{self.kind}_{place}_{_base36(owner.pid)}_{started}_{self.created:x}_{self.what}"
        assert len(text) <= _LONGEST, text
        return text

    @property
    def run(self) -> str:
        """The run of a worker's database."""
        return self.what.partition("_")[0]

    @property
    def is_old(self) -> bool:
        """Whether it is older than a week."""
        return time.time() - self.created > _OLD_S


def parse(text: str) -> Name | None:
    """Take a name apart; None for what we have not named. Another host, boot or pid namespace stays a hash."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    here = Owner.of(os.getpid())
    owner = Owner(
        host=here.host if _short(here.host, 6) == match["host"] else match["host"],
        boot=here.boot if _short(here.boot, 3) == match["boot"] else match["boot"],
        namespace=here.namespace if _short(here.namespace, 6) == match["namespace"] else match["namespace"],
        pid=int(match["pid"], 36),
        started=match["started"].replace("p", "."),
    )
    kind: Kind = "t" if match["kind"] == "t" else "w" if match["kind"] == "w" else "k"
    return Name(kind=kind, owner=owner, created=int(match["created"], 16), what=match["what"])


def find_template(server: Server, content: str) -> str | None:
    """Return the template of a content, where there is one."""
    with _connected(server) as connection:
        return _template(connection, content)


def template(server: Server, content: str, owner: Owner) -> str:
    """Have the template of a content (8 hex digits): find it, or build it, once however many processes ask.

    Nobody may be connected to the migrated database meanwhile. Raises `NotReady`, with who is.
    """
    with _connected(server) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [int(content, 16)])
        if (known := _template(connection, content)) is not None:
            return known
        name = Name(kind="t", owner=owner, created=int(time.time()), what=content)
        _copy(connection, server.database, str(name), "IS_TEMPLATE true ALLOW_CONNECTIONS false")
        return str(name)


def empty(server: Server, run: str, owner: Owner) -> str:
    """Make an empty database of a run, to be migrated and sealed; of one that dies before that it is swept."""
    name = str(Name(kind="w", owner=owner, created=int(time.time()), what=f"{run}_0"))
    with _connected(server) as connection:
        _do(connection, "CREATE DATABASE {}", name)
    return name


def seal(server: Server, database: str, content: str, owner: Owner) -> str:
    """Make a database of a run the template of a content, where there is none yet; return the template's name."""
    with _connected(server) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [int(content, 16)])
        if (known := _template(connection, content)) is not None:
            _drop(connection, database)
            return known
        name = str(Name(kind="t", owner=owner, created=int(time.time()), what=content))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        _do(connection, "ALTER DATABASE {} RENAME TO {}", database, name)
        _do(connection, "ALTER DATABASE {} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false", name)
        return name


def clones(server: Server, source: str, run: str, count: int, owner: Owner) -> dict[int, str]:
    """Clone a template for each worker of a run; return the new databases' names by the workers' numbers, from 1."""
    made = {}
    with _connected(server) as connection:
        for number in range(1, count + 1):
            made[number] = str(Name(kind="w", owner=owner, created=int(time.time()), what=f"{run}_{number}"))
            _copy(connection, source, made[number], "")
    return made


def of_run(server: Server, run: str) -> dict[int, str]:
    """Return the databases of a run's workers, by number."""
    with _connected(server) as connection:
        found = [name for name in _names(connection) if name.kind == "w" and name.run == run]
    return {int(name.what.partition("_")[2]): str(name) for name in found}


def drop(server: Server, database: str) -> None:
    """Drop a database of ours, and whoever is connected to it."""
    with _connected(server) as connection:
        _drop(connection, database)


def keep(server: Server, database: str) -> str:
    """Keep a worker's database for a person to look at, for a week; return its new name."""
    name = parse(database)
    assert name is not None
    kept = str(replace(name, kind="k"))
    with _connected(server) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        _do(connection, "ALTER DATABASE {} RENAME TO {}", database, kept)
    return kept


def sweep(server: Server, stack: str, content: str) -> tuple[str, ...]:
    """Drop what dead owners have left in a server that outlives runs, and what is old; return the names.

    `stack` is the run that has the server: its own databases are a person's. `content` is the template that is wanted.
    """
    with _connected(server) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_SWEEPING])
        gone = [name for name in _names(connection) if _is_left(name, stack, content)]
        for name in gone:
            _drop(connection, str(name))
    return tuple(map(str, gone))


def _is_left(name: Name, stack: str, content: str) -> bool:
    if name.kind == "k":
        return name.is_old
    if name.owner.life() is not Life.DEAD:
        return False
    return name.run != stack if name.kind == "w" else name.what != content and name.is_old


def _names(connection: psycopg.Connection[Any]) -> list[Name]:
    rows = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, 'infra_') ORDER BY 1")
    return [name for (text,) in rows if (name := parse(text)) is not None]


def _template(connection: psycopg.Connection[Any], content: str) -> str | None:
    return next((str(name) for name in _names(connection) if name.kind == "t" and name.what == content), None)


def _copy(connection: psycopg.Connection[Any], source: str, target: str, options: LiteralString) -> None:
    import psycopg  # noqa: PLC0415

    strategy: LiteralString = "STRATEGY file_copy" if connection.info.server_version >= _FILE_COPY_SINCE else ""
    try:
        _do(connection, "CREATE DATABASE {} TEMPLATE {} " + strategy + " " + options, target, source)
    except psycopg.errors.ObjectInUse as error:
        query = "SELECT coalesce(nullif(application_name, ''), 'pid ' || pid) FROM pg_stat_activity WHERE datname = %s"
        users = sorted({name for (name,) in connection.execute(query, [source])})
        raise NotReady(
            f"{source} cannot be cloned while somebody is connected to it: {', '.join(users) or 'somebody'}",
            reference="database-in-use",
            remedy="invoke infra.status  # down, then up; in a stack, jobs come before services that use it",
            blame="user",
        ) from error


def _drop(connection: psycopg.Connection[Any], database: str) -> None:
    name = parse(database)
    assert name is not None, f"not ours: {database}"
    if name.kind == "t":
        _do(connection, "ALTER DATABASE {} IS_TEMPLATE false", database)
    _do(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", database)


def _do(connection: psycopg.Connection[Any], statement: LiteralString, *names: str) -> None:
    from psycopg import sql  # noqa: PLC0415

    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def load_driver() -> None:
    """Import what a database is asked with: 0.1 s, for which there is time while an engine or a server starts."""
    import psycopg  # noqa: F401, PLC0415


@contextlib.contextmanager
def connected(
    server: Server, database: str, refused: Callable[[tuple[str, ...]], NotReady]
) -> Iterator[psycopg.Connection[Any]]:
    """Connect, bounded; what PostgreSQL refuses raises what `refused` makes of its lines, of which there is one."""
    import psycopg  # noqa: PLC0415 - as above

    try:
        with psycopg.connect(
            host=HOST,
            port=server.port,
            dbname=database,
            user=server.user,
            password=server.password,
            connect_timeout=5,
            options=f"-c statement_timeout={int(_CALL_S * 1000)}",
            application_name="infra",
            sslmode="disable",
            autocommit=True,
        ) as connection:
            yield connection
    except psycopg.Error as error:
        lines = tuple(line for line in str(error).splitlines() if line.strip())
        raise refused(lines or (type(error).__name__,)) from error


def _connected(server: Server) -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
    """Connect to the maintenance database; what PostgreSQL refuses is `NotReady`."""
    return connected(server, _MAINTENANCE, _refused)


def _refused(lines: tuple[str, ...]) -> NotReady:
    return NotReady(
        f"the workers' databases could not be made: {lines[0]}",
        reference="databases-failed",
        remedy="ls {folder}/logs  # the database server's says more",
        evidence=lines,
    )


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _short(text: str, digits: int) -> str:
    """Return a hash of so many hex digits; what is one already, of a name that was taken apart, stays as it is."""
    if re.fullmatch(rf"[0-9a-f]{{{digits}}}", text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
