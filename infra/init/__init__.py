"""The files with which a repository begins: written where there are none, and nothing that is there is changed."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from infra.catalog import names, schema
from infra.catalog.names import Unreadable, toml, tool_infra
from infra.errors import Invalid, edit
from infra.placeholders import nearest, plain

LANGUAGES = ("go", "python")
CATALOG = "catalog"
TABLE = f"""\
[tool.infra]
catalog = "{CATALOG}"  # its services/*.toml are nox sessions, its components/*.toml their containers
workspace = "."  # what paths of suites, builds and migrations are relative to
"""
# Host ports from which a service takes the first that no other of the catalogue has.
_PORTS = {"@POSTGRES_PORT@": 15432, "@REDIS_PORT@": 16479}
# What must be in a file of one's own that takes the place of one of these.
_WANTED = {
    "noxfile.py": ("register_services", "register_services(Path(__file__).parent), of infra.sessions"),
    "tasks.py": ("infra.tasks", "from infra.tasks import namespace"),
    "tasks/__init__.py": ("infra.tasks", "from infra.tasks import namespace"),
    "go.mod": ("gotest.tools/gotestsum", "its test runner: go get -tool gotest.tools/gotestsum"),
    ".gitignore": (".infra", "/.infra/"),
}


@dataclass(frozen=True, kw_only=True)
class Done:
    """What was done, a line each, and what is left to a person to add."""

    said: tuple[str, ...]
    to_add: tuple[str, ...]


def default_service(root: Path) -> str:
    """Return a name for a service, after the folder."""
    name = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")
    return name if re.fullmatch(names.NAME, name) else "shop"


def write(root: Path, service: str, language: str) -> Done:
    """Write what `nox -s integration-<service>` needs into `root`. Raises `Invalid`, with nothing begun."""
    if re.fullmatch(names.NAME, service) is None:
        what = f'"{plain(service, 60)}" is no name: a letter, then letters, digits and "-", all lower-case, at most 40'
        raise Invalid(what, reference="arguments", remedy="infra-init --service shop")
    _check_root(root)
    pyproject = root / "pyproject.toml"
    table = _table(root)
    settled = {"catalog": CATALOG} if table is None else table
    catalog = root / str(settled.get("catalog", names.DEFAULT_CATALOG))
    workspace = root / str(settled.get("workspace", "."))
    if not language:
        language = "go" if (workspace / "go.mod").exists() else "python"
    if language not in LANGUAGES:
        what = f'the language is go or python, not "{plain(language, 60)}"{nearest(language, LANGUAGES)}'
        raise Invalid(what, reference="arguments", remedy="infra-init --language python")
    made = _rendered(service, language, _taken(catalog))
    wanted = {_place(path, root, catalog, workspace): text for path, text in made.items()}
    wanted |= {catalog / "schema" / name: text for name, text in schema.documents().items()}
    try:
        _check_places((pyproject, *wanted), changed=() if table is not None else (pyproject,))
        said = [] if table is not None else [_add_table(pyproject)]
        to_add = []
        for path, text in wanted.items():
            said.append(_write(path, text))
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            word, what = _WANTED.get(path.name) or _WANTED.get(str(shown), ("", ""))
            if word not in path.read_text(encoding="utf-8", errors="replace"):
                to_add.append(f"{shown} is yours: {what}")
    except OSError as error:
        place = plain(str(error.filename or root))
        raise Invalid(
            f"{place}: cannot be written: {error.strerror}",
            reference="not-begun",
            remedy=f"ls -ld {shlex.quote(place)}  # it, and its folder, must be writable",
        ) from error
    return Done(said=tuple(said), to_add=tuple(to_add))


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise Invalid(
            f"no folder at {plain(str(root))}", reference="not-begun", remedy=f"mkdir -p {shlex.quote(str(root))}"
        )
    for other in (root / "infra" / "__init__.py", root / "infra.py"):
        if other.exists() and root != Path(__file__).resolve().parents[2]:
            raise Invalid(
                f"{other}: a Python package of this name hides the one that is to be used here",
                reference="not-begun",
                remedy=f"git -C {shlex.quote(str(root))} mv {other.relative_to(root).parts[0]} another_name",
            )


def _table(root: Path) -> dict[str, object] | None:
    """Return `[tool.infra]`. Raises `Invalid` where it is wrong, or there is none and none can stand at the end."""
    pyproject = root / "pyproject.toml"
    table = tool_infra(root)
    if table is None and pyproject.exists():
        try:
            tool = tomllib.loads(f"{pyproject.read_text(encoding='utf-8')}\n{TABLE}")["tool"]
        except ValueError:
            tool = None
        if not isinstance(tool, dict):  # in an array of tables it would be a part of the last
            message = f"{plain(str(pyproject))}: no [tool.infra] can stand at its end"
            raise Invalid(message, reference="settings", remedy=edit(pyproject, "[tool.infra]"))
    return table


def _check_places(paths: Iterable[Path], changed: Iterable[Path]) -> None:
    """Raise `Invalid` where a file cannot be kept, changed or written: nothing is begun that cannot be ended."""
    for path in paths:
        over = next(one for one in path.parents if os.path.lexists(one))
        if not over.is_dir():
            problem, place = "is no folder", over
        elif os.path.lexists(path):
            rights = os.R_OK | (os.W_OK if path in changed else 0)
            lacks = "" if os.access(path, rights) else "cannot be read" if path not in changed else "cannot be changed"
            problem, place = lacks if path.is_file() else "is no file", path
        else:
            problem, place = "" if os.access(over, os.W_OK | os.X_OK) else "cannot be written to", over
        if problem:
            there = ", but a link to nothing" if place.is_symlink() and not place.exists() else ""
            raise Invalid(
                f"{plain(str(place))}: {problem}{there}",
                reference="not-begun",
                remedy=f"ls -ld {shlex.quote(plain(str(place)))}  # {plain(str(path))} is to be a file there",
            )


def _add_table(pyproject: Path) -> str:
    """Put the table at the end of a file that is there, or of a new one."""
    before = pyproject.read_bytes() if pyproject.exists() else b""
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    with pyproject.open("ab") as file:
        file.write(gap + TABLE.encode())
    return f"{'added [tool.infra] to' if before else 'wrote'} {pyproject.name}"


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return f"kept {path}"
    return f"wrote {path}"


def _rendered(service: str, language: str, taken: set[int]) -> dict[str, str]:
    """Return the templates of a language, by path, with a service's name and ports in them."""
    values = {"shop": service, "@DATABASE@": service.replace("-", "_")}
    for word, first in _PORTS.items():
        values[word] = str(next(port for port in range(first, 65536) if port not in taken))
    words = re.compile("|".join(values))
    found: dict[str, str] = {}
    for folder in ("both", language):
        for path, text in _templates(files("infra.init") / "templates" / folder):
            parts = path.removesuffix(".txt").split("/")
            *folders, name = [part.replace("shop", service) for part in parts]
            name = name if name.endswith(".toml") else name.replace(service, service.replace("-", "_"))
            found["/".join([*folders, name])] = words.sub(lambda match: values[match[0]], text)
    return found


def _templates(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.is_dir():
            yield from _templates(one, f"{prefix}{one.name}/")
        else:
            yield prefix + one.name, one.read_text(encoding="utf-8")


def _place(path: str, root: Path, catalog: Path, workspace: Path) -> Path:
    folder, _, rest = path.partition("/")
    if folder == CATALOG:
        return catalog / rest
    package = root / "tasks" / "__init__.py"
    if path == "tasks.py" and package.is_file() and not (root / path).exists():  # invoke prefers the file
        return package
    return (root if path in ("noxfile.py", "tasks.py", ".gitignore") else workspace) / path


def _taken(catalog: Path) -> set[int]:
    """Return the numbers that the services of a catalogue have for ports, those of files that cannot be read aside."""

    def numbers(value: object) -> Iterator[int]:
        if isinstance(value, int):
            yield value
        for one in value.values() if isinstance(value, dict) else ():
            yield from numbers(one)

    found: set[int] = set()
    for path in (catalog / "dev.toml", *(catalog / "services").glob("*.toml")):
        try:
            document = toml(path)
        except Unreadable:
            continue
        found |= {*numbers(document.get("ports")), *numbers(document.get("suite_ports"))}
    return found
