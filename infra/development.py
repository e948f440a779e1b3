"""The development stack, brought up, brought back with its data, and lent to suites.

It is a run like others, handed over with the reason `dev.bootstrap`: labels are all that tells of it. What a container
was made of may change, be removed or lost in a reboot; its data are in a volume of the run, and it is made anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from infra import applied, databases, devlook, disks, lease_names, lock, ports, rundir
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
from infra.devplan import DevPlan, Migrated, for_suite, plan_dev
from infra.devstack import BOOTSTRAP, DEV
from infra.doctor import start
from infra.engine.transport import EngineRefused
from infra.errors import InfraError, NotReady
from infra.holding import Goal, Holding
from infra.images import Images
from infra.lease import Lease
from infra.plan import Plan, PlannedStep, make
from infra.settings import Settings
from infra.stack import DEFAULT_GRACE_S, Stack, addresses, stop
from infra.sweep import FoundRun

LOCK = "-dev"
_TEMPLATE = "template"


class Development(Holding):
    """One use of the development stack: `dev` has it ready, `dev-test` runs a suite in it."""

    def go(self, goal: Goal) -> None:
        """Do it. Raises what ends it."""
        catalog = load(self.settings.catalog)
        self.lasting = lasting(self.settings)
        if goal == "dev-test":
            self._test(catalog)
            return
        with lock.turn(
            LOCK, lambda: self.recorder.note("another dev.bootstrap or dev.cleanup goes on: waiting for it")
        ):
            dev = plan_dev(catalog, self.settings, run=self.request.run, ports=self.request.ports)
            self._begin(dev.plan)
            with self._leased(dev.plan) as held:
                found = devlook.find(held.engine)
                if found is None:
                    self._make(dev, held)
                else:
                    self._bring_back(catalog, dev, held, found)

    def _begin(self, made: Plan) -> None:
        self.ending.mask, self.ending.plan = made.mask, made
        self.recorder.watch.run_started(made, rundir.shown(self.folder))
        disks.check_start()

    def _make(self, dev: DevPlan, held: Lease) -> None:
        for step in dev.plan.steps:
            for port in step.ports:
                if port.host is not None and not ports.is_free(port.host):
                    raise taken(step.name, port.host, held)
        with self._stack(held, dev.plan) as stack:
            stack.make_network()
            images = self._images(dev, held)
            for step in dev.plan.steps:
                if step.kind == "service":
                    self._create(stack, step, images)
                else:
                    self._job(dev, stack, step, images)
            self._ensure_template(dev, stack, held, images)
            self._check(stack)
            self._hand_over(stack, BOOTSTRAP)

    def _bring_back(self, catalog: Catalog, dev: DevPlan, held: Lease, found: FoundRun) -> None:
        """Have a stack that was up ready again; what fails leaves it as it is, with its data."""
        self.ending.kept, self.ending.stack = True, found.run
        theirs = plan_dev(catalog, self.settings, run=found.run, ports=self.request.ports)
        stack = Stack(plan=theirs.plan, lease=replace(held, run=found.run), recorder=self.recorder)
        held.unswept.set()  # a job may be started beside it
        images = _Late(lambda: self._images(dev, held))
        with self._left_up(stack):
            subnet = held.engine.subnet(theirs.plan.network)
            if subnet is None:
                stack.make_network()
            else:
                stack.addresses = addresses(subnet, [step.name for step in theirs.plan.steps])
            for step in theirs.plan.steps:
                if step.kind == "service":
                    self._back(stack, step, images)
                else:
                    self._job(theirs, stack, step, images)
            self._ensure_template(theirs, stack, held, images)
            self._check(stack)

    def _back(self, stack: Stack, step: PlannedStep, images: Mapping[str, str]) -> None:
        """Have one component ready: as it is, started again, or made anew with its data."""
        engine, seen = stack.engine, devlook.see(stack.engine, step)
        state, why = seen.state, seen.why
        if seen.crashes:
            self.recorder.note(seen.crashes)
        moves = state is not None and not _running(seen) and self._should_move(stack, seen)
        if state is not None and (why == devlook.OTHERWISE or moves):
            self.recorder.note(
                f"{step.name} was {'on a taken port' if moves else why}: it is made anew{_with_data(step)}"
            )
            stop(engine, step.container, DEFAULT_GRACE_S)
            engine.remove(step.container)
            state = None
        elif state is None:
            self.recorder.note(f"{step.name} was gone: it is made anew{_with_data(step)}")
        if state is None:
            self._create(stack, step, images)
            return
        with self.recorder.step(step.name) as handle:
            handle.note = "was up"
            if not _running(seen):
                handle.note = f"was {why}: started again"
                self._start(stack, seen)
            handle.polls = stack.adopt(step)

    def _should_move(self, stack: Stack, seen: devlook.Seen) -> bool:
        """Whether its port is somebody else's by now and other ports are allowed. Raises where they are not."""
        for port in seen.ports.values():
            if not ports.is_free(port):
                if self.request.ports == "auto":
                    return True
                raise taken(seen.step.name, port, stack.lease)
        return False

    def _start(self, stack: Stack, seen: devlook.Seen) -> None:
        assert seen.state is not None
        try:
            if seen.state.status == "paused":
                stack.engine.freeze(seen.step.container, frozen=False)
            else:
                stack.engine.start(seen.step.container)
        except EngineRefused as error:
            raise NotReady(
                f"the engine could not start {seen.step.name} again: {error.message}",
                reference="start-refused",
                remedy=f"podman rm -f {seen.step.container} && invoke dev.bootstrap  # its data are in a volume",
                step=seen.step.name,
            ) from error

    def _create(self, stack: Stack, step: PlannedStep, images: Mapping[str, str]) -> None:
        if step.volume is not None and step.volume[0] not in {one.name for one in stack.engine.volumes()}:
            stack.engine.create_volume(step.volume[0], stack.lease.labels(step.name))
        stack.start(step, images[step.name], follow=self.request.follow)

    def _job(self, dev: DevPlan, stack: Stack, step: PlannedStep, images: Mapping[str, str]) -> None:
        """Run a job where there is something for it to do: a migration that was added, or all of it once."""
        engine, one = stack.engine, dev.migrated(step)
        state = engine.state(step.container)
        if state is not None and state.status == "running":  # of a bootstrap that was killed; it is not torn in half
            stack.adopt(step)
        if one is None:
            if state is None:
                stack.start(step, images[step.name], follow=self.request.follow)
            return
        server = devlook.server_of(one, stack.ports)
        assert server is not None
        files = applied.sql_files(step, one.target)
        seen = applied.compared(files, applied.read(server, step.name, prepare=True))
        if seen.warning:
            self.recorder.note(seen.warning)
        if seen.begun:
            self.recorder.note(
                f"migrations begun before and not finished are run again: {', '.join(seen.begun)}; where half of one is"
                " in the way: invoke dev.cleanup && invoke dev.bootstrap"
            )
        if not seen.pending:
            return
        if state is not None:
            self.recorder.note(f"migrations that were added are applied: {', '.join(seen.pending)}")
            engine.remove(step.container)
        stack.start(applied.recorded(step, one.target, seen.pending), images[step.name], follow=self.request.follow)

    def _ensure_template(self, dev: DevPlan, stack: Stack, held: Lease, images: Mapping[str, str]) -> None:
        wanted = dev.cloned
        if wanted is not None:
            self._template(dev, dev.migrations, wanted.content, stack, held, images)

    def _template(
        self,
        dev: DevPlan,
        jobs: tuple[Migrated, ...],
        content: str,
        stack: Stack,
        held: Lease,
        images: Mapping[str, str],
    ) -> None:
        """Have the template of a content: an empty database, filled by the jobs as they are in the workspace now.

        Never a copy of the migrated one: that has a person's data, and migrations as they were once.
        """
        server = devlook.server_of(jobs[0], stack.ports)
        assert server is not None
        if databases.find_template(server, content) is not None:
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
            databases.seal(server, database, content, held.owner)
        except InfraError:
            beside.engine.remove(f"{DEV}-{_TEMPLATE}-{held.run}")
            databases.drop(server, database)
            raise
        finally:
            beside.sampler.stop()

    def _check(self, stack: Stack) -> None:
        with self.recorder.step("check") as handle:
            stack.look()
            handle.note = "all of them are still there"

    def _images(self, dev: DevPlan, held: Lease) -> Mapping[str, str]:
        logs = self.folder / "logs"
        return Images(held, dev.catalog, self.settings, self.recorder, consumer=DEV, logs=logs).obtain(dev.plan)

    def _test(self, catalog: Catalog) -> None:
        """Run a service's suite in the stack that is up, and leave that as it was."""
        request = self.request
        wanted = make(catalog, self.settings, service=request.service, tier=request.tier, run=request.run)
        dev = plan_dev(catalog, self.settings, run=request.run)
        for_suite(dev, wanted)
        self._begin(wanted)
        cwd = (self.settings.workspace / wanted.suite.cwd).resolve()
        start.check_tools(wanted.suite, cwd, {"PATH": request.path or os.environ.get("PATH", os.defpath)})
        with self._leased(wanted) as held:
            found = devlook.find(held.engine)
            if found is None:
                raise devlook.none_up()
            theirs = plan_dev(catalog, self.settings, run=found.run)
            made = for_suite(theirs, wanted)
            self.ending.kept, self.ending.stack = True, found.run
            with lock.alone(lease_names.USERS):
                lease_names.use(held.run, found.run)
            stack = Stack(plan=made, lease=held, recorder=self.recorder)
            held.unswept.set()
            with self._left_up(stack):
                ports.check_free(replace(made, steps=()), held.engine)
                for step in made.steps:
                    with self.recorder.step(step.name) as handle:
                        seen = devlook.see(held.engine, step)
                        if seen.why is not None:
                            raise devlook.unusable(seen)
                        handle.polls, handle.note = stack.adopt(step), "was up"
                self._template_for(theirs, wanted, stack, held)
                self._consume(replace(self._ready(stack, found.run), lent=True), "suite")

    def _template_for(self, theirs: DevPlan, wanted: Plan, stack: Stack, held: Lease) -> None:
        """Have the template that the suite's workers are clones of, by its own jobs; on another branch it is another."""
        if wanted.cloned is None:
            return
        jobs = tuple(
            replace(known, job=step)
            for step in wanted.steps
            for known in theirs.migrations
            if step.kind == "job" and step.name == known.job.name
        )
        subnet = held.engine.subnet(theirs.plan.network)
        if jobs and subnet is not None:
            stack.addresses = addresses(subnet, [step.name for step in theirs.plan.steps])
            beside = replace(stack.plan, network=theirs.plan.network)
            other = Stack(plan=beside, lease=held, recorder=self.recorder, ports=stack.ports)
            other.addresses = stack.addresses
            images = _Late(lambda: self._images(replace(theirs, plan=wanted), held))
            self._template(theirs, jobs, wanted.cloned.content, other, held, images)


class _Late(Mapping[str, str]):
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


def lasting(settings: Settings) -> Path:
    """Return where the configuration of a private engine stays that restarts the stack's components."""
    return settings.root / ".infra" / "dev"


def taken(step: str, port: int, lease: Lease) -> NotReady:
    """Return the error for a port that somebody else has: it may well be a database that is to stay."""
    found = ports.holder(port, lease.engine)
    return NotReady(
        f"port {port} is taken by {found.who}",
        reference="port-taken",
        remedy="invoke dev.bootstrap --ports auto  # free ports, which dev.status tells; or end what has it",
        step=step,
        blame="user",
        evidence=(f"127.0.0.1:{port}: address already in use", found.shown),
    )


def _running(seen: devlook.Seen) -> bool:
    return seen.state is not None and seen.state.status == "running"


def _with_data(step: PlannedStep) -> str:
    return ", with its data" if step.volume is not None else ""
