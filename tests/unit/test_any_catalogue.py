"""Whatever a catalogue says: it loads and plans, or is `Invalid` with one line that names the file. Never else."""

import datetime
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import tomli_w
from given import CATALOG, TOML_FILES, catalog_copy, put, settings_with, workspace_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from infra import plan, values
from infra.catalog import names
from infra.catalog.loading import load
from infra.errors import Ended, Invalid, Unavailable

pytestmark = pytest.mark.timeout(240)  # also where a failing example is made small
# The same examples each time, here and in CI; no files of its own; a slow machine is no failure.
steady = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=140,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LONGEST = 1500

NASTY = (
    *(
        "",
        " ",
        ".",
        "..",
        "../..",
        "../../etc/passwd",
        "/",
        "/etc/passwd",
        "//x",
        "./x",
        "a/../b",
        "a/./b",
        "~",
        "~root",
    ),
    *(
        "\0",
        "a\0b",
        "\n",
        "a\nb",
        "a\r\nb",
        "\t",
        "\x1b[2J\x1b]0;title\x07",
        "\x7f",
        "\x85",
        "\u2028",
        "\u202e",
        "\ufeff",
    ),
    *(
        "{",
        "}",
        "{{",
        "}}",
        "{}",
        "{run}",
        "{x.y}",
        "{run",
        "{{run}}",
        "{run!r}",
        "{0}",
        "{worker.database}",
        "%s",
        "%(x)s",
    ),
    *(
        "-",
        "--",
        "-x",
        "--rm",
        "-rf /",
        "$(id)",
        "`id`",
        "$HOME",
        "a;b",
        "a|b",
        "a&b",
        "a>b",
        "*",
        "?",
        "'",
        '"',
        "\\",
        "#",
    ),
    *("[x]", "[[x]]", "a = 1", '"""', "'''", "é", "ß", "İ", "日本語", "💥", "٣", "x" * 70),
    *("true", "null", "nan", "1e999", "0", "-1", "65536", "1s", "1h", "0s", "0.0000001ms", "1d", "\u0661s"),
    *("localhost/x", "docker.io/x", "docker.io/library/redis:7-alpine"),
    *("postgres", "redis", "http", "completed", "ginkgo", "gotestsum", "pytest", "engine", "suite", "teardown"),
)
NUMBERS = (0, 1, -1, 2, 15, 16, 64, 65, 1023, 15453, 65535, 65536, 2**31, 2**63, -(2**63), 1.5)
NOT = (float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, -0.0)

