"""The development stack on the real Podman: it stays, comes back with its data, and suites leave it as it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from product import SECRET, Podman, Project, catalog_copy, edit, eventually, free_ports, step_names, workspace_copy
from rebooting import Host

from infra import databases, devlook, kept, labels, lease, ports, sweep
from infra.devstack import BOOTSTRAP
from infra.lease import named
from infra.lease_names import use
from infra.run_names import new_run
from infra.settings import runs_of

SERVICE = ("--service", "contextapi")
EARLY = """
image = "docker.io/pgvector/pgvector:pg16"
kind = "job"
command = ["/bin/sh", "-c", "exit 0"]

[ready]
probe = "completed"
"""


BARE = """
language = "go"
stack = ["postgres"]

[ports]
postgres = {port}

[tiers.integration]
suite = {{ runner = "gotestsum", packages = ["./pkg/gateway/..."], timeout = "5m" }}

[tiers.integration.workers]
count = 1
postgres = "postgres"
env = {{ POSTGRES_DB = "{{worker.database}}" }}
"""


class Dev:
    """A development stack that is up, as a person sees it."""

    def __init__(self, project: Project, workspace: Path, env: dict[str, str | None]) -> None:
        self.project = project
        self.declared = workspace.parent / "catalog" / "dev.toml"
        self.early = workspace.parent / "catalog" / "components" / "early.toml"
        self.migrations = workspace / "migrations"
        self.env = env
        self.ports = self._ports()
        self.run = str(self.status()["run"])

    def bootstrap(self, *words: str) -> str:
        done = self.project.invoke("dev.bootstrap", *words, **self.env)
        assert done.code == 0, done.text
        self.ports = self._ports()
        return done.text

    def _ports(self) -> dict[str, dict[str, int]]:
        return {one["name"]: one["ports"] for one in self.status()["components"]}

    def status(self) -> dict[str, Any]:
        return dict(self.project.invoke("dev.status", "--json", **self.env).json()["stack"])

    def component(self, name: str) -> dict[str, Any]:
        return dict(next(one for one in self.status()["components"] if one["name"] == name))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host="127.0.0.1",
            port=self.ports["postgres"]["sql"],
            user="slm_user",
            password=SECRET,
            dbname="action_history",
            autocommit=True,
        ) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def redis(self, number: int = 0) -> redis.Redis:
        return redis.Redis(port=self.ports["redis"]["redis"], db=number)

    def has_data(self) -> bool:
        return self.query("SELECT x FROM mine") == [(42,)] and self.redis().get("mine") == b"42"

    def name(self, component: str) -> str:
        return f"dev-{component}-{self.run}"


def parts(folder: Path) -> tuple[Path, Path]:
    """A catalogue whose development stack has free ports, and a workspace whose migrations may change."""
    catalog, workspace = catalog_copy(folder / "catalog"), workspace_copy(folder / "workspace")
    for old, new in zip(("postgres = 5432", "redis = 6379"), free_ports(2), strict=True):
        edit(catalog / "dev.toml", old, f"{old.split(' ')[0]} = {new}")
    edit(catalog / "dev.toml", "stack = [", 'stack = ["early", ')
    (catalog / "components" / "early.toml").write_text(EARLY, encoding="utf-8")
    (catalog / "services" / "bare.toml").write_text(BARE.format(port=free_ports(1)[0]), encoding="utf-8")
    return catalog, workspace


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    """A server of somebody else's."""
    with socket.socket() as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        theirs.bind(("127.0.0.1", port))
        theirs.listen()
        yield


@contextlib.contextmanager
def up(project: Project, workspace: Path, podman: Podman | None, **env: str | None) -> Iterator[Dev]:
    done = replace(project, seconds=900).invoke("dev.bootstrap", **env)
    assert done.code == 0, done.text
    try:
        dev = Dev(project, workspace, env)
        dev.query("CREATE TABLE mine AS SELECT 42 AS x")
        dev.redis().set("mine", "42")
        yield dev
    finally:
        gone = project.invoke("dev.cleanup", **env)
    assert gone.code == 0, gone.text
    assert podman is None or podman.left_of(dev.run) == []


