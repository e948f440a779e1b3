"""All causes, and the one that facts show."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from infra.causes import arguments, databases, endings, engines, hosts, images, network, runs, starting, suites
from infra.causes.facts import Facts
from infra.causes.rules import Match, Rule, Values, filled_hint
from infra.errors import Blame, InfraError

# The most specific first: what somebody has said before what a state shows, what a state shows before the unknown.
RULES: tuple[Rule, ...] = (
    *endings.KILLS,
    *hosts.RULES,
    *engines.RULES,
    *images.RULES,
    *network.RULES,
    *databases.RULES,
    *starting.RULES,
    *suites.RULES,
    *endings.RULES,
    *arguments.RULES,
    *runs.RULES,
)
BY_REFERENCE: Mapping[str, Rule] = {rule.reference: rule for rule in RULES}
# What the words of failing tests may show: a test may well be about the words of all others.
_OF_STACKS = ("localhost-refused", "refused-after-ready", "partition-missing")
OF_SUITES = (*suites.RULES, *(rule for rule in RULES if rule.reference in _OF_STACKS))
# Where a person looks, as long as the facts do not say it better.
_PLACES = {
    "component_file": "infra/catalog/components",
    "component_dir": "infra/catalog/components",
    "service_file": "infra/catalog/services",
    "containerfile": "Containerfile",
    "migrations": "migrations",
    "suite_dir": ".",
    "workspace": ".",
    "registry": "docker.io",
    "engine_fix": "podman info",
    "engine_serve": "podman info",
    "disk": "",
    "disk_path": "/var/tmp",
}
# What is longer is no sentence: a body, a dump.
_LONGEST = 1000
_LAST = 8
_TELLING = ("ERROR", "FATAL", "PANIC", "panic:", "fatal error:", '"level":"ERROR"', "Error:", "error:")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The cause that facts show: the same words for the console, the report, JUnit and the page."""

    reference: str
    blame: Blame
    message: str
    remedy: str
    evidence: tuple[str, ...]


E = TypeVar("E", bound=InfraError)


def judged(kind: type[E], facts: Facts) -> E:
    """Return the error for what the facts show. There is a rule for all facts of containers, pulls and builds."""
    found = find(facts)
    assert found is not None, f"no rule for what goes wrong while doing {facts.doing}"
    return kind(
        found.message,
        reference=found.reference,
        remedy=found.remedy,
        step=facts.step,
        blame=found.blame,
        evidence=found.evidence,
    )


def page(reference: str) -> str | None:
    """Return what a reference means, for a person; None where there is no such cause."""
    pages = Path(__file__).with_name("pages.md").read_text(encoding="utf-8").split("\n## ")[1:]
    return next((text.strip() for name, _, text in (one.partition("\n") for one in pages) if name == reference), None)


def find(facts: Facts, rules: Iterable[Rule] = RULES) -> Found | None:
    """Return the most specific cause that the facts show, or None where no rule is for such facts at all."""
    facts = replace(facts, said=facts.said[:_LONGEST], log=tuple(line[:_LONGEST] for line in facts.log))
    judged = replace(facts, log=_last_told(facts.log)) if facts.dead else facts
    for rule in rules:
        match = rule.when(judged) if rule.when is not None else None
        if match is not None:
            return _found(rule, facts, match)
    return None


def _found(rule: Rule, facts: Facts, match: Match) -> Found:
    values = Values({**sentence_values(facts), **match.values})
    return Found(
        reference=rule.reference,
        blame=_blame(rule, facts),
        message=" ".join(rule.message.format_map(values).split()),
        remedy=filled_hint(rule, values),
        evidence=evidence(facts, match),
    )


def _blame(rule: Rule, facts: Facts) -> Blame:
    if rule.blame == "component":
        return "product" if facts.ours or facts.kind == "job" else "infrastructure"
    assert rule.blame != "raised", f"{rule.reference} is raised where it is seen, with its blame"
    return rule.blame


def sentence_values(facts: Facts) -> dict[str, str]:
    """Return the values that every sentence may use."""
    box = facts.container
    code = box.exit_code if box is not None else 0
    memory = box.memory if box is not None else None
    peak = f"it had {memory.peak_mb:.0f} MiB" if memory and memory.peak_mb is not None else "no sign of it"
    if memory is not None and memory.limit_mb and memory.peak_mb is not None:
        peak += f" of {memory.limit_mb:.0f}"
    return {
        "step": facts.step,
        "service": facts.service,
        "said": facts.said or "no answer",
        "code": str(code),
        "signal": signal_name(code - 128),
        "last": facts.log[-1].strip() if facts.log else "it has written nothing",
        "telling": telling_line(_last_told(facts.log) if facts.dead else facts.log),
        "waited": f"{facts.waited_s or 0:g}",
        "polls": str(facts.polls),
        "image": facts.image,
        "user": "its user",
        "container": f"{facts.service}-{facts.step}",
        "components": ", ".join(facts.others) or "none",
        "peak_seen": peak,
        **_PLACES,
        "disk": "",
        "disk_fix": "df -h /var/lib/containers /tmp  # invoke images.prune --days 0 drops what is cached of ours",
        "repository": facts.image,
        "again": f"invoke suite.run --service {facts.service}" if facts.service else "nox",
        "log": f"{{folder}}/logs/{facts.step}.log",
        **facts.places,
    }


def signal_name(number: int) -> str:
    """Return a signal's name, as in SIGSEGV."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _last_told(log: tuple[str, ...]) -> tuple[str, ...]:
    """What a container has said of its end: from the last line that tells of an error on, or else its last lines.

    What it said before, it had lived with.
    """
    told = [number for number, line in enumerate(log) if any(word in line for word in _TELLING)]
    return log[told[-1] :] if told else log[-_LAST:]


def telling_line(log: tuple[str, ...]) -> str:
    """The line that most likely says why: the first with an error's word in it, else the last."""
    for line in log:
        if any(word in line for word in _TELLING):
            return line.strip()
    return log[-1].strip() if log else "it has written nothing"


def evidence(facts: Facts, match: Match) -> tuple[str, ...]:
    """Return what shows it: the lines that matched, the container's state, then the end of the log."""
    lines = list(match.evidence)
    box = facts.container
    if box is not None:
        state = f"state: {'ended' if facts.dead else box.status}"
        if facts.dead:
            state += f", exit code {box.exit_code}"
        if box.lived_s is not None:
            state += f", {'lived' if facts.dead else 'running for'} {box.lived_s:.1f} s"
        lines.append(state + (f", {box.error}" if box.error else ""))
        if box.listens is not None and facts.asked_port is not None:
            lines.append(f"listens on: {', '.join(box.listens) or 'nothing'}; asked: port {facts.asked_port}")
    return tuple(dict.fromkeys([*lines, *facts.log]))
