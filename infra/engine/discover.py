"""Find the engine: what the environment names, the default connection, a socket that answers, else one of our own.

The order is a contract (design.md section 5). A private service is only described here; the reaper starts it, so
that killing the owner cuts no call of it in half. Nor is podman-py imported before it is called: that takes as long as
the service takes to start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra import tools
from infra.engine import host
from infra.errors import InfraError, Unavailable

if TYPE_CHECKING:
    from infra.engine.client import Engine


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach an engine. `service` serves it where it is ours to start, with `env`.

    `remote` says that the engine sees another file system, or other processes, than we do.
    """

    url: str
    origin: str
    identity: str | None = None
    service: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workarounds: tuple[str, ...] = ()
    podman: tuple[str, ...] = ("podman",)
    remote: bool = False

    def client(self, timeout: float = 30.0) -> Engine:
        """Return a client of this engine."""
        from infra.engine.client import Engine  # noqa: PLC0415 - 0.2 s

        return Engine(self.url, timeout=timeout, identity=self.identity)


def discover(private: Path, lasting: Path | None = None) -> Connection:
    """Return the engine to use; `private` is the folder of a private service, `lasting` of its configuration."""
    if url := os.environ.get("CONTAINER_HOST"):
        identity = os.environ.get("CONTAINER_SSHKEY")
        return _named(url, "CONTAINER_HOST", identity)
    connections = _connections()
    if name := os.environ.get("CONTAINER_CONNECTION"):
        for row in connections:
            if row.get("Name") == name:
                return _named(row["URI"], f"CONTAINER_CONNECTION {name}", row.get("Identity"))
        _podman()
        known = ", ".join(str(row.get("Name")) for row in connections) or "none"
        raise Unavailable(
            f'CONTAINER_CONNECTION is "{name}", and Podman has no connection of that name (known: {known})',
            reference="no-connection",
            remedy="unset CONTAINER_CONNECTION  # or name one of: podman system connection list",
            blame="user",
        )
    for row in connections:
        if str(row.get("Default")).lower() == "true":
            return _named(row["URI"], f"default connection {row.get('Name')}", row.get("Identity"))
    for path in _sockets():
        if path.exists() and _silence(f"unix://{path}") is None:
            url = f"unix://{path}"
            return Connection(url=url, origin="socket", remote=not host.serves(url))
    return _private(_podman(), private, lasting or private)


def private_environment(folder: Path) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Write the configuration of a private service into `folder`; return its environment and the workarounds."""
    facts = host.facts()
    conf, said = host.overrides(facts)
    env = {}
    if conf:
        path = folder / "containers.conf"
        host.write_configuration(path, conf)
        env["CONTAINERS_CONF"] = str(path)
    if facts.cgroups_v1:
        env["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"
    return tuple(env.items()), said


def _podman() -> str:
    podman = shutil.which("podman")
    if podman is None:
        raise Unavailable(
            "podman is not installed",
            reference="podman-missing",
            remedy=tools.tool("podman").install_command,
            blame="user",
        )
    return podman


def _private(podman: str, folder: Path, configuration: Path) -> Connection:
    for one in (folder, configuration):
        one.mkdir(parents=True, exist_ok=True, mode=0o700)
    env, said = private_environment(configuration)
    url = f"unix://{folder / 'podman.sock'}"
    return Connection(
        url=url,
        origin="private service",
        service=(podman, "system", "service", "--time=0", url),
        env=env,
        workarounds=("no podman socket (private service)", *said),
    )


def _named(url: str, origin: str, identity: str | None) -> Connection:
    podman = ("podman", "--url", url, *(("--identity", identity) if identity else ()))
    if why := _silence(url, identity or None):
        from infra.causes.facts import Facts  # noqa: PLC0415 - as above
        from infra.causes.table import judged  # noqa: PLC0415

        raise judged(
            Unavailable,
            Facts(
                doing="engine",
                step="engine",
                kind="run",
                said=why.removeprefix(f"cannot talk to Podman at {url}: ").removeprefix("GET /_ping: "),
                places={
                    "url": url,
                    "origin": origin,
                    "engine_fix": _fix(origin),
                    "engine_serve": _fix(origin) + _serve(url),
                },
            ),
        )
    return Connection(url=url, origin=origin, identity=identity or None, podman=podman, remote=not host.serves(url))


def _serve(url: str) -> str:
    return f"; or serve it: podman system service --time=0 {url} &" if url.startswith("unix:///") else ""


def _fix(origin: str) -> str:
    """What a person may paste where a named engine does not answer."""
    variable = origin.partition(" ")[0]
    if variable == "CONTAINER_HOST":
        return "unset CONTAINER_HOST  # a run then starts a Podman of its own"
    if variable == "CONTAINER_CONNECTION":
        return "unset CONTAINER_CONNECTION  # or mend it: podman system connection list"
    return f"podman system connection list  # then mend or remove the {origin}"


def _connections() -> list[dict[str, str]]:
    podman = shutil.which("podman")
    if podman is None:
        return []
    argv = [podman, "system", "connection", "list", "--format", "json"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, text=True) as asked:
        import requests  # noqa: F401, PLC0415 - half of the client, while Podman thinks

        try:
            return list(json.loads(asked.communicate(timeout=10)[0] or "[]"))
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            asked.kill()
            return []


def _sockets() -> list[Path]:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    rootless = runtime / "podman" / "podman.sock"
    rootful = Path("/run/podman/podman.sock")
    return [rootful] if os.geteuid() == 0 else [rootless, rootful]


def _silence(url: str, identity: str | None = None) -> str | None:
    """Return why an engine is none to use, or None where it answers."""
    from infra.engine.client import Engine  # noqa: PLC0415 - as above

    try:
        Engine(url, timeout=5.0, identity=identity).version()
    except Unavailable as error:
        if error.reference == "podman-too-old":
            raise
        return error.message
    except InfraError as error:
        return error.message
    return None
