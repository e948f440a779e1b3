"""Runs that are killed or signalled: start one, see a moment in it, and see what is left of it.

What is left is looked for here in ways of its own, not with the product's sweep.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from product import free_ports

from infra import labels
from infra.engine.client import Engine
from infra.errors import InfraError
from infra.lease_names import bridge

Edits = Mapping[str, Callable[[str], str]]
REPO = Path(__file__).resolve().parents[2]
# The goal is 5 s, on a host that does nothing else; what was seen is printed, and docs/always-clean.md has it.
CLEAN_S = 30.0
_LOOK_S = 0.01
_MOMENT_S = 90.0
_GENERATED = shutil.ignore_patterns("*.test", "tmp", ".git", "*.py", "__pycache__")


def wait(what: str, seen: Callable[[], bool], seconds: float, every: float = 0.05) -> float:
    """Wait until something is seen; return the seconds it took. Fails after `seconds`."""
    start = time.monotonic()
    while not seen():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not seen within {seconds:g} s: {what}")
        time.sleep(every)
    return time.monotonic() - start


def new_run() -> str:
    return secrets.token_hex(4)


def copied_workspace(copy: Path) -> Path:
    """A copy of the workspace, of which git tracks the same files."""
    shutil.copytree(REPO / "tests/workspace", copy, ignore=_GENERATED)
    subprocess.run(["git", "init", "--quiet", copy], check=True, timeout=30)
    subprocess.run(["git", "-C", copy, "add", "--all"], check=True, timeout=30)
    return copy


class Workspaces:
    """Copies of the workspace, each for one run at a time.

    Ginkgo puts a package's test binary into the package's folder, where two runs of one package would meet.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._free: deque[Path] = deque()

    def take(self) -> Path:
        try:
            return self._free.pop()
        except IndexError:
            return copied_workspace(self._root / f"copy-{new_run()}")

    def give_back(self, copy: Path) -> None:
        self._free.append(copy)


