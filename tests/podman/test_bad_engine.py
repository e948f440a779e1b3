"""An engine that answers errors, hangs, or speaks half an answer: a bounded wait, one message, and swept when it is back.

The real engine behind a proxy of the tests' own. How long a hang may last, in the worst place: 5 s of silence, 8 s in
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
from killing import Seen, until_clean
from product import Going, Project, eventually, free_ports, redis_catalog, suite
from proxy import Fault, Proxy, Rule, proxied

from infra.engine.client import Engine
from infra.engine.discover import private_environment

ERROR_S = 12.0
HANG_S = 40.0
BACK_S = 40.0
AT_A_TIME = 3
SLOW = f"slow-{os.getpid()}"
SOAK = os.environ.get("INFRA_SOAK") == "1"


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
        tmp_path_factory.mktemp("light") / "catalog", {SLOW: suite("./test/runner/slow")}, free_ports(1)[0]
    )
    return make_project(catalog=catalog)


WORDS = ("suite.run", "--service", SLOW, "--ports", "auto", "--fresh")


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
    "discovery": Moment("GET", "/version", made=False),
    "version": Moment("GET", "/version", first=2, made=False),
    "images": Moment("GET", "/images/.*/json"),
    "network": Moment("POST", "/networks/create"),
    "create": Moment("POST", "/containers/create"),
    "start": Moment("POST", "/containers/.*/start"),
    "gate": Moment("GET", "/containers/.*-redis-.*/json", first=2),
    "suite": Moment("GET", "/containers/.*-redis-.*/json", when=in_suite),
    "teardown": Moment("DELETE", "/containers/"),
}
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
# Every fault at one moment, the main ones at all; with INFRA_SOAK=1 every one at every moment.
DAILY = [(fault, "gate") for fault in FAULTS]
DAILY += [(fault, moment) for moment in MOMENTS for fault in ("hang", "close", "no json") if moment != "gate"]
CASES = [(fault, moment) for fault in FAULTS for moment in MOMENTS] if SOAK else DAILY


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


def go_bad(light: Project, real: Real, fault: Fault, moment: Moment, *, for_good: bool) -> Ended:
    """Run the main job with an engine that goes bad, and have it back when the run has ended."""
    with (
        proxied(real.folder / f"{secrets.token_hex(3)}.sock", real.socket) as between,
        light.going(*WORDS, INFRA_IMAGES="local", CONTAINER_HOST=between.url) as going,
    ):
        eventually("the moment", lambda: moment.when(going) or going.process.poll() is not None, 60)
        between.rule(Rule(fault, moment.method, f"{moment.path}(\\?|$)", moment.first, for_good=for_good))
        code = going.ends(150)
        ended = time.monotonic()
        assert between.hit, f"no request was met:\n{going.text}"
        suites = killing.with_role(going.run, "suite")
        between.lift()
        back_s, left = until_clean(real.engine, going.run, BACK_S)
        hit = [what for _, what in between.hit]
        report = light.report(going.run)
        return Ended(code, going.text, report, ended - between.hit[0][0], suites, back_s, left, hit)


@pytest.fixture(scope="module")
def bad(request: pytest.FixtureRequest, light: Project, real: Real) -> Iterator[dict[tuple[str, str], Future[Ended]]]:
    """The runs that the selected tests look at; they mostly wait, so some at a time."""
    chosen = [item.callspec.params for item in request.session.items if "bad" in getattr(item, "fixturenames", ())]
    cases = [(one["fault"], one["moment"]) for one in chosen]
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
    if MOMENTS[moment].made and moment != "images":
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
    assert len([line for line in text.splitlines() if line.startswith(f"{outcome}: ")]) == 1 + (
        f"\n{outcome}: nothing ran" in text
    ), text
    for sign in ("Traceback", "an error of ours", "Exception in thread"):
        assert sign not in text, text
