"""`invoke dev.*`: the development stack, which stays up all day."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra import devlook, lease_names, lock, rundir, sweep
from infra import status as status_of
from infra.attempts import execute
from infra.catalog.loading import load
from infra.development import LOCK
from infra.devlook import Look
from infra.devplan import plan_dev
from infra.errors import EXIT_CODES, Internal, Outcome
from infra.reporters.console import rows
from infra.tasks import common


@task(
    help={
        "ports": "fixed (those of dev.toml) or auto (any free ones), for what is not there yet",
        "verbose": "stream the logs of builds and containers",
    }
)
def bootstrap(_: Context, ports: str = "fixed", verbose: bool = False) -> None:
    """Have the development stack up: made, brought back with its data, its new migrations applied."""
    with common.told():
        settings = common.read_settings()
        plan_dev(load(settings.catalog), settings, ports=ports)
        seen = _look()
        if seen is not None and seen.whole:
            _print(seen)
            return
        request = common.request("dev", "integration", ports=ports, verbose=verbose)
        report = execute(settings, request, common.reporter(verbose=verbose), "dev")
        if report.exit_code == 0 and (seen := _look()) is not None:
            _print(seen)
    common.leave(report.exit_code)


@task(help={"json": "print JSON and nothing else"})
def status(_: Context, json: bool = False) -> None:
    """Show how the development stack is. Exit code 75 where it is not ready."""
    with common.told():
        seen = _look()
        if json:
            common.show({"stack": seen.as_json() if seen else None})
        elif seen is None:
            raise devlook.none_up()
        else:
            _print(seen)
            for one in seen.components:
                if one.why is not None:
                    raise devlook.unusable(one)
    common.leave(0 if seen is not None and seen.ready else EXIT_CODES[Outcome.NOT_READY])


@task(
    name="test",
    help={
        "service": "a service of the catalogue",
        "tier": "unit, integration (default) or e2e",
        "run": "the run's name, 8 hex digits",
        "verbose": "stream the logs of builds and containers",
    },
)
def run_suite(_: Context, service: str = "", tier: str = "integration", run: str = "", verbose: bool = False) -> None:
    """Run a suite in the development stack, isolated per worker. What stands after -- goes to the suite."""
    with common.told():
        settings = common.read_settings()
        request = common.request(service or None, tier, run=run, verbose=verbose, args=common.remainder())
        report = execute(settings, request, common.reporter(verbose=verbose), "dev-test")
    common.leave(report.exit_code)


@task
def cleanup(_: Context) -> None:
    """Remove the development stack with its data. Nothing else does."""
    with (
        common.told(),
        common.engine() as held,
        lock.turn(LOCK, lambda: print("waiting for a dev.bootstrap that goes on")),
    ):
        found = devlook.find(held.engine)
        if found is None:
            print("there is no development stack")
            return
        with lock.alone(lease_names.USERS):
            common.refuse_used(found)
            common.drain(held.engine, found.run)
            if left := sweep.sweep_run(held.engine, found.run):
                raise Internal(
                    f"left behind of the development stack: {', '.join(left)}",
                    reference="left-behind",
                    remedy="invoke dev.cleanup",
                )
        rundir.take_back(common.read_settings().runs / found.run)
        print(f"removed the development stack (run {found.run}) with its data")


def _look() -> Look | None:
    settings = common.read_settings()
    catalog = load(settings.catalog)
    plan_dev(catalog, settings)
    with common.engine() as held:
        return devlook.look(held.engine, catalog, settings)


def _print(seen: Look) -> None:
    word = "up" if seen.whole else "ready, and not up to date: invoke dev.bootstrap" if seen.ready else "not ready"
    print(f"development stack: {word} (run {seen.found.run}; stays until dev.cleanup)")
    table = [(f"  {one.step.name}", one.why or "ready", status_of.numbers(dict(one.ports))) for one in seen.components]
    print(rows(table))
    for job, one in seen.migrations.items():
        said = "unknown" if one is None else f"{len(one.applied)} applied, {len(one.pending)} pending"
        print(f"  {job}: {said}")
    for text in seen.warnings:
        print(f"warning: {text}")


namespace = Collection("dev", bootstrap, status, run_suite, cleanup)