@pytest.fixture(scope="module")
def dev(
    make_project: Callable[..., Project], podman: Podman, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dev]:
    catalog, workspace = parts(tmp_path_factory.mktemp("dev"))
    with up(make_project(catalog=catalog, workspace=workspace), workspace, podman) as one:
        yield one


def test_it_is_migrated_and_has_vectors(dev: Dev) -> None:
    assert dev.status()["ready"]
    assert dev.query("SELECT max(version) FROM schema_version") == [(1000,)]
    assert dev.query("SELECT extname FROM pg_extension WHERE extname = 'vector'") == [("vector",)]
    assert len(dev.query("SELECT 1 FROM infra.migrations WHERE applied IS NOT NULL")) == len(
        list(dev.migrations.glob("*.sql"))
    )


def test_a_second_bootstrap_has_nothing_to_do(dev: Dev, podman: Podman) -> None:
    before = {row["Id"] for row in podman.containers(dev.run)}, sorted(path.name for path in dev.project.runs.iterdir())
    assert "development stack: up" in dev.bootstrap()
    assert before == (
        {row["Id"] for row in podman.containers(dev.run)},
        sorted(path.name for path in dev.project.runs.iterdir()),
    )


def test_nothing_but_cleanup_removes_it(dev: Dev) -> None:
    for words in (("infra.gc", "--run", dev.run), ("infra.down", "--run", dev.run)):
        done = dev.project.invoke(*words)
        assert done.code == 75
        assert f"to do: invoke dev.cleanup --run {dev.run}" in done.err
    unknown = dev.project.invoke("dev.cleanup", "--run", "00000000")
    assert unknown.code == 78
    assert "there is no development stack of run 00000000; to do: invoke infra.status" in unknown.err
    with lease.hold(new_run(), "infra", "none", looks=True) as held:
        in_the_way = ports.taken("redis", dev.ports["redis"]["redis"], held.engine)
    assert in_the_way.remedy.startswith(
        f"invoke dev.cleanup --run {dev.run}  # removes a development stack with its data"
    )
    swept = dev.project.invoke("infra.gc", "--json").json()
    assert [one["why"] for one in swept["spared"] if one["run"] == dev.run] == [
        "persistent: dev.bootstrap has it up, only dev.cleanup removes it"
    ]
    assert dev.has_data()


def test_what_a_dead_run_has_left_in_it_is_dropped_by_gc(dev: Dev) -> None:
    dead = replace(labels.Owner.of(os.getpid()), started="1")
    left = str(databases.Name(kind="w", owner=dead, created=int(time.time()), what=f"{new_run()}_1"))
    dev.query(f'CREATE DATABASE "{left}"')
    assert f"database {left}" in dev.project.invoke("infra.gc", "--json").json()["removed"]
    assert dev.query(f"SELECT 1 FROM pg_database WHERE datname = '{left}'") == []
    assert dev.has_data()


def test_a_suite_runs_in_it_at_once_and_leaves_it_as_it_was(dev: Dev) -> None:
    databases = dev.query("SELECT datname FROM pg_database ORDER BY 1")
    done = replace(dev.project, seconds=600).invoke("dev.test", *SERVICE)
    assert done.code == 0, done.text
    report = dev.project.report()
    assert report["suite"]["passed"] == report["suite"]["tests"] > 0
    assert {"postgres", "redis", "workers", "suite"} <= set(step_names(report))
    assert not {"migrations", "template"} & set(step_names(report)), "it was all there"
    assert dev.query("SELECT datname FROM pg_database ORDER BY 1") == databases
    assert [dev.redis(number).dbsize() for number in range(16)] == [1, *[0] * 15]
    assert dev.has_data()


