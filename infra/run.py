"""One run from its plan to its report. Everything alive is a context manager; the removal is registered first.

catalogue -> plan -> engine -> images -> components, each behind its gate -> a last look -> suite -> report -> nothing
left. `infra.up` is the same without the suite, and hands the stack over.
"""

from __future__ import annotations

import os
from dataclasses import replace

from infra import disks, isolation, lease, lease_names, lock, plan, ports, rundir, sweep
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
from infra.consumer import ReadyStack
from infra.doctor import start
from infra.errors import Invalid
from infra.holding import Goal, Holding
from infra.images import Images
from infra.lease import Lease
from infra.plan import Plan
from infra.stack import Stack

UP = "infra.up"


class Run(Holding):
    """One run of a service and tier."""

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

    def _stack_that_is_up(self, held: Lease, made: Plan) -> sweep.FoundRun | None:
        what = (made.service, made.tier, str(self.settings.root))
        found = [one for one in sweep.runs(held.engine) if one.kept == UP and (one.service, one.tier, one.root) == what]
        return found[-1] if found else None

    def _use(self, held: Lease, made: Plan, up: sweep.FoundRun, goal: Goal) -> None:
        """Use a stack that a person has up, and leave it up; or just see that it is up."""
        self.ending.kept, self.ending.stack = True, up.run
        said = "is up already" if goal == "up" else "is used, and stays up (--fresh starts a stack of its own)"
        self.recorder.note(f"run {up.run} of {made.service} {made.tier} {said}")
        theirs = [replace(step, container=f"{made.service}-{step.name}-{up.run}") for step in made.steps]
        made = replace(made, steps=tuple(theirs))
        stack = Stack(plan=made, lease=held, recorder=self.recorder)
        with self._left_up(stack):
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
