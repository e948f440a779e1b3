"""What the tests are given: the API, a parcel of their own, and what the broker has stored of it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator

import httpx
import nats
import pytest
from nats.js.errors import NotFoundError


@pytest.fixture(scope="session")
def api() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=os.environ["PARCELS_URL"], timeout=10) as client:
        yield client


@pytest.fixture
def parcel(api: httpx.Client) -> str:
    code = secrets.token_hex(5).upper()
    assert api.post("/parcels", json={"code": code, "recipient": "Ada"}).status_code == 201
    return code


@pytest.fixture
def scan(api: httpx.Client, parcel: str) -> Callable[..., int]:
    def post(state: str, place: str = "Leeds") -> int:
        return api.post(f"/parcels/{parcel}/scans", json={"place": place, "state": state}).status_code

    return post


@pytest.fixture
def announced(parcel: str) -> Callable[[int], list[str]]:
    """Wait until the broker has stored at least so many events of the parcel; return the states, in its order."""

    def states(count: int) -> list[str]:
        deadline = time.monotonic() + 15
        while len(found := asyncio.run(_stored(parcel))) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    return states


async def _stored(code: str) -> list[str]:
    client = await nats.connect(os.environ["NATS_URL"])
    try:
        found, after = [], 1
        while True:
            try:
                message = await client.jetstream().get_msg("PARCELS", seq=after, subject=f"parcels.{code}.*", next=True)
            except NotFoundError:
                return found
            found.append(json.loads(message.data or b"")["state"])
            after = (message.seq or 0) + 1
    finally:
        await client.close()


@pytest.fixture
def broker() -> Iterator[Callable[[str], None]]:
    """Take the broker away (`kill`) and bring it back (`start`); it is there again when the test is over."""

    last = "start"

    def infra(word: str) -> None:
        nonlocal last
        last = word
        argv = [os.environ["INFRA_INVOKE"], f"infra.{word}", "--component", "nats"]
        subprocess.run(argv, check=True)

    yield infra
    if last != "start":
        infra("start")
