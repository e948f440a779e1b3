"""Components that are deliberately killed, frozen and started again, by a suite and by a person: real stacks."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killing import new_run
from owned import container, marks_of
from product import LABEL, Done, Going, Podman, Project, edit, eventually, redis_catalog

from infra.engine.client import Engine
from infra.labels import Owner

SERVICE = ("--service", "away")
# A killed component is looked at four times a second.
SUITE = """
import json, os, pathlib, subprocess, sys, time

HERE = pathlib.Path(os.environ["INFRA_RUN_DIR"])
LOOKS = 1.0

def infra(*words):
    began, busy = time.monotonic(), sum(os.times()[2:4])
    argv = [os.environ["INFRA_INVOKE"], *words]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", timeout=180)
    seen = dict(words=words, code=done.returncode, out=done.stdout, err=done.stderr, s=time.monotonic() - began,
                cpu=sum(os.times()[2:4]) - busy)
    with (HERE / "said.jsonl").open("a") as said:
        said.write(json.dumps(seen) + "\\n")
    return done

def redis_says(command="PING"):
    import socket
    host, port = os.environ["REDIS_ADDR"].split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5) as line:
            line.settimeout(0.5)
            line.sendall(command.encode() + b"\\r\\n")
            return line.recv(100).decode().strip()
    except OSError:
        return ""

def hold(name):
    (HERE / name).touch()
    while not (HERE / "go").exists():
        time.sleep(0.02)

def test_comes_back(infra_component):
    redis = infra_component("redis")
    for signal in ("KILL", "TERM"):
        redis.kill(signal)
        redis.wait("gone", "1s")
        time.sleep(LOOKS)
        assert redis_says() == ""
        redis.start()
        assert redis_says() == "+PONG"
    redis.pause()
    time.sleep(LOOKS)
    assert redis_says() == ""
    redis.start()
    redis.wait()
    assert redis_says() == "+PONG"

def test_is_told():
    assert infra("infra.kill", "--component", "redis", "--json").returncode == 0
    time.sleep(LOOKS)
    infra("infra.kill", "--component", "redis")
    infra("infra.pause", "--component", "redis")
    infra("infra.wait", "--component", "redis", "--timeout", "300ms")
    infra("infra.start", "--component", "redis", "--json")
    infra("infra.start", "--component", "redis")
    infra("infra.wait", "--component", "redis", "--for", "gone", "--timeout", "300ms")
    infra("infra.pause", "--component", "redis", "--json")
    infra("infra.pause", "--component", "redis")
    infra("infra.start", "--component", "redis")
    infra("infra.kill", "--component", "once")
    infra("infra.kill", "--component", "nothing")
    infra("infra.kill")
    infra("infra.kill", "--component", "redis", "--signal", "HUP")

def test_again_and_again():
    for n in range(8):
        assert infra("infra.kill", "--component", "redis").returncode == 0
        assert infra("infra.start", "--component", "redis").returncode == 0
        assert redis_says() == "+PONG"

def test_leaves_it():
    assert infra("infra.kill", "--component", "redis").returncode == 0
    assert infra("infra.pause", "--component", "second").returncode == 0
    time.sleep(LOOKS)

def test_holds(): hold("holding")

def test_kills_and_holds():
    assert infra("infra.kill", "--component", "redis").returncode == 0
    hold("holding")
    assert infra("infra.start", "--component", "redis").returncode == 0

def test_is_ignored_and_holds():
    assert infra("infra.kill", "--component", "second", "--signal", "QUIT").returncode == 75
    hold("holding")

