"""One run from its plan to its report. Everything alive is a context manager; the removal is registered first.

catalogue -> plan -> engine -> images -> components, each behind its gate -> a last look -> suite -> report -> nothing
left. `infra.up` is the same without the suite, and hands the stack over.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from infra import cache, evidence, labels, lease, plan, ports, processes, rundir, signals, suites, sweep
from infra.catalog.loading import Catalog, load
from infra.engine.transport import NoAnswer
from infra.errors import InfraError, Invalid
from infra.images import Images
from infra.lease import Lease
from infra.placeholders import render
from infra.plan import Plan
from infra.report import EngineFacts, SuiteResult
from infra.reporters.files import traceparent
from infra.request import Request
from infra.settings import Settings
from infra.signals import Interrupts
from infra.stack import Stack
from infra.suites import SuiteRun
from infra.watch import Recorder

Goal = Literal["suite", "up", "images"]
UP = "infra.up"
KEEP = "INFRA_KEEP"
_MEANWHILE_S = 10.0


@dataclass
class Ending:
    """What is known of a run's end while it is still going on."""

    engine: EngineFacts | None = None
    suite: SuiteResult | None = None
    left: tuple[str, ...] = ()
    kept: bool = False
    stack: str | None = None
    mask: Callable[[str], str] = field(default=str)