def test_a_suite_without_migrations_has_an_empty_database_for_each_worker(dev: Dev) -> None:
    done = replace(dev.project, seconds=300).invoke("dev.test", "--service", "bare")
    assert done.code == 0, done.text
    (worker,) = dev.project.report()["workers"]
    assert worker["database"]
    assert dev.has_data()


def test_what_crashes_is_started_again_and_that_is_said(dev: Dev, podman: Podman) -> None:
    os.kill(podman.inspect(dev.name("postgres"))["State"]["Pid"], signal.SIGKILL)
    eventually("a restart", lambda: dev.component("postgres")["restarts"] == 1, 30)
    eventually("ready again", lambda: bool(dev.component("postgres")["ready"]), 30)
    assert "postgres has crashed and was restarted once (of 5)" in dev.bootstrap()
    assert dev.has_data()


def test_what_is_gone_is_told_by_those_who_need_it_and_comes_back_with_its_data(dev: Dev, podman: Podman) -> None:
    for component, words in (("postgres", ("dev.status",)), ("redis", ("dev.test", *SERVICE))):
        podman("rm", "--force", "--time", "0", dev.name(component))
        done = dev.project.invoke(*words)
        assert done.code == 75
        assert f"{component}: in the development stack it is gone; to do: invoke dev.bootstrap" in done.text
        assert f"{component} was gone: it is made anew, with its data" in dev.bootstrap()
        assert dev.has_data()


def test_what_is_frozen_goes_on_where_it_is(dev: Dev, podman: Podman) -> None:
    before = podman.inspect(dev.name("redis"))["Id"]
    podman("pause", dev.name("redis"))
    assert dev.component("redis")["why"] == "frozen"
    dev.bootstrap()
    assert podman.inspect(dev.name("redis"))["Id"] == before
    assert dev.has_data()


@pytest.mark.parametrize("component", ["redis", "postgres"])
def test_what_runs_and_does_not_answer_comes_back_with_its_data(component: str, dev: Dev, podman: Podman) -> None:
    name = dev.name(component)
    if component == "redis":
        os.kill(podman.inspect(name)["State"]["Pid"], signal.SIGSTOP)
    else:
        podman("network", "disconnect", f"dev-{dev.run}", name)
    done = dev.project.invoke("dev.status")
    assert f"{component}: in the development stack it is not ready: " in done.err
    assert "to do: invoke dev.bootstrap" in done.err
    if component == "redis":
        run = new_run()
        with named(run):
            use(run, dev.run)
            refused = dev.project.invoke("dev.bootstrap")
        assert f"run {run} (process {os.getpid()}) has its suite going in it" in refused.out
    said = dev.bootstrap()
    assert f"{component} was not ready: " in said
    assert ": it is made anew, with its data" in said
    assert dev.has_data()


def test_what_is_starting_has_its_time(dev: Dev, podman: Podman) -> None:
    component = dev.declared.parent / "components" / "redis.toml"
    edit(component, 'timeout = "10s"', 'timeout = "60s"')
    podman("restart", dev.name("redis"))
    state = podman.inspect(dev.name("redis"))
    os.kill(state["State"]["Pid"], signal.SIGSTOP)
    with dev.project.going("dev.bootstrap") as going:
        going.says("redis was started a moment ago and is not ready: ")
        os.kill(state["State"]["Pid"], signal.SIGCONT)
        assert going.ends() == 0
    edit(component, 'timeout = "60s"', 'timeout = "10s"')
    assert podman.inspect(dev.name("redis"))["Id"] == state["Id"]
    assert dev.has_data()


def test_what_died_with_its_monitor_comes_back_with_its_data(dev: Dev, podman: Podman) -> None:
    state = podman.inspect(dev.name("redis"))["State"]
    os.kill(state["ConmonPid"], signal.SIGKILL)
    os.kill(state["Pid"], signal.SIGKILL)
    assert not dev.component("redis")["ready"]
    dev.bootstrap()
    assert dev.has_data()


