"""The development stack, brought up, and brought back with its data.

It is a run like others, handed over with the reason `dev.bootstrap`: labels are all that tells of it. What a container
was made of may change, be removed or lost in a reboot; its data are in a volume of the run, and it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from infra import applied, devlook, kept, labels, lock, ports
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
from infra.clearing import has_volume, take_down, taken, with_data
from infra.devlook import Seen
from infra.devplan import DevPlan, plan_dev
from infra.devstack import BOOTSTRAP, LOCK, busy, goes_on
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.errors import NotReady
from infra.holding import Goal
from infra.lasting import Lasting, Late
from infra.lease import Lease
from infra.plan import PlannedStep
from infra.readiness import until
from infra.stack import Stack, addresses
from infra.sweep import FoundRun

_LET_GO_S = 2.0
_MOMENT_S = 5.0
_PORT_TAKEN = "on a taken port"


class Development(Lasting):
    """A run that has the development stack ready."""

    _cleared: frozenset[str] = frozenset()

    def go(self, goal: Goal) -> None:
        """Do it. Raises what ends it."""
        catalog = load(self.settings.catalog)
        with lock.turn(LOCK, lambda pid: self.recorder.note(f"{goes_on(pid)}: waiting for it"), busy):
            dev = plan_dev(catalog, self.settings, run=self.request.run, ports=self.request.ports)
            self.begin(dev.plan)
            with self._leased(dev.plan) as held:
                found = devlook.find(held.engine, self.settings.root)
                if found is None:
                    self._make(dev, held)
                else:
                    self._bring_back(catalog, dev, held, found)

    @property
    def keeps(self) -> bool:
        """What cannot be brought up is removed: its data have a reason to stay only once it is up."""
        return False

    def _make(self, dev: DevPlan, held: Lease) -> None:
        for step in dev.plan.steps:
            for port in step.ports:
                if port.host is not None and not ports.is_free(port.host):
                    raise taken(step.name, port.host, held)
        with self._stack(held, dev.plan) as stack:
            stack.make_network()
            images = self.images(dev, held)
            for step in dev.plan.steps:
                if step.kind == "service":
                    self._create(stack, step, images)
                else:
                    self._job(dev, stack, step, images)
            self.ensure_template(dev, stack, held, images)
            self._check(stack)
            self._hand_over(stack, BOOTSTRAP)

    def _bring_back(self, catalog: Catalog, dev: DevPlan, held: Lease, found: FoundRun) -> None:
        """Have a stack that was up ready again; what fails leaves all else as it is, and all data."""
        self.ending.kept, self.ending.stack = True, found.run
        theirs = plan_dev(catalog, self.settings, run=found.run, ports=self.request.ports)
        stack = Stack(plan=theirs.plan, lease=replace(held, run=found.run), recorder=self.recorder)
        stack.volumes = frozenset(one.name for one in held.engine.volumes({labels.RUN: found.run}))
        # Again, where somebody has pruned volumes or removed .infra: nothing else keeps a sweep from it.
        marks = stack.lease.labels() | {labels.KEPT: BOOTSTRAP}
        kept.hand_over(held.engine, self.settings.runs / found.run, found.run, marks)
        _refuse_to_lose(held.engine, theirs)
        held.unswept.set()  # a job may be started beside it
        images = Late(lambda: self.images(dev, held))
        with self._left_up(stack):
            subnet = held.engine.subnet(theirs.plan.network)
            if subnet is None:
                stack.make_network()
            else:
                stack.addresses = addresses(subnet, [step.name for step in theirs.plan.steps])
            self._clear(stack, theirs, images)
            for step in theirs.plan.steps:
                if step.kind == "service":
                    self._back(stack, step, images)
                else:
                    self._job(theirs, stack, step, images)
            self.ensure_template(theirs, stack, held, images)
            self._check(stack)

    def _clear(self, stack: Stack, dev: DevPlan, images: Mapping[str, str]) -> None:
        """Remove what is declared otherwise by now, or not any more: all of it first, as addresses may have changed."""
        seen = [devlook.see(stack.engine, step) for step in dev.services]
        old = [one for one in seen if one.why == devlook.OTHERWISE]
        take_down(stack, old, images, devlook.dropped(stack.engine, dev))
        self._cleared = frozenset(one.step.name for one in old)

    def _back(self, stack: Stack, step: PlannedStep, images: Mapping[str, str]) -> None:
        """Have one component ready: as it is, started again, or made anew with its data."""
        engine, seen = stack.engine, self._in_its_time(stack.engine, step)
        if seen.crashes:
            self.recorder.note(seen.crashes)
        if _is_stopped(seen) and self._should_move(stack, seen):
            seen = replace(seen, why=_PORT_TAKEN)
        if seen.state is None:
            if step.name not in self._cleared:
                self.recorder.note(f"{step.name} was gone: it is made anew{with_data(engine, step)}")
            self._create(stack, step, images)
        elif seen.hangs or seen.why in (devlook.LOST, _PORT_TAKEN):
            take_down(stack, [seen], images)
            self._create(stack, step, images)
        else:
            with self.recorder.step(step.name) as handle:
                handle.note = "was up"
                if not _running(seen):
                    handle.note = f"was {seen.why}: started again"
                    self._start(stack, seen)
                handle.polls = stack.adopt(step)

    def _in_its_time(self, engine: Engine, step: PlannedStep) -> Seen:
        """Look at a component. One that gives no answer has the time of its gate from its start on, and a moment."""
        seen = devlook.see(engine, step)
        if not seen.hangs or seen.state is None or seen.state.started is None:
            return seen
        left_s = step.ready.timeout - (datetime.now(UTC) - seen.state.started).total_seconds()
        if left_s > _MOMENT_S:
            self.recorder.note(
                f"{step.name} was started a moment ago and is {seen.why}: it has {left_s:.0f} s to answer"
            )

        def hangs() -> str | None:
            nonlocal seen
            seen = devlook.see(engine, step)
            return seen.why if seen.hangs else None

        until(hangs, max(left_s, _MOMENT_S))
        return seen

    def _should_move(self, stack: Stack, seen: Seen) -> bool:
        """Whether its port is somebody else's by now and other ports are allowed. Raises where they are not."""
        for port in seen.ports.values():
            if not ports.is_free(port):
                if self.request.ports == "auto":
                    return True
                raise taken(seen.step.name, port, stack.lease)
        return False

    def _start(self, stack: Stack, seen: Seen) -> None:
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
        for port in step.ports:
            # What was just removed lets go of its port a moment later.
            if port.host is not None and until(_still_taken(port.host), _LET_GO_S) is not None:
                raise taken(step.name, port.host, stack.lease)
        if step.volume is not None and not has_volume(stack.engine, step):
            name, data = step.volume
            marks = {labels.KEPT: BOOTSTRAP, labels.DATA: data}
            stack.engine.create_volume(name, stack.lease.labels(step.name) | marks)
        stack.start(step, images[step.name], follow=self.request.follow)

    def _job(self, dev: DevPlan, stack: Stack, step: PlannedStep, images: Mapping[str, str]) -> None:
        """Run a job where there is something for it to do: a migration that was added, or all of it once."""
        engine, one = stack.engine, dev.migrated(step)
        state = engine.state(step.container)
        if state is not None and state.status == "running":  # of a bootstrap that was killed; it is not torn in half
            stack.adopt(replace(step, declared=state.labels.get(labels.DECLARED, "")))
            state = engine.state(step.container)
        if one is None:
            if (why := devlook.undone(step, state)) is not None:
                if state is not None:
                    self.recorder.note(f"{step.name} was {why}: it is run again")
                self._run(stack, step, images)
            return
        server = devlook.server_of(one, stack.ports)
        assert server is not None
        files = applied.sql_files(step, one.target)
        seen = applied.compared(files, applied.read(server, step.name, prepare=True).rows)
        if seen.warning:
            self.recorder.note(seen.warning)
        if seen.begun:
            self.recorder.note(
                f"migrations begun before and not finished are run again: {', '.join(seen.begun)}; where half of one is"
                " in the way, start afresh, without your data: invoke dev.cleanup && invoke dev.bootstrap"
            )
        if not seen.pending:
            return
        if state is not None:
            self.recorder.note(f"migrations that were added are applied: {', '.join(seen.pending)}")
        self._run(stack, applied.recorded(step, one.target, seen.pending), images)

    def _run(self, stack: Stack, job: PlannedStep, images: Mapping[str, str]) -> None:
        image = images[job.name]  # before what its last container has told goes
        stack.engine.remove(job.container)
        stack.start(job, image, follow=self.request.follow)

    def _check(self, stack: Stack) -> None:
        with self.recorder.step("check") as handle:
            stack.look()
            handle.note = "all of them are still there"


def _still_taken(port: int) -> Callable[[], str | None]:
    return lambda: None if ports.is_free(port) else "taken"


def _running(seen: Seen) -> bool:
    return seen.state is not None and seen.state.status == "running"


def _is_stopped(seen: Seen) -> bool:
    """Whether it is there and has no port: what is frozen has its own still."""
    return seen.state is not None and seen.state.status not in ("running", "paused")


def _refuse_to_lose(engine: Engine, dev: DevPlan) -> None:
    """Raise `NotReady` where data are in a volume that is declared for another folder by now, or for none."""
    for step in dev.services:
        if (before := devlook.moved(engine, step)) is not None:
            raise devlook.data_moved(step, before)
