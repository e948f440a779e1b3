"""Which suites a catalogue declares, read with the standard library alone.

This is all that a bare `nox -l` needs, so that it works before anything is installed. Whether what
a service file says makes sense is for the catalogue's loader; here only the file's name, its
`language`, `stack` and the names of its `[tiers.*]` tables are looked at. What is wrong with a file
or a folder is told here for the loader and the settings, too: nox and invoke say the same.
"""

import difflib
import re
import shlex
import sys
import sysconfig
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from infra.errors import Invalid, edit
from infra.placeholders import plain

TIERS = ("unit", "integration", "e2e")
DEFAULT_CATALOG = "infra/catalog"
_DEFAULTS = {"catalog": DEFAULT_CATALOG, "workspace": "."}
SCHEMA = 1
"""The catalogue's language, a number that grows where an older version of this would misread it: `schema = 1`."""
NAME = r"[a-z][a-z0-9-]{0,39}"


@dataclass(frozen=True, kw_only=True)
class Locations:
    """The two folders that a repository (or the environment) names, absolute."""

    catalog: Path
    workspace: Path


@dataclass(frozen=True, kw_only=True)
class SuiteName:
    """One tier of one service: a nox session."""

    service: str
    tier: str
    language: str
    stack: tuple[str, ...] = ()

    @property
    def session(self) -> str:
        """The session's name, `integration-<service>`."""
        return f"{self.tier}-{self.service}"

    @property
    def tags(self) -> tuple[str, ...]:
        """What `nox -t` selects it by."""
        return tuple(word for word in (self.tier, self.service, self.language) if word)

    @property
    def description(self) -> str:
        """One sentence for `nox -l`."""
        kind = " ".join(word for word in (self.language.capitalize(), self.tier) if word)
        against = f" against {', '.join(self.stack)}" if self.stack else ""
        return f"{kind} suite of {self.service}{against}."


@dataclass(frozen=True, kw_only=True)
class Names:
    """What could be read, and the error of each file that could not."""

    suites: tuple[SuiteName, ...]
    problems: tuple[Invalid, ...] = ()


class Unreadable(Exception):
    """A TOML file that says nothing to us: its path, and why in one line."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{plain(str(path))}: {plain(why)}")
        self.why = why


def locations(root: Path, environ: Mapping[str, str]) -> Locations:
    """Return where catalogue and workspace are: environment, then `[tool.infra]`, then defaults.

    Relative paths start at `root`. A pyproject.toml that cannot be read counts as one that says
    nothing; `names` reports it.
    """
    try:
        table = tool_infra(root) or {}
    except Invalid:
        table = {}
    return Locations(
        catalog=root / _named("catalog", environ, table), workspace=root / _named("workspace", environ, table)
    )


def folder(root: Path, key: str, environ: Mapping[str, str]) -> Path:
    """Return the folder that is the `catalog` or the `workspace`, absolute. Raises `Invalid` where none is there."""
    table = tool_infra(root) or {}
    found = (root / _named(key, environ, table)).resolve()
    if found.is_dir():
        return found
    variable, pyproject = f"INFRA_{key.upper()}", root / "pyproject.toml"
    if environ.get(variable):
        message, remedy = f"{variable}: no folder at {found}", f"unset {variable}  # or let it name the {key}'s folder"
    elif key in table:
        raise wrong(pyproject, f"tool.infra.{key}", f"no folder at {found}", "settings")
    else:
        message = f"no folder at {found}, and no tool.infra.{key} in {pyproject} names another"
        remedy = f"infra-init  # begins here; or edit {pyproject.name}: [tool.infra] names the {key}"
    raise Invalid(plain(message), reference="settings", remedy=remedy)


def _named(key: str, environ: Mapping[str, str], table: Mapping[str, object]) -> str:
    return str(environ.get(f"INFRA_{key.upper()}") or table.get(key) or _DEFAULTS[key])


def services_in(catalog: Path) -> Path:
    """Return the folder of a catalogue's services. Raises `Invalid` where there is none."""
    services = catalog / "services"
    if not services.is_dir():
        raise Invalid(
            f"no catalogue at {plain(str(catalog))}: it has no folder services/",
            reference="no-catalogue",
            remedy="infra-init  # begins; or let [tool.infra] catalog, or INFRA_CATALOG, name the folder of services/",
        )
    return services


def names(root: Path, environ: Mapping[str, str]) -> Names:
    """Return every suite that the catalogue declares, by service and tier, and what is wrong."""
    suites: list[SuiteName] = []
    problems: list[Invalid] = []
    try:
        files = sorted(services_in(folder(root, "catalog", environ)).glob("*.toml"))
    except Invalid as error:
        return Names(suites=(), problems=(error,))
    for path in files:
        try:
            suites.extend(_suites(path))
        except Invalid as error:
            problems.append(error)
    return Names(suites=tuple(suites), problems=tuple(problems))


def wrong(path: Path, key: str, what: str, reference: str = "catalogue") -> Invalid:
    """Return the error for one key of one file."""
    text = f"{key}: {what}" if key else what
    return Invalid(f"{plain(str(path))}: {plain(text)}", reference=reference, remedy=edit(path, key))


