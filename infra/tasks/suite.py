"""`invoke suite.run`: the whole run of one service and tier; what nox sessions start."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra.tasks import common


@task(
    help={
        "service": "a service of the catalogue",
        "tier": "unit, integration (default) or e2e",
        "run": "the run's name, 8 hex digits",
        "ports": "fixed (the catalogue's) or auto (any free ones)",
        "fresh": "start a stack of its own even where one is up",
        "retry_infra": "repeat so often a run that the infrastructure has ended and no test has failed (0)",
        "verbose": "stream the logs of builds and containers",
    }
)
def run(
    _: Context,
    service: str = "",
    tier: str = "integration",
    run: str = "",
    ports: str = "fixed",
    fresh: bool = False,
    retry_infra: str = "",
    verbose: bool = False,
) -> None:
    """Start the stack, run the suite, always clean up. What stands after -- goes to the suite."""
    from infra import retry
    from infra.attempts import execute

    with common.told():
        settings = common.read_settings()
        request = common.request(
            service or None,
            tier,
            run=run,
            ports=ports,
            fresh=fresh,
            verbose=verbose,
            args=common.remainder(),
            retries=retry.number(retry_infra, retry.FLAG) if retry_infra else settings.retry_infra,
        )
        report = execute(settings, request, common.reporter(verbose=verbose), "suite")
    common.leave(report.exit_code)


namespace = Collection("suite", run)
