"""What is there, asked of the engine: runs, their components, whether each is ready now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra import labels, probes, sweep
from infra.catalog.declared import Catalog, rendered
from infra.engine.client import Engine
from infra.engine.types import Container
from infra.errors import NotReady
from infra.labels import Life
from infra.plan import PlannedStep
from infra.sweep import FoundRun


def selected(found: FoundRun, service: str, tier: str, run: str) -> bool:
    """Whether a run is among those asked for; an empty word asks for any."""
    return (
        (not run or found.run == run) and (not service or found.service == service) and (not tier or found.tier == tier)
    )


def one_run(engine: Engine, catalog: Catalog, service: str, tier: str, run: str, *, any_run: bool = False) -> FoundRun:
    """Return the run that was asked for, by name or as the newest kept one of a service."""
    if not run:
        catalog.tier(service or None, tier)
    found = [one for one in sweep.runs(engine) if selected(one, service, tier if service else "", run)]
    usable = [one for one in found if one.kept or run or any_run]
    if not usable:
        what = f"run {run} is not there" if run else f"no stack of {service} {tier} is up"
        remedy = "invoke infra.status" if run else f"invoke infra.up --service {service}"
        raise NotReady(what, reference="no-stack-up", remedy=remedy, blame="user")
    return usable[-1]


def host_ports(engine: Engine, step: PlannedStep) -> dict[str, int]:
    """Return the host ports of a running component, by port name. Raises `NotReady` where it is gone."""
    state = engine.state(step.container)
    if state is None:
        raise NotReady(
            f"{step.container} is not there",
            reference="component-removed",
            remedy="invoke infra.status",
            step=step.name,
        )
    return step.host_ports(state.ports)


def describe(engine: Engine, catalog: Catalog, found: FoundRun) -> dict[str, Any]:
    """Return a run as `infra.status --json` has it."""
    created = _when(found.created)
    owner = found.owner
    containers = engine.containers({labels.RUN: found.run})
    return {
        "run": found.run,
        "service": found.service,
        "tier": found.tier,
        "age_s": int((datetime.now(UTC) - created).total_seconds()),
        "kept": found.kept,
        "owner": {
            "host": owner.host if owner else None,
            "pid": owner.pid if owner else None,
            "alive": found.life is Life.ALIVE,
        },
        "components": [_component(engine, catalog, container) for container in containers],
    }


def _component(engine: Engine, catalog: Catalog, container: Container) -> dict[str, Any]:
    """Ask the component's own probe, once, whether it is ready now."""
    name = container.labels.get(labels.COMPONENT, container.name)
    component = catalog.components.get(name)
    state = engine.state(container.name)
    ready = False
    ports: dict[str, int] = {}
    if component is not None and state is not None:
        ports = {key: state.ports[number] for key, number in component.ports.items() if number in state.ports}
        spec = rendered(component.ready, catalog.texts())
        usable = set(ports) == set(component.ports) and (state.status == "running" or component.kind == "job")
        ready = usable and probes.check(spec, ports, state) is None
    return {"name": name, "state": state.status if state else "gone", "ready": ready, "ports": ports}


def _when(text: str) -> datetime:
    """Read a label that anybody may have written; now, where it is no time."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def numbers(ports: dict[str, int]) -> str:
    """Return ports for a person."""
    return ", ".join(f"{name} 127.0.0.1:{number}" for name, number in ports.items())
