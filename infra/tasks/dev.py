"""`invoke dev.*`: the development stack, which stays up all day."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra.errors import EXIT_CODES, InfraError, Internal, Invalid, Outcome
from infra.tasks import common

if TYPE_CHECKING:
    from infra.catalog.declared import Catalog
    from infra.devlook import Look
    from infra.settings import Settings


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
        seen = _look(settings, ports)
        if seen is not None and seen.whole:
            _print(seen)
            return
        request = common.request("dev", "integration", ports=ports, verbose=verbose)
        from infra.attempts import execute  # a stack that is up needs none of it

        report = execute(settings, request, common.reporter(verbose=verbose), "dev")
        if report.exit_code == 0 and (seen := _look(settings, ports)) is not None:
            _print(seen)
    common.leave(report.exit_code)


@task(help={"json": "print JSON and nothing else"})
def status(_: Context, json: bool = False) -> None:
    """Show how the development stack is. Exit code 75 where it is not ready."""
    from infra import devlook

    with common.told():
        seen = _look(common.read_settings())
        if json:
            common.show({"stack": seen.as_json() if seen else None})
        elif seen is None:
            raise devlook.none_up()
        else:
            _print(seen)
            for one in sorted(seen.components, key=lambda one: one.moved is None):  # as dev.bootstrap tells them
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
    from infra.attempts import execute

    with common.told():
        settings = common.read_settings()
        request = common.request(service or None, tier, run=run, verbose=verbose, args=common.remainder())
        report = execute(settings, request, common.reporter(verbose=verbose), "dev-test")
    common.leave(report.exit_code)


@task(help={"run": "that of another checkout, 8 hex digits (infra.status shows it)"})
def cleanup(_: Context, run: str = "") -> None:
    """Remove the development stack with its data. Nothing else does."""
    from infra import devlook, kept, lease_names, lock, sweep
    from infra.devstack import LOCK, busy, goes_on

    def waits(pid: int) -> None:
        print(f"waiting: {goes_on(pid)}", flush=True)

    with common.told(), common.engine() as held, lock.turn(LOCK, waits, busy):
        found = devlook.find(held.engine, None if run else common.read_settings().root, run)
        if found is None and run:
            what = f"there is no development stack of run {run}"
            raise Invalid(what, reference="unknown-run", remedy="invoke infra.status")
        if found is None:
            print("there is no development stack")
            return
        with lock.alone(lease_names.USERS):
            lease_names.refuse_used(found.run)
            common.drain(held.engine, found.run)
            # First: what an interrupted removal leaves is for a sweep, and no stack with half of its data.
            kept.take_back(held.engine, found.run)
            if left := sweep.sweep_run(held.engine, found.run):
                raise Internal(
                    f"left behind of the development stack: {', '.join(left)}",
                    reference="left-behind",
                    remedy="invoke dev.cleanup",
                )
        print(f"removed the development stack (run {found.run}) with its data")


def _look(settings: Settings, ports: str = "fixed") -> Look | None:
    """Look at the stack; what is declared is read while the engine starts. Raises `Invalid` before `Unavailable`."""
    with ThreadPoolExecutor(1) as beside:
        declared = beside.submit(_declared, settings, ports)
        beside.submit(_load_driver)
        try:
            with common.engine() as held:
                from infra import devlook

                return devlook.look(held.engine, declared.result(), settings)
        except InfraError:
            declared.result()
            raise


def _declared(settings: Settings, ports: str) -> Catalog:
    from infra.catalog.loading import load
    from infra.devplan import plan_dev

    catalog = load(settings.catalog)
    plan_dev(catalog, settings, ports=ports)
    return catalog


def _load_driver() -> None:
    from infra import databases

    databases.load_driver()


def _print(seen: Look) -> None:
    word = "up" if seen.whole else "ready, and not up to date: invoke dev.bootstrap" if seen.ready else "not ready"
    print(f"development stack: {word} (run {seen.found.run}; stays until dev.cleanup)")
    with common.stopped(sys.stdout):  # why one is not ready
        for one in seen.components:
            ports = ", ".join(f"{name} 127.0.0.1:{number}" for name, number in one.ports.items())
            print(f"  {one.step.name}: {one.why or 'ready'}{f', {ports}' if ports else ''}")
    for job, told in seen.migrations.items():
        print(f"  {job}: {f'{len(told.applied)} applied, {len(told.pending)} pending' if told else 'unknown'}")
    for job, why in seen.jobs.items():
        print(f"  {job}: {why or 'done'}")
    for text in seen.warnings:
        print(f"warning: {text}")


namespace = Collection("dev", bootstrap, status, run_suite, cleanup)
