"""F14 to F19: ports and networks that are not to be had, and a suite that asks the wrong address."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import killing
import pytest
from faults import Fault, caused, is_told, small_catalog, small_workspace, written_down
from product import Done, Podman, Project, eventually, free_ports, new_run
from proxy import Rule, proxied, refuse

from infra.engine.discover import private_environment

pytestmark = pytest.mark.usefixtures("warm")

# Of these tests alone: somebody's stack of the same service, left up, would be used.
SERVICE = "wired"
# The smallest server that a gate passes.
ANSWERS = (
    "use IO::Socket; $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1);"
    'while ($c = $s->accept) {{ print $c "HTTP/1.0 200 OK\\r\\n\\r\\nok"; close $c; }}'
)
SERVER = (
    f"command = {json.dumps(['perl', '-e', ANSWERS])}\n"
    "[ports]\nhttp = 8080\n"
    '[ready]\nprobe = "http"\nport = "http"\npath = "/"\ntimeout = "60s"\n'
)


@pytest.fixture
def faulty(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Make a project of a small catalogue and a small workspace."""

    def make(files: dict[str, str] | None = None, **more: object) -> Project:
        components = {"server": SERVER}
        catalog = small_catalog(tmp_path / "catalog", components, ["server"], service=SERVICE, **more)  # type: ignore[arg-type]
        return make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace", files))

    return make