class Run:
    """One run while it goes on; what is learned of its end goes into `ending`."""

    def __init__(
        self,
        settings: Settings,
        request: Request,
        recorder: Recorder,
        interrupts: Interrupts,
        ending: Ending,
        folder: Path,
    ) -> None:
        self.settings = settings
        self.request = request
        self.recorder = recorder
        self.interrupts = interrupts
        self.ending = ending
        self.folder = folder

    def go(self, goal: Goal) -> None:
        """Do the run. Raises what ends it."""
        catalog = load(self.settings.catalog)
        request = self.request
        made = plan.make(
            catalog, self.settings, service=request.service, tier=request.tier, run=request.run, ports=request.ports
        )
        self.ending.mask = made.mask
        self.recorder.watch.run_started(made, rundir.shown(self.folder))
        if not made.steps:
            if goal != "suite":
                what = f"{made.service} {made.tier} has no stack: there is nothing to start"
                raise Invalid(what, reference="no-stack", remedy="--tier integration")
            with lease.named(made.run):
                self._suite(made, {}, None, lambda: None)
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
                held = stack.enter_context(lease.hold(made.run, made.service, made.tier, log))
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
        with self._stack(held, made) as stack:
            stack.make_network()
            images = Images(
                held, catalog, self.settings, self.recorder, consumer=made.service, logs=self.folder / "logs"
            ).obtain(made)
            if goal == "images":
                return
            for step in made.steps:
                stack.start(step, images[step.name], follow=self.request.follow)
            with self.recorder.step("check") as handle:
                stack.look()
                handle.note = "all of them are still there"
            if goal == "up":
                self._hand_over(stack, UP)
            else:
                self._suite(made, stack.ports, held, stack.look)

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
                raise
            finally:
                self._end(stack, error)

    def _end(self, stack: Stack, error: BaseException | None) -> None:
        """Evidence, then the sweep, or the marker where the stack is kept. Its own error never hides the first."""
        if self.ending.kept:
            return
        try:
            self._tear_down(stack, error)
        except InfraError as failed:
            if error is None and isinstance(failed, NoAnswer):
                raise

    def _tear_down(self, stack: Stack, error: BaseException | None) -> None:
        with self.recorder.step("teardown") as handle:
            engine, made = stack.engine, stack.plan
            self.ending.left = (f"run {made.run}: the engine does not answer; {lease.WHO_SWEEPS}",)
            names = [(step.name, step.container) for step in made.steps]
            if not engine.silent:
                evidence.collect(engine, made, names, self.folder, failed=error is not None)
            if self.settings.keep and isinstance(error, InfraError):
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

    def _hand_over(self, stack: Stack, reason: str) -> None:
        """Mark the run as handed to a person: from here on only `infra.down` and `infra.gc --run` end it."""
        with self.interrupts.held():
            marks = stack.lease.labels() | {labels.KEPT: reason}
            rundir.hand_over(self.folder)
            stack.engine.create_volume(sweep.marker(stack.plan.run), marks)
            self.ending.kept = True
            stack.lease.unswept.clear()
        self._write_env(stack.plan, stack.ports)

    def _stack_that_is_up(self, held: Lease, made: Plan) -> sweep.FoundRun | None:
        what = (made.service, made.tier)
        found = [run for run in sweep.runs(held.engine) if run.kept == UP and (run.service, run.tier) == what]
        return found[-1] if found else None

    def _use(self, held: Lease, made: Plan, up: sweep.FoundRun, goal: Goal) -> None:
        """Run the suite against a stack that a person has up, and leave it up; or just see that it is up."""
        self.ending.kept, self.ending.stack = True, up.run
        said = "is up already" if goal == "up" else "is used, and stays up (--fresh starts a stack of its own)"
        self.recorder.note(f"run {up.run} of {made.service} {made.tier} {said}")
        stack = Stack(plan=made, lease=held, recorder=self.recorder)
        error: BaseException | None = None
        try:
            for planned in made.steps:
                step = replace(planned, container=f"{made.service}-{planned.name}-{up.run}")
                with self.recorder.step(step.name) as handle:
                    handle.polls = stack.adopt(step)
                    handle.note = "was up"
                    if goal == "suite":
                        stack.reset(step)
            if goal == "suite":
                self._suite(made, stack.ports, held, stack.look)
        except BaseException as raised:
            error = raised
            raise
        finally:
            with self.interrupts.held():
                if not held.engine.silent:
                    names = [(step.name, step.container) for step in stack.started]
                    evidence.collect(held.engine, made, names, self.folder, failed=error is not None)
                try:
                    self.ending.left = sweep.sweep_run(held.engine, made.run)
                except InfraError:
                    if error is None:
                        raise

    def _given(self, made: Plan, numbers: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
        """Return what a suite gets beside the host's environment."""
        return {
            **made.suite_env(numbers, str(self.folder)),
            "INFRA_RUN": made.run,
            "INFRA_SERVICE": made.service,
            "INFRA_RUN_DIR": str(self.folder),
            "TRACEPARENT": traceparent(made.run, "suite"),
        }

    def _write_env(self, made: Plan, numbers: Mapping[str, Mapping[str, int]]) -> None:
        text = made.mask(rundir.dotenv(self._given(made, numbers)))
        (self.folder / "env").write_text(text, encoding="utf-8")

    def _suite(
        self, made: Plan, numbers: Mapping[str, Mapping[str, int]], held: Lease | None, look: Callable[[], None]
    ) -> None:
        self._write_env(made, numbers)
        values = made.suite_values(numbers, str(self.folder))
        cwd = (self.settings.workspace / made.suite.cwd).resolve()
        suite = SuiteRun(
            spec=made.suite.suite,
            args=self.request.args,
            cwd=cwd,
            env=self._environment(made, numbers, held, cwd),
            logs=self.folder / "logs",
            on_line=self.recorder.watch.suite_line,
            look=look,
            interrupts=self.interrupts,
            mask=made.mask,
        )
        for step in made.suite.before:
            with self.recorder.step(step.name):
                suites.run_step(suite, step, tuple(render(word, values) for word in step.command))
        with self.recorder.step("suite") as handle:
            result, error = suites.run(suite)
            self.ending.suite = result
            if result is not None:
                handle.note = result.sentence()
            if error is not None:
                raise error

    def _environment(
        self, made: Plan, numbers: Mapping[str, Mapping[str, int]], held: Lease | None, cwd: Path
    ) -> dict[str, str]:
        base = {**os.environ, "PATH": self.request.path or os.environ.get("PATH", os.defpath)}
        base.pop(signals.PARENT_PIPE, None)
        owner = held.owner if held else labels.Owner.of(os.getpid())
        marks = processes.environment(made.run, owner, "suite")
        given = self._given(made, numbers) | marks
        return suites.environment(base, given=given, path=made.suite.path, unset=made.suite.unset, cwd=cwd)