# Built when drawn, so that no failure shows them in full.
long = st.sampled_from(("x", "x/", "é", "{", "{x}", "\n", "9")).flatmap(
    lambda part: st.sampled_from((50, 300, 5000)).map(lambda times: part * times)
)
texts = st.sampled_from(NASTY) | st.text(max_size=20) | long
numbers = st.sampled_from(NUMBERS) | st.sampled_from(NOT) | st.integers() | st.floats()
moments = st.sampled_from(
    (datetime.date(1, 1, 1), datetime.time(23, 59, 59, 999999), datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC))
)
leaves = texts | numbers | st.booleans() | moments
anything: SearchStrategy[Any] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def mostly(right: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Right nearly always, so that a document gets past its first key."""
    return st.integers(0, 30).flatmap(lambda n: anything if n == 7 else right)


def one_of(*words: object) -> SearchStrategy[Any]:
    return mostly(st.sampled_from(words))


def table(required: dict[str, SearchStrategy[Any]], optional: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=optional)


# Documents that are shaped like the catalogue's words.

components = st.sampled_from(("postgres", "redis", "datastorage", "migrations", "shop"))
stacks = st.lists(mostly(components), max_size=4, unique_by=repr)
ports = one_of(1, 80, 5432, 65535, 16399)
durations = one_of("1s", "500ms", "15m", "0.5h", 3, 2.5)
templates = st.sampled_from(
    ("x", "{run}", "{service}-{tier}", "{postgres.secrets.password}", "{{x}}", "{worker}", "{redis.redis}", "a b", "")
)
env_names = st.sampled_from(("A", "A_1", "PATH", "HOME", "LD_PRELOAD", "INFRA_RUN", "lower", "_")) | texts
envs = st.dictionaries(env_names, mostly(templates), max_size=3)
images = one_of("docker.io/library/redis:7-alpine", "localhost/shop", "quay.io/a/b@sha256:" + "0" * 64, "localhost/a:b")
inside = one_of(".", "docker", "migrations", "docker/data-storage.Dockerfile", "nowhere", "out", "loop")
words = st.lists(mostly(templates | texts), max_size=3)
PROBES: dict[str, dict[str, SearchStrategy[Any]]] = {
    "postgres": {"port": one_of("sql"), "database": texts, "user": texts, "password": mostly(templates)},
    "redis": {"port": one_of("redis")},
    "http": {"port": one_of("http"), "path": texts, "status": one_of(200, 599), "body": texts},
    "completed": {},
}
probes = st.sampled_from(sorted(PROBES)).flatmap(
    lambda probe: table({"probe": one_of(probe), **PROBES[probe]}, {"timeout": durations, "x": anything})
)
component_documents = table(
    {"image": images, "ready": mostly(probes)},
    {
        "x": anything,
        "build": mostly(
            table(
                {"containerfile": inside},
                {
                    "context": inside,
                    "args": mostly(envs),
                    "images": st.dictionaries(env_names, mostly(images | st.lists(images, max_size=3)), max_size=2),
                    "target": one_of("build", "x-1"),
                },
            )
        ),
        "kind": one_of("service", "job"),
        "command": mostly(words),
        "env": mostly(envs),
        "secrets": st.dictionaries(st.sampled_from(("password", "key")) | texts, mostly(texts), max_size=2),
        "ports": mostly(st.just({"sql": 5432, "http": 80, "redis": 6379}) | st.dictionaries(texts, ports, max_size=3)),
        "files": st.lists(
            table(
                {"path": one_of("/etc/x", "/x/y.z"), "content": mostly(templates)},
                {"mode": one_of("0444", "0777"), "owner": one_of(0, 65535)},
            ),
            max_size=2,
        ),
        "migrations": mostly(table({"folder": inside}, {"target": one_of("/m", "/m/n")})),
        "stop_grace": durations,
        "memory_mb": one_of(1, 512),
        "on_reuse": one_of("flush-redis"),
    },
)
suites = one_of("ginkgo", "gotestsum", "pytest").flatmap(
    lambda runner: table(
        {
            "runner": st.just(runner),
            ("paths" if runner == "pytest" else "packages"): mostly(st.just(["./x"]) | st.lists(texts, max_size=2)),
        },
        {
            "timeout": durations,
            "procs": one_of(1, 4, 64),
            "args": mostly(words),
            "allowed_skips": mostly(words),
            "requirements": mostly(st.lists(inside, max_size=2)),
        },
    )
)
tiers = table(
    {"suite": mostly(suites)},
    {
        "target": one_of("podman", "kind"),
        "stack": mostly(stacks),
        "env": mostly(envs),
        "workers": mostly(
            table(
                {"env": mostly(envs)},
                {"count": one_of(1, 16, 64), "postgres": mostly(components), "redis": mostly(components)},
            )
        ),
        "path": mostly(words),
        "unset": mostly(st.lists(env_names, max_size=2)),
        "cwd": inside,
        "before": st.lists(
            table({"name": one_of("gen", "suite", "redis"), "command": mostly(words)}, {"timeout": durations}),
            max_size=2,
        ),
    },
)
service_documents = table(
    {"language": one_of("go", "python"), "tiers": st.dictionaries(st.sampled_from(names.TIERS), tiers)},
    {
        "stack": mostly(stacks),
        "ports": st.dictionaries(
            components | texts, mostly(ports | st.dictionaries(texts, ports, max_size=2)), max_size=3
        ),
        "suite_ports": st.dictionaries(st.sampled_from(("http", "x")) | texts, ports, max_size=2),
    },
)
recipe_documents = table(
    {"image": images},
    {
        "bootstrap": one_of("trixie", "x"),
        "packages": mostly(st.lists(one_of("ca-certificates", "redis-server"), max_size=2)),
        "containerfile": one_of("redis.Containerfile", "nowhere.Containerfile"),
        "images": st.dictionaries(env_names, images, max_size=2),
        "version": mostly(words),
    },
)
DOCUMENTS = {
    "components/shop.toml": component_documents,
    "services/shop.toml": service_documents,
    "local/shop.toml": recipe_documents,
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The least workspace, with links that lead out of it and nowhere."""
    folder = workspace_in(tmp_path_factory.mktemp("any"))
    (folder / "out").symlink_to("/")
    (folder / "loop").symlink_to("loop")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the real catalogue with the three services that use every word; who changes it changes it back."""
    folder = catalog_copy(tmp_path_factory.mktemp("catalogue"))
    for path in (folder / "services").glob("*.toml"):
        if path.stem not in ("contextapi", "holmesgpt-api", "notification"):
            path.unlink()
    return folder


def one_sentence(message: str) -> None:
    """What a person is told fits a screen, is one line, and moves no cursor."""
    assert message.splitlines() == [message]
    assert message.isprintable(), message
    assert len(message) < LONGEST, f"{len(message)} characters"


def told(folder: Path, workspace: Path) -> str:
    """What loading and planning everything says: nothing where all is right."""
    where = settings_with(folder, workspace)
    found = names.names(workspace.parent, {"INFRA_CATALOG": str(folder)})
    for problem in found.problems:
        one_sentence(problem.message)
        assert problem.message.startswith(f"{folder}/services/")
    for suite in found.suites:
        one_sentence(suite.description)
        assert all(tag.isprintable() for tag in suite.tags)
    catalog = outcome(lambda: load(folder))
    if isinstance(catalog, Ended):
        assert isinstance(catalog, Invalid)
        assert catalog.message.startswith(f"{folder}/")
        assert ".toml: " in catalog.message
        return catalog.message
    assert not found.problems, "what `nox -l` cannot read, the loader cannot"
    assert {(suite.service, suite.tier) for suite in found.suites} == {
        (name, tier) for name, service in catalog.services.items() for tier in service.tiers
    }
    said = ""
    for name, service in catalog.services.items():
        for tier, spec in service.tiers.items():
            made = outcome(partial(plan.make, catalog, where, service=name, tier=tier))
            if isinstance(made, Unavailable):
                assert spec.target == "kind"
            elif isinstance(made, Ended):
                assert made.message.startswith((f"{folder}/", f"{workspace}/"))
                said = made.message
            else:
                assert all(step.container.startswith(f"{name}-") for step in made.steps)
    return said


T = TypeVar("T")


def outcome(do: Callable[[], T]) -> T | Invalid | Unavailable:
    """What is returned, or the error of ours; any other exception is the test's failure."""
    try:
        return do()
    except (Invalid, Unavailable) as error:
        ours = error
    one_sentence(ours.message)
    one_sentence(ours.remedy)
    return ours


def with_file(folder: Path, workspace: Path, file: str, data: bytes) -> str:
    """What is said while a file of the catalogue is this."""
    path = folder / file
    before = path.read_bytes() if path.exists() else None
    put(path, data)
    try:
        return told(folder, workspace)
    finally:
        if before is None:
            path.unlink()
        else:
            put(path, before)


# Any document of the right shape, with any value here and there.


def test_any_document_shaped_like_the_catalogues_words_is_right_or_told_in_one_line(
    folder: Path, workspace: Path
) -> None:
    seen = []

    @steady
    @given(data=st.data())
    def each(data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(sorted(DOCUMENTS)))
        document = data.draw(DOCUMENTS[file])
        seen.append(with_file(folder, workspace, file, tomli_w.dumps(document).encode()))

    each()
    assert "" in seen, "some are right"
    assert len(set(seen)) > 15, "and the others wrong in many ways"


# The real catalogue, with something of it changed.

At = tuple[str | int, ...]
FILES = tuple(
    file
    for file in TOML_FILES
    if not file.startswith("services/") or file in ("services/contextapi.toml", "services/holmesgpt-api.toml")
)


def places(value: object, at: At = ()) -> Iterator[At]:
    """Every place of a document, tables and arrays too."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*at, key)
            yield from places(inner, (*at, key))


def changed(document: Any, at: At, how: str, value: object) -> Any:  # noqa: ANN401, C901 - one document, many ways
    """Change one place of a document."""
    held: Any = document
    for part in at[:-1]:
        held = held[part]
    key = at[-1]
    before = held[key]
    match how:
        case "replace":
            held[key] = value
        case "remove":
            del held[key]
        case "nest":
            held[key] = {str(value): before}
        case "wrap":
            held[key] = [before, value]
        case "rename" if isinstance(held, dict):
            held[str(value)] = held.pop(key)
        case "add" if isinstance(held, dict):
            held[str(value)] = before
        case "hoist":
            return before if isinstance(before, dict) else document
        case "append" if isinstance(before, str):
            held[key] = before + str(value)
        case "put before" if isinstance(before, str):
            held[key] = str(value) + before
    return document


def test_any_change_of_the_real_catalogue_is_right_or_told_in_one_line(folder: Path, workspace: Path) -> None:
    seen = []
    known = [(file, at) for file in FILES for at in places(tomllib.loads((CATALOG / file).read_text()))]
    ways = ("replace", "replace", "replace", "remove", "nest", "wrap", "rename", "add", "hoist", "append", "put before")

    @steady
    @given(where=st.sampled_from(known), how=st.sampled_from(ways), value=anything | texts)
    def each(where: tuple[str, At], how: str, value: object) -> None:
        file, at = where
        document = changed(tomllib.loads((CATALOG / file).read_text()), at, how, value)
        seen.append(with_file(folder, workspace, file, tomli_w.dumps(document).encode()))

    each()
    assert "" in seen, "some change nothing that matters"
    assert len(set(seen)) > 15


def test_any_words_beside_those_of_the_real_catalogue_are_right_or_told_in_one_line(
    folder: Path, workspace: Path
) -> None:
    seen = []

    @steady
    @given(
        file=st.sampled_from(FILES),
        line=st.integers(0, 40),
        how=st.sampled_from(("twice", "gone", "cut", "bytes", "text")),
        junk=st.binary(max_size=20),
        text=texts,
    )
    def each(file: str, line: int, how: str, junk: bytes, text: str) -> None:
        lines = (CATALOG / file).read_bytes().splitlines(keepends=True)
        at = line % len(lines)
        here = lines[at]
        new = {
            "twice": here * 2,
            "gone": b"",
            "cut": here[: len(here) // 2],
            "bytes": here[: len(here) // 2] + junk + here[len(here) // 2 :],
            "text": text.encode() + here,
        }[how]
        seen.append(with_file(folder, workspace, file, b"".join((*lines[:at], new, *lines[at + 1 :]))))

    each()
    assert "" in seen
    assert len(set(seen)) > 15


def test_any_bytes_at_all_are_right_or_told_in_one_line(folder: Path, workspace: Path) -> None:
    seen = []

    @settings(steady, max_examples=60)
    @given(file=st.sampled_from(sorted(DOCUMENTS)), data=st.binary(max_size=200) | texts.map(str.encode))
    def each(file: str, data: bytes) -> None:
        seen.append(with_file(folder, workspace, file, data))

    each()
    assert len(set(seen)) > 15


# What no random value finds.

HARD = {
    "nested without end": "x = " + "[" * 5000,
    "nested deeply": "x = " + "[" * 3000 + "]" * 3000,
    "tables nested deeply": "x = " + "{a=" * 3000 + "1" + "}" * 3000,
    "a key of very many parts": ".".join("a" * 2000) + " = 1",
    "more digits than Python reads": "image = " + "9" * 5000,
    "more digits than Python writes": "image = 0x" + "f" * 5000,
    "such a port": "ports = { x = 0x" + "f" * 5000 + " }",
    "such a time": 'ready = { probe = "redis", port = "x", timeout = 0x' + "f" * 5000 + " }",
    "a time of very many digits": 'ready = { probe = "redis", port = "x", timeout = "' + "9" * 5000 + 's" }',
    "a long key": "x" * 100_000 + " = 1",
    "a long value": 'image = "' + "x" * 1_000_000 + '"',
    "a long image": 'image = "localhost/' + "a-" * 100_000 + '"',
    "a probe of nothing we know, at length": f'image = "localhost/x"\nready = {{ probe = "{"x" * 100_000}" }}',
    "a day that is none": "image = 2026-02-30",
    "an hour that is none": "image = 25:61:00",
    "a carriage return": 'image = "x"\rkind = "job"',
    "a NUL": "image = '\0'",
    "half a pair": 'image = "\\ud800"',
    "beyond Unicode": 'image = "\\U00110000"',
    "a table twice": "[ready]\n[ready]\n",
    "a key that becomes a table": "ready = 1\n[ready.x]\n",
    "a mark of byte order": '\ufeffimage = "x"',
    "nothing": "",
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("file", sorted(DOCUMENTS))
def test_what_readers_of_toml_stumble_over_is_told_in_one_line(
    name: str, file: str, folder: Path, workspace: Path
) -> None:
    assert with_file(folder, workspace, file, HARD[name].encode()).startswith(f"{folder / file}: ")


@pytest.mark.parametrize("file", sorted(DOCUMENTS))
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "dangling link", "link in a circle"])
def test_what_is_no_file_is_told_in_one_line(kind: str, file: str, folder: Path, workspace: Path) -> None:
    path = folder / file
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling link":
            path.symlink_to("nowhere")
        case _:
            path.symlink_to(path.name)
    try:
        assert told(folder, workspace).startswith(f"{path}: cannot be read: ")
    finally:
        path.rmdir() if kind == "folder" else path.unlink()


@pytest.mark.parametrize("stem", ["x\ny", "\x1b[2J", "-x", "{run}", "$(id)", "é", "x" * 200, ".hidden", "a b"])
@pytest.mark.parametrize("kind", ["components", "services", "local"])
def test_a_file_name_that_is_no_name_is_told_in_one_line(stem: str, kind: str, folder: Path, workspace: Path) -> None:
    path = folder / kind / f"{stem}.toml"
    shutil.copy(next((CATALOG / kind).glob("*.toml")), path)
    try:
        assert "its name is no name" in told(folder, workspace)
    finally:
        path.unlink()


def test_a_name_is_the_same_thing_to_nox_and_to_the_loader() -> None:
    assert f"^{names.NAME}$" == values.NAME


# What a message quotes of a file.

ESCAPES = "\x1b]0;title\x07\n\u2028"
Document = dict[str, Any]
COMPONENT: Document = {
    "image": "docker.io/x/y:1",
    "ports": {"redis": 1},
    "ready": {"probe": "redis", "port": "redis"},
}
TIER: Document = {"suite": {"runner": "ginkgo", "packages": ["./x"]}}
SERVICE: Document = {"language": "go", "stack": ["redis"], "ports": {"redis": 99}, "tiers": {"unit": TIER}}
QUOTED: dict[str, Document] = {
    "a key": {**COMPONENT, ESCAPES: 1},
    "a key inside": {**COMPONENT, "env": {ESCAPES: "x"}},
    "a value": {**COMPONENT, "image": ESCAPES},
    "a probe": {**COMPONENT, "ready": {"probe": ESCAPES}},
    "a port": {**COMPONENT, "ready": {"probe": "redis", "port": ESCAPES}},
    "a language": {**SERVICE, "language": ESCAPES},
    "a tier": {**SERVICE, "tiers": {"unit": TIER, ESCAPES: {}}},
    "a tier that is no table": {**SERVICE, "tiers": {ESCAPES: 1}},
    "a component": {**SERVICE, "stack": [ESCAPES]},
    "a lone brace": {**SERVICE, "tiers": {"unit": {**TIER, "env": {"A": "\x1b[2J {"}}}},
    "a placeholder": {**SERVICE, "tiers": {"unit": {**TIER, "env": {"A": f"{{{ESCAPES}}}"}}}},
    "a folder of migrations": {**COMPONENT, "migrations": {"folder": "\x1b[2J"}},
    "a folder": {**SERVICE, "tiers": {"unit": {**TIER, "cwd": ESCAPES}}},
}


@pytest.mark.parametrize("name", QUOTED)
def test_what_a_message_quotes_moves_no_cursor(name: str, folder: Path, workspace: Path) -> None:
    document = QUOTED[name]
    file = "components/shop.toml" if "image" in document else "services/shop.toml"
    said = with_file(folder, workspace, file, tomli_w.dumps(document).encode())
    assert said.startswith(f"{folder / file}: ")
    assert r"\x1b" in said


@pytest.mark.parametrize("key", ["language", "stack"])
def test_nox_shows_nothing_of_a_file_but_names(key: str, tmp_path: Path) -> None:
    document: dict[str, object] = {**SERVICE, key: ["redis", ESCAPES] if key == "stack" else ESCAPES}
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "shop.toml").write_text(tomli_w.dumps(document))
    (suite,) = names.names(tmp_path, {"INFRA_CATALOG": str(tmp_path)}).suites
    one_sentence(suite.description)
    assert all(re.fullmatch(names.NAME, tag) for tag in suite.tags)
