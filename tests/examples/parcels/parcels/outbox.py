"""The outbox: events are stored with what they tell about, and published afterwards, in order and once.

The broker may be away: then they wait. An event whose acknowledgement got lost is published again under the same
message id, which JetStream drops.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import nats
import nats.errors
import psycopg
from nats.js import JetStreamContext
from psycopg_pool import AsyncConnectionPool

STREAM = "PARCELS"
_LOG = logging.getLogger("uvicorn.error")
_more = asyncio.Event()


async def add(connection: psycopg.AsyncConnection[Any], code: str, event: dict[str, str]) -> None:
    """Store an event in the transaction that it tells about."""
    subject = f"parcels.{code}.{event['state']}"
    await connection.execute("INSERT INTO outbox (subject, event) VALUES (%s, %s)", (subject, json.dumps(event)))


def wake() -> None:
    """Let the relay look at once."""
    _more.set()


async def relay(pool: AsyncConnectionPool, url: str) -> None:
    """Publish what is in the outbox, for ever."""
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_note)
    stream = client.jetstream(timeout=1.0)
    try:
        while True:
            _more.clear()
            try:
                await stream.add_stream(name=STREAM, subjects=["parcels.>"])
                while await _publish_some(pool, stream):
                    pass
            except (nats.errors.Error, psycopg.OperationalError) as error:
                await _note(error)
                await asyncio.sleep(0.2)
                continue
            await _more.wait()
    finally:
        await client.close()


async def _publish_some(pool: AsyncConnectionPool, stream: JetStreamContext) -> int:
    async with pool.connection() as connection, connection.transaction():
        waiting = await connection.execute("SELECT id, subject, event FROM outbox ORDER BY id LIMIT 100 FOR UPDATE")
        rows = await waiting.fetchall()
        for row in rows:
            message = json.dumps(row["event"]).encode()
            await stream.publish(row["subject"], message, headers={"Nats-Msg-Id": str(row["id"])})
            await connection.execute("DELETE FROM outbox WHERE id = %s", (row["id"],))
    return len(rows)


async def _note(error: Exception) -> None:
    _LOG.warning("events wait in the outbox: %s: %s", type(error).__name__, error)
