"""The pytest plug-in as a Python team has it: real pytest, real xdist, real stacks, and every way to end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from product import (
    CATALOG,
    ROOT,
    WORKSPACE,
    Done,
    Podman,
    Project,
    edit,
    eventually,
    free_ports,
    redis_catalog,
    run_in,
    step,
    without,
)

AT_A_TIME = 4
OWN = ("--infra-ports", "auto", "--infra-fresh")
GATEWAY = ("--infra-service", "gateway", *OWN)
# The team's tests say what they see, in files beside them.
CONFTEST = """
    import faulthandler, json, os, pathlib, pytest, signal, socket, time

    faulthandler.register(signal.SIGUSR1, open(f"where-{os.getpid()}", "w"))

    NAMES = ("INFRA_RUN", "INFRA_WORKER", "REDIS_ADDR", "REDIS_DB", "POSTGRES_DB", "PYTEST_XDIST_WORKER")

    @pytest.fixture
    def note(request):
        folder = pathlib.Path(__file__).parent / "seen"
        folder.mkdir(exist_ok=True)
        def write(**more):
            seen = {"test": request.node.name, **{name: os.environ.get(name) for name in NAMES}, **more}
            new = folder / f".{request.node.name}"
            new.write_text(json.dumps(seen))
            new.rename(folder / request.node.name)
        return write

    @pytest.fixture
    def redis_says():
        def say(command):
            host, port = os.environ["REDIS_ADDR"].split(":")
            with socket.create_connection((host, int(port)), timeout=10) as line:
                line.sendall(command.encode() + b"\\r\\n")
                return line.recv(100).decode()
        return say
"""
SEEING = """
    import time, pytest

    @pytest.mark.parametrize("n", range(9))
    def test_sees(n, note, infra_stack, redis_says):
        answer = redis_says("PING")
        time.sleep(0.05)
        note(run=infra_stack.run, worker=infra_stack.worker, service=infra_stack.service, answer=answer,
             same=infra_stack.env["REDIS_ADDR"])
"""
MIXED = """
    def test_passes(note): note()
    def test_fails(note): note(); assert "red" == "green"
    def test_later(note): note()
"""
WAITING = """
    import pytest, time

    @pytest.mark.parametrize("n", range(2))
    def test_waits(n, note):
        note()
        time.sleep(600)
"""
EXITING = """
    import os, pytest

    @pytest.mark.parametrize("n", range(6))
    def test_exits(n, note, infra_stack):
        note(worker=infra_stack.worker)
        if n == 0:
            os._exit(3)
"""
FORKING = """
    import os, time

    def test_forks(note):
        child = os.fork()
        if child == 0:
            time.sleep(600)
        note(child=child)
        os.kill(os.getpid(), 9)
"""
KILLING = """
    import pytest, time

    def test_00_ends_redis(note, redis_says):
        note()
        redis_says("SHUTDOWN NOSAVE")

    @pytest.mark.parametrize("n", range(60))
    def test_goes_on(n, note):
        note()
        time.sleep(0.5)
"""
HANGING = """
    import time

    def test_ends_redis_and_waits_for_it(note, redis_says):
        note()
        redis_says("SHUTDOWN NOSAVE")
        time.sleep(600)

    def test_never(note): note()
"""
STACKLESS = """
    def test_asks(infra_stack): pass
    def test_does_not_ask(note): note()
