"""What is there, asked of the engine: runs, their components, whether each is ready now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
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


def in_reach(found: Iterable[FoundRun], root: Path, run: str) -> tuple[list[FoundRun], list[FoundRun]]:
    """Split runs into those that a task at `root` may use or end, and others: those only `--run` names. Pure."""
    found = list(found)
    ours = [one for one in found if run or one.root == str(root)]
    return ours, [one for one in found if one not in ours]


def elsewhere(others: Sequence[FoundRun]) -> str:
    """Return what is added where nothing of this folder was found, but something of another one."""
    return "".join(f"; run {one.run} is that of {one.root or 'an unknown folder'}: --run names it" for one in others)


def one_run(
    engine: Engine, catalog: Catalog, root: Path, service: str, tier: str, run: str, *, any_run: bool = False
) -> FoundRun:
    """Return the run that was asked for, by name or as the newest kept one that `root` has of a service."""
    if not run:
        catalog.tier(service or None, tier)
    found = [one for one in sweep.runs(engine) if selected(one, service, tier if service else "", run)]
    usable, others = in_reach((one for one in found if one.kept or run or any_run), root, run)
    if not usable:
        what = f"run {run} is not there" if run else f"no stack of {service} {tier} is up{elsewhere(others)}"
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


def describe(engine: Engine, catalog: Catalog, root: Path, found: FoundRun) -> dict[str, Any]:
    """Return a run as `infra.status --json` has it.

    `root` there is the folder that made the run, or null. Of another one than this `root` the catalogue here tells
    neither accounts nor the ports' names: `ready` is null then, and ports are named by the container's numbers.
    """
    created = _when(found.created)
    owner = found.owner
    containers = engine.containers({labels.RUN: found.run})
    known = catalog if found.root == str(root) else None
    return {
        "run": found.run,
        "service": found.service,
        "tier": found.tier,
        "age_s": int((datetime.now(UTC) - created).total_seconds()),
        "kept": found.kept,
        "root": found.root,
        "owner": {
            "host": owner.host if owner else None,
            "pid": owner.pid if owner else None,
            "alive": found.life is Life.ALIVE,
        },
        "components": [_component(engine, known, container) for container in containers],
    }


def _component(engine: Engine, catalog: Catalog | None, container: Container) -> dict[str, Any]:
    """Ask the component's own probe, once, whether it is ready now; None where no catalogue here has that."""
    name = container.labels.get(labels.COMPONENT, container.name)
    component = catalog.components.get(name) if catalog is not None else None
    state = engine.state(container.name)
    published = state.ports if state is not None else {}
    ready = None
    ports = {str(number): host for number, host in published.items()}
    if catalog is not None and component is not None:
        ports = {key: published[number] for key, number in component.ports.items() if number in published}
        spec = rendered(component.ready, catalog.texts())
        ready = (
            state is not None
            and (state.status == "running" or component.kind == "job")
            and set(ports) == set(component.ports)
            and probes.check(spec, ports, state) is None
        )
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
