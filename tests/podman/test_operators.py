"""The operators' side: plan, up, status, env, logs, a suite on a stack that is up, down, gc, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import requests
from product import (
    SECRET,
    Done,
    Podman,
    Project,
    catalog_copy,
    edit,
    eventually,
    free_ports,
    new_run,
    redis_catalog,
    step,
    step_names,
    suite,
)

SERVICE = ("--service", "notification")
STACK = ["postgres", "migrations", "redis", "datastorage"]
GREEN = suite("./test/runner/pending")


# -- the plan, which needs no engine


def test_a_plan_says_what_a_run_would_do(project: Project) -> None:
    done = project.invoke("infra.plan", *SERVICE, "--run", "1884d074", PATH=os.defpath, CONTAINER_HOST="unix:///none")
    assert done.code == 0, done.text
    assert done.lines[0] == "notification integration: run 1884d074, ports fixed, network notification-1884d074"
    assert [line.split()[0] for line in done.lines[2:6]] == STACK
    assert "localhost/datastorage:notification-1884d074" in done.out
    assert "15453->5432" in done.out
    assert not project.runs.joinpath("1884d074").exists()


def test_a_plan_as_json_is_the_contracts(project: Project) -> None:
    plan = project.invoke("infra.plan", *SERVICE, "--json").json()
    assert {key: plan[key] for key in ("service", "tier", "ports_mode")} == {
        "service": "notification",
        "tier": "integration",
        "ports_mode": "fixed",
    }
    assert [(one["name"], one["kind"]) for one in plan["steps"]] == [
        ("postgres", "service"),
        ("migrations", "job"),
        ("redis", "service"),
        ("datastorage", "service"),
    ]
    datastorage = plan["steps"][3]
    assert datastorage["image"] == {"ref": f"localhost/datastorage:notification-{plan['run']}", "source": "build"}
    assert datastorage["ports"] == {
        "http": {"host": 18110, "container": 8080},
        "metrics": {"host": 19110, "container": 9090},
    }
    assert datastorage["ready"] == {"probe": "http", "timeout_s": 30.0}
    assert {one["image"]["source"] for one in plan["steps"][:3]} == {"registry|local"}


def test_a_plan_with_free_ports_names_none(project: Project) -> None:
    plan = project.invoke("infra.plan", *SERVICE, "--json", "--ports", "auto", INFRA_IMAGES="local").json()
    assert {port["host"] for one in plan["steps"] for port in one["ports"].values()} == {None}
    assert {one["image"]["source"] for one in plan["steps"][:3]} == {"local"}


# -- a stack that a person has up, from its start to its end


@dataclass
class Life:
    """What was seen while a stack was up, in order."""

    run: str
    up: Done
    status: dict[str, Any] = field(default_factory=dict)
    status_text: str = ""
    dotenv: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    logs: str = ""
    one_log: str = ""
    suite: Done | None = None
    report: dict[str, Any] = field(default_factory=dict)
    keys: str = ""
    again: Done | None = None
    gc: dict[str, Any] = field(default_factory=dict)
    there: list[str] = field(default_factory=list)
    down: Done | None = None
    exits: list[int] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Numbers in place of the catalogue's, so that nobody else's stack is in the way."""
    return dict(zip(("15453", "16399", "18110", "19110"), free_ports(4), strict=True))


@pytest.fixture(scope="module")
def mine(
    warm: Project, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]
) -> Project:
    """The real catalogue with ports of the test's own; `quick` is a service whose stack is Redis alone."""
    catalog = catalog_copy(tmp_path_factory.mktemp("operators") / "catalog")
    for number, port in ports.items():
        edit(catalog / "services" / "notification.toml", number, str(port))
    # A name of its own: a stack that is up is found by service and tier, and others may have theirs.
    (catalog / "services" / "notification.toml").rename(catalog / "services" / f"{NAME}.toml")
    return make_project(catalog=catalog)


NAME = f"operators-{os.getpid()}"
MINE = ("--service", NAME)


@pytest.fixture(scope="module")
def life(mine: Project, podman: Podman) -> Life:
    run = new_run()
    seen = Life(run, mine.invoke("infra.up", *MINE, "--run", run))
    if seen.up.code != 0:
        return seen
    try:
        _use(seen, mine, podman)
    finally:
        seen.down = mine.invoke("infra.down", *MINE)
        seen.exits = died(podman, f"{NAME}-datastorage-{run}")
        seen.left = podman.left_of(run)
    return seen


