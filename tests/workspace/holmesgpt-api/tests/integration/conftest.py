"""Fixtures of the suite that needs a stack."""

import os
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI

from apps import QUICK, running
from holmesgpt_api.app import create_app
from holmesgpt_api.settings import Settings
from stack import Server, Storage, required


@pytest.fixture(scope="session", autouse=True)
def settings() -> Settings:
    """What the application under test is told. Whatever is missing or makes no sense fails every test."""
    required("HOLMESGPT_API_PORT")
    fault = os.environ.get("HOLMESGPT_API_FAULT", "")
    return Settings(mock_llm=True, data_storage_url=required("DATA_STORAGE_URL"), fault=fault)


@pytest.fixture(scope="session")
def storage(settings: Settings) -> Storage:
    """DataStorage, healthy."""
    found = Storage(settings.data_storage_url)
    health = httpx.get(f"{found.url}/health", timeout=10, trust_env=False)
    assert health.status_code == 200, f"DataStorage at {found.url} is not healthy: {health.text}"
    return found


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application, not running yet."""
    return create_app(settings, policy=QUICK)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application while it runs."""
    async with running(app) as client:
        yield client


@pytest.fixture(scope="session")
def server(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one served application of this process."""
    server = Server(required("HOLMESGPT_API_PORT"), tmp_path_factory.mktemp("served") / "log")
    yield server
    assert server.end() in (0, None)


@pytest.fixture
def served(server: Server) -> Server:
    """The served application, answering."""
    server.ensure()
    return server
