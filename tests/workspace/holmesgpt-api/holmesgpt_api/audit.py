"""The audit trail: events go to DataStorage in batches, in the background. No request waits for it or fails by it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

_LOG = logging.getLogger("uvicorn.error")
_BATCH_PATH = "/api/v1/audit/events/batch"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How events are buffered and batches repeated; seconds."""

    buffer: int = 1000
    batch: int = 100
    flush_every: float = 0.5
    attempts: int = 4
    backoff: float = 0.1
    request_timeout: float = 5.0
    close_timeout: float = 5.0


@dataclass(kw_only=True)
class Counts:
    """What became of the events that `record` was given."""

    written: int = 0
    failed: int = 0
    dropped: int = 0
    retries: int = 0
    batches: int = 0


class Trail:
    """Writes events while it is entered; without a URL it takes them and does nothing."""

    def __init__(self, url: str, policy: Policy, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.counts = Counts()
        self._url = url.rstrip("/")
        self._policy = policy
        self._transport = transport
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(policy.buffer)

    def record(self, kind: str, outcome: str, correlation_id: str, data: dict[str, Any]) -> None:
        """Take an event and return at once; it is dropped, and counted, when the buffer is full."""
        if not self._url:
            return
        event = {
            "event_id": str(uuid.uuid4()),  # what makes a repeated batch harmless
            "version": "1.0",
            "event_type": f"holmesgpt.{kind}",
            "event_timestamp": datetime.now(UTC).isoformat(),
            "event_category": "analysis",
            "event_action": kind.rpartition(".")[2],
            "event_outcome": outcome,
            "correlation_id": correlation_id,
            "event_data": data,
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.counts.dropped += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write in the background; at the end what is left is written, as far as `close_timeout` allows."""
        timeout = self._policy.request_timeout
        # DataStorage is a neighbour: the way to it is never through the environment's proxy.
        async with httpx.AsyncClient(transport=self._transport, timeout=timeout, trust_env=False) as client:
            writer = asyncio.create_task(self._write_all(client))
            try:
                yield
            finally:
                await self._close(writer)

    async def _close(self, writer: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(self._policy.close_timeout):
                await self._queue.put(None)
                await writer
        except TimeoutError:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            while not self._queue.empty():
                self.counts.failed += self._queue.get_nowait() is not None
        if self.counts.failed or self.counts.dropped:
            _LOG.error("audit trail: %s", self.counts)

    async def _write_all(self, client: httpx.AsyncClient) -> None:
        more = True
        while more:
            batch, more = await self._next_batch()
            if batch:
                await self._write(client, batch)

    async def _next_batch(self) -> tuple[list[dict[str, Any]], bool]:
        """Return events, and whether more may come: a batch is full, or the first in it has waited long enough."""
        batch: list[dict[str, Any]] = []
        event = await self._queue.get()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._policy.flush_every):
                while event is not None:
                    batch.append(event)
                    if len(batch) == self._policy.batch:
                        return batch, True
                    event = await self._queue.get()
                return batch, False
        return batch, True

    async def _write(self, client: httpx.AsyncClient, batch: list[dict[str, Any]]) -> None:
        try:
            why = await self._attempts(client, batch)
        except asyncio.CancelledError:
            self.counts.failed += len(batch)
            raise
        if why:
            self.counts.failed += len(batch)
            _LOG.error("audit trail: %d events not written: %s", len(batch), why)
            return
        self.counts.written += len(batch)
        self.counts.batches += 1

    async def _attempts(self, client: httpx.AsyncClient, batch: list[dict[str, Any]]) -> str:
        """Return why the batch was not written, or nothing. What DataStorage refuses it would refuse again."""
        why = ""
        for attempt in range(self._policy.attempts):
            if attempt:
                self.counts.retries += 1
                await asyncio.sleep(self._policy.backoff * 2 ** (attempt - 1))
            try:
                answer = await client.post(self._url + _BATCH_PATH, json=batch)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == 201:
                return ""
            why = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code < 500 and answer.status_code != 429:
                return why
        return why
