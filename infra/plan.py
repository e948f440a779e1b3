"""Decide, then do: a service and tier made concrete for one run. Pure; needs no engine.

A plan holds everything the stack needs except what only the engine knows: which images there were, and, under
`--ports auto`, the host's ports.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape

from infra import migrations
from infra.catalog.loading import Catalog, host_ports
from infra.errors import Invalid
from infra.model import BuildSpec, Component, PostgresProbe, ProbeSpec, Tier, TierSpec
from infra.placeholders import render
from infra.settings import PortsMode, Settings

HOST = "127.0.0.1"
MASK = "********"
RUN_NAME = r"[0-9a-f]{8}"
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
class PlannedFile:
    """A file copied in before start."""

    path: str
    content: str
    mode: int
    owner: int


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One container of the stack and the gate behind which the next one starts."""

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
    values: Mapping[str, str]
    secrets: frozenset[str]

    def suite_env(self, ports: Mapping[str, Mapping[str, int]], run_dir: str) -> dict[str, str]:
        """Return what the catalogue maps for the suite; `ports` is component to port name to host port."""
        values = self.suite_values(ports, run_dir)
        return {key: render(text, values) for key, text in self.suite.env.items()}

    def suite_values(self, ports: Mapping[str, Mapping[str, int]], run_dir: str) -> dict[str, str]:
        """Return the values of all placeholders that a suite's declaration may use."""
        values = {**self.values, "run_dir": run_dir}
        for component, numbers in ports.items():
            values |= {f"{component}.{name}": str(number) for name, number in numbers.items()}
        return values

    def mask(self, text: str) -> str:
        """Return `text` without any secret of this run, as it is or as JSON or XML would write it."""
        forms = {form for secret in self.secrets for form in _written(secret)}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, MASK)
        return text

    def as_json(self) -> dict[str, Any]:
        """Return the contract of `infra.plan --json`."""
        return {
            "service": self.service,
            "tier": self.tier,
            "run": self.run,
            "ports_mode": self.ports_mode,
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


def _written(secret: str) -> tuple[str, ...]:
    return (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        escape(secret),
        escape(secret, {'"': "&quot;"}),
    )


def new_run() -> str:
    """Return a run's name: 8 hex digits."""
    return secrets.token_hex(4)


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
    declared = catalog.service(service)
    run = run_name(run)
    mode = _ports_mode(ports)
    name = str(service)
    _check_folder(catalog, settings, str(service), tier, spec)
    stack = declared.stack if spec.stack is None else spec.stack
    values = {"run": run, "service": name, "tier": tier}
    for part in stack:
        values |= {f"{part}.secrets.{k}": v for k, v in catalog.components[part].secrets.items()}
    steps = []
    for part in stack:
        component = catalog.components[part]
        fixed = host_ports(declared, part, component.ports) if mode == "fixed" else {}
        steps.append(_step(settings, catalog, part, component, fixed, values))
    return Plan(
        run=run,
        service=name,
        tier=_tier(tier),
        language=declared.language,
        ports_mode=mode,
        network=f"{name}-{run}",
        steps=tuple(steps),
        suite=spec,
        values=values,
        secrets=frozenset(s for part in stack for s in catalog.components[part].secrets.values() if s),
    )


def _tier(tier: str) -> Tier:
    if tier == "unit":
        return "unit"
    return "integration" if tier == "integration" else "e2e"


def run_name(run: str | None) -> str:
    """Return the name that was asked for, or a new one. Raises `Invalid`."""
    if run is None:
        return new_run()
    if re.fullmatch(RUN_NAME, run) is None:
        raise Invalid(f'a run is named by 8 hex digits, not "{run}"', reference="run-name", remedy="leave --run out")
    return run


def _check_folder(catalog: Catalog, settings: Settings, service: str, tier: str, spec: TierSpec) -> None:
    folder = settings.workspace / spec.cwd
    if not folder.is_dir():
        path = catalog.folder / "services" / f"{service}.toml"
        raise Invalid(
            f"{path}: tiers.{tier}.cwd: no folder at {folder}",
            reference="suite-folder-missing",
            remedy="check the path, or point INFRA_WORKSPACE at the right workspace",
        )


def _ports_mode(ports: str) -> PortsMode:
    if ports == "fixed":
        return "fixed"
    if ports == "auto":
        return "auto"
    raise Invalid(f'--ports is fixed or auto, not "{ports}"', reference="arguments", remedy="--ports auto")


def _step(
    settings: Settings,
    catalog: Catalog,
    name: str,
    component: Component,
    fixed: Mapping[str, int],
    values: Mapping[str, str],
) -> PlannedStep:
    path = catalog.folder / "components" / f"{name}.toml"
    files = [
        PlannedFile(path=f.path, content=render(f.content, values), mode=int(f.mode, 8), owner=f.owner)
        for f in component.files
    ]
    if component.migrations is not None:
        files += _migration_files(settings, component, f"{path}: migrations.folder")
    if component.build is not None:
        _check_build(settings, component.build, str(path))
    ready = component.ready
    if isinstance(ready, PostgresProbe):
        ready = ready.model_copy(update={"password": render(ready.password, values)})
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
        ready=ready,
        stop_grace_s=component.stop_grace,
        memory_mb=component.memory_mb,
        on_reuse=component.on_reuse,
    )


def _image(settings: Settings, component: Component, values: Mapping[str, str]) -> PlannedImage:
    if component.build is None:
        return PlannedImage(name=component.image, ref=component.image, source=_SOURCES[settings.images])
    name = component.image.rpartition(":")[0] or component.image
    tag = f"{name}:{values['service']}-{values['run']}"
    return PlannedImage(name=name, ref=tag, source="build", build=component.build)


def _check_build(settings: Settings, build: BuildSpec, path: str) -> None:
    context = settings.workspace / build.context
    if not context.is_dir():
        what = f"{path}: build.context: no folder at {context}"
    elif not (settings.workspace / build.containerfile).is_file():
        what = f"{path}: build.containerfile: no file at {settings.workspace / build.containerfile}"
    else:
        return
    remedy = "check the path, or point INFRA_WORKSPACE at the right workspace"
    raise Invalid(what, reference="build-files-missing", remedy=remedy)


def _migration_files(settings: Settings, component: Component, key: str) -> list[PlannedFile]:
    spec = component.migrations
    if spec is None:
        return []
    found = migrations.read(settings.workspace / spec.folder, key)
    order = "".join(f"{migration.name}\n" for migration in found)
    files = [PlannedFile(path=f"{spec.target}/order", content=order, mode=0o444, owner=0)]
    files += [
        PlannedFile(path=f"{spec.target}/{migration.name}", content=migration.sql, mode=0o444, owner=0)
        for migration in found
    ]
    return files
