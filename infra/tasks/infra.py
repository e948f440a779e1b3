"""`invoke infra.*`: look at, start, use and end the stacks of services."""

from __future__ import annotations

import sys
from typing import get_args

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra.errors import Invalid
from infra.tasks import common, removal
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
    from infra.catalog.loading import load
    from infra.reporters.console import rows

    with common.told():
        made = common.planned(load(common.read_settings().catalog), common.read_settings(), service, tier, run, ports)
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
    from infra.attempts import execute

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
    from infra import status as status_of
    from infra import sweep
    from infra.catalog.loading import load
    from infra.model import Tier
    from infra.reporters.console import rows

    with common.told(), common.engine() as held:
        settings = common.read_settings()
        catalog = load(settings.catalog)
        if service:
            catalog.service(service)
        if tier and tier not in get_args(Tier):
            known = ", ".join(get_args(Tier))
            what = f'unknown tier "{tier}" (known: {known})'
            raise Invalid(what, reference="unknown-tier", remedy="invoke infra.status  # leave --tier out")
        found = [one for one in sweep.runs(held.engine) if status_of.selected(one, service, tier, run)]
        shown = [status_of.describe(held.engine, catalog, settings.root, one) for one in found]
        if json:
            common.show({"runs": shown})
            return
        if not shown:
            print("no runs")
        for one in shown:
            kept = f", kept ({one['kept']})" if one["kept"] else ""
            owner = "alive" if one["owner"]["alive"] else "gone"
            of = "" if one["root"] == str(settings.root) else f", made from {one['root'] or 'an unknown folder'}"
            print(f"{one['service']} {one['tier']}: run {one['run']}, {one['age_s']} s old, owner {owner}{kept}{of}")
            said = {True: "ready", False: "not ready", None: "unknown"}
            table = [
                (f"  {c['name']}", c["state"], said[c["ready"]], status_of.numbers(c["ports"]))
                for c in one["components"]
            ]
            print(rows(table)) if table else None


@task(help=_help("service", "tier", "run", "format", "json"))
def env(
    _: Context, service: str = "", tier: str = "integration", run: str = "", format: str = "dotenv", json: bool = False
) -> None:
    """Print the environment that a suite gets from the stack that is up."""
    from infra import isolation, rundir
    from infra import status as status_of
    from infra.catalog.loading import load

    with common.told(), common.engine() as held:
        if format not in ("dotenv", "json"):
            again = f"invoke infra.env{f' --service {service}' if service else ''} --format json"
            raise Invalid(f'--format is dotenv or json, not "{format}"', reference="arguments", remedy=again)
        settings = common.read_settings()
        catalog = load(settings.catalog)
        found = status_of.one_run(held.engine, catalog, settings.root, service, tier, run)
        made = common.planned(catalog, settings, found.service, found.tier, found.run, "fixed")
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
    from infra import status as status_of
    from infra.catalog.loading import load

    with common.told(), common.engine() as held:
        settings = common.read_settings()
        catalog = load(settings.catalog)
        found = status_of.one_run(held.engine, catalog, settings.root, service, tier, run, any_run=True)
        made = common.planned(catalog, settings, found.service, found.tier, found.run, "fixed")
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


namespace = Collection("infra", show_plan, up, status, env, logs, *removal.TASKS, explain, doctor, init, *treated.TASKS)
