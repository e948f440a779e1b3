"""Who owns a run: this process, an engine it can reach, and a reaper that ends the run when this process cannot."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra import labels, processes, reaper
from infra.engine.client import Engine
from infra.engine.discover import Connection, discover
from infra.engine.host import own_authorities
from infra.errors import Unavailable
from infra.labels import Labels
from infra.lease_names import private_folder
from infra.report import EngineFacts

_START_S = 15.0
_END_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The proof of ownership, and the way to the engine."""

    run: str
    service: str
    tier: str
    owner: labels.Owner
    connection: Connection
    engine: Engine

    def labels(self, component: str | None = None) -> Labels:
        """Return the labels that everything of this run carries."""
        carried = {
            labels.RUN: self.run,
            labels.SERVICE: self.service,
            labels.TIER: self.tier,
            labels.OWNER: str(self.owner),
            labels.CREATED: datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return carried | ({labels.COMPONENT: component} if component else {})

    def environment(self, role: str) -> dict[str, str]:
        """Return what a child process of this run carries in its environment."""
        return processes.environment(self.run, self.owner, role)

    def facts(self) -> EngineFacts:
        """Ask the engine what it is, for the report."""
        info = self.engine.info()
        host = info.get("host", {})
        bundle = None if self.connection.remote else own_authorities()
        trust = (f"certificate authorities of its own ({bundle}, mounted while images are built)",) if bundle else ()
        return EngineFacts(
            version=str(info.get("version", {}).get("Version", "")),
            rootless=bool(host.get("security", {}).get("rootless")),
            runtime=str(host.get("ociRuntime", {}).get("name", "")),
            host=str(host.get("hostname", "")),
            workarounds=(*self.connection.workarounds, *trust),
        )

    def podman_environment(self) -> dict[str, str]:
        """Return the whole environment for the podman command, as a build process of this run."""
        return {**os.environ, **dict(self.connection.env), **self.environment("build")}


@contextlib.contextmanager
def hold(run: str, service: str, tier: str, log: Path | None = None) -> Iterator[Lease]:
    """Own a run until the block ends. Raises `Unavailable` where no engine answers.

    The caller sweeps; the reaper does where the caller cannot.
    """
    owner = labels.Owner.of(os.getpid())
    folder = private_folder(run)
    try:
        connection = discover(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    task: dict[str, object] = {
        "run": run,
        "url": connection.url,
        "identity": connection.identity,
        "service": list(connection.service),
        "env": dict(connection.env),
        "folder": str(folder),
        "log": str(log) if log else "",
    }
    with _reaper(task, processes.environment(run, owner, "reaper")):
        engine = connection.client()
        engine.version()
        yield Lease(run=run, service=service, tier=tier, owner=owner, connection=connection, engine=engine)


@contextlib.contextmanager
def _reaper(task: dict[str, object], marks: dict[str, str]) -> Iterator[None]:
    package_parent = str(Path(__file__).resolve().parent.parent)
    environ = {**os.environ, **marks}
    # GitHub's runner kills what carries its tracking id, which is just when the reaper is wanted.
    environ.pop("RUNNER_TRACKING_ID", None)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (package_parent, environ.get("PYTHONPATH"))))
    log = task["log"]
    with contextlib.ExitStack() as files:
        errors = files.enter_context(Path(str(log)).open("ab")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            reaper.command(task),
            env=environ,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        _wait_until_ready(process)
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"done\n")
            process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    if select.select([process.stdout], [], [], _START_S)[0] and process.stdout.readline() == b"ready\n":
        return
    raise Unavailable(
        f"the private Podman service did not start (exit code {process.poll()})",
        reference="engine-start",
        remedy="podman system service --time=5 unix:///tmp/podman-test.sock",
    )
