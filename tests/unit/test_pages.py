"""The pages: generated parts are as they would be written, words are the model's, links lead somewhere, blocks load."""

from __future__ import annotations

import ast
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import troubleshooting
import words
import write
from blocks import ROOT, Block, blocks, pages
from given import CATALOG, catalog_copy

from infra import settings
from infra.catalog.loading import load
from infra.causes import table
from infra.model import Service

PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
# What a page's pieces of a service file are read as a part of.
SERVICE = {
    "language": "go",
    "stack": ["postgres", "migrations", "redis"],
    "ports": {"postgres": 15999, "redis": 16999},
}


@PAGES
def test_the_generated_parts_are_as_they_would_be_written(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert write.written(text) == text, "to do: .venv/bin/nox -s pages"


def test_every_generated_part_is_on_a_page() -> None:
    on_pages = [name for page in pages() for name in re.findall(r"<!-- begin ([\w-]+):", page.read_text("utf-8"))]
    assert sorted(on_pages) == sorted(write.PARTS)


def test_a_part_that_has_changed_is_written_and_what_is_around_it_stays() -> None:
    before = "one\n<!-- begin ports: x -->\nold\n<!-- end ports -->\ntwo\n"
    after = write.written(before)
    assert after.startswith("one\n<!-- begin ports: x -->\n| service | ")
    assert after.endswith(" |\n<!-- end ports -->\ntwo\n")
    assert write.written(after) == after


def test_each_port_of_the_catalogue_is_in_the_table_of_ports_once() -> None:
    shown = [int(number) for number in re.findall(r"\b\d{4,5}\b", write.ports())]
    declared = []
    for path in [*(CATALOG / "services").glob("*.toml"), *CATALOG.glob("dev.toml")]:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        given = [*data.get("ports", {}).values(), data.get("suite_ports", {})]
        declared += [number for one in given for number in (one.values() if isinstance(one, dict) else [one])]
    assert sorted(shown) == sorted(declared)


def test_each_cause_is_in_one_group_of_the_troubleshooting() -> None:
    grouped = [rule.reference for rules in troubleshooting.grouped().values() for rule in rules]
    assert sorted(grouped) == sorted(table.BY_REFERENCE), "to do: a Group of tests/pages/troubleshooting.py"


def test_the_troubleshooting_has_all_that_is_known_of_each_cause() -> None:
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", troubleshooting.causes(), re.MULTILINE | re.DOTALL))
    assert sorted(sections) == sorted(table.BY_REFERENCE)
    for reference, rule in table.BY_REFERENCE.items():
        said = sections[reference]
        assert str(table.page(reference)) in said
        assert f"- to do: `{rule.shown_hint}`" in said
        assert re.search(r"^- blame: .*(infrastructure|product|test|user|took)", said, re.MULTILINE)


@pytest.mark.parametrize("file", words.FILES)
def test_every_word_of_the_catalogue_is_explained_with_its_default(file: str) -> None:
    text = (ROOT / "docs" / "adding-a-service.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| `{re.escape(file)}` \|.*\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    assert {word: default for word, default, _ in rows} == words.words(file)
    assert [word for word, _, meaning in rows if not meaning] == []


@PAGES
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert lost == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {troubleshooting.anchor(heading) for heading in headings}


def test_the_readme_names_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in pages()[1:] if f"](docs/{page.name})" not in text] == []


def tomls(page: Path) -> Iterator[tuple[Block, dict[str, Any]]]:
    for block in blocks(page):
        if block.language == "toml":
            yield block, tomllib.loads(block.text)


@PAGES
def test_the_toml_of_a_page_is_a_catalogue(page: Path, tmp_path: Path) -> None:
    """Files are put into the catalogue under their names; pieces of a service file make one service together."""
    catalog = catalog_copy(tmp_path)
    pieces: dict[str, Any] = {}
    for block in blocks(page):
        if block.file is not None and Path(block.file).parent.name in ("services", "components", "local"):
            path = Path(block.file)
            (catalog / path.parent.name / path.name).write_text(block.text, encoding="utf-8")
    for block, data in tomls(page):
        if "tool" in data:
            with_settings(tmp_path / f"project{block.line}", block, data)
        elif block.file is None:
            known = set(Service.model_fields)
            assert set(data) <= known, f"{block.where}: a file? Then its path is the first line, as a comment"
            merge(pieces, data)
    if pieces:
        (catalog / "services" / "piece.toml").write_text(tomli_w.dumps({**SERVICE, **pieces}), encoding="utf-8")
    assert load(catalog).services


def with_settings(folder: Path, block: Block, data: dict[str, Any]) -> None:
    """A `[tool.infra]` is read where the folders are that it names."""
    root = folder / "a" / "b"
    for value in data["tool"].get("infra", {"catalog": "infra/catalog"}).values():
        (root / value).mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text(block.text, encoding="utf-8")
    assert settings.read(root, {}).catalog.is_dir(), block.where
    shutil.rmtree(folder)


def merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


@PAGES
def test_the_python_of_a_page_compiles(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse("\n" * (block.line - 1) + block.text, filename=block.page)


@PAGES
def test_the_languages_of_blocks_are_those_that_are_looked_at(page: Path) -> None:
    known = {"sh", "toml", "python", "go", "json", "jsonc", "yaml", "dockerfile", "text"}
    assert {block.language for block in blocks(page)} <= known, "what is executed is `sh`, what is not is `text`"
