"""One request to Podman's API by podman-py: bounded, and with errors of ours. The only module that imports podman."""

from __future__ import annotations

import re
import time
from typing import Any

import requests
from podman.api import APIClient
from podman.errors import APIError, PodmanError

from infra.errors import InfraError, Unavailable

_API = "4.3.0"
_ASK_AGAIN_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_TORN = re.compile(r'image with ID "([0-9a-f]{64})" \(consider removing the image')


class EngineRefused(InfraError):
    """The engine answered with an error; `status` is HTTP's, `message` the engine's own sentence."""

    def __init__(self, message: str, status: int) -> None:
        torn = _TORN.search(message)
        remedy = f"podman rmi --force {torn[1]}" if torn else "podman info"
        super().__init__(message, reference="engine-error", remedy=remedy)
        self.status = status


class Transport:
    """A session with one Podman service. Not thread-safe."""

    def __init__(self, url: str, *, timeout: float = 30.0, identity: str | None = None) -> None:
        self.url = url
        self._timeout = timeout
        self._identity = identity
        extra: dict[str, Any] = {"identity": identity} if identity else {}
        try:
            self._api = APIClient(base_url=url, version=_API, timeout=timeout, **extra)
        except ValueError as error:
            raise _gone(url, str(error)) from error

    def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call for an answer. A question that meets a create or a removal half way is refused (500): ask again."""
        for pause in _ASK_AGAIN_S if method == "GET" else ():
            try:
                return self._call(method, path, **kwargs).json()
            except EngineRefused as error:
                if error.status < requests.codes.server_error:
                    raise
            time.sleep(pause)
        return self._call(method, path, **kwargs).json()

    def _call(self, method: str, path: str, *, gone_ok: bool = False, **kwargs: Any) -> Any:
        if "data" in kwargs and isinstance(kwargs["data"], str):
            kwargs["headers"] = {"Content-Type": "application/json"}
        kwargs.setdefault("timeout", self._timeout)
        try:
            response = getattr(self._api, method.lower())(path, **kwargs)
            response.raise_for_status()
        except APIError as error:
            status = error.status_code or 500
            if gone_ok and status == requests.codes.not_found:
                return None
            raise EngineRefused(str(error.explanation or error), status) from error
        except (requests.RequestException, PodmanError, OSError) as error:
            raise _gone(self.url, str(error)) from error
        return response


def _gone(url: str, why: str) -> Unavailable:
    return Unavailable(
        f"cannot talk to Podman at {url}: {why}",
        reference="engine-unreachable",
        remedy="podman info",
    )