def test_a_port_that_somebody_has_taken_is_one_message_with_a_command_that_helps(dev: Dev, podman: Podman) -> None:
    port = dev.ports["postgres"]["sql"]
    podman("stop", dev.name("postgres"))
    with listening(port):
        done = dev.project.invoke("dev.bootstrap")
        assert done.code == 75
        assert f"postgres: port {port} is taken by process {os.getpid()}" in done.out
        assert "to do: invoke dev.bootstrap --ports auto" in done.out
        dev.bootstrap("--ports", "auto")
    assert dev.ports["postgres"]["sql"] != port
    assert dev.has_data()


def test_a_port_that_is_declared_and_taken_costs_nobody_the_server_that_is_up(dev: Dev, podman: Podman) -> None:
    before, (old, new) = podman.inspect(dev.name("redis"))["Id"], (dev.ports["redis"]["redis"], free_ports(1)[0])
    edit(dev.declared, f"redis = {old}", f"redis = {new}")
    with listening(new):
        done = dev.project.invoke("dev.bootstrap")
        assert done.code == 75
        assert f"redis: port {new} is taken by process {os.getpid()}" in done.out
        state = podman.inspect(dev.name("redis"))
        assert (state["Id"], state["State"]["Status"]) == (before, "running")
    assert "redis was declared otherwise by now: it is made anew, with its data" in dev.bootstrap()
    assert dev.ports["redis"]["redis"] == new
    assert dev.has_data()


def test_nothing_is_taken_down_before_its_image_is_there(dev: Dev, podman: Podman) -> None:
    before, component = podman.inspect(dev.name("redis"))["Id"], dev.declared.parent / "components" / "redis.toml"
    edit(component, "docker.io/library/redis:7-alpine", "localhost:1/nobody/redis:7")
    done = dev.project.invoke("dev.bootstrap")
    assert done.code != 0
    assert "localhost:1/nobody/redis:7" in done.text
    state = podman.inspect(dev.name("redis"))
    assert (state["Id"], state["State"]["Status"]) == (before, "running")
    edit(component, "localhost:1/nobody/redis:7", "docker.io/library/redis:7-alpine")
    assert "development stack: up" in dev.bootstrap()
    assert podman.inspect(dev.name("redis"))["Id"] == before


def test_data_that_know_nothing_of_what_is_declared_are_told_with_what_helps(dev: Dev) -> None:
    afresh = "to do: invoke dev.cleanup && invoke dev.bootstrap  # starts afresh, without your data; or declare it as"
    component = dev.declared.parent / "components" / "postgres.toml"
    for old, new, what in (
        ('user = "slm_user"', 'user = "other"', 'no role "other"'),
        (f'password = "{SECRET}"', 'password = "other"', 'no role "slm_user" with that password'),
        ('database = "action_history"', 'database = "other"', 'no database "other"'),
    ):
        edit(component, old, new)
        for words in ("dev.bootstrap", "dev.status"):
            done = dev.project.invoke(words)
            assert done.code == 75
            assert "postgres: its data have no " in done.text
            assert afresh in done.text
            assert words == "dev.status" or f"postgres: its data have {what}: " in done.text
        edit(component, new, old)
    assert "development stack: up" in dev.bootstrap()
    assert dev.has_data()


def test_a_component_comes_between_and_goes_again_and_the_others_keep_their_data(dev: Dev, podman: Podman) -> None:
    port = free_ports(1)[0]
    (dev.early.parent / "second.toml").write_text('extends = "redis"\n', encoding="utf-8")
    declared = dev.declared.read_text(encoding="utf-8")
    dev.declared.write_text(
        declared.replace('"early", ', '"early", "second", ').replace("[ports]", f"[ports]\nsecond = {port}")
        + '\n[components.second]\ndata = "/data"\n',
        encoding="utf-8",
    )
    # Free ports, so that a test before this one may have moved the others.
    assert "development stack: up" in dev.bootstrap("--ports", "auto")
    assert dev.has_data()
    hosts = dict(line.split(":") for line in podman.inspect(dev.name("redis"))["HostConfig"]["ExtraHosts"])
    for name in ("second", "postgres", "redis"):
        (network,) = podman.inspect(dev.name(name))["NetworkSettings"]["Networks"].values()
        assert network["IPAddress"] == hosts[name]
    dev.declared.write_text(declared, encoding="utf-8")
    assert (
        f"warning: {dev.name('second')} is still there, and not declared any more"
        in dev.project.invoke("dev.status").out
    )
    said = dev.bootstrap("--ports", "auto")
    assert f"{dev.name('second')} is not declared any more: it is removed; its data stay until dev.cleanup" in said
    assert "development stack: up" in said
    assert dev.has_data()