def _use(seen: Life, mine: Project, podman: Podman) -> None:
    seen.status = mine.invoke("infra.status", *MINE, "--json").json()
    seen.status_text = mine.invoke("infra.status", *MINE).out
    dotenv = mine.invoke("infra.env", *MINE).out
    seen.dotenv = dict(line.split("=", 1) for line in dotenv.splitlines())
    seen.env = mine.invoke("infra.env", *MINE, "--format", "json").json()
    seen.answers = _answers(seen.env)
    seen.logs = mine.invoke("infra.logs", *MINE).out
    seen.one_log = mine.invoke("infra.logs", *MINE, "--component", "migrations").out
    assert _redis(seen.env, "SET from-before 1") == "+OK"
    seen.suite = mine.invoke("suite.run", *MINE)
    seen.report = mine.report()
    seen.keys = _redis(seen.env, "EXISTS from-before")
    seen.again = mine.invoke("infra.up", *MINE)
    seen.gc = mine.invoke("infra.gc", "--json").json()
    seen.there = podman.names(seen.run)


def _redis(env: dict[str, str], command: str) -> str:
    host, _, port = env["REDIS_ADDR"].partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(100).decode().strip()


def _answers(env: dict[str, str]) -> dict[str, Any]:
    """Use what the environment says, each with its own client."""
    with psycopg.connect(
        host=env["POSTGRES_HOST"],
        port=env["POSTGRES_PORT"],
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        dbname=env["POSTGRES_DB"],
        connect_timeout=10,
    ) as connection:
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    host, port = env["REDIS_ADDR"].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as redis:
        redis.sendall(b"PING\r\n")
        pong = redis.recv(64)
    health = requests.get(f"{env['DATA_STORAGE_URL']}/health", timeout=10)
    metrics = requests.get(env["DATA_STORAGE_METRICS_URL"], timeout=10)
    return {
        "postgres": row,
        "redis": pong,
        "health": health.json(),
        "metrics": metrics.status_code,
    }


def died(podman: Podman, container: str) -> list[int]:
    """The exit codes with which a container has ended, as the engine's events have them; 0 is left out there."""
    words = ("events", "--stream=false", "--since", "10m", "--filter", f"container={container}")
    rows = [json.loads(line) for line in podman(*words, "--format", "{{json .}}").out.splitlines() if line]
    return [int(row.get("ContainerExitCode") or 0) for row in rows if row.get("Status") == "died"]


def test_up_leaves_a_stack_and_says_how_to_use_and_to_remove_it(life: Life) -> None:
    assert life.up.code == 0, life.up.text
    assert f"the stack stays up as run {life.run}" in life.up.out
    assert life.up.lines[-2].startswith("use it:    invoke suite.run ")
    assert life.up.lines[-1] == f"remove it: invoke infra.down --run {life.run}"


def test_status_as_json_is_the_contracts(life: Life, ports: dict[str, int]) -> None:
    assert [one["run"] for one in life.status["runs"]] == [life.run]
    row = life.status["runs"][0]
    assert (row["service"], row["tier"]) == (NAME, "integration")
    assert isinstance(row["age_s"], int)
    assert row["owner"].keys() == {"host", "pid", "alive"}
    assert row["owner"]["alive"] is False
    components = {one["name"]: one for one in row["components"]}
    assert set(components) == set(STACK)
    assert {one["ready"] for one in components.values()} == {True}
    assert components["postgres"] == {
        "name": "postgres",
        "state": "running",
        "ready": True,
        "ports": {"sql": ports["15453"]},
    }
    assert components["migrations"]["state"] == "exited"


def test_status_says_it_to_a_person_too(life: Life) -> None:
    first, *rest = life.status_text.splitlines()
    assert first.startswith(f"{NAME} integration: run {life.run}, ")
    assert first.endswith("kept (infra.up)")
    assert len(rest) == len(STACK)
    assert any("datastorage" in line and "running" in line and "127.0.0.1:" in line for line in rest)


def test_env_is_what_a_suite_gets_in_both_formats(life: Life, ports: dict[str, int]) -> None:
    assert life.dotenv == life.env
    assert life.env["DATA_STORAGE_URL"] == f"http://127.0.0.1:{ports['18110']}"
    assert life.env["INFRA_SERVICE"] == NAME
    assert life.env["POSTGRES_PASSWORD"] == SECRET