def test_passes(): assert redis_says() == "+PONG"
"""
TIER = """
stack = ["redis", "second", "once"]
[ports]
redis = 27391
second = 27392
[tiers.integration]
env = { REDIS_ADDR = "127.0.0.1:{redis.redis}" }
suite = { runner = "pytest", paths = ["test_away.py"], timeout = "10m", args = ["-p", "infra.pytest_plugin"] }
"""
ONCE = """
image = "docker.io/library/redis:7-alpine"
kind = "job"
command = ["redis-server", "--version"]
[ready]
probe = "completed"
"""


@pytest.fixture(scope="module")
def away(warm: Project, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("away")
    catalog = redis_catalog(folder / "catalog", {"away": TIER}, 27391)
    redis = (catalog / "components" / "redis.toml").read_text(encoding="utf-8")
    (catalog / "components" / "second.toml").write_text(redis, encoding="utf-8")
    (catalog / "components" / "once.toml").write_text(ONCE, encoding="utf-8")
    edit(catalog / "services" / "away.toml", 'language = "go"', 'language = "python"')
    workspace = folder / "a workspace elsewhere"
    workspace.mkdir()
    (workspace / "test_away.py").write_text(SUITE, encoding="utf-8")
    made = make_project(catalog=catalog, workspace=workspace)
    path = made.environment()["PATH"]
    return replace(made, env={"PATH": f"{Path(sys.executable).parent}:{path}"})


def suite_of(
    project: Project, test: str, *words: str, run: str = ""
) -> tuple[Done, dict[str, Any], list[dict[str, Any]]]:
    """Run one test as the whole suite; return what was said, the report, and what its calls were told."""
    run = run or new_run()
    fresh = words or ("--ports", "auto", "--fresh")
    done = project.invoke("suite.run", *SERVICE, *fresh, "--run", run, "--", "-k", test)
    return done, project.report(run), said_in(project, run)


def said_in(project: Project, run: str) -> list[dict[str, Any]]:
    said = project.runs / run / "said.jsonl"
    return [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()] if said.exists() else []


def test_what_a_suite_kills_and_freezes_comes_back_and_is_no_fault(away: Project, podman: Podman) -> None:
    done, report, _ = suite_of(away, "test_comes_back")
    assert (done.code, report["outcome"], report["cause"]) == (0, "passed", None), done.text
    assert "taken away" not in done.text
    assert podman.left_of(report["run"]) == []


def test_each_call_says_what_it_did_and_exits_with_its_code(away: Project) -> None:
    done, report, said = suite_of(away, "test_is_told")
    assert done.code == 0, done.text
    assert [one["code"] for one in said] == [0, 75, 75, 75, 0, 0, 75, 0, 0, 0, 78, 78, 78, 78]
    first = [(one["err"] or one["out"]).splitlines()[0] for one in said]
    run = report["run"]
    killed, started, frozen = (json.loads(said[n]["out"]) for n in (0, 4, 7))
    assert {key: killed[key] for key in ("component", "run", "ready", "what")} == {
        "component": "redis", "run": run, "ready": False, "what": "killed with SIGKILL (exit code 137)",
    }  # fmt: skip
    assert (started["state"], started["ready"]) == ("running", True)
    assert (frozen["state"], frozen["ready"]) == ("paused", False)
    assert (
        first[1]
        == first[2]
        == (
            "not-ready: redis: redis has ended already (exit code 137); "
            f"to do: invoke infra.start --component redis --run {run}"
        )
    )
    assert first[3].startswith("not-ready: redis: redis is not ready after 0.3 s: its container is ")
    assert "Ready to accept connections" in said[3]["err"], "the end of its log"
    assert first[5].startswith(f"redis of run {run}: runs already, ready after 1 polls")
    assert first[6].startswith("not-ready: redis: redis is not gone after 0.3 s: its container is running; to do: ")
    assert first[8].startswith(f"redis of run {run}: was frozen already")
    assert first[9].startswith(f"redis of run {run}: goes on, ready after ")
    assert first[10].startswith(
        "invalid: once is a job: it has ended when the stack is ready, and cannot be taken away;"
    )
    assert first[11].startswith(
        'invalid: no component "nothing" (in the stack of away integration are redis, second, once);'
    )
    assert first[12].startswith("invalid: --component is missing (in the stack of away")
    assert first[13].startswith('invalid: "HUP" is no signal that takes a component away (known: KILL, TERM')


def test_it_has_its_address_and_port_again_each_time(away: Project) -> None:
    done, _, said = suite_of(away, "test_again_and_again")
    assert done.code == 0, done.text
    seconds, work = (sorted(one[key] for one in said if one["words"][0] == "infra.kill")[4] for key in ("s", "cpu"))
    print(f"infra.kill from a suite, medians: {seconds:.2f} s, of which {work:.2f} s of its own work")


def test_what_is_not_started_again_is_noted_and_is_no_fault(away: Project, podman: Podman) -> None:
    done, report, _ = suite_of(away, "test_leaves_it")
    assert (done.code, report["cause"]) == (0, None), done.text
    notes = [note for note in report["notes"] if "taken away" in note]
    assert notes == [f"{name} was taken away by the suite and not started again" for name in ("redis", "second")]
    assert podman.left_of(report["run"]) == []


def holding(project: Project, going: Going) -> None:
    eventually("the suite holds", (project.runs / going.run / "holding").exists)


def go_on(project: Project, going: Going) -> None:
    (project.runs / going.run / "go").touch()


def test_one_that_dies_by_itself_meanwhile_is_a_fault_and_the_only_cause(away: Project, podman: Podman) -> None:
    words = ("suite.run", *SERVICE, "--ports", "auto", "--fresh", "--", "-k", "test_kills_and_holds")
    with away.going(*words) as going:
        holding(away, going)
        podman("kill", f"away-second-{going.run}")
        assert going.ends() == 75, going.text
    report = away.report(going.run)
    assert (report["cause"]["reference"], report["cause"]["step"]) == ("killed-through-engine", "second")
    assert "137" in report["cause"]["message"]
    diagnosis = (away.runs / going.run / "diagnosis.md").read_text(encoding="utf-8")
    assert "redis: taken away by the suite, exited with code 137" in diagnosis
    assert podman.left_of(going.run) == []


@pytest.fixture
def up(away: Project) -> Iterator[str]:
    """A stack that a person has up."""
    run = new_run()
    done = away.invoke("infra.up", *SERVICE, "--ports", "auto", "--run", run)
    assert done.code == 0, done.text
    try:
        yield run
    finally:
        gone = away.invoke("infra.gc", "--run", run)
    assert gone.code == 0, gone.text


def states(project: Project, run: str) -> dict[str, str]:
    [one] = project.invoke("infra.status", "--run", run, "--json").json()["runs"]
    return {component["name"]: component["state"] for component in one["components"]}


def test_the_other_suite_of_a_kept_stack_is_told_who_took_the_component_away(away: Project, up: str) -> None:
    with away.going("suite.run", *SERVICE, "--", "-k", "test_holds") as other:
        holding(away, other)
        with away.going("suite.run", *SERVICE, "--", "-k", "test_kills_and_holds") as one:
            assert other.ends() == 75, other.text
            holding(away, one)
            go_on(away, one)
            assert one.ends() == 0, one.text
    assert away.report(one.run)["cause"] is None
    cause = away.report(other.run)["cause"]
    assert cause["reference"] == "component-taken-away"
    assert f"run {one.run} took redis away deliberately" in cause["message"]
    assert states(away, up)["redis"] == "running"


def test_a_suite_is_told_of_a_person_who_takes_a_component_away(away: Project, up: str) -> None:
    with away.going("suite.run", *SERVICE, "--", "-k", "test_holds") as going:
        holding(away, going)
        assert away.invoke("infra.pause", "--component", "redis", "--run", up).code == 0
        assert going.ends() == 75, going.text
    report = away.report(going.run)
    assert (report["cause"]["reference"], report["blame"]) == ("component-taken-away", "user")
    assert "a person" in report["cause"]["message"]


def test_a_run_with_a_stack_of_its_own_is_told_of_a_person_too(away: Project, podman: Podman) -> None:
    with away.going("suite.run", *SERVICE, "--ports", "auto", "--fresh", "--", "-k", "test_holds") as going:
        holding(away, going)
        done = away.invoke("infra.kill", "--component", "redis", "--run", going.run)
        assert done.code == 0, done.text
        assert going.ends() == 75, going.text
    report = away.report(going.run)
    assert (report["cause"]["reference"], report["blame"]) == ("component-taken-away", "user")
    assert "a person" in report["cause"]["message"]
    assert [note for note in report["notes"] if "taken away by the suite" in note] == []
    assert podman.left_of(going.run) == []


def test_what_has_ignored_a_signal_is_not_away_and_its_death_is_a_fault(away: Project, podman: Podman) -> None:
    words = ("suite.run", *SERVICE, "--ports", "auto", "--fresh", "--", "-k", "test_is_ignored_and_holds")
    with away.going(*words) as going:
        # Of a container's first process the kernel drops the signals that it does not handle; Redis handles no QUIT.
        eventually("the suite holds", (away.runs / going.run / "holding").exists)
        [said] = said_in(away, going.run)
        assert "second runs on 30 s after SIGQUIT, and is not taken to be away" in said["err"]
        podman("kill", f"away-second-{going.run}")
        assert going.ends() == 75, going.text
    cause = away.report(going.run)["cause"]
    assert (cause["reference"], cause["step"]) == ("killed-through-engine", "second")


def test_what_a_suite_leaves_away_in_a_kept_stack_is_told_to_the_next_one(away: Project, up: str) -> None:
    done, report, _ = suite_of(away, "test_leaves_it", *("--ports", "fixed"))
    assert done.code == 0, done.text
    remedy = f"invoke infra.start --component redis --run {up}"
    assert f"redis was taken away by the suite and not started again: {remedy}" in report["notes"]
    assert (states(away, up)["redis"] != "running", states(away, up)["second"]) == (True, "paused")
    done, report, _ = suite_of(away, "test_passes", *("--ports", "fixed"))
    assert (done.code, report["cause"]["reference"], report["cause"]["remedy"]) == (75, "stack-not-usable", remedy)
    for name in ("redis", "second"):
        assert away.invoke("infra.start", "--component", name, "--run", up).code == 0
    done, _, _ = suite_of(away, "test_passes", *("--ports", "fixed"))
    assert done.code == 0, done.text


def test_a_person_treats_a_stack_that_is_up_by_its_service(away: Project, up: str) -> None:
    words = ("--component", "redis", *SERVICE)
    assert away.invoke("infra.kill", *words, "--json").json()["run"] == up
    late = away.invoke("infra.wait", *words, "--timeout", "300ms")
    assert late.code == 75, late.text
    assert "(exit code 137)" in late.err
    assert away.invoke("infra.start", *words).code == 0
    program = away.runs / up / "bin" / "invoke"
    assert away.invoke("infra.env", *SERVICE, "--format", "json").json()["INFRA_INVOKE"] == str(program)
    program.unlink()
    assert "INFRA_INVOKE" not in away.invoke("infra.env", *SERVICE, "--format", "json").json()
    assert not program.exists(), "to ask writes nothing"


def test_a_run_that_is_not_there_or_not_ours_is_refused(away: Project, engine: Engine) -> None:
    done = away.invoke("infra.kill", "--component", "redis", "--run", "00000000")
    assert (done.code, done.err.splitlines()[0]) == (
        75,
        "not-ready: run 00000000 is not there; to do: invoke infra.status",
    )
    run = new_run()
    stranger = Owner(host="elsewhere", boot="b", namespace="1", pid=7, started="1")
    name, network = f"away-redis-{run}", f"away-{run}"
    marks = {**marks_of(run, stranger), f"{LABEL}.service": "away", f"{LABEL}.tier": "integration"}
    engine.create_network(network, marks)
    try:
        container(engine, name, network, marks)
        done = away.invoke("infra.kill", "--component", "redis", "--run", run)
        assert (done.code, done.err.splitlines()[0]) == (
            75, f"not-ready: run {run} of away is not ours: process 7 on elsewhere has it; to do: invoke infra.status",
        )  # fmt: skip
        state = engine.state(name)
        assert state is not None
        assert state.status == "running"
    finally:
        engine.remove(name)
        engine.remove_network(network)


def test_a_pytest_that_has_the_stack_by_the_plug_in_takes_components_away_too(away: Project, podman: Podman) -> None:
    workspace = Path(tomllib.loads((away.folder / "pyproject.toml").read_text("utf-8"))["tool"]["infra"]["workspace"])
    options = ("--infra-service", "away", "--infra-ports", "auto", "--infra-fresh", f"--rootdir={away.folder}")
    words = ("-p", "infra.pytest_plugin", "-k", "test_comes_back", str(workspace / "test_away.py"))
    tasks = away.folder / "tasks.py"
    hidden = tasks.rename(away.folder / "no-tasks.py")  # a folder of pytest's own has none
    try:
        done = away.python("pytest", *options, *words)
    finally:
        hidden.rename(tasks)
    assert done.code == 0, done.text
    report = away.report()
    assert (report["outcome"], report["cause"]) == ("passed", None)
    assert podman.left_of(report["run"]) == []
