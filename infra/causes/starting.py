"""Why a component does not get ready: order, names, databases, migrations, configuration, addresses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from infra.causes.facts import Facts
from infra.causes.rules import Match, Rule, both, doing, kind, logged, runs, said, told

# How programs say that they could not reach somebody, and whom.
_UNREACHED = re.compile(
    r"connection refused|no route to host|no such host|could not translate host name|Name or service not known"
    r"|Temporary failure in name resolution|ENOTFOUND|ECONNREFUSED|i/o timeout|server misbehaving|Connection refused",
)
_LOOKED_UP = re.compile(
    r"lookup (?P<a>[\w.-]+)(?: on [^:]+:\d+)?: (?:no such host|server misbehaving)"
    r'|could not translate host name "(?P<b>[^"]+)"'
    r"|ENOTFOUND (?P<c>[\w.-]+)|host='(?P<d>[\w.-]+)'.*(?:Name or service not known|name resolution)"
)
_NOT_THERE = "not started yet"
_ANY = ("0.0.0.0", "::", "*")


def _unreached(facts: Facts) -> Iterable[tuple[str, str]]:
    """Yield (component, line) for each line that says that a component of this stack could not be reached."""
    for line in facts.log:
        if _UNREACHED.search(line):
            for name in facts.others:
                address = facts.addresses.get(name)
                words = [re.escape(word) for word in (name, address) if word]
                if name != facts.step and re.search(rf"(?<![\w.-])(?:{'|'.join(words)})(?![\w-]|\.\d)", line):
                    yield name, line.strip()


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
        if state not in ("ready", "running", _NOT_THERE):
            return Match(values={"dependency": name, "state": state}, evidence=(line, f"{name}: {state}"))
    return None


def _unknown_name(facts: Facts) -> Match | None:
    for line in (*reversed(facts.log), facts.said):
        found = _LOOKED_UP.search(line)
        name = next(filter(None, found.groups()), None) if found else None
        if name and name not in facts.others:
            near = difflib.get_close_matches(name, facts.others, 1)
            meant = f'did you mean "{near[0]}"?' if near else f"the stack has {', '.join(facts.others)}"
            return Match(values={"name": name, "meant": meant}, evidence=(line.strip(),))
    return None


def _unreadable(facts: Facts) -> Match | None:
    """A file that the catalogue has put there, and that the process may not read."""
    found = logged(
        r"(?P<path>/[\w./-]+)['\"]?: (?i:permission denied)", r"[Pp]ermission denied:? ['\"]?(?P<path>/[\w./-]+)"
    )(facts)
    if found is None:
        return None
    file = facts.files.get(found.values["path"])
    if file is None:
        return found | Match(values={"why": "it is not one of the catalogue's files"})
    user = facts.container.user if facts.container is not None and facts.container.user else "another user"
    return found | Match(
        values={"why": f"it has mode {file.mode} and owner {file.owner}, and the process runs as {user}"},
        evidence=(f"the catalogue's file {found.values['path']}: mode {file.mode}, owner {file.owner}",),
    )


def _file_missing(facts: Facts) -> Match | None:
    found = logged(
        r"open (?P<path>/[\w./-]+): no such file or directory",
        r"(?:No such file or directory|ENOENT)[^/]*['\"]?(?P<path>/[\w./-]+)",
        r"(?P<path>/[\w./-]+): No such file or directory",
    )(facts)
    if found is None:
        return None
    near = difflib.get_close_matches(found.values["path"], facts.files, 1)
    meant = f"the catalogue puts {near[0]} there" if near else "the catalogue puts no such file there"
    return found | Match(values={"meant": meant})


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
    others = sorted(port for port, at in known.items() if at & set(_ANY) or not all(_loops(a) for a in at))
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


def _waits_for_lock(facts: Facts) -> Match | None:
    if facts.kind != "job" or not facts.waits_for:
        return None
    return Match(values={"holder": facts.waits_for[0]}, evidence=facts.waits_for)


def _nothing_listens(facts: Facts) -> Match | None:
    """It works, and it takes no connection yet: not a fault of its declaration, as far as can be seen."""
    box = facts.container
    if box is None or box.listens is None or facts.asked_port is None or box.cpu_s is None:
        return None
    if facts.asked_port in _ports(box.listens):
        return None
    return Match(
        values={"cpu": f"{box.cpu_s:.1f}"},
        evidence=(f"nothing takes connections on port {facts.asked_port} yet; it has had {box.cpu_s:.1f} s of CPU",),
    )


_STARTING = (
    r"(?P<words>the database system is (?:starting up|in recovery mode|not yet accepting connections|shutting down))"
)
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
        hint="${{EDITOR:-vi}} {component_file}  # {meant}",
    ),
    Rule(
        reference="database-starting-up",
        blame="infrastructure",
        when=both(_IN_GATE, kind("job", "service"), logged(_STARTING)),
        message='PostgreSQL told it "{words}": the gate of the database passed too early',
        hint='${{EDITOR:-vi}} {component_dir}  # the database\'s [ready]: probe = "postgres", which asks over TCP',
    ),
    Rule(
        reference="role-missing",
        blame="user",
        when=told(r'role "(?P<role>[^"]+)" does not exist'),
        message='PostgreSQL has no role "{role}"',
        hint="${{EDITOR:-vi}} {component_file}  # the user here, and POSTGRES_USER of the database, must be the same",
    ),
    Rule(
        reference="database-missing",
        blame="user",
        when=told(r'database "(?P<database>[^"]+)" does not exist'),
        message='PostgreSQL has no database "{database}"',
        hint="${{EDITOR:-vi}} {component_file}  # the database here, and POSTGRES_DB of the server, must be the same",
    ),
    Rule(
        reference="password-wrong",
        blame="user",
        when=told(
            r'password authentication failed for user "(?P<user>[^"]+)"',
            r"(?P<user>\S+): WRONGPASS|NOAUTH Authentication required",
        ),
        message="the password for {user} is refused",
        hint="${{EDITOR:-vi}} {component_file}  # take it from {{postgres.secrets.password}}, do not write it twice",
    ),
    Rule(
        reference="partition-missing",
        blame="product",
        when=told(r'no partition of relation "(?P<table>[^"]+)" found for row'),
        message='table "{table}" has no partition for that row: its range partitions have run out',
        hint="${{EDITOR:-vi}} {migrations}  # a migration that adds the next partitions of {table}",
    ),
    Rule(
        reference="migration-failed",
        blame="product",
        when=both(kind("job"), logged(r"psql:(?P<file>[^:\s]+):(?P<at>\d+): (?:ERROR|FATAL|PANIC):\s+(?P<error>.+)")),
        message="{file}, line {at}: {error}",
        hint="${{EDITOR:-vi}} {migrations}/{file}  # line {at}",
    ),
    Rule(
        reference="relation-missing",
        blame="product",
        when=both(_IN_GATE, logged(r'relation "(?P<table>[^"]+)" does not exist')),
        message='there is no table "{table}": was the schema migrated before it started?',
        hint="${{EDITOR:-vi}} {service_file}  # stack: migrations before {step}? And does one make it?",
    ),
    Rule(
        reference="lock-wait",
        blame="product",
        when=both(doing("gate"), _waits_for_lock),
        message="the job did not end in {waited} s: it waits for a lock that {holder} holds",
        hint="less {log}",
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
        message="it needs {path}, which is not in the container: {meant}",
        hint='${{EDITOR:-vi}} {component_file}  # [[files]]: path = "{path}"',
    ),
    Rule(
        reference="listens-elsewhere",
        blame="user",
        when=both(doing("gate"), runs, _listens_elsewhere),
        message="not ready after {waited} s: its probe asks port {asked}, and it listens on {ports}",
        hint="${{EDITOR:-vi}} {component_file}  # [ports] and its configuration must name one port",
    ),
    Rule(
        reference="listens-on-loopback",
        blame="user",
        when=both(doing("gate"), runs, _on_loopback),
        message="not ready after {waited} s: it listens on {address}:{asked}, which only its own container can reach",
        hint="${{EDITOR:-vi}} {component_file}  # have it listen on 0.0.0.0",
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
        when=both(doing("gate"), runs, said(r"GET (?P<url>\S+) answered (?P<status>4\d\d)")),
        message="not ready after {waited} s: GET {url} answers {status}, so that is not its health endpoint",
        hint="${{EDITOR:-vi}} {component_file}  # ready.path",
    ),
    Rule(
        reference="slow-start",
        blame="infrastructure",
        when=both(doing("gate"), runs, _nothing_listens),
        message="not ready after {waited} s: it runs and does not take connections yet ({cpu} s of CPU so far): {said}",
        hint="${{EDITOR:-vi}} {component_file}  # ready.timeout: it needs longer here; less {log}",
    ),
)
