"""Each of the nine services for real: its stack looked at, its suites, its switches, which turn named specs red."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from product import LABEL, WORKSPACE, Podman, Project, catalog_copy, edit, new_run

from infra.ports import is_free

# Host ports by component, from catalog-facts.md, in the order in which the stack starts.
STACKS: dict[str, dict[str, tuple[int, ...]]] = {
    "datastorage": {"postgres": (15433,), "migrations": (), "redis": (16379,), "datastorage": (18090, 19090)},
    "notification": {"postgres": (15453,), "migrations": (), "redis": (16399,), "datastorage": (18110, 19110)},
    "remediationorchestrator": {
        "postgres": (15435,),
        "migrations": (),
        "redis": (16381,),
        "datastorage": (18140, 18141),
    },
    "workflowexecution": {"postgres": (15443,), "migrations": (), "redis": (16389,), "datastorage": (18100, 19100)},
    "signalprocessing": {"postgres": (15436,), "migrations": (), "redis": (16382,), "datastorage": (18094, 19094)},
    "aianalysis": {
        "postgres": (15438,),
        "migrations": (),
        "redis": (16384,),
        "datastorage": (18095, 19095),
        "holmesgpt-api": (18121,),
    },
    "gateway": {"redis": (16380,)},
    "holmesgpt-api": {"postgres": (15439,), "migrations": (), "redis": (16387,), "datastorage": (18098, 19098)},
    "contextapi": {"postgres": (15444,), "migrations": (), "redis": (16390,)},
}
# What the suite of each has to be told beside the addresses, or instead of them.
TOLD: dict[str, dict[str, str]] = {
    "aianalysis": {"HOLMESGPT_API_URL": "http://127.0.0.1:18121"},
    "gateway": {"REDIS_ADDR": "127.0.0.1:16380", "REDIS_DB_1": "1", "REDIS_DB_4": "4", "INFRA_WORKERS": "4"},
    "holmesgpt-api": {"HOLMESGPT_API_PORT": "18120", "DATA_STORAGE_URL": "http://127.0.0.1:18098"},
    "contextapi": {"POSTGRES_PORT": "15444", "REDIS_ADDR": "127.0.0.1:16390", "REDIS_DB_4": "4", "INFRA_WORKERS": "4"},
}
FAULTS: dict[str, dict[str, list[str]]] = tomllib.loads((WORKSPACE / "test" / "faults.toml").read_text())
# Of each component the image that the first service had.
IMAGES: dict[str, str] = {}
# DataStorage breaks in its container, where a suite's environment does not reach.
IN_CONTAINER = ("datastorage", "notification")
# It takes a stack of its own; notification's are those of the main job's tests.
EVERY_DAY = ("wrong-filter",)
PENDING = {"workflowexecution": 2}
SPECS = {"contextapi": 91, "notification": 91}


@pytest.fixture(scope="module")
def built(project: Project) -> Project:
    """All images of all nine services, built once: what comes after has the time of its own work."""
    for service in ("aianalysis", "gateway"):
        done = replace(project, seconds=900).invoke("images.build", "--service", service)
        assert done.code == 0, done.text
    return project


@contextmanager
def up(project: Project, podman: Podman, service: str) -> Iterator[str]:
    """The stack of a service with the catalogue's own ports, until the block ends; then nothing of it is left."""
    run = new_run()
    try:
        done = project.invoke("infra.up", "--service", service, "--run", run)
        assert done.code == 0, done.text
        yield run
    finally:
        gone = project.invoke("infra.gc", "--run", run)
    assert gone.code == 0, gone.text
    assert podman.left_of(run) == []
    assert [port for ports in STACKS[service].values() for port in ports if not is_free(port)] == []


def started_at(inspected: Mapping[str, Any]) -> str:
    return str(inspected["State"]["StartedAt"])


def published(inspected: Mapping[str, Any]) -> list[tuple[str, int]]:
    ports = inspected["NetworkSettings"]["Ports"] or {}
    return sorted((one["HostIp"], int(one["HostPort"])) for several in ports.values() for one in several or ())


def suite_of(project: Project, service: str, tier: str = "integration", **env: str) -> dict[str, Any]:
    """Run a suite, on the stack that is up where there is one; return its report."""
    run = new_run()
    done = replace(project, seconds=400).invoke("suite.run", "--service", service, "--tier", tier, "--run", run, **env)
    report = project.report(run)
    assert done.code == report["exit_code"], done.text
    return report


