"""Decide, then do: a service and tier made concrete for one run. Pure; needs no engine.

A plan holds everything the stack needs except what only the engine knows: which images there were, and, under
`--ports auto`, the host's ports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra import run_names, workers, workspace
from infra.catalog.declared import Catalog, host_ports, rendered
from infra.errors import Invalid, Unavailable, again
from infra.masking import masked
from infra.model import BuildSpec, Component, PostgresProbe, ProbeSpec, PytestSuite, RedisProbe, Tier, TierSpec
from infra.placeholders import render
from infra.settings import PortsMode, Settings
from infra.workers import Claimed, Cloned, Worker
from infra.workspace import PlannedFile, check_build, check_folder, check_requirements, declared, migration_files

_SOURCES: Mapping[str, Literal["registry", "local", "registry|local"]] = {
    "auto": "registry|local",
    "registry": "registry",
    "local": "local",
}


@dataclass(frozen=True, kw_only=True)
class PlannedImage:
    """`ref` is the run's own tag for a build, the registry's name otherwise."""

    name: str
    ref: str
    source: Literal["build", "registry", "local", "registry|local"]
    build: BuildSpec | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedPort:
    """A published port; `host` is None until the engine has chosen one."""

    name: str
    container: int
    host: int | None


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One container of the stack and the gate behind which the next one starts.

    `declared` is a hash of all that the container is made of, but its name: the same in every run of one declaration.
    `places` are the files that a person edits to mend it. A development stack's has a `volume` (a name, and where it
    is) that outlives the container, and `restarts`, as often as the engine starts it again when it fails.
    """

    name: str
    kind: Literal["service", "job"]
    container: str
    image: PlannedImage
    command: tuple[str, ...]
    env: Mapping[str, str]
    files: tuple[PlannedFile, ...]
    ports: tuple[PlannedPort, ...]
    ready: ProbeSpec
    stop_grace_s: float
    memory_mb: int | None
    on_reuse: Literal["flush-redis"] | None
    declared: str
    places: Mapping[str, str]
    volume: tuple[str, str] | None = None
    restarts: int = 0

    def host_ports(self, published: Mapping[int, int]) -> dict[str, int]:
        """Return the host's ports by their names, of those that the engine has published."""
        return {port.name: published[port.container] for port in self.ports if port.container in published}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run: its names, its steps in order, its suite."""

    run: str
    service: str
    tier: Tier
    language: str
    ports_mode: PortsMode
    network: str
    steps: tuple[PlannedStep, ...]
    suite: TierSpec
    suite_ports: tuple[PlannedPort, ...]
    cloned: Cloned | None
    values: Mapping[str, str]
    secrets: frozenset[str]
    places: Mapping[str, str]

    @property
    def words(self) -> str:
        """The words of a command line that name it; `integration` is what a tier is where none is named."""
        return f"--service {self.service}" + (f" --tier {self.tier}" if self.tier != "integration" else "")

    @property
    def worker_count(self) -> int:
        """How many parallel processes have something of their own: none where the tier declares nothing."""
        return self.suite.worker_count

    @property
    def worker_has(self) -> str:
        """What each worker has for itself, in words."""
        has = ["a database"] if self.cloned else []
        return " and ".join([*has, "a Redis number"] if self.redis else has)

    @property
    def redis(self) -> Claimed | None:
        """The Redis of which each worker has a database number."""
        name = self.suite.workers.redis if self.suite.workers else None
        ready = next((step.ready for step in self.steps if step.name == name), None)
        return Claimed(component=str(name), port=ready.port) if isinstance(ready, RedisProbe) else None

    def suite_env(
        self, ports: Mapping[str, Mapping[str, int]], run_dir: str, each: tuple[Worker, ...] = ()
    ) -> dict[str, str]:
        """Return what the catalogue maps for the suite; `ports` is component to port name to host port."""
        values = self.suite_values(ports, run_dir)
        given = {key: render(text, values) for key, text in self.suite.env.items()}
        declared = self.suite.workers
        return given if declared is None else given | workers.environment(declared, each, values)

    def suite_values(self, ports: Mapping[str, Mapping[str, int]], run_dir: str) -> dict[str, str]:
        """Return the values of all placeholders that a suite's declaration may use."""
        values = {**self.values, "run_dir": run_dir}
        for component, numbers in ports.items():
            values |= {f"{component}.{name}": str(number) for name, number in numbers.items()}
        return values

    def mask(self, text: str) -> str:
        """Return `text` without any secret of this run, as it is or as JSON or XML would write it."""
        return masked(text, self.secrets)

    def as_json(self) -> dict[str, Any]:
        """Return the contract of `infra.plan --json`."""
        return {
            "service": self.service,
            "tier": self.tier,
            "run": self.run,
            "ports_mode": self.ports_mode,
            "suite_ports": {port.name: {"host": port.host} for port in self.suite_ports},
            "workers": self.worker_count,
            "steps": [
                {
                    "name": step.name,
                    "kind": step.kind,
                    "image": {"ref": step.image.ref, "source": step.image.source},
                    "ports": {p.name: {"host": p.host, "container": p.container} for p in step.ports},
                    "ready": {"probe": step.ready.probe, "timeout_s": step.ready.timeout},
                }
                for step in self.steps
            ],
        }


