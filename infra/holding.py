"""What every run does with what it holds: the lease, a stack, the evidence of its end, and handing it over.

Everything alive is a context manager; the removal is registered first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from infra import cache, isolation, kept, labels, lease, retry, scene, sweep
from infra.consumer import Consumer, ReadyStack
from infra.ending import Ending
from infra.engine.transport import NoAnswer
from infra.errors import InfraError
from infra.lease import Lease
from infra.plan import Plan
from infra.request import Request
from infra.sampling import near_limit
from infra.settings import Settings
from infra.signals import Interrupts
from infra.stack import Stack
from infra.watch import Recorder

Goal = Literal["suite", "serve", "up", "images", "dev", "dev-test"]
KEEP = "INFRA_KEEP"
_MEANWHILE_S = 10.0


class Holding:
    """A run while it goes on; what is learned of its end goes into `ending`."""

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

    @property
    def lasting(self) -> Path | None:
        """Where the configuration of a private engine stays, for containers that outlive the run."""
        return None

    @property
    def keeps(self) -> bool:
        """Whether a stack that has failed is left up for a person."""
        return self.settings.keep

    @contextlib.contextmanager
    def _leased(self, made: Plan) -> Iterator[Lease]:
        """Own the run; end what dead owners have left; say what engine this is."""
        with contextlib.ExitStack() as stack:
            with self.recorder.step("engine") as handle:
                log = self.folder / "logs" / "engine.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(
                    lease.hold(
                        made.run,
                        made.service,
                        made.tier,
                        log,
                        secrets=made.secrets,
                        lasting=self.lasting,
                        root=self.settings.root,
                    )
                )
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

    @contextlib.contextmanager
    def _left_up(self, stack: Stack) -> Iterator[None]:
        """Use a stack that stays: its evidence at the end, and the removal of what this run alone has made."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            with self.interrupts.held():
                self._note_resources(stack)
                names = [(step.name, step.container) for step in stack.started]
                self.ending.scene = scene.save(stack, names, self.folder, failed=error is not None)
                try:
                    self.ending.left = sweep.sweep_run(stack.engine, str(self.request.run))
                    stack.lease.unswept.clear()
                except InfraError:
                    if error is None:
                        raise

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
            if self.keeps and isinstance(error, InfraError) and not self._goes_again(error):
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
            kept.hand_over(stack.engine, self.settings.runs / stack.plan.run, stack.plan.run, marks)
            self.ending.kept = True
            stack.lease.unswept.clear()
        with contextlib.suppress(InfraError):
            if len(stack.started) == len(stack.plan.steps):  # a stack that is not whole has no environment to tell
                each = isolation.person(stack.plan, stack.ports, stack.plan.run)
                self.consumer.write_env(self._ready(stack, stack.plan.run), each)
