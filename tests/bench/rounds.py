"""Rounds of the benchmark: the product as a person runs it, and the script, in turns; nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli_w
from figures import Row, duration, gates_of, images_of, moment, passed_at, ratio, ready_at, step_of
from product import CATALOG, ROOT, Done, Project, catalog_copy, free_ports, new_run, workspace_copy

from infra import plan, settings, sweep
from infra.catalog.loading import load
from infra.engine.client import Engine
from infra.engine.types import HOST
from infra.errors import Unavailable
from infra.lease import Lease
from infra.model import HttpProbe, PostgresProbe
from infra.plan import Plan, PlannedStep
from infra.signals import Interrupts

# The service under another name and on ports of its own: a stack that a person has up is neither used nor in the way.
SERVICE = "bench"
_MODEL = "notification"
_SECONDS = 180.0
_STALE = timedelta(minutes=15)
_SCRIPT = Path(__file__).with_name("stack.sh")


@dataclass
class Bench:
    """Everything that rounds share. `seen` is what was measured: a name to one number a round."""

    lease: Lease
    interrupts: Interrupts
    project: Project
    made: Plan
    script: Path
    seen: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: int = 0

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, held: Lease, interrupts: Interrupts) -> Iterator[Bench]:
        """Have all images and caches, untimed; end whatever is there at the end, also when interrupted."""
        if held.connection.remote:
            raise Unavailable("the benchmark needs an engine of this host", reference="bench", remedy="unset it")
        _end_stale(held.engine)
        with tempfile.TemporaryDirectory(prefix="infra-bench-") as scratch:
            folder = Path(scratch)
            # A workspace of its own: Ginkgo puts the suite's program into the package's folder, and takes it away.
            workspace = workspace_copy(folder / "workspace")
            project = Project.make(folder / "project", catalog=_catalog(folder / "catalog"), workspace=workspace)
            read = settings.read(project.folder, {})
            made = plan.make(load(read.catalog), read, service=SERVICE, run=held.run)
            bench = cls(held, interrupts, project, made, folder / "plan.sh")
            held.unswept.set()
            try:
                print("preparing: images, caches, one run of each", flush=True)
                bench._warm()
                yield bench
            finally:
                with interrupts.held():
                    sweep.sweep_run(held.engine, held.run)
                    held.unswept.clear()

    def round(self) -> str:
        """Measure everything once; return it in a line."""
        self._ours_up()
        self._theirs_up()
        self._session()
        self._list()
        shown = ("ours ready", "theirs ready", "ours teardown", "theirs teardown", "session", "list")
        return ", ".join(f"{name} {self.seen[name][-1]:.2f}" for name in shown)

    def rows(self) -> list[Row]:
        """Return the table's rows."""
        seen, steps = self.seen, [step.name for step in self.made.steps]
        asked = f"`nox -l` (engine calls: {self.calls})"
        return [
            ratio("stack ready", seen["ours ready"], seen["theirs ready"], 1.10),
            Row(what="- start to the first component's step", unit="s", seen=seen["ours before"]),
            *(
                ratio(f"- {name}: step, start to gate", seen[f"ours step {name}"], seen[f"theirs step {name}"], None)
                for name in steps
            ),
            Row(what="- process ends after the last gate", unit="s", seen=seen["ours after"]),
            Row(what="nox, invoke, report", unit="s", seen=seen["session"], goal=1.0),
            Row(what="- with engine, images and check", unit="s", seen=seen["session strict"]),
            ratio("teardown", seen["ours teardown"], seen["theirs teardown"], 1.2),
            Row(what="- of it evidence", unit="s", seen=seen["evidence"]),
            Row(what="unchanged image", unit="s", seen=seen["image"], goal=0.3),
            Row(what="- all images of a run", unit="s", seen=seen["images"]),
            Row(what=asked, unit="s", seen=seen["list"], goal=0.5),
            *(
                Row(what=f"lateness of {name}{whose}", unit="ms", seen=seen[f"{side} late {name}"])
                for name in steps
                for side, whose in (("ours", ""), ("theirs", ", script"))
            ),
        ]

    # -- what is measured

    def _ours_up(self) -> None:
        run = new_run()
        began = time.time()
        try:
            self._invoke("infra.up", "--service", SERVICE, "--run", run)
            ended = time.time()
            report = self.project.report(run)
            gates = {step.name: passed_at(report, step.name) for step in self.made.steps}
            first, last = self.made.steps[0].name, self.made.steps[-1].name
            self.seen["ours ready"].append(gates[last] - began)
            start = moment(str(report["started"])) + float(step_of(report, first)["start_s"])
            self.seen["ours before"].append(start - began)
            self.seen["ours after"].append(ended - gates[last])
            self._steps("ours", start, gates)
            self._lateness("ours", run, gates)
        finally:
            with self.interrupts.held():
                sweep.sweep_run(self.lease.engine, run)

    def _theirs_up(self) -> None:
        began = time.time()
        done = self._run(("bash", str(_SCRIPT), str(self.script)), self._podman_env())
        gates = gates_of(done.out)
        self.seen["theirs ready"].append(gates[self.made.steps[-1].name] - began)
        self._steps("theirs", began, gates)
        self._lateness("theirs", self.lease.run, gates)
        names = [step.container for step in self.made.steps]
        before = time.monotonic()
        self._podman("rm", "-f", "-t", "0", "-v", *names)
        self.seen["theirs teardown"].append(time.monotonic() - before)
        self._podman("network", "rm", self.made.network)

    def _session(self) -> None:
        before = time.monotonic()
        done = self._run((sys.executable, "-m", "nox", "-s", f"integration-{SERVICE}"), self.project.environment())
        wall = time.monotonic() - before
        report = self.project.report()
        if report["outcome"] != "passed":
            raise RuntimeError(done.text)
        stack = [step.name for step in self.made.steps]
        every = [step["name"] for step in report["steps"]]
        self.seen["session"].append(wall - duration(report, every))
        self.seen["session strict"].append(wall - duration(report, [*stack, "suite", "teardown"]))
        teardown = step_of(report, "teardown")
        self.seen["ours teardown"].append(float(teardown["duration_s"]))
        logs = self.project.runs / report["run"] / "logs"
        saved = max((logs / f"{name}.log").stat().st_mtime for name in stack)
        self.seen["evidence"].append(saved - moment(report["started"]) - float(teardown["start_s"]))
        images = images_of(report)
        self.seen["image"].append(max(duration(report, [name]) for name in images))
        self.seen["images"].append(duration(report, images))

    def _list(self) -> None:
        """List the sessions where an engine that is asked anything at all would write it down."""
        with tempfile.TemporaryDirectory(prefix="infra-bench-") as scratch, socket.socket(socket.AF_UNIX) as engine:
            folder = Path(scratch)
            calls, podman = folder / "calls", folder / "podman"
            podman.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n', encoding="utf-8")
            podman.chmod(0o755)
            engine.bind(str(folder / "sock"))
            engine.listen()
            engine.setblocking(False)
            env = self.project.environment(CONTAINER_HOST=f"unix://{folder / 'sock'}")
            env["PATH"] = f"{folder}:{env['PATH']}"
            before = time.monotonic()
            self._run((sys.executable, "-m", "nox", "-l"), env)
            self.seen["list"].append(time.monotonic() - before)
            self.calls += len(calls.read_text(encoding="utf-8").splitlines()) if calls.exists() else 0
            with contextlib.suppress(BlockingIOError):
                engine.accept()
                self.calls += 1

    def _steps(self, side: str, start: float, gates: Mapping[str, float]) -> None:
        for name in (step.name for step in self.made.steps):
            self.seen[f"{side} step {name}"].append(gates[name] - start)
            start = gates[name]

    def _lateness(self, side: str, run: str, gates: Mapping[str, float]) -> None:
        for step in self.made.steps:
            container = f"{SERVICE}-{step.name}-{run}"
            if step.kind == "job":
                ready = moment(self._podman("inspect", "--format", "{{json .State.FinishedAt}}", container).out)
            else:
                ready = ready_at(step.name, self._podman("logs", "--timestamps", container).text)
            self.seen[f"{side} late {step.name}"].append(gates[step.name] - ready)

    # -- what they need

    def _warm(self) -> None:
        run = new_run()
        try:
            self._invoke("infra.up", "--service", SERVICE, "--run", run)
            images = {
                step.name: self.lease.engine.inspect(f"{SERVICE}-{step.name}-{run}")["Image"]
                for step in self.made.steps
            }
        finally:
            with self.interrupts.held():
                sweep.sweep_run(self.lease.engine, run)
        files = self.script.parent / "files"
        self.script.write_text(script_plan(self.made, images, self.lease.labels(), files), encoding="utf-8")
        self._theirs_up()
        self._session()
        self.seen.clear()

    def _podman_env(self) -> dict[str, str]:
        return {**os.environ, **dict(self.lease.connection.env)}

    def _podman(self, *words: str) -> Done:
        return self._run(("podman", *words), self._podman_env())

    def _invoke(self, *words: str) -> Done:
        return self._run((sys.executable, "-m", "invoke", *words), self.project.environment())

    def _run(self, argv: Sequence[str], env: Mapping[str, str]) -> Done:
        """Run a command to its end. Whatever ends us ends its whole group first, and waits for its own cleaning up."""
        process = subprocess.Popen(
            argv,
            cwd=self.project.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=_SECONDS)
        except BaseException:
            with self.interrupts.held():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.communicate(timeout=60)
            raise
        if process.returncode != 0:
            raise RuntimeError(f"{shlex.join(argv)} ended with {process.returncode}:\n{out}{err}")
        return Done(tuple(argv), process.returncode, out, err)


