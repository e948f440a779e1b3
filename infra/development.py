"""The development stack, brought up, and brought back with its data.

It is a run like others, handed over with the reason `dev.bootstrap`: labels are all that tells of it. What a container
was made of may change, be removed or lost in a reboot; its data are in a volume of the run, and it is made anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from infra import applied, devlook, kept, labels, lease_names, lock, ports
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
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
from infra.stack import DEFAULT_GRACE_S, Stack, addresses, stop
from infra.sweep import FoundRun

_LET_GO_S = 2.0


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
        """Have a stack that was up ready again; what fails leaves it as it is, with its data."""
        self.ending.kept, self.ending.stack = True, found.run
        theirs = plan_dev(catalog, self.settings, run=found.run, ports=self.request.ports)
        stack = Stack(plan=theirs.plan, lease=replace(held, run=found.run), recorder=self.recorder)
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
            self._clear(stack, theirs)
            for step in theirs.plan.steps:
                if step.kind == "service":
                    self._back(stack, step, images)
                else:
                    self._job(theirs, stack, step, images)
            self.ensure_template(theirs, stack, held, images)
            self._check(stack)

    def _clear(self, stack: Stack, dev: DevPlan) -> None:
        """Remove what is declared otherwise by now, or not any more: all of it first, as addresses may have changed.

        Nothing is removed where somebody else has a port that is declared by now, or a suite goes on in the stack.
        """
        engine = stack.engine
        seen = [devlook.see(engine, step) for step in dev.services]
        old = [one for one in seen if one.why == devlook.OTHERWISE]
        dropped = devlook.dropped(engine, dev)
        own = {port for one in old for port in one.ports.values()}
        for one in old:
            for port in one.step.ports:
                if port.host is not None and port.host not in own and not ports.is_free(port.host):
                    raise taken(one.step.name, port.host, stack.lease)
        with lock.alone(lease_names.USERS):
            if dropped or any(one.state is not None and not one.state.dead for one in old):
                lease_names.refuse_used(stack.plan.run)
            for one in old:
                data = _with_data(engine, one.step)
                self.recorder.note(f"{one.step.name} was {devlook.OTHERWISE}: it is made anew{data}")
            for name in dropped:
                self.recorder.note(f"{name} is not declared any more: it is removed; its data stay until dev.cleanup")
            for one in old:
                if one.state is not None and one.state.status == "paused":  # what is frozen ends with no grace
                    engine.freeze(one.step.container, frozen=False)
            for name in (*dropped, *(one.step.container for one in reversed(old))):
                stop(engine, name, DEFAULT_GRACE_S)
                _remove(engine, name)
        self._cleared = frozenset(one.step.name for one in old)

    def _back(self, stack: Stack, step: PlannedStep, images: Mapping[str, str]) -> None:
        """Have one component ready: as it is, started again, or made anew with its data."""
        engine, seen = stack.engine, devlook.see(stack.engine, step)
        state, why = seen.state, seen.why
        if seen.crashes:
            self.recorder.note(seen.crashes)
        moves = _is_stopped(seen) and self._should_move(stack, seen)
        if moves or why == devlook.LOST:
            self.recorder.note(
                f"{step.name} was {'on a taken port' if moves else why}: it is made anew{_with_data(engine, step)}"
            )
            _remove(engine, step.container)
            state = None
        elif state is None and step.name not in self._cleared:
            self.recorder.note(f"{step.name} was gone: it is made anew{_with_data(engine, step)}")
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
        for port in step.ports:
            # What was just removed lets go of its port a moment later.
            if port.host is not None and until(_still_taken(port.host), _LET_GO_S) is not None:
                raise taken(step.name, port.host, stack.lease)
        if step.volume is not None and not _has_volume(stack.engine, step):
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
                    engine.remove(step.container)
                stack.start(step, images[step.name], follow=self.request.follow)
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
            engine.remove(step.container)
        stack.start(applied.recorded(step, one.target, seen.pending), images[step.name], follow=self.request.follow)

    def _check(self, stack: Stack) -> None:
        with self.recorder.step("check") as handle:
            stack.look()
            handle.note = "all of them are still there"


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


def _still_taken(port: int) -> Callable[[], str | None]:
    return lambda: None if ports.is_free(port) else "taken"


def _remove(engine: Engine, container: str) -> None:
    """Remove a container; where its monitor was killed, Podman before 2025 refuses once."""
    with contextlib.suppress(EngineRefused):
        engine.remove(container)
        return
    engine.remove(container)


def _running(seen: devlook.Seen) -> bool:
    return seen.state is not None and seen.state.status == "running"


def _is_stopped(seen: devlook.Seen) -> bool:
    """Whether it is there and has no port: what is frozen has its own still."""
    return seen.state is not None and seen.state.status not in ("running", "paused")


def _with_data(engine: Engine, step: PlannedStep) -> str:
    if step.volume is None:
        return ""
    return ", with its data" if _has_volume(engine, step) else ", with none: there is no volume of its data"


def _has_volume(engine: Engine, step: PlannedStep) -> bool:
    return step.volume is not None and step.volume[0] in {one.name for one in engine.volumes()}


def _refuse_to_lose(engine: Engine, dev: DevPlan) -> None:
    """Raise `NotReady` where data are in a volume that is declared for another folder by now, or for none."""
    places = {one.name: one.labels.get(labels.DATA) for one in engine.volumes({labels.RUN: dev.plan.run})}
    for step in dev.services:
        before, now = places.get(step.container), step.volume[1] if step.volume is not None else None
        if before is not None and before != now:
            raise devlook.data_moved(step.name, before, now)
