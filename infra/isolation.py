"""What the workers of a suite have for themselves in a stack: databases and numbers, handed out and taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from infra import databases, redis_numbers
from infra.databases import Server
from infra.errors import InfraError
from infra.labels import Owner
from infra.plan import Cloned, Plan
from infra.report import WorkerResult
from infra.workers import Worker

Ports = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A stack as its workers see it. `stack` is the run that it belongs to; `run` the one that uses it now."""

    plan: Plan
    ports: Ports
    owner: Owner
    run: str
    stack: str

    @property
    def is_own(self) -> bool:
        """Whether the stack ends with the run that uses it."""
        return self.run == self.stack


def make_template(plan: Plan, ports: Ports, owner: Owner) -> str | None:
    """Make the template of the databases of a plan's workers while nobody uses the migrated one; return its name."""
    cloned = plan.cloned
    return databases.template(_server(cloned, ports), cloned.content, owner) if cloned else None


@contextlib.contextmanager
def handed_out(
    shared: Shared, keep: Callable[[int], bool], results: list[WorkerResult]
) -> Iterator[tuple[Worker, ...]]:
    """Have the workers of a suite until the block ends; `results` says afterwards what each had.

    The databases of workers for which `keep` says so stay, for a week, in a stack that stays.
    """
    plan = shared.plan
    with contextlib.ExitStack() as stack:
        made = _databases(shared)
        stack.callback(_give_back, shared, made, keep, results)
        numbers: tuple[int, ...] = ()
        if plan.redis is not None:
            port = min(shared.ports[plan.redis].values())
            claim = redis_numbers.claimed(port, shared.run, plan.worker_count, last_first=not shared.is_own)
            numbers = stack.enter_context(claim)
        yield workers_of(plan, shared.run, made, numbers)


def sweep(plan: Plan, ports: Ports, stack: str) -> tuple[str, ...]:
    """Drop the databases that dead runs have left in a stack that outlives them; return their names."""
    cloned = plan.cloned
    return databases.sweep(_server(cloned, ports), stack, cloned.content) if cloned else ()


def person(plan: Plan, ports: Ports, run: str) -> tuple[Worker, ...]:
    """Return the workers that a person at a stack that is up has: they were made with it, and end with it."""
    made = databases.of_run(_server(plan.cloned, ports), run) if plan.cloned else {}
    numbers = tuple((n + 1) % redis_numbers.NUMBERS for n in range(plan.worker_count)) if plan.redis else ()
    return workers_of(plan, run, made, numbers)


def make_for_person(plan: Plan, ports: Ports, run: str, owner: Owner) -> None:
    """Make the databases that `person` finds."""
    _databases(Shared(plan=plan, ports=ports, owner=owner, run=run, stack=run))


def workers_of(plan: Plan, run: str, made: Mapping[int, str], numbers: tuple[int, ...]) -> tuple[Worker, ...]:
    """Return the workers of a run, with what they were given."""
    return tuple(
        Worker(
            number=number,
            run=run,
            service=plan.service,
            database=made.get(number),
            redis=numbers[number - 1] if numbers else None,
        )
        for number in range(1, plan.worker_count + 1)
    )


def _server(cloned: Cloned, ports: Ports) -> Server:
    ready = cloned.ready
    return Server(
        port=ports[cloned.component][ready.port], user=ready.user, password=ready.password, database=ready.database
    )


def _databases(shared: Shared) -> dict[int, str]:
    cloned = shared.plan.cloned
    if cloned is None:
        return {}
    server = _server(cloned, shared.ports)
    if not shared.is_own:
        sweep(shared.plan, shared.ports, shared.stack)
    source = databases.template(server, cloned.content, shared.owner)
    return databases.clones(server, source, shared.run, shared.plan.worker_count, shared.owner)


def _give_back(
    shared: Shared, made: Mapping[int, str], keep: Callable[[int], bool], results: list[WorkerResult]
) -> None:
    """Drop what a stack that stays need not keep; what cannot be dropped is swept by the next run in that stack."""
    cloned = shared.plan.cloned
    if cloned is None:
        return
    server = _server(cloned, shared.ports)
    for number, name in made.items():
        kept = keep(number)
        if not shared.is_own:
            with contextlib.suppress(InfraError):
                if kept:
                    name = databases.keep(server, name)
                else:
                    databases.drop(server, name)
        results.append(WorkerResult(number=number, database=server.dsn(name), kept=kept))
