"""F01 to F07: components that do not start, and what a database refuses. Each is caused for real."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from faults import caused, ended, is_told, written_down
from product import CATALOG, WORKSPACE, Podman, Project, eventually
from standins import POSTGRES, job, psql, serve, server

pytestmark = pytest.mark.usefixtures("warm")

TABLE = {"migrations/001_a.sql": "CREATE TABLE a ();\n"}
PARTITIONED = (
    "CREATE TABLE audit (at date) PARTITION BY RANGE (at);\n"
    "CREATE TABLE audit_1 PARTITION OF audit FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');\n"
)
# What suites of these tests import is in the environment of the tests.
TOOLS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# A PostgreSQL that stays where it starts up, behind a gate that only looks for an open port.
STARTING = """chmod 0700 $PGDATA; chown -R postgres $PGDATA
exec setpriv --reuid=postgres --regid=postgres --init-groups bash -c '
initdb -A trust -U slm_user >/dev/null; echo host all all all trust >> $PGDATA/pg_hba.conf
touch $PGDATA/recovery.signal
perl -MIO::Socket::INET -e '"'"'
my $s = IO::Socket::INET->new(LocalAddr => "0.0.0.0:8080", Listen => 9, ReuseAddr => 1) or die $@;
while (1) { my $c = $s->accept or next; sysread $c, $_, 4096;
my $up = IO::Socket::INET->new(PeerAddr => "127.0.0.1:5432");
print $c ($up ? "HTTP/1.0 200 OK" : "HTTP/1.0 503 NO") . "\\r\\nContent-Length: 0\\r\\n\\r\\n"; close $c }'"'"' &
exec postgres -c "listen_addresses=*" -c "restore_command=sleep 60; false"'"""