def _catalog(folder: Path) -> Path:
    """Copy the catalogue, its service under our name and on free ports."""
    catalog_copy(folder)
    model = tomllib.loads((CATALOG / "services" / f"{_MODEL}.toml").read_text(encoding="utf-8"))
    for path in (folder / "services").glob("*.toml"):
        path.unlink()
    ports = model["ports"]
    free = iter(free_ports(20))
    model["ports"] = {
        name: {key: next(free) for key in given} if isinstance(given, dict) else next(free)
        for name, given in ports.items()
    }
    (folder / "services" / f"{SERVICE}.toml").write_text(tomli_w.dumps(model), encoding="utf-8")
    return folder


def _end_stale(engine: Engine) -> None:
    """End what a benchmark that was killed at once has left up: a kept stack is nobody else's to end."""
    for found in sweep.runs(engine):
        created = datetime.fromisoformat(found.created)
        if found.service == SERVICE and found.kept and datetime.now(UTC) - created > _STALE:
            sweep.sweep_run(engine, found.run)


def script_plan(made: Plan, images: Mapping[str, str], labels: Mapping[str, str], files: Path) -> str:
    """Return the plan as stack.sh reads it, and write the files that it mounts. The labels let a sweep find it."""
    marks = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    lines = [f"network=({shlex.join([*marks, made.network])})"]
    for step in made.steps:
        lines.append(f"{step.name}=({shlex.join(_words(step, made, images[step.name], marks, files / step.name))})")
        lines += _asks(step)
    return "".join(f"{line}\n" for line in lines)


