"""The published JSON Schemas: what is in the package, and that a real validator says by them what the model says."""

import copy
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from given import CATALOG, TOML_FILES
from jsonschema import Draft7Validator
from pydantic import ValidationError

from infra import init
from infra.catalog import schema
from infra.catalog.loading import load

KINDS = {"components": "component", "services": "service", "local": "recipe", "dev.toml": "dev"}
MODELS = {name.partition(".")[0]: model for name, model in schema.FILES.items()}
DOCUMENTS = {name.partition(".")[0]: json.loads(text) for name, text in schema.documents().items()}
Path_ = tuple[str | int, ...]
# Each stands once for what is there; some are right in some places, and most are wrong in most.
STRANGERS: tuple[Any, ...] = (
    -1,
    0,
    70000,
    1.5,
    True,
    "",
    "..",
    "/",
    "9 parsecs",
    "30s",
    "a-name",
    "-x",
    [],
    ["a"],
    {},
    {"A b": 1},
)


def validator(kind: str) -> Draft7Validator:
    return Draft7Validator(DOCUMENTS[kind])


def kind_of(file: str) -> str:
    return KINDS[Path(file).parts[0]]


def data_of(file: str) -> dict[str, Any]:
    return tomllib.loads((CATALOG / file).read_text())


@pytest.mark.parametrize("name", schema.FILES)
def test_what_is_published_is_what_the_model_says(name: str) -> None:
    published = (CATALOG / "schema" / name).read_text()
    assert published == schema.documents()[name], "write them anew: .venv/bin/python -m infra.catalog.schema"


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_each_is_a_schema(kind: str) -> None:
    Draft7Validator.check_schema(DOCUMENTS[kind])


@pytest.mark.parametrize("file", TOML_FILES)
def test_every_file_of_the_catalogue_is_right_by_them(file: str) -> None:
    assert [error.message for error in validator(kind_of(file)).iter_errors(data_of(file))] == []
    assert validator(kind_of(file)).is_valid({**data_of(file), "schema": 1})
    assert not validator(kind_of(file)).is_valid({**data_of(file), "schema": 2})


def changed(value: object, path: Path_ = ()) -> Iterator[tuple[Path_, object]]:
    """Every way to put one thing that does not belong into a document, to leave one out, or to add one."""
    if isinstance(value, dict):
        yield (*path, "no-such-key"), "x"
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        at = (*path, key)
        for stranger in STRANGERS:
            yield at, stranger
        if isinstance(value, dict):
            yield at, None
        yield from changed(inner, at)


def put(data: dict[str, Any], path: Path_, value: object) -> dict[str, Any]:
    """The document with a change in it; None takes the key away."""
    data = copy.deepcopy(data)
    inner: Any = data
    for part in path[:-1]:
        inner = inner[part]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def model_takes(kind: str, data: dict[str, Any]) -> bool:
    try:
        MODELS[kind].model_validate(data)
    except ValidationError:
        return False
    return True


# Of the services those whose files use every word.
SERVICES = ("services/contextapi.toml", "services/holmesgpt-api.toml", "services/notification.toml")
USED = tuple(file for file in TOML_FILES if file in SERVICES or not file.startswith("services/"))


@pytest.mark.parametrize("file", USED)
def test_they_take_and_refuse_what_the_model_does(file: str) -> None:
    kind, whole = kind_of(file), data_of(file)
    check = validator(kind)
    refused, differ = 0, []
    for path, value in changed(whole):
        data = put(whole, path, value)
        takes = model_takes(kind, data)
        refused += not takes
        if check.is_valid(data) is not takes:
            differ.append((path, value, "the model takes it" if takes else "the model refuses it"))
    assert differ == []
    assert refused > len(STRANGERS)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('extends = "postgres"', True),
        ('extends = "postgres"\nvalues = { database = "shop" }\nready = { timeout = "60s" }', True),
        ('extends = "datastorage"\nbuild = { target = "slim" }', True),
        ('extends = "postgres"\nready = { timout = "60s" }', False),
        ('extends = "postgres"\nready = { timeout = "soon" }', False),
        ('extends = "postgres"\nready = { database = "x", path = "/" }', False),
        ('extends = "postgres"\nmemory = 1', False),
        ('extends = "postgres"\nfiles = [{ path = "/etc/x" }]', False),
        ("extends = 3", False),
        ('values = { database = "shop" }', False),
    ],
)
def test_what_an_extension_may_say(text: str, right: bool) -> None:
    assert validator("component").is_valid(tomllib.loads(text)) is right


@pytest.mark.parametrize("language", init.LANGUAGES)
def test_what_infra_init_writes_is_right_and_names_its_schema_for_editors(language: str, tmp_path: Path) -> None:
    init.write(tmp_path, "shop", language)
    files = sorted((tmp_path / "catalog").glob("*/*.toml"))
    assert [file.parent.name for file in files] == ["components", "services"]
    for file in files:
        first, _, text = file.read_text().partition("\n")
        assert first.startswith("#:schema ../schema/")
        document = json.loads((file.parent / first.removeprefix("#:schema ")).read_text())
        assert document == DOCUMENTS[kind_of(f"{file.parent.name}/{file.name}")]
        assert [error.message for error in Draft7Validator(document).iter_errors(tomllib.loads(text))] == []
    assert list(load(tmp_path / "catalog").services) == ["shop"]
