"""The catalogue's words: what a component and a service may declare.

Shapes only, validated by pydantic: unknown keys are refused, everything is frozen. What needs more than one file to
judge (ports that collide, placeholders, files that must exist) is checked in `catalog.loading` and `plan`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.values import (
    DebianPackage,
    EnvName,
    FileMode,
    FileName,
    Grace,
    HostPorts,
    ImageName,
    Images,
    Inside,
    Name,
    Packages,
    Paths,
    PortNumber,
    Processes,
    Rooted,
    Seconds,
    Text,
)

Tier = Literal["unit", "integration", "e2e"]


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

    path: Rooted
    content: str
    mode: FileMode = "0444"
    owner: Annotated[int, Field(ge=0, le=65535, strict=True)] = 0


class MigrationsSpec(Word):
    """Numbered .sql files of the workspace, copied to `target` with an `order` file: see `migrations`."""

    folder: Inside
    target: Rooted = "/migrations"


class BuildSpec(Word):
    """How the image is built: paths relative to the workspace. `images` are build arguments that name images.

    Of several images the first is taken that is here, or that its registry has, or that has a recipe.
    """

    context: Inside = "."
    containerfile: Inside
    args: dict[EnvName, Text] = {}
    images: dict[EnvName, Images] = {}
    target: Name | None = None


class Component(Word):
    """One container: `components/<name>.toml`."""

    extends: Name | None = None
    """A component of the package's own, whose tables this file's are merged into: gone once it is read."""
    image: ImageName
    build: BuildSpec | None = None
    kind: Literal["service", "job"] = "service"
    command: tuple[Text, ...] = ()
    env: dict[EnvName, Text] = {}
    secrets: dict[Name, Text] = {}
    values: dict[Name, Text] = {}
    """Texts for placeholders that are no secrets: `{postgres.values.database}`."""
    ports: dict[Name, PortNumber] = {}
    files: tuple[FileSpec, ...] = ()
    migrations: MigrationsSpec | None = None
    ready: ProbeSpec
    stop_grace: Grace = 0.0
    memory_mb: Annotated[int, Field(gt=0, strict=True)] | None = None
    on_reuse: Literal["flush-redis"] | None = None
    """What gives the component a clean slate when a suite uses a stack that was up before it."""


class Step(Word):
    """A command run on the host before the suite; `name` is the step's name in the report."""

    name: Name
    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    timeout: Seconds = 300.0


class GinkgoSuite(Word):
    """A Go suite run by Ginkgo v2, of the version that the workspace's go.mod asks for."""

    tool: ClassVar[str] = "github.com/onsi/ginkgo/v2/ginkgo"
    """The Go package that the runner's command is built from."""
    runner: Literal["ginkgo"]
    packages: Packages
    timeout: Seconds = 900.0
    procs: Processes = 4
    args: tuple[Text, ...] = ()
    allowed_skips: tuple[str, ...] = ()
    """Full spec texts that may skip themselves; any other `Skip()` fails the run."""

    @property
    def what(self) -> tuple[str, ...]:
        """What is run."""
        return self.packages


class GotestsumSuite(Word):
    """A plain `go test`, run by gotestsum of the version that the workspace's go.mod asks for."""

    tool: ClassVar[str] = "gotest.tools/gotestsum"
    runner: Literal["gotestsum"]
    packages: Packages
    timeout: Seconds = 900.0
    args: tuple[Text, ...] = ()
    """Words for `go test`, after gotestsum's own `--`."""
    allowed_skips: tuple[str, ...] = ()
    """`<package> <Test/subtest>` of those that may skip themselves."""

    @property
    def what(self) -> tuple[str, ...]:
        """What is run."""
        return self.packages

    @property
    def procs(self) -> int:
        """A test does not know in which of `go test`'s processes it is: all are one worker."""
        return 1


