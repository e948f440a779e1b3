"""From a fault to its cause: the facts of a component are collected here, and judged in `causes`.

Asks the engine, the kernel and PostgreSQL only what the fault wants, once, while everything is still there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from infra import away, probes
from infra.away import Mark
from infra.causes.facts import ContainerFacts, Doing, Facts, FileFacts, MemoryFacts
from infra.causes.starting import TAKEN_AWAY, UNKNOWN
from infra.causes.table import OF_SUITES, Found, find, judged
from infra.engine import sockets
from infra.engine.client import Engine
from infra.engine.last_lines import last_lines
from infra.engine.types import ContainerState
from infra.errors import InfraError, NotReady
from infra.model import PostgresProbe
from infra.plan import Plan, PlannedStep

_LINES = 60
# What came before that is no cause of an end.
_SHORTLY_S = 20.0
_PASSWORD = "password authentication failed"
_NOT_STARTED = "not started yet"
# What the kernel has done is what ended it, whatever somebody did with the container afterwards.
_PROVEN = ("out-of-memory", "child-out-of-memory")


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """The stack in which a fault shows. `started` and `ports` grow with it; `memory` is what a component had.

    `stopping` has the containers that were seen while the engine was stopping them, `volumes` has those that were there
    before the run. `local` says that the processes are this host's.
    """

    engine: Engine
    plan: Plan
    started: list[PlannedStep]
    ports: Mapping[str, Mapping[str, int]]
    addresses: Mapping[str, str]
    local: bool
    disk: Callable[[], Mapping[str, str]] = dict
    stopping: set[str] = field(default_factory=set)
    volumes: frozenset[str] = frozenset()
    memory: Callable[[str], MemoryFacts | None] = field(default=lambda _component: None)

    def look_at(self, step: PlannedStep) -> ContainerState | None:
        """Return a component's state, or None where it has no container; what passes is noted."""
        state = self.engine.state(step.container)
        if state is not None and state.status == "stopping":
            self.stopping.add(step.container)
        elif state is not None and state.status == "running":
            self.stopping.discard(step.container)
        return state

    def gone(self, step: PlannedStep) -> NotReady:
        """Return the error for a container that does not exist any more."""
        return NotReady(
            f"the container {step.container} is gone: somebody removed it",
            reference="component-removed",
            remedy="podman events --stream=false --since 10m --filter event=remove  # who prunes here?",
            step=step.name,
        )

    def taken_away(self, step: PlannedStep, state: ContainerState, mark: Mark) -> NotReady:
        """Return the error for a container that somebody else has killed or frozen on purpose."""
        return NotReady(
            f"{mark.who} took {step.name} away deliberately: the container is {state.status}",
            reference="component-taken-away",
            remedy="invoke suite.run --fresh --ports auto  # a stack of its own, taken apart by nobody else",
            step=step.name,
            blame="test" if mark.by else "user",
        )

    def frozen(self, step: PlannedStep) -> NotReady:
        """Return the error for a container that somebody has paused, and not this run or its suite."""
        return NotReady(
            "somebody has frozen it: the container is paused, and answers nothing",
            reference="component-frozen",
            remedy=f"podman unpause {step.container}  # who freezes containers here?",
            step=step.name,
        )

    def died(self, step: PlannedStep, state: ContainerState, doing: Doing) -> NotReady:
        """Return the error for a container that has ended, or in which the kernel has killed something."""
        error = self._judged(step, doing, state)
        # Removed by force: it was ended for that, unless the kernel had done it before.
        if state.dead and not error.reference.startswith(_PROVEN) and self._is_gone(step):
            error = self.gone(step)
        memory = self.memory(step.name)
        error.shown = state.finished if state.dead else memory.first_kill if memory is not None else None
        return error

    def late(self, step: PlannedStep, said: str, *, waited_s: float, polls: int) -> NotReady:
        """Return the error for a component that runs and did not get ready, or never can."""
        state = self._state(step)
        if state is None:
            return self.gone(step)
        return self._judged(step, "gate", state, said=self.plan.mask(said), waited_s=waited_s, polls=polls)

    def refused(self, step: PlannedStep, image: str, error: InfraError) -> NotReady:
        """Return the error for a container that the engine would not create or start."""
        return self._judged(step, "start", self._state(step), said=error.message, image=image)

    def no_network(self, error: InfraError) -> NotReady:
        """Return the error for a network that the engine would not create."""
        facts = Facts(doing="start", step="network", kind="run", service=self.plan.service, said=error.message)
        return judged(NotReady, facts)

    def suite(self, log: tuple[str, ...]) -> Found | None:
        """Return the cause of a red suite that the words of its failures show: what others meet on purpose is none."""
        return find(
            Facts(
                doing="suite",
                step="suite",
                kind="suite",
                service=self.plan.service,
                log=log,
                ports=self._published(),
                places={
                    **{key: text for step in self.plan.steps for key, text in step.places.items()},
                    **self.plan.places,
                },
            ),
            OF_SUITES,
        )

    def _judged(
        self,
        step: PlannedStep,
        doing: Doing,
        state: ContainerState | None,
        *,
        said: str = "",
        image: str = "",
        waited_s: float | None = None,
        polls: int = 0,
    ) -> NotReady:
        log = self.log(step) if state is not None else ()
        refused = any(_PASSWORD in line for line in (said, *log))
        return judged(
            NotReady,
            Facts(
                doing=doing,
                step=step.name,
                kind=step.kind,
                service=self.plan.service,
                ours=step.image.build is not None,
                said=said,
                log=log,
                server_log=tuple(line for db in self._databases() for line in self.log(db)) if refused else (),
                container=self._container(step, state, doing) if state is not None else None,
                image=image or step.image.ref,
                others=dict(self._others()),
                declared_ports=tuple(port.container for port in step.ports),
                addresses=self.addresses,
                files={f.path: FileFacts(mode=f"{f.mode:04o}", owner=f.owner) for f in step.files},
                places={
                    **self.plan.places,
                    **step.places,
                    "container": step.container,
                    **(self.disk() if "no space left" in said.lower() else {}),
                },
                asked_port=next((p.container for p in step.ports if p.name == getattr(step.ready, "port", None)), None),
                has_old_data=step.volume is not None and step.volume[0] in self.volumes,
                waited_s=waited_s,
                polls=polls,
                waits_for=self._waits_for(step) if doing == "gate" and waited_s is not None else (),
            ),
        )

    def _container(self, step: PlannedStep, state: ContainerState, doing: Doing) -> ContainerFacts:
        lived = (state.finished - state.started).total_seconds() if state.started and state.finished else None
        pid = state.pid if self.local and doing == "gate" else None
        return ContainerFacts(
            status=state.status,
            exit_code=state.exit_code,
            oom_flag=state.oom_killed,
            error=self.plan.mask(state.error),
            lived_s=lived if state.dead and lived is not None and lived >= 0 else None,
            asked=self._asked(step, state) if state.dead else (),
            stop_grace_s=state.stop_grace_s,
            memory=self.memory(step.name),
            listens=sockets.listening(pid) if pid else None,
            cpu_s=sockets.cpu_s(pid) if pid else None,
            user=state.user or "root",
        )

    def _published(self) -> dict[str, str]:
        """Return host port to `component.port`, without what the suite has had away: there it is refused on purpose."""
        away_ever = away.ever(self.plan.run)
        gone = {step.name for step in self.plan.steps if step.container in away_ever}
        return {
            str(number): f"{name}.{port}"
            for name, known in self.ports.items()
            for port, number in known.items()
            if name not in gone
        }

    def _others(self) -> Iterator[tuple[str, str]]:
        """Yield each component of the stack with its state, in words."""
        started, away_ever = {step.name for step in self.started}, away.ever(self.plan.run)
        for step in self.plan.steps:
            if step.name not in started:
                yield step.name, _NOT_STARTED
                continue
            try:
                state = self.engine.state(step.container)
            except InfraError:
                yield step.name, UNKNOWN
                continue
            if state is not None and (state.status == "running" or (step.kind == "job" and state.exit_code == 0)):
                yield step.name, "ready"
            elif step.container in away_ever:
                yield step.name, TAKEN_AWAY
            elif state is None:
                yield step.name, "is gone"
            else:
                yield step.name, f"exited with code {state.exit_code}" if state.dead else f"is {state.status}"

    def _state(self, step: PlannedStep) -> ContainerState | None:
        with contextlib.suppress(InfraError):
            return self.engine.state(step.container)
        return None

    def _is_gone(self, step: PlannedStep) -> bool:
        with contextlib.suppress(InfraError):
            state = self.engine.state(step.container)
            return state is None or state.status == "removing"
        return False

    def log(self, step: PlannedStep) -> tuple[str, ...]:
        """Return the last lines of a component's log, secrets masked; none where it cannot be had."""
        with contextlib.suppress(InfraError):
            return tuple(map(self.plan.mask, last_lines(self.engine, step.container, _LINES)))
        return ()

    def _asked(self, step: PlannedStep, state: ContainerState) -> tuple[str, ...]:
        """Return what the engine was asked to do with a container shortly before it ended."""
        names = ["stop"] if step.container in self.stopping else []
        since = state.finished - timedelta(seconds=_SHORTLY_S) if state.finished else None
        if since is not None and state.started is not None:  # what ended an earlier life did not end this one
            since = max(since, state.started)
        with contextlib.suppress(InfraError):
            for event in self.engine.container_events(step.container):
                if event.name in ("stop", "kill", "restart") and (since is None or event.at >= since):
                    names.append(event.name)
        return tuple(dict.fromkeys(names))

    def _waits_for(self, step: PlannedStep) -> tuple[str, ...]:
        """Ask the stack's PostgreSQL who holds what a job waits for."""
        if step.kind != "job":
            return ()
        for other in self._databases():
            if isinstance(other.ready, PostgresProbe) and other.name in self.ports:
                return tuple(
                    self.plan.mask(line)
                    for line in probes.lock_holders(
                        other.ready, self.ports[other.name][other.ready.port], self.addresses.get(step.name)
                    )
                )
        return ()

    def _databases(self) -> Iterator[PlannedStep]:
        """Yield what runs as PostgreSQL in this stack."""
        return (step for step in self.started if isinstance(step.ready, PostgresProbe))