def make(
    catalog: Catalog,
    settings: Settings,
    *,
    service: str | None,
    tier: str = "integration",
    run: str | None = None,
    ports: str = "fixed",
) -> Plan:
    """Make the plan of one run. Raises `Invalid`; reads the workspace's migrations, touches nothing."""
    spec = catalog.tier(service, tier)
    offered = catalog.service(service)
    run = run_names.run_name(run)
    mode = _ports_mode(ports)
    name = str(service)
    _check_target(name, tier, spec)
    key = f"{catalog.folder / 'services' / name}.toml: tiers.{tier}"
    check_folder(settings.workspace, spec.cwd, f"{key}.cwd")
    if isinstance(spec.suite, PytestSuite):
        check_requirements(settings.workspace, spec.suite.requirements, f"{key}.suite.requirements")
    stack = offered.stack_of(tier)
    values = {"run": run, "service": name, "tier": tier, **(catalog.texts(*stack) if stack else {})}
    steps = []
    for part in stack:
        fixed = host_ports(offered, part, catalog.components[part].ports) if mode == "fixed" else {}
        steps.append(_step(settings, catalog, part, fixed, values))
    return Plan(
        run=run,
        service=name,
        tier=_tier(tier),
        language=offered.language,
        ports_mode=mode,
        network=f"{name}-{run}",
        steps=tuple(steps),
        suite=spec,
        suite_ports=tuple(
            PlannedPort(name=port, container=number, host=number if mode == "fixed" else None)
            for port, number in offered.suite_ports_of(tier).items()
        ),
        cloned=cloned(spec.workers.postgres if spec.workers else None, steps),
        values=values,
        secrets=frozenset(s for part in stack for s in catalog.components[part].secrets.values() if s),
        places=workspace.places_of_service(settings.workspace, catalog.folder, name, spec.cwd),
    )


def _tier(tier: str) -> Tier:
    if tier == "unit":
        return "unit"
    return "integration" if tier == "integration" else "e2e"


def cloned(name: str | None, steps: Sequence[PlannedStep]) -> Cloned | None:
    """Find what workers' databases are clones of; its content is a hash of the jobs that have filled it."""
    at = next((index for index, step in enumerate(steps) if step.name == name), None)
    if name is None or at is None or not isinstance(ready := steps[at].ready, PostgresProbe):
        return None
    jobs = [step for step in steps[at + 1 :] if step.kind == "job"]
    digest = hashlib.sha256(
        repr([(job.image.name, job.command, sorted(job.env.items()), job.files) for job in jobs]).encode()
    )
    return Cloned(component=name, ready=ready, after=jobs[-1].name if jobs else name, content=digest.hexdigest()[:8])


def _check_target(service: str, tier: str, spec: TierSpec) -> None:
    if spec.target != "podman":
        raise Unavailable(
            f"{service} {tier} runs on {spec.target}, and there is no such target yet: nothing was started",
            reference="no-such-target",
            remedy=f'invoke infra.plan --service {service}  # or target = "podman" in [tiers.{tier}]',
            blame="user",
        )


def _ports_mode(ports: str) -> PortsMode:
    if ports == "fixed":
        return "fixed"
    if ports == "auto":
        return "auto"
    raise Invalid(f'--ports is fixed or auto, not "{ports}"', reference="arguments", remedy=again("--help"))


def _step(
    settings: Settings,
    catalog: Catalog,
    name: str,
    fixed: Mapping[str, int],
    values: Mapping[str, str],
) -> PlannedStep:
    component = catalog.components[name]
    own = catalog.own_file(name)
    files = [
        PlannedFile(path=f.path, content=render(f.content, values), mode=int(f.mode, 8), owner=f.owner)
        for f in component.files
    ]
    try:
        if component.migrations is not None:
            at = catalog.origins[name].file_of("migrations.folder")
            files += migration_files(settings.workspace, component.migrations, f"{at}: migrations.folder")
        if component.build is not None:
            check_build(settings.workspace, component.build, str(catalog.origins[name].file_of("build")))
    except Invalid as error:
        error.remedy = catalog.mended(name, error.remedy)
        raise
    return PlannedStep(
        name=name,
        kind=component.kind,
        container=f"{values['service']}-{name}-{values['run']}",
        image=_image(settings, component, values),
        command=tuple(render(word, values) for word in component.command),
        env={key: render(text, values) for key, text in component.env.items()},
        files=tuple(files),
        ports=tuple(
            PlannedPort(name=port, container=number, host=fixed.get(port)) for port, number in component.ports.items()
        ),
        ready=rendered(component.ready, values),
        stop_grace_s=component.stop_grace,
        memory_mb=component.memory_mb,
        on_reuse=component.on_reuse,
        declared=declared(component, files),
        places=workspace.places(settings.workspace, component, own),
    )


def _image(settings: Settings, component: Component, values: Mapping[str, str]) -> PlannedImage:
    if component.build is None:
        return PlannedImage(name=component.image, ref=component.image, source=_SOURCES[settings.images])
    name = component.image.rpartition(":")[0] or component.image
    tag = f"{name}:{values['service']}-{values['run']}"
    return PlannedImage(name=name, ref=tag, source="build", build=component.build)
