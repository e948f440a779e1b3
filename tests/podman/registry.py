"""A real registry server of the tests' own, a storage beside the host's, and a port behind which nobody answers."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests
from product import Podman, eventually, free_ports


@dataclass(frozen=True)
class Registry:
    """`docker-registry serve` on 127.0.0.1, with what it was asked."""

    port: int
    log: Path

    @property
    def asked(self) -> list[str]:
        """The requests so far, `GET /v2/...`, in order."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.split('"')[1].rsplit(" ", 1)[0] for line in lines if '] "' in line]

    def manifests(self) -> list[str]:
        """The names whose manifest was asked for, in order, one for each request."""
        found = [path for method, path in (one.split(" ", 1) for one in self.asked) if method in ("GET", "HEAD")]
        return [path.split("/manifests/")[0].removeprefix("/v2/") for path in found if "/manifests/" in path]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """Serve an empty registry while the block goes on."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
    registry = Registry(port, folder / "log")

    def answers() -> bool:
        assert process.poll() is None, registry.log.read_text(encoding="utf-8")
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=2).ok
        return False

    with registry.log.open("wb") as log:
        argv = ["docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually("an answer of docker-registry", answers)
        yield registry
    finally:
        process.kill()
        process.wait(10)


def registries_conf(path: Path, port: int) -> dict[str, str]:
    """Write a registries.conf that leads docker.io to a port of this host; return the environment that names it."""
    text = f'[[registry]]\nprefix = "docker.io"\nlocation = "127.0.0.1:{port}"\ninsecure = true\n'
    path.write_text(text, encoding="utf-8")
    return {"CONTAINERS_REGISTRIES_CONF": str(path)}


@contextlib.contextmanager
def storage(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of an empty storage, so that what is pulled does not get into the host's."""
    folder.mkdir(parents=True)
    graph = folder / "graph"
    text = f'[storage]\ndriver = "overlay"\ngraphroot = "{graph}"\nrunroot = "{folder / "run"}"\n'
    (folder / "storage.conf").write_text(text, encoding="utf-8")
    try:
        yield {"CONTAINERS_STORAGE_CONF": str(folder / "storage.conf")}
    finally:
        # Podman mounts this folder over itself, and leaves it so.
        subprocess.run(["umount", "--lazy", str(graph / "overlay")], check=False, capture_output=True, timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def beside(podman: Podman, env: dict[str, str]) -> Podman:
    """The podman command with another storage or registry."""
    return Podman({**podman.env, **env})


@dataclass
class Silent:
    """A port that accepts connections and never says a word."""

    port: int
    accepted: list[socket.socket] = field(default_factory=list)


@contextlib.contextmanager
def silent() -> Iterator[Silent]:
    """Listen without answering while the block goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        seen = Silent(server.getsockname()[1])
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    seen.accepted.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join(5)
            for one in seen.accepted:
                one.close()


def push(podman: Podman, source: str, registry: Registry, name: str) -> None:
    """Push an image."""
    podman("push", "--quiet", "--tls-verify=false", source, f"docker://127.0.0.1:{registry.port}/{name}")
