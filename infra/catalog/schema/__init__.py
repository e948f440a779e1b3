"""The catalogue's JSON Schemas for editors, made from the model; those that are published lie beside this file.

Draft 7, which is what TOML language servers know. What needs more than one file to judge is not in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from infra.catalog.names import SCHEMA
from infra.devstack import DevStack
from infra.model import Component, Recipe, Service, Word

Node = dict[str, object]
FILES: Mapping[str, type[Word]] = {
    "component.schema.json": Component,
    "service.schema.json": Service,
    "recipe.schema.json": Recipe,
    "dev.schema.json": DevStack,
}


def documents() -> dict[str, str]:
    """Return every schema as the text of its file, by the file's name."""
    return {name: json.dumps(_document(model), indent=2) + "\n" for name, model in FILES.items()}


def _document(model: type[Word]) -> Node:
    whole = _plain(model.model_json_schema())
    assert isinstance(whole, dict)
    definitions = whole.pop("$defs", {})
    name = model.__name__
    whole["properties"] = {**whole["properties"], "schema": {"const": SCHEMA, "title": "Schema"}}
    body: Node = {"$ref": f"#/$defs/{name}"}
    if "extends" in model.model_fields:
        definitions |= {f"{key}Extension": _partial(value) for key, value in definitions.items()}
        definitions[f"{name}Extension"] = _partial(whole)
        body = {"if": {"required": ["extends"]}, "then": {"$ref": f"#/$defs/{name}Extension"}, "else": body}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": name,
        **body,
        "$defs": {**definitions, name: whole},
    }


def _plain(value: object) -> object:
    """Leave out what is not JSON Schema's own, and refuse names that are none."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    closed = {"additionalProperties": False} if "patternProperties" in value else {}
    return {**{key: _plain(one) for key, one in value.items() if key != "discriminator"}, **closed}


def _partial(value: object) -> object:
    """Return a schema of what a component that extends another may say: the same, with nothing required."""
    if isinstance(value, list):
        return [_partial(one) for one in value]
    if not isinstance(value, dict):
        return value
    table = {("anyOf" if key == "oneOf" else key): _partial(one) for key, one in value.items() if key != "required"}
    if isinstance(at := table.get("$ref"), str):
        table["$ref"] = f"{at}Extension"
    # Lists are replaced whole, so what is in one has to be whole.
    return {**table, "items": value["items"]} if "items" in value else table
