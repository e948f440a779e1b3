"""What PostgreSQL and Redis refuse: roles, databases, passwords, statements of migrations; and locks."""

from __future__ import annotations

import re
from dataclasses import replace

from infra.causes.facts import Facts
from infra.causes.rules import Match, Matcher, Rule, both, by_itself, doing, either, exited, kind, logged, said

# A server's log says what it has told others, whoever they are: `2026-11-22 00:52:58.254 UTC [45] FATAL:  ...`.
_SERVERS = re.compile(r"\[\d+\] (?:\S+ )?(?:LOG|FATAL|ERROR|DETAIL|HINT|STATEMENT|WARNING|PANIC):")
_REFUSED = r"(?:FATAL:\s+|InvalidAuthorizationSpecificationError: |InvalidCatalogNameError: )"
_PASSWORD = r'password authentication failed for user "(?P<user>[^"]+)"'
_PARTITION = r'no partition of relation "(?P<table>[^"]+)" found for row'
_STARTING = (
    r"(?P<words>the database system is (?:starting up|in recovery mode|not yet accepting connections|shutting down))"
)
_OLD, _NEW = r"(?P<old>[\d.]+)", r"(?P<new>[\d.]+)"
_IN_GATE = doing("gate", "watch", "start")


def _client(*patterns: str) -> Matcher:
    """It was told so itself: the probe, or a component that writes down what a server has answered it."""
    search = either(said(*patterns), logged(*patterns))

    def match(facts: Facts) -> Match | None:
        mine = tuple(line for line in facts.log if not _SERVERS.search(line))
        return search(replace(facts, log=mine)) if by_itself(facts) else None

    return match


def _has_migrations(facts: Facts) -> Match | None:
    return Match() if "migrations" in facts.places else None


def _no_such_role(facts: Facts) -> Match | None:
    """Whom PostgreSQL asks for a password it does not tell that there is no such role; its log does."""
    found = _client(_PASSWORD)(facts)
    if found is None:
        return None
    user = found.values["user"]
    for line in (*facts.log, *facts.server_log):
        if _SERVERS.search(line) and f'Role "{user}" does not exist' in line:
            return found | Match(values={"role": user}, evidence=(line.strip(),))
    return None


_NO_ROLE = either(_client(_REFUSED + r'role "(?P<role>[^"]+)" does not exist'), _no_such_role)
_NO_DATABASE = _client(_REFUSED + r'database "(?P<database>[^"]+)" does not exist')
_UNFIT = (
    (_NO_ROLE, 'no role "{role}"'),
    (_NO_DATABASE, 'no database "{database}"'),
    (_client(_PASSWORD), 'no role "{user}" with that password'),
)


def _made_otherwise(facts: Facts) -> Match | None:
    """What is declared is made with the data, and these are older."""
    for matcher, words in _UNFIT if facts.has_old_data else ():
        if (found := matcher(facts)) is not None:
            return found | Match(values={"what": words.format_map(found.values)})
    return None


def _waits_for_lock(facts: Facts) -> Match | None:
    if facts.kind != "job" or not facts.waits_for:
        return None
    holder = facts.waits_for[0]
    by_address = {address: name for name, address in facts.addresses.items()}
    name = next((by_address[word] for word in re.findall(r"[\da-f.:]*[\da-f]", holder) if word in by_address), None)
    said_of = f"{name} holds: {holder}" if name else f"{holder} holds"
    return Match(values={"holder": said_of, "who": name or facts.step}, evidence=facts.waits_for)


RULES = (
    Rule(
        reference="partition-missing",
        blame="product",
        when=either(both(doing("suite"), _has_migrations, logged(_PARTITION)), _client(_PARTITION)),
        message='table "{table}" has no partition for that row: its range partitions have run out',
        hint="${{EDITOR:-vi}} {migrations}  # a migration that adds the next partitions of {table}",
    ),
    Rule(
        reference="redis-refuses",
        blame="user",
        when=both(doing("gate"), said(r"PING answered -(?P<word>DENIED|NOPERM) (?P<why>.*)")),
        message="Redis refuses everybody who is not inside of its container: -{word} {why}",
        hint="${{EDITOR:-vi}} {component_file}  # command: --protected-mode no, or a password",
    ),
    Rule(
        reference="migration-failed",
        blame="product",
        when=both(
            kind("job"),
            by_itself,
            logged(r"psql:(?P<file>[^:\s]+):(?P<at>\d+): (?:ERROR|FATAL|PANIC):\s+(?P<error>.+)"),
        ),
        message="{file}, line {at}: {error}",
        hint="${{EDITOR:-vi}} {migrations}/{file}  # line {at}",
    ),
    Rule(
        reference="data-made-otherwise",
        blame="user",
        when=both(_IN_GATE, _made_otherwise),
        message="its data have {what}: they were made when something else was declared, or somebody has changed them",
        hint="invoke dev.cleanup && invoke dev.bootstrap  # starts afresh, without your data; or declare it as before",
    ),
    Rule(
        reference="role-missing",
        blame="user",
        when=both(_IN_GATE, _NO_ROLE),
        message='PostgreSQL has no role "{role}"',
        hint="${{EDITOR:-vi}} {component_file}  # the user here must be the database's (POSTGRES_USER), not {role}",
    ),
    Rule(
        reference="database-missing",
        blame="user",
        when=both(_IN_GATE, _NO_DATABASE),
        message='PostgreSQL has no database "{database}"',
        hint="${{EDITOR:-vi}} {component_file}  # the database here must be the server's (POSTGRES_DB), not {database}",
    ),
    Rule(
        reference="password-wrong",
        blame="user",
        when=both(_IN_GATE, _client(_PASSWORD, r"(?P<user>\S{1,128}): WRONGPASS|NOAUTH Authentication required")),
        message="the password for {user} is refused",
        hint="${{EDITOR:-vi}} {component_file}  # its password: refer to the database's [secrets]",
    ),
    Rule(
        reference="database-starting-up",
        blame="infrastructure",
        when=both(_IN_GATE, exited(), _client(_STARTING)),
        message='PostgreSQL told it "{words}": the gate of the database passed too early',
        hint='${{EDITOR:-vi}} {component_dir}  # the database\'s [ready]: probe = "postgres", which asks over TCP',
    ),
    Rule(
        reference="data-of-another-version",
        blame="user",
        when=both(
            _IN_GATE,
            logged(rf"initialized by PostgreSQL version {_OLD}, which is not compatible with this version {_NEW}"),
        ),
        message="its data are of version {old}, and it is version {new}: it does not read them",
        hint="invoke dev.cleanup && invoke dev.bootstrap  # starts afresh; to keep the data, go back to that version",
    ),
    Rule(
        reference="relation-missing",
        blame="product",
        when=both(_IN_GATE, _client(r'relation "(?P<table>[^"]+)" does not exist')),
        message='there is no table "{table}": was the schema migrated before it started?',
        hint="${{EDITOR:-vi}} {service_file}  # stack: migrations before {step}? And does one make it?",
    ),
    Rule(
        reference="lock-wait",
        blame="product",
        when=both(doing("gate"), _waits_for_lock),
        message="the job did not end in {waited} s: it waits for a lock that {holder}",
        hint="less {{folder}}/logs/{who}.log  # let it end its transaction, or do it before {step}",
    ),
)
