"""A Podman service of a test's own, with a configuration and a storage as the test wants them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from product import eventually


@dataclass
class Service:
    """`podman system service` on a socket in a folder of its own; it may be stopped and started again."""

    folder: Path
    env: Mapping[str, str]
    options: tuple[str, ...] = ()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/podman.sock"

    def start(self) -> None:
        command = ("podman", *self.options, "system", "service", "--time=0", self.url)
        (self.folder / "podman.sock").unlink(missing_ok=True)
        with (self.folder / "service.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )
        eventually("the service", (self.folder / "podman.sock").exists, 30)

    def stop(self) -> None:
        """End it at once, as a person's kill does; its socket's file stays."""
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait(20)


@contextlib.contextmanager
def served(env: Mapping[str, str], *options: str) -> Iterator[Service]:
    """A service while the block goes on. `env` is the whole environment, `options` are podman's own."""
    folder = Path(f"/tmp/sv-{secrets.token_hex(3)}")  # short: a socket's path
    folder.mkdir(mode=0o700)
    service = Service(folder, env, options)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)
