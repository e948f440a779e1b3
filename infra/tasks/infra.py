"""`invoke infra.*`: look at, start, use and end the stacks of services."""

from __future__ import annotations

import contextlib
import sys
from typing import get_args

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra import isolation, lease_names, lock, plan, rundir, sweep
from infra import status as status_of
from infra.attempts import execute
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
from infra.devplan import catalog_of
from infra.devstack import BOOTSTRAP, refuse_to_end
from infra.engine.client import Engine
from infra.errors import InfraError, Internal, Invalid, NotReady
from infra.labels import Life
from infra.model import Tier
from infra.plan import Plan
from infra.reporters.console import rows
from infra.settings import Settings
from infra.sweep import FoundRun
from infra.tasks import common
from infra.tasks import components as treated
from infra.tasks.doctor import doctor
from infra.tasks.explain import explain
from infra.tasks.init import init

_HELP = {
    "service": "a service of the catalogue",
    "tier": "unit, integration (default) or e2e",
    "run": "the run, 8 hex digits",
    "ports": "fixed (the catalogue's) or auto (any free ones)",
    "json": "print JSON and nothing else",
    "verbose": "stream the logs of builds and containers",
    "format": "dotenv or json",
    "component": "one component of the stack",
}


def _help(*names: str) -> dict[str, str]:
    return {name: _HELP[name] for name in names}


@task(name="plan", help=_help("service", "tier", "run", "ports", "json"))
def show_plan(
    _: Context, service: str = "", tier: str = "integration", run: str = "", ports: str = "fixed", json: bool = False
) -> None:
    """Print what a run would do. Needs no engine."""
    with common.told():
        made = _plan(load(common.read_settings().catalog), common.read_settings(), service, tier, run, ports)
        if json:
            common.show(made.as_json())
            return
        print(f"{made.service} {made.tier}: run {made.run}, ports {made.ports_mode}, network {made.network}")
        table = [("step", "image", "source", "ports", "ready")]
        for step in made.steps:
            numbers = ", ".join(f"{p.host or 'any'}->{p.container}" for p in step.ports)
            ready = f"{step.ready.probe} within {step.ready.timeout:g} s"
            table.append((step.name, step.image.ref, step.image.source, numbers, ready))
        print(rows(table) if made.steps else "no stack")
        print(f"suite: {made.suite.suite.runner} {' '.join(made.suite.suite.what)}")
        if made.suite_ports:
            listens = ", ".join(f"{port.name} {port.host or 'any'}" for port in made.suite_ports)
            print(f"the suite listens on: {listens}")
        if made.worker_count:
            print(f"workers: {made.worker_count}{f', each with {made.worker_has}' if made.worker_has else ''}")


@task(help=_help("service", "tier", "run", "ports", "verbose"))
def up(
    _: Context, service: str = "", tier: str = "integration", run: str = "", ports: str = "fixed", verbose: bool = False
) -> None:
    """Start a service's stack and leave it up for a person."""
    with common.told():
        settings = common.read_settings()
        request = common.request(service or None, tier, run=run, ports=ports, verbose=verbose)
        report = execute(settings, request, common.reporter(verbose=verbose), "up")
    if report.exit_code == 0:
        print(f"use it:    invoke suite.run --service {service}    invoke infra.env --service {service}")
        print(f"remove it: invoke infra.down --run {report.stack or report.run}")
    common.leave(report.exit_code)


@task(help=_help("service", "tier", "run", "json"))
def status(_: Context, service: str = "", tier: str = "", run: str = "", json: bool = False) -> None:
    """Show the runs that have anything in the engine."""
    with common.told(), common.engine() as held:
        catalog = load(common.read_settings().catalog)
        if service:
            catalog.service(service)
        if tier and tier not in get_args(Tier):
            known = ", ".join(get_args(Tier))
            what = f'unknown tier "{tier}" (known: {known})'
            raise Invalid(what, reference="unknown-tier", remedy="invoke infra.status  # leave --tier out")
        found = [one for one in sweep.runs(held.engine) if status_of.selected(one, service, tier, run)]
        shown = [status_of.describe(held.engine, catalog, one) for one in found]
        if json:
            common.show({"runs": shown})
            return
        if not shown:
            print("no runs")
        for one in shown:
            kept = f", kept ({one['kept']})" if one["kept"] else ""
            owner = "alive" if one["owner"]["alive"] else "gone"
            print(f"{one['service']} {one['tier']}: run {one['run']}, {one['age_s']} s old, owner {owner}{kept}")
            table = [
                (f"  {c['name']}", c["state"], "ready" if c["ready"] else "not ready", status_of.numbers(c["ports"]))
                for c in one["components"]
            ]
            print(rows(table)) if table else None


