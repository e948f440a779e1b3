"""Every way to get a catalogue wrong: one message with the file, the key and what would be right; exit code 78."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from given import CATALOG, ROOT, TOML_FILES, WORKSPACE, catalog_copy, edited, put, settings_with, workspace_in

from infra import plan
from infra.catalog.checks import STEPS
from infra.catalog.loading import load
from infra.errors import Invalid, edit

SERVICE = "services/notification.toml"
POSTGRES = "components/postgres.toml"
MIGRATIONS = "components/migrations.toml"
DATASTORAGE = "components/datastorage.toml"
REDIS = "components/redis.toml"
PYTHON = "services/holmesgpt-api.toml"
WORKERS = "services/contextapi.toml"


# Of the services those whose files use every word.
SERVICES = ("services/contextapi.toml", "services/holmesgpt-api.toml", "services/notification.toml")
FILES = tuple(file for file in TOML_FILES if file in SERVICES or not file.startswith("services/"))


@dataclass(frozen=True, kw_only=True)
class Bad:
    """One change to one file, and the words of the message besides the file's own path."""

    name: str
    file: str
    old: str
    new: str
    says: tuple[str, ...]


BAD = (
    Bad(
        name="unknown key",
        file=SERVICE,
        old="stack =",
        new="stcak =",
        says=("stcak: unknown key", 'did you mean "stack"'),
    ),
    Bad(
        name="unknown key that nothing is like",
        file=REDIS,
        old="[ready]",
        new="[healthz]\n[ready]",
        says=("healthz: unknown key", "known: ", "ready"),
    ),
    Bad(
        name="unknown key inside a suite",
        file=SERVICE,
        old="procs = 4",
        new="prcos = 4",
        says=("tiers.integration.suite.prcos: unknown key", 'did you mean "procs"'),
    ),
    Bad(
        name="misspelt key that is required",
        file=POSTGRES,
        old='database = "{',
        new='databse = "{',
        says=("ready.databse: unknown key", 'did you mean "database"'),
    ),
    Bad(
        name="misspelt table that is required",
        file=POSTGRES,
        old="[ready]",
        new="[raedy]",
        says=("raedy: unknown key", 'did you mean "ready"'),
    ),
    Bad(name="missing key", file=POSTGRES, old='port = "sql"\n', new="", says=("ready.port: is missing",)),
    Bad(
        name="number as a string",
        file=SERVICE,
        old="postgres = 15453",
        new='postgres = "15453"',
        says=(": ports.postgres: must be an integer, not '15453'",),
    ),
    Bad(
        name="number as a string in a table",
        file=SERVICE,
        old="http = 18110",
        new='http = "x"',
        says=(": ports.datastorage.http: must be an integer, not 'x'",),
    ),
    Bad(
        name="number as a string inside a suite",
        file=SERVICE,
        old="procs = 4",
        new='procs = "4"',
        says=("tiers.integration.suite.procs: must be an integer, not '4'",),
    ),
    Bad(
        name="port that is none",
        file=SERVICE,
        old="postgres = 15453",
        new="postgres = 65536",
        says=("ports.postgres: must be less than or equal to 65535",),
    ),
    Bad(
        name="string for a list",
        file=SERVICE,
        old="stack = [",
        new='stack = "postgres" # [',
        says=("stack: must be an array, not 'postgres'",),
    ),
    Bad(
        name="list for a string",
        file=POSTGRES,
        old='POSTGRES_DB = "{postgres.values.database}"',
        new='POSTGRES_DB = ["action_history"]',
        says=("env.POSTGRES_DB: must be a string, not a list",),
    ),
    Bad(
        name="string for a table",
        file=DATASTORAGE,
        old="[ports]\nhttp = 8080\nmetrics = 9090",
        new="",
        says=("ready.port", 'no port "http"'),
    ),
    Bad(name="truth for a number", file=DATASTORAGE, old="owner = 1001", new="owner = true", says=("files.0.owner",)),
    Bad(name="mode", file=DATASTORAGE, old='mode = "0400"', new='mode = "600"', says=("files.1.mode", "not '600'")),
    Bad(
        name="unknown component",
        file=SERVICE,
        old='"redis", ',
        new='"rediss", ',
        says=('stack: unknown component "rediss"', 'did you mean "redis"'),
    ),
    Bad(
        name="component named twice",
        file=SERVICE,
        old='"redis", ',
        new='"redis", "redis", ',
        says=('stack: names "redis" twice',),
    ),
    Bad(
        name="misspelt placeholder in a component",
        file=POSTGRES,
        old="{postgres.secrets.password}",
        new="{postgres.secrets.pasword}",
        says=("env.POSTGRES_PASSWORD", '"{postgres.secrets.pasword}"', 'did you mean "postgres.secrets.password"'),
    ),
    Bad(
        name="misspelt placeholder in a file",
        file=DATASTORAGE,
        old="{postgres.secrets.password}",
        new="{postgress.secrets.password}",
        says=("files.1.content", 'did you mean "postgres.secrets.password"'),
    ),
    Bad(
        name="misspelt placeholder in a suite",
        file=SERVICE,
        old="{datastorage.http}",
        new="{datastorage.htpp}",
        says=("tiers.integration.env.DATA_STORAGE_URL", '"{datastorage.htpp}"', 'did you mean "datastorage.http"'),
    ),
    Bad(
        name="misspelt placeholder in a command",
        file=MIGRATIONS,
        old='"/bin/sh"',
        new='"{rnu}"',
        says=("command.0", '"{rnu}"', 'did you mean "run"'),
    ),
    Bad(
        name="misspelt placeholder in a suite's arguments",
        file=SERVICE,
        old="procs = 4",
        new='procs = 4, args = ["--out={run_dri}"]',
        says=("tiers.integration.suite.args.0", 'did you mean "run_dir"'),
    ),
    Bad(
        name="misspelt placeholder in a command before the suite",
        file=SERVICE,
        old="[tiers.integration.env]",
        new='[[tiers.integration.before]]\nname = "gen"\ncommand = ["go", "{servcie}"]\n[tiers.integration.env]',
        says=("tiers.integration.before.0.command.1", 'did you mean "service"'),
    ),
    Bad(
        name="lone brace",
        file=MIGRATIONS,
        old="}}",
        new="}",
        says=("files.0.content", 'a lone "}"', 'write "}}"'),
    ),
    Bad(
        name="host port in a component",
        file=POSTGRES,
        old="{postgres.secrets.password}",
        new="{postgres.sql}",
        says=("env.POSTGRES_PASSWORD", '"{postgres.sql}"; did you mean "postgres.'),
    ),
    Bad(
        name="one port twice in a service",
        file=SERVICE,
        old="redis = 16399",
        new="redis = 15453",
        says=("ports.redis.redis", "port 15453", "ports.postgres.sql"),
    ),
    Bad(
        name="unqualified image name",
        file=POSTGRES,
        old="docker.io/pgvector/pgvector:pg16",
        new="pgvector:pg16",
        says=("image: ", "named in full", "docker.io/library/postgres:16-alpine", "not 'pgvector:pg16'"),
    ),
    Bad(
        name="unqualified image name of two parts",
        file=POSTGRES,
        old="docker.io/pgvector/pgvector:pg16",
        new="pgvector/pgvector:pg16",
        says=("image: ", "named in full"),
    ),
    Bad(
        name="unqualified image name in a build",
        file=DATASTORAGE,
        old="docker.io/library/golang",
        new="golang",
        says=("build.images.GO_IMAGE: ", "named in full"),
    ),
    Bad(
        name="built image with a registry's name",
        file=DATASTORAGE,
        old="localhost/datastorage",
        new="quay.io/x/datastorage",
        says=("image: ", 'named "localhost/..."'),
    ),
    Bad(
        name="local image that nothing builds",
        file=POSTGRES,
        old="docker.io/pgvector",
        new="localhost",
        says=("image: ", "there is no [build]"),
    ),
    Bad(
        name="TOML that does not parse",
        file=SERVICE,
        old="[ports]",
        new="[ports",
        says=("not valid TOML", "at line 5, column 7"),
    ),
    Bad(
        name="TOML that ends too early",
        file=REDIS,
        old="6379\n",
        new="[\n",
        says=("not valid TOML", "at line "),
    ),
    Bad(
        name="a string that is not closed at the end",
        file=REDIS,
        old='timeout = "10s"\n',
        new='timeout = """10s',
        says=("not valid TOML", "at line 13, the end of the file"),
    ),
    Bad(
        name="a key twice",
        file=REDIS,
        old="[ports]",
        new="[ports]\nredis = 1",
        says=("not valid TOML", "at line 9"),
    ),
    Bad(
        name="unknown tier",
        file=SERVICE,
        old="[tiers.integration]",
        new='[tiers.integraton]\nsuite = { runner = "ginkgo", packages = ["."] }\n[tiers.integration]',
        says=("tiers.integraton: must be 'unit', 'integration' or 'e2e'",),
    ),
    Bad(
        name="unknown language",
        file=SERVICE,
        old='"go"',
        new='"golang"',
        says=("language: must be 'go' or 'python', not 'golang'",),
    ),
    Bad(
        name="unknown runner",
        file=SERVICE,
        old='"ginkgo"',
        new='"gingko"',
        says=("suite.runner: must be one of", '"ginkgo"?'),
    ),
    Bad(
        name="misspelt probe",
        file=POSTGRES,
        old='probe = "postgres"',
        new='probe = "psotgres"',
        says=(
            ": ready.probe: must be one of postgres, redis, http, completed",
            'not "psotgres"',
            'mean "postgres"',
        ),
    ),
    Bad(
        name="no probe",
        file=POSTGRES,
        old='probe = "postgres"\n',
        new="",
        says=("ready.probe: is missing", "completed, http, postgres, redis"),
    ),
    Bad(
        name="key of another probe",
        file=REDIS,
        old='port = "redis"\n',
        new='port = "redis"\npath = "/"\n',
        says=("ready.path: unknown key", "known: port, probe, timeout"),
    ),
    Bad(
        name="probe of a port that is not declared",
        file=POSTGRES,
        old='port = "sql"',
        new='port = "sqll"',
        says=('ready.port: no port "sqll" in [ports]', 'did you mean "sql"'),
    ),
    Bad(
        name="probe of a component without ports",
        file=REDIS,
        old="[ports]\nredis = 6379\n",
        new="",
        says=('ready.port: no port "redis" in [ports]',),
    ),
    Bad(
        name="unknown port",
        file=SERVICE,
        old="metrics = 19110",
        new="metrcis = 19110",
        says=('ports.datastorage.metrcis: the component has no port "metrcis"', 'did you mean "metrics"'),
    ),
    Bad(
        name="one number for two ports",
        file=SERVICE,
        old="{ http = 18110, metrics = 19110 }",
        new="18110",
        says=("ports.datastorage: the component has 2 ports", "http, metrics"),
    ),
    Bad(
        name="ports of what is not in the stack",
        file=SERVICE,
        old="redis = 16399",
        new="reddis = 16399",
        says=('ports.reddis: "reddis" is not in the stack', 'did you mean "redis"'),
    ),
    Bad(
        name="no host port",
        file=SERVICE,
        old="redis = 16399\n",
        new="",
        says=('ports.redis: no host port for "redis"',),
    ),
    Bad(
        name="duration in words",
        file=REDIS,
        old='"10s"',
        new='"10 seconds"',
        says=("ready.timeout: ", '"500ms", "30s" or "15m"', "not '10 seconds'"),
    ),
    Bad(name="duration without unit", file=REDIS, old='"10s"', new='"10"', says=("ready.timeout", "not '10'")),
    Bad(name="no time at all", file=REDIS, old='"10s"', new="0", says=("ready.timeout: must be greater than 0",)),
    Bad(name="negative time", file=REDIS, old='"10s"', new='"-1s"', says=("ready.timeout", "not '-1s'")),
    Bad(name="endless time", file=REDIS, old='"10s"', new="inf", says=("ready.timeout: must be a finite number",)),
    Bad(name="time that is no number", file=REDIS, old='"10s"', new="nan", says=("ready.timeout", "not nan")),
    Bad(name="time that is a truth", file=REDIS, old='"10s"', new="true", says=("ready.timeout", "not True")),
    Bad(
        name="job that is not completed",
        file=MIGRATIONS,
        old='probe = "completed"',
        new='probe = "redis"\nport = "x"',
        says=('ready.probe: a job is ready when "completed"',),
    ),
    Bad(
        name="service that is completed",
        file=MIGRATIONS,
        old='kind = "job"',
        new='kind = "service"',
        says=('ready.probe: a job is ready when "completed", and only a job is',),
    ),
    Bad(
        name="recipe of nothing",
        file="local/redis.toml",
        old='containerfile = "redis.Containerfile"\n',
        new="",
        says=("containerfile: either bootstrap or containerfile",),
    ),
    Bad(
        name="recipe without its Containerfile",
        file="local/redis.toml",
        old='"redis.Containerfile"',
        new='"rediss.Containerfile"',
        says=("containerfile: no file at ", "local/rediss.Containerfile"),
    ),
    Bad(
        name="recipe whose Containerfile no file system can name",
        file="local/redis.toml",
        old='"redis.Containerfile"',
        new='"' + "x" * 256 + '"',
        says=("containerfile: ", "not 'xxx"),
    ),
    Bad(
        name="two recipes of one image",
        file="local/redis.toml",
        old="docker.io/library/redis:7-alpine",
        new="docker.io/pgvector/pgvector:pg16",
        says=("image: pgvector.toml stands for docker.io/pgvector/pgvector:pg16 already",),
    ),
    # Suites of plain Go and of Python.
    Bad(
        name="gotestsum without packages",
        file=SERVICE,
        old='runner = "gotestsum", packages = ["./pkg/notification/..."]',
        new='runner = "gotestsum"',
        says=("tiers.unit.suite.packages: is missing",),
    ),
    Bad(
        name="gotestsum with no packages",
        file=SERVICE,
        old='["./pkg/notification/..."]',
        new="[]",
        says=("tiers.unit.suite.packages: ", "at least 1 item"),
    ),
    Bad(
        name="an option for a package",
        file=SERVICE,
        old='["./pkg/notification/..."]',
        new='["-exec=rm"]',
        says=("tiers.unit.suite.packages.0: a package or a path; options stand in `args`, not '-exec=rm'",),
    ),
    Bad(
        name="gotestsum misspelt",
        file=SERVICE,
        old='"gotestsum"',
        new='"gotestum"',
        says=("suite.runner: must be one of ginkgo, gotestsum, pytest", 'not "gotestum"', 'mean "gotestsum"?'),
    ),
    Bad(
        name="processes of gotestsum",
        file=SERVICE,
        old='runner = "gotestsum"',
        new='runner = "gotestsum", procs = 2',
        says=("tiers.unit.suite.procs: unknown key",),
    ),
    Bad(
        name="requirements of a Go suite",
        file=SERVICE,
        old='runner = "gotestsum"',
        new='runner = "gotestsum", requirements = ["x.txt"]',
        says=("tiers.unit.suite.requirements: unknown key",),
    ),
    Bad(
        name="pytest misspelt",
        file=PYTHON,
        old='"pytest"',
        new='"pytset"',
        says=("suite.runner: must be one of", 'not "pytset"', 'mean "pytest"?'),
    ),
    Bad(name="no runner", file=PYTHON, old='runner = "pytest"\n', new="", says=("suite.runner: is missing", "pytest")),
    Bad(
        name="packages of pytest",
        file=PYTHON,
        old='paths = ["tests/unit"]',
        new='packages = ["tests/unit"]',
        says=("tiers.unit.suite.packages: unknown key", "paths"),
    ),
    Bad(
        name="pytest without paths",
        file=PYTHON,
        old='paths = ["tests/unit"]\n',
        new="",
        says=("tiers.unit.suite.paths: is missing",),
    ),
    Bad(
        name="pytest with no paths",
        file=PYTHON,
        old='["tests/unit"]',
        new="[]",
        says=("tiers.unit.suite.paths: ", "at least 1 item"),
    ),
    Bad(
        name="a path of pytest's that leads out",
        file=PYTHON,
        old='["tests/unit"]',
        new='["tests/../../x"]',
        says=("tiers.unit.suite.paths.0: a path inside of the workspace",),
    ),
    Bad(
        name="an option for a path",
        file=PYTHON,
        old='["tests/unit"]',
        new='["-pno:junitxml"]',
        says=("tiers.unit.suite.paths.0: a package or a path; options stand in `args`",),
    ),
    Bad(
        name="requirements as one string",
        file=PYTHON,
        old='["holmesgpt-api/requirements-test.txt"]',
        new='"holmesgpt-api/requirements-test.txt"',
        says=("suite.requirements: must be an array",),
    ),
    Bad(
        name="requirements from elsewhere",
        file=PYTHON,
        old='["holmesgpt-api/requirements-test.txt"]',
        new='["/etc/requirements.txt"]',
        says=("suite.requirements.0: a path inside of the workspace", "not '/etc/requirements.txt'"),
    ),
    Bad(
        name="no processes", file=PYTHON, old="procs = 2", new="procs = 0", says=("suite.procs: ", "equal to 1, not 0")
    ),
    Bad(name="too many processes", file=PYTHON, old="procs = 2", new="procs = 65", says=("procs: ", "64, not 65")),
    Bad(name="half a process", file=PYTHON, old="procs = 2", new="procs = 1.5", says=("procs: must be", "not 1.5")),
    # Ports of a suite's own.
    Bad(
        name="a suite's port that a component has",
        file=PYTHON,
        old="holmesgpt-api = 18120",
        new="holmesgpt-api = 18098",
        says=("suite_ports.holmesgpt-api: port 18098", 'ports.datastorage.http of service "holmesgpt-api"'),
    ),
    Bad(
        name="a suite's port as a table",
        file=PYTHON,
        old="holmesgpt-api = 18120",
        new="holmesgpt-api = { http = 18120 }",
        says=("suite_ports.holmesgpt-api: must be an integer",),
    ),
    Bad(
        name="a suite's port that nobody declares",
        file=PYTHON,
        old="{suite.holmesgpt-api}",
        new="{suite.holmes}",
        says=("env.HOLMESGPT_API_PORT", '"{suite.holmes}"', 'did you mean "suite.holmesgpt-api"'),
    ),
    # What workers have for themselves.
    Bad(
        name="more workers than Redis has numbers",
        file=WORKERS,
        old='postgres = "postgres"\nredis = "redis"',
        new='count = 17\npostgres = "postgres"\nredis = "redis"',
        says=("workers.redis: Redis has 16 database numbers, not 17",),
    ),
    Bad(
        name="fewer workers than processes",
        file=WORKERS,
        old='postgres = "postgres"\nredis = "redis"',
        new='count = 2\npostgres = "postgres"\nredis = "redis"',
        says=("workers.count: the suite has 4 processes, and not 2",),
    ),
    Bad(
        name="workers' database of what is not in the stack",
        file=WORKERS,
        old='postgres = "postgres"',
        new='postgres = "postgress"',
        says=('workers.postgres: "postgress" is not in the stack', 'did you mean "postgres"'),
    ),
    Bad(
        name="workers' database of a component outside of the stack",
        file=WORKERS,
        old='postgres = "postgres"',
        new='postgres = "datastorage"',
        says=('workers.postgres: "datastorage" is not in the stack',),
    ),
    Bad(
        name="workers' database of no PostgreSQL",
        file=WORKERS,
        old='postgres = "postgres"',
        new='postgres = "redis"',
        says=('workers.postgres: "redis" is no postgres: its probe is "redis"',),
    ),
    Bad(
        name="workers' database of a job",
        file=WORKERS,
        old='postgres = "postgres"',
        new='postgres = "migrations"',
        says=('workers.postgres: "migrations" is no postgres: its probe is "completed"',),
    ),
    Bad(
        name="workers' number of no Redis",
        file=WORKERS,
        old='redis = "redis"',
        new='redis = "postgres"',
        says=('workers.redis: "postgres" is no redis: its probe is "postgres"',),
    ),
    Bad(
        name="unknown placeholder of workers",
        file=WORKERS,
        old="{worker.offset}",
        new="{worker.ofset}",
        says=("workers.env.CACHE_OFFSET", '"{worker.ofset}"', 'did you mean "worker.offset"'),
    ),
    Bad(
        name="workers' database without PostgreSQL",
        file=WORKERS,
        old='postgres = "postgres"\n',
        new="",
        says=('workers.env.POSTGRES_DB: unknown placeholder "{worker.database}"',),
    ),
    Bad(
        name="workers' number without Redis",
        file=WORKERS,
        old='redis = "redis"\n',
        new="",
        says=('workers.env.REDIS_DB: unknown placeholder "{worker.redis}"',),
    ),
    Bad(
        name="a worker's placeholder in the tier's environment",
        file=WORKERS,
        old='POSTGRES_USER = "{postgres.values.user}"',
        new='POSTGRES_USER = "{worker}"',
        says=("tiers.integration.env.POSTGRES_USER", 'unknown placeholder "{worker}"'),
    ),
    Bad(
        name="workers without variables",
        file=WORKERS,
        old='[tiers.integration.workers.env]\nPOSTGRES_DB = "{worker.database}"\nREDIS_DB = "{worker.redis}"\n'
        'CACHE_OFFSET = "{worker.offset}"\nNAMESPACE = "{worker.namespace}"\n',
        new="[tiers.integration.workers.env]\n",
        says=("tiers.integration.workers.env: ", "at least 1 item"),
    ),
    Bad(
        name="workers that declare nothing",
        file=WORKERS,
        old='[tiers.integration.workers.env]\nPOSTGRES_DB = "{worker.database}"\nREDIS_DB = "{worker.redis}"\n'
        'CACHE_OFFSET = "{worker.offset}"\nNAMESPACE = "{worker.namespace}"\n',
        new="",
        says=("tiers.integration.workers.env: is missing",),
    ),
    Bad(
        name="a variable that a worker's would be",
        file=WORKERS,
        old="POSTGRES_USER =",
        new='POSTGRES_DB_4 = "x"\nPOSTGRES_USER =',
        says=("workers.env.POSTGRES_DB: tiers.integration.env.POSTGRES_DB_4 is the same name",),
    ),
    Bad(
        name="a variable that is the runner's own",
        file=WORKERS,
        old="POSTGRES_USER =",
        new='INFRA_ROLE = "reaper"\nPOSTGRES_USER =',
        says=("tiers.integration.env.INFRA_ROLE: names that begin with INFRA_ are the runner's own",),
    ),
    Bad(
        name="a worker's variable that is the runner's own",
        file=WORKERS,
        old="NAMESPACE =",
        new="INFRA_OWNER =",
        says=("tiers.integration.workers.env.INFRA_OWNER: names that begin with INFRA_",),
    ),
    Bad(
        name="a variable that is no name",
        file=WORKERS,
        old="NAMESPACE =",
        new='"NAME SPACE" =',
        says=("workers.env.NAME SPACE",),
    ),
    Bad(
        name="no workers",
        file=WORKERS,
        old='redis = "redis"\n',
        new='redis = "redis"\ncount = 0\n',
        says=("workers.count: ", "equal to 1, not 0"),
    ),
    Bad(
        name="too many workers",
        file=WORKERS,
        old='redis = "redis"\n',
        new='redis = "redis"\ncount = 65\n',
        says=("workers.count: ", "equal to 64, not 65"),
    ),
    Bad(
        name="misspelt word of workers",
        file=WORKERS,
        old='redis = "redis"\n',
        new='reddis = "redis"\n',
        says=("workers.reddis: unknown key", 'did you mean "redis"'),
    ),
    # The order of a stack.
    Bad(
        name="a job before the component of which it has placeholders",
        file=SERVICE,
        old='["postgres", "migrations", ',
        new='["migrations", "postgres", ',
        says=('stack: the job "migrations" needs postgres, which would be started after it',),
    ),
    Bad(
        name="such a job in the stack of a tier",
        file=SERVICE,
        old="[tiers.unit]",
        new='[tiers.unit]\nstack = ["migrations", "postgres"]',
        says=('tiers.unit.stack: the job "migrations" needs postgres',),
    ),
    # Where a suite runs, and what runs before it.
    Bad(
        name="unknown target",
        file=SERVICE,
        old='target = "kind"',
        new='target = "kindd"',
        says=("tiers.e2e.target: must be 'podman' or 'kind', not 'kindd'",),
    ),
    *(
        Bad(
            name=f"a step before the suite that is called {name}",
            file=SERVICE,
            old="[tiers.integration.env]",
            new=f'[[tiers.integration.before]]\nname = "{name}"\ncommand = ["x"]\n[tiers.integration.env]',
            says=(f'tiers.integration.before.0.name: there is a step "{name}" already',),
        )
        for name in (*STEPS, "postgres", "datastorage")
    ),
    Bad(
        name="two steps before the suite with one name",
        file=SERVICE,
        old="[tiers.integration.env]",
        new='[[tiers.integration.before]]\nname = "gen"\ncommand = ["x"]\n' * 2 + "[tiers.integration.env]",
        says=('tiers.integration.before.1.name: there is a step "gen" already',),
    ),
    Bad(
        name="a step before the suite that does nothing",
        file=SERVICE,
        old="[tiers.integration.env]",
        new='[[tiers.integration.before]]\nname = "gen"\ncommand = []\n[tiers.integration.env]',
        says=("before.0.command: must have at least 1 item",),
    ),
    Bad(
        name="a step before the suite whose name is a path",
        file=SERVICE,
        old="[tiers.integration.env]",
        new='[[tiers.integration.before]]\nname = "../x"\ncommand = ["x"]\n[tiers.integration.env]',
        says=("before.0.name: ", "not '../x'"),
    ),
    # Images: one, or several.
    Bad(
        name="no image among several",
        file=DATASTORAGE,
        old='["registry.access.redhat.com/ubi9/ubi-minimal:latest", "docker.io/library/debian:trixie-slim"]',
        new="[]",
        says=("build.images.BASE_IMAGE: ", "at least 1 item"),
    ),
    Bad(
        name="one wrong image among several",
        file=DATASTORAGE,
        old='"docker.io/library/debian:trixie-slim"]',
        new='"debian:trixie-slim"]',
        says=("build.images.BASE_IMAGE.1: an image named in full", "not 'debian:trixie-slim'"),
    ),
    Bad(
        name="a number among several images",
        file=DATASTORAGE,
        old='"docker.io/library/debian:trixie-slim"]',
        new="7]",
        says=("build.images.BASE_IMAGE.1: must be a string, not 7",),
    ),
    Bad(
        name="several images of a recipe",
        file="local/redis.toml",
        old='BASE_IMAGE = "docker.io/library/debian:trixie-slim"',
        new='BASE_IMAGE = ["docker.io/library/debian:trixie-slim"]',
        says=("images.BASE_IMAGE: must be a string, not a list",),
    ),
    Bad(
        name="several images of a component",
        file=REDIS,
        old='"docker.io/library/redis:7-alpine"',
        new='["docker.io/library/redis:7-alpine"]',
        says=("image: must be a string, not a list",),
    ),
    # Paths of every kind that would lead elsewhere.
    *(
        Bad(name=f"{key} that is {path!r}", file=file, old=old, new=new % json.dumps(path), says=(key, what))
        for path in ("../x", "x/../../y", "/etc", "", "x\0y")
        for key, file, old, new, what in (
            (
                "tiers.unit.cwd",
                PYTHON,
                '[tiers.unit]\ncwd = "holmesgpt-api"',
                "[tiers.unit]\ncwd = %s",
                "inside of the",
            ),
            ("build.context", DATASTORAGE, 'context = "."', "context = %s", "inside of the workspace"),
            (
                "build.containerfile",
                DATASTORAGE,
                'containerfile = "docker/data-storage.Dockerfile"',
                "containerfile = %s",
                "inside of the workspace",
            ),
            ("migrations.folder", MIGRATIONS, 'folder = "migrations"', "folder = %s", "inside of the workspace"),
            ("containerfile", "local/redis.toml", '"redis.Containerfile"', "%s", "containerfile: "),
        )
    ),
    *(
        Bad(
            name=f"{key} in the container that is {path!r}",
            file=file,
            old=old,
            new=json.dumps(path),
            says=(key, "from"),
        )
        for path in ("x", "/x/../../y", "/etc/", "/", "", "/x\0y")
        for key, file, old in (
            ("files.1.path", DATASTORAGE, '"/etc/datastorage/db-secrets.yaml"\nmode'),
            ("migrations.target", MIGRATIONS, '"/migrations"'),
        )
        for old in (old.partition("\n")[0],)
    ),
    Bad(
        name="a package that is an option",
        file="local/debian.toml",
        old='"ca-certificates"',
        new='"--x"',
        says=("packages",),
    ),
    Bad(
        name="a package that is a path",
        file="local/debian.toml",
        old='"ca-certificates"',
        new='"../x"',
        says=("packages",),
    ),
    Bad(
        name="a package that is code",
        file="local/debian.toml",
        old='"ca-certificates"',
        new='"x$(id)"',
        says=("packages",),
    ),
    Bad(
        name="NUL in a command", file=MIGRATIONS, old='"/bin/sh"', new='"a\\u0000b"', says=("command.0", "without NUL")
    ),
    Bad(
        name="NUL in a variable",
        file=POSTGRES,
        old='"{postgres.values.database}"',
        new='"a\\u0000b"',
        says=("env.POSTGRES_DB", "without NUL"),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy of the real catalogue, of its services those that use every word; who changes it changes it back."""
    folder = catalog_copy(tmp_path_factory.mktemp("real"))
    for path in (folder / "services").glob("*.toml"):
        if str(path.relative_to(folder)) not in FILES:
            path.unlink()
    return folder


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_catalogue_with_one_mistake_is_invalid_and_says_where_and_what_would_be_right(bad: Bad, folder: Path) -> None:
    with edited(folder / bad.file, bad.old, bad.new), pytest.raises(Invalid) as raised:
        load(folder)
    error = raised.value
    assert error.exit_code == 78
    assert error.blame == "user"
    assert error.remedy.startswith(edit(folder / bad.file))
    assert error.message.startswith(f"{folder / bad.file}: ")
    assert [words for words in bad.says if words not in error.message] == []


def test_two_services_with_one_port_are_both_named(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    second = folder / "services" / "workflow.toml"
    text = (folder / SERVICE).read_text()
    second.write_text(text.replace("15453", "25453").replace("18110", "28110").replace("19110", "29110"))
    with pytest.raises(Invalid) as raised:
        load(folder)
    assert raised.value.exit_code == 78
    assert raised.value.message == (
        f'{second}: ports.redis.redis: port 16399 is also ports.redis.redis of service "notification"'
    )


def test_a_suites_port_that_another_service_has_is_told_with_both_names(folder: Path) -> None:
    old, new = "holmesgpt-api = 18120", "holmesgpt-api = 15453"
    with edited(folder / PYTHON, old, new), pytest.raises(Invalid) as raised:
        load(folder)
    assert raised.value.message == (
        f"{folder / SERVICE}: ports.postgres.sql: port 15453 is also suite_ports.holmesgpt-api "
        'of service "holmesgpt-api"'
    )
    assert raised.value.reference == "port-collision"


@pytest.mark.parametrize("name", STEPS)
def test_a_component_that_is_called_like_a_step_of_every_run_is_refused(name: str, folder: Path) -> None:
    path = folder / "components" / f"{name}.toml"
    shutil.copy(folder / REDIS, path)
    try:
        with pytest.raises(Invalid) as raised:
            load(folder)
    finally:
        path.unlink()
    assert raised.value.message == f'{path}: "{name}" is a step of every run; another name'


def test_two_services_with_ports_of_their_own_load(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    text = (folder / SERVICE).read_text()
    for number in ("15453", "16399", "18110", "19110"):
        text = text.replace(number, str(int(number) + 100))
    (folder / "services" / "workflow.toml").write_text(text)
    assert "workflow" in load(folder).services


def test_a_file_that_is_not_utf_8_is_invalid(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    (folder / SERVICE).write_bytes(b'language = "\xff"\n')
    with pytest.raises(Invalid, match=r"services/notification.toml: not valid TOML"):
        load(folder)


def test_a_folder_without_services_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        load(tmp_path)
    assert str(tmp_path) in raised.value.message
    assert "INFRA_CATALOG" in raised.value.remedy


# What only a plan can see: the workspace, the service and the tier that were asked for.


def refused(
    tmp_path: Path,
    spoil: Callable[[Path], None] = lambda _: None,
    *,
    service: str | None = "notification",
    tier: str = "integration",
    run: str | None = None,
    ports: str = "fixed",
) -> Invalid:
    workspace = workspace_in(tmp_path)
    spoil(workspace)
    settings = settings_with(CATALOG, workspace)
    with pytest.raises(Invalid) as raised:
        plan.make(load(CATALOG), settings, service=service, tier=tier, run=run, ports=ports)
    assert raised.value.exit_code == 78
    return raised.value


def test_a_missing_containerfile_is_named_with_the_key_that_asks_for_it(tmp_path: Path) -> None:
    error = refused(tmp_path, lambda workspace: (workspace / "docker" / "data-storage.Dockerfile").unlink())
    assert error.message == (
        f"{CATALOG / DATASTORAGE}: build.containerfile: no file at "
        f"{tmp_path / 'workspace' / 'docker' / 'data-storage.Dockerfile'}"
    )
    assert "INFRA_WORKSPACE" in error.remedy


def test_a_missing_build_context_is_named_with_the_key_that_asks_for_it(folder: Path, tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path)
    with edited(folder / DATASTORAGE, 'context = "."', 'context = "cmd"'), pytest.raises(Invalid) as raised:
        plan.make(load(folder), settings_with(folder, workspace), service="notification")
    assert raised.value.message == f"{folder / DATASTORAGE}: build.context: no folder at {workspace / 'cmd'}"


def test_a_missing_migration_folder_is_named_with_the_key_that_asks_for_it(tmp_path: Path) -> None:
    def spoil(workspace: Path) -> None:
        (workspace / "migrations" / "001_first.sql").unlink()
        (workspace / "migrations").rmdir()

    error = refused(tmp_path, spoil)
    assert error.message == (
        f"{CATALOG / MIGRATIONS}: migrations.folder: no migration folder at {tmp_path / 'workspace' / 'migrations'}"
    )


def test_two_migrations_with_one_number_are_both_named(tmp_path: Path) -> None:
    error = refused(tmp_path, lambda workspace: (workspace / "migrations" / "1_again.sql").touch())
    assert error.message == (
        f"{tmp_path / 'workspace' / 'migrations'}: two migrations have number 1: 001_first.sql and 1_again.sql"
    )
    assert error.reference == "duplicate-migration"


def test_an_unknown_service_gets_the_nearest_name_and_all_of_them(tmp_path: Path) -> None:
    error = refused(tmp_path, service="notificaton")
    assert error.message == 'unknown service "notificaton"; did you mean "notification"?'
    assert error.remedy.startswith("invoke infra.plan --service notification  # there are: aianalysis, ")


@pytest.mark.parametrize("service", [None, ""])
def test_no_service_at_all_is_told_which_there_are(service: str | None, tmp_path: Path) -> None:
    error = refused(tmp_path, service=service)
    assert error.message.startswith("no service given (known: aianalysis, ")


def test_an_unknown_tier_gets_the_nearest_name(tmp_path: Path) -> None:
    error = refused(tmp_path, tier="integraton")
    assert error.message == 'service "notification" has no tier "integraton"; did you mean "integration"?'
    assert error.remedy == (
        "invoke infra.plan --service notification --tier integration  # there are: e2e, integration, unit"
    )


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("dev.test", "invoke dev.test --service NAME  # there are: aianalysis, "),
        ("dev.test --service gatway", "invoke dev.test --service gateway  # there are: "),
        ("suite.run --service zzz", "invoke suite.run --service NAME  # there are: "),
        ("images.build --service gateway --tier e2", "invoke images.build --service gateway --tier e2e  # there are: "),
        ("infra.up --service gateway --ports x", "invoke infra.up --help"),
        ("-e infra.plan --service gateway --ports x", "invoke infra.plan --help"),
    ],
)
def test_a_remedy_for_a_word_names_the_task_that_was_called(words: str, remedy: str, tmp_path: Path) -> None:
    """And no name that is only guessed: what is pasted may be `infra.down`."""
    (tmp_path / "tasks.py").write_text("from infra.tasks import namespace\n")
    places = {"INFRA_CATALOG": str(CATALOG), "INFRA_WORKSPACE": str(WORKSPACE), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "invoke", *words.split()]
    done = subprocess.run(
        argv, cwd=tmp_path, env=os.environ | places, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 78, done.stderr
    assert f"; to do: {remedy}" in done.stdout + done.stderr


@pytest.mark.parametrize("run", ["", "../../etc", "1884D074", "1884d0744", "1884d074\n"])
def test_a_run_is_named_by_8_hex_digits(run: str, tmp_path: Path) -> None:
    assert refused(tmp_path, run=run).reference == "run-name"


def test_ports_are_fixed_or_auto(tmp_path: Path) -> None:
    assert "fixed or auto" in refused(tmp_path, ports="random").message


# Properties of every file of the real catalogue.


def test_the_real_catalogue_loads_whole() -> None:
    catalog = load(CATALOG)
    kinds = {"components": catalog.components, "services": catalog.services}
    for kind, loaded in kinds.items():
        assert sorted(loaded) == sorted(path.stem for path in (CATALOG / kind).glob("*.toml"))
    assert len(catalog.recipes) == len(list((CATALOG / "local").glob("*.toml")))
    assert catalog.services["notification"].stack == ("postgres", "migrations", "redis", "datastorage")


def test_every_registry_image_of_the_catalogue_has_a_recipe_for_when_no_registry_answers() -> None:
    catalog = load(CATALOG)
    wanted = {one.image for one in catalog.components.values() if one.build is None}
    for one in catalog.components.values():
        for several in one.build.images.values() if one.build else ():
            wanted |= set(several) if len(several) == 1 else {image for image in several if image in catalog.recipes}
            assert set(several) & catalog.recipes.keys(), several
    wanted |= {image for one in catalog.recipes.values() for image in one.images.values()}
    assert wanted - catalog.recipes.keys() == set()


Path_ = tuple[str | int, ...]


def places(value: object, at: Path_ = ()) -> Iterator[tuple[Path_, object]]:
    """Every key of a document and what stands there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key), inner
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, dict):
                yield from places(inner, (*at, index))


