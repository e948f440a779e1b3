"""Read a catalogue: every file, every check that needs no workspace and no engine.

All errors are `Invalid` with the file, the key and what would be right. Nothing is half loaded: a catalogue is
either whole or an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from infra.catalog.checks import STEPS, problems, recipe_problems
from infra.catalog.declared import Catalog, Origin
from infra.catalog.explaining import explain, reference
from infra.catalog.extending import BUILT_IN, Table, extended
from infra.catalog.names import document, services_in, wrong
from infra.devstack import FILE, DevStack
from infra.model import Component, Recipe, Service, Word

W = TypeVar("W", bound=Word)


def load(folder: Path) -> Catalog:
    """Load the catalogue in `folder`, with what it uses of the package's own. Raises `Invalid`."""
    services = services_in(folder)
    is_the_packages = folder.resolve() == BUILT_IN
    recipes = _recipes(folder / "local")
    if not is_the_packages:
        images = {recipe.image for recipe in recipes.values()}
        recipes |= {path: one for path, one in _recipes(BUILT_IN / "local").items() if one.image not in images}
    for error in recipe_problems(recipes):
        raise error
    components = _components(folder / "components", {} if is_the_packages else _tables(BUILT_IN / "components"))
    catalog = Catalog(
        folder=folder,
        components={name: component for name, (component, _) in components.items()},
        services={path.stem: _valid(path, data, Service) for path, data in _read(services)},
        recipes={recipe.image: recipe for recipe in recipes.values()},
        origins={name: origin for name, (_, origin) in components.items()},
        recipe_folders={recipe.image: path.parent for path, recipe in recipes.items()},
        dev=_valid(folder / FILE, document(folder / FILE), DevStack) if (folder / FILE).exists() else None,
    )
    for error in problems(catalog):
        raise error
    return catalog


def _components(folder: Path, built_in: Mapping[str, Table]) -> dict[str, tuple[Component, Origin]]:
    """Return the components of a folder, and of the package's own those of other names; and where each is declared."""
    found = {}
    for path, own in _read(folder):
        if path.stem in STEPS:
            raise wrong(path, "", f'"{path.stem}" is a step of every run; another name')
        data, origin = extended(path, own, built_in)
        more = f'; or extends = "{path.stem}", to take it from the built-in' if path.stem in built_in else ""
        found[path.stem] = _valid(path, data, Component, more if origin.base is None else ""), origin
    for name in built_in.keys() - found.keys():
        path = BUILT_IN / "components" / f"{name}.toml"
        found[name] = _valid(path, built_in[name], Component), Origin(path=path, own=built_in[name])
    return dict(sorted(found.items()))


def _recipes(folder: Path) -> dict[Path, Recipe]:
    return {path: _valid(path, data, Recipe) for path, data in _read(folder)}


def _tables(folder: Path) -> dict[str, Table]:
    return {path.stem: data for path, data in _read(folder)}


def _read(folder: Path) -> list[tuple[Path, Table]]:
    return [(path, document(path)) for path in sorted(folder.glob("*.toml"))]


def _valid(path: Path, data: Table, model: type[W], if_missing: str = "") -> W:
    """Return a file's data as what it is; `if_missing` are words for a file that lacks a key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        key, what = explain(model, error)
        told = key, what + (if_missing if what.startswith("is missing") else "")
        raise wrong(path, *told, reference(error)) from None
