"""Two repositories with a service of the same name: neither uses, treats or ends the other's stack by it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults import small_catalog, small_workspace
from product import Podman, Project, eventually, free_ports, new_run

SERVICE = f"roots-{os.getpid()}"
ONE = ("--service", SERVICE)
TREATED = ("kill", "pause", "start", "wait")


@pytest.fixture(scope="module")
def port() -> int:
    """The one that both catalogues have for Redis."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def first(make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory, port: int) -> Project:
    return _repository(make_project, tmp_path_factory.mktemp("first"), port)


@pytest.fixture(scope="module")
def second(make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory, port: int) -> Project:
    return _repository(make_project, tmp_path_factory.mktemp("second"), port)


def _repository(make_project: Callable[..., Project], folder: Path, port: int) -> Project:
    """A repository with everything of its own, and a suite that fails where Redis is not empty."""
    test = (
        "import os, socket, time\n"
        "def test_is_empty():\n"
        "    host, port = os.environ['REDIS_ADDR'].split(':')\n"
        "    with socket.create_connection((host, int(port)), timeout=5) as line:\n"
        "        line.sendall(b'DBSIZE\\r\\n')\n"
        "        assert line.recv(100) == b':0\\r\\n'\n"
        "    time.sleep(float(os.environ.get('HOLDS', '0')))\n"
    )
    catalog = small_catalog(
        folder / "catalog",
        {},
        ["redis"],
        suite='runner = "pytest"\npaths = ["ok"]\n',
        tier='env = { REDIS_ADDR = "127.0.0.1:{redis.redis}" }',
        ports={"redis": port},
        service=SERVICE,
    )
    return make_project(catalog=catalog, workspace=small_workspace(folder / "workspace", {"ok/test_ok.py": test}))


@pytest.fixture
def up(first: Project, podman: Podman, port: int) -> Iterator[str]:
    """The stack of the first, with something in its Redis."""
    run = new_run()
    done = replace(first, seconds=600).invoke("infra.up", *ONE, "--run", run)
    try:
        assert done.code == 0, done.text
        assert _redis(port, "SET theirs 1") == "+OK"
        yield run
    finally:
        first.invoke("infra.down", "--run", run)
    assert podman.left_of(run) == []


def _redis(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(100).decode().strip()


def test_a_suite_takes_no_stack_of_another_repository(first: Project, second: Project, up: str, port: int) -> None:
    taken = second.invoke("suite.run", *ONE)
    assert taken.code == 75, taken.text
    cause = second.report()["cause"]
    assert cause["reference"] == "port-taken"
    assert f"run {up} of {SERVICE}" in cause["message"]
    assert f"made from {first.folder}" in cause["message"]
    assert cause["remedy"].startswith(f"invoke infra.down --run {up}  # ")
    beside = second.invoke("suite.run", *ONE, "--ports", "auto")
    assert beside.code == 0, beside.text
    assert (second.report()["stack"], second.report()["kept"]) == (None, False)
    assert _redis(port, "EXISTS theirs") == ":1"
    # Its own repository has it, flushes it, and leaves it up.
    own = first.invoke("suite.run", *ONE)
    assert own.code == 0, own.text
    assert first.report()["stack"] == up
    assert _redis(port, "EXISTS theirs") == ":0"


def test_by_service_no_task_reaches_it_and_by_run_each_does(
    first: Project, second: Project, podman: Podman, up: str
) -> None:
    none = f"not-ready: no stack of {SERVICE} integration is up; run {up} is that of {first.folder}: --run names it"
    for words in (("infra.env",), ("infra.logs",), *((f"infra.{name}", "--component", "redis") for name in TREATED)):
        done = second.invoke(*words, *ONE)
        assert (done.code, done.err.startswith(none)) == (75, True), done.text
    down = second.invoke("infra.down", *ONE)
    whose = f"run {up} is that of {first.folder}: --run names it"
    assert (down.code, down.out) == (0, f"nothing of {SERVICE} is there; {whose}\n"), down.text
    assert [row["State"] for row in podman.containers(up)] == ["running"]

    assert f"INFRA_RUN={up}" in second.invoke("infra.env", "--run", up).lines
    for name in ("kill", "start"):
        done = second.invoke(f"infra.{name}", "--component", "redis", "--run", up)
        assert done.code == 0, done.text
    down = second.invoke("infra.down", "--run", up)
    assert (down.code, down.out) == (0, f"removed run {up} of {SERVICE} integration\n"), down.text
    assert podman.left_of(up) == []


def test_status_shows_it_and_whose_it_is(first: Project, second: Project, up: str, port: int) -> None:
    [row] = second.invoke("infra.status", *ONE, "--json").json()["runs"]
    assert (row["run"], row["root"]) == (up, str(first.folder))
    [redis] = row["components"]
    assert redis == {"name": "redis", "state": "running", "ready": None, "ports": {"6379": port}}
    text = second.invoke("infra.status", "--run", up).lines
    assert text[0].endswith(f"kept (infra.up), made from {first.folder}")
    assert "unknown" in text[1]
    [own] = first.invoke("infra.status", *ONE, "--json").json()["runs"]
    assert [(one["ready"], one["ports"]) for one in own["components"]] == [(True, {"redis": port})]


def test_through_a_link_it_is_the_same_folder(first: Project, up: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(first.folder)
    assert f"INFRA_RUN={up}" in Project(link).invoke("infra.env", *ONE).lines


def test_a_run_that_goes_on_is_its_own_repositorys(first: Project, second: Project, podman: Podman) -> None:
    with first.going("suite.run", *ONE, "--ports", "auto", HOLDS="60") as going:
        eventually("it is ready", lambda: _is_ready(first, going.run), 60)
        theirs = second.invoke("infra.down", *ONE)
        assert (theirs.code, f"run {going.run} is that of {first.folder}" in theirs.out) == (0, True), theirs.text
        own = first.invoke("infra.down", *ONE)
        assert own.code == 75, own.text
        assert f"run {going.run} of {SERVICE} is going on" in own.err
    assert podman.left_of(going.run) == []


def _is_ready(project: Project, run: str) -> bool:
    rows = project.invoke("infra.status", "--run", run, "--json").json()["runs"]
    return [one["ready"] for row in rows for one in row["components"]] == [True]
