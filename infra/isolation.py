"""What the workers of a suite have for themselves in a stack: databases and numbers, handed out and taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from infra import databases, lease_names, redis_numbers
from infra.databases import Server
from infra.errors import InfraError, NotReady
from infra.labels import Owner
from infra.plan import Plan
from infra.report import WorkerResult
from infra.workers import REDIS_NUMBERS, Cloned, Worker, slot_of_person

Ports = Mapping[str, Mapping[str, int]]
# The numbers 0 to 3 of a development stack's Redis are never handed out.
PERSONS = 3
Held = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A stack as its workers see it. `stack` is the run that it belongs to; `run` the one that uses it now.

    Of one that is `lent` some Redis numbers are always a person's, and the others are given back empty.
    """

    plan: Plan
    ports: Ports
    owner: Owner
    run: str
    stack: str
    lent: bool = False
    note: Callable[[str], None] = lambda _text: None

    @property
    def is_own(self) -> bool:
        """Whether the stack ends with the run that uses it."""
        return self.run == self.stack


def make_template(plan: Plan, ports: Ports, owner: Owner) -> str | None:
    """Make the template of the databases of a plan's workers while nobody uses the migrated one; return its name."""
    server = server_of(plan.cloned, ports)
    return databases.template(server, plan.cloned.content, owner) if server and plan.cloned else None


@contextlib.contextmanager
def handed_out(
    shared: Shared, keep: Callable[[int], bool], held: Held, results: list[WorkerResult]
) -> Iterator[tuple[Worker, ...]]:
    """Have the workers of a suite until the block ends; `results` says afterwards what each had.

    The databases of workers for which `keep` says so stay, for a week, in a stack that stays. Nothing interrupts what
    is done in `held`: that they are given back.
    """
    plan = shared.plan
    with contextlib.ExitStack() as stack:
        stack.callback(_give_back, shared, keep, held, results)
        made = _databases(shared)
        numbers: tuple[int, ...] = ()
        if plan.redis is not None:
            claim = redis_numbers.claimed(
                shared.ports[plan.redis.component][plan.redis.port],
                shared.run,
                plan.worker_count,
                spare=PERSONS if shared.lent else 0 if shared.is_own else plan.worker_count,
                lent=shared.lent,
                otherwise=f"invoke suite.run {plan.words} --fresh --ports auto",
            )
            numbers = stack.enter_context(claim)
        yield workers_of(plan, shared.run, lease_names.slot(shared.run), made, numbers)


def sweep(plan: Plan, ports: Ports, stack: str) -> tuple[str, ...]:
    """Drop the databases that dead runs have left in a stack that outlives them; return their names."""
    server = server_of(plan.cloned, ports)
    return databases.sweep(server, stack, plan.cloned.content) if server and plan.cloned else ()


def person(plan: Plan, ports: Ports, run: str) -> tuple[Worker, ...]:
    """Return the workers that a person at a stack that is up has: they were made with it, and end with it.

    Raises `NotReady` where the stack was made with fewer, or with none.
    """
    server = server_of(plan.cloned, ports)
    made = databases.of_run(server, run) if server else {}
    if plan.cloned and len(made) < plan.worker_count:
        raise _made_otherwise(plan, f"it has databases for {len(made)} workers, and not for {plan.worker_count}")
    numbers = tuple((n + 1) % REDIS_NUMBERS for n in range(plan.worker_count)) if plan.redis else ()
    return workers_of(plan, run, slot_of_person(run), made, numbers)


def make_for_person(plan: Plan, ports: Ports, run: str, owner: Owner) -> None:
    """Make the databases that `person` finds."""
    _databases(Shared(plan=plan, ports=ports, owner=owner, run=run, stack=run))


def workers_of(
    plan: Plan, run: str, slot: int, made: Mapping[int, str], numbers: tuple[int, ...]
) -> tuple[Worker, ...]:
    """Return the workers of a run, with what they were given."""
    return tuple(
        Worker(
            number=number,
            run=run,
            service=plan.service,
            slot=slot,
            database=made.get(number),
            redis=numbers[number - 1] if numbers else None,
        )
        for number in range(1, plan.worker_count + 1)
    )


def server_of(cloned: Cloned | None, ports: Ports) -> Server | None:
    """Return the PostgreSQL whose database is cloned; None where there is none, or it is not there."""
    if cloned is None or (port := ports.get(cloned.component, {}).get(cloned.ready.port)) is None:
        return None
    ready = cloned.ready
    return Server(port=port, user=ready.user, password=ready.password, database=ready.database)


def _databases(shared: Shared) -> dict[int, str]:
    """Clone the template. Only a stack of one's own has it built: who knows what is in a database by now."""
    plan, server = shared.plan, server_of(shared.plan.cloned, shared.ports)
    if server is None or plan.cloned is None:
        return {}
    if shared.is_own:
        source = databases.template(server, plan.cloned.content, shared.owner)
    else:
        with contextlib.suppress(InfraError):  # what others have left is in nobody's way
            if swept := sweep(plan, shared.ports, shared.stack):
                shared.note(f"swept databases of dead runs: {', '.join(swept)}")
        found = databases.find_template(server, plan.cloned.content)
        if found is None:
            raise _made_otherwise(plan, "its migrations were others")
        source = found
    return databases.clones(server, source, shared.run, plan.worker_count, shared.owner)


def _made_otherwise(plan: Plan, why: str) -> NotReady:
    return NotReady(
        f"the stack that is up was made otherwise: {why}",
        reference="stack-made-otherwise",
        remedy=f"invoke infra.down {plan.words} && invoke infra.up {plan.words}  # or --fresh --ports auto",
        blame="user",
    )


def _give_back(shared: Shared, keep: Callable[[int], bool], held: Held, results: list[WorkerResult]) -> None:
    """Drop what a stack that stays need not keep; what cannot be dropped is swept by the next run in that stack."""
    server = server_of(shared.plan.cloned, shared.ports)
    if server is None:
        return
    with held(), contextlib.suppress(InfraError):
        for number, name in databases.of_run(server, shared.run).items():
            kept = keep(number)
            if not shared.is_own:
                if kept:
                    name = databases.keep(server, name)
                else:
                    databases.drop(server, name)
            results.append(WorkerResult(number=number, database=server.dsn(name), kept=kept))
