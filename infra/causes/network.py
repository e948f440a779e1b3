"""Ports, addresses and networks."""

from __future__ import annotations

import re

from infra.causes.facts import Facts
from infra.causes.rules import Match, Rule, both, doing, said, told

_LOCAL = r"(?:\[?::1\]?|localhost|127\.0\.0\.1)"
# As Go, redis-py and Node say it, then requests, then psycopg.
_REFUSED = tuple(
    re.compile(pattern.replace("LOCAL", _LOCAL))
    for pattern in (
        r"(?<![\w.:])(?P<host>LOCAL):(?P<port>\d+)(?:: connect: connection refused|\. Connection refused)",
        r"ECONNREFUSED (?P<host>LOCAL):(?P<port>\d+)",
        # urllib3: of its words pytest's report may cut the reason.
        r"host='(?P<host>LOCAL)', port=(?P<port>\d+).*(?:Connection refused|NewConnectionError)",
        r'connection to server at "(?P<host>LOCAL)"(?: \([^)]*\))?, port (?P<port>\d+) failed: Connection refused',
    )
)


def _refused(facts: Facts) -> tuple[str, str, str] | None:
    """Return (host, port, line) where the suite was refused at a port that the stack has published."""
    for line in facts.log:
        for pattern in _REFUSED:
            if (found := pattern.search(line)) and found["port"] in facts.ports:
                return found["host"].strip("[]"), found["port"], line.strip()
    return None


def _by_localhost(facts: Facts) -> Match | None:
    found = _refused(facts)
    if found is None or found[0] != "::1":
        return None
    _, port, line = found
    return Match(
        values={"port": port, "which": facts.ports[port]}, evidence=(line, f"{facts.ports[port]}: 127.0.0.1:{port}")
    )


def _after_ready(facts: Facts) -> Match | None:
    found = _refused(facts)
    if found is None or found[0] == "::1":
        return None
    _, port, line = found
    which = facts.ports[port]
    return Match(
        values={"port": port, "which": which, "component": which.partition(".")[0]},
        evidence=(line, f"{which}: 127.0.0.1:{port}"),
    )


RULES = (
    Rule(
        reference="localhost-refused",
        blame="test",
        when=both(doing("suite"), _by_localhost),
        message="the suite asked for {which} at [::1]:{port} and was refused; ports are published on 127.0.0.1 only",
        hint="grep -rnE 'localhost|::1' {suite_dir}  # take the address from the environment as it is",
    ),
    Rule(
        reference="refused-after-ready",
        blame="infrastructure",
        when=both(doing("suite"), _after_ready),
        message="it was refused at 127.0.0.1:{port}: {which} was taken for ready and does not serve there",
        hint="${{EDITOR:-vi}} {component_dir}/{component}.toml  # [ready]: ask the port that suites use",
    ),
    Rule(
        reference="forwarding-stale",
        blame="infrastructure",
        when=told(r"proxy already running"),
        message="a port is still forwarded for a container that is gone: {said}",
        hint="invoke infra.doctor --fix  # macOS: podman machine stop && podman machine start",
    ),
    Rule(
        reference="network-exists",
        blame="infrastructure",
        when=said(r"network (?:name )?(?P<name>[0-9a-z][\w-]+-[0-9a-f]{8}) (?:already exists|already used)"),
        message="a network of the run's name is there already: {said}",
        hint="podman network rm {name}  # or another --run",
    ),
    Rule(
        reference="port-taken",
        blame="user",
        hint="invoke infra.doctor  # shows who holds each port; or use --ports auto",
    ),
)