@task(help=_help("service", "tier", "run", "format", "json"))
def env(
    _: Context, service: str = "", tier: str = "integration", run: str = "", format: str = "dotenv", json: bool = False
) -> None:
    """Print the environment that a suite gets from the stack that is up."""
    with common.told(), common.engine() as held:
        if format not in ("dotenv", "json"):
            again = f"invoke infra.env{f' --service {service}' if service else ''} --format json"
            raise Invalid(f'--format is dotenv or json, not "{format}"', reference="arguments", remedy=again)
        settings = common.read_settings()
        catalog = load(settings.catalog)
        found = status_of.one_run(held.engine, catalog, service, tier, run)
        made = _plan(catalog, settings, found.service, found.tier, found.run, "fixed")
        numbers = {step.name: status_of.host_ports(held.engine, step) for step in made.steps}
        each = isolation.person(made, numbers, found.run)
        numbers["suite"] = {port.name: port.host for port in made.suite_ports if port.host is not None}
        values = made.suite_env(numbers, str(settings.runs / found.run), each)
        values |= {
            "INFRA_RUN": found.run,
            "INFRA_SERVICE": found.service,
            "INFRA_RUN_DIR": str(settings.runs / found.run),
        }
        program = rundir.program(settings.runs / found.run)
        if program.exists():  # it is in the checkout that has made the stack
            values["INFRA_INVOKE"] = str(program)
        if json or format == "json":
            common.show(values)
        else:
            sys.stdout.write(rundir.dotenv(values))


@task(help=_help("service", "tier", "run", "component"))
def logs(_: Context, service: str = "", tier: str = "integration", run: str = "", component: str = "") -> None:
    """Print the logs of a stack that is there."""
    with common.told(), common.engine() as held:
        settings = common.read_settings()
        catalog = load(settings.catalog)
        found = status_of.one_run(held.engine, catalog, service, tier, run, any_run=True)
        made = _plan(catalog, settings, found.service, found.tier, found.run, "fixed")
        names = [step.name for step in made.steps]
        if component and component not in names:
            what = f'no component "{component}" in the stack of {found.service} ({", ".join(names)})'
            again = f"invoke infra.logs --run {found.run} --component {names[0]}"
            raise Invalid(what, reference="unknown-component", remedy=again)
        for step in made.steps:
            if component in ("", step.name) and held.engine.state(step.container) is not None:
                told = made.mask(held.engine.logs(step.container)).splitlines()
                with common.stopped(sys.stdout):
                    for line in told:
                        print(line if component else f"{step.name} | {line}")


@task(help=_help("service", "tier", "run"))
def down(_: Context, service: str = "", tier: str = "integration", run: str = "") -> None:
    """Drain and remove the stacks that a person has up."""
    with common.told(), common.engine() as held:
        if service or not run:
            load(common.read_settings().catalog).tier(service or None, tier)
        among = tier if service else ""
        found = [one for one in sweep.runs(held.engine) if status_of.selected(one, service, among, run)]
        for one in found:
            refuse_to_end(one.run, one.kept)
        ours = [one for one in found if one.kept is not None or one.life is Life.DEAD]
        if found and not ours:
            _refuse_foreign(found[-1])
        if not found:
            print(f"nothing of {f'run {run}' if run else service} is there")
        with lock.alone(lease_names.USERS):
            for one in ours:
                lease_names.refuse_used(one.run)
            for one in ours:
                common.drain(held.engine, one.run)
                _swept(held.engine, one)


@task(help={"run": "end this run, whoever has it (a kept one too)", "json": _HELP["json"]})
def gc(_: Context, run: str = "", json: bool = False) -> None:
    """Remove what dead runs have left; with --run one that was handed to a person."""
    with common.told(), common.engine() as held:
        ended = list(sweep.sweep_dead(held.engine))
        if run:
            one = next((one for one in sweep.runs(held.engine) if one.run == run), None)
            if one is None and run not in ended:
                what = f"there is no run {run}"
                raise Invalid(what, reference="unknown-run", remedy="invoke infra.status")
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


def _why_spared(one: FoundRun) -> str:
    if one.kept == BOOTSTRAP:
        return f"persistent: {one.kept} has it up, only dev.cleanup removes it"
    return f"kept: {one.kept}" if one.kept else f"owner {one.life.value}"


def _databases_swept(engine: Engine, one: FoundRun) -> tuple[str, ...]:
    """Drop the databases that dead runs have left in a stack that is up, where the catalogue knows the stack."""
    with contextlib.suppress(InfraError):
        settings = common.read_settings()
        made = _plan(load(settings.catalog), settings, one.service, one.tier, one.run, "fixed")
        if made.cloned is not None:
            return isolation.sweep(
                made, {step.name: status_of.host_ports(engine, step) for step in made.steps}, one.run
            )
    return ()


def _plan(catalog: Catalog, settings: Settings, service: str, tier: str, run: str, ports: str) -> Plan:
    catalog = catalog_of(catalog, service)
    return plan.make(catalog, settings, service=service or None, tier=tier, run=run or None, ports=ports)


def _owner(one: FoundRun) -> str:
    return f"process {one.owner.pid} on {one.owner.host}" if one.owner else "an owner that cannot be read"


def _refuse_foreign(one: FoundRun) -> None:
    """Refuse to end a run that is nobody's to end from here: its owner lives, or cannot be seen."""
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
    left = sweep.sweep_run(engine, one.run)
    if left:
        raise Internal(
            f"left behind of run {one.run}: {', '.join(left)}",
            reference="left-behind",
            remedy=f"invoke infra.gc --run {one.run}",
        )
    rundir.take_back(common.read_settings().runs / one.run)
    if not quiet:
        print(f"removed run {one.run} of {one.service} {one.tier}")


namespace = Collection("infra", show_plan, up, status, env, logs, down, gc, explain, doctor, init, *treated.TASKS)
