"""What pydantic says of a catalogue file, for one who writes TOML: the key, and what would be right. Pure."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from infra.model import Word
from infra.placeholders import nearest, plain
from infra.values import ShortName

_LONG = 10_000
_TYPES = {
    "tuple_type": "must be an array",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "string_type": "must be a string",
    "int_type": "must be an integer",
}


def explain(model: type[Word], error: ValidationError) -> tuple[str, str]:
    """Return the key that is wrong and what would be right; a misspelt key before the key that it leaves missing."""
    details = error.errors(include_url=False)
    first = details[_told(error)]
    where = tuple(first["loc"])
    tags = _tags(model, where)
    # "(number)" and "[key]" are pydantic's and the model's own marks, not keys of the file.
    parts = [plain(str(part), 60) for index, part in enumerate(where) if index not in tags]
    parts = [part for part in parts if not part.startswith(("(", "["))]
    context = first.get("ctx", {})
    value = first["input"]
    if first["type"] == "extra_forbidden":
        what = f"unknown key{nearest(str(where[-1]), _model_at(model, where[:-1]).model_fields)}"
    elif first["type"] == "missing":
        what = "is missing"
    elif first["type"].startswith("union_tag"):
        words = _union_at(model, where)
        parts.append(_tag_key(words[0]))
        known = [tag for word in words for tag in _values(word)]
        tag = plain(str(context.get("tag", "")), 60)
        said = f'must be one of {", ".join(known)}, not "{tag}"' if "tag" in context else "is missing"
        what = said + nearest(tag, known)
    elif first["type"] == "too_short":
        what = f"must have at least {context['min_length']} item"
    else:
        shown = f", not {_shown(value)}"
        right = first["msg"].removeprefix("Value error, ")
        right = right.replace("Input should", "must").replace("String should", "must")
        what = _TYPES.get(first["type"], right) + shown
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return ".".join(parts), what + more


def reference(error: ValidationError) -> str:
    """Return the reference of what `explain` explains: most have none of their own."""
    context = error.errors(include_url=False)[_told(error)].get("ctx", {})
    return "short-name" if isinstance(context.get("error"), ShortName) else "catalogue"


def _told(error: ValidationError) -> int:
    """Return which of pydantic's errors is told: a key that nobody knows, or the first."""
    types = [one["type"] for one in error.errors(include_url=False)]
    return types.index("extra_forbidden") if "extra_forbidden" in types else 0


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(plain(value, 60)) if value.isprintable() else f'"{plain(value, 60)}"'
    if isinstance(value, int) and value.bit_length() > _LONG:
        return "a number of thousands of digits"  # that Python refuses to write
    return repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


def _tag_key(word: type[Word]) -> str:
    """Return the key whose value says which of several words a table is."""
    return next(key for key in ("probe", "runner") if key in word.model_fields)


def _values(word: type[Word]) -> tuple[str, ...]:
    """Return the values of that key which say that a table is a `word`."""
    return typing.get_args(word.model_fields[_tag_key(word)].annotation)


def _union_at(model: type[Word], where: tuple[int | str, ...]) -> list[type[Word]]:
    """Return the alternatives of a union at a location."""
    return _words(_model_at(model, where[:-1]).model_fields[str(where[-1])].annotation)


def _words(annotation: object) -> list[type[Word]]:
    """Return the `Word` classes inside an annotation, however nested."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation] if issubclass(annotation, Word) else []
    return [word for part in typing.get_args(annotation) for word in _words(part)]


def _walk(model: type[Word], where: tuple[int | str, ...]) -> Iterator[tuple[int, type[Word], bool]]:
    """Follow pydantic's location: yields (index, the model there, whether this part is a union's tag)."""
    candidates: list[type[Word]] = [model]
    current = model
    for index, part in enumerate(where):
        if len(candidates) > 1:
            tagged = [word for word in candidates if part in _values(word)]
            current = tagged[0] if tagged else current
            candidates = [current]
            yield index, current, bool(tagged)
            continue
        field = current.model_fields.get(str(part))
        if field is not None:
            candidates = _words(field.annotation) or [current]
            if len(candidates) == 1:
                current = candidates[0]
        yield index, current, False


def _model_at(model: type[Word], where: tuple[int | str, ...]) -> type[Word]:
    return next((found for _, found, _ in reversed(list(_walk(model, where)))), model)


def _tags(model: type[Word], where: tuple[int | str, ...]) -> set[int]:
    return {index for index, _, is_tag in _walk(model, where) if is_tag}
