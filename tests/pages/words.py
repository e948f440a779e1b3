"""The words of the catalogue, as its model has them: each with its default, by the file that it stands in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from pydantic.fields import FieldInfo

from infra.devstack import FILE, DevStack
from infra.model import Component, Recipe, Service, Word

FILES: Mapping[str, type[Word]] = {
    "services/*.toml": Service,
    "components/*.toml": Component,
    "local/*.toml": Recipe,
    FILE: DevStack,
}
# Tables whose keys are names of the catalogue's author.
_KEYS = {"tiers": "<tier>", "components": "<component>"}
_DISCRIMINATORS = ("runner", "probe")


def words(file: str) -> dict[str, str]:
    """Return the words of a kind of file with their defaults, as a table shows both."""
    found: dict[str, dict[str, str]] = {}
    whole: dict[str, set[str]] = {}
    for word, default, variant, variants in _walk(FILES[file], "", "", ()):
        found.setdefault(word, {})[variant] = default
        whole.setdefault(word, set()).update(variants)
    return {_shown(word, by, whole[word]): _default(by) for word, by in found.items()}


def _walk(
    model: type[Word], prefix: str, variant: str, variants: tuple[str, ...]
) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    for name, field in model.model_fields.items():
        within = _models(field.annotation)
        chosen = {one: _tag(one) for one in within}
        if not within or not field.is_required():
            yield prefix + name, _value(name, field), variant, variants
        elif len(within) == 1 and name not in _KEYS:
            yield prefix + name, "required", variant, variants
        below = f"{prefix}{name}.{_KEYS[name]}." if name in _KEYS and not prefix else f"{prefix}{name}."
        for one, tag in chosen.items():
            tags = tuple(chosen.values()) if tag else variants
            yield from _walk(one, below, tag or variant, tags)


def _models(annotation: object) -> list[type[Word]]:
    """Return the models in an annotation, such as those of a union, or of a tuple's items."""
    if isinstance(annotation, type) and issubclass(annotation, Word):
        return [annotation]
    return [model for one in get_args(annotation) for model in _models(one)]


def _tag(model: type[Word]) -> str:
    """Return the word by which one of several models is chosen."""
    for name in _DISCRIMINATORS:
        if name in model.model_fields:
            return str(get_args(model.model_fields[name].annotation)[0])
    return ""


def _value(name: str, field: FieldInfo) -> str:
    """Return a default as the catalogue would write it; what is empty is nothing."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, float):
        return f"`{value / 60:g}m`" if value >= 60 and value % 60 == 0 else f"`{value:g}s`"
    return f"`{value}`" if value not in (None, "", (), {}) and not isinstance(value, Word) else ""


def _shown(word: str, by: Mapping[str, str], variants: set[str]) -> str:
    """Return a word, with the variants that have it where not all have."""
    some = ", ".join(by) if set(by) != variants and "" not in by else ""
    return f"`{word}` ({some})" if some else f"`{word}`"


def _default(by: Mapping[str, str]) -> str:
    """Return the default, or one for each variant."""
    values = set(by.values())
    return values.pop() if len(values) == 1 else ", ".join(f"{variant}: {value}" for variant, value in by.items())
