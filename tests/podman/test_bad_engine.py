"""An engine that answers errors, hangs, or speaks half an answer: a bounded wait, one message, and the sweep later.

The real engine behind a proxy of the tests' own. How long a hang may last, in the worst place: 5 s of silence, 12 s in
which the engine says nothing of its version either, 4 s for the sweep and 3 s for the reaper's first try.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import killing
import proxy
import pytest
from killing import Workspaces, until_clean
from product import Going, Project, eventually, free_ports, redis_catalog, suite
from proxy import Fault, Proxy, Rule, proxied

from infra.engine.client import Engine
from infra.engine.discover import private_environment

ERROR_S = 12.0
HANG_S = 40.0
BACK_S = 40.0
AT_A_TIME = 3
SLOW = f"slow-{os.getpid()}"
RED = f"red-{os.getpid()}"


@dataclass(frozen=True)
class Real:
    """A real engine on a socket, with the host's store."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "podman.sock"

    @property
    def engine(self) -> Engine:
        return Engine(f"unix://{self.socket}")


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    folder = Path(f"/tmp/px-{secrets.token_hex(3)}")  # short: a socket's path
    folder.mkdir(mode=0o700)
    env = {**os.environ, **dict(private_environment(folder)[0])}
    command = ["podman", "system", "service", "--time=0", f"unix://{folder}/podman.sock"]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL) as process:
        try:
            eventually("the service", (folder / "podman.sock").exists, 20)
            yield Real(folder, process)
        finally:
            process.terminate()
            process.wait(20)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def between(real: Real) -> Iterator[Proxy]:
    with proxied(real.folder / f"{secrets.token_hex(3)}.sock", real.socket) as one:
        yield one


