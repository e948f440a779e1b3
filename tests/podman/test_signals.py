"""Signals: whoever gets which one in whatever step, the evidence is saved, all is gone, and the exit code says it.

The runs are the real main job, two at a time. Of all signals, targets and kinds of step every pair is met every day;
`pytest -m soak` has the whole matrix.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pty
import select
import signal
import socket as sockets
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from killing import NOTIFICATION, Edits, Ground, Victim, new_run, through_nox, until_clean, wait
from moments import LAST_BUILD_STEP, Moment, before, has_written, is_in, logged, nonce_env, role, said

from infra.engine.client import Engine
from infra.lease import Lease

AT_A_TIME = 2
NO_EDITS: Edits = MappingProxyType({})


def suite(package: str) -> Edits:
    """Another suite than the main job's."""
    return {NOTIFICATION: lambda text: text.replace("./test/integration/notification", f"./test/runner/{package}")}


def deaf_suite(text: str) -> str:
    """A suite that only SIGKILL ends, in the one process that Ginkgo then waits for."""
    return suite("deaf")[NOTIFICATION](text).replace("procs = 4", "procs = 1")


def grace(component: str, seconds: float) -> Edits:
    """A component that asks for a grace period."""
    return {f"components/{component}.toml": lambda text: f'stop_grace = "{seconds:g}s"\n{text}'}


def lasting_job(text: str) -> str:
    """The migrations, and then a while in which nothing happens."""
    return text.replace('["/bin/sh", "/migrations/apply.sh"]', '["/bin/sh", "-c", "sh /migrations/apply.sh; sleep 60"]')


@dataclass(frozen=True)
class Kind:
    """A kind of step: the moment in it, the step it belongs to, the logs that are evidence of what has started."""

    sees: tuple[Callable[[Victim, Engine], bool], ...]
    step: str
    logs: tuple[str, ...]
    edits: Edits = field(default_factory=dict)
    changed: str = ""


STACK = ("postgres.log", "migrations.log", "redis.log", "datastorage.log")
KINDS = {
    "engine": Kind((role("reaper"),), "engine", ()),
    "image": Kind(
        (said("image golang"), LAST_BUILD_STEP), "image datastorage", ("build-datastorage.log",), changed="workspace"
    ),
    "gate": Kind((said("image datastorage"), has_written("postgres")), "postgres", ("postgres.log",)),
    "job": Kind(
        (said("  postgres "), has_written("migrations")),
        "migrations",
        ("postgres.log", "migrations.log"),
        {"components/migrations.toml": lasting_job},
    ),
    "before": Kind(
        (logged("before-wait.log", "waiting"),),
        "wait",
        (*STACK, "before-wait.log"),
        before("echo waiting; exec sleep 60"),
    ),
    # Ginkgo writes its report when it is given its grace, and only then.
    "suite": Kind(
        (said("  check "), said("Running Suite")), "suite", (*STACK, "suite.log", "ginkgo.json"), suite("slow")
    ),
    "teardown": Kind((said("  suite "),), "suite", (*STACK, "suite.log", "ginkgo.json"), grace("datastorage", 3)),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TARGETS = ("nox", "invoke", "group")
Case = tuple[signal.Signals, str, str]
MATRIX: tuple[Case, ...] = tuple(itertools.product(SIGNALS, TARGETS, KINDS))
# The sum of the three places: with two of them given there is a third in every row of three.
EVERY_DAY = tuple(
    case for case in MATRIX if (SIGNALS.index(case[0]) + TARGETS.index(case[1]) + list(KINDS).index(case[2])) % 3 == 0
)


def test_every_day_meets_every_pair() -> None:
    def pairs(cases: tuple[Case, ...]) -> set[tuple[object, ...]]:
        return {(at, *pair) for case in cases for at, pair in enumerate(itertools.combinations(case, 2))}

    assert pairs(EVERY_DAY) == pairs(MATRIX)
    assert len(EVERY_DAY) == len(MATRIX) / 3


@dataclass(frozen=True)
class Ended:
    """A run that something has ended: its process's exit code, its report, its logs, what is left, the seconds."""

    code: int
    report: Mapping[str, Any]
    logs: frozenset[str]
    left: list[str]
    seconds: float
    said: str

    @property
    def end(self) -> tuple[object, object, list[str]]:
        return self.report["outcome"], self.report["exit_code"], self.left

    @property
    def steps(self) -> dict[str, str]:
        return {step["name"]: step["status"] for step in self.report["steps"]}


def ended(run: Victim, engine: Engine, began: float) -> Ended:
    """Wait for the end: the report is the last thing of a run, and comes after nox where nox did not wait."""
    code = run.ends(90)
    wait("the report", (run.folder / "report.json").exists, 45.0)
    seconds = time.monotonic() - began
    _, left = until_clean(engine, run.run, 3.0)
    logs = frozenset(path.name for path in (run.folder / "logs").iterdir() if path.stat().st_size)
    return Ended(code, run.report(), logs, left, seconds, "\n".join(run.lines[-60:]))


def started(ground: Ground, target: str, edits: Edits, env: Mapping[str, str] = MappingProxyType({})) -> Victim:
    if target == "invoke":
        catalog = {"INFRA_CATALOG": str(ground.catalog(edits))} if edits else {}
        return ground.main_job("--fresh", env={**env, **catalog})
    return through_nox(ground, edits, env)


def send(run: Victim, target: str, signum: int) -> None:
    if target == "group":
        os.killpg(run.process.pid, signum)
    else:
        run.process.send_signal(signum)


def interrupted(ground: Ground, engine: Engine, case: Case) -> Ended:
    signum, target, name = case
    kind = KINDS[name]
    with started(ground, target, kind.edits, nonce_env(ground, kind.changed)) as run:
        Moment(name, kind.sees).reach(run, engine)
        began = time.monotonic()
        send(run, target, signum)
        return ended(run, engine, began)


@pytest.fixture(scope="module")
def matrix(ground: Ground, held: Lease, request: pytest.FixtureRequest) -> Iterator[Callable[[Case], Ended]]:
    """The cases that were asked for, two at a time; each test waits for its own."""
    items = (one for one in request.session.items if isinstance(one, pytest.Function) and "matrix" in one.fixturenames)
    asked: list[Case] = [one.callspec.params["case"] for one in items]  # type: ignore[misc]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures: dict[Case, Future[Ended]] = {
            case: pool.submit(interrupted, ground, held.engine.clone(), case) for case in dict.fromkeys(asked)
        }
        try:
            yield lambda case: futures[case].result(5400)
        finally:
            pool.shutdown(cancel_futures=True)


