"""Database numbers of a Redis that several suites share: handed out, held, given back.

A claim is a connection named `infra:<number>:<run>` that stays open: Redis lists it, and it ends with its owner however
that ends. It is named and looked at in one transaction, so of two that want one number at the same time one has it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from infra.engine.types import HOST
from infra.errors import NotReady
from infra.workers import REDIS_NUMBERS

if TYPE_CHECKING:
    from redis import Redis

_CALL_S = 5.0
_PREFIX = "infra:"
_TURNS = 4
_PAUSE_S = 0.05


@contextlib.contextmanager
def claimed(
    port: int, run: str, count: int, *, spare: int, otherwise: str, lent: bool = False
) -> Iterator[tuple[int, ...]]:
    """Have `count` numbers, empty, until the block ends. 0, which services use, is handed out last.

    The numbers from 1 to `spare` are those of a person at the stack and never handed out, nor is 0 where the Redis is
    `lent`; they are given back empty then. Raises `NotReady`; `otherwise` is the command that needs none of them.
    """
    import redis  # noqa: PLC0415 - 0.1 s

    order = [*range(spare + 1, REDIS_NUMBERS), *(() if lent else (0,))]
    mine: list[int] = []
    with contextlib.ExitStack() as stack:
        try:
            for turn in range(_TURNS):
                if turn:
                    time.sleep(_PAUSE_S)  # who was in the way for a moment is gone the next time
                for number in order:
                    if len(mine) < count and number not in mine and (client := _claim(port, number, run)) is not None:
                        stack.callback(_give_back, client, empty=lent)
                        client.flushdb()
                        mine.append(number)
                if len(mine) == count:
                    break
            if len(mine) < count:
                raise _none_left(port, count, len(mine), otherwise)
        except redis.RedisError as error:
            raise NotReady(
                f"Redis at {HOST}:{port} hands out no database numbers: {error}",
                reference="redis-numbers-failed",
                remedy="invoke infra.status",
            ) from error
        yield tuple(mine)


def _give_back(client: Redis, *, empty: bool) -> None:
    import redis  # noqa: PLC0415

    with contextlib.closing(client), contextlib.suppress(redis.RedisError):
        if empty:
            client.flushdb()


def _connect(port: int, number: int) -> Redis:
    """Connect to a number, with one connection that stays: its name is the claim."""
    import redis  # noqa: PLC0415

    pool = redis.ConnectionPool(
        max_connections=1,
        host=HOST,
        port=port,
        db=number,
        socket_timeout=_CALL_S,
        socket_connect_timeout=_CALL_S,
        decode_responses=True,
    )
    return redis.Redis.from_pool(pool)


def _claim(port: int, number: int, run: str) -> Redis | None:
    """Claim a number; None where somebody else has it, or this Redis has fewer."""
    import redis  # noqa: PLC0415

    client = _connect(port, number)
    try:
        with client.pipeline(transaction=True) as both:
            both.client_setname(f"{_PREFIX}{number}:{run}")
            both.client_list()
            _, rows = both.execute()
    except redis.ResponseError as error:
        client.close()
        if "out of range" in str(error):
            return None
        raise
    if len([name for name in _ours(rows) if name.startswith(f"{_PREFIX}{number}:")]) == 1:
        return client
    client.close()
    return None


def _ours(rows: object) -> list[str]:
    """Return the names of all connections of ours."""
    return [row["name"] for row in cast("list[dict[str, str]]", rows) if row["name"].startswith(_PREFIX)]


def _none_left(port: int, count: int, had: int, otherwise: str) -> NotReady:
    with contextlib.closing(_connect(port, 0)) as client:
        held = ", ".join(sorted({name.rpartition(":")[2] for name in _ours(client.client_list())}))
    return NotReady(
        f"{count} of Redis' {REDIS_NUMBERS} database numbers are wanted, {had} are free; the others: runs {held}",
        reference="redis-numbers",
        remedy=f"invoke infra.status  # wait until one of them has ended; or {otherwise}",
        blame="user",
    )
