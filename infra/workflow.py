"""The workflow of GitHub Actions that runs a catalogue: one template, and how this house differs from its adopters."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from infra import __version__
from infra.bootstrap import LOCK
from infra.errors import Invalid

TEMPLATE = "workflow.yml"
_CHECKS = Path(".ci/run")
_BRANCH = re.compile(r"[A-Za-z0-9][\w./-]*")
# A block between `#[name` and `#]` stands only where its name is true, one with `!name` only where it is not.
_BLOCK = re.compile(r"^ *#\[(!?)(\w+)\n(.*?)^ *#\]\n", re.MULTILINE | re.DOTALL)


def workflow(root: Path, *, branch: str = "main") -> str:
    """Return the workflow of the repository at `root`, as `.github/workflows/suites.yml` has it. Raises `Invalid`.

    `locked`: the repository pins what it needs in requirements.lock and its noxfile.py installs that, as this one
    does; an adopter's installs this project's wheel. `checks`: it has a `.ci/run` of its own.
    """
    if not _BRANCH.fullmatch(branch):
        raise Invalid(
            f'"{branch}" is no name of a branch', reference="arguments", remedy="invoke ci.workflow --branch main"
        )
    facts = {"locked": (root / LOCK).exists(), "checks": (root / _CHECKS).exists()}
    text = files("infra").joinpath(TEMPLATE).read_text(encoding="utf-8")
    text = _BLOCK.sub(lambda found: found[3] if facts[found[2]] != bool(found[1]) else "", text)
    return text.replace("@BRANCH@", branch).replace("@VERSION@", __version__)
