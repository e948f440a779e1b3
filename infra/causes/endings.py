"""How containers end: what killed them, by the kernel's and the engine's word, and what an exit code alone shows."""

from __future__ import annotations

from infra.causes.facts import Facts, MemoryFacts
from infra.causes.rules import Match, Rule, always, both, doing, either, exited, kind, told

_AT_LIMIT = 0.97
_FIRST_SECONDS = 2.0
_KILLED = 137


def _memory(facts: Facts) -> MemoryFacts:
    box = facts.container
    return (box.memory if box is not None else None) or MemoryFacts()


def _sizes(memory: MemoryFacts) -> dict[str, str]:
    limit, peak = memory.limit_mb, memory.peak_mb
    had = f"{peak:.0f}" if peak is not None else "all"
    return {"limit": f"{limit:.0f} MiB" if limit else "the host's memory", "peak": had, "kills": str(memory.oom_kills)}


def _seen(memory: MemoryFacts) -> tuple[str, ...]:
    """The lines that show what the kernel has counted."""
    counted = f"control group: {memory.oom_kills} killed out of memory, {memory.failed_charges} allocations refused"
    peak = f"peak {memory.peak_mb:.1f} MiB" if memory.peak_mb is not None else "no peak seen"
    limit = f"limit {memory.limit_mb:.1f} MiB" if memory.limit_mb else "no limit"
    return (*memory.kernel, f"{counted}; {peak}, {limit}")


