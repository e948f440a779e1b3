"""Whether registries answer: asked once a run for each registry, within 3 s, through Podman's own resolution.

`podman manifest inspect` goes the way that a pull would go (registries.conf, mirrors, proxies, certificates), and
moves nothing. A registry that says no has answered; one that cannot be reached has not.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping

from infra import tools
from infra.causes.facts import Facts
from infra.causes.table import judged
from infra.engine.names import short_name
from infra.errors import NoImage
from infra.lease import Lease
from infra.values import IMAGE

_ASK_S = 3.0
_TIMEOUT = "i/o timeout"
_THOUGHT = "time="
# What a registry says of an image that it does not have, or not for us.
_NOT_HERE = ("manifest unknown", "name unknown", "unauthorized", "denied", "not found")
_UNREACHABLE = (
    "no such host",
    "connection refused",
    _TIMEOUT,
    "network is unreachable",
    "no route to host",
    "connection reset",
    "x509:",
    "tls:",
    "context deadline exceeded",
    "server misbehaving",
    "Temporary failure in name resolution",
    ": EOF",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "403 Forbidden",
)


class Registries:
    """The answers of one run. Safe to ask from several threads."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._lock = threading.Lock()
        self._answers: dict[str, str | None] = {}
        self._offers: dict[str, bool] = {}

    def unreachable(self, ref: str) -> str | None:
        """Return why the registry of an image cannot be reached, or None when it answers."""
        registry = ref.split("/", maxsplit=1)[0]
        with self._lock:
            if registry not in self._answers:
                self._answers[registry] = self._ask(ref)
            return self._answers[registry]

    def has(self, ref: str) -> bool:
        """Whether an image can be had from its registry, as far as that can be said without moving it."""
        with self._lock:
            if ref not in self._offers:
                code, said = self._inspect(ref)
                self._offers[ref] = code == 0 or not any(sign in said for sign in (*_UNREACHABLE, *_NOT_HERE))
            return self._offers[ref]

    def _ask(self, ref: str) -> str | None:
        return classify(*self._inspect(ref))

    def _inspect(self, ref: str) -> tuple[int, str]:
        argv = [*self._lease.connection.podman, "--log-level", "debug", "manifest", "inspect", ref]
        try:
            done = subprocess.run(
                argv,
                env=self._lease.podman_environment(),
                capture_output=True,
                text=True,
                timeout=_ASK_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise tools.not_installed(argv[0]) from error
        except subprocess.TimeoutExpired as error:
            # Podman 4.3.1 tries again for a minute where it is refused so, and says it to who asks for its thoughts.
            refused = b"Too many requests to " in (error.stderr or b"")
            why = f"429 Too Many Requests, {_TIMEOUT}" if refused else _TIMEOUT
            return 1, f"no answer within {_ASK_S:g} s ({why})"
        return done.returncode, "\n".join(line for line in done.stderr.splitlines() if not line.startswith(_THOUGHT))


def classify(exit_code: int, said: str) -> str | None:
    """Tell a registry that cannot be reached from one that answered, by Podman's words. Pure."""
    if exit_code != 0 and any(sign in said for sign in _UNREACHABLE):
        return said.strip().splitlines()[-1]
    return None


def no_pull(ref: str, why: str, places: Mapping[str, str]) -> NoImage:
    """Return the error for an image that could not be had from its registry, by the engine's words. Pure."""
    parts = IMAGE.fullmatch(ref)
    repository = f"{parts['registry']}/{parts['path']}" if parts else ref
    known = {**places, "registry": ref.partition("/")[0], "repository": repository}
    step = f"image {short_name(ref)}"
    return judged(NoImage, Facts(doing="pull", step=step, kind="image", said=why, image=ref, places=known))