class PytestSuite(Word):
    """A Python suite run by pytest, in `procs` processes of pytest-xdist where that is more than one.

    `requirements` are installed into a virtual environment of the suite's own, made once for what the files hold;
    without them pytest is that of the `python3` on PATH.
    """

    tool: ClassVar[str] = ""
    runner: Literal["pytest"]
    paths: Paths
    requirements: tuple[Inside, ...] = ()
    timeout: Seconds = 900.0
    procs: Processes = 1
    args: tuple[Text, ...] = ()
    allowed_skips: tuple[str, ...] = ()
    """Full names (`package.module.Class.test[parameters]`) of those that may skip themselves."""

    @property
    def what(self) -> tuple[str, ...]:
        """What is run."""
        return self.paths


SuiteSpec = Annotated[GinkgoSuite | GotestsumSuite | PytestSuite, Field(discriminator="runner")]


class WorkersSpec(Word):
    """What each parallel process of a suite has for itself, so that they do not meet.

    `postgres` names a component: each worker gets a database, cloned from its migrated one. `redis` names a component:
    each worker gets a database number. `env` is rendered once a worker, and its number is put behind each name.
    """

    count: Processes | None = None
    """How many; the suite's processes where it is not said."""
    postgres: Name | None = None
    redis: Name | None = None
    env: Annotated[dict[EnvName, Text], Field(min_length=1)]


class TierSpec(Word):
    """One tier of a service. `stack` replaces the service's own; the tier unit has none unless it names one.

    `target` is where the stack runs: containers here, or a Kubernetes cluster.
    """

    suite: SuiteSpec
    target: Literal["podman", "kind"] = "podman"
    stack: tuple[Name, ...] | None = None
    env: dict[EnvName, Text] = {}
    workers: WorkersSpec | None = None
    path: tuple[Text, ...] = ()
    unset: tuple[EnvName, ...] = ()
    cwd: Inside = "."
    before: tuple[Step, ...] = ()

    @property
    def worker_count(self) -> int:
        """How many parallel processes have something of their own: none where nothing is declared."""
        return 0 if self.workers is None else self.workers.count or self.suite.procs

    def environment(self, base: Mapping[str, str], given: Mapping[str, str], cwd: Path) -> dict[str, str]:
        """Return the suite's environment: the host's less `unset`, folders first on PATH, what is given on top."""
        environ = {key: value for key, value in base.items() if key not in self.unset}
        folders = [str((cwd / folder).resolve()) for folder in self.path]
        environ["PATH"] = os.pathsep.join([*folders, environ.get("PATH", os.defpath)])
        return environ | dict(given)


class Service(Word):
    """One service: `services/<name>.toml`. `ports` are the host's, used with `--ports fixed`.

    `suite_ports` are ports that a suite's own processes listen on: `{suite.<name>}` in its environment.
    """

    language: Literal["go", "python"]
    stack: tuple[Name, ...] = ()
    ports: dict[Name, HostPorts] = {}
    suite_ports: dict[Name, PortNumber] = {}
    tiers: Annotated[dict[Tier, TierSpec], Field(min_length=1)]

    def suite_ports_of(self, tier: str) -> dict[str, int]:
        """Return the ports that the suite of a tier listens on: none in the tier unit."""
        return {} if tier == "unit" else self.suite_ports

    def stack_of(self, tier: str) -> tuple[str, ...]:
        """Return the stack of a tier: its own, else the service's; the tier unit has none unless it names one."""
        spec = next((spec for name, spec in self.tiers.items() if name == tier), None)
        if spec is not None and spec.stack is not None:
            return spec.stack
        return () if tier == "unit" else self.stack


class Recipe(Word):
    """`local/<name>.toml`: how to have a registry's image where no registry answers.

    Either `bootstrap` (a Debian release, made by mmdebstrap) or `containerfile`, with `images` as in `BuildSpec`.
    `version` is a command in the result that prints the version of what is inside.
    """

    image: ImageName
    bootstrap: Name | None = None
    packages: tuple[DebianPackage, ...] = ()
    containerfile: FileName | None = None
    images: dict[EnvName, ImageName] = {}
    version: tuple[Text, ...] = ()