def _words(step: PlannedStep, made: Plan, image: str, marks: Sequence[str], files: Path) -> list[str]:
    words = ["--name", step.container, *marks, "--network", made.network, "--network-alias", step.name]
    for name, value in step.env.items():
        words += ["--env", f"{name}={value}"]
    for port in step.ports:
        words += ["--publish", f"{HOST}:{port.host}:{port.container}"]
    for folder in _write(step, files):
        words += ["--volume", f"{files}{folder}:{folder}:ro"]
    return [*words, image, *step.command]


def _write(step: PlannedStep, files: Path) -> list[str]:
    """Write a component's files with their modes and owners; return the folders to mount."""
    for file in step.files:
        path = files / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content, encoding="utf-8")
        path.chmod(file.mode)
        if os.geteuid() == 0:
            os.chown(path, file.owner, file.owner)
        else:
            path.chmod(file.mode | 0o044)  # as rootless we cannot give a file away
    return sorted({str(Path(file.path).parent) for file in step.files})


def _asks(step: PlannedStep) -> list[str]:
    ports = {port.name: port.host for port in step.ports}
    match step.ready:
        case PostgresProbe() as probe:
            words = {"host": HOST, "port": ports[probe.port], "dbname": probe.database, "user": probe.user}
            words |= {"password": probe.password, "sslmode": "disable", "connect_timeout": 2}
            return [f"{step.name}_asks={shlex.quote(' '.join(f'{key}={value}' for key, value in words.items()))}"]
        case HttpProbe() as probe:
            asked = [str(ports[probe.port]), probe.path, str(probe.status), probe.body]
            return [f"{step.name}_asks=({shlex.join(asked)})"]
        case _:
            return [f"{step.name}_asks={port}" for port in ports.values()]


def facts(held: Lease, argv: Sequence[str]) -> dict[str, str]:
    """Return what a reader must know of where this was measured."""
    engine = held.facts()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    return {
        "machine": f"{os.cpu_count()} x {cpu}, {memory:.0f} GB; {release}, {platform.release()}; load {load}",
        "engine": f"Podman {engine.version}, {engine.runtime}, {'rootless' if engine.rootless else 'rootful'}, "
        f"{held.connection.origin}",
        "worked around": "; ".join(engine.workarounds) or "nothing",
        "python": platform.python_version(),
        "commit": _commit(),
        "command": shlex.join(["nox", "-s", "bench", *(["--", *argv] if argv else [])]),
    }


def _commit() -> str:
    def git(*words: str) -> str:
        argv = ("git", "-c", "safe.directory=*", "-C", str(ROOT), *words)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30).stdout.strip()

    changed = git("status", "--porcelain", "--", "infra", "tests", "noxfile.py", "tasks.py", "pyproject.toml")
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
