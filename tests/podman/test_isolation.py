"""Workers of a suite keep apart: databases cloned from a template built once, Redis numbers that are claimed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from faults import row
from killing import new_run
from owned import dead_owner
from product import (
    ROOT,
    SECRET,
    Podman,
    Project,
    catalog_copy,
    edit,
    eventually,
    step,
    texts_below,
    workspace_copy,
)

from infra import databases, redis_numbers
from infra.databases import Name, Server
from infra.errors import NotReady
from infra.labels import Owner

# The catalogue's isolated service by another name: a stack of it that a person has up is neither used nor ended.
NAME = "isolated"
SERVICE = ("--service", NAME)


@dataclass(frozen=True)
class Up:
    """A stack that a person has up, with PostgreSQL and Redis, and workers of its own."""

    project: Project
    run: str
    env: dict[str, str]

    @property
    def server(self) -> Server:
        return Server(port=int(self.env["POSTGRES_PORT"]), user="slm_user", password=SECRET, database="action_history")

    @property
    def redis(self) -> int:
        return int(self.env["REDIS_ADDR"].partition(":")[2])

    def query(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host="127.0.0.1", port=self.server.port, user="slm_user", password=SECRET, dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def databases(self, kind: str) -> list[str]:
        return [
            name for (name,) in self.query("SELECT datname FROM pg_database ORDER BY 1") if name[:8] == f"infra_{kind}_"
        ]


def isolated(folder: Path) -> Path:
    """The real catalogue with the one service alone."""
    catalog = catalog_copy(folder)
    for path in (catalog / "services").glob("*.toml"):
        if path.stem == "contextapi":
            path.rename(path.with_stem(NAME))
        else:
            path.unlink()
    return catalog


@pytest.fixture(scope="module")
def up(make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    project = make_project(catalog=isolated(tmp_path_factory.mktemp("isolated") / "catalog"))
    run = new_run()
    done = replace(project, seconds=900).invoke("infra.up", *SERVICE, "--ports", "auto", "--run", run)
    assert done.code == 0, done.text
    try:
        yield Up(project, run, project.invoke("infra.env", "--run", run, "--format", "json").json())
    finally:
        gone = project.invoke("infra.gc", "--run", run)
    assert gone.code == 0, gone.text


# What waits until a file is there, so that a suite can be looked at while it goes on.
def held(catalog: Path, go_on: Path) -> None:
    command = ["sh", "-c", f"until [ -e {go_on} ]; do sleep 0.02; done"]
    edit(
        catalog / "services" / f"{NAME}.toml",
        "[tiers.integration.env]",
        f'before = [{{ name = "held", command = {json.dumps(command)} }}]\n\n[tiers.integration.env]',
    )


def here() -> Owner:
    return Owner.of(os.getpid())


def test_a_person_at_the_stack_has_a_database_and_a_number_for_each_worker(up: Up) -> None:
    names = [up.env[f"POSTGRES_DB_{n}"] for n in range(1, 5)]
    assert up.databases("w") == sorted(names)
    assert [up.env[f"REDIS_DB_{n}"] for n in range(1, 5)] == ["1", "2", "3", "4"]
    assert len({up.env[f"CACHE_OFFSET_{n}"] for n in range(1, 5)}) == 4
    for name in names:
        assert up.query("SELECT max(version) FROM schema_version", name) == [(1000,)], "it is migrated"


def test_a_worker_sees_nothing_of_another(up: Up) -> None:
    first, second = up.env["POSTGRES_DB_1"], up.env["POSTGRES_DB_2"]
    up.query("CREATE TABLE mine ()", first)
    assert up.query("SELECT to_regclass('mine')::text", second) == [(None,)]
    assert up.query("SELECT to_regclass('mine')::text", "action_history") == [(None,)]


BUILD = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from infra import databases
from infra.databases import Server
from infra.labels import Owner
server = Server(port=int(sys.argv[2]), user="slm_user", password=sys.argv[3], database="action_history")
while time.time() < float(sys.argv[4]):
    pass
print(databases.template(server, sys.argv[5], Owner.of(os.getpid())))
"""


def test_a_template_is_built_once_however_many_processes_ask(up: Up) -> None:
    content = "0badcafe"
    begin = str(time.time() + 1.5)
    argv = [sys.executable, "-c", BUILD, str(ROOT), str(up.server.port), SECRET, begin, content]
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(subprocess.run, argv, capture_output=True, text=True, timeout=60) for _ in range(8)]
        done = [one.result() for one in asking]
    assert [one.stderr for one in done] == [""] * 8
    told = {one.stdout.strip() for one in done}
    built = [name for name in up.databases("t") if name.endswith(content)]
    assert [*told] == built
    assert up.query(f"SELECT datistemplate, datallowconn FROM pg_database WHERE datname = '{built[0]}'") == [
        (True, False)
    ]


