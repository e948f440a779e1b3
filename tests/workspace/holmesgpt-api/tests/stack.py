"""The stack, known by its environment alone, and a served application of the suite's own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

EVENTS = "/api/v1/audit/events"
_JSON = {"content-type": "application/json"}


def required(name: str) -> str:
    """Return a value of the environment. A suite that skipped for want of it would be green and have tested nothing."""
    value = os.environ.get(name, "")
    if not value:
        make = "pytest --infra-service holmesgpt-api, or: nox -s integration-holmesgpt-api"
        pytest.fail(f"{name} is not set, so there is no stack. Make one: {make}", pytrace=False)
    return value


@contextlib.contextmanager
def frozen(component: str) -> Iterator[None]:
    """Have a component of the stack keep its connections and answer nothing, while the block goes on."""
    try:
        infra("infra.pause", "--component", component)
        yield
    finally:
        infra("infra.start", "--component", component)


def infra(*words: str) -> None:
    """Call the runner that has the stack."""
    argv = [required("INFRA_INVOKE"), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Storage:
    """DataStorage as its readers see it."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def find(self, **filters: str) -> list[dict[str, Any]]:
        """Return the events that have all of these values, the newest first."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.get(self.url + EVENTS, params={"limit": "1000", **filters})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def trail(self, request: dict[str, Any], **filters: str) -> list[dict[str, Any]]:
        """Return the events of a request's correlation id."""
        return await self.find(correlation_id=request["correlation_id"], **filters)


class Server:
    """The service as a process; only one can listen on the port."""

    def __init__(self, port: str, log: Path) -> None:
        self._environ = os.environ | {"HOST": "127.0.0.1", "PORT": port, "MOCK_LLM": "true"}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{port}"

    def ensure(self) -> None:
        """Start the process unless it is there, and wait until it answers."""
        if self._process is None:
            assert not self._answers(), f"somebody else answers at {self.url}"
            argv = [sys.executable, "-m", "holmesgpt_api"]
            with self._log.open("wb") as log:
                folder = Path(__file__).parents[1]
                self._process = subprocess.Popen(argv, cwd=folder, env=self._environ, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, f"ended with {self._process.returncode}: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"no answer from {self.url}: {self._log.read_text()}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10, trust_env=False)

    def post(self, path: str, json: object = None, content: bytes | None = None) -> httpx.Response:
        return httpx.post(self.url + path, json=json, content=content, headers=_JSON, timeout=10, trust_env=False)

    def end(self) -> int | None:
        """Send SIGTERM and return the exit code; one that does not end is killed."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
