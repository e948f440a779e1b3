"""The second half of `nox -s bench`: what each service's run takes, what isolation costs. Writes docs/services.md."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/bench"), str(ROOT / "tests/podman")]

from figures import Row, duration, step_of, table  # noqa: E402
from product import CATALOG, SECRET, Project, catalog_copy, new_run, workspace_copy  # noqa: E402

from infra import databases, plan, settings  # noqa: E402
from infra.catalog.loading import load  # noqa: E402
from infra.databases import Server  # noqa: E402
from infra.labels import Owner  # noqa: E402

SERVICE = "contextapi"
PAGE = ROOT / "docs" / "services.md"
CLONES = 100
MANY = 500
_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service's runs: one number a round."""

    name: str
    specs: int
    stack: Sequence[float]
    suite: Sequence[float]
    whole: Sequence[float]

    def cells(self) -> tuple[str, ...]:
        """Return its line of the table."""
        seconds = (f"{statistics.median(some):.1f}" for some in (self.stack, self.suite, self.whole))
        return (self.name, str(self.specs), *seconds)


def main() -> int:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each service is run (3)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write (docs/services.md)")
    options = parser.parse_args()
    rounds = max(1, min(options.rounds, 3))
    with tempfile.TemporaryDirectory(prefix="infra-bench-") as scratch:
        folder = Path(scratch)
        mine = Project.make(folder / "project", workspace=workspace_copy(folder / "workspace"))
        project = replace(mine, seconds=_SECONDS)
        services = [_service(project, name, rounds) for name in sorted(load(CATALOG).services)]
        rows = [*_isolation(project), _per_spec(services), _many(folder)]
    text = _page(services, rows, " ".join(sys.argv[1:]))
    print(text)
    options.out.write_text(text, encoding="utf-8")
    return 0


def _run(project: Project, name: str) -> dict[str, Any]:
    run = new_run()
    done = project.invoke("suite.run", "--service", name, "--ports", "auto", "--fresh", "--run", run)
    assert done.code == 0, done.text
    return project.report(run)


def _service(project: Project, name: str, rounds: int) -> Service:
    """Run a service once to have its images and its suite compiled, and then as often as was asked."""
    _run(project, name)
    reports = [_run(project, name) for _ in range(rounds)]
    print(f"{name}: {', '.join(str(report['duration_s']) for report in reports)} s", flush=True)
    stack = [step.name for step in _steps(project, name)]
    return Service(
        name=name,
        specs=reports[0]["suite"]["passed"],
        stack=[duration(report, stack) for report in reports],
        suite=[float(step_of(report, "suite")["duration_s"]) for report in reports],
        whole=[float(report["duration_s"]) for report in reports],
    )


def _steps(project: Project, name: str) -> list[Any]:
    read = settings.read(project.folder, {})
    return list(plan.make(load(read.catalog), read, service=name).steps)


def _isolation(project: Project) -> list[Row]:
    """Clone the migrated database of a stack that is up, a hundred times."""
    run = new_run()
    done = project.invoke("infra.up", "--service", SERVICE, "--ports", "auto", "--run", run)
    assert done.code == 0, done.text
    try:
        env = project.invoke("infra.env", "--run", run, "--format", "json").json()
        port = int(env["POSTGRES_PORT"])
        server = Server(port=port, user="slm_user", password=SECRET, database="action_history")
        owner = Owner.of(os.getpid())
        content = plan.make(load(CATALOG), settings.read(project.folder, {}), service=SERVICE).cloned
        assert content is not None
        template = databases.template(server, content.content, owner)
        seen = []
        for _ in range(CLONES):
            began = time.perf_counter()
            name = databases.clones(server, template, run, 1, owner)[1]
            seen.append(time.perf_counter() - began)
            databases.drop(server, name)
    finally:
        project.invoke("infra.gc", "--run", run)
    p95 = statistics.quantiles(seen, n=20)[18]
    return [
        Row(what=f"clone of the migrated database, p95 of {CLONES}", unit="ms", seen=[p95], goal=0.05),
        Row(what="- all of them, with a connection each", unit="ms", seen=seen),
    ]


def _per_spec(services: Sequence[Service]) -> Row:
    """Return the seconds of a spec of the isolated suite, compiling included, on a stack that is there."""
    isolated = next(service for service in services if service.name == SERVICE)
    return Row(
        what=f"{SERVICE}: seconds of its suite a spec",
        unit="s",
        seen=[seconds / isolated.specs for seconds in isolated.suite],
        goal=0.9,
    )


def _many(folder: Path) -> Row:
    """List the sessions of a catalogue of 500 services."""
    catalog = catalog_copy(folder / "many")
    text = (catalog / "services" / "notification.toml").read_text()
    for number in range(MANY - len(load(CATALOG).services)):
        copy = text
        for index, port in enumerate(("15453", "16399", "18110", "19110")):
            copy = copy.replace(port, str(20000 + 4 * number + index))
        (catalog / "services" / f"s{number}.toml").write_text(copy)
    project = Project.make(folder / "listed", catalog=catalog)
    seen = []
    for _ in range(10):
        began = time.perf_counter()
        done = project.python("nox", "-l")
        seen.append(time.perf_counter() - began)
        assert done.code == 0, done.text
        assert "integration-s7 " in done.out
    return Row(what=f"`nox -l`, a catalogue of {MANY} services", unit="s", seen=seen, goal=1.0)


def _page(services: Sequence[Service], rows: Sequence[Row], words: str) -> str:
    head = ("service", "specs", "stack, s", "suite, s", "whole run, s")
    lines = [head, *(service.cells() for service in services)]
    listed = "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ("---",) * len(head), *lines[1:]])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    command = f"python -m tests.bench.services {words}".strip()
    told = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs, load {load}; {command}"
    return f"{TITLE}\n\n{told}\n\n{listed}\n\n{table(rows)}\n\n{DEFINITIONS}\n"


TITLE = """\
# What each service takes

Written by `nox -s bench` on the real Podman; images are there, suites have been compiled once."""

DEFINITIONS = """\
- **Stack**: the components' steps, each to its gate. **Suite**: the step `suite`, the test program's compiling and
  linking included. **Whole run**: `invoke suite.run` from its start to its report. Medians of the rounds.
- **Clone**: connect, `CREATE DATABASE ... TEMPLATE`, and nothing else on that server meanwhile."""


if __name__ == "__main__":
    sys.exit(main())
