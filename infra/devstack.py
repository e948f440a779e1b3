"""The words of the development stack, `dev.toml`: what of the catalogue's components stays up all day, and where."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from infra.errors import NotReady
from infra.model import GotestsumSuite, Service, TierSpec, Word
from infra.values import HostPorts, Name, Rooted, Text

DEV = "dev"
"""What its containers and labels have as the name of their service."""
BOOTSTRAP = "dev.bootstrap"
"""The reason in the marker of a run that is the development stack."""
FILE = "dev.toml"
EXAMPLE = 'stack = ["postgres"]; ports.postgres = 5432; components.postgres.data = "/var/lib/postgresql/data"'
"""A whole one, for a line of a message: each part is a line of the file."""
DATA = {"postgres": "/var/lib/postgresql/data", "redis": "/data"}
"""By the probe of what has data: where the images that everybody uses keep them."""
LOCK = "-dev"
"""The lock of who makes, mends or removes it."""


class DevComponent(Word):
    """How a component differs there. `data` is a folder in the container that a volume keeps."""

    command: tuple[Text, ...] | None = None
    data: Rooted | None = None


class DevStack(Word):
    """The development stack. `restarts` is how often a component that has crashed is started again by the engine."""

    stack: Annotated[tuple[Name, ...], Field(min_length=1)]
    ports: dict[Name, HostPorts] = Field(default={})
    restarts: Annotated[int, Field(ge=0, le=100, strict=True)] = 5
    components: dict[Name, DevComponent] = Field(default={})

    def as_service(self) -> Service:
        """Return it as a service, which is how stacks are planned; its suite is never run."""
        suite = GotestsumSuite(runner="gotestsum", packages=("./...",))
        return Service(language="go", stack=self.stack, ports=self.ports, tiers={"integration": TierSpec(suite=suite)})


def goes_on(pid: int) -> str:
    """Return who makes, mends or removes it now, in words."""
    return f"another dev.bootstrap or dev.cleanup{f' (process {pid})' if pid else ''} goes on"


def busy(pid: int) -> NotReady:
    """Return the error for one that has been at it for longer than anybody waits."""
    return NotReady(
        f"{goes_on(pid)}, and has not ended",
        reference="dev-stack-busy",
        remedy=f"kill {pid}  # ends it; then again" if pid else "invoke infra.status  # who is at it?",
        blame="user",
    )


def refuse_to_end(run: str, kept: str | None) -> None:
    """Raise `NotReady` for a run that is the development stack: one command alone ends that."""
    if kept == BOOTSTRAP:
        raise NotReady(
            f"run {run} is the development stack, which stays with its data until dev.cleanup",
            reference="dev-stack-stays",
            remedy=f"invoke dev.cleanup --run {run}  # removes it and its data",
            blame="user",
        )


def refuse_to_break(run: str, kept: str | None) -> None:
    """Raise `NotReady` for a run that is the development stack: no suite takes its components away."""
    if kept == BOOTSTRAP:
        raise NotReady(
            f"run {run} is the development stack: its components are not taken away, frozen or waited for",
            reference="dev-stack-shared",
            remedy="invoke dev.bootstrap  # brings back what is not there; suite.run gives a suite a stack of its own",
            blame="user",
        )
