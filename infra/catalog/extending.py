"""A component that extends one of the package's own: tables merged key by key, everything else replaced. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra import placeholders
from infra.catalog.declared import Origin
from infra.catalog.names import wrong
from infra.placeholders import nearest

BUILT_IN = Path(__file__).resolve().parent
"""The package's own catalogue, whose components and recipes serve any other one."""

Table = dict[str, object]
# Tables of names that mean something only where they are used: one that the built-in has not is a slip of the pen.
_NAMES = ("values", "secrets")


def extended(path: Path, own: Table, built_in: Mapping[str, Table]) -> tuple[Table, Origin]:
    """Return what a component's file comes to, and where its keys are said. Raises `Invalid`.

    A built-in extends nothing, so there are neither chains nor circles: `built_in` is empty for the package's own.
    """
    name = own.get("extends")
    if name is None:
        return own, Origin(path=path, own=own)
    if not built_in:
        raise wrong(path, "extends", "a built-in component extends nothing: it is what others extend")
    base = built_in.get(name) if isinstance(name, str) else None
    if base is None or not isinstance(name, str):
        said = f'no built-in component "{name}"' if isinstance(name, str) else "has to be the name of a built-in"
        raise wrong(path, "extends", f"{said}{nearest(str(name), built_in)}", "unknown-component")
    renamed = _renamed(base, name, path.stem)
    own = {key: value for key, value in own.items() if key != "extends"}
    for key in _NAMES:
        _check_names(path, key, own, renamed)
    return _merged(renamed, own), Origin(path=path, own=own, base=BUILT_IN / "components" / f"{name}.toml")


def _check_names(path: Path, key: str, own: Table, base: Table) -> None:
    given, known = own.get(key), base.get(key)
    if not isinstance(given, dict):
        return
    known = known if isinstance(known, dict) else {}
    used = {name for text in _texts(own) for name in placeholders.names(text)}
    for name in given:
        if name not in known and f"{path.stem}.{key}.{name}" not in used:
            what = f"the built-in has no such name, and nothing in this file uses it{nearest(name, known)}"
            raise wrong(path, f"{key}.{name}", what)


def _merged(base: Mapping[str, object], own: Mapping[str, object]) -> Table:
    """Return two tables as one. A probe of another kind has other keys: it replaces the built-in's."""
    if own.get("probe", base.get("probe")) != base.get("probe"):
        return dict(own)
    both = {key: (base[key], own[key]) for key in base.keys() & own.keys()}
    merged = {
        key: _merged(old, new) if isinstance(old, dict) and isinstance(new, dict) else new
        for key, (old, new) in both.items()
    }
    return {**base, **own, **merged}


def _renamed(table: Table, old: str, new: str) -> Table:
    """Return a built-in with what it says of itself (`{postgres.values.user}`) said of a component of another name."""
    of_itself = re.compile(rf"(?<!\{{)((?:\{{\{{)*)\{{{re.escape(old)}\.")

    def changed(value: object) -> object:
        if isinstance(value, str):
            return of_itself.sub(rf"\1{{{new}.", value)
        if isinstance(value, list):
            return [changed(one) for one in value]
        return {key: changed(one) for key, one in value.items()} if isinstance(value, dict) else value

    return table if old == new else {key: changed(value) for key, value in table.items()}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)
