"""The files with which a repository begins: written where there are none, and nothing that is there is changed."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from infra.catalog import names, schema
from infra.catalog.names import Unreadable, toml
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
    document = _document(pyproject)
    tool = document.get("tool")
    table = tool.get("infra") if isinstance(tool, dict) else None
    settled = table if isinstance(table, dict) else {}
    catalog = root / str(settled.get("catalog", names.DEFAULT_CATALOG if settled else CATALOG))
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
        said = [] if isinstance(table, dict) else [_add_table(pyproject)]
        to_add = []
        for path, text in wanted.items():
            said.append(_write(path, text))
            word, what = _WANTED.get(path.name, ("", ""))
            if word not in path.read_text(encoding="utf-8", errors="replace"):
                to_add.append(f"{path.relative_to(root)} is yours: {what}")
    except OSError as error:
        raise Invalid(
            f"{error.filename}: cannot be written: {error.strerror}",
            reference="not-begun",
            remedy=f"ls -ld {shlex.quote(str(root))}  # it must be writable",
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


def _document(pyproject: Path) -> Mapping[str, object]:
    """Return what pyproject.toml says. Raises `Invalid` where it is none, or cannot take a table at its end."""
    if not pyproject.exists():
        return {}
    try:
        document = toml(pyproject)
        if "infra" not in dict(document.get("tool") or {}):  # type: ignore[call-overload]
            tomllib.loads(f"{pyproject.read_text(encoding='utf-8')}\n{TABLE}")
    except (Unreadable, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, Unreadable) else f"{pyproject}: no [tool.infra] can stand at its end"
        raise Invalid(said, reference="settings", remedy=edit(pyproject, "[tool.infra]")) from error
    return document


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
    return (root if path in ("noxfile.py", "tasks.py", ".gitignore") else workspace) / path


def _taken(catalog: Path) -> set[int]:
    """Return the numbers that the services of a catalogue have for ports, those of files that cannot be read aside."""

    def numbers(value: object) -> Iterator[int]:
        if isinstance(value, int):
            yield value
        for one in value.values() if isinstance(value, dict) else ():
            yield from numbers(one)

    found: set[int] = set()
    for path in (catalog / "services").glob("*.toml"):
        try:
            document = toml(path)
        except Unreadable:
            continue
        found |= {*numbers(document.get("ports")), *numbers(document.get("suite_ports"))}
    return found
