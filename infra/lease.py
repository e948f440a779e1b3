"""Who owns a run: this process, an engine it can reach, and a reaper that ends the run when this process cannot."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra import labels, processes, reaper
from infra.cgroups import ROOT
from infra.engine.discover import Connection, discover
from infra.engine.host import own_authorities
from infra.errors import InfraError, Unavailable
from infra.labels import Labels
from infra.lease_names import engine_of, make_private_folder, note_engine, remove_private_folder, taken

if TYPE_CHECKING:
    from infra.engine.client import Engine
    from infra.report import EngineFacts

_START_S = 15.0
_END_S = 10.0
_EXIT_S = 2.0
WHO_SWEEPS = f"its reaper tries for {reaper.TRY_S / 60:g} minutes more, and the next start sweeps it"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The proof of ownership, and the way to the engine. While `unswept` is set, the reaper sweeps at the end."""

    run: str
    service: str
    tier: str
    owner: labels.Owner
    connection: Connection
    engine: Engine
    version: str
    root: Path | None = None
    unswept: threading.Event = field(default_factory=threading.Event)
    # When builds began, in seconds since the epoch; empty where there were none.
    builds: list[float] = field(default_factory=list)

    def labels(self, component: str | None = None) -> Labels:
        """Return the labels that everything of this run carries."""
        carried = {
            labels.RUN: self.run,
            labels.SERVICE: self.service,
            labels.TIER: self.tier,
            labels.OWNER: str(self.owner),
            labels.CREATED: datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.root is not None:
            carried[labels.ROOT] = str(self.root)
        return carried | ({labels.COMPONENT: component} if component else {})

    def environment(self, role: str) -> dict[str, str]:
        """Return what a child process of this run carries in its environment."""
        return processes.environment(self.run, self.owner, role)

    def facts(self) -> EngineFacts:
        """Ask the engine what it is, for the report. It takes a while to say so; any thread may ask."""
        from infra.report import EngineFacts  # noqa: PLC0415 - who only looks writes no report

        host = self.engine.clone().info().get("host", {})
        return EngineFacts(
            version=self.version,
            rootless=bool(host.get("security", {}).get("rootless")),
            runtime=str(host.get("ociRuntime", {}).get("name", "")),
            host=str(host.get("hostname", "")),
            workarounds=self.workarounds,
        )

    def graph_root(self) -> str | None:
        """Return the folder of the engine's storage, where it may be another than this user's Podman has."""
        with contextlib.suppress(InfraError):
            if self.connection.origin != "private service":
                return str(self.engine.clone().info()["store"]["graphRoot"])
        return None

    def cgroup_v2(self) -> bool:
        """Whether containers have control groups of version 2."""
        if not self.connection.remote:
            return (ROOT / "cgroup.controllers").exists()
        return bool(self.engine.info()["host"].get("cgroupVersion") == "v2")

    @property
    def workarounds(self) -> tuple[str, ...]:
        """What this host cannot do, and what is done instead, in words."""
        bundle = None if self.connection.remote else own_authorities()
        trust = (f"certificate authorities of its own ({bundle}, mounted while images are built)",) if bundle else ()
        return (*self.connection.workarounds, *trust)

    def podman_environment(self) -> dict[str, str]:
        """Return the whole environment for the podman command, as a build process of this run."""
        return {**os.environ, **dict(self.connection.env), **self.environment("build")}


@contextlib.contextmanager
def hold(
    run: str,
    service: str,
    tier: str,
    log: Path | None = None,
    *,
    looks: bool = False,
    secrets: frozenset[str] = frozenset(),
    lasting: Path | None = None,
    root: Path | None = None,
) -> Iterator[Lease]:
    """Own a run until the block ends. Raises `Unavailable` where no engine answers, `Invalid` where the name is taken.

    The caller sweeps; the reaper does where the caller cannot, or did not (`unswept`). It also saves the evidence of a
    run that was killed, without the `secrets`. Who only `looks` makes nothing that would have to be swept, so the
    reaper does not get ready for it, which saves 0.1 s. `lasting` is a folder for the configuration of a private
    service that starts what outlives the run: the monitors read it again whenever they restart a container. `root` is
    the folder whose run it is: by service, what it starts is found from there only.
    """
    owner = labels.Owner.of(os.getpid())
    unswept = threading.Event()
    with _reaper(run, log, processes.environment(run, owner, "reaper"), unswept, looks) as process:
        connection = discover(make_private_folder(run, str(owner)), lasting)
        note_engine(run, connection.url, connection.identity)
        _hand_over(process, connection, secrets)
        engine = connection.client()  # podman-py is imported here, while the service starts
        _await_service(process)
        if engine.networks({labels.RUN: run}):  # of another host, or of a run that is still to be swept
            raise taken(run)
        yield Lease(
            run=run,
            service=service,
            tier=tier,
            owner=owner,
            connection=connection,
            engine=engine,
            version=engine.version(),
            root=root,
            unswept=unswept,
        )


def engine_at_hand(run: str) -> Engine | None:
    """Return the engine of a run that goes on on this host, where it answers: its own service needs no other one."""
    known = engine_of(run)
    if known is None or (known[0].startswith("unix://") and not Path(known[0].removeprefix("unix://")).exists()):
        return None
    from infra.engine.client import Engine  # noqa: PLC0415 - 0.2 s

    try:
        engine = Engine(known[0], identity=known[1])
        engine.version()
    except InfraError:
        return None
    return engine


@contextlib.contextmanager
def named(run: str) -> Iterator[None]:
    """Have a run's name on this host, and no engine, until the block ends. Raises `Invalid` where it is taken."""
    owner = str(labels.Owner.of(os.getpid()))
    make_private_folder(run, owner)
    try:
        yield
    finally:
        remove_private_folder(run, owner)


@contextlib.contextmanager
def _reaper(
    run: str, log: Path | None, marks: dict[str, str], unswept: threading.Event, looks: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the reaper, before there is anything of the run; tell it at the end whether all is swept."""
    task = {"run": run, "owner": marks[labels.ENV_OWNER], "log": str(log) if log else "", "looks": looks}
    package_parent = str(Path(__file__).resolve().parent.parent)
    environ = {**os.environ, **marks}
    # GitHub's runner kills what carries its tracking id, which is just when the reaper is wanted.
    environ.pop("RUNNER_TRACKING_ID", None)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (package_parent, environ.get("PYTHONPATH"))))
    with contextlib.ExitStack() as files:
        errors = files.enter_context(log.open("ab")) if log else subprocess.DEVNULL
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
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(reaper.SWEEP if unswept.is_set() else reaper.DONE)
            process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        # Its end, or its word that the engine does not answer and that it goes on.
        later = select.select([process.stdout], [], [], _END_S)[0] and process.stdout.readline() == reaper.LATER
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.0 if later else _EXIT_S)
        if process.returncode == 0:
            unswept.clear()
        elif process.returncode is not None or not unswept.is_set():  # else it goes on without us
            processes.end_helpers(run, 0.0, marks[labels.ENV_OWNER])
            remove_private_folder(run, marks[labels.ENV_OWNER])


def _hand_over(process: subprocess.Popen[bytes], connection: Connection, secrets: frozenset[str]) -> None:
    """Tell the reaper which engine it is, so that it serves it."""
    assert process.stdin is not None
    engine = {
        "url": connection.url,
        "identity": connection.identity,
        "service": list(connection.service),
        "env": dict(connection.env),
        "secrets": sorted(secrets),
    }
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{json.dumps(engine)}\n".encode())
        process.stdin.flush()


def _await_service(process: subprocess.Popen[bytes]) -> None:
    """Wait until the reaper says that the engine is served. Raises `Unavailable`."""
    assert process.stdout is not None
    if select.select([process.stdout], [], [], _START_S)[0] and process.stdout.readline() == b"ready\n":
        return
    raise Unavailable(
        f"the private Podman service did not start (exit code {process.poll()})",
        reference="engine-start",
        remedy="less {folder}/logs/engine.log  # its own words; by hand: podman system service --time=5",
    )