"""


@dataclass(frozen=True)
class Ended:
    """A pytest that has ended: what it said, what its tests saw, and what is left of its run."""

    done: Done
    folder: Path
    run: str | None
    left: list[str]

    @property
    def code(self) -> int:
        return self.done.code

    @property
    def text(self) -> str:
        return self.done.text

    @property
    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("seen/test_*"))]

    @property
    def report(self) -> dict[str, Any]:
        return Project(self.folder).report()

    @property
    def causes(self) -> int:
        """How often a cause is told: each has one line of what to do."""
        return self.text.count("; to do: ")


@dataclass(frozen=True)
class Team:
    """A Python team's folder: a pyproject.toml, a conftest.py and a test file."""

    folder: Path
    podman: Podman

    @classmethod
    def make(cls, folder: Path, podman: Podman, tests: str, catalog: Path = CATALOG) -> Team:
        folder.mkdir(parents=True)
        table = f"[tool.infra]\ncatalog = {json.dumps(str(catalog))}\nworkspace = {json.dumps(str(WORKSPACE))}\n"
        (folder / "pyproject.toml").write_text(table, encoding="utf-8")
        (folder / "conftest.py").write_text(textwrap.dedent(CONFTEST), encoding="utf-8")
        (folder / "test_team.py").write_text(textwrap.dedent(tests), encoding="utf-8")
        return cls(folder, podman)

    def argv(self, *words: str) -> tuple[str, ...]:
        own = ("-p", "xdist.plugin", "-p", "infra.pytest_plugin", "-p", "no:cacheprovider")
        return (sys.executable, "-m", "pytest", *own, *words)

    def environment(self, **more: str | None) -> dict[str, str]:
        env = Project(self.folder).environment(
            **{"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}
        )
        outer = {name for name in os.environ if name.startswith("PYTEST_")} - {"PYTEST_DEBUG_TEMPROOT"}
        return {name: value for name, value in env.items() if name not in outer}

    def runs(self, *words: str, argv: tuple[str, ...] | None = None, **more: str | None) -> Ended:
        """Run pytest to its end; nothing may be left when it has ended."""
        with self.going(*words, argv=argv, **more) as going:
            return going.ended(left_s=0.0)

    @contextlib.contextmanager
    def going(self, *words: str, argv: tuple[str, ...] | None = None, **more: str | None) -> Iterator[Going]:
        """Have pytest run as the leader of a process group, as a shell would; whatever is left of it is killed."""
        out, err = self.folder / "stdout", self.folder / "stderr"
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                argv or self.argv(*words),
                cwd=self.folder,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            yield Going(self, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@dataclass(frozen=True)
class Going:
    """A pytest while it runs."""

    team: Team
    process: subprocess.Popen[bytes]

    def said(self) -> Done:
        out, err = ((self.team.folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
        return Done(("pytest",), self.process.poll() or 0, out, err)

    def waits_for(self, what: str, seen: Callable[[], bool]) -> None:
        def look() -> bool:
            assert self.process.poll() is None, f"it ended before {what}: {self.said().text}"
            return seen()

        eventually(what, look)

    def run(self) -> str:
        """The run's name, once it has been said."""
        self.waits_for("its run is named", lambda: "integration: run " in self.said().err and "\n" in self.said().err)
        return run_in(self.said().err)

    def ended(self, left_s: float) -> Ended:
        """Wait for its end, and that nothing is left of its run `left_s` later at the latest."""
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended; {self._where()}\n{self.said().text}", pytrace=False)
        deadline = time.monotonic() + left_s
        said = self.said()
        run = run_in(said.text) if "integration: run " in said.text else None
        left = self.team.podman.left_of(run) if run else []
        while left and time.monotonic() < deadline:
            time.sleep(0.2)
            left = self.team.podman.left_of(str(run))
        # Who waits for pytest has heard all of it; who has killed it hears the rest a little later.
        return Ended(self.said() if left_s else said, self.team.folder, run, left)

    def _where(self) -> str:
        """Return what runs, and where in their Python those are that have read the team's conftest."""
        pytest_itself = psutil.Process(self.process.pid)
        said = []
        for one in (pytest_itself, *pytest_itself.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                said.append(f"{one.pid} {' '.join(one.cmdline())}")
                where = self.team.folder / f"where-{one.pid}"
                if where.exists():
                    one.send_signal(signal.SIGUSR1)
                    time.sleep(0.5)
                    said.append(where.read_text())
        return "\n".join(said)


Scenario = Callable[[Callable[..., Team]], Ended]


def plain(tests: str, *words: str, **more: str | None) -> Scenario:
    """Tests that run to their end, with a stack of gateway."""
    return lambda make: make(tests).runs(*(words or GATEWAY), argv=None, **more)


def told(tests: str, signum: int, *words: str) -> Scenario:
    """Tests that wait; a signal comes when they do. SIGINT goes to the whole group, as from a terminal."""

    def scenario(make: Callable[..., Team]) -> Ended:
        team = make(tests)
        with team.going(*GATEWAY, *words) as going:
            workers = 2 if words else 1
            going.waits_for("tests wait", lambda: len(list(team.folder.glob("seen/test_*"))) == workers)
            assert team.podman.names(going.run()), "there is a stack to end"
            (os.killpg if signum == signal.SIGINT else os.kill)(going.process.pid, signum)
            return going.ended(left_s=60.0)

    return scenario


def told_early(signum: int, *words: str) -> Scenario:
    """A signal comes while the stack comes up: its Redis never gets ready."""

    def scenario(make: Callable[..., Team]) -> Ended:
        team = make(MIXED, catalog="slow")
        with team.going("--infra-service", "slow", *OWN, *words) as going:
            run = going.run()
            going.waits_for("a container is there", lambda: bool(team.podman.names(run)))
            (os.killpg if signum == signal.SIGINT else os.kill)(going.process.pid, signum)
            return going.ended(left_s=60.0)

    return scenario


def robbed(make: Callable[..., Team]) -> Ended:
    """The process that has the stack is killed while tests run."""
    team = make(WAITING)
    with team.going(*GATEWAY) as going:
        going.waits_for("a test waits", (team.folder / "seen").exists)
        (server,) = (one for one in psutil.Process(going.process.pid).children() if "infra.serve" in one.cmdline())
        server.kill()
        return going.ended(left_s=60.0)


def together(make: Callable[..., Team]) -> Ended:
    """Both outputs in one, as on a terminal, and a dependency that dies."""
    team = make(KILLING)
    return team.runs(argv=("sh", "-c", 'exec "$@" 2>&1', "sh", *team.argv(*GATEWAY)))


def forked(make: Callable[..., Team]) -> Ended:
    team = make(FORKING)
    with team.going(*GATEWAY) as going:
        return going.ended(left_s=60.0)


def exiting(*words: str) -> Scenario:
    def scenario(make: Callable[..., Team]) -> Ended:
        with make(EXITING).going(*GATEWAY, *words) as going:
            return going.ended(left_s=60.0)

    return scenario


def headed(make: Callable[..., Team]) -> Ended:
    team = make(SEEING)
    line = 'exec 3>&1; { "$@"; echo "exit code $?" >&2; } | head -1'
    with team.going(argv=("sh", "-c", line, "sh", *team.argv(*GATEWAY))) as going:
        return going.ended(left_s=60.0)


def taken(*words: str) -> Scenario:
    def scenario(make: Callable[..., Team]) -> Ended:
        team = make(MIXED, catalog="taken")
        text = (team.folder.parent / "catalog-taken" / "services" / "taken.toml").read_text()
        port = int(text.split("redis = ")[1].split("\n")[0])
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            return team.runs("--infra-service", "taken", "--infra-fresh", *words)

    return scenario


def engineless(*words: str) -> Scenario:
    def scenario(make: Callable[..., Team]) -> Ended:
        team = make(MIXED)
        path = without(team.environment()["PATH"], "podman", team.folder)
        return team.runs(*GATEWAY, *words, PATH=path, CONTAINER_HOST=None, CONTAINER_CONNECTION=None)

    return scenario


def dying(*words: str) -> Scenario:
    return lambda make: make(MIXED, catalog="dying").runs("--infra-service", "dying", *OWN, *words)


def installed(make: Callable[..., Team]) -> Ended:
    """A new environment with the wheel, pytest and xdist, as a team installs them; the plug-in is active in it."""
    team = make(SEEING)
    above = team.folder.parent
    pip = ("venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    for argv in (
        (sys.executable, "-m", "venv", "venv"),
        (*pip, "wheel", "--no-deps", "--wheel-dir", "wheels", str(ROOT)),
        (*pip, "install", "--find-links", "wheels", "kubernaut-infra", "pytest", "pytest-xdist"),
    ):
        done = subprocess.run(argv, cwd=above, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    words = ("--infra-service", "contextapi", *OWN, "-n", "3")
    argv = (str(above / "venv/bin/python"), "-m", "pytest", *words)
    return team.runs(argv=argv, PYTHONPATH=None, PYTEST_DISABLE_PLUGIN_AUTOLOAD=None)


def under_the_runner(make: Callable[..., Team]) -> Ended:
    """The runner has a stack for a suite of pytest, whose own words ask for one."""
    team = make(SEEING)
    words = ["-p", "infra.pytest_plugin", "--infra-service", "team", *OWN]
    rest = (
        f'[tiers.integration]\nenv = {{ REDIS_ADDR = "127.0.0.1:{{redis.redis}}" }}\n'
        f'suite = {{ runner = "pytest", paths = ["test_team.py"], args = {json.dumps(words)} }}\n'
    )
    above = team.folder.parent
    catalog = redis_catalog(above / "catalog", {"team": rest}, free_ports(1)[0])
    project = Project.make(above / "project", catalog=catalog, workspace=team.folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), project.environment()["PATH"]])
    done = project.invoke("suite.run", "--service", "team", "--ports", "auto", "--fresh", PATH=path)
    run = project.report()["run"]
    return Ended(done, team.folder, run, team.podman.left_of(run))


@dataclass(frozen=True)
class Person:
    """Somebody who has a stack up, of the team's folder, in which two pytests run one after the other."""

    make: Callable[..., Team]

    def has(self) -> tuple[Ended, Ended]:
        service = f"team-{secrets.token_hex(3)}"
        team = self.make(SEEING, catalog=service)
        project = Project.make(team.folder, catalog=team.folder.parent / f"catalog-{service}")
        up = project.invoke("infra.up", "--service", service, "--ports", "auto")
        run = run_in(up.text)
        try:
            assert up.code == 0, up.text
            given = json.loads(project.invoke("infra.env", "--service", service, "--format", "json").out)
            used = team.runs("--infra-service", service, "--infra-ports", "auto")
            assert {one["REDIS_ADDR"] for one in used.seen} == {given["REDIS_ADDR"]}, used.text
            aside = team.folder.parent / "aside"
            aside.mkdir()
            used = replace(used, folder=aside)
            (team.folder / "seen").rename(aside / "seen")
            fresh = team.runs("--infra-service", service, *OWN)
            assert team.podman.names(run) == [f"{service}-redis-{run}"], "the person's stack stays"
        finally:
            down = project.invoke("infra.down", "--service", service)
        assert (down.code, team.podman.left_of(run)) == (0, []), down.text
        return used, fresh


TWO = ("-n", "2")
NOTHING = ("--infra-service", "no-such-service")
SCENARIOS: Mapping[str, Scenario] = {
    "hanging -n 2": plain(HANGING, *GATEWAY, *TWO),
    "hanging": plain(HANGING),
    "installed": installed,
    "under the runner": under_the_runner,
    "passing": plain(SEEING),
    "failing": plain(MIXED),
    "first failing": plain(MIXED, *GATEWAY, "-x"),
    "forking": forked,
    "robbed": robbed,
    "exiting": exiting(),
    "exiting -n 3": exiting("-n", "3"),
    "head": headed,
    "too many workers": plain(MIXED, *GATEWAY, "-n", "6"),
    "too many for the runner": plain(MIXED, "-n", "3", INFRA_RUN="0badcafe", INFRA_WORKERS="2"),
    "SIGINT": told(WAITING, signal.SIGINT),
    "SIGTERM": told(WAITING, signal.SIGTERM),
    "SIGKILL": told(WAITING, signal.SIGKILL),
    "SIGINT -n 2": told(WAITING, signal.SIGINT, *TWO),
    "SIGTERM -n 2": told(WAITING, signal.SIGTERM, *TWO),
    "SIGKILL -n 2": told(WAITING, signal.SIGKILL, *TWO),
    "early SIGINT": told_early(signal.SIGINT),
    "early SIGTERM": told_early(signal.SIGTERM),
    "early SIGKILL": told_early(signal.SIGKILL),
    "early SIGKILL -n 2": told_early(signal.SIGKILL, *TWO),
    "unknown": plain(MIXED, *NOTHING),
    "unknown -n 2": plain(MIXED, *NOTHING, *TWO),
    "taken": taken(),
    "taken -n 2": taken(*TWO),
    "dying": dying(),
    "dying -n 2": dying(*TWO),
    "engineless": engineless(),
    "engineless -n 2": engineless(*TWO),
    "killed": together,
    "killed -n 2": plain(KILLING, *GATEWAY, *TWO),
    "stackless": plain(STACKLESS, "-v"),
    "provided": plain(MIXED, *NOTHING, INFRA_RUN="0badcafe", INFRA_SERVICE="no-such-service"),
    "another's": plain(MIXED, *NOTHING, INFRA_RUN="0badcafe", INFRA_SERVICE="gateway"),
    "collect": plain(MIXED, *NOTHING, "--collect-only"),
    "help": plain(MIXED, *NOTHING, "--help"),
    "version": plain(MIXED, *NOTHING, "--version", "--version"),
    "fixtures": plain(MIXED, *NOTHING, "--fixtures"),
    "markers": plain(MIXED, *NOTHING, "--markers"),
    "plan": plain(STACKLESS, *NOTHING, "--setup-plan"),
}


@pytest.fixture(scope="module")
def make(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Team]:
    """Make a team's folder; a catalogue is the real one, or one of Redis alone that goes wrong in its own way."""

    def make(tests: str, *, catalog: str = "") -> Team:
        folder = tmp_path_factory.mktemp("team")
        if not catalog:
            return Team.make(folder / "repository", podman, tests)
        rest = (
            '[tiers.integration]\nenv = { REDIS_ADDR = "127.0.0.1:{redis.redis}" }\n'
            'suite = { runner = "pytest", paths = ["tests"] }\n'
        )
        made = redis_catalog(folder / f"catalog-{catalog}", {catalog: rest}, free_ports(1)[0])
        redis = made / "components" / "redis.toml"
        if catalog == "dying":
            edit(redis, '"redis-server"', '"redis-server", "--no-such-option"')
        if catalog == "slow":
            edit(redis, 'command = ["redis-server", "--save", "", "--appendonly", "no"]', 'command = ["sleep", "600"]')
            edit(redis, '"10s"', '"100s"')
        return Team.make(folder / "repository", podman, tests, made)

    return make


# What differs from another one in one thing of two; the others run every day.
SOAK = ("SIGKILL", "SIGINT -n 2", "early SIGKILL", "killed -n 2", "hanging")


def soaked(name: str) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.soak,) if name in SOAK else ()


@pytest.fixture(scope="module")
def ended(request: pytest.FixtureRequest, warm: Project, make: Callable[..., Team]) -> Iterator[Callable[[str], Ended]]:
    """Those that are selected, several at a time; each test waits for its own."""
    names = " ".join(item.name for item in request.session.items)
    wanted = [name for name in SCENARIOS if name not in SOAK or f"[{name}-" in names or f"[{name}]" in names]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures: dict[str, Future[Ended]] = {name: pool.submit(SCENARIOS[name], make) for name in wanted}
        person = pool.submit(Person(make).has)
        beside = {"beside a person": 0, "beside a person, fresh": 1}
        yield lambda name: person.result(300)[beside[name]] if name in beside else futures[name].result(300)
        pool.shutdown(cancel_futures=True)


def test_tests_see_one_stack_and_its_addresses_in_the_environment_and_in_the_fixture(
    ended: Callable[[str], Ended],
) -> None:
    one = ended("passing")
    assert (one.code, len(one.seen), one.left) == (0, 9, []), one.text
    assert {(seen["run"], seen["INFRA_RUN"], seen["service"]) for seen in one.seen} == {(one.run, one.run, "gateway")}
    assert {seen["answer"] for seen in one.seen} == {"+PONG\r\n"}
    assert {seen["same"] for seen in one.seen} == {one.seen[0]["REDIS_ADDR"]}
    assert {(seen["worker"], seen["REDIS_DB"]) for seen in one.seen} == {(1, "1")}


def test_the_output_is_the_steps_then_pytests_own_then_the_end_of_the_stack(ended: Callable[[str], Ended]) -> None:
    one = ended("passing")
    assert one.done.out.startswith("===="), one.done.out
    assert one.done.out.rstrip().endswith("==="), one.done.out
    steps = [line.split()[0] for line in one.done.err.splitlines()[1:] if "  ok" in line]
    assert [steps[0], *steps[-3:]] == ["engine", "workers", "suite", "teardown"], one.done.err
    assert one.done.err.splitlines()[-1].startswith("passed; nothing left behind (run "), one.done.err
    assert step(one.report, "suite")["note"] == "run by pytest: 9 passed"


def test_the_report_of_failed_tests_says_so_and_pytests_exit_code_is_its_own(ended: Callable[[str], Ended]) -> None:
    one = ended("failing")
    assert (one.code, len(one.seen), one.left) == (1, 3, []), one.text
    report = one.report
    assert (report["outcome"], report["blame"], report["cause"]["reference"]) == ("failed", "test", "tests-failed")
    assert "2 passed, 1 failed" in report["cause"]["message"]
    assert "passed; nothing left" not in one.text


def test_after_the_first_failure_with_x_nothing_is_left(ended: Callable[[str], Ended]) -> None:
    one = ended("first failing")
    assert (one.code, [seen["test"] for seen in one.seen], one.left) == (1, ["test_fails", "test_passes"], []), one.text


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("SIGINT", 2, marks=soaked("SIGINT")),
        pytest.param("SIGTERM", -15, marks=soaked("SIGTERM")),
        pytest.param("SIGKILL", -9, marks=soaked("SIGKILL")),
        pytest.param("SIGINT -n 2", 2, marks=soaked("SIGINT -n 2")),
        pytest.param("SIGTERM -n 2", -15, marks=soaked("SIGTERM -n 2")),
        pytest.param("SIGKILL -n 2", -9, marks=soaked("SIGKILL -n 2")),
        pytest.param("early SIGINT", 2, marks=soaked("early SIGINT")),
        pytest.param("early SIGTERM", -15, marks=soaked("early SIGTERM")),
        pytest.param("early SIGKILL", -9, marks=soaked("early SIGKILL")),
        pytest.param("early SIGKILL -n 2", -9, marks=soaked("early SIGKILL -n 2")),
        pytest.param("exiting", 3, marks=soaked("exiting")),
        pytest.param("forking", -9, marks=soaked("forking")),
    ],
)
def test_whatever_ends_the_controller_ends_the_stack(ended: Callable[[str], Ended], name: str, code: int) -> None:
    one = ended(name)
    assert one.run is not None
    assert (one.code, one.left) == (code, []), one.text
    assert "infra/" not in one.text.replace(".infra/", ""), f"a traceback of ours: {one.text}"


def test_a_ctrl_c_while_the_stack_comes_up_runs_no_test_and_says_no_traceback(ended: Callable[[str], Ended]) -> None:
    one = ended("early SIGINT")
    assert (one.seen, one.done.out) == ([], ""), one.text
    assert "Traceback" not in one.text
    assert one.report["outcome"] == "interrupted"


def test_a_worker_that_crashed_is_replaced_by_one_with_its_values(ended: Callable[[str], Ended]) -> None:
    one = ended("exiting -n 3")
    assert (one.code, len(one.seen), one.left) == (1, 6, []), one.text
    assert "replacing crashed worker" in one.text
    assert {seen["worker"] for seen in one.seen} <= {1, 2, 3}
    assert {seen["REDIS_DB"] for seen in one.seen} <= {"1", "2", "3"}
    assert all(str(seen["worker"]) == seen["REDIS_DB"] for seen in one.seen)
    names = {seen["PYTEST_XDIST_WORKER"] for seen in one.seen}
    assert "gw3" in names, "the new one has run a test"


def test_a_reader_who_leaves_ends_pytest_and_its_stack(ended: Callable[[str], Ended]) -> None:
    one = ended("head")
    assert one.run is not None, one.text
    assert one.done.out.count("\n") == 1, one.text
    assert "exit code " in one.done.err
    assert one.left == []


@pytest.mark.parametrize(
    ("name", "code", "cause"),
    [
        ("unknown", 78, 'invalid: unknown service "no-such-service"'),
        ("taken", 75, "not-ready: redis: port "),
        ("dying", 75, "not-ready: redis: "),
        ("engineless", 69, "unavailable: "),
        ("too many workers", 78, "invalid: 6 xdist workers, and gateway integration has values for 4"),
        ("another's", 78, "invalid: the stack that is there is that of gateway, not of no-such-service"),
        ("too many for the runner", 78, "invalid: 3 xdist workers, and the stack that is there has values for 2"),
    ],
)
def test_infrastructure_that_fails_is_one_error_at_the_start_and_no_test_is_run(
    ended: Callable[[str], Ended], name: str, code: int, cause: str
) -> None:
    for which in (name, f"{name} -n 2"):
        if which not in SCENARIOS:
            continue
        one = ended(which)
        assert (one.code, one.seen, one.left, one.done.out) == (code, [], [], ""), one.text
        told = [line for line in one.done.err.splitlines() if line.startswith(cause)]
        assert (len(told), one.causes) == (1, 1), one.text
        assert "Traceback" not in one.text
        assert "Exit:" not in one.text


def test_what_to_do_names_the_options_of_pytest(ended: Callable[[str], Ended]) -> None:
    assert "to do: invoke infra.plan --service " in ended("unknown").text
    assert "or use --infra-ports auto" in ended("taken").text


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=soaked(name)) for name in ("killed", "killed -n 2", "hanging", "hanging -n 2")]
)
def test_a_dependency_that_dies_ends_the_session_with_one_cause(ended: Callable[[str], Ended], name: str) -> None:
    one = ended(name)
    assert (one.code, one.left) == (75, []), one.text
    assert 1 <= len(one.seen) < 50, one.text
    told = [line for line in one.text.splitlines() if line.startswith("not-ready: redis: ")]
    assert (len(told), one.causes) == (1, 1), one.text
    assert one.report["exit_code"] == 75
    assert "Traceback" not in one.text
    assert "INTERNALERROR" not in one.text


