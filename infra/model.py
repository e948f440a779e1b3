"""The catalogue's words: what a component and a service may declare.

Shapes only, validated by pydantic: unknown keys are refused, everything is frozen. What needs more than one file to
judge (ports that collide, placeholders, files that must exist) is checked in `catalog.loading` and `plan`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

Tier = Literal["unit", "integration", "e2e"]
NAME = r"^[a-z][a-z0-9-]{0,39}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
# A registry host (with a dot, a port or `localhost`), a path, and a tag or digest or neither.
IMAGE = re.compile(
    r"^(?P<registry>localhost|[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?|[a-z0-9-]+:\d+)"
    r"/(?P<path>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(?P<version>:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?$"
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(value: object) -> object:
    """Accept "500ms", "30s", "15m", "1h" or a number of seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
        if match is None:
            raise ValueError('a duration such as "500ms", "30s" or "15m"')
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool):
        raise ValueError('a duration such as "500ms", "30s" or "15m"')  # noqa: TRY004 - pydantic wants this one
    return value


def _image(value: object) -> object:
    if isinstance(value, str) and IMAGE.match(value) is None:
        raise ValueError(
            "an image named in full, with its registry, such as "
            '"docker.io/library/postgres:16-alpine" or "localhost/my-service"'
        )
    return value


def _form(value: object) -> str:
    return "(table)" if isinstance(value, dict) else "(number)"


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
ImageName = Annotated[str, BeforeValidator(_image)]
HostPorts = Annotated[
    Annotated[PortNumber, Tag("(number)")] | Annotated[dict[Name, PortNumber], Tag("(table)")], Discriminator(_form)
]


class Word(BaseModel):
    """Base of everything in the catalogue: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PostgresProbe(Word):
    """Ready when a query on the target database answers over TCP."""

    probe: Literal["postgres"]
    port: Name
    database: str
    user: str
    password: str
    timeout: Seconds = 30.0


class RedisProbe(Word):
    """Ready when PING answers PONG."""

    probe: Literal["redis"]
    port: Name
    timeout: Seconds = 10.0


class HttpProbe(Word):
    """Ready when GET `path` answers `status` and the body contains `body`."""

    probe: Literal["http"]
    port: Name
    path: str = "/"
    status: Annotated[int, Field(ge=100, le=599, strict=True)] = 200
    body: str = ""
    timeout: Seconds = 30.0


class CompletedProbe(Word):
    """Ready when the container has ended with exit code 0: a one-shot job."""

    probe: Literal["completed"]
    timeout: Seconds = 120.0


ProbeSpec = Annotated[PostgresProbe | RedisProbe | HttpProbe | CompletedProbe, Field(discriminator="probe")]


class FileSpec(Word):
    """A file copied into the container before it starts. `content` may hold placeholders."""

    path: Annotated[str, StringConstraints(pattern=r"^/.+$")]
    content: str
    mode: Annotated[str, StringConstraints(pattern=r"^0[0-7]{3}$")] = "0444"
    owner: Annotated[int, Field(ge=0, le=65535, strict=True)] = 0


class MigrationsSpec(Word):
    """Numbered .sql files of the workspace, copied to `target` with an `order` file: see `migrations`."""

    folder: str
    target: Annotated[str, StringConstraints(pattern=r"^/.+$")] = "/migrations"


class BuildSpec(Word):
    """How the image is built: paths relative to the workspace. `images` are build arguments that name images."""

    context: str = "."
    containerfile: str
    args: dict[EnvName, str] = {}
    images: dict[EnvName, ImageName] = {}
    target: str | None = None


class Component(Word):
    """One container: `components/<name>.toml`."""

    image: ImageName
    build: BuildSpec | None = None
    kind: Literal["service", "job"] = "service"
    command: tuple[str, ...] = ()
    env: dict[EnvName, str] = {}
    secrets: dict[Name, str] = {}
    ports: dict[Name, PortNumber] = {}
    files: tuple[FileSpec, ...] = ()
    migrations: MigrationsSpec | None = None
    ready: ProbeSpec
    stop_grace: Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)] = 0.0
    memory_mb: Annotated[int, Field(gt=0, strict=True)] | None = None
    on_reuse: Literal["flush-redis"] | None = None
    """What gives the component a clean slate when a suite uses a stack that was up before it."""


class Step(Word):
    """A command run on the host before the suite; `name` is the step's name in the report."""

    name: Name
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: Seconds = 300.0


class GinkgoSuite(Word):
    """A Go suite run by Ginkgo v2, of the version that the workspace's go.mod asks for."""

    runner: Literal["ginkgo"]
    packages: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: Seconds = 900.0
    procs: Annotated[int, Field(ge=1, le=64, strict=True)] = 4
    args: tuple[str, ...] = ()
    allowed_skips: tuple[str, ...] = ()
    """Full spec texts that may skip themselves; any other `Skip()` fails the run."""


class TierSpec(Word):
    """One tier of a service. `stack` replaces the service's own; an empty one needs no engine."""

    suite: GinkgoSuite
    stack: tuple[Name, ...] | None = None
    env: dict[EnvName, str] = {}
    path: tuple[str, ...] = ()
    unset: tuple[EnvName, ...] = ()
    cwd: str = "."
    before: tuple[Step, ...] = ()


class Service(Word):
    """One service: `services/<name>.toml`. `ports` are the host's, used with `--ports fixed`."""

    language: Literal["go", "python"]
    stack: tuple[Name, ...] = ()
    ports: dict[Name, HostPorts] = {}
    tiers: Annotated[dict[Tier, TierSpec], Field(min_length=1)]


class Recipe(Word):
    """`local/<name>.toml`: how to have a registry's image where no registry answers.

    Either `bootstrap` (a Debian release, made by mmdebstrap) or `containerfile`, with `images` as in `BuildSpec`.
    `version` is a command in the result that prints the version of what is inside.
    """

    image: ImageName
    bootstrap: str | None = None
    packages: tuple[str, ...] = ()
    containerfile: str | None = None
    images: dict[EnvName, ImageName] = {}
    version: tuple[str, ...] = ()