@pytest.fixture(scope="module")
def light(warm: Project, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Redis and a suite of ten seconds."""
    catalog = redis_catalog(
        tmp_path_factory.mktemp("light") / "catalog",
        {SLOW: suite("./test/runner/slow"), RED: suite("./test/runner/failing")},
        free_ports(1)[0],
    )
    return make_project(catalog=catalog)


@contextlib.contextmanager
def alone(light: Project) -> Iterator[str]:
    """A workspace in which no other run's suite is going on."""
    copy = WORKSPACES.setdefault(light.folder, Workspaces(light.folder)).take()
    try:
        yield str(copy)
    finally:
        WORKSPACES[light.folder].give_back(copy)


def in_suite(going: Going) -> bool:
    return "Running Suite" in going.text


def at_once(going: Going) -> bool:
    return True


@dataclass(frozen=True)
class Moment:
    """A moment of the main job: the request that goes wrong, and when the rule for it is made."""

    method: str
    path: str
    first: int = 1
    when: Callable[[Going], bool] = at_once
    made: bool = True


MOMENTS = {
    "discovery": Moment("GET", "/_ping", made=False),
    "version": Moment("GET", "/_ping", first=2, made=False),
    "images": Moment("GET", "/images/.*/json"),
    "network": Moment("POST", "/networks/create"),
    "create": Moment("POST", "/containers/create"),
    "start": Moment("POST", "/containers/.*/start"),
    "gate": Moment("GET", "/containers/.*-redis-.*/json", first=2),
    "suite": Moment("GET", "/containers/.*-redis-.*/json", when=in_suite),
    # Not before: a start sweeps what others have left.
    "teardown": Moment("DELETE", "/containers/[^/]*", when=in_suite),
}
WORKSPACES: dict[Path, Workspaces] = {}
HANGS: dict[str, Fault] = {
    "hang": proxy.hang,
    "deaf": proxy.deaf,
    "half body, then hang": proxy.half_body_and_hang,
    "trickle": proxy.trickle,
}
QUICK: dict[str, Fault] = {
    "close": proxy.close,
    "half headers": proxy.half_headers,
    "half body": proxy.half_body,
    "half chunks": proxy.half_chunks,
    "html 502": proxy.html,
    "no json": proxy.answer(b'{"Id": '),
    "a list": proxy.answer(b"[]"),
    "an empty object": proxy.answer(b"{}"),
    "refuses": proxy.refuse(),
}
FAULTS = HANGS | QUICK
# Every day every fault at one moment, and one fault at all; the rest is for soak.
DAILY = [(fault, "gate") for fault in FAULTS]
DAILY += [("close", moment) for moment in MOMENTS if moment != "gate"]
DAILY += [("hang", moment) for moment in ("discovery", "teardown")]
CASES = [
    pytest.param(fault, moment, marks=() if (fault, moment) in DAILY else pytest.mark.soak)
    for fault in FAULTS
    for moment in MOMENTS
]


@dataclass(frozen=True)
class Ended:
    """How a run ended whose engine went bad, and what became of what it had left."""

    code: int
    text: str
    report: dict[str, Any]
    seconds: float
    suites: list[int]
    back_s: float
    left: list[str]
    hit: list[str]


def clean(real: Real, run: str) -> tuple[float, list[str]]:
    """Wait until nothing is left of a run but what Podman itself may lose: it says that a container is removed, but its
    runtime was not told (`/run/runc/<id>`, empty control groups). Seen on a busy host without any fault too.
    """
    start = time.monotonic()
    while True:
        _, found = until_clean(real.engine, run, 0.0)
        left = [one for one in found if not one.startswith("folder /sys/fs/cgroup/")]
        if not left or time.monotonic() - start > BACK_S:
            return time.monotonic() - start, left
        time.sleep(0.1)


def go_bad(
    light: Project,
    real: Real,
    fault: Fault,
    moment: Moment,
    *,
    for_good: bool,
    service: str = SLOW,
    signum: int | None = None,
) -> Ended:
    """Run the main job with an engine that goes bad, and have it back when the run has ended."""
    words = ("suite.run", "--service", service, "--ports", "auto", "--fresh")
    with (
        proxied(real.folder / f"{secrets.token_hex(3)}.sock", real.socket) as between,
        alone(light) as workspace,
        light.going(*words, INFRA_IMAGES="local", CONTAINER_HOST=between.url, INFRA_WORKSPACE=workspace) as going,
    ):
        eventually("the moment", lambda: moment.when(going) or going.process.poll() is not None, 180)
        between.rule(Rule(fault, moment.method, f"{moment.path}(\\?|$)", moment.first, for_good=for_good))
        if signum is not None:
            eventually("the fault", lambda: bool(between.hit), 60)
            going.process.send_signal(signum)
        code = going.ends(150)
        ended = time.monotonic()
        assert between.hit, f"no request was met:\n{going.text}"
        suites = killing.with_role(going.run, "suite")
        between.lift()
        back_s, left = clean(real, going.run)
        hit = [what for _, what in between.hit]
        report = light.report(going.run)
        return Ended(code, going.text, report, ended - between.hit[0][0], suites, back_s, left, hit)


@pytest.fixture(scope="module")
def bad(request: pytest.FixtureRequest, light: Project, real: Real) -> Iterator[dict[tuple[str, str], Future[Ended]]]:
    """The runs that the selected tests look at; they mostly wait, so some at a time."""
    names = {item.name.partition("[")[2].rstrip("]") for item in request.session.items if "goes_bad" in item.name}
    cases = [(fault, moment) for fault in FAULTS for moment in MOMENTS if f"{fault}-{moment}" in names]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {
            (fault, moment): pool.submit(go_bad, light, real, FAULTS[fault], MOMENTS[moment], for_good=True)
            for fault, moment in cases
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("fault", "moment"), CASES)
def test_an_engine_that_goes_bad_for_good_is_one_message_and_is_swept_when_it_is_back(
    fault: str, moment: str, bad: dict[tuple[str, str], Future[Ended]]
) -> None:
    ended = bad[fault, moment].result(400)
    print(f"{fault} at {moment}: ended after {ended.seconds:.1f} s, clean {ended.back_s:.1f} s after it was back")
    assert_unavailable(ended)
    assert ended.seconds < (HANG_S if fault in HANGS else ERROR_S), ended.text
    assert ended.left == []
    if MOMENTS[moment].made:
        (left,) = ended.report["left_behind"]
        assert "the engine does not answer" in left
        assert "its reaper tries for 2 minutes more" in left


def assert_unavailable(ended: Ended) -> None:
    assert ended.code == 69, ended.text
    assert (ended.report["outcome"], ended.report["exit_code"]) == ("unavailable", 69)
    assert ended.report["cause"]["reference"].startswith("engine-"), ended.report["cause"]
    assert_one_message(ended.text, "unavailable")
    assert ended.suites == []


def assert_one_message(text: str, outcome: str) -> None:
    told = [line for line in text.splitlines() if line.startswith(f"{outcome}: ") and "(run " not in line]
    assert len(told) == 1, text
    for sign in ("Traceback", "an error of ours", "Exception in thread"):
        assert sign not in text, text


# -- one operation alone


ONE_FAULT = [
    ("hang", "create"),
    ("close", "start"),
    ("no json", "network"),
    ("half body", "gate"),
    ("html 502", "images"),
]


@pytest.mark.parametrize(("fault", "moment"), ONE_FAULT)
def test_one_operation_without_an_answer_is_unavailable_and_the_run_sweeps_itself(
    fault: str, moment: str, light: Project, real: Real
) -> None:
    ended = go_bad(light, real, FAULTS[fault], MOMENTS[moment], for_good=False)
    assert_unavailable(ended)
    assert ended.seconds < 60, ended.text  # the one call has 30 s
    assert ended.report["left_behind"] == []
    assert ended.left == []


@pytest.mark.parametrize("moment", ["images", "network", "create", "start", "gate"])
def test_one_operation_that_is_refused_is_not_ready_in_the_engines_words(
    moment: str, light: Project, real: Real
) -> None:
    ended = go_bad(light, real, proxy.refuse(words="no room here"), MOMENTS[moment], for_good=False)
    assert (ended.code, ended.report["outcome"]) == (75, "not-ready"), ended.text
    assert "no room here" in ended.report["cause"]["message"]
    assert_one_message(ended.text, "not-ready")
    assert ended.seconds < ERROR_S, ended.text
    assert ended.report["left_behind"] == []
    assert ended.left == []


@pytest.mark.soak
def test_a_removal_without_an_answer_skips_none_of_the_others(light: Project, real: Real) -> None:
    networks = Moment("DELETE", "/networks/[^/]*", when=in_suite)
    ended = go_bad(light, real, proxy.hang, networks, for_good=False)
    assert_unavailable(ended)
    assert ended.seconds < 70, ended.text  # one removal has 30 s, and they have little more together
    assert "the engine does not answer" in ended.report["left_behind"][0]
    assert ended.left == []


@pytest.mark.soak
def test_a_slow_engine_is_waited_for_and_cleaned(light: Project, real: Real) -> None:
    everything = Moment(".*", ".*", when=in_suite)
    ended = go_bad(light, real, proxy.slow(2.0), everything, for_good=True)
    assert ended.code == 0, ended.text
    assert ended.report["left_behind"] == []
    assert ended.left == []


# -- what was first stays first


def test_a_failed_suite_keeps_its_code_when_the_engine_has_gone_at_the_end(light: Project, real: Real) -> None:
    ended = go_bad(light, real, proxy.close, MOMENTS["teardown"], for_good=True, service=RED)
    assert (ended.code, ended.report["outcome"]) == (1, "failed"), ended.text
    assert ended.report["cause"]["reference"] == "tests-failed"
    assert "the engine does not answer" in ended.report["left_behind"][0]
    assert ended.left == []


def test_an_interrupt_while_the_engine_hangs_is_an_interrupt_and_bounded(light: Project, real: Real) -> None:
    ended = go_bad(light, real, proxy.hang, MOMENTS["gate"], for_good=True, signum=signal.SIGINT)
    assert (ended.code, ended.report["outcome"]) == (130, "interrupted"), ended.text
    assert ended.seconds < HANG_S, ended.text
    assert ended.left == []


# -- the next start, and a reaper that tries


def test_the_next_start_sweeps_what_a_reaper_still_tries_to(light: Project, real: Real, between: Proxy) -> None:
    words = ("suite.run", "--service", SLOW, "--ports", "auto", "--fresh")
    with light.going(*words, INFRA_IMAGES="local", CONTAINER_HOST=between.url) as going:
        eventually("the suite", lambda: in_suite(going), 60)
        between.rule(Rule(proxy.close))
        assert going.ends(60) == 69, going.text
        assert killing.with_role(going.run, "reaper"), "it tries"
        done = light.invoke("infra.gc", CONTAINER_HOST=f"unix://{real.socket}")
        assert done.code == 0, done.text
        assert killing.with_role(going.run, "reaper") == []
        assert clean(real, going.run)[1] == []


@pytest.mark.soak
def test_a_reaper_gives_up_by_itself_and_the_next_start_sweeps(light: Project, real: Real, between: Proxy) -> None:
    words = ("suite.run", "--service", SLOW, "--ports", "auto", "--fresh")
    with light.going(*words, INFRA_IMAGES="local", CONTAINER_HOST=between.url) as going:
        eventually("the suite", lambda: in_suite(going), 60)
        between.rule(Rule(proxy.hang))
        assert going.ends(90) == 69, going.text
        assert killing.with_role(going.run, "reaper"), "it tries"
        # Or it is ended by the start of somebody else on this host, which sweeps too.
        eventually("the reaper's end", lambda: not killing.with_role(going.run, "reaper"), 180, every=0.5)
        between.lift()
        done = light.invoke("infra.gc", CONTAINER_HOST=between.url)
        assert done.code == 0, done.text
        assert clean(real, going.run)[1] == []


# -- operators


COMMANDS = {
    "status": ("infra.status",),
    "gc": ("infra.gc",),
    "down": ("infra.down", "--service", SLOW),
    "logs": ("infra.logs", "--service", SLOW),
    "env": ("infra.env", "--service", SLOW),
    "list": ("images.list",),
    "prune": ("images.prune",),
}


OPERATED = (("status", 1), *((name, 3) for name in COMMANDS))
# Every day each command meets one of the faults.
OPERATED_DAILY = {("gc", "hang")} | {(name, ("refuses", "no json")[at % 2]) for at, (name, _) in enumerate(OPERATED)}


@pytest.mark.parametrize(
    ("name", "first", "fault"),
    [
        pytest.param(name, first, fault, marks=() if (name, fault) in OPERATED_DAILY else pytest.mark.soak)
        for name, first in OPERATED
        for fault in ("hang", "refuses", "no json")
    ],
)
def test_an_operators_command_is_one_message_and_leaves_no_reaper(
    name: str, fault: str, first: int, light: Project, between: Proxy
) -> None:
    """The first request and the second are for the version; the third is the command's own."""
    between.rule(Rule(FAULTS[fault], first=first, for_good=True))
    mark = secrets.token_hex(8)
    began = time.monotonic()
    done = light.invoke(*COMMANDS[name], CONTAINER_HOST=between.url, TEST_MARK=mark)
    seconds = time.monotonic() - began
    assert done.code == 69, done.text
    assert done.out == ""
    assert done.err.startswith("unavailable: "), done.err
    assert_one_message(done.err, "unavailable")
    assert seconds < (HANG_S if fault == "hang" else ERROR_S)
    marked = [one.name for one in killing.processes() if f"TEST_MARK={mark}" in killing.text_of(one, "environ")]
    assert marked == []


# -- a private service


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_a_private_service_that_dies_or_stops_is_unavailable_and_served_anew_for_the_sweep(
    signum: signal.Signals, light: Project, real: Real
) -> None:
    words = ("suite.run", "--service", SLOW, "--ports", "auto", "--fresh")
    with light.going(*words, INFRA_IMAGES="local", CONTAINER_HOST=None) as going:
        eventually("the suite", lambda: in_suite(going), 60)
        (pid,) = killing.serving(going.run)
        os.kill(pid, signum)
        began = time.monotonic()
        code = going.ends(90)
        seconds = time.monotonic() - began
        suites = killing.with_role(going.run, "suite")
        back_s, left = clean(real, going.run)
    print(f"{signum.name}: ended after {seconds:.1f} s, clean {back_s:.1f} s later")
    report = light.report(going.run)
    assert_unavailable(Ended(code, going.text, report, seconds, suites, back_s, left, []))
    assert left == []
    # Where the owner saw the reaper finish, nothing is left; else it says who goes on.
    assert all("the engine does not answer" in one for one in report["left_behind"])
