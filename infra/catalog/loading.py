"""Read a catalogue: every file, every check that needs no workspace and no engine.

All errors are `Invalid` with the file, the key and what would be right. Nothing is half loaded: a catalogue is
either whole or an error.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from infra.catalog.explaining import explain
from infra.catalog.names import toml_problem
from infra.errors import Invalid
from infra.model import NAME, Component, Recipe, Service, TierSpec, Word
from infra.placeholders import nearest, problem

W = TypeVar("W", bound=Word)
_STEPS = ("engine", "check", "suite", "teardown", "version")


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """A whole catalogue. Keys are file names without `.toml`; recipes are keyed by the image they stand for."""

    folder: Path
    components: Mapping[str, Component]
    services: Mapping[str, Service]
    recipes: Mapping[str, Recipe]

    def service(self, name: str | None) -> Service:
        """Return a service, or raise `Invalid` with the nearest name."""
        if name and name in self.services:
            return self.services[name]
        said = f'unknown service "{name}"' if name else "no service given"
        raise Invalid(
            f"{said}{nearest(name or '', self.services)}",
            reference="unknown-service",
            remedy=f"--service {'|'.join(sorted(self.services))}",
        )

    def tier(self, service: str | None, tier: str) -> TierSpec:
        """Return a tier of a service, or raise `Invalid` with the nearest name."""
        tiers = self.service(service).tiers
        for name, spec in tiers.items():
            if name == tier:
                return spec
        raise Invalid(
            f'service "{service}" has no tier "{tier}"{nearest(tier, tiers)}',
            reference="unknown-tier",
            remedy=f"--tier {'|'.join(sorted(tiers))}",
        )


def load(folder: Path) -> Catalog:
    """Load the catalogue in `folder`. Raises `Invalid`."""
    if not (folder / "services").is_dir():
        raise Invalid(
            f"no catalogue at {folder}: it has no folder services/",
            reference="no-catalogue",
            remedy="set INFRA_CATALOG or [tool.infra] catalog in pyproject.toml to the catalogue's folder",
        )
    recipes = _read_all(folder / "local", Recipe)
    for error in _recipe_problems(folder / "local", recipes):
        raise error
    catalog = Catalog(
        folder=folder,
        components=_read_all(folder / "components", Component),
        services=_read_all(folder / "services", Service),
        recipes={recipe.image: recipe for recipe in recipes.values()},
    )
    for problems in (_component_problems, _service_problems, _port_collisions):
        for error in problems(catalog):
            raise error
    return catalog


def _known(components: Mapping[str, Component], stack: tuple[str, ...], *, ports: bool) -> set[str]:
    """Return the placeholders that may be used with this stack; only suites know the host's ports."""
    known = {"run", "service", "tier"} | ({"run_dir"} if ports else set())
    for name in stack:
        known |= {f"{name}.secrets.{secret}" for secret in components[name].secrets}
        if ports:
            known |= {f"{name}.{port}" for port in components[name].ports}
    return known


def _wrong(path: Path, key: str, what: str, reference: str = "catalogue") -> Invalid:
    return Invalid(
        f"{path}: {key}: {what}" if key else f"{path}: {what}",
        reference=reference,
        remedy=f"edit {path}",
    )


def _read_all(folder: Path, model: type[W]) -> dict[str, W]:
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        if re.fullmatch(NAME, path.stem) is None:
            what = 'its name is no name: a letter, then letters, digits and "-", all lower-case, at most 40'
            raise _wrong(path, "", what)
        if model is Component and path.stem in _STEPS:
            raise _wrong(path, "", f'"{path.stem}" is a step of every run; another name')
    return {path.stem: _read(path, model) for path in paths}