@contextlib.contextmanager
def held(port: int, host: str = "127.0.0.1") -> Iterator[subprocess.Popen[str]]:
    """Have another process listen on a port while the block goes on."""
    program = f"import socket; s = socket.create_server(({host!r}, {port})); print('up', flush=True); s.accept()"
    with subprocess.Popen((sys.executable, "-c", program), stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            yield holder
        finally:
            holder.kill()


def took(began: float) -> float:
    return round(time.monotonic() - began, 2)


def ended(project: Project, run: str, done: Done) -> Fault:
    return Fault(done, project.report(run), project.runs / run)


def test_f14_what_is_told(faulty: Callable[..., Project]) -> None:
    (port,) = free_ports(1)
    project = faulty(ports={"server": port})
    began = time.monotonic()
    with held(port) as holder:
        fault = caused(project, SERVICE)
    is_told(
        fault,
        reference="port-taken",
        blame="user",
        code=75,
        step="server",
        says=[f"port {port} is taken by process {holder.pid} (", "python"],
        remedy=f"kill {holder.pid}  # or use --ports auto",
        shows=[f"127.0.0.1:{port}: address already in use", f"listens on 127.0.0.1:{port}"],
    )
    assert took(began) < 30
    written_down("F14", "another process listens on the port", fault, fault.report["duration_s"])


def test_f14_what_is_told_of_a_port_that_is_taken_after_the_look(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    """Podman is the first to meet it: its words are no better than "address already in use"."""
    (port,) = free_ports(1)
    project, run = faulty(ports={"server": port}), new_run()
    taken: list[int] = []
    over = threading.Event()

    def take() -> None:
        while not podman.networks(run) and not over.is_set():
            time.sleep(0.02)
        with held(port) as holder:
            taken.append(holder.pid)
            over.wait(60)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        fault = ended(project, run, project.invoke("suite.run", "--service", SERVICE, "--run", run))
    finally:
        over.set()
        thread.join(10)
    is_told(
        fault,
        reference="port-taken",
        blame="user",
        code=75,
        step="server",
        says=[f"port {port} is taken by process {taken[0]} ("],
        remedy=f"kill {taken[0]}  # or use --ports auto",
    )


def test_f15_what_is_told(faulty: Callable[..., Project], podman: Podman) -> None:
    """The other run's owner lives; then it is killed, and the next start takes the port of its run."""
    files = {
        "ok/test_ok.py": "import time\ndef test_ok():\n    time.sleep(60)\n",
        "quick/test_q.py": "def test_q(): pass\n",
    }
    project = faulty(files)
    with project.going("suite.run", "--service", SERVICE) as other:
        other.says("test session starts")
        fault = caused(project, SERVICE)
        is_told(
            fault,
            reference="port-taken",
            blame="user",
            code=75,
            step="server",
            says=[
                f"is taken by run {other.run} of {SERVICE} (container {SERVICE}-server-{other.run}, its owner is alive)"
            ],
            remedy=f"invoke infra.status  # wait until run {other.run} has ended, or use --ports auto",
            shows=[f"container {SERVICE}-server-{other.run} is running", f"/{other.process.pid}/"],
        )
        written_down("F15", "two runs on the catalogue's ports", fault, fault.report["duration_s"])
        assert other.process.poll() is None, "the other run was disturbed"
        for pid in (*killing.with_role(other.run, "reaper"), other.process.pid):
            os.kill(pid, signal.SIGKILL)
        other.process.wait(10)
    assert podman.containers(other.run), "its reaper was to be gone, too"
    done = project.invoke("suite.run", "--service", SERVICE, "--", "quick/test_q.py")
    assert done.code == 0, done.text
    assert f"swept what dead runs had left: {other.run}" in done.text
    assert podman.left_of(other.run) == []


@pytest.fixture
def socket_of_podman() -> Iterator[Path]:
    """A real engine on a socket with a short path."""
    folder = Path(f"/tmp/px-{secrets.token_hex(3)}")
    folder.mkdir(mode=0o700)
    env = {**os.environ, **dict(private_environment(folder)[0])}
    command = ["podman", "system", "service", "--time=0", f"unix://{folder}/podman.sock"]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL) as process:
        try:
            eventually("the service", (folder / "podman.sock").exists, 20)
            yield folder / "podman.sock"
        finally:
            process.terminate()
            process.wait(20)
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()


def test_f16_what_is_told(faulty: Callable[..., Project], socket_of_podman: Path) -> None:
    """The recorded words of rootlessport and gvproxy, in the answer to a start."""
    project = faulty()
    words = 'rootlessport listen tcp 127.0.0.1:15433: something went wrong with the request: "proxy already running"'
    with proxied(socket_of_podman.with_name("between.sock"), socket_of_podman) as between:
        between.rule(Rule(refuse(words=words), "POST", "/containers/.*/start"))
        fault = caused(project, SERVICE, CONTAINER_HOST=between.url)
        shown_at = between.hit[0][0]
    is_told(
        fault,
        reference="forwarding-stale",
        blame="infrastructure",
        code=75,
        step="server",
        says=["still forwarded for a container that is gone", "proxy already running"],
        remedy="invoke infra.doctor --fix  # macOS: podman machine stop && podman machine start",
        shows=["proxy already running"],
    )
    assert took(shown_at) < 30
    written_down("F16", "(message) in the engine's answer to a start", fault, took(shown_at))


CLIENTS = """
import os, pytest, requests
PORT = int(os.environ["SERVER_PORT"])

def test_asks_the_wrong_loopback():
    requests.get(f"http://[::1]:{PORT}/health", timeout=5)

def test_fails_for_another_reason():
    assert 1 == 2
"""


def test_f17_what_is_told(faulty: Callable[..., Project]) -> None:
    project = faulty({"ok/test_ok.py": CLIENTS}, tier='[tiers.integration.env]\nSERVER_PORT = "{server.http}"\n')
    began = time.monotonic()
    fault = caused(project, SERVICE)
    port = (fault.folder / "env").read_text(encoding="utf-8").partition("SERVER_PORT=")[2].split()[0]
    is_told(
        fault,
        reference="localhost-refused",
        blame="test",
        code=1,
        step="suite",
        says=[f"asked for server.http at [::1]:{port} and was refused", "127.0.0.1 only", "2 of 2 tests failed"],
        remedy="grep -rnE 'localhost|::1' ",
        shows=["Connection refused", f"port={port}"],
    )
    assert took(began) < 60
    written_down("F17", "a pytest suite asks [::1]", fault, fault.cause["named_after_s"])


def test_f18_what_is_told(faulty: Callable[..., Project], tmp_path: Path, podman: Podman) -> None:
    project = faulty()
    services = tmp_path / "catalog" / "services"
    text = (services / f"{SERVICE}.toml").read_text(encoding="utf-8")
    (services / "yonder.toml").write_text(text, encoding="utf-8")
    began = time.monotonic()
    fault = caused(project, SERVICE)
    is_told(
        fault,
        reference="port-collision",
        blame="user",
        code=78,
        step=None,
        says=["yonder.toml: ports.server.http: port ", 'is also ports.server.http of service "wired"'],
        remedy=f"${{EDITOR:-vi}} {services}/yonder.toml  # ports.server.http",
    )
    assert took(began) < 30
    assert podman.left_of(fault.report["run"]) == []
    assert fault.report["steps"] == [], "nothing is started"
    written_down("F18", "two services with one port", fault, fault.report["duration_s"])


def test_f19_what_is_told(faulty: Callable[..., Project], podman: Podman) -> None:
    project, run = faulty(), new_run()
    name = f"{SERVICE}-{run}"
    podman("network", "create", name)
    try:
        began = time.monotonic()
        fault = ended(project, run, project.invoke("suite.run", "--service", SERVICE, "--run", run))
        assert podman("network", "exists", name, check=False).code == 0, "somebody's network was removed"
    finally:
        podman("network", "rm", name)
    is_told(
        fault,
        reference="network-exists",
        blame="infrastructure",
        code=75,
        step="network",
        says=["a network of the run's name is there already", name],
        remedy=f"podman network rm {name}  # or another --run",
        shows=["already"],
    )
    assert took(began) < 30
    written_down("F19", "a network of the run's name is made first", fault, fault.report["duration_s"])


def test_f19_what_is_told_where_all_subnets_are_taken(
    faulty: Callable[..., Project], podman: Podman, tmp_path: Path
) -> None:
    project = faulty()
    pool = f"10.{secrets.randbelow(50) + 150}.{secrets.randbelow(250)}.0/24"
    conf = tmp_path / "containers.conf"
    conf.write_text(f'[network]\ndefault_subnet_pools = [{{ "base" = "{pool}", "size" = 24 }}]\n', encoding="utf-8")
    name = f"tests-{new_run()}"
    podman("network", "create", "--subnet", pool, name)
    try:
        fault = caused(project, SERVICE, CONTAINERS_CONF=str(conf))
    finally:
        podman("network", "rm", name)
    is_told(
        fault,
        reference="too-many-networks",
        blame="infrastructure",
        code=75,
        step="network",
        says=["no room for another network", "could not find free subnet"],
        remedy="invoke infra.gc && podman network ls",
    )
    assert fault.report["duration_s"] < 10
    written_down("F19", "the whole pool of subnets is taken", fault, fault.report["duration_s"])


def test_a_port_held_at_another_address_is_not_in_the_way(faulty: Callable[..., Project]) -> None:
    (port,) = free_ports(1)
    project = faulty(ports={"server": port})
    try:
        with held(port, "127.0.0.2"):
            done = project.invoke("suite.run", "--service", SERVICE)
    except AssertionError as error:
        pytest.skip(f"127.0.0.2 cannot be bound here: {error}")
    assert done.code == 0, done.text
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