def test_what_env_says_really_connects(life: Life) -> None:
    assert life.answers["postgres"] == (1000,)
    assert life.answers["redis"] == b"+PONG\r\n"
    assert life.answers["health"] == {"status": "healthy", "database": "connected"}
    assert life.answers["metrics"] == 200


def test_logs_are_those_of_all_components_or_of_one(life: Life) -> None:
    assert {line.split(" | ")[0] for line in life.logs.splitlines()} == set(STACK)
    assert life.one_log.splitlines()[0] == "applying 001_initial_schema.sql"
    assert SECRET not in life.logs


def test_a_suite_uses_the_stack_that_is_up_and_leaves_it_up(life: Life) -> None:
    assert life.suite is not None
    assert life.suite.code == 0, life.suite.text
    assert life.report["stack"] == life.run
    assert life.report["kept"] is True
    assert life.report["suite"]["passed"] == 91
    assert [note for note in life.report["notes"] if life.run in note and "is used, and stays up" in note]
    assert life.suite.lines[-1].count(f"the stack stays up as run {life.run}") == 1
    assert {name: step(life.report, name)["note"] for name in STACK} == {
        **dict.fromkeys(STACK, "was up"),
        "redis": "was up, flushed",
    }
    assert not [name for name in step_names(life.report) if name.startswith("image ")]


def test_redis_is_flushed_before_a_stack_is_used_again(life: Life) -> None:
    assert life.keys == ":0"


def test_a_second_up_says_that_it_is_up(life: Life) -> None:
    assert life.again is not None
    assert life.again.code == 0, life.again.text
    assert f"run {life.run} of {NAME} integration is up already" in life.again.out
    assert life.again.lines[-1] == f"remove it: invoke infra.down --run {life.run}"


def test_the_sweep_of_later_starts_spares_it(life: Life) -> None:
    assert life.run not in life.gc["removed"]
    assert [one["why"] for one in life.gc["spared"] if one["run"] == life.run] == ["kept: infra.up"]
    assert life.there == sorted(f"{NAME}-{name}-{life.run}" for name in STACK)


def test_down_drains_and_removes_it(life: Life) -> None:
    assert life.down is not None
    assert (life.down.code, life.down.out) == (0, f"removed run {life.run} of {NAME} integration\n"), life.down.text
    assert life.left == []
    assert life.exits == [0], "the grace period was too short, or it did not drain"


# -- a stack of Redis alone, for what needs no more


