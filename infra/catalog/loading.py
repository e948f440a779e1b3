"""Read a catalogue: every file, every check that needs no workspace and no engine.

All errors are `Invalid` with the file, the key and what would be right. Nothing is half loaded: a catalogue is
either whole or an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from infra.catalog.checks import STEPS, problems, recipe_problems
from infra.catalog.declared import Catalog, wrong
from infra.catalog.explaining import explain, reference
from infra.catalog.names import NAME, Unreadable, toml
from infra.devstack import FILE, DevStack
from infra.errors import Invalid
from infra.model import Component, Recipe, Service, Word

W = TypeVar("W", bound=Word)


def load(folder: Path) -> Catalog:
    """Load the catalogue in `folder`. Raises `Invalid`."""
    if not (folder / "services").is_dir():
        raise Invalid(
            f"no catalogue at {folder}: it has no folder services/",
            reference="no-catalogue",
            remedy="export INFRA_CATALOG=infra/catalog  # the folder of services/; or [tool.infra] in pyproject.toml",
        )
    recipes = _read_all(folder / "local", Recipe)
    for error in recipe_problems(folder / "local", recipes):
        raise error
    catalog = Catalog(
        folder=folder,
        components=_read_all(folder / "components", Component),
        services=_read_all(folder / "services", Service),
        recipes={recipe.image: recipe for recipe in recipes.values()},
        dev=_read(folder / FILE, DevStack) if (folder / FILE).exists() else None,
    )
    for error in problems(catalog):
        raise error
    return catalog


def _read_all(folder: Path, model: type[W]) -> dict[str, W]:
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        if re.fullmatch(NAME, path.stem) is None:
            what = 'its name is no name: a letter, then letters, digits and "-", all lower-case, at most 40'
            raise wrong(path, "", what)
        if model is Component and path.stem in STEPS:
            raise wrong(path, "", f'"{path.stem}" is a step of every run; another name')
    return {path.stem: _read(path, model) for path in paths}


def _read(path: Path, model: type[W]) -> W:
    try:
        data = toml(path)
    except Unreadable as error:
        raise wrong(path, "", error.why) from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise wrong(path, *explain(model, error), reference(error)) from None
