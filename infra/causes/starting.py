"""Why a component does not get ready: order, names, configuration, addresses, time."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace

from infra.causes.facts import Facts
from infra.causes.rules import Match, Matcher, Rule, both, by_itself, doing, logged, runs, said

# How programs say that they could not reach somebody.
_UNREACHED = re.compile(
    r"connection refused|ECONNREFUSED|no route to host|EHOSTUNREACH|host is unreachable|i/o timeout|timeout expired"
    r"|connection timed out|connect timeout|ETIMEDOUT|dial error: timeout|dial .*(?:timeout|deadline exceeded)",
    re.IGNORECASE,
)
_LOOKED_UP = re.compile(
    r"lookup (?P<a>[\w.-]+)(?: on \S+)?: (?:no such host|server misbehaving)"
    r"|could not translate host name \"(?P<b>[^\"]+)\""
    r"|(?:ENOTFOUND|EAI_AGAIN) (?P<c>[\w.-]+)|host='(?P<d>[\w.-]+)'.*(?:Name or service not known|name resolution)"
    r"|resolve host(?:name)?:? '?(?P<e>[\w.-]+)|connecting to (?P<f>[\w.-]+):\d+\. (?:Name or|Temporary failure)"
    r"|\b(?P<g>[\w.-]{1,253}): (?:Name or service not known|Temporary failure in name resolution)"
)
# A database's user or name may be called like a component.
_NO_HOST = re.compile(r"\b(?:user|usename|role|database|dbname|db)(?:=| \"| ')\"?[\w.-]+")
_NOT_THERE = "not started yet"
# What `diagnose` says of a component that the engine did not tell of, and of one that the suite has taken away.
UNKNOWN = "not known"
TAKEN_AWAY = "was taken away by the suite"
_LAST = 8
# Less of a CPU than this is none: it waits for something.
_IDLE = 0.02
_MILD = re.compile(r"\b(?:warn(?:ing)?|info|debug|optional|ignor(?:ed|ing)|skipp(?:ed|ing)|default)", re.IGNORECASE)
_ANY = ("0.0.0.0", "::", "*")


def _unreached(facts: Facts) -> Iterable[tuple[str, str]]:
    """Yield (component, line) for each line that says that a component of this stack could not be reached."""
    for line in _meant(facts):
        looked_up = _looked_up(line)
        words = _NO_HOST.sub("", line) if _UNREACHED.search(line) else ""
        for name in facts.others:
            known = [re.escape(word) for word in (name, facts.addresses.get(name)) if word]
            named = re.search(rf"(?<![\w.-])(?:{'|'.join(known)})(?![\w-]|\.[\w])", words)
            if name != facts.step and (looked_up == name or named):
                yield name, line.strip()


def _meant(facts: Facts) -> tuple[str, ...]:
    """Return the lines of the log that may say why: none of what a signal has ended, none that says it is no matter."""
    return tuple(line for line in facts.log if not _MILD.search(line)) if by_itself(facts) else ()


def _looked_up(line: str) -> str | None:
    """Return the host that a line says could not be found."""
    found = _LOOKED_UP.search(line)
    return next(filter(None, found.groups()), None) if found else None


def _too_early(facts: Facts) -> Match | None:
    for name, line in _unreached(facts):
        if facts.others[name] == _NOT_THERE:
            return Match(
                values={"dependency": name}, evidence=(line, f"{name}: {_NOT_THERE}: it stands later in the stack")
            )
    return None


def _dependency_dead(facts: Facts) -> Match | None:
    for name, line in _unreached(facts):
        state = facts.others[name]
        if state not in ("ready", UNKNOWN, TAKEN_AWAY, _NOT_THERE):
            return Match(values={"dependency": name, "state": state}, evidence=(line, f"{name}: {state}"))
    return None


def _taken_away(facts: Facts) -> Match | None:
    """It has ended because it could not reach what the suite had taken away on purpose."""
    for name, line in _unreached(facts):
        if facts.dead and facts.others[name] == TAKEN_AWAY:
            return Match(values={"dependency": name}, evidence=(line, f"{name}: {TAKEN_AWAY}"))
    return None


def _unknown_name(facts: Facts) -> Match | None:
    """It looks for a host that is not there. What goes on without it says so by the way, unless it is a misspelling."""
    lines = _meant(facts)[-_LAST:] if facts.dead else _meant(facts)
    for line in (*reversed(lines), facts.said):
        name = _looked_up(line)
        if name and name not in facts.others:
            near = difflib.get_close_matches(name, facts.others, 1)
            if not near and not facts.dead and line != facts.said:
                continue
            meant = f'did you mean "{near[0]}"?' if near else f"the stack has {', '.join(facts.others)}"
            return Match(values={"name": name, "meant": meant}, evidence=(line.strip(),))
    return None


def _unreadable(facts: Facts) -> Match | None:
    """A file that the catalogue has put there, and that the process may not read."""
    found = _last_words(
        r"(?P<path>/[\w./-]+)['\"]?: (?i:permission denied)", r"[Pp]ermission denied:? ['\"]?(?P<path>/[\w./-]+)"
    )(facts)
    if found is None:
        return None
    path = found.values["path"]
    file = facts.files.get(path)
    if file is None:
        return found | Match(values={"why": "it is not one of the catalogue's files"})
    user = facts.container.user if facts.container is not None else ""
    # What an image starts as root may have become somebody else: root itself may read all.
    who = "it runs as somebody else" if user in ("", "0", "root") else f"its image runs as {user}"
    return found | Match(
        values={"why": f"it has mode {file.mode} and owner {file.owner}, and {who}"},
        evidence=(f"the catalogue's file {path}: mode {file.mode}, owner {file.owner}",),
    )


def _file_missing(facts: Facts) -> Match | None:
    found = _last_words(
        r"open (?P<path>/[\w./-]+): no such file or directory",
        r"(?:No such file or directory|ENOENT)[^/]*['\"]?(?P<path>/[\w./-]+)",
        r"(?P<path>/[\w./-]+): No such file or directory",
    )(facts)
    if found is None:
        return None
    near = difflib.get_close_matches(found.values["path"], facts.files, 1)
    return found | Match(
        values={"meant": f"its [[files]] have {near[0]}" if near else "its [[files]] have none like it"}
    )


def _last_words(*patterns: str) -> Matcher:
    """It gave up, and one of its last lines says it, none that says itself that it does not matter."""
    search = logged(*patterns)

    def match(facts: Facts) -> Match | None:
        return search(replace(facts, log=_meant(facts)[-_LAST:])) if facts.dead else None

    return match


def _ports(addresses: Iterable[str]) -> dict[int, set[str]]:
    """Return port to addresses."""
    found: dict[int, set[str]] = {}
    for one in addresses:
        address, _, port = one.rpartition(":")
        found.setdefault(int(port), set()).add(address.strip("[]"))
    return found


def _listens_elsewhere(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or box.listens is None or facts.asked_port is None:
        return None
    known = _ports(box.listens)
    # What listens on a loopback address alone is the name server's and the program's own.
    others = sorted(
        port
        for port, at in known.items()
        if port not in facts.declared_ports and (at & set(_ANY) or not all(_loops(a) for a in at))
    )
    if facts.asked_port in known or not others:
        return None
    return Match(
        values={"asked": str(facts.asked_port), "ports": ", ".join(map(str, others))},
        evidence=(f"in the container, TCP is taken on {', '.join(box.listens)}",),
    )


def _on_loopback(facts: Facts) -> Match | None:
    box = facts.container
    if box is None or box.listens is None or facts.asked_port is None:
        return None
    at = _ports(box.listens).get(facts.asked_port, set())
    if not at or not all(_loops(address) for address in at):
        return None
    return Match(
        values={"asked": str(facts.asked_port), "address": ", ".join(sorted(at))},
        evidence=(f"in the container, TCP is taken on {', '.join(box.listens)}",),
    )


def _loops(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _nothing_listens(facts: Facts) -> Match | None:
    """It works, and it takes no connection yet: not a fault of its declaration, as far as can be seen."""
    box = facts.container
    if box is None or box.listens is None or facts.asked_port is None or box.cpu_s is None:
        return None
    if facts.asked_port in _ports(box.listens):
        return None
    return Match(
        values={"cpu": f"{box.cpu_s:.1f}", "asked": str(facts.asked_port)},
        evidence=(f"nothing takes connections on port {facts.asked_port} yet; it has had {box.cpu_s:.1f} s of CPU",),
    )


def _works(facts: Facts) -> Match | None:
    """It has had CPU all the while, if little."""
    cpu = facts.container.cpu_s if facts.container is not None else None
    return Match() if cpu is not None and cpu >= _IDLE * (facts.waited_s or 0) else None


_IN_GATE = doing("gate", "watch", "start")

RULES = (
    Rule(
        reference="started-before-dependency",
        blame="user",
        when=both(_IN_GATE, _too_early),
        message="it needs {dependency}, which is started after it",
        hint="${{EDITOR:-vi}} {service_file}  # stack: put {dependency} before {step}",
    ),
    Rule(
        reference="outage-not-survived",
        blame="component",
        when=both(_IN_GATE, _taken_away),
        message="it ended (exit code {code}) when the suite had taken {dependency} away: {telling}",
        hint="less {log}",
    ),
    Rule(
        reference="dependency-dead",
        blame="infrastructure",
        when=both(_IN_GATE, _dependency_dead),
        message="it cannot reach {dependency}, which {state}",
        hint="less {{folder}}/logs/{dependency}.log",
    ),
    Rule(
        reference="unknown-host-name",
        blame="user",
        when=both(_IN_GATE, _unknown_name),
        message='it looks for a host "{name}", which nothing in this stack is called: {meant}',
        hint="${{EDITOR:-vi}} {component_file}  # the host {name}: {meant}",
    ),
    Rule(
        reference="file-unreadable",
        blame="user",
        when=both(_IN_GATE, _unreadable),
        message="it may not read {path}: {why}",
        hint="${{EDITOR:-vi}} {component_file}  # [[files]]: owner or mode of {path}",
    ),
    Rule(
        reference="file-missing",
        blame="user",
        when=both(_IN_GATE, _file_missing),
        message="it needs {path}, which is not in the container; {meant}",
        hint="${{EDITOR:-vi}} {component_file}  # {path}: {meant}",
    ),
    Rule(
        reference="listens-elsewhere",
        blame="user",
        when=both(doing("gate"), runs, _listens_elsewhere),
        message="not ready after {waited} s: its probe asks port {asked}, and it listens on {ports}",
        hint="${{EDITOR:-vi}} {component_file}  # [ports] says {asked}, the program listens on {ports}",
    ),
    Rule(
        reference="listens-on-loopback",
        blame="user",
        when=both(doing("gate"), runs, _on_loopback),
        message="not ready after {waited} s: it listens on {address}:{asked}, which only its own container can reach",
        hint="${{EDITOR:-vi}} {component_file}  # have it listen on 0.0.0.0:{asked}",
    ),
    Rule(
        reference="unhealthy",
        blame="component",
        when=both(doing("gate"), runs, said(r"answered (?P<status>5\d\d)(?:: (?P<body>.*))?")),
        message="not ready after {waited} s: it runs and answers, and says itself that it is not healthy: {said}",
        hint="less {log}",
    ),
    Rule(
        reference="wrong-health-path",
        blame="user",
        when=both(doing("gate"), runs, said(r"GET (?P<url>\S+) answered (?P<status>4(?!08|29)\d\d)")),
        message="not ready after {waited} s: GET {url} answers {status}, so that is not its health endpoint",
        hint="${{EDITOR:-vi}} {component_file}  # ready.path",
    ),
    Rule(
        reference="slow-start",
        blame="infrastructure",
        when=both(doing("gate"), runs, _works, _nothing_listens),
        message="not ready after {waited} s: it runs and does not take connections yet ({cpu} s of CPU so far): {said}",
        hint="${{EDITOR:-vi}} {component_file}  # ready.timeout: it needs longer here; less {log}",
    ),
    Rule(
        reference="never-listened",
        blame="component",
        when=both(doing("gate"), runs, _nothing_listens),
        message="not ready after {waited} s: it runs idle ({cpu} s of CPU) and takes no connections on port {asked}",
        hint="less {log}",
    ),
)
