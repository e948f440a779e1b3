"""The engine: that it is there, that it works, and what it refuses."""

from __future__ import annotations

from infra.causes.rules import Rule, always, both, doing, said

RULES = (
    Rule(
        reference="machine-in-two-minds",
        blame="infrastructure",
        when=said(
            r"unable to start \"?(?P<machine>[\w.-]+)\"?: already running",
            r"(?P<machine>podman-machine-[\w.-]+).*already running",
        ),
        message="the Podman machine {machine} is said to run already, and so cannot be started",
        hint="podman machine stop {machine} && podman machine start {machine}",
    ),
    Rule(
        reference="engine-internal",
        blame="infrastructure",
        when=said(r"internal libpod error"),
        message="Podman has an internal error: {line}",
        hint="podman ps --all --external  # podman rm --force what its words name; Podman 5: podman system check",
    ),
    Rule(
        reference="engine-permission",
        blame="user",
        when=both(doing("engine"), said(r"[Pp]ermission denied")),
        message="this user may not open the socket {url}, which {origin} names",
        hint="{engine_fix}",
    ),
    Rule(
        reference="engine-socket-missing",
        blame="user",
        when=both(doing("engine"), said(r"No such file or directory")),
        message="there is no socket {url}, which {origin} names: no Podman is served there",
        hint="{engine_serve}",
    ),
    Rule(
        reference="engine-socket-dead",
        blame="user",
        when=both(doing("engine"), said(r"Connection refused")),
        message="nobody listens at {url}, which {origin} names: the Podman that was served there has ended",
        hint="{engine_serve}",
    ),
    Rule(
        reference="engine-address",
        blame="user",
        when=both(
            doing("engine"),
            said(
                r"The scheme '[^']*' must be one of",
                r"Name or service not known|Temporary failure in name resolution|No address associated",
                r"Invalid URL|No host supplied|no hostname",
            ),
        ),
        message="{origin} names {url}, which is no address of a Podman: {said}",
        hint="{engine_fix}",
    ),
    Rule(
        reference="engine-unreachable",
        blame="user",
        when=both(doing("engine"), always),
        message="no Podman answers at {url}, which {origin} names: {said}",
        hint="{engine_fix}",
    ),
)
