"""Whether registries answer: asked once a run for each registry, within 3 s, through Podman's own resolution.

`podman manifest inspect` goes the way that a pull would go (registries.conf, mirrors, proxies, certificates), and
moves nothing. A registry that says no has answered; one that cannot be reached has not.
"""

from __future__ import annotations

import subprocess
import threading

from infra import tools
from infra.lease import Lease

_ASK_S = 3.0
_UNREACHABLE = (
    "no such host",
    "connection refused",
    "i/o timeout",
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
    "403 Forbidden",
)


class Registries:
    """The answers of one run. Safe to ask from several threads."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._lock = threading.Lock()
        self._answers: dict[str, str | None] = {}

    def unreachable(self, ref: str) -> str | None:
        """Return why the registry of an image cannot be reached, or None when it answers."""
        registry = ref.split("/", maxsplit=1)[0]
        with self._lock:
            if registry not in self._answers:
                self._answers[registry] = self._ask(ref)
            return self._answers[registry]

    def _ask(self, ref: str) -> str | None:
        argv = [*self._lease.connection.podman, "manifest", "inspect", ref]
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
        except subprocess.TimeoutExpired:
            return f"no answer within {_ASK_S:g} s"
        return classify(done.returncode, done.stderr)


def classify(exit_code: int, said: str) -> str | None:
    """Tell a registry that cannot be reached from one that answered, by Podman's words. Pure."""
    if exit_code != 0 and any(sign in said for sign in _UNREACHABLE):
        return said.strip().splitlines()[-1]
    return None