def test_a_template_is_not_built_while_somebody_is_in_the_database_and_they_are_named(up: Up) -> None:
    with (
        psycopg.connect(
            host="127.0.0.1",
            port=up.server.port,
            user="slm_user",
            password=SECRET,
            dbname="action_history",
            application_name="somebody's psql",
        ),
        pytest.raises(NotReady) as raised,
    ):
        databases.template(up.server, "00000bad", here())
    assert raised.value.reference == "database-in-use"
    assert "somebody's psql" in raised.value.message
    assert [name for name in up.databases("t") if name.endswith("00000bad")] == []


def test_what_dead_owners_have_left_is_swept_and_nothing_else(up: Up) -> None:
    dead, long_ago, now = dead_owner(), int(time.time()) - 8 * 24 * 3600, int(time.time())
    source = databases.template(up.server, "5eed5eed", here())
    content = Name(kind="t", owner=here(), created=now, what="5eed5eed")
    elsewhere = replace(dead, host="elsewhere")
    taken = [
        Name(kind="w", owner=dead, created=now, what="deadbeef_1"),
        Name(kind="t", owner=dead, created=long_ago, what="01d01d01"),
        Name(kind="k", owner=dead, created=long_ago, what="deadbeef_2"),
    ]
    spared = [
        Name(kind="w", owner=here(), created=now, what="a11fe000_1"),
        Name(kind="w", owner=elsewhere, created=now, what="deadbeef_3"),
        Name(kind="w", owner=dead, created=now, what=f"{up.run}_9"),
        Name(kind="t", owner=dead, created=now, what="0e30e30e"),
        Name(kind="t", owner=dead, created=long_ago, what="5eed5ee0"),
        Name(kind="k", owner=dead, created=now, what="deadbeef_4"),
    ]
    strangers = ["infra_w_mine", "infraXwX", "infra_t_old_backup"]
    for name in [*map(str, [*taken, *spared]), *strangers]:
        up.query(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        gone = databases.sweep(up.server, up.run, "5eed5ee0")
        assert sorted(gone) == sorted(map(str, taken))
        left = {name for (name,) in up.query("SELECT datname FROM pg_database")}
        assert {*map(str, spared), *strangers, source} <= left
        assert not left & set(map(str, taken))
        assert str(content) != "", source
    finally:
        for name in [*map(str, spared), *strangers]:
            up.query(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_two_suites_in_one_stack_do_not_meet_and_the_stack_is_not_taken_from_under_them(
    up: Up, podman: Podman, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    catalog = isolated(tmp_path / "catalog")
    held(catalog, go_on)
    mine = replace(up.project, env={"INFRA_CATALOG": str(catalog)})
    suite = ("suite.run", *SERVICE, "--ports", "auto")
    try:
        with mine.going(*suite) as one, mine.going(*suite) as two:
            for going in (one, two):
                going.says(f"run {up.run} of {NAME} integration is used")
                going.says("  workers ")
            names = up.databases("w")
            for going in (one, two):
                assert len([name for name in names if f"_{going.run}_" in name]) == 4
            given = {run.run: (mine.runs / run.run / "env").read_text() for run in (one, two)}
            numbers = [line for text in given.values() for line in text.splitlines() if line.startswith("REDIS_DB_")]
            values = [int(line.partition("=")[2]) for line in numbers]
            assert len(set(values)) == 8
            assert not set(values) & {1, 2, 3, 4}, "those of the person at the stack"

            refused = up.project.invoke("infra.down", "--run", up.run)
            assert refused.code == 75
            assert f"the stack of run {up.run} is in use" in refused.err
            assert any(f"run {going.run}" in refused.err for going in (one, two))
            go_on.touch()
            assert [one.ends(200), two.ends(200)] == [0, 0], one.text + two.text
    finally:
        go_on.touch()
    flushed = [step(mine.report(going.run), "redis")["note"] for going in (one, two)]
    assert "was up; not flushed: another suite uses it" in flushed, flushed
    assert [name for name in up.databases("w") if f"_{up.run}_" not in name] == []
    for run in (one.run, two.run):
        report = mine.report(run)
        assert (report["outcome"], report["suite"]["passed"], report["left_behind"]) == ("passed", 91, [])
        assert podman.left_of(run) == []


@pytest.mark.parametrize("by", ["the next suite", "gc"])
def test_f52_a_suite_that_is_killed_leaves_databases_that_are_swept_and_it_is_said(
    by: str, up: Up, tmp_path: Path
) -> None:
    catalog = isolated(tmp_path / "catalog")
    held(catalog, tmp_path / "never")
    mine = replace(up.project, env={"INFRA_CATALOG": str(catalog)})
    with mine.going("suite.run", *SERVICE, "--ports", "auto") as killed:
        killed.says("  workers ")
        killed.process.kill()
        killed.process.wait(30)
    assert len([name for name in up.databases("w") if f"_{killed.run}_" in name]) == 4
    eventually("its claims are given back", lambda: not claims(up), 30)
    if by == "gc":
        done = up.project.invoke("infra.gc", "--json")
        assert [name for name in done.json()["removed"] if f"_{killed.run}_" in name], done.text
    else:
        done = up.project.invoke("suite.run", *SERVICE, "--", "--focus=is not there")
        assert done.code == 1, "no such spec: the suite does not matter here"
        assert "swept databases of dead runs: " in done.text
        line = next(line for line in done.lines if "swept databases" in line)
        assert f"_{killed.run}_" in line
        row("F52", "SIGKILL to a suite's owner; the next suite", line.strip(), None, "infrastructure", "-")
    assert [name for name in up.databases("w") if f"_{up.run}_" not in name] == []


def test_the_database_of_a_worker_that_failed_is_kept_and_the_report_says_where(up: Up) -> None:
    run = new_run()
    done = up.project.invoke("suite.run", *SERVICE, "--run", run, INFRA_KEEP="1", CONTEXTAPI_FAULT=first_fault())
    assert done.code == 1, done.text
    report = up.project.report(run)
    kept = [worker for worker in report["workers"] if worker["kept"]]
    assert 1 <= len(kept) <= 4
    failed = {case["worker"] for case in report["suite"]["failures"]}
    assert {worker["number"] for worker in kept} == failed
    for worker in kept:
        name = worker["database"].rpartition("/")[2]
        assert worker["database"].startswith("postgresql://slm_user:********@127.0.0.1:")
        assert up.query("SELECT max(version) FROM schema_version", name) == [(1000,)]
        assert f"the database of worker {worker['number']} is kept: {worker['database']}" in done.out
    assert up.databases("k") == sorted(worker["database"].rpartition("/")[2] for worker in kept)
    assert [path for path, text in texts_below(up.project.runs / run) if SECRET in text] == []
    for name in up.databases("k"):
        databases.drop(up.server, name)


def test_a_stack_that_was_made_with_other_migrations_has_no_databases_for_them(up: Up, tmp_path: Path) -> None:
    workspace = workspace_copy(tmp_path / "workspace")
    (workspace / "migrations" / "2000_more.sql").write_text("CREATE TABLE more ();\n")
    changed = {"INFRA_CATALOG": str(isolated(tmp_path / "catalog")), "INFRA_WORKSPACE": str(workspace)}
    before = up.databases("t")
    done = up.project.invoke("suite.run", *SERVICE, "--ports", "auto", **changed)
    assert done.code == 75, done.text
    assert (
        f"not-ready: migrations: {NAME}-migrations-{up.run} of the stack that is up is declared otherwise" in done.out
    )
    which = f"--service {NAME} --tier integration"
    assert f"to do: invoke infra.down {which} && invoke infra.up {which}  # or --fresh --ports auto" in done.out
    assert up.databases("t") == before


def test_what_a_person_has_in_redis_stays_when_a_suite_begins_and_the_services_queue_does_not(up: Up) -> None:
    import redis

    for number in (0, 1, 4):
        redis.Redis(host="127.0.0.1", port=up.redis, db=number).set("mine", "1")
    done = up.project.invoke("suite.run", *SERVICE, "--", "--focus=finds nothing at all")
    assert "was up, flushed" in done.out
    left = [number for number in (0, 1, 4) if redis.Redis(host="127.0.0.1", port=up.redis, db=number).exists("mine")]
    assert left == [1, 4]


def test_a_person_is_told_when_the_tier_has_more_workers_than_the_stack_was_made_for(
    up: Up, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    catalog = isolated(tmp_path / "catalog")
    edit(catalog / "services" / f"{NAME}.toml", "[tiers.integration.workers]", "[tiers.integration.workers]\ncount = 6")
    done = make_project(catalog=catalog).invoke("infra.env", "--run", up.run)
    assert done.code == 75, done.text
    assert "it has databases for 4 workers, and not for 6" in done.err


def test_a_run_that_is_kept_although_its_migrations_failed_says_what_failed(
    make_project: Callable[..., Project], podman: Podman, tmp_path: Path
) -> None:
    workspace = workspace_copy(tmp_path / "workspace")
    (workspace / "migrations" / "2000_bad.sql").write_text("CREAT TABLE more ();\n")
    broken = make_project(catalog=isolated(tmp_path / "catalog"), workspace=workspace)
    run = new_run()
    done = broken.invoke("suite.run", *SERVICE, "--ports", "auto", "--fresh", "--run", run, INFRA_KEEP="1")
    try:
        report = broken.report(run)
        assert (done.code, report["cause"]["reference"], report["left_behind"]) == (75, "migration-failed", []), (
            done.text
        )
        assert report["kept"]
        assert podman.names(run) != []
    finally:
        assert broken.invoke("infra.down", "--run", run).code == 0
    assert podman.left_of(run) == []


def first_fault() -> str:
    import tomllib

    faults = tomllib.loads((ROOT / "tests" / "workspace" / "test" / "faults.toml").read_text())
    return str(next(iter(faults["contextapi"])))


def claims(up: Up) -> list[str]:
    import redis

    rows = redis.Redis(host="127.0.0.1", port=up.redis, decode_responses=True).client_list()
    assert isinstance(rows, list)
    return [row["name"] for row in rows if row["name"].startswith("infra:")]


CLAIM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import redis
from infra import redis_numbers
port, run, rounds = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
print("ready", flush=True)
begin = float(sys.stdin.readline())
for number in range(rounds):
    while time.time() < begin + number:
        pass
    with redis_numbers.claimed(port, run, 3, spare=0, otherwise="") as numbers:
        print(json.dumps(numbers), flush=True)
        if number == rounds - 1:
            sys.stdin.read()
        time.sleep(max(0.0, begin + number + 0.8 - time.time()))
"""
ROUNDS = 8


def test_redis_numbers_are_handed_out_once_and_come_back_with_their_owners_however_they_end(up: Up) -> None:
    argv = [sys.executable, "-c", CLAIM, str(ROOT), str(up.redis)]
    claiming = [
        subprocess.Popen([*argv, f"0000000{n}", str(ROUNDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(5)
    ]
    try:
        assert [one.stdout.readline() for one in claiming if one.stdout is not None] == ["ready\n"] * 5
        begin = time.time() + 0.5
        for one in claiming:
            assert one.stdin is not None
            one.stdin.write(f"{begin}\n")
            one.stdin.flush()
        for _ in range(ROUNDS):
            had = [json.loads(one.stdout.readline()) for one in claiming if one.stdout is not None]
            every = [number for numbers in had for number in numbers]
            assert len(every) == len(set(every)) == 15, had
        otherwise = "invoke suite.run --service isolated --fresh --ports auto"
        claim = redis_numbers.claimed(up.redis, "99999999", 2, spare=0, otherwise=otherwise)
        with pytest.raises(NotReady) as raised, claim:
            pass
        assert raised.value.reference == "redis-numbers"
        assert raised.value.remedy == f"invoke infra.status  # wait until one of them has ended; or {otherwise}"
        assert "00000000" in raised.value.message
        claiming[0].kill()
        claiming[0].wait(10)
        eventually("three are free again", lambda: len(claims(up)) == 12, 30)
        with redis_numbers.claimed(up.redis, "99999999", 3, spare=0, otherwise="") as numbers:
            assert sorted(numbers) == sorted(had[0])
    finally:
        for one in claiming:
            one.kill()
            one.communicate()
    eventually("all are free again", lambda: claims(up) == [], 30)


def test_a_number_is_empty_when_it_is_handed_out_and_others_are_left_alone(up: Up) -> None:
    import redis

    for number in (14, 15):
        redis.Redis(host="127.0.0.1", port=up.redis, db=number).set("stale", "1")
    with redis_numbers.claimed(up.redis, "99999999", 1, spare=14, otherwise="") as numbers:
        assert numbers == (15,)
        assert redis.Redis(host="127.0.0.1", port=up.redis, db=15).dbsize() == 0
        assert redis.Redis(host="127.0.0.1", port=up.redis, db=14).dbsize() == 1
