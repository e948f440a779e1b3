"""Take a component of a run away, give it back, and wait for it: for suites that test failure.

What is done here is marked before it is done (`away`), so that the run that goes on does not take it for a fault; the
mark goes when the component's gate has passed again, and where the component turns out not to be away: the engine has
refused, or the signal has ended nothing. From then on its death is a fault like any other.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from infra import away, lease_names, plan, ports, probes
from infra.away import SIGNALS, Mark
from infra.catalog.declared import Catalog
from infra.devstack import refuse_to_break
from infra.diagnose import Inquiry
from infra.engine import host
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.engine.types import ContainerState
from infra.errors import Internal, Invalid, NotReady, Unavailable
from infra.labels import Life
from infra.plan import Plan, PlannedStep
from infra.readiness import Gate, until
from infra.settings import Settings
from infra.sweep import FoundRun

For = Literal["ready", "gone"]
FOR: tuple[For, ...] = ("ready", "gone")
_END_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was done to a component, and how it is now. `what` is that in words."""

    component: str
    run: str
    state: str
    ready: bool
    what: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """One component of a stack. `run` is who treats it, None for a person; `stack` is whose container it is."""

    engine: Engine
    made: Plan
    step: PlannedStep
    run: str | None
    stack: str

    def kill(self, signum: str) -> Said:
        """Send a signal and wait until the component has ended. Raises `NotReady` where it does not, or has before."""
        began = time.monotonic()
        state = self._there()
        if state.dead:
            raise self._already(f"has ended already (exit code {state.exit_code})")
        with self._marked() as mark:
            if state.status == "paused" and signum != "KILL":  # what is frozen hears nothing
                self.engine.freeze(self.step.container, frozen=False)
            self._send(signum)
        if until(self._lives, _END_S) is not None:
            away.take([mark])  # a late death shows as a fault then: better than one of any time that shows as none
            raise NotReady(
                f"{self.step.name} runs on {_END_S:g} s after SIG{signum}, and is not taken to be away",
                reference="signal-ignored",
                remedy=f"invoke infra.kill {self._words}",
                step=self.step.name,
                blame="test" if self.run else "user",
                evidence=self._inquiry.log(self.step),
            )
        now = self._there()
        return self._said(f"killed with SIG{signum} (exit code {now.exit_code})", now, began, ready=False)

    def pause(self) -> Said:
        """Freeze the component: it holds its connections, and answers nothing."""
        began = time.monotonic()
        state = self._there()
        if state.dead:
            raise self._already(f"has ended already (exit code {state.exit_code})")
        if state.status == "paused":
            return self._said("was frozen already", state, began, ready=False)
        with self._marked():
            self.engine.freeze(self.step.container, frozen=True)
        return self._said("frozen", self._there(), began, ready=False)

    def start(self) -> Said:
        """Start it, or let it go on, at its address and its ports, and wait for its gate; then it is away no more."""
        began = time.monotonic()
        state = self._there()
        marks = away.marks(self.step.container)
        what = "runs already"
        if state.status == "paused":
            what = "goes on"
            self.engine.freeze(self.step.container, frozen=False)
        elif state.status != "running":
            what = "started"
            self._start(state)
        polls = Gate(inquiry=self._inquiry, step=self.step, ports=self.step.host_ports(self._there().ports)).wait()
        away.take(marks)
        return self._said(f"{what}, ready after {polls} polls", self._there(), began, ready=True)

    def wait(self, what: For, seconds: float) -> Said:
        """Wait until it is ready, or has ended. What is away on purpose may come back; another death ends the wait."""
        began = time.monotonic()
        late = until(self._lives if what == "gone" else self._not_ready, seconds)
        if late is not None:
            raise NotReady(
                f"{self.step.name} is not {what} after {seconds:g} s: {self.made.mask(late)}",
                reference="not-back-in-time" if what == "ready" else "not-gone-in-time",
                remedy=f"invoke {'infra.start' if what == 'ready' else 'infra.kill'} {self._words}",
                step=self.step.name,
                blame="test" if self.run else "user",
                evidence=self._inquiry.log(self.step),
            )
        state = self.engine.state(self.step.container)
        end = "removed" if state is None else f"exit code {state.exit_code}"
        said = "ready" if what == "ready" else f"gone ({end})"
        return self._said(said, state, began, ready=what == "ready")

    @property
    def _inquiry(self) -> Inquiry:
        local = host.serves(self.engine.url)
        started = [step for step in self.made.steps if self.engine.state(step.container) is not None]
        return Inquiry(engine=self.engine, plan=self.made, started=started, ports={}, addresses={}, local=local)

    @property
    def _words(self) -> str:
        return f"--component {self.step.name} --run {self.stack}"

    def _there(self) -> ContainerState:
        state = self.engine.state(self.step.container)
        if state is None:
            raise self._inquiry.gone(self.step)
        return state

    @contextlib.contextmanager
    def _marked(self) -> Iterator[Mark]:
        """Have it marked as away before the block does that; not any more where the engine refuses and it runs on."""
        mark = self._mark()
        try:
            yield mark
        except EngineRefused:
            state = self.engine.state(self.step.container)
            if state is not None and state.status == "running":
                away.withdraw(mark)
            raise

    def _mark(self) -> Mark:
        """Mark it where whoever watches the stack looks: a person in the folders of the runs that have it."""
        holders = (self.run,) if self.run else (*lease_names.users_of(self.stack), self.stack)
        try:
            return away.put(self.step.container, self.run, holders)
        except OSError as error:
            what = f"{self.step.name} is left as it is: what is taken away is marked first, and that failed ({error})"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable(
                    what, reference="disk-full", remedy="du -xhd1 /tmp | sort -h  # the largest are last"
                ) from error
            raise Internal(what, reference="internal", remedy="ls -ld /tmp/infra-*") from error

    def _send(self, signum: str) -> None:
        try:
            self.engine.kill(self.step.container, signum)
        except EngineRefused:
            if not self._there().dead:
                raise

    def _start(self, state: ContainerState) -> None:
        try:
            self.engine.start(self.step.container)
        except EngineRefused as error:
            for port in self.step.host_ports(state.ports).values():
                if not ports.is_free(port):  # somebody has taken it meanwhile
                    raise ports.taken(self.step.name, port, self.engine) from error
            raise NotReady(
                f"the engine could not start {self.step.name} again: {error.message}",
                reference="start-refused",
                remedy=f"invoke infra.logs {self._words}",
                step=self.step.name,
                evidence=self._inquiry.log(self.step),
            ) from error

    def _lives(self) -> str | None:
        state = self.engine.state(self.step.container)
        return None if state is None or state.dead else f"its container is {state.status}"

    def _not_ready(self) -> str | None:
        state = self._there()
        if state.status == "running":
            published = self.step.host_ports(state.ports)
            whole = len(published) == len(self.step.ports)
            return probes.check(self.step.ready, published, state) if whole else "its ports are not published yet"
        if state.dead and not away.marks(self.step.container) and self._there().dead:
            raise self._inquiry.died(self.step, state, "watch")
        return f"its container is {state.status}"

    def _already(self, what: str) -> NotReady:
        return NotReady(
            f"{self.step.name} {what}",
            reference="component-not-running",
            remedy=f"invoke infra.start {self._words}",
            step=self.step.name,
            blame="test" if self.run else "user",
        )

    def _said(self, what: str, state: ContainerState | None, began: float, *, ready: bool) -> Said:
        return Said(
            component=self.step.name,
            run=self.stack,
            state="gone" if state is None else state.status,
            ready=ready,
            what=what,
            seconds=round(time.monotonic() - began, 3),
        )


