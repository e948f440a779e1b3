"""Evidence before teardown: of a component and a suite that log without end, of an engine that is half dead."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import component, small_project
from product import Podman, Project, eventually, new_run
from proxy import Proxy, Rule, hang, proxied, refuse

from infra.engine.discover import private_environment

MB = 1024 * 1024
# A line of 100 bytes, a million times.
LOUD = 'yes "$(printf "%099d" 7)" | head -c 100000000'
TESTS = {
    "loud": "def test_a(): assert False",
    "chatty": """
        def test_a():
            line = "x" * 9_999 + "\\n"
            os.write(2, b"first words\\n")
            for _ in range(100):
                os.write(2, (line * 80).encode())
            os.write(2, b"y" * 20_000_000 + b" last words\\n")
            assert False
        """,
    "waiting": """
        def test_a():
            print("it waits", flush=True)
            time.sleep(60)
        """,
    "red": "def test_a(): assert False",
}


@pytest.fixture(scope="module")
def few(warm: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    loud = component(f"echo first words; {LOUD}; echo last words", kind="job")
    slow = component("echo it begins; sleep 60", kind="job")
    stacks = {"loud": ["redis", "loud"], "waiting": ["redis"]}
    components = {"loud": loud, "slow": slow}
    tier = 'env = { PYTEST_ADDOPTS = "-s" }'
    return small_project(tmp_path_factory.mktemp("evidence"), TESTS, components=components, stacks=stacks, tier=tier)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def page(project: Project, run: str = "latest") -> str:
    return (project.runs / run / "diagnosis.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> list[str]:
    """The lines of one section of a diagnosis."""
    lines = text.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0].splitlines()[1:]
    return [line.strip() for line in lines if line.strip()]


def test_a_component_that_logs_100_mb_leaves_both_ends_within_the_bound(few: Project) -> None:
    began = time.monotonic()
    done = few.invoke("suite.run", "--service", "loud", "--ports", "auto")
    report = few.report()
    teardown = next(step for step in report["steps"] if step["name"] == "teardown")
    seconds = time.monotonic() - began
    print(f"{seconds:.1f} s, teardown {teardown['duration_s']:.1f} s, {size(few.runs / report['run'])} bytes")
    assert done.code == 1, done.text
    folder = few.runs / report["run"]
    log = (folder / "logs" / "loud.log").read_text()
    assert log.startswith("first words\n")
    assert log.endswith("last words\n")
    assert "cut here" in log
    assert MB < size(folder) < 20 * MB
    assert teardown["duration_s"] < 10
    assert report["scene"]["missing"] == []


def test_a_suite_that_prints_100_mb_leaves_both_ends_within_the_bound(few: Project) -> None:
    began = time.monotonic()
    done = few.invoke("suite.run", "--service", "chatty", "--ports", "auto")
    print(f"{time.monotonic() - began:.1f} s, {few.report()['suite']}"[:200])
    assert done.code == 1
    folder = few.runs / few.report()["run"]
    log = (folder / "logs" / "suite.log").read_text()
    assert "first words" in log[:10_000]
    assert "last words" in log[-20_000:]
    assert "bytes were cut here" in log
    assert MB < size(folder) < 20 * MB


def test_the_page_says_how_each_component_was_and_what_was_around_it(few: Project) -> None:
    """A fixed port is held by the run's own container when the evidence is taken."""
    run = new_run()
    few.invoke("suite.run", "--service", "red", "--run", run)
    text = page(few, run)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Evidence",
        "## Components",
        f"## Addresses on the network red-{run}",
        "## Who listened on the ports of this host",
        "## Disk",
        "## Steps",
        "## Resources",
    ]
    (component,) = section(text, "Components")
    assert component.startswith("redis: running since ")
    (port,) = section(text, "Who listened")
    assert f"container red-redis-{run}" in port
    assert section(text, "Disk")[0].startswith("run directory (")
    assert any(line.startswith("images and containers (/") for line in section(text, "Disk"))
    assert (few.runs / run / "inspect" / "redis.json").exists()
    assert (few.runs / run / "logs" / "events.jsonl").read_text().count("\n") > 2


@pytest.mark.parametrize("moments", [("suite",), ("suite", "again")])
def test_a_run_that_is_told_to_end_has_its_evidence(few: Project, podman: Podman, moments: tuple[str, ...]) -> None:
    with few.going("suite.run", "--service", "waiting", "--ports", "auto") as going:
        going.says("it waits")
        for _ in moments:
            os.kill(going.process.pid, signal.SIGTERM)
            time.sleep(0.05)
        assert going.ends(30) == 143, going.text
    assert "Ready to accept connections" in (few.runs / going.run / "logs" / "redis.log").read_text()
    assert section(page(few, going.run), "Components")[0].startswith("redis: running since ")
    assert few.report(going.run)["outcome"] == "interrupted"
    assert podman.left_of(going.run) == []


@pytest.fixture
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy in front of a service of the real engine."""
    folder = Path(f"/tmp/pe-{secrets.token_hex(3)}")  # short: a socket's path
    folder.mkdir(mode=0o700)
    env = {**os.environ, **dict(private_environment(folder)[0])}
    command = ["podman", "system", "service", "--time=0", f"unix://{folder}/podman.sock"]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL) as process:
        try:
            eventually("the service", (folder / "podman.sock").exists, 20)
            with proxied(folder / "proxy.sock", folder / "podman.sock") as one:
                yield one
        finally:
            process.terminate()
            process.wait(20)
            shutil.rmtree(folder, ignore_errors=True)


def test_what_an_engine_does_not_tell_is_said_and_the_rest_is_there(
    few: Project, between: Proxy, podman: Podman
) -> None:
    """It answers everything but the question for a log, and refuses the one for its events."""
    between.rule(Rule(hang, path="/containers/.*/logs"))
    between.rule(Rule(refuse(words="no events here"), path="/events"))
    done = few.invoke("suite.run", "--service", "red", "--ports", "auto", CONTAINER_HOST=between.url)
    assert done.code == 1, done.text
    report = few.report()
    log, events = sorted(report["scene"]["missing"], reverse=True)
    assert log.startswith("the log of redis could not be had: ")
    assert "does not answer" in log
    assert events == "the engine's events could not be had: no events here"
    text = page(few, report["run"])
    assert section(text, "What could not be had") == [f"- {line}" for line in report["scene"]["missing"]]
    assert section(text, "Components")[0].startswith("redis: running since ")
    assert (few.runs / report["run"] / "inspect" / "redis.json").exists()
    assert next(step for step in report["steps"] if step["name"] == "teardown")["duration_s"] < 15
    assert podman.left_of(report["run"]) == []
