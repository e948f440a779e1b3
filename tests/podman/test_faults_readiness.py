"""F08 to F13: components that do not get ready, or not as the suite needs them. Each is caused for real."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import caused, ended, is_told, written_down
from product import CATALOG, WORKSPACE, Podman, Project, eventually, step
from standins import POSTGRES, psql, serve, server

pytestmark = pytest.mark.usefixtures("warm")

TOOLS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
SECRET_FILE = '[[files]]\npath = "/etc/app/secrets.yaml"\nmode = "0600"\ncontent = "token: x"\n'
TWO_PORTS = "[ports]\nhttp = 8080\nmetrics = 9090\n"
# A second of a processor's time or so; slowed down to a tenth of one, that is ten.
WORK = "my $n = 0; for (1 .. 25000000) { $n += $_ } "


@pytest.mark.parametrize(
    ("command", "reference", "blame", "says", "remedy", "shows"),
    [
        (
            serve(503, body="database: down"),
            "unhealthy",
            "infrastructure",
            "answered 503: database: down",
            "less ",
            "/health answered 503",
        ),
        (
            serve(at="0.0.0.0:18091"),
            "listens-elsewhere",
            "user",
            "asks port 8080, and it listens on 18091",
            "app.toml  # [ports] says 8080, the program listens on 18091",
            "listens on: 0.0.0.0:18091; asked: port 8080",
        ),
        (
            serve(at="127.0.0.1:8080"),
            "listens-on-loopback",
            "user",
            "listens on 127.0.0.1:8080, which only its own container can reach",
            "app.toml  # have it listen on 0.0.0.0:8080",
            "listens on: 127.0.0.1:8080; asked: port 8080",
        ),
        (
            serve(404, body="no such page"),
            "wrong-health-path",
            "user",
            "answers 404, so that is not its health endpoint",
            "app.toml  # ready.path",
            "state: running",
        ),
    ],
    ids=["503", "port", "loopback", "404"],
)
def test_f08_what_is_told_of_a_component_that_runs_and_does_not_get_ready(
    command: str, reference: str, blame: str, says: str, remedy: str, shows: str, faulty: Callable[..., Project]
) -> None:
    fault = caused(faulty({"app": server(command, timeout="2s")}, ["app"]))
    is_told(
        fault,
        reference=reference,
        blame=blame,
        code=75,
        step="app",
        says=["not ready after 2 s", says],
        remedy=remedy,
        shows=[shows],
    )
    assert step(fault.report, "app")["duration_s"] < 10
    written_down("F08", f"{reference}: its time: 2 s, any of it may yet heal", fault)


def test_f09_a_server_that_listens_late_is_waited_for(faulty: Callable[..., Project]) -> None:
    asks = "import os, urllib.request\n\ndef test_it():\n    urllib.request.urlopen(os.environ['APP'])\n"
    project = faulty(
        {"app": server(serve(first="sleep 3;"))},
        ["app"],
        {"ok/test_ok.py": asks},
        tier='env = { APP = "http://127.0.0.1:{app.http}/" }',
    )
    done = project.invoke("suite.run", "--service", "faulty", PATH=TOOLS)
    assert done.code == 0, done.text
    assert step(project.report(), "app")["duration_s"] > 2


@pytest.mark.parametrize(
    "asks",
    [
        "import os, requests\n\ndef test_it():\n    requests.get('http://' + os.environ['APP'])\n",
        "import os, psycopg\n\ndef test_it():\n    psycopg.connect('postgres://' + os.environ['APP'] + '/x')\n",
    ],
    ids=["requests", "psycopg"],
)
def test_f09_what_is_told_of_a_port_that_is_refused_though_its_component_was_ready(
    asks: str, faulty: Callable[..., Project]
) -> None:
    project = faulty(
        {"app": server(serve(), ports=TWO_PORTS)},
        ["app"],
        {"ok/test_ok.py": asks},
        tier='env = { APP = "127.0.0.1:{app.metrics}" }',
    )
    fault = caused(project, PATH=TOOLS)
    is_told(
        fault,
        reference="refused-after-ready",
        blame="infrastructure",
        code=1,
        step="suite",
        says=["it was refused at 127.0.0.1:", "app.metrics was taken for ready and does not serve there"],
        remedy="app.toml  # [ready]: ask the port that suites use",
        shows=["127.0.0.1"],
    )
    written_down("F09", "a published port on which nothing listens", fault)


def test_f10_what_is_told_of_a_secrets_file_that_is_not_there(faulty: Callable[..., Project]) -> None:
    text = (CATALOG / "components" / "datastorage.toml").read_text(encoding="utf-8")
    wrong = text.replace("secretsFile: /etc/datastorage/db-secrets.yaml", "secretsFile: /etc/datastorage/db.yaml")
    assert wrong != text
    fault = caused(faulty({"datastorage": wrong}, ["postgres", "redis", "datastorage"], workspace=WORKSPACE))
    is_told(
        fault,
        reference="file-missing",
        blame="user",
        code=75,
        step="datastorage",
        says=["it needs /etc/datastorage/db.yaml, which is not in the container"],
        remedy="datastorage.toml  # /etc/datastorage/db.yaml: its [[files]] have ",
        shows=["configuration: database.secretsFile: open /etc/datastorage/db.yaml", "state: ended, exit code 1"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F10", "datastorage without its secretsFile", fault)


def test_f10_what_is_told_of_a_secrets_file_of_another_user(faulty: Callable[..., Project]) -> None:
    text = (CATALOG / "components" / "datastorage.toml").read_text(encoding="utf-8")
    wrong = text.replace('mode = "0400"\nowner = 1001', 'mode = "0600"', 1)
    assert wrong != text
    fault = caused(faulty({"datastorage": wrong}, ["postgres", "redis", "datastorage"], workspace=WORKSPACE))
    is_told(
        fault,
        reference="file-unreadable",
        blame="user",
        code=75,
        step="datastorage",
        says=["it may not read /etc/datastorage/db-secrets.yaml: it has mode 0600 and owner 0", "runs as 1001"],
        remedy="datastorage.toml  # [[files]]: owner or mode of /etc/datastorage/db-secrets.yaml",
        shows=["db-secrets.yaml: permission denied", "state: ended, exit code 1"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F10", "datastorage with a secretsFile of root's, 0600", fault)


@pytest.mark.parametrize(
    ("command", "reference", "says"),
    [
        (f"cat /etc/app/secret.yaml && {serve()}", "file-missing", "its [[files]] have /etc/app/secrets.yaml"),
        (
            "exec setpriv --reuid=1001 --clear-groups cat /etc/app/secrets.yaml",
            "file-unreadable",
            "it may not read /etc/app/secrets.yaml: it has mode 0600 and owner 0",
        ),
    ],
    ids=["missing", "unreadable"],
)
def test_f10_what_is_told_of_files(command: str, reference: str, says: str, faulty: Callable[..., Project]) -> None:
    fault = caused(faulty({"app": server(command, more=SECRET_FILE)}, ["app"]))
    is_told(
        fault,
        reference=reference,
        blame="user",
        code=75,
        step="app",
        says=[says],
        remedy="app.toml  # ",
        shows=["state: ended, exit code 1", "cat: /etc/app/secret"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F10", f"{reference}: a shell", fault)


def test_f11_what_is_told_of_a_job_that_waits_for_a_lock(faulty: Callable[..., Project]) -> None:
    holds = '(echo "BEGIN; LOCK TABLE a;"; sleep 600) | PGAPPNAME=nightly psql -X -q & sleep 1; '
    env = '[env]\nPGHOST = "postgres"\nPGUSER = "slm_user"\nPGDATABASE = "action_history"\n'
    holder = f'image = "{POSTGRES}"\n' + server(
        holds + serve(), more=env + 'PGPASSWORD = "{postgres.secrets.password}"\n'
    )
    late = psql("ALTER TABLE a ADD b int", timeout="3s")
    files = {"migrations/001_a.sql": "CREATE TABLE a ();\n"}
    fault = caused(faulty({"holder": holder, "late": late}, ["postgres", "migrations", "holder", "late"], files))
    is_told(
        fault,
        reference="lock-wait",
        blame="product",
        code=75,
        step="late",
        says=["did not end in 3 s", "a lock that holder holds", "nightly", "idle in transaction"],
        remedy="logs/holder.log  # let it end its transaction",
        shows=["LOCK TABLE a;", "state: running"],
    )
    assert step(fault.report, "late")["duration_s"] < 15
    written_down("F11", "a lock that another component holds; its time: 3 s", fault)


def test_f12_what_is_told_of_a_container_that_is_killed_in_its_gate(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    project = faulty({"app": server("sleep 600")}, ["app"])
    with project.going("suite.run", "--service", "faulty") as going:
        name = f"faulty-app-{going.run}"
        eventually("it runs", lambda: podman("ps", "--quiet", "--filter", f"name={name}").out != "", 60)
        podman("kill", name)
        killed = time.monotonic()
        going.says("not-ready: ", 30)
        seconds = time.monotonic() - killed
        fault = ended(project, going)
    is_told(
        fault,
        reference="killed-through-engine",
        blame="infrastructure",
        code=75,
        step="app",
        says=["somebody had the engine kill it (podman kill) with SIGKILL (exit code 137)"],
        remedy="podman events",
        shows=["asked of the engine before its end: kill", "state: ended, exit code 137"],
    )
    assert seconds < 10
    written_down("F12", "a container killed in its gate", fault, round(seconds, 2))


def test_f12_what_is_told_of_a_dependency_that_is_killed_in_the_gate_of_another(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    project = faulty({"first": server(serve()), "app": server("sleep 600")}, ["first", "app"])
    with project.going("suite.run", "--service", "faulty") as going:
        name = f"faulty-app-{going.run}"
        eventually("it runs", lambda: podman("ps", "--quiet", "--filter", f"name={name}").out != "", 60)
        podman("kill", f"faulty-first-{going.run}")
        killed = time.monotonic()
        going.says("not-ready: ", 30)
        seconds = time.monotonic() - killed
        fault = ended(project, going)
    is_told(
        fault,
        reference="killed-through-engine",
        blame="infrastructure",
        code=75,
        step="first",
        says=["somebody had the engine kill it (podman kill) with SIGKILL (exit code 137)"],
        remedy="podman events",
        shows=["asked of the engine before its end: kill", "state: ended, exit code 137"],
    )
    assert seconds < 10
    written_down("F12", "a dependency killed in the gate of another", fault, round(seconds, 2))


@pytest.mark.parametrize("timeout", ["120s", "4s"])
def test_f13_what_is_told_of_a_component_that_is_slow_to_start(
    timeout: str, faulty: Callable[..., Project], podman: Podman
) -> None:
    """It is waited for as long as its declaration says; where that is over, it is no fault of its declaration."""
    project = faulty({"app": server("sleep 1; " + serve(first=WORK), timeout=timeout)}, ["app"])
    with project.going("suite.run", "--service", "faulty", PATH=TOOLS) as going:
        name = f"faulty-app-{going.run}"
        eventually("it runs", lambda: podman("ps", "--quiet", "--filter", f"name={name}").out != "", 60)
        podman("update", "--cpus", "0.1", name)
        assert going.ends() == (0 if timeout == "120s" else 75), going.text
    if timeout == "120s":
        assert step(project.report(going.run), "app")["duration_s"] > 4
        return
    fault = ended(project, going)
    is_told(
        fault,
        reference="slow-start",
        blame="infrastructure",
        code=75,
        step="app",
        says=["not ready after 4 s: it runs and does not take connections yet", "s of CPU so far"],
        remedy="app.toml  # ready.timeout: it needs longer here",
        shows=["nothing takes connections on port 8080 yet", "state: running"],
    )
    written_down("F13", "a tenth of a processor; its time: 4 s", fault)