def find(engine: Engine, catalog: Catalog, settings: Settings, found: FoundRun, suite: str, component: str) -> Target:
    """Return a component of a run that was found. `suite` is the run whose suite asks, or nothing for a person."""
    _refuse_not_ours(found)
    refuse_to_break(found.run, found.kept)
    made = plan.make(catalog, settings, service=found.service, tier=found.tier, run=found.run)
    names = [step.name for step in made.steps]
    step = next((step for step in made.steps if step.name == component), None)
    if step is None:
        what = f'no component "{component}"' if component else "--component is missing"
        raise Invalid(
            f"{what} (in the stack of {found.service} {found.tier} are {', '.join(names)})",
            reference="unknown-component",
            remedy=f"invoke infra.status --run {found.run}",
        )
    if step.kind == "job":
        services = [step.name for step in made.steps if step.kind == "service"]
        raise Invalid(
            f"{component} is a job: it has ended when the stack is ready, and cannot be taken away",
            reference="component-is-a-job",
            remedy=f"invoke infra.status --run {found.run}  # those that can: {', '.join(services)}",
        )
    return Target(engine=engine, made=made, step=step, run=doer(suite, found.run), stack=found.run)


def doer(suite: str, stack: str) -> str | None:
    """Return the run that takes a stack apart: that of the suite which asks, if it goes on and the stack is its own."""
    goes_on = bool(suite) and lease_names.private_folder(suite).is_dir()
    return suite if goes_on and lease_names.stack_of(suite) == stack else None


def signal_name(text: str) -> str:
    """Return a signal that ends a component as the engine has it: KILL for SIGKILL, kill or 9."""
    name = text.upper().removeprefix("SIG")
    if text.isdecimal() and int(text) in set(signal.Signals):
        name = signal.Signals(int(text)).name.removeprefix("SIG")
    if name not in SIGNALS:
        raise Invalid(
            f'"{text}" is no signal that takes a component away (known: {", ".join(SIGNALS)})',
            reference="unknown-signal",
            remedy="invoke infra.kill --help",
        )
    return name


def _refuse_not_ours(found: FoundRun) -> None:
    """Refuse what is another user's or host's, and what is only waiting for its sweep."""
    if found.kept is not None:
        return
    if found.life is Life.DEAD:
        what, doing = "is over: its owner is dead", f"infra.gc --run {found.run}"
    elif found.life is Life.UNKNOWN or not lease_names.private_folder(found.run).is_dir():
        owner = f"process {found.owner.pid} on {found.owner.host}" if found.owner else "an owner that cannot be read"
        what, doing = f"is not ours: {owner} has it", "infra.status"
    else:
        return
    raise NotReady(
        f"run {found.run} of {found.service} {what}",
        reference="run-not-ours",
        remedy=f"invoke {doing}",
        blame="user",
    )
