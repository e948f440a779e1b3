"""One container as it is sampled: its peaks, and what it has used through all its starts."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.cgroups import Alarm, Group, Usage

_REMOVAL_MS = 50
_NEAR = 0.9


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What only grows while a container runs, and begins at 0 when it is started again."""

    oom_kills: int = 0
    failed: int = 0
    cpu_s: float = 0.0

    def plus(self, other: Counts, sign: int = 1) -> Counts:
        """Add what another one says, or take it away with a sign of -1."""
        return Counts(
            oom_kills=self.oom_kills + sign * other.oom_kills,
            failed=self.failed + sign * other.failed,
            cpu_s=self.cpu_s + sign * other.cpu_s,
        )


@dataclass(kw_only=True)
class Sampled:
    """A container: `base` is what it had used before we looked, `now` the last sample, `earlier` all former starts.

    Without a control group that can be read `group` is None, and the engine is asked, unless it was `over` at once.
    """

    component: str
    container: str
    id: str
    limit_mb: int | None
    group: Group | None
    own: bool
    over: bool = False
    seen: bool = False
    running: bool = False
    alarm: Alarm | None = None
    base: Counts = field(default_factory=Counts)
    now: Counts = field(default_factory=Counts)
    earlier: Counts = field(default_factory=Counts)
    peak_mb: float = 0.0
    held_mb: float = 0.0
    last_mb: float = 0.0
    killed_at: float | None = None
    first_kill: datetime | None = None

    @property
    def total(self) -> Counts:
        """All that it has used while we looked."""
        return self.earlier.plus(self.now).plus(self.base, -1)

    def look(self) -> bool:
        """Take a sample; return whether the kernel has just said something."""
        if self.group is None:
            return False
        if self.alarm is None and self.group.memory.exists():
            with contextlib.suppress(OSError):  # it goes away, or is not ours to watch
                self.alarm = Alarm(self.group)
        told = self.alarm is not None and self.alarm.heard()
        usage = self.group.usage()
        if usage is not None:
            self.take(usage)
        elif self.running:
            self._ended()
        else:
            self.close()  # it was gone before it was seen
        return told

    def take(self, usage: Usage) -> None:
        """Note a sample of a container that runs."""
        self.now = Counts(oom_kills=usage.oom_kills, failed=usage.failed_charges, cpu_s=usage.cpu_s)
        if not self.own and not self.seen:
            self.base = self.now
        self.seen = self.running = True
        # The kernel's peak misses nothing, but it is of the whole life, which is another run's in part.
        self.peak_mb = max(self.peak_mb, usage.memory_peak_mb if self.own else usage.memory_mb)
        self.last_mb = usage.memory_held_mb
        self.held_mb = max(self.held_mb, usage.memory_held_mb)
        if self.killed_at is None and self.now.oom_kills > self.base.oom_kills:
            self._killed()

    def close(self) -> None:
        """Give back what it holds."""
        if self.alarm is not None:
            self.alarm.close()
            self.alarm = None

    def _killed(self) -> None:
        self.killed_at = time.monotonic()
        self.first_kill = self.first_kill or datetime.now(UTC)

    def _ended(self) -> None:
        """It has ended: what the last sample has missed, the alarm may know. It may be started again."""
        kills = self.now.oom_kills - self.base.oom_kills
        # A group around it that runs out rings here, too: what was far from its own limit was not meant.
        if self.alarm is not None and self.limit_mb is not None and self.peak_mb >= _NEAR * self.limit_mb:
            kills = max(kills, self.alarm.ran_out_of_gone(_REMOVAL_MS))
        if kills and self.killed_at is None:
            self._killed()
        total = self.total
        self.earlier = Counts(oom_kills=self.earlier.oom_kills + kills, failed=total.failed, cpu_s=total.cpu_s)
        self.now = self.base = Counts()
        self.running, self.own, self.killed_at = False, True, None
        self.close()
