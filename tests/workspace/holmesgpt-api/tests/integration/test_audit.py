"""The audit trail when DataStorage is slow, in trouble, or not there: requests must not notice."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from apps import QUICK, mock_app, running
from examples import INCIDENT, incident
from holmesgpt_api.app import create_app
from holmesgpt_api.audit import Counts, Policy
from holmesgpt_api.settings import Settings
from stack import Storage, frozen

pytestmark = pytest.mark.anyio


class Flaky(httpx.AsyncBaseTransport):
    """Answers the first requests itself and lets the others through to DataStorage."""

    def __init__(self, times: int, status: int, *, deliver: bool = False) -> None:
        self._left = times
        self._status = status
        self._deliver = deliver
        self._through = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._left == 0:
            return await self._through.handle_async_request(request)
        self._left -= 1
        if self._deliver:
            await (await self._through.handle_async_request(request)).aclose()
        return httpx.Response(self._status)

    async def aclose(self) -> None:
        await self._through.aclose()


def made(settings: Settings, policy: Policy, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    return create_app(settings, policy=policy, audit_transport=transport)


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Give the URL of a DataStorage that takes connections and never answers."""
    over = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        over.set()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_events_are_written_in_batches(settings: Settings, storage: Storage) -> None:
    request = incident()
    app = made(settings, replace(QUICK, batch=10, flush_every=60))
    async with running(app) as client:
        for _ in range(12):
            await client.post(INCIDENT, json=request)
    assert app.state.trail.counts == Counts(written=24, batches=3)
    assert len(await storage.trail(request)) == 24


async def test_a_batch_that_does_not_fill_up_is_written_in_time(app: FastAPI, storage: Storage) -> None:
    request = incident()
    async with running(app) as client:
        await client.post(INCIDENT, json=request)
        async with asyncio.timeout(10):
            while len(await storage.trail(request)) < 2:
                await asyncio.sleep(0.02)


async def test_a_batch_is_repeated_while_datastorage_answers_503(settings: Settings, storage: Storage) -> None:
    request = incident()
    app = made(settings, QUICK, Flaky(2, 503))
    async with running(app) as client:
        await client.post(INCIDENT, json=request)
    assert app.state.trail.counts.retries >= 2
    assert len(await storage.trail(request)) == 2


async def test_events_are_stored_once_although_an_answer_was_lost(settings: Settings, storage: Storage) -> None:
    request = incident()
    app = made(settings, QUICK, Flaky(1, 504, deliver=True))
    async with running(app) as client:
        await client.post(INCIDENT, json=request)
    assert app.state.trail.counts.retries >= 1
    assert len(await storage.trail(request)) == 2


async def test_an_answer_does_not_wait_for_a_datastorage_that_hangs(app: FastAPI, storage: Storage) -> None:
    request = incident()
    async with running(app) as client:
        with frozen("datastorage"):
            async with asyncio.timeout(2):
                assert (await client.post(INCIDENT, json=request)).status_code == 200
    assert app.state.trail.counts.failed == 0
    assert len(await storage.trail(request)) == 2


async def test_a_batch_is_given_up_after_its_last_attempt(settings: Settings) -> None:
    app = made(settings, replace(QUICK, attempts=3, flush_every=60), Flaky(1000, 500))
    async with running(app) as client:
        assert (await client.post(INCIDENT, json=incident())).status_code == 200
    assert app.state.trail.counts == Counts(failed=2, retries=2)


async def test_what_datastorage_refuses_is_not_repeated(settings: Settings) -> None:
    app = made(settings, replace(QUICK, flush_every=60), Flaky(1000, 422))
    async with running(app) as client:
        assert (await client.post(INCIDENT, json=incident())).status_code == 200
    assert app.state.trail.counts == Counts(failed=2)


async def test_a_datastorage_that_never_answers_holds_no_request_up(settings: Settings) -> None:
    async with silent() as url:
        app = mock_app(url, replace(QUICK, close_timeout=0.1))
        async with asyncio.timeout(10), running(app) as client:
            answers = [await client.post(INCIDENT, json=incident()) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert app.state.trail.counts == Counts(failed=40)


async def test_a_datastorage_that_is_not_there_fails_no_request(nowhere: str) -> None:
    app = mock_app(nowhere)
    async with running(app) as client:
        assert (await client.post(INCIDENT, json=incident())).status_code == 200
    assert app.state.trail.counts.failed == 2


async def test_a_full_buffer_drops_events_and_counts_them(settings: Settings) -> None:
    async with silent() as url:
        policy = replace(QUICK, buffer=4, close_timeout=0.1)
        app = mock_app(url, policy)
        async with running(app) as client:
            answers = [await client.post(INCIDENT, json=incident()) for _ in range(20)]
    counts = app.state.trail.counts
    assert {answer.status_code for answer in answers} == {200}
    assert counts.dropped > 0
    assert counts.dropped + counts.failed == 40


async def test_without_a_url_nothing_is_recorded(storage: Storage) -> None:
    request = incident()
    app = mock_app("")
    async with running(app) as client:
        assert (await client.post(INCIDENT, json=request)).status_code == 200
    assert app.state.trail.counts == Counts()
    assert await storage.trail(request) == []


async def test_forty_callers_at_once_lose_nothing(app: FastAPI, storage: Storage) -> None:
    request = incident()
    async with running(app) as client:
        answers = await asyncio.gather(*(client.post(INCIDENT, json=request) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await storage.trail(request)) == 80
