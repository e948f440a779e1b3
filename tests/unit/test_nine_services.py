"""The nine services as catalog-facts.md has them: stacks in order, ports, gates, tiers, sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from given import CATALOG, ROOT, WORKSPACE, settings_with

from infra import plan
from infra.catalog import names
from infra.catalog.loading import load
from infra.errors import Unavailable
from infra.plan import Plan

WITH_STORAGE = ("postgres", "migrations", "redis", "datastorage")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One row of the table: host ports by component and port name, and those that the suite itself listens on."""

    language: str = "go"
    stack: tuple[str, ...] = WITH_STORAGE
    ports: dict[str, dict[str, int]]
    suite_ports: dict[str, int] = field(default_factory=dict)
    has_e2e: bool = True


def storage(postgres: int, redis: int, http: int, metrics: int) -> dict[str, dict[str, int]]:
    return {
        "postgres": {"sql": postgres},
        "migrations": {},
        "redis": {"redis": redis},
        "datastorage": {"http": http, "metrics": metrics},
    }


SERVICES = {
    "datastorage": Facts(ports=storage(15433, 16379, 18090, 19090)),
    "notification": Facts(ports=storage(15453, 16399, 18110, 19110)),
    "remediationorchestrator": Facts(ports=storage(15435, 16381, 18140, 18141)),
    "workflowexecution": Facts(ports=storage(15443, 16389, 18100, 19100)),
    "signalprocessing": Facts(ports=storage(15436, 16382, 18094, 19094)),
    "aianalysis": Facts(
        stack=(*WITH_STORAGE, "holmesgpt-api"),
        ports=storage(15438, 16384, 18095, 19095) | {"holmesgpt-api": {"http": 18121}},
    ),
    "gateway": Facts(stack=("redis",), ports={"redis": {"redis": 16380}}),
    "holmesgpt-api": Facts(
        language="python",
        ports=storage(15439, 16387, 18098, 19098),
        suite_ports={"holmesgpt-api": 18120},
        has_e2e=False,
    ),
    "contextapi": Facts(
        stack=("postgres", "migrations", "redis"),
        ports={"postgres": {"sql": 15444}, "migrations": {}, "redis": {"redis": 16390}},
        has_e2e=False,
    ),
}
GATES = {
    "postgres": ("postgres", 30.0),
    "migrations": ("completed", 120.0),
    "redis": ("redis", 10.0),
    "datastorage": ("http", 30.0),
    "holmesgpt-api": ("http", 60.0),
}


def planned(service: str, tier: str = "integration", ports: str = "fixed") -> Plan:
    settings = settings_with(CATALOG, WORKSPACE)
    return plan.make(load(CATALOG), settings, service=service, tier=tier, ports=ports)


def test_there_are_nine() -> None:
    assert sorted(load(CATALOG).services) == sorted(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_the_stack_is_in_the_order_and_has_the_ports_of_the_facts(service: str) -> None:
    facts, made = SERVICES[service], planned(service)
    assert tuple(step.name for step in made.steps) == facts.stack
    assert made.language == facts.language
    ports = {step.name: {port.name: port.host for port in step.ports} for step in made.steps}
    assert ports == facts.ports
    assert {port.name: port.host for port in made.suite_ports} == facts.suite_ports


@pytest.mark.parametrize("service", SERVICES)
def test_every_component_is_behind_its_gate(service: str) -> None:
    made = planned(service)
    assert {step.name: (step.ready.probe, step.ready.timeout) for step in made.steps} == {
        name: GATES[name] for name in SERVICES[service].stack
    }


@pytest.mark.parametrize("service", SERVICES)
def test_no_port_is_chosen_before_the_engine_has_chosen_it(service: str) -> None:
    made = planned(service, ports="auto")
    assert {port.host for step in made.steps for port in step.ports} <= {None}
    assert {port.host for port in made.suite_ports} <= {None}


@pytest.mark.parametrize("service", SERVICES)
def test_the_tier_unit_starts_nothing(service: str) -> None:
    made = planned(service, tier="unit")
    assert (made.steps, made.suite_ports, made.worker_count) == ((), (), 0)
    assert made.suite.suite.runner == ("pytest" if service == "holmesgpt-api" else "gotestsum")


@pytest.mark.parametrize("service", [name for name, facts in SERVICES.items() if facts.has_e2e])
def test_the_tier_e2e_is_refused_until_there_is_a_cluster(service: str) -> None:
    with pytest.raises(Unavailable) as raised:
        planned(service, tier="e2e")
    assert raised.value.message == f"{service} e2e runs on kind, and there is no such target yet: nothing was started"
    assert raised.value.exit_code == 69


def test_every_tier_is_a_session() -> None:
    found = names.names(ROOT, {})
    sessions = {suite.session for suite in found.suites}
    wanted = {f"{tier}-{service}" for service in SERVICES for tier in ("unit", "integration")}
    wanted |= {f"e2e-{service}" for service, facts in SERVICES.items() if facts.has_e2e}
    assert (sessions, found.problems) == (wanted, ())
    against = {suite.session: suite.stack for suite in found.suites}
    assert against["unit-gateway"] == ()
    assert against["integration-gateway"] == ("redis",)


def test_parallel_suites_get_enough_connections() -> None:
    postgres = planned("datastorage").steps[0]
    assert "max_connections=200" in postgres.command
