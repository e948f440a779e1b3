"""How the development stack is: each component, its migrations, the template of workers' databases. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import applied, databases, kept, killings, labels, probes
from infra.applied import Migrations, Record
from infra.catalog.declared import Catalog
from infra.databases import Server
from infra.devplan import DevPlan, Migrated, plan_dev
from infra.devstack import BOOTSTRAP, DEV
from infra.engine import host
from infra.engine.client import Engine
from infra.engine.types import ContainerState
from infra.errors import InfraError, NotReady
from infra.plan import PlannedStep
from infra.settings import Settings
from infra.sweep import FoundRun, is_our_name
from infra.workers import Cloned

OTHERWISE = "declared otherwise by now"
LOST = "dead, which the engine has not seen: its monitor was killed, too"
_NOT_READY = "not ready: "


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A component of it. `why` says in words what keeps it from being ready; None where it is.

    `moved` is the folder that its data are of, where another is declared by now, or none.
    """

    step: PlannedStep
    state: ContainerState | None
    ports: Mapping[str, int]
    why: str | None
    moved: str | None = None

    @property
    def said(self) -> str | None:
        """What its probe says of one that runs and is not ready."""
        return self.why.removeprefix(_NOT_READY) if self.why and self.why.startswith(_NOT_READY) else None

    @property
    def hangs(self) -> bool:
        """Whether it runs and does not answer."""
        return self.said is not None and not probes.is_answer(self.said)

    @property
    def crashes(self) -> str | None:
        """What is said of one that the engine has started again."""
        if self.state is None or not self.state.restarts:
            return None
        times = "once" if self.state.restarts == 1 else f"{self.state.restarts} times"
        more = "" if self.state.restarts < self.step.restarts else ", and will not be again"
        return f"{self.step.name} has crashed and was restarted {times} (of {self.step.restarts}{more})"


@dataclass(frozen=True, kw_only=True)
class Look:
    """The stack as it was seen. `migrations` are by job, None where its database does not say.

    `jobs` are the others by name, with what keeps one from being done. `dropped` are containers of components that are
    not declared any more. `certain` is whether nothing is lost of what says that the stack stays.
    """

    found: FoundRun
    dev: DevPlan
    components: tuple[Seen, ...]
    migrations: Mapping[str, Migrations | None]
    jobs: Mapping[str, str | None]
    dropped: tuple[str, ...]
    template: bool
    certain: bool

    @property
    def ready(self) -> bool:
        """Whether all components are ready."""
        return all(one.why is None for one in self.components)

    @property
    def whole(self) -> bool:
        """Whether there is nothing to do."""
        migrated = all(one is not None and not one.pending for one in self.migrations.values())
        done = all(why is None for why in self.jobs.values())
        return self.ready and migrated and done and not self.dropped and self.template and self.certain

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know, though it is ready."""
        stale = [one.warning for one in self.migrations.values() if one is not None]
        begun = [
            f"begun and not finished: {', '.join(one.begun)}" for one in self.migrations.values() if one and one.begun
        ]
        dropped = [f"{name} is still there, and not declared any more" for name in self.dropped]
        return tuple(filter(None, [*(one.crashes for one in self.components), *begun, *stale, *dropped]))

    def as_json(self) -> dict[str, Any]:
        """Return the contract of `dev.status --json`."""
        return {
            "run": self.found.run,
            "created": self.found.created,
            "persistent": True,
            "ready": self.ready,
            "components": [
                {
                    "name": one.step.name,
                    "state": one.state.status if one.state else "gone",
                    "ready": one.why is None,
                    "why": one.why,
                    "ports": dict(one.ports),
                    "restarts": one.state.restarts if one.state else 0,
                    "restarts_allowed": one.step.restarts,
                    "volume": one.step.volume[0] if one.step.volume else None,
                }
                for one in self.components
            ],
            "migrations": {
                job: None
                if one is None
                else {
                    "applied": list(one.applied),
                    "pending": list(one.pending),
                    "failed": list(one.begun),
                    "edited": list(one.edited),
                    "gone": list(one.gone),
                }
                for job, one in self.migrations.items()
            },
            "jobs": {name: {"done": why is None, "why": why} for name, why in self.jobs.items()},
            "warnings": list(self.warnings),
        }


def find(engine: Engine, root: Path | None, run: str = "") -> FoundRun | None:
    """Return the run that is the development stack of a checkout, or of any; the newest where there are several."""
    whose = {labels.ROOT: str(root)} if root is not None else {}
    found = [
        FoundRun(
            run=witness.labels[labels.RUN],
            service=DEV,
            tier=witness.labels.get(labels.TIER, ""),
            created=witness.labels.get(labels.CREATED, ""),
            owner=labels.Owner.parse(witness.labels.get(labels.OWNER, "")),
            kept=BOOTSTRAP,
        )
        for witness in engine.volumes({labels.RUN: run, labels.KEPT: BOOTSTRAP} | whose)
        if kept.reason(witness) is not None
    ]
    return max(found, key=lambda one: one.created, default=None)


def look(engine: Engine, catalog: Catalog, settings: Settings) -> Look | None:
    """Look at the development stack; None where there is none. Raises `Invalid`."""
    found = find(engine, settings.root)
    if found is None:
        return None
    dev = plan_dev(catalog, settings, run=found.run)
    components = tuple(see(engine, step) for step in dev.services)
    ports = {one.step.name: one.ports for one in components if one.why is None}
    records = {one.job.name: _record(one, ports) for one in dev.migrations}
    return Look(
        found=found,
        dev=dev,
        components=components,
        migrations={one.job.name: _compared(one, records[one.job.name]) for one in dev.migrations},
        jobs={step.name: undone(step, engine.state(step.container)) for step in dev.jobs},
        dropped=dropped(engine, dev),
        certain=kept.is_certain(engine, settings.runs / found.run, found.run),
        template=dev.cloned is None or _has_template(dev.cloned, records[dev.migrations[0].job.name]),
    )


def dropped(engine: Engine, dev: DevPlan) -> tuple[str, ...]:
    """Return the containers of a stack whose components it does not declare any more."""
    names = {step.container for step in dev.plan.steps}
    there = (one.name for one in engine.containers({labels.RUN: dev.plan.run}))
    return tuple(sorted(name for name in there if is_our_name(name, dev.plan.run) and name not in names))


def none_up() -> NotReady:
    """Return the error for a stack that is not there."""
    return NotReady(
        "there is no development stack",
        reference="dev-stack-missing",
        remedy="invoke dev.bootstrap",
        blame="user",
    )


def unusable(one: Seen) -> NotReady:
    """Return the error for a component that is not ready: what dev.bootstrap would say, or else that it helps."""
    from infra.causes import table  # noqa: PLC0415 - for which dev.bootstrap has no time where all is well
    from infra.causes.facts import Facts  # noqa: PLC0415

    if one.moved is not None:
        return data_moved(one.step, one.moved)
    facts = Facts(
        doing="gate", step=one.step.name, service=DEV, said=one.said or "", has_old_data=bool(one.step.volume)
    )
    if table.find(facts, (table.BY_REFERENCE["data-made-otherwise"],)) is not None:
        return table.judged(NotReady, facts)
    return NotReady(
        f"in the development stack it is {one.why}",
        reference="dev-stack-not-ready",
        remedy="invoke dev.bootstrap  # brings it back with its data",
        step=one.step.name,
        blame="infrastructure",
    )


def moved(engine: Engine, step: PlannedStep) -> str | None:
    """Return the folder that the data in a component's volume are of, where that is declared no more."""
    places = {one.name: one.labels[labels.DATA] for one in engine.volumes({labels.DATA: ""})}
    before = places.get(step.container)
    return before if step.volume is None or step.volume[1] != before else None


