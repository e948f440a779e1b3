"""Take a component of a run away, give it back, and wait for it: for suites that test failure.

What is done here is marked before it is done (`away`), so that the run that goes on does not take it for a fault; the
mark goes when the component's gate has passed again.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra import away, lease_names, plan, ports, probes
from infra.catalog.declared import Catalog
from infra.diagnose import Inquiry
from infra.engine import host
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.engine.types import ContainerState
from infra.errors import Invalid, NotReady
from infra.labels import Life
from infra.plan import Plan, PlannedStep
from infra.readiness import Gate, until
from infra.settings import Settings
from infra.sweep import FoundRun

For = Literal["ready", "gone"]
FOR: tuple[For, ...] = ("ready", "gone")
# Those that end a program. Any other one, such as HUP, takes nothing away.
SIGNALS = ("KILL", "TERM", "INT", "QUIT", "ABRT", "SEGV", "BUS", "ILL", "FPE")
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
        self._mark()
        if state.status == "paused" and signum != "KILL":  # what is frozen hears nothing
            self.engine.freeze(self.step.container, frozen=False)
        try:
            self.engine.kill(self.step.container, signum)
        except EngineRefused:
            if not self._there().dead:
                raise
        if until(self._lives, _END_S) is not None:
            raise NotReady(
                f"{self.step.name} runs on {_END_S:g} s after SIG{signum}",
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
        self._mark()
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
        started = [step for step in self.made.steps if self.engine.state(step.container) is not None]
        return Inquiry(
            engine=self.engine,
            plan=self.made,
            started=started,
            ports={},
            addresses={},
            local=host.serves(self.engine.url),
        )

    @property
    def _words(self) -> str:
        return f"--component {self.step.name} --run {self.stack}"

    def _there(self) -> ContainerState:
        state = self.engine.state(self.step.container)
        if state is None:
            raise self._inquiry.gone(self.step)
        return state

    def _mark(self) -> None:
        """Mark it as away, where whoever watches the stack looks."""
        holders = (self.run,) if self.run else tuple(lease_names.users_of(self.stack))
        away.put(self.step.container, self.run, holders)

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


def program(settings: Settings, folder: Path) -> Path:
    """Write the program that a suite calls, `INFRA_INVOKE`, into the run's folder; it works from anywhere."""
    here = str(Path(__file__).resolve().parent.parent)
    env = {
        "INFRA_CATALOG": str(settings.catalog),
        "INFRA_WORKSPACE": str(settings.workspace),
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
    }
    words = [
        "exec",
        "env",
        *(f"{key}={value}" for key, value in env.items()),
        sys.executable,
        "-P",
        "-m",
        "infra.tasks",
    ]
    text = f'#!/bin/sh\ncd {shlex.quote(str(settings.root))} || exit 70\n{shlex.join(words)} "$@"\n'
    path = folder / "bin" / "invoke"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def find(engine: Engine, catalog: Catalog, settings: Settings, found: FoundRun, run: str, component: str) -> Target:
    """Return a component of a run that was found. `run` is what was asked for: it may use the stack of another one."""
    _refuse_not_ours(found)
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
    doer = run if lease_names.private_folder(run).is_dir() else None
    return Target(engine=engine, made=made, step=step, run=doer, stack=found.run)


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