def test_the_cause_of_a_death_is_said_after_pytests_summary(ended: Callable[[str], Ended]) -> None:
    text = ended("killed").done.out
    order = (
        "test session starts",
        "the stack has ended: why is said below",
        " passed in ",
        "not-ready: redis: ",
        "FAILED",
    )
    places = [text.index(words) for words in order]
    assert places == sorted(places), text


def test_a_stack_whose_process_is_killed_ends_the_session_too(ended: Callable[[str], Ended]) -> None:
    one = ended("robbed")
    assert (one.code, one.left) == (70, []), one.text
    assert one.text.count("internal: the process that has the stack is gone") == 1, one.text


def test_the_fixture_without_a_stack_is_one_clear_error(ended: Callable[[str], Ended]) -> None:
    one = ended("stackless")
    assert (one.code, [seen["test"] for seen in one.seen]) == (1, ["test_does_not_ask"]), one.text
    assert "1 passed, 1 error" in one.text
    says = "there is no stack: run pytest with --infra-service NAME, or through the runner"
    assert one.text.splitlines().count(says) == 1, one.text
    assert "infra/pytest_plugin.py" not in one.text


@pytest.mark.parametrize("name", ["collect", "help", "version", "fixtures", "markers", "plan"])
def test_where_pytest_only_shows_something_nothing_is_started(ended: Callable[[str], Ended], name: str) -> None:
    one = ended(name)
    assert (one.code, one.seen, (one.folder / ".infra").exists()) == (0, [], False), one.text


