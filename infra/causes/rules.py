"""What a cause is, and the few ways in which facts show one. Pure.

A matcher returns what it has seen (values for the sentences, and the lines that show it), or None. It claims nothing
that it has not seen: where several say the same, the table's order decides, the most specific first.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.catalog.names import nox_command
from infra.causes.facts import Doing, Facts
from infra.errors import Blame
from infra.placeholders import plain


@dataclass(frozen=True, kw_only=True)
class Match:
    """What shows a cause. `values` fill the sentences, `evidence` are the lines that show it."""

    values: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()

    def __or__(self, other: Match) -> Match:
        return Match(values={**self.values, **other.values}, evidence=(*self.evidence, *other.evidence))


# Values that are commands themselves.
COMMANDS = ("engine_fix", "engine_serve", "disk_fix", "again", "nox")
_SIGNALS = 128

Matcher = Callable[[Facts], Match | None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One cause. `message` and `hint` are templates over the facts' and the matcher's values.

    `hint` is a line for a shell: a command, and after `#` words for a person; `{nox}` in it is how nox is called
    here. What it means is in pages.md. A rule without `when` is raised where it is seen, and says there what it has
    seen. Blame `component` is the product's where its image is built from the workspace or it is a job, else the
    infrastructure's; `raised` is said where it is raised.
    """

    reference: str
    blame: Blame | Literal["component", "raised"]
    hint: str
    message: str = ""
    when: Matcher | None = None

    @property
    def shown_hint(self) -> str:
        """The hint with what is known only of a fault in angle brackets, and the newest run's folder."""
        return self.hint.format_map(_Blanks(nox=nox_command())).replace("{folder}", ".infra/runs/latest")


def filled_hint(rule: Rule, values: Mapping[str, str]) -> str:
    """Return the hint over values. Those in the command are quoted: what a log has said is no part of a command."""
    command, mark, words = rule.hint.partition("  # ")
    quoted = Values({key: value if key in COMMANDS else _word(value) for key, value in values.items()})
    quoted["nox"] = nox_command()
    return command.format_map(quoted) + mark + plain(words.format_map(values))


def _word(value: str) -> str:
    """Quote a value for a shell where it needs it; `{folder}`, which is filled in later, does not."""
    return value if value and shlex.quote(bare := value.replace("{folder}", "")) == bare else shlex.quote(value)


class Values(dict[str, str]):
    """What sentences are filled from; what a fault has not shown is unknown, and never an error of its own."""

    def __missing__(self, key: str) -> str:
        return "unknown"


class _Blanks(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"<{key}>"


def said(*patterns: str) -> Matcher:
    """Somebody has said it: a probe, the engine, a registry. Named groups are values."""
    return _searched(patterns, lambda facts: (facts.said,))


def logged(*patterns: str) -> Matcher:
    """A line of the log says it; the last one that does."""
    return _searched(patterns, lambda facts: reversed(facts.log))


def told(*patterns: str) -> Matcher:
    """It was said, or a line of the log says it."""
    return either(said(*patterns), logged(*patterns))


def by_host(*patterns: str) -> Matcher:
    """The engine, its helpers or a build have said it; what a component writes is about itself."""
    return either(said(*patterns), both(doing("build", "pull"), logged(*patterns)))


def _searched(patterns: tuple[str, ...], lines: Callable[[Facts], Iterable[str]]) -> Matcher:
    known = tuple(re.compile(pattern) for pattern in patterns)

    def match(facts: Facts) -> Match | None:
        for line in lines(facts):
            for pattern in known:
                if found := pattern.search(line):
                    values = {key: value for key, value in found.groupdict().items() if value is not None}
                    return Match(values={**values, "line": line.strip()}, evidence=(line.strip(),))
        return None

    return match


def doing(*what: Doing) -> Matcher:
    """It happened while this was done."""
    return lambda facts: Match() if facts.doing in what else None


def kind(*kinds: str) -> Matcher:
    """It is about one of these."""
    return lambda facts: Match() if facts.kind in kinds else None


def exited(*codes: int) -> Matcher:
    """The container has ended, with one of these exit codes, or with any."""

    def match(facts: Facts) -> Match | None:
        box = facts.container
        return Match() if box is not None and facts.dead and (not codes or box.exit_code in codes) else None

    return match


def by_itself(facts: Facts) -> Match | None:
    """It runs, or has ended by its own decision: what a signal has ended may have said anything before.

    Only then do lines of its log say why.
    """
    box = facts.container
    return None if box is not None and facts.dead and ended_by_signal(box.exit_code) else Match()


def ended_by_signal(code: int) -> bool:
    """Whether an exit code is that of a signal: 128 and its number, of which there are 64."""
    return _SIGNALS < code <= _SIGNALS + 64


def runs(facts: Facts) -> Match | None:
    """The container is there and runs."""
    return Match() if facts.container is not None and facts.container.status == "running" else None


def both(*matchers: Matcher) -> Matcher:
    """All of them match; their values and lines together."""

    def match(facts: Facts) -> Match | None:
        whole = Match()
        for one in matchers:
            if (found := one(facts)) is None:
                return None
            whole |= found
        return whole

    return match


def either(*matchers: Matcher) -> Matcher:
    """The first of them that matches."""
    return lambda facts: next((found for one in matchers if (found := one(facts)) is not None), None)


def always(_: Facts) -> Match:
    """Match anything: the last rule of its kind, which says that the cause is not known."""
    return Match()
