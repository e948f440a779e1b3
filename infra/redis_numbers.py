"""Database numbers of a Redis that several suites share: handed out, held, given back.

A claim is a connection named `infra:<number>:<run>` that stays open: Redis lists it, and it ends with its owner however
that ends. Of two that claim one number at the same time the older connection has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from infra.errors import NotReady
from infra.plan import HOST

if TYPE_CHECKING:
    from redis import Redis

NUMBERS = 16
_CALL_S = 5.0
_PREFIX = "infra:"


@contextlib.contextmanager
def claimed(port: int, run: str, count: int, *, last_first: bool) -> Iterator[tuple[int, ...]]:
    """Have `count` numbers, empty, until the block ends. 0, which services use, is handed out last.

    `last_first` takes them from the other end, far from those of a person at a stack that is up. Raises `NotReady`.
    """
    import redis  # noqa: PLC0415 - 0.1 s

    order = [*range(1, NUMBERS), 0]
    if last_first:
        order = [*range(NUMBERS - 1, 0, -1), 0]
    mine: list[int] = []
    with contextlib.ExitStack() as stack:
        try:
            for number in order:
                if len(mine) < count and (client := _claim(port, number, run)) is not None:
                    stack.callback(client.close)
                    client.flushdb()
                    mine.append(number)
            if len(mine) < count:
                raise _none_left(port, count, len(mine))
        except redis.RedisError as error:
            raise NotReady(
                f"Redis at {HOST}:{port} hands out no database numbers: {error}",
                reference="redis-numbers",
                remedy="invoke infra.status",
            ) from error
        yield tuple(mine)


def _connect(port: int, number: int) -> Redis:
    import redis  # noqa: PLC0415

    return redis.Redis(
        host=HOST,
        port=port,
        db=number,
        socket_timeout=_CALL_S,
        socket_connect_timeout=_CALL_S,
        single_connection_client=True,
        decode_responses=True,
    )


def _claim(port: int, number: int, run: str) -> Redis | None:
    client = _connect(port, number)
    client.client_setname(f"{_PREFIX}{number}:{run}")
    ids = [ident for ident, name in _named(client) if name.startswith(f"{_PREFIX}{number}:")]
    if min(ids) == client.client_id():
        return client
    client.close()
    return None


def _named(client: Redis) -> list[tuple[int, str]]:
    """Return (id, name) of all connections of ours."""
    rows = cast("list[dict[str, str]]", client.client_list())
    return [(int(row["id"]), row["name"]) for row in rows if row["name"].startswith(_PREFIX)]


def _none_left(port: int, count: int, had: int) -> NotReady:
    runs = sorted({name.rpartition(":")[2] for _, name in _named(_connect(port, 0))})
    return NotReady(
        f"{count} of Redis' {NUMBERS} database numbers are wanted, {had} are free; the others: runs {', '.join(runs)}",
        reference="redis-numbers",
        remedy="wait until one of them has ended, or use --fresh --ports auto",
        blame="user",
    )