def of_process(signum: int, target: str) -> int:
    """The exit code of what was started: nox dies of the signals that it does not know, 128+n to a shell."""
    return 128 + signum if target == "invoke" or signum == signal.SIGINT else -signum


def named(case: Case) -> str:
    return f"{case[0].name}-{case[1]}-{case[2]}"


@pytest.mark.parametrize("case", EVERY_DAY, ids=named)
@pytest.mark.timeout(3600)  # the last of them waits for all the others
def test_a_signal_ends_the_run_with_its_evidence(case: Case, matrix: Callable[[Case], Ended]) -> None:
    look_at(case, matrix(case))


@pytest.mark.soak
@pytest.mark.parametrize("case", MATRIX, ids=named)
@pytest.mark.timeout(7200)
def test_every_signal_to_everybody_in_every_kind_of_step(case: Case, matrix: Callable[[Case], Ended]) -> None:
    look_at(case, matrix(case))


def look_at(case: Case, run: Ended) -> None:
    signum, target, name = case
    kind = KINDS[name]
    print(f"{named(case)}: {run.seconds:.1f} s, {run.code}, {run.end}, {run.steps}")
    # nox tells nobody: what it was told alone arrives as its SIGTERM, or as its end.
    told = signal.SIGTERM if target == "nox" else signum
    assert (run.code, *run.end) == (of_process(signum, target), "interrupted", 128 + told, []), run.said
    assert set(kind.logs) <= run.logs, (run.logs, run.said)
    assert kind.step in run.steps, run.said
    if name == "teardown":
        # What was interrupted is the run; what its suite had said before stays in the report.
        assert (run.steps["suite"], run.steps["teardown"]) == ("passed", "passed")
        assert run.report["suite"]["passed"] == 91
    elif signum != signal.SIGINT or target != "nox":  # it comes 0.3 s later, so perhaps to the next step
        assert run.steps[kind.step] in ("interrupted", "failed"), run.said
        assert "passed" in (run.steps.get("teardown"), *(["passed"] if name == "engine" else [])), run.said


# -- a second Ctrl-C

DEAF = '["sh", "-c", "trap \'\' TERM; redis-server --save \'\' --protected-mode no & while :; do sleep 1; done"]'