@pytest.mark.parametrize("service", STACKS)
def test_its_stack_is_what_the_facts_say_and_its_suite_passes_in_it(
    service: str, built: Project, podman: Podman
) -> None:
    stack = STACKS[service]
    with up(built, podman, service) as run:
        assert podman.networks(run), f"a stack of {service} was up before: these tests want its ports"
        found = {name: podman.inspect(f"{service}-{name}-{run}") for name in stack}
        assert podman.names(run) == sorted(f"{service}-{name}-{run}" for name in stack)
        assert sorted(found, key=lambda name: started_at(found[name])) == list(stack)
        for name, inspected in found.items():
            labels = inspected["Config"]["Labels"]
            assert {key: labels[f"{LABEL}.{key}"] for key in ("run", "service", "tier", "component")} == {
                "run": run,
                "service": service,
                "tier": "integration",
                "component": name,
            }
            assert labels[f"{LABEL}.owner"]
            assert labels[f"{LABEL}.created"]
            assert published(inspected) == [("127.0.0.1", port) for port in sorted(stack[name])]
            assert inspected["HostConfig"]["RestartPolicy"]["Name"] in ("", "no")
            assert inspected["Image"] == IMAGES.setdefault(name, inspected["Image"]), "one build for all nine services"
        told = built.invoke("infra.env", "--service", service, "--format", "json").json()
        expected = {"INFRA_RUN": run, "INFRA_SERVICE": service, **TOLD.get(service, {})}
        if service not in TOLD:
            expected["DATA_STORAGE_URL"] = f"http://127.0.0.1:{stack['datastorage'][0]}"
            expected["POSTGRES_PORT"] = str(stack["postgres"][0])
        assert {key: told.get(key) for key in expected} == expected

        report = suite_of(built, service)
        assert (report["outcome"], report["stack"]) == ("passed", run), json.dumps(report["cause"])
        suite = report["suite"]
        assert suite["skipped"] == PENDING.get(service, 0)
        assert suite["tests"] == suite["passed"] + suite["skipped"]
        assert suite["passed"] == SPECS.get(service, suite["passed"])
        assert suite["passed"] >= 20
        assert podman.names(run) == sorted(f"{service}-{name}-{run}" for name in stack), "the stack stays up"

        if service not in IN_CONTAINER:
            turns_red(built, service, list(FAULTS[service])[:1])


@pytest.mark.soak
@pytest.mark.parametrize("service", [name for name in STACKS if name not in IN_CONTAINER])
def test_its_other_switches_turn_named_specs_red(service: str, built: Project, podman: Podman) -> None:
    with up(built, podman, service):
        turns_red(built, service, list(FAULTS[service])[1:])


def turns_red(project: Project, service: str, values: list[str]) -> None:
    """Break the service in each of these ways: exactly the named specs find it."""
    for value in values:
        report = suite_of(project, service, **{switch(service): value})
        assert report["cause"]["reference"] == "tests-failed", json.dumps(report["cause"])
        red = sorted(FAULTS[service][value])
        assert sorted(case["name"] for case in report["suite"]["failures"]) == red, f"{service}: {value}"


def switch(service: str) -> str:
    return f"{service.upper().replace('-', '_')}_FAULT"


def test_every_service_has_a_switch() -> None:
    assert sorted(FAULTS) == sorted(STACKS)
    assert all(len(values) >= 2 and all(values.values()) for values in FAULTS.values())


@pytest.mark.parametrize("service", STACKS)
def test_its_unit_tier_passes_without_an_engine(service: str, project: Project, podman: Podman) -> None:
    report = suite_of(project, service, "unit", CONTAINER_HOST="unix:///nowhere/podman.sock")
    assert report["outcome"] == "passed", json.dumps(report["cause"])
    assert report["engine"] is None
    assert report["suite"]["passed"] >= 2
    assert report["suite"]["skipped"] == 0


@pytest.mark.parametrize(
    "value",
    [pytest.param(value, marks=() if value in EVERY_DAY else pytest.mark.soak) for value in FAULTS["datastorage"]],
)
def test_a_switch_of_the_container_turns_named_specs_red(
    value: str, built: Project, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    catalog = catalog_copy(tmp_path / "catalog")
    edit(catalog / "components" / "datastorage.toml", "[env]", f'[env]\nDATASTORAGE_FAULT = "{value}"')
    broken = replace(make_project(catalog=catalog), seconds=400)
    run = new_run()
    said = broken.invoke("suite.run", "--service", "datastorage", "--ports", "auto", "--fresh", "--run", run)
    report = broken.report(run)
    assert report["cause"]["reference"] == "tests-failed", said.text
    assert sorted(case["name"] for case in report["suite"]["failures"]) == sorted(FAULTS["datastorage"][value])
