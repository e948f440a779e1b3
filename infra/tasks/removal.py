"""`invoke infra.down` and `infra.gc`: end stacks that are up, and remove what dead runs have left."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from infra.errors import InfraError, Internal, Invalid, NotReady
from infra.tasks import common

if TYPE_CHECKING:
    from infra.engine.client import Engine
    from infra.sweep import FoundRun

_HELP = {
    "service": "a service of the catalogue",
    "tier": "unit, integration (default) or e2e",
    "run": "the run, 8 hex digits",
}


@task(help=_HELP)
def down(_: Context, service: str = "", tier: str = "integration", run: str = "") -> None:
    """Drain and remove the stacks that a person has up."""
    from infra import lease_names, lock, sweep
    from infra import status as status_of
    from infra.catalog.loading import load
    from infra.devstack import refuse_to_end
    from infra.labels import Life

    with common.told(), common.engine() as held:
        if service or not run:
            load(common.read_settings().catalog).tier(service or None, tier)
        among = tier if service else ""
        there = [one for one in sweep.runs(held.engine) if status_of.selected(one, service, among, run)]
        found, others = status_of.in_reach(there, common.root(), run)
        for one in found:
            refuse_to_end(one.run, one.kept)
        ours = [one for one in found if one.kept is not None or one.life is Life.DEAD]
        if found and not ours:
            _refuse_foreign(found[-1])
        if not found and run:
            raise _unknown(run)
        if not found:
            print(f"nothing of {service} is there{status_of.elsewhere(others)}")
        with lock.alone(lease_names.USERS):
            for one in ours:
                lease_names.refuse_used(one.run)
            for one in ours:
                common.drain(held.engine, one.run)
                _swept(held.engine, one)


@task(help={"run": "end this run, whoever has it (a kept one too)", "json": "print JSON and nothing else"})
def gc(_: Context, run: str = "", json: bool = False) -> None:
    """Remove what dead runs have left; with --run one that was handed to a person."""
    from infra import lease_names, lock, sweep
    from infra.devstack import refuse_to_end

    with common.told(), common.engine() as held:
        ended = list(sweep.sweep_dead(held.engine))
        if run:
            one = next((one for one in sweep.runs(held.engine) if one.run == run), None)
            if one is None and run not in ended:
                raise _unknown(run)
            if one is not None:
                _refuse_foreign(one)
                refuse_to_end(one.run, one.kept)
                with lock.alone(lease_names.USERS):
                    lease_names.refuse_used(one.run)
                    _swept(held.engine, one, quiet=json)
                ended.append(run)
        kept = [one for one in sweep.runs(held.engine) if one.kept]
        ended += [f"database {name}" for one in kept for name in _databases_swept(held.engine, one)]
        spared = [
            {
                "run": one.run,
                "service": one.service,
                "why": _why_spared(one),
            }
            for one in sweep.runs(held.engine)
        ]
        if json:
            common.show({"removed": ended, "spared": spared})
            return
        print(f"removed: {', '.join(ended) or 'nothing'}")
        for row in spared:
            print(f"spared: run {row['run']} of {row['service']} ({row['why']})")


def _unknown(run: str) -> Invalid:
    return Invalid(f"there is no run {run}", reference="unknown-run", remedy="invoke infra.status")


def _why_spared(one: FoundRun) -> str:
    from infra.devstack import BOOTSTRAP

    if one.kept == BOOTSTRAP:
        return f"persistent: {one.kept} has it up, only dev.cleanup removes it"
    return f"kept: {one.kept}" if one.kept else f"owner {one.life.value}"


def _databases_swept(engine: Engine, one: FoundRun) -> tuple[str, ...]:
    """Drop the databases that dead runs have left in a stack that is up, where the catalogue knows the stack."""
    from infra import isolation
    from infra import status as status_of
    from infra.catalog.loading import load
    from infra.devplan import plan_dev
    from infra.devstack import BOOTSTRAP

    with contextlib.suppress(InfraError):
        settings = common.read_settings()
        catalog = load(settings.catalog)
        if one.kept == BOOTSTRAP:
            dev = plan_dev(catalog, settings, run=one.run)
            made = replace(dev.plan, cloned=dev.cloned)
        else:
            made = common.planned(catalog, settings, one.service, one.tier, one.run, "fixed")
        if made.cloned is not None:
            return isolation.sweep(
                made, {step.name: status_of.host_ports(engine, step) for step in made.steps}, one.run
            )
    return ()


def _owner(one: FoundRun) -> str:
    return f"process {one.owner.pid} on {one.owner.host}" if one.owner else "an owner that cannot be read"


def _refuse_foreign(one: FoundRun) -> None:
    """Refuse to end a run that is nobody's to end from here: its owner lives, or cannot be seen."""
    from infra.labels import Life

    if one.kept is None and one.life is not Life.DEAD:
        here = one.owner if one.life is Life.ALIVE else None
        lives = "lives" if one.life is Life.ALIVE else "cannot be seen from here"
        raise NotReady(
            f"run {one.run} of {one.service} is going on: {_owner(one)} owns it and {lives}",
            reference="run-is-alive",
            remedy=f"kill {here.pid}  # or Ctrl-C there" if here else "invoke infra.status  # end it where it runs",
            blame="user",
        )


def _swept(engine: Engine, one: FoundRun, *, quiet: bool = False) -> None:
    from infra import kept, sweep

    kept.take_back(engine, one.run)
    left = sweep.sweep_run(engine, one.run)
    if left:
        raise Internal(
            f"left behind of run {one.run}: {', '.join(left)}",
            reference="left-behind",
            remedy=f"invoke infra.gc --run {one.run}",
        )
    if not quiet:
        print(f"removed run {one.run} of {one.service} {one.tier}")


TASKS = (down, gc)
