"""The causes as a person meets them: by what they see, with the words of the rules and of `infra/causes/pages.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.causes import (
    arguments,
    databases,
    endings,
    engines,
    hosts,
    images,
    network,
    runs,
    starting,
    suites,
    table,
)
from infra.causes.rules import Rule, Values

_BLAMES = {
    "component": "product where its image is built from the workspace or it is a job, else infrastructure",
    "raised": "who took the component away",
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Causes that look alike. `references` and `last` belong here whatever table they are in; of the tables `rest`
    all do that no other group has.
    """

    title: str
    references: tuple[str, ...] = ()
    rest: tuple[tuple[Rule, ...], ...] = ()
    last: tuple[str, ...] = ()


GROUPS = (
    Group(
        title="Tests are red, or none ran, and the stack was ready",
        references=(
            "tests-failed",
            "suite-setup-failed",
            "suite-does-not-compile",
            "suite-hung",
            "suite-killed",
            "no-test-ran",
            "no-suite-found",
            "unexpected-skip",
        ),
        rest=(suites.RULES,),
        last=("too-many-workers", "suite-folder-missing", "requirements-missing"),
    ),
    Group(
        title="Connection refused, no such host",
        references=(
            "started-before-dependency",
            "unknown-host-name",
            "dependency-dead",
            "database-starting-up",
            "localhost-refused",
            "refused-after-ready",
            "listens-elsewhere",
            "listens-on-loopback",
        ),
    ),
    Group(
        title="Not ready in time",
        references=("not-ready-in-time", "lock-wait", "redis-refuses", "component-frozen"),
        rest=(starting.RULES,),
    ),
    Group(
        title="Exit code 137 or 143, killed, out of memory",
        rest=(endings.KILLS,),
        last=("terminated", "component-removed", "owner-killed"),
    ),
    Group(
        title="A component or a job has ended",
        references=("failed-at-once", "component-died", "crashed", "job-failed"),
        rest=(endings.RULES,),
        last=("file-unreadable", "file-missing", "outage-not-survived"),
    ),
    Group(
        title="PostgreSQL or a migration says no",
        references=("migration-failed", "relation-missing"),
        rest=(databases.RULES,),
        last=(
            "databases-failed",
            "migrations-missing",
            "migration-name",
            "migration-markers",
            "duplicate-migration",
            "migration-unreadable",
        ),
    ),
    Group(
        title="A port, a network",
        references=("port-taken", "port-collision"),
        rest=(network.RULES,),
    ),
    Group(
        title="An image cannot be pulled or built",
        references=(
            "registry-unreachable",
            "rate-limited",
            "image-denied",
            "image-unknown",
            "pull-failed",
            "build-failed",
        ),
        rest=(images.RULES,),
        last=("build-files-missing", "build-context-empty", "build-stopped", "mmdebstrap-missing"),
    ),
    Group(
        title="Podman does not answer, or refuses",
        references=(
            "podman-missing",
            "podman-too-old",
            "no-connection",
            "engine-start",
            "engine-error",
            "engine-gone",
            "engine-hangs",
            "engine-nonsense",
            "engine-refuses",
        ),
        rest=(engines.RULES,),
    ),
    Group(title="The host: disk, kernel, users", rest=(hosts.RULES,)),
    Group(
        title="A stack that is up is in the way, or is not there",
        rest=(runs.RULES,),
        last=("unknown-run", "run-exists", "run-name", "no-stack"),
    ),
    Group(
        title="The development stack",
        references=tuple(rule.reference for rule in runs.RULES if "dev-stack" in rule.reference),
    ),
    Group(
        title="A component was taken away on purpose",
        references=(
            "component-taken-away",
            "component-not-running",
            "signal-ignored",
            "not-back-in-time",
            "not-gone-in-time",
            "component-is-a-job",
            "unknown-signal",
            "run-not-ours",
        ),
    ),
    Group(
        title="Interrupted, left behind, an error of ours",
        references=("interrupted", "left-behind", "internal", "run-directory"),
    ),
    Group(title="Set-up of the machine", references=("tool-missing", "install-failed", "venv")),
    Group(title="The command line or the catalogue is wrong: nothing was started", rest=(arguments.RULES,)),
)


def causes() -> str:
    """Return all causes, by group, behind a list of the groups."""
    found = {group.title: rules for group, rules in grouped().items() if rules}
    lines = [f"- [{title}](#{anchor(title)}): {_linked(rules)}" for title, rules in found.items()]
    for title, rules in found.items():
        lines += ["", f"## {title}"]
        for rule in rules:
            lines += ["", *_section(rule)]
    return "\n".join(lines)


def grouped() -> Mapping[Group, tuple[Rule, ...]]:
    """Return the rules of each group: each rule is in one, as long as its table is in one."""
    named = {reference for group in GROUPS for reference in (*group.references, *group.last)}
    return {
        group: (
            *(table.BY_REFERENCE[reference] for reference in group.references),
            *(rule for rules in group.rest for rule in rules if rule.reference not in named),
            *(table.BY_REFERENCE[reference] for reference in group.last),
        )
        for group in GROUPS
    }


def anchor(title: str) -> str:
    """Return what GitHub calls the anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _linked(rules: tuple[Rule, ...]) -> str:
    return ", ".join(f"[{rule.reference}](#{rule.reference})" for rule in rules)


def _section(rule: Rule) -> Iterator[str]:
    """Yield the lines of one cause: the words it is told in, what it means, what to do, whose it is."""
    yield f"### {rule.reference}"
    yield ""
    if rule.message:
        yield f"    {rule.message.format_map(_Blanks())}"
        yield ""
    yield table.page(rule.reference) or ""
    yield ""
    yield f"- to do: `{rule.shown_hint}`"
    yield f"- blame: {_BLAMES.get(rule.blame, rule.blame)}"


class _Blanks(Values):
    def __missing__(self, key: str) -> str:
        return f"<{key}>"
