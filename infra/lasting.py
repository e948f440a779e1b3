"""What every use of the development stack has: its images, and the template of workers' databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from infra import applied, databases, disks, isolation, rundir
from infra.devplan import DevPlan, Migrated
from infra.devstack import DEV
from infra.errors import InfraError
from infra.holding import Holding
from infra.images import Images
from infra.lease import Lease
from infra.plan import Plan
from infra.stack import Stack
from infra.workers import Cloned

_TEMPLATE = "template"


class Lasting(Holding):
    """A run that uses the development stack, which was there before it or stays after it."""

    @property
    def lasting(self) -> Path:
        """Where the configuration of a private engine stays that restarts the stack's components."""
        return self.settings.root / ".infra" / "dev"

    def begin(self, made: Plan) -> None:
        """Say what is begun."""
        self.ending.mask, self.ending.plan = made.mask, made
        self.recorder.watch.run_started(made, rundir.shown(self.folder))
        disks.check_start()

    def ensure_template(self, dev: DevPlan, stack: Stack, held: Lease, images: Mapping[str, str]) -> None:
        """Have the template of the stack's own migrations."""
        wanted = dev.cloned
        if wanted is not None:
            self.template(dev, dev.migrations, wanted, stack, held, images)

    def template(
        self,
        dev: DevPlan,
        jobs: tuple[Migrated, ...],
        wanted: Cloned,
        stack: Stack,
        held: Lease,
        images: Mapping[str, str],
    ) -> None:
        """Have a template: an empty database, filled by the jobs, if there are any, as they are in the workspace now.

        Never a copy of the migrated one: that has a person's data, and migrations as they were once.
        """
        server = isolation.server_of(wanted, stack.ports)
        assert server is not None
        if databases.find_template(server, wanted.content) is not None:
            return
        database = databases.empty(server, held.run, held.owner)
        beside = Stack(plan=stack.plan, lease=held, recorder=self.recorder)
        beside.addresses, beside.ports = stack.addresses, {}
        try:
            for one in jobs:
                job = applied.elsewhere(one.job, one.target, server.database, database)
                job = replace(job, name=_TEMPLATE, container=f"{DEV}-{_TEMPLATE}-{held.run}")
                beside.start(job, images[one.job.name], follow=False)
                beside.engine.remove(job.container)
            databases.seal(server, database, wanted.content, held.owner)
        except InfraError:
            beside.engine.remove(f"{DEV}-{_TEMPLATE}-{held.run}")
            databases.drop(server, database)
            raise
        finally:
            beside.sampler.stop()

    def images(self, dev: DevPlan, held: Lease) -> Mapping[str, str]:
        """Have the images of a plan; return component to image."""
        logs = self.folder / "logs"
        return Images(held, dev.catalog, self.settings, self.recorder, consumer=DEV, logs=logs).obtain(dev.plan)


class Late(Mapping[str, str]):
    """Images by component, had when the first one is asked for: a stack that is whole needs none."""

    def __init__(self, have: Callable[[], Mapping[str, str]]) -> None:
        self._have = have

    @cached_property
    def _had(self) -> Mapping[str, str]:
        return self._have()

    def __getitem__(self, key: str) -> str:
        return self._had[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._had)

    def __len__(self) -> int:
        return len(self._had)