def document(path: Path) -> dict[str, object]:
    """Return what a file of a catalogue says, without its `schema`. Raises `Invalid`."""
    if not _is_word(path.stem):
        what = 'its name is no name: a letter, then letters, digits and "-", all lower-case, at most 40'
        raise wrong(path, "", what)
    try:
        data = toml(path)
    except Unreadable as error:
        raise wrong(path, "", error.why) from error
    number = data.pop("schema", SCHEMA)
    if too_new := newer({"schema": number}):
        raise Invalid(f"{plain(str(path))}: {too_new}", reference="newer-schema", remedy=upgrade())
    if type(number) is not int or number < 1:
        raise wrong(path, "schema", f"must be {SCHEMA}, the number of the catalogue's language")
    return data


def newer(document: Mapping[str, object]) -> str:
    """Return a sentence where a file is written for a later version of this, otherwise nothing."""
    number = document.get("schema")
    if not isinstance(number, int) or number <= SCHEMA:
        return ""
    return f"made for a newer version of this tool: its schema is {number}, and this one knows {SCHEMA}"


def is_installed() -> bool:
    """Whether this is a package among others, of a repository that has adopted it, and not a checkout."""
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    places = (sysconfig.get_path(name, scheme) for scheme in schemes for name in ("purelib", "platlib"))
    return any(Path(__file__).is_relative_to(place) for place in places)


def nox_command() -> str:
    """Return the command that is nox in a root: the python3 of a host can run the noxfile of a checkout alone."""
    return f"{shlex.quote(sys.executable)} -m nox" if is_installed() else "python3 noxfile.py"


def upgrade() -> str:
    """Return the command that brings a newer version of this, wherever it is typed."""
    home = Path(__file__).resolve().parents[2]
    found = metadata.packages_distributions().get("infra")
    if found and not (home / ".git").exists():
        return f"{shlex.quote(sys.executable)} -m pip install -U {found[0]}"
    return f"git -C {shlex.quote(str(home))} pull"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` when some known name is close to `word`, otherwise nothing."""
    close = difflib.get_close_matches(word, tuple(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def toml_problem(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Return what tomllib says of a document, with a line also where it says "at end of document"."""
    last = f"at line {text.count(chr(10)) + 1}, the end of the file"
    return str(error).replace("at end of document", last)


def _suites(path: Path) -> tuple[SuiteName, ...]:
    data = document(path)
    tiers = data.get("tiers", {})
    if not isinstance(tiers, dict):
        raise wrong(path, "tiers", "has to be tables, [tiers.integration] for example")
    for tier, table in tiers.items():
        if not isinstance(table, dict):
            raise wrong(path, f"tiers.{tier}", f"has to be a table, [tiers.{tier}]")
        if tier not in TIERS:
            raise wrong(path, f"tiers.{tier}", f"the tiers are {', '.join(TIERS)}{nearest(tier, TIERS)}")
    language = data.get("language")
    return tuple(
        SuiteName(
            service=path.stem,
            tier=tier,
            language=language if isinstance(language, str) and _is_word(language) else "",
            stack=_words(tiers[tier].get("stack", None if tier == "unit" else data.get("stack"))),
        )
        for tier in TIERS
        if tier in tiers
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(word for word in value if isinstance(word, str) and _is_word(word)) if isinstance(value, list) else ()


def _is_word(text: str) -> bool:
    return re.fullmatch(NAME, text) is not None


def tool_infra(root: Path) -> dict[str, object] | None:
    """Return `[tool.infra]` of pyproject.toml, None where there is none.

    Raises `Invalid`, also where it is no table, has another key, or a folder's name in it is none.
    """
    path = root / "pyproject.toml"
    try:
        tool = toml(path).get("tool") if path.exists() else None
    except Unreadable as error:
        raise wrong(path, "", error.why, "settings") from error
    if not isinstance(tool, dict) or "infra" not in tool:
        return None
    table = tool["infra"]
    if not isinstance(table, dict):
        raise wrong(path, "tool.infra", "must be a table with catalog and workspace", "settings")
    if unknown := table.keys() - _DEFAULTS.keys():
        raise wrong(path, f"tool.infra.{min(unknown)}", f"unknown key (known: {', '.join(_DEFAULTS)})", "settings")
    for key, value in table.items():
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            what = "must be a text that is not empty, the path of a folder"
            raise wrong(path, f"tool.infra.{key}", what, "settings")
    return dict(table)


def toml(path: Path) -> dict[str, object]:
    """Read a file. Raises `Unreadable`."""
    try:
        if path.exists() and not path.is_file():
            raise Unreadable(path, "cannot be read: it is no file")  # a pipe would be waited for, a device has no end
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"not valid TOML: not UTF-8 ({error.reason} at byte {error.start})") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(path, f"not valid TOML: {toml_problem(error, text)}") from error
    except ValueError as error:  # what Python makes no number of
        raise Unreadable(path, f"not valid TOML: {str(error).partition(';')[0]}") from error
    except RecursionError as error:
        raise Unreadable(path, "not valid TOML: nested too deeply") from error