def test_migrations_are_applied_as_they_are_added_and_a_failure_is_remembered(dev: Dev) -> None:
    (dev.migrations / "1001_added.sql").write_text("CREATE INDEX CONCURRENTLY added ON mine (x)", encoding="utf-8")
    half = dev.migrations / "1002_half.sql"
    half.write_text("CREATE TABLE half ();\nCREAT TABLE rest ();\n", encoding="utf-8")
    done = dev.project.invoke("dev.bootstrap")
    assert done.code == 75
    assert "migrations: 1002_half.sql, line 2: syntax error" in done.out
    told = dev.status()["migrations"]["migrations"]
    assert (told["applied"][-1], told["failed"], told["pending"]) == (
        "1001_added.sql",
        ["1002_half.sql"],
        ["1002_half.sql"],
    )
    half.write_text("CREATE TABLE IF NOT EXISTS half ();\nCREATE TABLE rest ();\n", encoding="utf-8")
    # Its table "mine" is a person's, so that no database of workers has it.
    (dev.migrations / "1001_added.sql").write_text("SELECT 1", encoding="utf-8")
    said = dev.bootstrap()
    assert "run again: 1002_half.sql" in said
    assert dev.query("SELECT to_regclass('rest')::text, to_regclass('added')::text") == [("rest", "added")]
    assert (
        "warning: stale data: migrations edited since they were applied: 1001_added.sql; "
        "to start afresh, without your data: invoke dev.cleanup && invoke dev.bootstrap" in said
    )
    assert dev.has_data()


def test_a_job_that_has_failed_is_told_and_run_again(dev: Dev) -> None:
    edit(dev.early, "exit 0", "exit 3")
    assert dev.status()["jobs"]["early"] == {"done": False, "why": "declared otherwise by now"}
    for said in ("early was declared otherwise by now: it is run again", "early was failed (exit code 3)"):
        done = dev.project.invoke("dev.bootstrap")
        assert done.code != 0
        assert said in done.text
        assert dev.status()["jobs"]["early"]["why"] == "failed (exit code 3)"
    edit(dev.early, "exit 3", "exit 0")
    assert "development stack: up" in dev.bootstrap()
    assert dev.status()["jobs"]["early"]["done"]
    assert dev.has_data()


def test_it_is_not_made_anew_under_a_suite_and_never_without_its_data(dev: Dev, podman: Podman) -> None:
    before = podman.inspect(dev.name("redis"))["Id"]
    edit(dev.declared, 'data = "/data"', 'data = "/other"')
    done = dev.project.invoke("dev.bootstrap")
    assert done.code == 75
    assert 'redis: its data are those of /data, and dev.toml says data = "/other" by now' in done.text
    assert "to do: invoke dev.cleanup && invoke dev.bootstrap" in done.text
    told = dev.project.invoke("dev.status")
    assert (told.code, told.err.splitlines()[0]) == (
        75,
        next(row for row in done.lines if row.startswith("not-ready:")),
    )
    edit(dev.declared, 'data = "/other"', 'data = "/data"')
    edit(dev.declared, '"--appendonly", "yes"', '"--appendonly", "yes", "--maxclients", "500"')
    run = new_run()
    with named(run):
        use(run, dev.run)
        done = dev.project.invoke("dev.bootstrap")
        assert done.code == 75
        assert f"is in use: run {run} (process {os.getpid()}) has its suite going in it" in done.text
        state = podman.inspect(dev.name("redis"))
        assert (state["Id"], state["State"]["Status"]) == (before, "running")
    assert "redis was declared otherwise by now: it is made anew, with its data" in dev.bootstrap()
    assert podman.inspect(dev.name("redis"))["Id"] != before
    assert dev.has_data()