def changed(name: str, old: str, new: str) -> str:
    """A component of the real catalogue with one change."""
    text = (CATALOG / "components" / f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


def test_f01_what_is_told_of_a_component_that_is_started_before_what_it_needs(faulty: Callable[..., Project]) -> None:
    fault = caused(faulty({}, ["datastorage", "postgres", "redis"], workspace=WORKSPACE))
    is_told(
        fault,
        reference="started-before-dependency",
        blame="user",
        code=75,
        step="datastorage",
        says=["it needs postgres, which is started after it"],
        remedy="faulty.toml  # stack: put postgres before datastorage",
        shows=["PostgreSQL at postgres:5432", "postgres: not started yet", "state: ended, exit code 1"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F01", "datastorage before postgres in `stack`", fault)


@pytest.mark.parametrize(
    ("tries", "says"),
    [
        ("bash -c 'exec 3<>/dev/tcp/postgres/5432' || exit 1", "No route to host"),
        ("(echo SELECT 1 | psql -h postgres) || exit 2", "postgres"),
    ],
    ids=["shell", "psql"],
)
def test_f01_what_is_told_of_a_job(tries: str, says: str, faulty: Callable[..., Project]) -> None:
    image = POSTGRES if "psql" in tries else ""
    early = job(tries, image=image, more='[env]\nPGCONNECT_TIMEOUT = "3"\n')
    fault = caused(faulty({"early": early}, ["early", "postgres"]))
    is_told(
        fault,
        reference="started-before-dependency",
        blame="user",
        code=75,
        step="early",
        says=["it needs postgres"],
        remedy="stack: put postgres before early",
        shows=[says, "postgres: not started yet"],
    )
    assert fault.cause["named_after_s"] < 10


@pytest.mark.parametrize("kind", ["go", "psql", "shell"])
def test_f02_what_is_told_of_a_name_that_nothing_has(kind: str, faulty: Callable[..., Project]) -> None:
    component, others, workspace = {
        "go": (changed("datastorage", "host: postgres", "host: postgress"), ["redis"], WORKSPACE),
        "psql": (psql("SELECT 1", PGHOST="postgress"), [], None),
        "shell": (job("bash -c 'exec 3<>/dev/tcp/postgress/5432' || exit 1"), [], None),
    }[kind]
    name = "datastorage" if kind == "go" else "client"
    stack = ["postgres", *others, name] if kind == "go" else ["redis", "postgres", name][1:]
    fault = caused(faulty({name: component}, stack, workspace=workspace))
    is_told(
        fault,
        reference="unknown-host-name",
        blame="user",
        code=75,
        step=name,
        says=['a host "postgress"', 'did you mean "postgres"?'],
        remedy=f"{name}.toml  # the host postgress:",
        shows=["postgress", "state: ended, exit code"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F02", f"a wrong host name ({kind})", fault)


def test_f02_what_is_told_of_a_dependency_that_is_paused(faulty: Callable[..., Project], podman: Podman) -> None:
    late = job(
        "sleep 3; timeout 5 bash -c 'exec 3<>/dev/tcp/app/8080; echo GET / >&3; read -t 2 x <&3' || "
        "{ echo app:8080: connection timed out; exit 1; }"
    )
    project = faulty({"app": server(serve()), "late": late}, ["app", "late"])
    with project.going("suite.run", "--service", "faulty") as going:
        name = f"faulty-late-{going.run}"
        eventually("it runs", lambda: podman("ps", "--quiet", "--filter", f"name={name}").out != "", 60)
        podman("pause", f"faulty-app-{going.run}")
        fault = ended(project, going)
    is_told(
        fault,
        reference="component-frozen",
        blame="infrastructure",
        code=75,
        step="app",
        says=["somebody has frozen it"],
        remedy=f"podman unpause {fault.report['service']}-app-{fault.report['run']}",
    )
    written_down("F02", "a dependency that is paused", fault)


def test_f03_what_is_told_of_a_gate_that_passes_while_the_database_starts_up(faulty: Callable[..., Project]) -> None:
    starting = f'image = "{POSTGRES}"\n' + server(STARTING, ports="[ports]\nhttp = 8080\nsql = 5432\n")
    fault = caused(faulty({"postgres": starting, "early": psql("SELECT 1", PGPASSWORD="")}, ["postgres", "early"]))
    is_told(
        fault,
        reference="database-starting-up",
        blame="infrastructure",
        code=75,
        step="early",
        says=['"the database system is starting up"', "the gate of the database passed too early"],
        remedy='probe = "postgres", which asks over TCP',
        shows=["FATAL:  the database system is starting up", "state: ended, exit code 2"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F03", "a gate that only looks for an open port, in recovery", fault)


@pytest.mark.parametrize(
    ("old", "new", "reference", "says", "shows"),
    [
        (
            'user = "{postgres.values.user}"',
            'user = "nobody"',
            "role-missing",
            'no role "nobody"',
            'Role "nobody" does not exist',
        ),
        (
            '"{postgres.values.database}"\nuser',
            '"slm_user"\nuser',
            "database-missing",
            'no database "slm_user"',
            "FATAL:  database",
        ),
    ],
    ids=["role", "database"],
)
def test_f04_what_is_told_of_a_probe_that_asks_as_nobody(
    old: str, new: str, reference: str, says: str, shows: str, faulty: Callable[..., Project]
) -> None:
    text = changed("postgres", old, new).replace('timeout = "30s"', 'timeout = "120s"')
    project = faulty({"postgres": text}, ["postgres"])
    with project.going("suite.run", "--service", "faulty") as going:
        going.says("not-ready: ", 150)
        told = datetime.now(UTC)
        fault = ended(project, going)
    is_told(
        fault,
        reference=reference,
        blame="user",
        code=75,
        step="postgres",
        says=[says],
        remedy="postgres.toml  # the ",
        shows=[shows, "state: running"],
    )
    took = next(step["duration_s"] for step in fault.report["steps"] if step["name"] == "postgres")
    assert took < 60, "the gate has waited for its time"
    refused = re.search(
        r"^(\S+ \S+) UTC \[\d+\] FATAL:  (?:password|database \")", fault.log("postgres.log"), re.MULTILINE
    )
    assert refused
    seconds = (told - datetime.fromisoformat(f"{refused[1]}+00:00")).total_seconds()
    assert seconds < 10
    written_down("F04", f"{reference}: the probe, from the server's first refusal", fault, round(seconds, 2))


@pytest.mark.parametrize(
    ("env", "reference", "says"),
    [
        ({"PGUSER": "nobody"}, "role-missing", 'no role "nobody"'),
        ({"PGDATABASE": ""}, "database-missing", 'no database "slm_user"'),
        ({"PGPASSWORD": "wrong"}, "password-wrong", "the password for slm_user is refused"),
    ],
    ids=["role", "database", "password"],
)
def test_f04_what_is_told_of_a_component_that_asks_as_nobody(
    env: dict[str, str], reference: str, says: str, faulty: Callable[..., Project]
) -> None:
    fault = caused(faulty({"early": psql("SELECT 1", **env)}, ["postgres", "early"]))
    is_told(
        fault,
        reference=reference,
        blame="user",
        code=75,
        step="early",
        says=[says],
        remedy="early.toml  # ",
        shows=["FATAL:  ", "state: ended, exit code 2"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F04", f"{reference}: a job", fault)


def test_f05_an_error_in_a_migration_ends_the_run_and_names_file_line_and_error(
    faulty: Callable[..., Project],
) -> None:
    files = {
        "migrations/001_good.sql": "CREATE TABLE a ();\n",
        "migrations/002_bad.sql": "\nCREAT TABLE b ();\n",
        "migrations/003_after.sql": "CREATE TABLE c ();\n",
    }
    fault = caused(faulty({}, ["postgres", "migrations"], files))
    is_told(
        fault,
        reference="migration-failed",
        blame="product",
        code=75,
        step="migrations",
        says=["002_bad.sql, line 2", 'syntax error at or near "CREAT"'],
        remedy="002_bad.sql",
        shows=["psql:002_bad.sql:2: ERROR:", "state: ended, exit code 3", "applying 001_good.sql"],
    )
    assert "003_after" not in fault.log("migrations.log")
    assert fault.cause["named_after_s"] < 10
    written_down("F05", "a file with bad SQL", fault)


def test_f06_what_is_told_of_two_migrations_with_one_number(faulty: Callable[..., Project]) -> None:
    fault = caused(faulty({}, ["postgres", "migrations"], {**TABLE, "migrations/001_b.sql": "SELECT 1;\n"}))
    is_told(
        fault,
        reference="duplicate-migration",
        blame="user",
        code=78,
        step=None,
        says=["two migrations have number 1: 001_a.sql and 001_b.sql"],
        remedy="  # 002 is free: ",
    )
    assert fault.report["steps"] == [], "something was started"
    written_down("F06", "a number twice, before anything is started", fault)


def test_f07_what_is_told_of_a_migration_for_whose_row_there_is_no_partition(faulty: Callable[..., Project]) -> None:
    files = {"migrations/001_a.sql": PARTITIONED, "migrations/002_b.sql": "INSERT INTO audit VALUES ('2026-01-01');"}
    fault = caused(faulty({}, ["postgres", "migrations"], files))
    is_told(
        fault,
        reference="partition-missing",
        blame="product",
        code=75,
        step="migrations",
        says=['table "audit" has no partition'],
        remedy="workspace/migrations  # a migration that adds the next partitions of audit",
        shows=["psql:002_b.sql:1: ERROR:  no partition of relation", "(at) = (2026-01-01)"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F07", "a row beyond the partitions, in a migration", fault)


def test_f07_what_is_told_of_a_suite_for_whose_row_there_is_no_partition(faulty: Callable[..., Project]) -> None:
    inserts = (
        "import os, psycopg\n\ndef test_row():\n    with psycopg.connect(os.environ['DB']) as connection:\n"
        "        connection.execute(\"INSERT INTO audit VALUES ('2026-01-01')\")\n"
    )
    address = "postgres://slm_user:{postgres.secrets.password}@127.0.0.1:{postgres.sql}/action_history"
    project = faulty(
        {},
        ["postgres", "migrations"],
        {"migrations/001_a.sql": PARTITIONED, "ok/test_ok.py": inserts},
        tier=f'env = {{ DB = "{address}" }}',
    )
    fault = caused(project, PATH=TOOLS)
    is_told(
        fault,
        reference="partition-missing",
        blame="product",
        code=1,
        step="suite",
        says=['table "audit" has no partition', "1 of 1 tests failed"],
        remedy="workspace/migrations  # a migration that adds",
        shows=["no partition of relation"],
    )
    written_down("F07", "a row beyond the partitions, in the suite", fault)