def holder(document: dict[str, Any], at: Path_) -> dict[str, Any]:
    """The table that holds the key at a place."""
    found: Any = document
    for part in at[:-1]:
        found = found[part]
    assert isinstance(found, dict)
    return found


PLACES = [(file, at) for file in FILES for at, _ in places(tomllib.loads((CATALOG / file).read_text()))]


def spoiled(folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> Invalid | None:
    """What loading says once one document is changed."""
    path = folder / file
    original = path.read_bytes()
    document = tomllib.loads(original.decode())
    change(document)
    put(path, tomli_w.dumps(document).encode())
    try:
        load(folder)
    except Invalid as error:
        return error
    finally:
        put(path, original)
    return None


def is_free(at: Path_) -> bool:
    """Whether the key is a word of the user's that nothing else refers to: a variable's name."""
    return len(at) > 1 and at[-2] in ("env", "images")


def test_any_renamed_key_is_invalid_and_the_file_is_named(folder: Path) -> None:
    assert len(PLACES) > 80
    for file, at in PLACES:

        def rename(document: dict[str, Any], at: Path_ = at) -> None:
            table = holder(document, at)
            table[f"{at[-1]}x"] = table.pop(str(at[-1]))

        error = spoiled(folder, file, rename)
        if is_free(at):
            assert error is None, f"{file}: {at} may have any name"
            continue
        assert error is not None, f"{file}: {at} renamed still loads"
        # A port is known to the services' files too, of which one may be wrong.
        names = (str(folder / file), str(folder / "services")) if "ports" in at else (str(folder / file),)
        assert error.message.startswith(names), f"{file}: {at}: {error.message}"


@pytest.mark.parametrize("wrong", [True, 4711, 3.5, "x y", [], [1], {}, {"x": 1}], ids=repr)
def test_any_value_of_another_type_is_invalid_and_the_key_is_named(wrong: object, folder: Path) -> None:
    seen = 0
    for file, at in PLACES:
        before = holder(tomllib.loads((CATALOG / file).read_text()), at)[str(at[-1])]
        seconds = at[-1] == "timeout" and isinstance(wrong, int | float) and not isinstance(wrong, bool)
        if type(before) is type(wrong) or seconds:
            continue

        def replace(document: dict[str, Any], at: Path_ = at) -> None:
            holder(document, at)[str(at[-1])] = wrong

        error = spoiled(folder, file, replace)
        if at[0] == "ports" and len(at) == 2 and isinstance(before, int | dict) and isinstance(wrong, int | dict):
            continue  # a service's port is a number or a table: other tests
        assert error is not None, f"{file}: {at} = {wrong!r} loads"
        assert error.message.startswith(f"{folder / file}: "), error.message
        assert str(at[0]) in error.message, error.message
        seen += 1
    assert seen > 40


def test_a_file_that_ends_too_early_loads_or_is_invalid_with_its_name(folder: Path) -> None:
    said = []
    for file in FILES:
        whole = (folder / file).read_bytes()
        for size in range(0, len(whole), 7):
            put(folder / file, whole[:size])
            try:
                load(folder)
            except Invalid as error:
                said.append(error.message)
        put(folder / file, whole)
    assert len(said) > 300
    assert [message for message in said if str(folder) not in message or ".toml: " not in message] == []
    load(folder)


@pytest.mark.parametrize("name", ["My Service", "Shop", "shop_1", "9shop", "a" * 41])
def test_a_file_name_that_could_not_name_a_container_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    shutil.copytree(CATALOG, folder)
    (folder / "services" / "notification.toml").rename(folder / "services" / f"{name}.toml")
    with pytest.raises(Invalid) as raised:
        load(folder)
    assert f"{name}.toml: its name is no name" in raised.value.message