@dataclass(frozen=True)
class Ground:
    """A repository of its own that has adopted the product: its runs do not mix with anybody's."""

    root: Path
    workspaces: Workspaces

    @classmethod
    def make(cls, root: Path) -> Ground:
        root.mkdir(parents=True)
        for name in ("tasks.py", "noxfile.py"):
            shutil.copy(REPO / name, root / name)
        table = {"catalog": REPO / "infra/catalog", "workspace": REPO / "tests/workspace"}
        lines = [f"{key} = {json.dumps(str(path))}" for key, path in table.items()]
        (root / "pyproject.toml").write_text("\n".join(["[tool.infra]", *lines, ""]))
        return cls(root, Workspaces(root))

    def environment(self, **more: str) -> dict[str, str]:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("INFRA_", "NOX"))}
        path = os.pathsep.join([str(REPO / ".venv/bin"), base.get("PATH", os.defpath)])
        return {**base, "PATH": path, "PYTHONPATH": str(REPO), "INFRA_IMAGES": "local", **more}

    def invoke(self, *words: str, seconds: float = 180.0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run an invoke task to its end."""
        argv = [sys.executable, "-m", "invoke", *words]
        environ = self.environment(**env)
        return subprocess.run(
            argv, cwd=self.root, env=environ, capture_output=True, text=True, timeout=seconds, check=False
        )

    def main_job(
        self,
        *words: str,
        env: Mapping[str, str] = MappingProxyType({}),
        prefix: tuple[str, ...] = (),
        invoke: tuple[str, ...] = ("-m", "invoke"),
    ) -> Victim:
        """Start the main job."""
        run = new_run()
        task = ("suite.run", "--service", "notification", "--ports", "auto", "--run", run, *words)
        return Victim.start((*prefix, sys.executable, *invoke, *task), self, run, env)

    def workspace(self) -> Path:
        """A copy of the workspace with a change that has DataStorage built anew."""
        copy = copied_workspace(self.root / f"workspace-{new_run()}")
        with (copy / "internal/config/config.go").open("a") as source:
            source.write(f'\n// Nonce makes this source new.\nconst Nonce = "{copy.name}"\n')
        return copy

    def catalog(self, change: Edits) -> Path:
        """A copy of the catalogue with files changed."""
        copy = self.root / f"catalog-{new_run()}"
        shutil.copytree(REPO / "infra/catalog", copy, ignore=_GENERATED)
        for name, edit in change.items():
            before = (copy / name).read_text()
            after = edit(before)
            assert after != before, name
            (copy / name).write_text(after)
        return copy


Start = Callable[[tuple[str, ...], Ground, str, Mapping[str, str]], "Victim"]


@dataclass
class Victim:
    """A main job while it goes on."""

    process: subprocess.Popen[str]
    ground: Ground
    run: str
    lines: list[str] = field(default_factory=list)
    service: str = "notification"
    _reader: threading.Thread | None = None
    _workspace: Path | None = None

    @classmethod
    def start(cls, argv: tuple[str, ...], ground: Ground, run: str, env: Mapping[str, str]) -> Victim:
        workspace = None if "INFRA_WORKSPACE" in env else ground.workspaces.take()
        env = {**env, "INFRA_WORKSPACE": str(workspace)} if workspace else env
        process = subprocess.Popen(
            argv,
            cwd=ground.root,
            env=ground.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        victim = cls(process, ground, run, _workspace=workspace)
        victim._reader = threading.Thread(target=victim._read, daemon=True)
        victim._reader.start()
        return victim

    def __enter__(self) -> Victim:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever a test found: nothing of it goes on."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            self.process.wait(10)
        if self._reader is not None:
            self._reader.join(5)
        if self._workspace is not None:
            self.ground.workspaces.give_back(self._workspace)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for line in out:
                self.lines.append(line.rstrip("\n"))

    @property
    def folder(self) -> Path:
        return self.ground.root / ".infra" / "runs" / self.run

    def report(self) -> dict[str, object]:
        return dict(json.loads((self.folder / "report.json").read_text()))

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def logged(self, name: str, text: str) -> bool:
        with contextlib.suppress(OSError):
            return text in (self.folder / "logs" / name).read_text(errors="replace")
        return False

    def reach(self, what: str, seen: Callable[[], bool], seconds: float = _MOMENT_S) -> None:
        """Wait for a moment of the run. Fails where the run has ended before it."""

        def look() -> bool:
            ended = self.process.poll() is not None
            now = seen()
            assert now or not ended, f"it ended before {what}:\n" + "\n".join(self.lines[-40:])
            return now

        wait(f"{what}:\n" + "\n".join(self.lines[-40:]), look, seconds, _LOOK_S)

    def ends(self, seconds: float = 60.0) -> int:
        return self.process.wait(seconds)


NOTIFICATION = "services/notification.toml"
THROUGH_NOX = "signalled"


def through_nox(
    ground: Ground, edits: Edits, env: Mapping[str, str] = MappingProxyType({}), start: Start = Victim.start
) -> Victim:
    """The main job as a person starts it: nox in a process group of its own, and its run as it says it.

    The service has ports of its own, and a name of its own, so that it never meets a stack that is up.
    """
    table = tomllib.loads((REPO / "infra/catalog" / NOTIFICATION).read_text())["ports"]
    numbers = [port for ports in table.values() for port in (ports.values() if isinstance(ports, dict) else [ports])]
    ports = dict(zip(map(str, numbers), map(str, free_ports(len(numbers))), strict=True))

    def edit(text: str) -> str:
        text = re.sub("|".join(ports), lambda found: ports[found[0]], text)
        return edits[NOTIFICATION](text) if NOTIFICATION in edits else text

    catalog = ground.catalog({**edits, NOTIFICATION: edit})
    (catalog / NOTIFICATION).rename(catalog / f"services/{THROUGH_NOX}.toml")
    argv = (sys.executable, "-m", "nox", "-s", f"integration-{THROUGH_NOX}")
    victim = start(argv, ground, "", {**env, "INFRA_CATALOG": str(catalog)})
    victim.service = THROUGH_NOX
    victim.reach("the run's name", lambda: victim.said("integration: run "))
    line = next(line for line in victim.lines if "integration: run " in line)
    victim.run = line.partition(": run ")[2][:8]
    return victim


# -- processes, as the kernel shows them


def processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdecimal() and int(path.name) != os.getpid())


def text_of(process: Path, name: str) -> str:
    with contextlib.suppress(OSError):
        return (process / name).read_bytes().replace(b"\0", b"\n").decode("utf-8", "replace")
    return ""


def lives(process: Path) -> bool:
    fields = text_of(process, "stat").rpartition(")")[2].split()
    return bool(fields) and fields[0] not in ("Z", "X")


def with_role(run: str, role: str) -> list[int]:
    """The pids of a run's processes of a role."""
    found = []
    for process in processes():
        environ = text_of(process, "environ").split("\n")
        if f"INFRA_RUN={run}" in environ and f"INFRA_ROLE={role}" in environ and lives(process):
            found.append(int(process.name))
    return found


def serving(run: str) -> list[int]:
    """The pid of a run's private engine service."""
    socket = f"infra-{os.getuid()}-{run}/podman.sock"
    found = (p for p in processes() if socket in text_of(p, "cmdline").partition("system\nservice")[2] and lives(p))
    return [int(process.name) for process in found]


def monitored(name: str) -> bool:
    """Whether a conmon of a container of that name is there."""
    return any(f"\n-n\n{name}\n" in text_of(process, "cmdline") for process in processes())


def _processes_left(run: str, seen: Seen) -> Iterator[str]:
    folder = f"infra-{os.getuid()}-{run}"
    ours = Path("/proc/self/ns/mnt").readlink()
    for process in processes():
        argv = text_of(process, "cmdline")
        signs = {
            "environment": f"\nINFRA_RUN={run}\n" in "\n" + text_of(process, "environ"),
            "arguments": run in argv,
            "control group": any(group in text_of(process, "cgroup") for group in (f"/infra-{run}", *seen.containers)),
        }
        with contextlib.suppress(OSError):
            elsewhere = (process / "ns/mnt").readlink() != ours
            signs["mounts"] = elsewhere and folder in text_of(process, "mountinfo")
        if any(signs.values()) and lives(process):
            why = ", ".join(sign for sign, there in signs.items() if there)
            yield f"process {process.name} ({why}): {argv.replace(chr(10), ' ')[:120]}"


# -- everything that can be left


@dataclass(frozen=True)
class Seen:
    """What a run had at a moment that only ids tell later."""

    containers: tuple[str, ...] = ()
    interface: str = ""

    @classmethod
    def of(cls, engine: Engine, run: str) -> Seen:
        with contextlib.suppress(InfraError):
            return cls(containers=tuple(row.id for row in engine.containers({labels.RUN: run})))
        return cls()


def left(engine: Engine, run: str, seen: Seen) -> list[str]:
    """Everything of a run that is still there, in words."""
    try:
        return [*_engine_left(engine, run), *_processes_left(run, seen), *_files_left(run, seen)]
    except InfraError as error:  # the list was made while something vanished
        return [f"no answer: {error.message}"]


def _engine_left(engine: Engine, run: str) -> Iterator[str]:
    store = engine.info()["store"]
    folder = Path(store["graphRoot"]) / f"{store['graphDriverName']}-containers"
    for row in engine.containers(external=True):
        named = row.name.endswith(run) or row.labels.get(labels.RUN) == run
        made_by = (folder / row.id / "userdata/buildah.json").read_text() if _is_file(folder, row.id) else ""
        if named or re.search(f"infra-(\\d+-)?{run}", made_by):
            yield f"container {row.name} ({row.state or 'storage'})"
    for kind, rows in (("network", engine.networks()), ("volume", engine.volumes())):
        for resource in rows:
            if run in resource.name or resource.labels.get(labels.RUN) == run:
                yield f"{kind} {resource.name}"
    for image in engine.images():
        yield from (f"tag {tag}" for tag in image.tags if run in tag)
    for secret in engine._call("GET", "/secrets/json").json() or []:
        if run in json.dumps(secret["Spec"]):
            yield f"secret {secret['Spec']['Name']}"


def _is_file(folder: Path, container: str) -> bool:
    return (folder / container / "userdata/buildah.json").is_file()


def _files_left(run: str, seen: Seen) -> Iterator[str]:
    groups = Path("/sys/fs/cgroup")
    suspects = [Path(f"/tmp/infra-{os.getuid()}-{run}"), groups / f"infra-{run}", *groups.glob(f"*/infra-{run}")]
    for container in seen.containers:
        suspects += groups.glob(f"*/libpod_parent/libpod-{container}")
        suspects.append(Path("/run/containers/storage/overlay-containers") / container)
        suspects += [Path("/run") / runtime / container for runtime in ("runc", "crun")]
    yield from (f"folder {path}" for path in suspects if path.exists())
    mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    yield from (f"mount of container {container}" for container in seen.containers if container in mounts)
    if Path("/sys/class/net", bridge(run)).exists():
        yield f"network interface {bridge(run)}"
    yield from (f"firewall chain {chain}" for chain in _chains_left(run))
    for names in Path("/run/containers/networks/aardvark-dns").glob(f"*{run}"):
        yield f"names of network {names.name}"
    for state in Path("/run").glob("*/buildah-buildah*/state.json"):
        with contextlib.suppress(OSError):
            if run in state.read_text():
                yield f"runtime state {state.parent}"


def _chains_left(run: str) -> Iterator[str]:
    """Netavark's chains in Debian 12 are named after the network; in Debian 13 after its id, which is gone with it."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(("iptables-save", "-t", "nat"), capture_output=True, text=True, timeout=5, check=False)
        for service in ("notification", THROUGH_NOX):
            digest = hashlib.sha512(f"{service}-{run}".encode()).hexdigest()[:13].upper()
            if digest in done.stdout:
                yield digest


def until_clean(engine: Engine, run: str, seconds: float = CLEAN_S) -> tuple[float, list[str]]:
    """Look until nothing of a run is left; return the seconds it took and what is left after `seconds`."""
    start = time.monotonic()
    seen = Seen.of(engine, run)
    while True:
        # While its reaper is there, so is something: no need to load the engine with looking further.
        busy = [f"reaper {pid}" for pid in with_role(run, "reaper")]
        remains = busy or left(engine, run, seen)
        at = time.monotonic() - start
        if busy and at > seconds:
            remains = [*busy, *left(engine, run, seen)]
        if not remains or at > seconds:
            return at, remains
        time.sleep(0.05)
