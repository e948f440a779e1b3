"""Ports, addresses and networks."""

from __future__ import annotations

import re

from infra.causes.facts import Facts
from infra.causes.rules import Match, Rule, both, doing, said, told

_REFUSED = re.compile(
    r"(?P<host>\[::1\]|localhost|127\.0\.0\.1):(?P<port>\d+)\S*:? .*?(?:[Cc]onnection refused|ECONNREFUSED)"
    r"|connect ECONNREFUSED (?P<host2>::1|127\.0\.0\.1):(?P<port2>\d+)"
    # libpq, then urllib3, whose words pytest's report cuts short before the reason
    r"|at \"(?P<host3>[^\"]+)\", port (?P<port3>\d+) failed: Connection refused"
    r"|host='(?P<host4>[^']+)', port=(?P<port4>\d+)\).*NewConnectionError",
)
_OURS = ("::1", "localhost", "127.0.0.1")


def _refused(facts: Facts) -> tuple[str, str, str] | None:
    """Return (host, port, line) where the suite was refused at a port that the stack has published."""
    for line in facts.log:
        if found := _REFUSED.search(line):
            host = next(filter(None, found.group("host", "host2", "host3", "host4"))).strip("[]")
            port = next(filter(None, found.group("port", "port2", "port3", "port4")))
            if port in facts.ports and host in _OURS:
                return host, port, line.strip()
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
        message="it asked for {which} at [::1]:{port}, and ports are published on 127.0.0.1: does it say localhost?",
        hint="grep -rn localhost {suite_dir}  # take the address from the environment",
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
        when=said(r"network (?:name )?(?P<name>\S+) (?:already exists|already used)", r"network already exists"),
        message="a network of the run's name is there already: {said}",
        hint="invoke infra.gc",
    ),
    Rule(
        reference="subnet-taken",
        blame="infrastructure",
        when=said(r"subnet (?P<subnet>\S+) (?:is )?already used", r"could not find free subnet", r"Pool overlaps"),
        message="no subnet is free for the run's network: {said}",
        hint="podman network ls  # invoke infra.gc removes those of dead runs",
    ),
    Rule(
        reference="port-taken",
        blame="user",
        hint="invoke infra.doctor  # shows who holds each port",
    ),
)