def test_what_cannot_be_brought_up_is_removed_whatever_is_to_be_kept(
    make_project: Callable[..., Project], podman: Podman, tmp_path: Path
) -> None:
    catalog, workspace = parts(tmp_path)
    edit(catalog / "components" / "early.toml", "exit 0", "exit 3")
    edit(catalog / "dev.toml", 'stack = ["early", "postgres", ', 'stack = ["postgres", "early", ')
    project = make_project(catalog=catalog, workspace=workspace)
    done = replace(project, seconds=600).invoke("dev.bootstrap", INFRA_KEEP="1")
    assert done.code != 0
    assert podman.left_of(project.report()["run"]) == []


def test_what_says_that_it_stays_is_mended_where_half_of_it_was_lost(dev: Dev) -> None:
    witness = dev.project.runs / dev.run / "kept"
    witness.unlink()
    assert "ready, and not up to date: invoke dev.bootstrap" in dev.project.invoke("dev.status").out
    assert "development stack: up" in dev.bootstrap()
    assert witness.exists()
    assert dev.has_data()


def test_a_volume_with_data_says_that_it_stays_where_the_marker_was_pruned(tmp_path: Path) -> None:
    # Its owner lives, so that no run beside this one, of whatever version, takes it for left behind.
    with lease.hold(new_run(), "dev", "integration") as held:
        engine, run, folder = held.engine, held.run, runs_of(tmp_path) / held.run
        marks = held.labels() | {labels.KEPT: BOOTSTRAP, labels.ROOT: str(tmp_path)}
        try:
            engine.create_volume(f"dev-postgres-{run}", marks)
            assert not kept.is_kept(engine, run), "a first bootstrap that was interrupted is swept"
            assert devlook.find(engine, tmp_path) is None
            kept.hand_over(engine, folder, run, marks)
            assert kept.is_certain(engine, folder, run)
            engine.remove_volume(kept.marker(run))
            assert kept.is_kept(engine, run)
            assert [one.kept for one in sweep.runs(engine) if one.run == run] == [BOOTSTRAP]
            found = devlook.find(engine, tmp_path)
            assert found is not None
            assert found.run == run
            assert not kept.is_certain(engine, folder, run)
            kept.hand_over(engine, folder, run, marks)
            assert kept.is_certain(engine, folder, run)
        finally:
            left = sweep.sweep_run(engine, run)
    assert left == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace with another /run")
def test_it_comes_back_with_its_data_after_the_host_was_switched_off(
    make_project: Callable[..., Project], podman: Podman, dev: Dev, tmp_path: Path
) -> None:
    store = json.loads(podman("info", "--format", "json").out)["store"]
    if store["graphDriverName"] != "overlay":
        pytest.skip("another storage cannot use its images")
    machine = Host(tmp_path / "host", store["graphRoot"], {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"})
    machine.folder.mkdir()
    machine.prepare()
    machine.switch_on()
    try:
        catalog, workspace = parts(tmp_path)
        project = make_project(catalog=catalog, workspace=workspace)
        with up(project, workspace, None, CONTAINER_HOST=machine.url) as one:
            assert one.run != dev.run, "each checkout has its own"
            machine.bridges.add(f"infra{one.run}")
            one.redis().waitaof(1, 0, 5000)
            one.query("SELECT pg_switch_wal()")
            machine.switch_off()
            machine.switch_on()
            assert not one.status()["ready"]
            assert "development stack: up" in one.bootstrap()
            assert one.has_data()
            assert one.status()["run"] == one.run
    finally:
        machine.switch_off()
