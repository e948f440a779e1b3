"""The development stack lent to a suite: it runs at once, its workers are alone, and the stack is left as it was."""

from __future__ import annotations

import os
from dataclasses import replace

from infra import devlook, lease_names, ports
from infra.catalog.declared import Catalog
from infra.catalog.loading import load
from infra.devplan import DevPlan, for_suite, plan_dev
from infra.doctor import start
from infra.holding import Goal
from infra.lasting import Lasting, Late
from infra.lease import Lease
from infra.plan import Plan, make
from infra.stack import Stack, addresses


class Lending(Lasting):
    """A run that has its suite in the development stack."""

    def go(self, goal: Goal) -> None:
        """Do it. Raises what ends it."""
        self._test(load(self.settings.catalog), goal)

    def _test(self, catalog: Catalog, goal: Goal) -> None:
        """Run a service's suite in the stack that is up, and leave that as it was."""
        request = self.request
        wanted = make(catalog, self.settings, service=request.service, tier=request.tier, run=request.run)
        dev = plan_dev(catalog, self.settings, run=request.run)
        for_suite(dev, wanted)
        self.begin(wanted)
        cwd = (self.settings.workspace / wanted.suite.cwd).resolve()
        start.check_tools(wanted.suite, cwd, {"PATH": request.path or os.environ.get("PATH", os.defpath)})
        with self._leased(wanted) as held:
            found = devlook.find(held.engine, self.settings.root)
            if found is None:
                raise devlook.none_up()
            theirs = plan_dev(catalog, self.settings, run=found.run)
            made = for_suite(theirs, wanted)
            self.ending.kept, self.ending.stack = True, found.run
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
                self._consume(replace(self._ready(stack, found.run), lent=True), goal)

    def _template_for(self, theirs: DevPlan, wanted: Plan, stack: Stack, held: Lease) -> None:
        """Have the template that the suite's workers are clones of, made by its own jobs: each branch's is another."""
        if wanted.cloned is None:
            return
        jobs = tuple(
            replace(known, job=step)
            for step in wanted.steps
            for known in theirs.migrations
            if step.kind == "job" and step.name == known.job.name
        )
        if subnet := held.engine.subnet(theirs.plan.network):
            stack.addresses = addresses(subnet, [step.name for step in theirs.plan.steps])
        beside = replace(stack.plan, network=theirs.plan.network)
        other = Stack(plan=beside, lease=held, recorder=self.recorder, ports=stack.ports)
        other.addresses = stack.addresses
        images = Late(lambda: self.images(replace(theirs, plan=wanted), held))
        self.template(theirs, jobs, wanted.cloned, other, held, images)
