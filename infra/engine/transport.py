"""One request to Podman's API by podman-py: bounded, and with errors of ours. The only module that imports podman.

A call is bounded as a whole: requests bounds each read, so an engine that trickles would never end, and podman-py's
ssh transport bounds nothing. While a call is silent the engine is asked whether it is there: what hangs altogether is
given up on after seconds, what is only slow has its time.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from infra.errors import InfraError, Outcome, Unavailable


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Have an import of this module fail, as if it were not installed, unless somebody has imported it before."""
    absent = sys.modules.setdefault(module, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]


with _without("rich.progress"):  # podman-py takes it where it is: 54 modules, for a bar that nobody sees
    from podman.api import APIClient
    from podman.errors import PodmanError

ASK_S = 20.0
CHANGE_S = 30.0
# Silent for so long: does it answer anything, within the next?
_SILENT_S = 5.0
_PROBE_S = 12.0
# What an engine is given that did not answer, until it does.
_IMPATIENT_S = 4.0
_INTERRUPTED_S = 2.0
_API = "4.3.0"
_ASK_AGAIN_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_TORN = re.compile(r'image with ID "([0-9a-f]{64})" \(consider removing the image')
_BROKEN = (requests.RequestException, PodmanError, http.client.HTTPException, OSError, RuntimeError, ValueError)
_NONSENSE = (LookupError, TypeError, ValueError, AttributeError)

T = TypeVar("T")


class EngineRefused(InfraError):
    """The engine answered with an error; `status` is HTTP's, `message` the engine's own sentence."""

    outcome = Outcome.NOT_READY

    def __init__(self, message: str, status: int) -> None:
        from infra.causes.facts import Facts  # noqa: PLC0415 - 30 ms, and most is not refused
        from infra.causes.table import find  # noqa: PLC0415

        torn = _TORN.search(message)
        remedy = f"podman rmi --force {torn[1]}" if torn else "podman info"
        found = find(Facts(doing="call", step="", said=message))
        if found is None:
            super().__init__(message, reference="engine-error", remedy=remedy)
        else:
            super().__init__(message, reference=found.reference, remedy=found.remedy, blame=found.blame)
        self.status = status


class NoAnswer(Unavailable):
    """The engine cannot be reached, hangs, breaks off, speaks nonsense, or refuses everything."""


@dataclass
class _Health:
    """What a client and its clones have learned of the engine: whether the last call had no answer, and any had one.

    `info` is what it has said of itself: to answer that it starts a handful of processes, which takes 0.3 s.
    """

    silent: bool = False
    answered: bool = False
    info: dict[str, Any] | None = None


