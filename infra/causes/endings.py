"""How containers end: what killed them, by the kernel's and the engine's word, and what an exit code alone shows."""

from __future__ import annotations

from infra import killings
from infra.causes.facts import Facts, MemoryFacts
from infra.causes.rules import Match, Matcher, Rule, always, both, doing, either, ended_by_signal, exited, kind, told

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


def _victims(memory: MemoryFacts) -> dict[str, str]:
    names = sorted({victim.name for victim in killings.victims(memory.kernel)})
    return {"victim": f"its process {', '.join(names)}" if names else "a process of it"}


def _flagged(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or not facts.dead or not box.oom_flag:
        return None
    memory = _memory(facts)
    return Match(values=_sizes(memory), evidence=("the engine's state: OOMKilled is true", *_seen(memory)))


def _unflagged(facts: Facts) -> Match | None:
    """The kernel has said so, or has counted it; the engine's flag is missing (cgroups v1 with runc).

    It is the end of the container only where that ended by SIGKILL: it may have lost a child, and have ended later.
    """
    memory = _memory(facts)
    if not facts.dead or not memory.certain:
        return None
    values = {**_sizes(memory), **_victims(memory)}
    return Match(values=values, evidence=(*_seen(memory), "the engine's state: OOMKilled is false"))


def _child(facts: Facts) -> Match | None:
    memory = _memory(facts)
    if facts.dead or facts.container is None or not (memory.certain or memory.oom_kills):
        return None
    values = {**_sizes(memory), **_victims(memory), "then": "the container runs on without it"}
    return Match(values=values, evidence=(*_seen(memory), "the engine's state: running, PID 1 is alive"))


def _ended_later(facts: Facts) -> Match | None:
    return Match(values={"then": f"it ended with exit code {facts.container.exit_code}"}) if facts.container else None


def _at_the_limit(facts: Facts) -> Match | None:
    """The last look before a SIGKILL saw it at its limit. Nothing says that the kernel did it: no more is claimed.

    A cache of files fills the limit too: where the kernel would have told of a kill, and has not, it was none.
    """
    memory = _memory(facts)
    if memory.would_show or not memory.limit_mb or memory.last_mb is None:
        return None
    if memory.last_mb < _AT_LIMIT * memory.limit_mb:
        return None
    held = f"{memory.last_mb:.0f}"
    return Match(
        values={**_sizes(memory), "peak": held}, evidence=(f"the last look: it held {held} MiB", *_seen(memory))
    )


def asked(what: str) -> Matcher:
    """Somebody has asked the engine to do this with the container, and then it has ended."""

    def match(facts: Facts) -> Match | None:
        box = facts.container
        if box is None or not facts.dead or what not in box.asked:
            return None
        grace = f"; its own grace is {box.stop_grace_s:g} s" if box.stop_grace_s and what == "stop" else ""
        return Match(evidence=(f"asked of the engine before its end: {', '.join(box.asked)}{grace}",))

    return match


def _by_signal(facts: Facts) -> Match | None:
    box = facts.container
    return Match() if box is not None and ended_by_signal(box.exit_code) else None


def _from_outside(facts: Facts) -> Match | None:
    """No kill of the engine's, it was not seen stopping, and the kernel has not killed it: a signal from the host."""
    memory = _memory(facts)
    if not memory.would_show:
        return None
    told = "the engine's events have no kill of it, and it was not seen stopping"
    return Match(evidence=(told, f"the kernel's log names no kill in it; {_seen(memory)[-1]}"))


def _at_once(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or not facts.dead or box.exit_code == 0 or box.lived_s is None or box.lived_s > _FIRST_SECONDS:
        return None
    return Match(values={"lived": f"{box.lived_s:.1f}"}) if facts.log else None


# What killed it, by the engine's and the kernel's word: before what its log says by the way.
KILLS = (
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
        when=both(exited(_KILLED), _unflagged),
        message="the kernel killed {victim} out of memory (exit code {code}), though the engine does not say so: "
        "it took {peak} of {limit}",
        hint="${{EDITOR:-vi}} {component_file}  # raise memory_mb, or find what grows",
    ),
    Rule(
        reference="child-out-of-memory",
        blame="component",
        when=either(_child, both(exited(), _unflagged, _ended_later)),
        message="the kernel killed {victim} out of memory, and {then}: it took {peak} of {limit}",
        hint="${{EDITOR:-vi}} {component_file}  # raise memory_mb, or find what grows",
    ),
    Rule(
        reference="stop-grace-exceeded",
        blame="component",
        when=both(exited(_KILLED), asked("stop")),
        message="somebody had the engine stop it; it did not end in the time it was given, so the engine killed it "
        "(exit code 137)",
        hint="podman events --stream=false --since 10m --filter container={container}  # who stops it? It also has to "
        "end at SIGTERM",
    ),
    Rule(
        reference="stopped-through-engine",
        blame="infrastructure",
        when=asked("stop"),
        message="somebody had the engine stop it (podman stop), and it ended with exit code {code}",
        hint="podman events --stream=false --since 10m --filter container={container}  # who cleans up here?",
    ),
    Rule(
        reference="killed-through-engine",
        blame="infrastructure",
        when=both(_by_signal, asked("kill")),
        message="somebody had the engine kill it (podman kill) with {signal} (exit code {code})",
        hint="podman events --stream=false --since 10m --filter container={container}  # who cleans up here?",
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
        reference="killed-from-outside",
        blame="infrastructure",
        when=both(exited(_KILLED), _from_outside),
        message="it ended as by SIGKILL (exit code 137): kill -9 on the host, a stop without grace, or a child's end "
        "that it passes on; it was not memory ({peak_seen})",
        hint="ps -eo pid,lstart,user,args --sort=-start_time | head -30  # who ends containers here?",
    ),
    Rule(
        reference="killed",
        blame="infrastructure",
        when=exited(_KILLED),
        message="killed with SIGKILL (exit code 137); by whom and why cannot be seen from here",
        hint="sudo dmesg | grep -i -e oom -e killed",
    ),
)

RULES = (
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
        message="it crashed with {signal} (exit code {code}); its log says: {telling}",
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
        when=both(
            either(doing("start"), exited(126, 127)),
            told(
                r'exec: "(?P<program>[^"]+)": (?:executable file not found|stat [^:]+: no such file or directory)',
                r"executable file `(?P<program>[^`]+)` not found",
                r'exec: "(?P<program>[^"]+)": permission denied',
                r"unable to start container process: exec: (?P<program>\S+):",
            ),
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
        message="it ended with exit code 0, and a service has to stay: {last}",
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