def _flagged(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or not facts.dead or not box.oom_flag:
        return None
    memory = _memory(facts)
    return Match(values=_sizes(memory), evidence=("the engine's state: OOMKilled is true", *_seen(memory)))


def _unflagged(facts: Facts) -> Match | None:
    """The kernel has said so, or has counted it; the engine's flag is missing (cgroups v1 with runc)."""
    memory = _memory(facts)
    if not facts.dead or not memory.certain:
        return None
    return Match(values=_sizes(memory), evidence=(*_seen(memory), "the engine's state: OOMKilled is false"))


def _child(facts: Facts) -> Match | None:
    memory = _memory(facts)
    if facts.dead or facts.container is None or not (memory.certain or memory.oom_kills):
        return None
    return Match(values=_sizes(memory), evidence=(*_seen(memory), "the engine's state: running, PID 1 is alive"))


def _at_the_limit(facts: Facts) -> Match | None:
    """The last look before a SIGKILL saw it at its limit. Nothing says that the kernel did it: no more is claimed."""
    memory = _memory(facts)
    if not memory.limit_mb or memory.peak_mb is None or memory.peak_mb < _AT_LIMIT * memory.limit_mb:
        return None
    return Match(values=_sizes(memory), evidence=_seen(memory))


def _grace_over(facts: Facts) -> Match | None:
    """Somebody asked the engine to stop it, and it did not end within its time."""
    box = facts.container
    if box is None or "stop" not in box.asked:
        return None
    grace = f" within its {box.stop_grace_s:g} s" if box.stop_grace_s else " in time"
    return Match(values={"grace": grace}, evidence=(f"the engine's events: {', '.join(box.asked)}",))


def _asked_to_kill(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or "kill" not in box.asked:
        return None
    return Match(values={"by": "through the engine"}, evidence=(f"the engine's events: {', '.join(box.asked)}",))


def _from_outside(facts: Facts) -> Match | None:
    """No stop and no kill of the engine's, and no sign of memory: a signal from the host."""
    box = facts.container
    if box is None or box.memory is None:
        return None
    return Match(
        values={"by": "past the engine"},
        evidence=("the engine's events: it died, nobody had it stopped or killed", *_seen(box.memory)),
    )


def _at_once(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or not facts.dead or box.exit_code == 0 or box.lived_s is None or box.lived_s > _FIRST_SECONDS:
        return None
    return Match(values={"lived": f"{box.lived_s:.1f}"}) if facts.log else None


RULES = (
    Rule(
        reference="out-of-memory",
        blame="component",
        when=_flagged,
        message="killed out of memory (exit code {code}): it took {peak} of {limit}",
        hint="${{EDITOR:-vi}} {component_file}  # raise memory_mb, or find what grows",
    ),
    Rule(
        reference="out-of-memory-unflagged",
        blame="component",
        when=_unflagged,
        message="killed by the kernel out of memory (exit code {code}), though the engine does not say so: "
        "it took {peak} of {limit}",
        hint="${{EDITOR:-vi}} {component_file}  # raise memory_mb, or find what grows",
    ),
    Rule(
        reference="child-out-of-memory",
        blame="component",
        when=_child,
        message="the kernel killed a process of it out of memory, and its first one lives on: {peak} of {limit}",
        hint="${{EDITOR:-vi}} {component_file}  # raise memory_mb, or find what grows",
    ),
    Rule(
        reference="stop-grace-exceeded",
        blame="component",
        when=both(exited(_KILLED), _grace_over),
        message="it was asked to stop and did not end{grace}, so the engine killed it (exit code 137)",
        hint="${{EDITOR:-vi}} {component_file}  # raise stop_grace, or have it end at SIGTERM",
    ),
    Rule(
        reference="killed-at-memory-limit",
        blame="component",
        when=both(exited(_KILLED), _at_the_limit),
        message="killed (exit code 137) while it was at its memory limit: {peak} of {limit}; "
        "that the kernel did it is likely, and not proven",
        hint="sudo dmesg | grep -i oom-kill  # the kernel's word; then raise memory_mb in {component_file}",
    ),
    Rule(
        reference="killed-through-engine",
        blame="infrastructure",
        when=both(exited(_KILLED), _asked_to_kill),
        message="somebody killed it through the engine (exit code 137)",
        hint="podman events --stream=false --since 10m --filter event=kill  # who cleans up here?",
    ),
    Rule(
        reference="killed-from-outside",
        blame="infrastructure",
        when=both(exited(_KILLED), _from_outside),
        message="somebody killed it with SIGKILL (exit code 137), past the engine; no stop, not memory ({peak_seen})",
        hint="sudo dmesg | tail -50  # else: who runs kill -9 on this host?",
    ),
    Rule(
        reference="killed",
        blame="infrastructure",
        when=exited(_KILLED),
        message="killed with SIGKILL (exit code 137); by whom and why cannot be seen from here",
        hint="sudo dmesg | grep -i -e oom -e killed",
    ),
    Rule(
        reference="terminated",
        blame="infrastructure",
        when=exited(143),
        message="it ended on SIGTERM (exit code 143), which this run has not sent",
        hint="podman events --stream=false --since 10m --filter container={container}",
    ),
    Rule(
        reference="crashed",
        blame="component",
        when=exited(139, 134, 132, 135, 136),
        message="it crashed with {signal} (exit code {code})",
        hint="less {log}",
    ),
    Rule(
        reference="wrong-architecture",
        blame="infrastructure",
        when=both(either(exited(), doing("start")), told(r"[Ee]xec format error")),
        message="its program cannot run on this host: {line}",
        hint="podman image inspect {image} | grep -i architecture  # pull or build it for what uname -m says",
    ),
    Rule(
        reference="program-missing",
        blame="component",
        when=told(
            r'exec: "(?P<program>[^"]+)": (?:executable file not found|stat [^:]+: no such file or directory)',
            r"executable file `(?P<program>[^`]+)` not found",
            r'exec: "(?P<program>[^"]+)": permission denied',
            r"unable to start container process: exec: (?P<program>\S+):",
        ),
        message="the image has no program {program} that could be run",
        hint="${{EDITOR:-vi}} {component_file}  # command; or the image's ENTRYPOINT",
    ),
    Rule(
        reference="job-failed",
        blame="component",
        when=both(exited(), kind("job")),
        message="the job failed with exit code {code}: {last}",
        hint="less {log}",
    ),
    Rule(
        reference="component-ended",
        blame="component",
        when=exited(0),
        message="it ended by itself with exit code 0, and a service has to stay",
        hint='${{EDITOR:-vi}} {component_file}  # a job? Then kind = "job"; else keep its command in the foreground',
    ),
    Rule(
        reference="failed-at-once",
        blame="component",
        when=both(exited(), _at_once),
        message="it gave up {lived} s after its start with exit code {code}: {telling}",
        hint="less {log}",
    ),
    Rule(
        reference="component-died",
        blame="component",
        when=both(doing("start", "gate", "watch"), exited()),
        message="the container exited with code {code}: {telling}",
        hint="less {log}",
    ),
    Rule(
        reference="start-refused",
        blame="infrastructure",
        when=both(doing("start"), always),
        message="the engine could not start it: {said}",
        hint="podman info && invoke infra.doctor",
    ),
    Rule(
        reference="not-ready-in-time",
        blame="component",
        when=both(doing("gate"), always),
        message="not ready after {waited} s and {polls} polls: {said}",
        hint="less {log}  # or allow more time: ready.timeout in {component_file}",
    ),
)