def _read(path: Path, model: type[W]) -> W:
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, "", f"not valid TOML: {toml_problem(error, text)}") from error
    except UnicodeDecodeError as error:
        raise _wrong(path, "", f"not valid TOML: not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise _wrong(path, "", f"cannot be read: {error.strerror}") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _wrong(path, *explain(model, error)) from None


def _component_problems(catalog: Catalog) -> Iterator[Invalid]:
    for name, component in catalog.components.items():
        path = catalog.folder / "components" / f"{name}.toml"
        job = component.kind == "job"
        if job != (component.ready.probe == "completed"):
            yield _wrong(path, "ready.probe", 'a job is ready when "completed", and only a job is')
        port = getattr(component.ready, "port", None)
        if port is not None and port not in component.ports:
            yield _wrong(path, "ready.port", f'no port "{port}" in [ports]{nearest(port, component.ports)}')
        if component.build and not component.image.startswith("localhost/"):
            yield _wrong(path, "image", f'a built image is named "localhost/...", not "{component.image}"')
        if component.build is None and component.image.startswith("localhost/"):
            yield _wrong(path, "image", f'"{component.image}" is local, but there is no [build] that makes it')


def _recipe_problems(folder: Path, recipes: Mapping[str, Recipe]) -> Iterator[Invalid]:
    stands_for: dict[str, str] = {}
    by_image = {recipe.image: (name, recipe) for name, recipe in recipes.items()}
    for name, recipe in recipes.items():
        path = folder / f"{name}.toml"
        if bool(recipe.bootstrap) == bool(recipe.containerfile):
            yield _wrong(path, "containerfile", "either bootstrap or containerfile, and not both")
        elif recipe.containerfile and not (folder / recipe.containerfile).is_file():
            what = f"no file at {folder / recipe.containerfile}"
            yield _wrong(path, "containerfile", what, "build-files-missing")
        if name in _needs(recipe, by_image):
            yield _wrong(path, "images", "it needs itself, directly or through another recipe")
        other = stands_for.setdefault(recipe.image, name)
        if other != name:
            yield _wrong(path, "image", f"{other}.toml stands for {recipe.image} already")


def _needs(recipe: Recipe, by_image: Mapping[str, tuple[str, Recipe]]) -> set[str]:
    """Return the names of all recipes that a recipe's images come from."""
    needed: set[str] = set()
    waiting = [recipe]
    while waiting:
        for image in waiting.pop().images.values():
            name, other = by_image.get(image, ("", recipe))
            if name and name not in needed:
                needed.add(name)
                waiting.append(other)
    return needed


def _component_texts(component: Component) -> Iterator[tuple[str, str]]:
    for key, value in component.env.items():
        yield f"env.{key}", value
    for index, word in enumerate(component.command):
        yield f"command.{index}", word
    for index, file in enumerate(component.files):
        yield f"files.{index}.content", file.content
    password = getattr(component.ready, "password", None)
    if password is not None:
        yield "ready.password", password


def _tier_texts(tier: str, spec: TierSpec) -> Iterator[tuple[str, str]]:
    for key, value in spec.env.items():
        yield f"tiers.{tier}.env.{key}", value
    for index, arg in enumerate(spec.suite.args):
        yield f"tiers.{tier}.suite.args.{index}", arg
    for index, step in enumerate(spec.before):
        for position, word in enumerate(step.command):
            yield f"tiers.{tier}.before.{index}.command.{position}", word


def _service_problems(catalog: Catalog) -> Iterator[Invalid]:
    for name, service in catalog.services.items():
        path = catalog.folder / "services" / f"{name}.toml"
        stacks = {"stack": service.stack}
        stacks |= {f"tiers.{t}.stack": s.stack for t, s in service.tiers.items() if s.stack is not None}
        for key, stack in stacks.items():
            yield from _stack_problems(path, key, stack, catalog)
        every = tuple(dict.fromkeys(part for stack in stacks.values() for part in stack))
        yield from _service_ports(path, catalog, service, every)
        for tier, spec in service.tiers.items():
            stack = service.stack if spec.stack is None else spec.stack
            known = _known(catalog.components, stack, ports=True)
            yield from _placeholder_problems(path, _tier_texts(tier, spec), known)


def _stack_problems(path: Path, key: str, stack: tuple[str, ...], catalog: Catalog) -> Iterator[Invalid]:
    for component in stack:
        if component not in catalog.components:
            what = f'unknown component "{component}"{nearest(component, catalog.components)}'
            yield _wrong(path, key, what, "unknown-component")
        if stack.count(component) > 1:
            yield _wrong(path, key, f'names "{component}" twice', "unknown-component")
    known = _known(catalog.components, stack, ports=False)
    for component in stack:
        component_path = catalog.folder / "components" / f"{component}.toml"
        yield from _placeholder_problems(component_path, _component_texts(catalog.components[component]), known)


def _placeholder_problems(path: Path, texts: Iterator[tuple[str, str]], known: set[str]) -> Iterator[Invalid]:
    for key, text in texts:
        if what := problem(text, known):
            yield _wrong(path, key, what, "unknown-placeholder")


def host_ports(service: Service, component: str, declared: Mapping[str, int]) -> dict[str, int]:
    """Return the fixed host ports that a service gives a component, by port name."""
    given = service.ports.get(component, {})
    if isinstance(given, int):
        return dict.fromkeys(declared, given)
    return dict(given)


def _service_ports(path: Path, catalog: Catalog, service: Service, stack: tuple[str, ...]) -> Iterator[Invalid]:
    for component, given in service.ports.items():
        if component not in stack:
            what = f'"{component}" is not in the stack{nearest(component, stack)}'
            yield _wrong(path, f"ports.{component}", what)
            continue
        declared = catalog.components[component].ports
        if isinstance(given, int):
            if len(declared) != 1:
                what = f"the component has {len(declared)} ports: a table with {', '.join(sorted(declared))}"
                yield _wrong(path, f"ports.{component}", what)
            continue
        for port in given:
            if port not in declared:
                what = f'the component has no port "{port}"{nearest(port, declared)}'
                yield _wrong(path, f"ports.{component}.{port}", what)
    for component in stack:
        declared = catalog.components[component].ports
        for port in declared.keys() - host_ports(service, component, declared).keys():
            yield _wrong(path, f"ports.{component}", f'no host port for "{port}" of this component')


def _port_collisions(catalog: Catalog) -> Iterator[Invalid]:
    taken: dict[int, tuple[str, str]] = {}
    for name, service in catalog.services.items():
        for component in service.ports:
            declared = catalog.components[component].ports
            for port, number in host_ports(service, component, declared).items():
                here = (name, f"ports.{component}.{port}")
                if number in taken:
                    other, key = taken[number]
                    path = catalog.folder / "services" / f"{name}.toml"
                    what = f'port {number} is also {key} of service "{other}"'
                    yield _wrong(path, here[1], what, "port-collision")
                taken[number] = here