def deaf_redis(text: str) -> str:
    """A Redis whose first process takes no notice of SIGTERM, and that asks for ten seconds all the same."""
    old = 'command = ["redis-server", "--save", "", "--appendonly", "no"]'
    return 'stop_grace = "12s"\n' + text.replace(old, f"command = {DEAF}")


GRACES: dict[str, tuple[Edits, tuple[Callable[[Victim, Engine], bool], ...], tuple[str, ...]]] = {
    "a-suite": ({NOTIFICATION: deaf_suite}, (said("deaf from now on"),), (*STACK, "suite.log")),
    "a-component": (
        {"components/redis.toml": deaf_redis, **before("echo waiting; exec sleep 60")},
        (logged("before-wait.log", "waiting"),),
        (*STACK, "before-wait.log"),
    ),
}


@pytest.mark.parametrize(
    ("deaf", "target"),
    [
        pytest.param(deaf, target, marks=() if (number + told) % 2 else pytest.mark.soak)
        for number, deaf in enumerate(GRACES)
        for told, target in enumerate(("invoke", "group"))
    ],
)
def test_a_second_interrupt_waits_for_no_grace_and_skips_nothing(
    deaf: str, target: str, ground: Ground, held: Lease
) -> None:
    """Both graces are ten seconds and more. Through nox a terminal tells the whole group; nox itself adds a SIGTERM."""
    edits, sees, logs = GRACES[deaf]

    def one(interrupts: int) -> Ended:
        engine = held.engine.clone()
        with started(ground, target, edits) as run:
            Moment(deaf, sees).reach(run, engine)
            began = time.monotonic()
            for number in range(interrupts):
                time.sleep(2.0 * bool(number))  # by then the grace is under way
                send(run, target, signal.SIGINT)
            return ended(run, engine, began)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        patient, hurried = pool.map(one, (1, 2))
    print(f"{deaf}, {target}: {patient.seconds:.1f} s with one interrupt, {hurried.seconds:.1f} s with two")
    for run in (patient, hurried):
        assert (run.code, *run.end) == (130, "interrupted", 130, []), run.said
        assert set(logs) <= run.logs, run.said
        assert run.steps["teardown"] == "passed"
    assert patient.logs - {"engine.log"} == hurried.logs - {"engine.log"}
    assert patient.seconds > 10.0
    assert hurried.seconds < patient.seconds - 2.0  # of eight and more


# -- a closed terminal


