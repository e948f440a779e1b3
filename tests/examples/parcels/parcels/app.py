"""The HTTP application: parcels in PostgreSQL, events through the outbox to NATS."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import psycopg
from fastapi import FastAPI, HTTPException
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, StringConstraints

from parcels import outbox

Code = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{4,20}$")]
pool = AsyncConnectionPool(os.environ["DATABASE_URL"], open=False, kwargs={"row_factory": dict_row})


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with pool:
        relay = asyncio.create_task(outbox.relay(pool, os.environ["NATS_URL"]))
        yield
        relay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await relay


app = FastAPI(title="parcels", lifespan=lifespan)


class Parcel(BaseModel):
    code: Code
    recipient: str


class Scan(BaseModel):
    place: str
    state: Literal["in_transit", "out_for_delivery", "delivered"]


@app.get("/health")
async def health() -> dict[str, str]:
    """Healthy as long as the database answers: what is to be told can wait in the outbox."""
    async with pool.connection(timeout=2) as connection:
        await connection.execute("SELECT 1 FROM outbox LIMIT 1")
    return {"status": "ok"}


@app.post("/parcels", status_code=201)
async def register(parcel: Parcel) -> Parcel:
    async with pool.connection() as connection:
        try:
            await connection.execute(
                "INSERT INTO parcels (code, recipient) VALUES (%s, %s)", (parcel.code, parcel.recipient)
            )
        except psycopg.errors.UniqueViolation:
            raise HTTPException(409, f"there is a parcel {parcel.code} already") from None
    return parcel


@app.get("/parcels/{code}")
async def find(code: str) -> dict[str, Any]:
    async with pool.connection() as connection:
        found = await _parcel(connection, "SELECT code, recipient, state FROM parcels WHERE code = %s", code)
        scans = await connection.execute("SELECT place, state FROM scans WHERE parcel = %s ORDER BY id", (code,))
        return {**found, "scans": await scans.fetchall()}


@app.post("/parcels/{code}/scans", status_code=201)
async def scan(code: str, given: Scan) -> Scan:
    """Take one scan at a time of each parcel; what was delivered moves no more."""
    async with pool.connection() as connection:
        found = await _parcel(connection, "SELECT state FROM parcels WHERE code = %s FOR UPDATE", code)
        if found["state"] == "delivered":
            raise HTTPException(409, f"{code} is delivered")
        await connection.execute("UPDATE parcels SET state = %s WHERE code = %s", (given.state, code))
        await connection.execute(
            "INSERT INTO scans (parcel, place, state) VALUES (%s, %s, %s)", (code, given.place, given.state)
        )
        await outbox.add(connection, code, {"parcel": code, "state": given.state, "place": given.place})
    outbox.wake()
    return given


async def _parcel(connection: psycopg.AsyncConnection[Any], query: str, code: str) -> dict[str, Any]:
    found = await (await connection.execute(query, (code,))).fetchone()
    if found is None:
        raise HTTPException(404, f"no parcel {code}")
    return dict(found)
