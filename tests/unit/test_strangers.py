"""What a stranger writes (tests/examples): what `infra.init` would have written, little, and nothing of Kubernaut."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from given import ROOT

from infra import settings
from infra.catalog.loading import load
from infra.plan import make

EXAMPLES = ROOT / "tests" / "examples"
TEMPLATES = ROOT / "infra" / "init" / "templates" / "both"
# In the order in which they start.
STACKS = {"parcels": ["postgres", "migrations", "nats", "parcels"], "seats": ["redis", "seats"]}


def catalog_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "infra-catalog").rglob("*") if path.is_file())


def written(*paths: Path) -> int:
    """How many lines of these say something."""
    lines = (line.strip() for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("name", STACKS)
def test_its_plan_is_made_of_its_own_components_and_built_in_ones(name: str) -> None:
    given = settings.read(EXAMPLES / name, {})
    assert (given.catalog, given.workspace) == (EXAMPLES / name / "infra-catalog", EXAMPLES / name)
    plan = make(load(given.catalog), given, service=name, run="1884d074", ports="fixed")
    steps = plan.as_json()["steps"]
    assert [step["name"] for step in steps] == STACKS[name]
    assert [step["name"] for step in steps if step["image"]["source"] == "build"] == [name]


@pytest.mark.parametrize("name", STACKS)
def test_what_makes_it_a_user_of_infra_is_what_init_writes(name: str) -> None:
    for file in ("noxfile.py", "tasks.py"):
        text = (EXAMPLES / name / file).read_text(encoding="utf-8")
        assert text == (TEMPLATES / f"{file}.txt").read_text(encoding="utf-8")
        assert written(EXAMPLES / name / file) <= 5


@pytest.mark.parametrize(("name", "lines"), [("parcels", 60), ("seats", 30)])
def test_it_is_little(name: str, lines: int) -> None:
    folder = EXAMPLES / name
    table = 2  # [tool.infra] and its catalog
    assert written(folder / "noxfile.py", folder / "tasks.py", *catalog_files(folder)) + table <= lines


@pytest.mark.parametrize("name", STACKS)
def test_nothing_of_kubernaut_is_in_it(name: str) -> None:
    kubernaut = re.compile(r"kubernaut(?!-infra\b)|datastorage|action_history|slm_user", re.IGNORECASE)
    texts = {path: path.read_text(encoding="utf-8") for path in (EXAMPLES / name).rglob("*") if path.is_file()}
    assert [str(path) for path, text in texts.items() if kubernaut.search(text)] == []