@pytest.fixture(scope="module")
def light(warm: Project, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    names = (*LIGHT, f"other-{os.getpid()}")
    catalog = redis_catalog(tmp_path_factory.mktemp("light") / "catalog", dict.fromkeys(names, GREEN), free_ports(1)[0])
    text = (catalog / "components" / "redis.toml").read_text(encoding="utf-8")
    # One that never gets ready, one that dies at once.
    probe = 'probe = "redis"\nport = "redis"\ntimeout = "10s"'
    assert probe in text
    stuck = text.replace(probe, 'probe = "http"\nport = "redis"\npath = "/never"\ntimeout = "60s"')
    (catalog / "components" / "stuck.toml").write_text(stuck, encoding="utf-8")
    dying = text.replace('"redis-server", "--save"', '"redis-server", "--no-such-option", "--save"')
    assert dying != text
    (catalog / "components" / "dying.toml").write_text(dying, encoding="utf-8")
    for name in ("stuck", "dying"):
        (port,) = free_ports(1)
        head = f'language = "go"\nstack = ["redis", "{name}"]\n[ports]\nredis = {free_ports(1)[0]}\n{name} = {port}\n'
        (catalog / "services" / f"{name}-{os.getpid()}.toml").write_text(head + GREEN, encoding="utf-8")
    return make_project(catalog=catalog)


LIGHT = (f"light-{os.getpid()}",)
ONE = ("--service", LIGHT[0])


@pytest.fixture
def up(light: Project, podman: Podman) -> Iterator[str]:
    """A run of Redis that is up, on the catalogue's ports."""
    run = new_run()
    done = light.invoke("infra.up", *ONE, "--run", run)
    try:
        assert done.code == 0, done.text
        yield run
    finally:
        light.invoke("infra.down", "--run", run)
    assert podman.left_of(run) == []


def test_fresh_starts_a_stack_of_its_own_beside_the_one_that_is_up(light: Project, podman: Podman, up: str) -> None:
    done = light.invoke("suite.run", *ONE, "--fresh", "--ports", "auto")
    assert done.code == 0, done.text
    report = light.report()
    assert (report["stack"], report["kept"]) == (None, False)
    assert step(report, "redis")["note"] != "was up"
    assert podman.left_of(report["run"]) == []
    assert podman.names(up) == [f"{LIGHT[0]}-redis-{up}"]
    # A taken port is told with the run that holds it, and with whether anybody cares for that run.
    taken = light.invoke("suite.run", *ONE, "--fresh")
    assert taken.code == 75, taken.text
    cause = light.report()["cause"]
    assert cause["reference"] == "port-taken"
    assert f"run {up} of {LIGHT[0]}" in cause["message"]
    assert "kept up for a person" in cause["message"]
    assert f"invoke infra.down --run {up}" in cause["remedy"]


def test_gc_with_a_run_ends_one_that_was_handed_over(light: Project, podman: Podman, up: str) -> None:
    assert [row["Name"] for row in podman.volumes(up)] == [f"{up}-kept"]
    done = light.invoke("infra.gc", "--run", up)
    assert done.code == 0, done.text
    assert up in next(line for line in done.lines if line.startswith("removed: "))
    assert podman.left_of(up) == []
    # Ending it once more finds nothing, and says so.
    gone = light.invoke("infra.gc", "--run", up)
    assert gone.code == 78
    assert gone.err.splitlines()[0] == f"invalid: there is no run {up}; to do: invoke infra.status"


def test_down_of_nothing_is_no_error_but_of_a_run_that_is_named(light: Project) -> None:
    done = light.invoke("infra.down", "--service", f"other-{os.getpid()}")
    assert (done.code, done.out) == (0, f"nothing of other-{os.getpid()} is there\n"), done.text
    run = new_run()
    done = light.invoke("infra.down", "--run", run)
    assert done.code == 78, done.text
    assert done.err.splitlines()[0] == f"invalid: there is no run {run}; to do: invoke infra.status"


def test_an_up_that_was_killed_before_its_last_gate_is_swept(light: Project, podman: Podman) -> None:
    with light.going("infra.up", "--service", f"stuck-{os.getpid()}", "--ports", "auto") as going:
        eventually("both containers", lambda: len(podman.names(going.run)) == 2)
        going.process.send_signal(signal.SIGKILL)
        going.process.wait(10)
        eventually("nothing is left", lambda: podman.left_of(going.run) == [], 15)
    swept = light.invoke("infra.gc", "--json").json()
    assert going.run not in [row["run"] for row in swept["spared"]]


def test_keep_leaves_a_failed_stack_and_says_how_to_look_and_how_to_remove(light: Project, podman: Podman) -> None:
    service = f"dying-{os.getpid()}"
    run = new_run()
    words = ("suite.run", "--service", service, "--ports", "auto", "--run", run)
    done = light.invoke(*words, INFRA_KEEP="1")
    try:
        assert done.code == 75, done.text
        assert f"invoke infra.logs --run {run}" in done.out
        assert f"invoke infra.down --run {run}" in done.out
        assert f"the stack stays up as run {run}" in done.lines[-1]
        report = light.report(run)
        assert report["kept"] is True
        assert report["cause"]["step"] == "dying"
        assert podman.names(run) == [f"{service}-dying-{run}", f"{service}-redis-{run}"]
        # It stays what it is: no suite takes it for one that is up, and the next start does not sweep it.
        logs = light.invoke("infra.logs", "--service", service, "--run", run, "--component", "dying")
        assert "no-such-option" in logs.out
        status = light.invoke("infra.status", "--run", run, "--json").json()
        components = {one["name"]: one for one in status["runs"][0]["components"]}
        assert (components["redis"]["state"], components["redis"]["ready"]) == ("running", True)
        assert (components["dying"]["state"], components["dying"]["ready"]) == ("exited", False)
        assert len(podman.names(run)) == 2
    finally:
        down = light.invoke("infra.down", "--run", run)
    assert down.code == 0, down.text
    assert podman.left_of(run) == []


def test_without_keep_a_failed_stack_is_removed(light: Project, podman: Podman) -> None:
    run = new_run()
    done = light.invoke("infra.up", "--service", f"dying-{os.getpid()}", "--ports", "auto", "--run", run)
    assert done.code == 75, done.text
    assert light.report(run)["cause"]["reference"] == "failed-at-once"
    assert podman.left_of(run) == []


# -- ports that are taken


def test_a_port_that_a_process_has_is_told_with_that_process(light: Project, podman: Podman) -> None:
    plan = light.invoke("infra.plan", *ONE, "--json").json()
    port = plan["steps"][0]["ports"]["redis"]["host"]
    program = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True); s.accept()"
    with subprocess.Popen((sys.executable, "-c", program), stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            run = new_run()
            done = light.invoke("suite.run", *ONE, "--run", run)
        finally:
            holder.kill()
    assert done.code == 75, done.text
    report = light.report(run)
    assert (report["outcome"], report["blame"]) == ("not-ready", "user")
    cause = report["cause"]
    assert (cause["reference"], cause["step"]) == ("port-taken", "redis")
    assert f"port {port} is taken by process {holder.pid} (" in cause["message"]
    assert "--ports auto" in cause["remedy"]
    assert not [name for name in step_names(report) if name.startswith("image ")]
    assert podman.left_of(run) == []


def test_a_port_that_a_run_has_is_told_with_that_run_and_its_owners_life(light: Project, podman: Podman) -> None:
    service = ("--service", f"stuck-{os.getpid()}")
    with light.going("infra.up", *service) as going:
        eventually("both containers", lambda: len(podman.names(going.run)) == 2)
        eventually("both running", lambda: {row["State"] for row in podman.containers(going.run)} == {"running"}, 20)
        run = new_run()
        done = light.invoke("suite.run", *service, "--run", run)
        assert done.code == 75, done.text
        cause = light.report(run)["cause"]
        assert f"is taken by run {going.run} of stuck-{os.getpid()}" in cause["message"]
        assert "its owner is alive" in cause["message"]
        # Nor does `down` end what is going on.
        down = light.invoke("infra.down", "--run", going.run)
        assert down.code == 75, down.text
        assert f"process {going.process.pid}" in down.err
        assert len(podman.names(going.run)) == 2
    assert podman.left_of(going.run) == []


# -- words that name nothing


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("suite.run",), 78, "invalid: no service given"),
        (("suite.run", "--service", "notifcation"), 78, 'invalid: unknown service "notifcation"'),
        (("infra.up", "--service", "notification", "--tier", "integratoin"), 78, 'has no tier "integratoin"'),
        (("infra.plan",), 78, "invalid: no service given"),
        (("infra.plan", "--service", "notification", "--ports", "some"), 78, "--ports is fixed or auto"),
        (("infra.plan", "--service", "notification", "--run", "latest"), 78, "a run is named by 8 hex digits"),
        (("infra.down",), 78, "invalid: no service given"),
        (("infra.env",), 78, "invalid: no service given"),
        (("infra.env", "--run", "00000000"), 75, "not-ready: run 00000000 is not there"),
        (("infra.logs", "--service", "nobody"), 78, 'invalid: unknown service "nobody"'),
        (("infra.status", "--service", "nobody"), 78, 'invalid: unknown service "nobody"'),
        (("infra.gc", "--run", "00000000"), 78, "invalid: there is no run 00000000"),
        (("images.build",), 78, "invalid: no service given"),
        (("images.prune", "--days", "many"), 78, '--days is a number, not "many"'),
    ],
)
def test_a_word_that_names_nothing_is_one_message(
    project: Project, words: tuple[str, ...], code: int, said: str
) -> None:
    done = project.invoke(*words)
    assert done.code == code, done.text
    assert done.text.count(said) == 1, done.text
    assert "Traceback" not in done.text
    assert "; to do: " in done.text


def test_a_component_that_is_not_in_the_stack_is_told_with_those_that_are(light: Project, up: str) -> None:
    done = light.invoke("infra.logs", *ONE, "--component", "postgres")
    assert done.code == 78
    said = f'invalid: no component "postgres" in the stack of {LIGHT[0]} (redis); to do: invoke infra.logs --run '
    assert done.err.splitlines()[0].startswith(said)


def test_a_run_that_has_been_is_not_overwritten(light: Project) -> None:
    run = new_run()
    light.runs.joinpath(run).mkdir(parents=True)
    done = light.invoke("suite.run", *ONE, "--run", run)
    assert done.code == 78, done.text
    assert f"there has been a run {run}" in done.text
