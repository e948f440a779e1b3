"""The engine: that it is there, that it works, and what it refuses."""

from __future__ import annotations

from infra.causes.rules import Rule, always, both, doing, told

RULES = (
    Rule(
        reference="machine-in-two-minds",
        blame="infrastructure",
        when=told(
            r"unable to start \"?(?P<machine>[\w.-]+)\"?: already running",
            r"(?P<machine>podman-machine-[\w.-]+).*already running",
        ),
        message="the Podman machine {machine} says that it runs and does not answer",
        hint="podman machine stop {machine} && podman machine start {machine}",
    ),
    Rule(
        reference="engine-internal",
        blame="infrastructure",
        when=told(r"internal libpod error"),
        message="Podman has an internal error: {line}",
        hint="podman system check  # Podman 5; before: podman info, then end the container that it names",
    ),
    Rule(
        reference="engine-permission",
        blame="user",
        when=both(doing("engine"), told(r"[Pp]ermission denied")),
        message="Podman's socket may not be opened by this user: {said}",
        hint="{engine_fix}",
    ),
    Rule(
        reference="engine-unreachable",
        blame="user",
        when=both(doing("engine"), always),
        message="Podman does not answer: {said}",
        hint="{engine_fix}",
    ),
)