class Transport:
    """A session with one Podman service. Not thread-safe."""

    def __init__(
        self, url: str, *, timeout: float = CHANGE_S, identity: str | None = None, health: _Health | None = None
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._identity = identity
        self._health = health or _Health()
        self._api = self._session()

    @property
    def silent(self) -> bool:
        """Whether the last call had no answer; the next ones are given little time."""
        return self._health.silent

    def _session(self) -> APIClient:
        extra: dict[str, Any] = {"identity": self._identity} if self._identity else {}
        try:
            return APIClient(base_url=self.url, version=_API, timeout=self._timeout, **extra)
        except ValueError as error:
            raise self._gone(str(error)) from error

    def _read(self, method: str, path: str, read: Callable[[Any], T], **kwargs: Any) -> T:
        """Call for an answer. A question that meets a create or a removal half way is refused (500): ask again."""
        deadline = time.monotonic() + ASK_S
        for pause in _ASK_AGAIN_S if method == "GET" else ():
            try:
                return self._understood(method, path, read, self._once(method, path, **kwargs).content)
            except EngineRefused as error:
                if error.status < requests.codes.server_error:
                    raise
            if time.monotonic() > deadline:
                break
            time.sleep(pause)
        return self._understood(method, path, read, self._call(method, path, **kwargs).content)

    def _understood(self, method: str, path: str, read: Callable[[Any], T], content: bytes) -> T:
        """Parse and read JSON; whatever is wrong with it is the engine's nonsense, and no error of ours."""
        try:
            data = json.loads(content)
        except ValueError as error:
            raise self._nonsense(method, path, f"no JSON: {content[:60].decode('utf-8', 'replace')!r}") from error
        try:
            return read(data)
        except _NONSENSE as error:
            raise self._nonsense(method, path, f"{type(error).__name__}: {error}") from error

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call; an engine that refuses even to say that it is there refuses everything."""
        try:
            return self._once(method, path, **kwargs)
        except EngineRefused as error:
            if error.status >= requests.codes.server_error:
                try:
                    self._once("GET", "/_ping")
                except EngineRefused:
                    why = f"Podman at {self.url} refuses everything: {error.message}"
                    raise NoAnswer(why, reference="engine-refuses", remedy="podman info") from error
            raise

    def _once(
        self, method: str, path: str, *, gone_ok: bool = False, expect: tuple[int, ...] = (), **kwargs: Any
    ) -> Any:
        if "data" in kwargs and isinstance(kwargs["data"], str):
            kwargs["headers"] = {"Content-Type": "application/json"}
        kwargs.setdefault("timeout", min(self._timeout, ASK_S if method == "GET" else CHANGE_S))
        if self.silent:
            kwargs["timeout"] = min(kwargs["timeout"], _IMPATIENT_S)
        send = getattr(self._api, method.lower())
        response = self._bounded(method, path, lambda: send(path, **kwargs), kwargs["timeout"])
        status: int = response.status_code
        if status < requests.codes.bad_request:
            if expect and status not in expect:
                raise self._nonsense(method, path, f"HTTP status {status}")
            return response
        words = _words(response)
        if words is None:
            raise self._nonsense(method, path, f"HTTP status {status} without a word of Podman's")
        if gone_ok and status == requests.codes.not_found:
            return None
        raise EngineRefused(words, status)

    def _stream(self, method: str, path: str, **kwargs: Any) -> Iterator[bytes]:
        """Yield what comes as it comes; `timeout` is the longest silence."""
        response = self._call(method, path, stream=True, **kwargs)
        try:
            yield from response.iter_content(None)
        except _BROKEN as error:
            raise self._gone(f"{method} {path}: {_why(error)}") from error
        finally:
            response.close()  # who has enough does not read on

    def _bounded(self, method: str, path: str, work: Callable[[], T], bound_s: float) -> T:
        """Do work that talks to the engine, in a thread that is abandoned when the bound is reached."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                done.set_exception(error)

        start = time.monotonic()
        threading.Thread(target=run, daemon=True).start()
        try:
            self._await(done, start + bound_s)
        except BaseException:
            # An interrupt. What a call makes must be there when the sweep looks.
            wait([done], 0.0 if method == "GET" else _INTERRUPTED_S)
            self._api = self._session()
            raise
        if not done.done():
            self._api = self._session()
            raise self._hangs(method, path, time.monotonic() - start)
        try:
            result = done.result()
        except InfraError:
            raise
        except _BROKEN as error:
            if _timed_out(error):
                raise self._hangs(method, path, time.monotonic() - start) from error
            raise self._gone(f"{method} {path}: {_why(error)}") from error
        self._health.silent, self._health.answered = False, True
        return result

    def _await(self, done: Future[T], deadline: float) -> None:
        """Wait until it is done, its time is over, or the engine answers nothing at all."""
        while not done.done() and (left := deadline - time.monotonic()) > 0:
            wait([done], min(left, _SILENT_S))
            if not done.done() and deadline - time.monotonic() > 0 and not self._answers():
                return

    def _answers(self) -> bool:
        """Whether the engine says anything within some seconds."""
        api, done = self._session(), Future[None]()

        def ask() -> None:
            try:
                api.get("/_ping", timeout=_PROBE_S)
            except BaseException:  # noqa: BLE001 - whatever it is, it is no answer
                return
            done.set_result(None)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_PROBE_S)
        return done.done()

    def _hangs(self, method: str, path: str, seconds: float) -> NoAnswer:
        self._health.silent = True
        message = f"Podman at {self.url} does not answer: nothing to {method} {path} for {seconds:.0f} s"
        return NoAnswer(
            message, reference="engine-hangs", remedy="podman info  # is it stopped, or the host overloaded?"
        )

    def _gone(self, why: str) -> NoAnswer:
        self._health.silent = True
        message = f"cannot talk to Podman at {self.url}: {why}"
        if self._health.answered:
            message = f"Podman at {self.url} answered before and does not any more: {why}"
        return NoAnswer(
            message,
            reference="engine-gone",
            remedy=f"podman --url {self.url} info  # who has ended its service? Once it answers, run it again",
        )

    def _nonsense(self, method: str, path: str, what: str) -> NoAnswer:
        return NoAnswer(
            f"Podman at {self.url} answered {method} {path} with what cannot be understood: {what}",
            reference="engine-nonsense",
            remedy="podman info  # is it Podman that answers there?",
        )


def _words(response: requests.Response) -> str | None:
    """Return the engine's own sentence, or None where an error is not in its form."""
    try:
        body = response.json()
    except _BROKEN:
        return None
    said = (body.get("message") or body.get("cause")) if isinstance(body, dict) else None
    return said if isinstance(said, str) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _timed_out(error: BaseException) -> bool:
    return any(isinstance(one, requests.Timeout | TimeoutError) for one in _chain(error))


def _why(error: BaseException) -> str:
    """The first cause's own words: what is around it says that something failed."""
    *_, first = _chain(error)
    return str(first) or type(first).__name__
