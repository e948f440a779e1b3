"""The gate: what it makes of a container that completed, died, vanished or never got ready."""

import socketserver
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from given import plan_of

from infra.diagnose import Inquiry
from infra.engine.client import Engine
from infra.engine.types import ContainerState, Event
from infra.errors import NotReady
from infra.model import CompletedProbe
from infra.plan import PlannedStep
from infra.readiness import Gate

RUNNING = ContainerState(id="1", status="running", exit_code=0, oom_killed=False, error="", ports={})


class Scripted(Engine):
    """An engine of one container that goes through states; the last one stays."""

    def __init__(self, states: Sequence[ContainerState | None], log: str = "") -> None:
        self.states = list(states)
        self.log = log

    def state(self, container: str) -> ContainerState | None:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def log_pieces(self, container: str, tail: int | None = None) -> Generator[bytes, None, None]:
        yield self.log.encode()

    def container_events(self, container: str) -> tuple[Event, ...]:
        return tuple(Event(name=name, at=datetime.now(UTC)) for name in ("create", "start", "died"))


def ended(code: int, *, oom: bool = False) -> ContainerState:
    return replace(RUNNING, status="exited", exit_code=code, oom_killed=oom)


def job(tmp_path: Path, timeout: float = 5.0) -> PlannedStep:
    step = plan_of(tmp_path).steps[1]
    return replace(step, ready=CompletedProbe(probe="completed", timeout=timeout))


def gate(
    tmp_path: Path,
    step: PlannedStep,
    engine: Scripted,
    ports: Mapping[str, int],
    look: Callable[[], None] | None = None,
) -> Gate:
    """A gate in the stack of the real catalogue; "s3cret" is a secret of it."""
    plan = replace(plan_of(tmp_path / "scene"), secrets=frozenset({"s3cret"}))
    inquiry = Inquiry(engine=engine, plan=plan, started=[], ports={}, addresses={}, local=True)
    return Gate(inquiry=inquiry, step=step, ports=ports, look=look or (lambda: None))


def refused(tmp_path: Path, step: PlannedStep, states: Sequence[ContainerState | None], log: str = "") -> NotReady:
    with pytest.raises(NotReady) as raised:
        gate(tmp_path, step, Scripted(states, log), {}).wait()
    assert raised.value.exit_code == 75
    assert raised.value.step == step.name
    return raised.value


def test_a_job_that_completed_opens_the_gate_and_the_polls_are_counted(tmp_path: Path) -> None:
    engine = Scripted([RUNNING, RUNNING, ended(0)])
    assert gate(tmp_path, job(tmp_path), engine, {}).wait() == 3


def test_a_job_that_failed_says_the_line_that_tells_why_with_secrets_masked(tmp_path: Path) -> None:
    log = "applying 007_x.sql\npsql:007_x.sql:3: ERROR:  syntax error, password s3cret\nmigration failed: 007_x.sql"
    error = refused(tmp_path, job(tmp_path), [RUNNING, ended(3)], log)
    assert error.reference == "migration-failed"
    assert error.message == "007_x.sql, line 3: syntax error, password ********"
    assert error.remedy.startswith("${EDITOR:-vi} ")
    shown, state, *rest = error.evidence
    assert shown == "psql:007_x.sql:3: ERROR:  syntax error, password ********"
    assert state == "state: ended, exit code 3"
    assert rest == ["applying 007_x.sql", "migration failed: 007_x.sql"]
    assert error.blame == "product"


@pytest.mark.parametrize(
    ("state", "reference", "says"),
    [
        (ended(137), "killed", "SIGKILL (exit code 137)"),
        (ended(137, oom=True), "out-of-memory", "out of memory (exit code 137)"),
        (ended(143), "terminated", "SIGTERM (exit code 143)"),
        (ended(139), "crashed", "SIGSEGV (exit code 139)"),
        (ended(1), "component-died", "exited with code 1: the last line"),
    ],
)
def test_a_component_that_died_says_its_exit_code_and_what_it_means(
    state: ContainerState, reference: str, says: str, tmp_path: Path
) -> None:
    service = replace(job(tmp_path), kind="service", ready=plan_of(tmp_path / "two").steps[2].ready)
    log = "first\nthe last line\n" if reference == "component-died" else ""
    with pytest.raises(NotReady) as raised:
        gate(tmp_path, service, Scripted([state], log), {"redis": 1}).wait()
    assert raised.value.reference == reference
    assert says in raised.value.message


def test_the_components_own_product_is_to_blame_where_it_was_built_here(tmp_path: Path) -> None:
    postgres, _, redis, datastorage = plan_of(tmp_path).steps
    for step, blame in ((postgres, "infrastructure"), (redis, "infrastructure"), (datastorage, "product")):
        with pytest.raises(NotReady) as raised:
            gate(tmp_path / step.name, step, Scripted([ended(1)]), {port.name: 1 for port in step.ports}).wait()
        assert raised.value.blame == blame


class Pong(socketserver.StreamRequestHandler):
    """Somebody else's Redis."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"+PONG\r\n")


def test_a_dead_component_is_not_ready_though_somebody_else_answers_on_its_port(tmp_path: Path) -> None:
    redis = plan_of(tmp_path).steps[2]
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pong) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        ports = {"redis": int(server.server_address[1])}
        assert gate(tmp_path / "a", redis, Scripted([RUNNING]), ports).wait() == 1
        with pytest.raises(NotReady, match="exited with code 1"):
            gate(tmp_path / "b", redis, Scripted([ended(1)]), ports).wait()
        server.shutdown()


def test_a_container_that_somebody_removed_ends_the_gate_at_once(tmp_path: Path) -> None:
    error = refused(tmp_path, job(tmp_path), [RUNNING, None])
    assert error.reference == "component-removed"
    assert "notification-migrations-1884d074" in error.message


def test_what_does_not_get_ready_in_time_says_how_long_how_often_and_the_last_reason(tmp_path: Path) -> None:
    error = refused(tmp_path, job(tmp_path, timeout=0.3), [RUNNING], "still at it\n")
    assert error.reference == "not-ready-in-time"
    assert error.message.startswith("not ready after 0.3 s and ")
    assert error.evidence == ("state: running", "still at it")
    assert "ready.timeout" in error.remedy
