"""The development stack made concrete: planned like the stack of a service, with data that outlive containers. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from infra.catalog.declared import Catalog
from infra.devstack import DEV, EXAMPLE, FILE, DevStack
from infra.errors import Invalid, NotReady, edit
from infra.model import Component, PostgresProbe, RedisProbe
from infra.plan import Plan, PlannedStep, cloned, make
from infra.settings import Settings
from infra.workers import Cloned


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """A job that applies migrations: in which component, and the folder in its container that has the files."""

    job: PlannedStep
    server: PlannedStep
    probe: PostgresProbe
    target: str


@dataclass(frozen=True, kw_only=True)
class DevPlan:
    """The development stack as a run of its own name. `catalog` has its components as they are there."""

    plan: Plan
    catalog: Catalog
    declared: DevStack

    @property
    def services(self) -> tuple[PlannedStep, ...]:
        """The components that stay up."""
        return tuple(step for step in self.plan.steps if step.kind == "service")

    def migrated(self, job: PlannedStep) -> Migrated | None:
        """Return what a job migrates: the PostgreSQL before it; None for a job that has no migrations, or no such."""
        spec = self.catalog.components[job.name].migrations
        before = self.plan.steps[: self.plan.steps.index(job)]
        server = next((step for step in reversed(before) if isinstance(step.ready, PostgresProbe)), None)
        if spec is None or server is None or not isinstance(server.ready, PostgresProbe):
            return None
        return Migrated(job=job, server=server, probe=server.ready, target=spec.target)

    @property
    def migrations(self) -> tuple[Migrated, ...]:
        """All jobs of it that apply migrations."""
        found = (self.migrated(step) for step in self.plan.steps if step.kind == "job")
        return tuple(one for one in found if one is not None)

    @property
    def jobs(self) -> tuple[PlannedStep, ...]:
        """Those of which no database says whether they are done."""
        return tuple(step for step in self.plan.steps if step.kind == "job" and self.migrated(step) is None)

    @property
    def cloned(self) -> Cloned | None:
        """What the databases of workers are clones of, whoever's workers they are."""
        return cloned(self.migrations[0].server.name, self.plan.steps) if self.migrations else None


def viewed(catalog: Catalog) -> tuple[Catalog, DevStack]:
    """Return the catalogue as the development stack sees it: itself as the one service. Raises `Invalid`."""
    declared = catalog.dev
    if declared is None:
        path = catalog.folder / FILE
        raise Invalid(
            f"the catalogue declares no development stack: there is no {path}",
            reference="no-dev-stack",
            remedy=edit(path, EXAMPLE),
        )
    components = {name: _differing(declared, name, one) for name, one in catalog.components.items()}
    return replace(catalog, components=components, services={DEV: declared.as_service()}, dev=None), declared


def catalog_of(catalog: Catalog, service: str) -> Catalog:
    """Return the catalogue that plans a run of a service: another one for the development stack."""
    return viewed(catalog)[0] if service == DEV and catalog.dev is not None else catalog


def plan_dev(catalog: Catalog, settings: Settings, *, run: str | None = None, ports: str = "fixed") -> DevPlan:
    """Plan the development stack. Raises `Invalid`."""
    view, declared = viewed(catalog)
    made = make(view, settings, service=DEV, run=run, ports=ports)
    places = {**made.places, "service_file": str(catalog.folder / FILE)}
    steps = tuple(_lasting(step, declared) for step in made.steps)
    return DevPlan(plan=replace(made, steps=steps, places=places), catalog=view, declared=declared)


def for_suite(dev: DevPlan, wanted: Plan) -> Plan:
    """Return a service's plan with the development stack's containers in the place of its own.

    Raises `NotReady` where the suite needs more than there is, or would not be alone with what it changes there.
    """
    there = {step.name: step for step in dev.services}
    stack = [step for step in wanted.steps if step.kind == "service"]
    own = f"invoke suite.run {wanted.words}"
    if not stack:
        raise _not_for(f"{wanted.service} {wanted.tier} has no stack, and needs none", own)
    if more := [step.name for step in stack if step.name not in there]:
        raise _not_for(f"{wanted.service} needs {', '.join(more)}, and the development stack has none", own)
    workers = wanted.suite.workers
    alone = {workers.postgres, workers.redis} if workers is not None else set()
    migrated = {one.job.name for one in dev.migrations}
    if jobs := [step.name for step in wanted.steps if step.kind == "job" and step.name not in migrated]:
        raise _not_for(f"the development stack has no migrations of {', '.join(jobs)} for the suite's databases", own)
    if shared := [step.name for step in stack if step.name not in alone and _has_data(there[step.name])]:
        raise _not_for(f"the suite declares no workers for {', '.join(shared)}, so it would change your data", own)
    return replace(wanted, steps=tuple(there[step.name] for step in stack))


def _has_data(step: PlannedStep) -> bool:
    """Whether a person may have data in it, whatever is declared to last."""
    return step.volume is not None or isinstance(step.ready, PostgresProbe | RedisProbe)


def _not_for(why: str, own: str) -> NotReady:
    return NotReady(
        why,
        reference="dev-stack-unfit",
        remedy=f"{own}  # a stack of its own, beside the development stack",
        blame="user",
    )


def _differing(declared: DevStack, name: str, component: Component) -> Component:
    other = declared.components.get(name)
    command = other.command if other is not None else None
    return component if command is None else component.model_copy(update={"command": command})


def _lasting(step: PlannedStep, declared: DevStack) -> PlannedStep:
    """Return a step with what lasts: its volume, and the restarts of what stays up."""
    if step.kind == "job":
        return step
    other = declared.components.get(step.name)
    data = other.data if other is not None else None
    # Also the whole stack: by its order each component has its address, and knows those of the others.
    told = (step.declared, data, declared.restarts, declared.ports.get(step.name), declared.stack)
    digest = hashlib.sha256(repr(told).encode()).hexdigest()[:12]
    volume = (step.container, data) if data is not None else None
    return replace(step, declared=digest, volume=volume, restarts=declared.restarts)
