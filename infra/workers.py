"""The parallel processes of a suite: what each has for itself. Pure.

A suite learns its workers' values from its environment: `NAME_1` to `NAME_n`; `INFRA_WORKERS` is n, and
`INFRA_WORKER_NAMES` has the names, with commas between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.model import PostgresProbe, WorkersSpec
from infra.placeholders import render

COUNT = "INFRA_WORKERS"
NAMES = "INFRA_WORKER_NAMES"
MOST = 64
# What a Redis has where nobody has said otherwise.
REDIS_NUMBERS = 16
_RUNS = 125
_NUMBERS = 100_000


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One parallel process: `number` counts from 1, as Ginkgo does. `database` and `redis` where the tier has them.

    `slot` is a number that no other run of this user has at the time.
    """

    number: int
    run: str
    service: str
    slot: int = 0
    database: str | None = None
    redis: int | None = None

    @property
    def offset(self) -> int:
        """The first of 100,000 numbers that no other worker uses, of this run or of one beside it. Fits 32 bits."""
        return ((self.slot % (2 * _RUNS)) * MOST + self.number) * _NUMBERS

    @property
    def namespace(self) -> str:
        """A name of its own: a DNS label, as Kubernetes wants namespaces to be."""
        return f"{self.service}-{self.run}-{self.number}"

    @property
    def values(self) -> dict[str, str]:
        """The placeholders of `[tiers.<tier>.workers.env]`."""
        values = {
            "worker": str(self.number),
            "worker.offset": str(self.offset),
            "worker.namespace": self.namespace,
        }
        if self.database is not None:
            values["worker.database"] = self.database
        if self.redis is not None:
            values["worker.redis"] = str(self.redis)
        return values


@dataclass(frozen=True, kw_only=True)
class Cloned:
    """The PostgreSQL whose migrated database is cloned for workers: it is complete once the step `after` is."""

    component: str
    ready: PostgresProbe
    after: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The Redis whose database numbers are handed out, and the port that its probe asks."""

    component: str
    port: str


def slot_of_person(run: str) -> int:
    """Return the slot of whoever is at a stack that is up: beyond those of runs."""
    return _RUNS + int(run, 16) % _RUNS


def environment(spec: WorkersSpec, workers: tuple[Worker, ...], values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of all workers: the number is put behind each name."""
    given = {COUNT: str(len(workers)), NAMES: ",".join(spec.env)}
    for worker in workers:
        known = {**values, **worker.values}
        given |= {f"{name}_{worker.number}": render(text, known) for name, text in spec.env.items()}
    return given
