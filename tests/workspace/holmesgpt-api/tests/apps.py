"""The application in this process, without a socket."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI

from holmesgpt_api.app import create_app
from holmesgpt_api.audit import Policy
from holmesgpt_api.settings import Settings


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application; when this is left its audit trail is written, as after a SIGTERM."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        yield client


QUICK = Policy(flush_every=0.02, backoff=0.005)
"""Waits for nothing for long; tests change what they are about by `replace`."""


def mock_app(url: str = "", policy: Policy = QUICK) -> FastAPI:
    """Return an application in mock mode without a fault."""
    return create_app(Settings(mock_llm=True, data_storage_url=url), policy=policy)


def check_problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is RFC 7807's, with all members, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert body["type"] == f"https://kubernaut.ai/problems/{kind}"
    assert (body["status"], body["instance"]) == (status, answer.request.url.path)
    return body