class Terminal:
    """A pseudo-terminal of our own with a reader: what runs on it sees a person's terminal, and its end."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._reader: threading.Thread | None = None
        self._victim: Victim | None = None

    def start(self, argv: tuple[str, ...], ground: Ground, run: str, env: Mapping[str, str]) -> Victim:
        """Start what runs on it: a session of its own, whose controlling terminal this is."""
        self._master, slave = pty.openpty()
        process = subprocess.Popen(
            argv,
            cwd=ground.root,
            env=ground.environment(TERM="xterm", COLUMNS="200", **env),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there is no other way
            text=True,
        )
        os.close(slave)
        self._victim = Victim(process, ground, run)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self._victim

    def _read(self) -> None:
        assert self._victim is not None
        text = ""
        with contextlib.suppress(OSError):
            while not self._stop.is_set():
                if select.select([self._master], [], [], 0.02)[0]:
                    text += os.read(self._master, 65536).decode("utf-8", "replace")
                    *lines, text = text.split("\n")
                    self._victim.lines += lines

    def close(self) -> None:
        """Close it, as a window or an ssh connection is closed. Nothing may read meanwhile: that would hold it open."""
        assert self._reader is not None
        if not self._stop.is_set():
            self._stop.set()
            self._reader.join(5)
            os.close(self._master)


def test_a_closed_terminal_ends_the_run(ground: Ground, engine: Engine) -> None:
    terminal = Terminal()
    try:
        with through_nox(ground, NO_EDITS, start=terminal.start) as run:
            Moment("a gate", KINDS["gate"].sees).reach(run, engine)
            began = time.monotonic()
            terminal.close()
            one = ended(run, engine, began)
    finally:
        terminal.close()
    assert (one.code, *one.end) == (-signal.SIGHUP, "interrupted", 129, []), one.said
    assert "postgres.log" in one.logs
    assert one.steps["postgres"] == "interrupted"


def test_a_hangup_that_is_ignored_ends_nothing_and_a_file_is_no_reader(
    ground: Ground, engine: Engine, tmp_path: Path
) -> None:
    """As `nohup invoke ... > file &` does."""
    run = new_run()
    task = ("suite.run", "--service", "notification", "--ports", "auto", "--fresh", "--run", run)
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            ("nohup", sys.executable, "-m", "invoke", *task),
            cwd=ground.root,
            env=ground.environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )
    with Victim(process, ground, run) as victim:
        victim.reach("a gate", lambda: is_in("postgres", "running")(victim, engine))
        process.send_signal(signal.SIGHUP)
        one = ended(victim, engine, 0.0)
    assert (one.code, *one.end) == (0, "passed", 0, [])


# -- a closed output


def pipe() -> tuple[int, int]:
    return os.pipe()


def socket() -> tuple[int, int]:
    ends = sockets.socketpair()
    return ends[0].detach(), ends[1].detach()


@pytest.mark.parametrize("make", [pipe, socket], ids=["pipe", "socket"])
def test_a_closed_output_ends_the_run_though_nothing_is_printed(
    make: Callable[[], tuple[int, int]], ground: Ground, engine: Engine
) -> None:
    reading, writing = make()
    run = new_run()
    task = ("suite.run", "--service", "notification", "--ports", "auto", "--fresh", "--run", run)
    env = {"INFRA_CATALOG": str(ground.catalog(before("echo waiting; exec sleep 60")))}
    process = subprocess.Popen(
        (sys.executable, "-m", "invoke", *task),
        cwd=ground.root,
        env=ground.environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    os.close(writing)
    with Victim(process, ground, run) as victim:
        try:
            victim.reach("a silent step", lambda: victim.logged("before-wait.log", "waiting"))
        finally:
            began = time.monotonic()
            os.close(reading)
        one = ended(victim, engine, began)
    assert (one.code, *one.end) == (141, "interrupted", 141, [])
    assert set(STACK) <= one.logs
    assert one.steps["wait"] == "interrupted"
    assert one.report["cause"]["message"].startswith("the output was closed")
    assert one.seconds < 20.0  # of the 60 that it says nothing


def test_an_output_that_nobody_reads_holds_up_no_end(ground: Ground, engine: Engine) -> None:
    """As with Ctrl-S, `less` or a stopped `tee`: nothing is closed, and every write waits."""
    reading, writing = os.pipe()
    run = new_run()
    task = ("suite.run", "--service", "notification", "--ports", "auto", "--fresh", "--run", run)
    process = subprocess.Popen(
        (sys.executable, "-m", "invoke", *task),
        cwd=ground.root,
        env=ground.environment(INFRA_CATALOG=str(ground.catalog(before("echo waiting; exec sleep 60")))),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        with Victim(process, ground, run) as victim:
            victim.reach("a silent step", lambda: victim.logged("before-wait.log", "waiting"))
            while select.select([], [writing], [], 0.0)[1]:
                os.write(writing, b"." * select.PIPE_BUF)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            one = ended(victim, engine, began)
    finally:
        os.close(writing)
        os.close(reading)
    assert (one.code, *one.end) == (143, "interrupted", 143, [])
    assert set(STACK) <= one.logs
    assert one.steps["teardown"] == "passed"


def test_head_ends_what_is_piped_into_it(ground: Ground, engine: Engine) -> None:
    run = new_run()
    up = f"infra.up --service notification --ports auto --run {run}"
    # A stack of this service that somebody has up on this host would be used, and there would be nothing to end.
    catalog = ground.catalog({NOTIFICATION: before("true")[NOTIFICATION]})
    (catalog / NOTIFICATION).rename(catalog / "services/headed.toml")
    script = f"set -o pipefail; {sys.executable} -m invoke {up.replace('notification', 'headed')} | head -1"
    done = subprocess.run(
        ("bash", "-c", script),
        cwd=ground.root,
        env=ground.environment(INFRA_CATALOG=str(catalog)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (141, 1), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert until_clean(engine, run, 3.0)[1] == []


# -- nox


def test_a_nox_that_is_killed_ends_the_run(ground: Ground, engine: Engine) -> None:
    with through_nox(ground, NO_EDITS) as run:
        Moment("a gate", KINDS["gate"].sees).reach(run, engine)
        run.process.kill()
        one = ended(run, engine, time.monotonic())
    assert (one.code, *one.end) == (-signal.SIGKILL, "interrupted", 143, []), one.said
    assert "postgres.log" in one.logs