def data_moved(step: PlannedStep, before: str) -> NotReady:
    """Return the error for data that a container, made anew as it is declared now, would not have."""
    says = "no data" if step.volume is None else f'data = "{step.volume[1]}"'
    return NotReady(
        f"its data are those of {before}, and dev.toml says {says} by now: it is not made anew without them",
        reference="dev-stack-data-moved",
        remedy="invoke dev.cleanup && invoke dev.bootstrap  # starts afresh, without your data; "
        f'or components.{step.name}.data = "{before}" again',
        step=step.name,
        blame="user",
    )


def undone(job: PlannedStep, state: ContainerState | None) -> str | None:
    """Return what keeps a job that has no record of its own from being done; its container is all that tells. Pure."""
    if state is None:
        return "gone"
    if state.labels.get(labels.DECLARED) != job.declared:
        return OTHERWISE
    if not state.dead:
        return state.status
    return f"failed (exit code {state.exit_code})" if state.exit_code else None


def see(engine: Engine, step: PlannedStep) -> Seen:
    """Look at one component, and ask its own probe once."""
    state = engine.state(step.container)
    ports = step.host_ports(state.ports) if state is not None else {}
    why = _why(step, state, ports, local=host.serves(engine.url))
    before = moved(engine, step) if why in ("gone", OTHERWISE) else None
    return Seen(step=step, state=state, ports=ports, why=why, moved=before)


def server_of(one: Migrated, ports: Mapping[str, Mapping[str, int]]) -> Server | None:
    """Return the PostgreSQL that a job migrates, where it is ready."""
    published = ports.get(one.server.name)
    if published is None:
        return None
    probe = one.probe
    return Server(port=published[probe.port], user=probe.user, password=probe.password, database=probe.database)


def _why(step: PlannedStep, state: ContainerState | None, ports: Mapping[str, int], *, local: bool) -> str | None:
    if state is None:
        return "gone"
    if state.labels.get(labels.DECLARED) != step.declared:
        return OTHERWISE
    if state.status == "paused":
        return "frozen"
    if state.status != "running":
        tried = f", restarted {state.restarts} times before" if state.restarts else ""
        return f"{state.status} (exit code {state.exit_code}{tried})" if state.dead else "not started"
    if local and state.pid is not None and not killings.is_alive(state.pid):
        return LOST
    if len(ports) < len(step.ports):
        return f"{_NOT_READY}its ports are not published"
    reason = probes.check(step.ready, ports, state)
    return None if reason is None else f"{_NOT_READY}{reason}"


def _record(one: Migrated, ports: Mapping[str, Mapping[str, int]]) -> Record | None:
    server = server_of(one, ports)
    with contextlib.suppress(InfraError):
        return applied.read(server, one.job.name, prepare=False) if server is not None else None
    return None


def _compared(one: Migrated, record: Record | None) -> Migrations | None:
    return applied.compared(applied.sql_files(one.job, one.target), record.rows) if record is not None else None


def _has_template(wanted: Cloned, record: Record | None) -> bool:
    names = [databases.parse(name) for name in record.databases] if record is not None else []
    return any(name is not None and name.kind == "t" and name.what == wanted.content for name in names)
