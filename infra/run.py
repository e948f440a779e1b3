"""One run from its plan to its report. Everything alive is a context manager; the removal is registered first.

catalogue -> plan -> engine -> images -> components, each behind its gate -> a last look -> suite -> report -> nothing
left. `infra.up` is the same without the suite, and hands the stack over.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from infra import cache, disks, isolation, labels, lease, lease_names, lock, plan, ports, retry, rundir, scene, sweep
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
from infra.consumer import Consumer, ReadyStack
from infra.doctor import start
from infra.ending import Ending
from infra.engine.transport import NoAnswer
from infra.errors import InfraError, Invalid
from infra.images import Images
from infra.lease import Lease
from infra.plan import Plan
from infra.request import Request
from infra.sampling import near_limit
from infra.settings import Settings
from infra.signals import Interrupts
from infra.stack import Stack
from infra.watch import Recorder

Goal = Literal["suite", "serve", "up", "images"]
UP = "infra.up"
KEEP = "INFRA_KEEP"
_MEANWHILE_S = 10.0


class Run:
    """One run while it goes on; what is learned of its end goes into `ending`."""

    def __init__(
        self,
        settings: Settings,
        request: Request,
        recorder: Recorder,
        interrupts: Interrupts,
        ending: Ending,
        consumer: Consumer,
    ) -> None:
        self.settings = settings
        self.request = request
        self.recorder = recorder
        self.interrupts = interrupts
        self.ending = ending
        self.consumer = consumer
        self.folder = consumer.folder

    def go(self, goal: Goal) -> None:
        """Do the run. Raises what ends it."""
        catalog = load(self.settings.catalog)
        request = self.request
        made = plan.make(
            catalog, self.settings, service=request.service, tier=request.tier, run=request.run, ports=request.ports
        )
        self.ending.mask, self.ending.plan = made.mask, made
        self.recorder.watch.run_started(made, rundir.shown(self.folder))
        disks.check_start()
        if goal == "suite":
            cwd = (self.settings.workspace / made.suite.cwd).resolve()
            start.check_tools(made.suite, cwd, {"PATH": self.request.path or os.environ.get("PATH", os.defpath)})
        if not made.steps:
            if goal in ("up", "images"):
                what = f"{made.service} {made.tier} has no stack: there is nothing to start"
                raise Invalid(what, reference="no-stack", remedy=f"invoke infra.up --service {made.service}")
            ports.check_free(made, None)
            with lease.named(made.run):
                self._consume(ReadyStack(plan=made, run=made.run), goal)
            return
        with self._leased(made) as held:
            up = None if request.fresh or goal == "images" else self._stack_that_is_up(held, made)
            if up is not None:
                self._use(held, made, up, goal)
            else:
                self._own(catalog, held, made, goal)

    @contextlib.contextmanager
    def _leased(self, made: Plan) -> Iterator[Lease]:
        """Own the run; end what dead owners have left; say what engine this is."""
        with contextlib.ExitStack() as stack:
            with self.recorder.step("engine") as handle:
                log = self.folder / "logs" / "engine.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(lease.hold(made.run, made.service, made.tier, log, secrets=made.secrets))
                self._note_swept(sweep.sweep_runs(held.engine))
                handle.note = f"Podman {held.version}, {held.connection.origin}"
            if held.workarounds:
                self.recorder.note(f"worked around on this host: {'; '.join(held.workarounds)}")
            stack.enter_context(self._meanwhile(held))
            try:
                yield held
            finally:
                with self.interrupts.held():
                    unswept = held.unswept.is_set()
                    stack.close()
                    if unswept and not held.unswept.is_set():
                        self.ending.left = ()
        self.interrupts.check()

    def _note_swept(self, swept: tuple[str, ...]) -> None:
        if swept:
            self.recorder.note(f"swept what dead runs had left: {', '.join(swept)}")

    @contextlib.contextmanager
    def _meanwhile(self, held: Lease) -> Iterator[None]:
        """While the run goes on, do what nothing in it waits for: ask for facts (0.3 s), and drop what nobody owns."""

        def work() -> None:
            with contextlib.suppress(InfraError):
                self.ending.engine = held.facts()
                self._note_swept(sweep.sweep_orphans(held.engine.clone()))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(_MEANWHILE_S)

    def _own(self, catalog: Catalog, held: Lease, made: Plan, goal: Goal) -> None:
        if goal != "images":
            ports.check_free(made, held.engine)
        for text in start.notes(made, remote=held.connection.remote):
            self.recorder.note(text)
        with self._stack(held, made) as stack:
            stack.make_network()
            had = Images(held, catalog, self.settings, self.recorder, consumer=made.service, logs=self.folder / "logs")
            images = had.obtain(made)
            self.ending.images = had.used()
            if goal == "images":
                return
            for step in made.steps:
                stack.start(step, images[step.name], follow=self.request.follow)
                if made.cloned is not None and made.cloned.after == step.name:
                    self._template(stack)
            with self.recorder.step("check") as handle:
                stack.look()
                handle.note = "all of them are still there"
            if goal == "up":
                if made.cloned is not None:
                    with self.recorder.step("workers") as handle:
                        isolation.make_for_person(made, stack.ports, made.run, held.owner)
                        handle.note = f"{made.worker_count}, each with {made.worker_has}"
                self._hand_over(stack, UP)
            else:
                self._consume(self._ready(stack, made.run), goal)

    def _consume(self, ready: ReadyStack, goal: Goal) -> None:
        try:
            if goal == "serve":
                self.consumer.serve(ready)
            else:
                self.consumer.suite(ready)
        finally:
            self.consumer.note_away(ready)

    def _ready(self, stack: Stack, run: str) -> ReadyStack:
        return ReadyStack(
            plan=stack.plan, run=run, ports=stack.ports, lease=stack.lease, look=stack.look, explain=stack.inquiry.suite
        )

    def _begin_use(self, stack: Stack, up: str) -> str:
        """Write down that this run uses a stack; who is alone in it gives it a clean slate. Return which, in words."""
        with lock.alone(lease_names.USERS):
            others = lease_names.users_of(up)
            lease_names.use(stack.plan.run, up)
            if others:
                return "was up; not flushed: another suite uses it"
            stack.reset()
            return "was up, flushed"

    def _template(self, stack: Stack) -> None:
        """Make the template of workers' databases now: nobody is connected to the migrated one yet."""
        with self.recorder.step("template") as handle:
            handle.note = isolation.make_template(stack.plan, stack.ports, stack.lease.owner) or ""

    @contextlib.contextmanager
    def _stack(self, held: Lease, made: Plan) -> Iterator[Stack]:
        """A stack whose removal is registered before anything of it exists."""
        stack = Stack(plan=made, lease=held, recorder=self.recorder)
        error: BaseException | None = None
        with self.interrupts.held():
            try:
                with self.interrupts.raised():
                    yield stack
            except BaseException as raised:
                error = raised
                if isinstance(raised, InfraError):  # before a teardown that may fail, too
                    self.recorder.name(raised)
                raise
            finally:
                self._end(stack, error)

    def _end(self, stack: Stack, error: BaseException | None) -> None:
        """Evidence, then the sweep, or the marker where the stack is kept. Its own error never hides the first."""
        self._note_resources(stack)
        if self.ending.kept:
            return
        try:
            self._tear_down(stack, error)
        except InfraError as failed:
            if error is None and isinstance(failed, NoAnswer):
                raise
        except Exception as failed:
            if error is None:
                raise
            self.recorder.note(f"the teardown failed: {type(failed).__name__}: {failed}")

    def _note_resources(self, stack: Stack) -> None:
        """Sample no more, and keep what was seen; a person hears of what came near its limit."""
        self.ending.resources = stack.sampler.stop()
        for said in filter(None, map(near_limit, self.ending.resources)):
            self.recorder.note(said)

    def _tear_down(self, stack: Stack, error: BaseException | None) -> None:
        with self.recorder.step("teardown") as handle:
            engine, made = stack.engine, stack.plan
            self.ending.left = (f"run {made.run}: the engine does not answer; {lease.WHO_SWEEPS}",)
            names = [(step.name, step.container) for step in made.steps]
            self.ending.scene = scene.save(stack, names, self.folder, failed=error is not None)
            if self.settings.keep and isinstance(error, InfraError) and not self._goes_again(error):
                self._hand_over(stack, KEEP)
                handle.note = f"kept (INFRA_KEEP=1); look: invoke infra.logs --run {made.run}"
                self.recorder.note(f"remove it: invoke infra.down --run {made.run}")
                self.ending.left = ()
                return
            stack.drain(self.interrupts.hurry)
            self.ending.left = sweep.sweep_run(engine, made.run, min(stack.lease.builds, default=None))
            stack.lease.unswept.clear()
            if stack.lease.builds:  # what builds nothing makes the cache no larger, and to list it takes a while
                with contextlib.suppress(InfraError):
                    cache.drop(engine)

    def _goes_again(self, error: InfraError) -> bool:
        """Whether another attempt follows, which needs the ports."""
        return self.request.may_go_again and retry.why_not(error, self.consumer.failed_tests) is None

    def _hand_over(self, stack: Stack, reason: str) -> None:
        """Mark the run as handed to a person: from here on only `infra.down` and `infra.gc --run` end it."""
        with self.interrupts.held():
            marks = stack.lease.labels() | {labels.KEPT: reason}
            rundir.hand_over(self.folder)
            stack.engine.create_volume(sweep.marker(stack.plan.run), marks)
            self.ending.kept = True
            stack.lease.unswept.clear()
        with contextlib.suppress(InfraError):
            if len(stack.started) == len(stack.plan.steps):  # a stack that is not whole has no environment to tell
                each = isolation.person(stack.plan, stack.ports, stack.plan.run)
                self.consumer.write_env(self._ready(stack, stack.plan.run), each)

    def _stack_that_is_up(self, held: Lease, made: Plan) -> sweep.FoundRun | None:
        what = (made.service, made.tier)
        found = [run for run in sweep.runs(held.engine) if run.kept == UP and (run.service, run.tier) == what]
        return found[-1] if found else None

    def _use(self, held: Lease, made: Plan, up: sweep.FoundRun, goal: Goal) -> None:
        """Use a stack that a person has up, and leave it up; or just see that it is up."""
        self.ending.kept, self.ending.stack = True, up.run
        said = "is up already" if goal == "up" else "is used, and stays up (--fresh starts a stack of its own)"
        self.recorder.note(f"run {up.run} of {made.service} {made.tier} {said}")
        theirs = [replace(step, container=f"{made.service}-{step.name}-{up.run}") for step in made.steps]
        made = replace(made, steps=tuple(theirs))
        stack = Stack(plan=made, lease=held, recorder=self.recorder)
        error: BaseException | None = None
        try:
            flushed = "was up"
            if goal != "up":
                ports.check_free(replace(made, steps=()), held.engine)
                flushed = self._begin_use(stack, up.run)
            for step in made.steps:
                with self.recorder.step(step.name) as handle:
                    handle.polls = stack.adopt(step)
                    handle.note = flushed if step.on_reuse is not None else "was up"
            if goal != "up":
                self._consume(self._ready(stack, up.run), goal)
        except BaseException as raised:
            error = raised
            raise
        finally:
            with self.interrupts.held():
                self._note_resources(stack)
                names = [(step.name, step.container) for step in stack.started]
                self.ending.scene = scene.save(stack, names, self.folder, failed=error is not None)
                try:
                    self.ending.left = sweep.sweep_run(held.engine, made.run)
                except InfraError:
                    if error is None:
                        raise