def test_with_a_stack_from_the_runner_nothing_is_started_and_the_tests_run(ended: Callable[[str], Ended]) -> None:
    one = ended("provided")
    assert (one.code, len(one.seen), (one.folder / ".infra").exists()) == (1, 3, False), one.text
    assert {seen["INFRA_RUN"] for seen in one.seen} == {"0badcafe"}


def test_under_the_runner_the_same_command_line_has_the_runners_stack(ended: Callable[[str], Ended]) -> None:
    one = ended("under the runner")
    assert (one.code, one.left) == (0, []), one.text
    assert ({seen["run"] for seen in one.seen}, len(one.seen)) == ({one.run}, 9)
    assert one.text.count(": run ") == 1, one.text
    assert not (one.folder / ".infra").exists()


def test_a_stack_that_a_person_has_up_is_used_and_stays(ended: Callable[[str], Ended]) -> None:
    used = ended("beside a person")
    assert (used.code, len(used.seen)) == (0, 9), used.text
    assert "integration is used, and stays up (--infra-fresh starts a stack of its own)" in used.text


def test_fresh_refuses_the_stack_that_a_person_has_up(ended: Callable[[str], Ended]) -> None:
    used, fresh = ended("beside a person"), ended("beside a person, fresh")
    assert (fresh.code, len(fresh.seen), fresh.left) == (0, 9, []), fresh.text
    assert "is used, and stays up" not in fresh.text
    assert not {one["REDIS_ADDR"] for one in used.seen} & {one["REDIS_ADDR"] for one in fresh.seen}


def test_a_team_that_installs_the_wheel_has_one_stack_and_a_database_for_each_worker(
    ended: Callable[[str], Ended],
) -> None:
    one = ended("installed")
    assert (one.code, len(one.seen), one.left) == (0, 9, []), one.text
    assert {seen["run"] for seen in one.seen} == {one.run}
    given = {seen["PYTEST_XDIST_WORKER"]: (seen["worker"], seen["POSTGRES_DB"]) for seen in one.seen}
    lines = (one.folder / ".infra/runs/latest/env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    assert given == {f"gw{n - 1}": (n, env[f"POSTGRES_DB_{n}"].strip("'\"")) for n in (1, 2, 3)}
    assert len({database for _, database in given.values()}) == 3
