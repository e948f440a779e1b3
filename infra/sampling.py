"""What the containers of a run use while it goes on, and whether the kernel kills a process in one.

A thread looks at their control groups five times a second, and at once when the kernel says that memory ran out. Where
the control groups are not here to be read it asks the engine, every other second.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from pathlib import Path

from infra import cgroups, killings
from infra.causes.facts import MemoryFacts
from infra.engine.client import Engine
from infra.engine.types import ContainerState
from infra.errors import InfraError
from infra.report import Resources
from infra.sampled import Sampled

_EVERY_S = 0.2
_ASK_EVERY_S = 2.0
# When memory runs out the kernel says so first, then kills, then counts: look often for a while.
_HASTE_S = 0.02
_HASTY = 10
# The end of a first process shows a moment after the kill: it is a child's if the first one lives on for so long.
_SETTLED_S = 0.2
_NEAR = 0.9


class Sampler:
    """Watches the containers of a run from their start to its end. The thread starts with the first of them."""

    def __init__(self, engine: Engine | None = None, *, local: bool = True, root: Path = cgroups.ROOT) -> None:
        self._engine = engine
        self._local = local
        self._root = root
        self._watched: dict[str, Sampled] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def watch(self, component: str, container: str, state: ContainerState, *, own: bool = True) -> None:
        """Watch a container that has just been started; not `own` is one that others have used before."""
        group = cgroups.find(state.id, state.cgroup, state.pid, root=self._root) if self._local else None
        one = Sampled(
            component=component,
            container=container,
            id=state.id,
            limit_mb=state.memory_limit_mb,
            group=group,
            own=own,
            over=state.dead,
        )
        with self._lock:
            if self._over.is_set():
                return
            first = not self._watched
            one.look()
            self._watched[component] = one
        if first:
            threading.Thread(target=self._loop, daemon=True).start()

    def facts(self, component: str) -> MemoryFacts | None:
        """Return what is known of a component's memory; None where it was not watched."""
        with self._lock:
            one = self._watched.get(component)
            if one is None:
                return None
            if not self._over.is_set():
                one.look()
            total, first_kill = one.total, one.first_kill
        told = killings.kernel_log(one.id) if self._local else None
        kernel = told or ()
        kills = max(total.oom_kills, len(killings.victims(kernel)) if one.own else 0)
        return MemoryFacts(
            limit_mb=one.limit_mb,
            peak_mb=round(one.peak_mb),
            oom_kills=kills,
            failed_charges=total.failed,
            kernel=kernel,
            certain=kills > 0,
            would_show=told is not None,
            last_mb=round(one.last_mb),
            first_kill=first_kill,
        )

    def child_killed(self, component: str, state: ContainerState) -> bool:
        """Whether the kernel has killed a child in a component whose first process lives on."""
        with self._lock:
            one = self._watched.get(component)
            killed_at = one.killed_at if one is not None else None
        if killed_at is None or time.monotonic() < killed_at + _SETTLED_S or state.dead:
            return False
        if state.pid is None or not killings.is_alive(state.pid):  # the end of the container says it
            return False
        facts = self.facts(component)
        return facts is not None and state.pid not in [victim.pid for victim in killings.victims(facts.kernel)]

    def stop(self) -> tuple[Resources, ...]:
        """Look a last time and no more; return what each container has used. It may be asked again."""
        with self._lock:
            if not self._over.is_set():
                self._over.set()
                for one in self._watched.values():
                    one.look()
                    one.close()
            return tuple(_resources(one) for one in self._watched.values())

    def _loop(self) -> None:
        hasty, ask_at = 0, time.monotonic()
        while not self._over.is_set():
            poll = select.poll()
            with self._lock:
                for one in self._watched.values():
                    if one.alarm is not None:
                        poll.register(one.alarm.fd, one.alarm.events)
            heard = poll.poll(1000 * (_HASTE_S if hasty else _EVERY_S))
            hasty = _HASTY if self._look() or heard else max(0, hasty - 1)
            if time.monotonic() >= ask_at:
                self._ask()
                ask_at = time.monotonic() + _ASK_EVERY_S

    def _look(self) -> bool:
        with self._lock:
            told = [] if self._over.is_set() else [one.look() for one in self._watched.values()]
        return any(told)

    def _ask(self) -> None:
        """Ask the engine of those whose control group cannot be read."""
        with self._lock:
            asked = {one.container: one for one in self._watched.values() if one.group is None and not one.over}
        if self._engine is None or not asked:
            return
        with contextlib.suppress(InfraError):  # then nothing is known of them, and the report says so
            for container, usage in self._engine.usage(tuple(asked)).items():
                one = asked.get(container)  # it may name others than those it was asked for
                if one is not None:
                    with self._lock:
                        one.take(usage)


def near_limit(used: Resources) -> str | None:
    """Return a line for a person where a container came within 10 % of its limit, caches of files not counted."""
    if used.memory_limit_mb is None:
        return None
    if used.oom_kills:
        many = "a process" if used.oom_kills == 1 else f"{used.oom_kills} processes"
        return f"{used.component} met its memory limit of {used.memory_limit_mb} MB, and the kernel killed {many} of it"
    if (used.memory_held_mb or 0.0) < _NEAR * used.memory_limit_mb:
        return None
    return f"{used.component} came near its memory limit: {used.memory_held_mb:.0f} of {used.memory_limit_mb} MB"


def _resources(one: Sampled) -> Resources:
    total, counted = one.total, one.seen and one.group is not None
    return Resources(
        component=one.component,
        memory_peak_mb=round(one.peak_mb, 1) if one.seen else None,
        memory_held_mb=round(one.held_mb, 1) if counted else None,
        memory_limit_mb=one.limit_mb,
        cpu_s=round(total.cpu_s, 2) if one.seen else None,
        oom_kills=total.oom_kills if counted else None,
    )
