"""The workflow of GitHub Actions that runs a catalogue: one template, and how this house differs from its adopters."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

from infra import __version__
from infra.bootstrap import has_lock
from infra.errors import Invalid
from infra.placeholders import plain

TEMPLATE = "workflow.yml"
_CHECKS = Path(".ci/run")
# What `git check-ref-format --branch` takes.
_BRANCH = re.compile(r"(?![-./])(?!.*(?:\.\.|//|/\.|@\{|\.lock(?:/|$)))[^\s~^:?*\[\\]+(?<![./])")
# What GitHub would read as a pattern: git takes these two.
_PATTERN = re.compile(r"^!|\+")
# A block between `#[name` and `#]` stands only where its name is true, one with `!name` only where it is not.
_BLOCK = re.compile(r"^ *#\[(!?)(\w+)\n(.*?)^ *#\]\n", re.MULTILINE | re.DOTALL)


def workflow(root: Path, *, branch: str = "main") -> str:
    """Return the workflow of the repository at `root`, as `.github/workflows/suites.yml` has it. Raises `Invalid`.

    `locked`: the repository pins what it needs in this project's requirements.lock and its noxfile.py installs that, as
    this one does; an adopter's installs the wheel, whatever lock file it has. `checks`: it has a `.ci/run` of its own.
    """
    if not _BRANCH.fullmatch(branch) or not branch.isprintable():
        raise Invalid(
            f'"{plain(branch, 80)}" is no name of a branch',
            reference="arguments",
            remedy="invoke ci.workflow --branch main",
        )
    facts = {"locked": has_lock(root), "checks": (root / _CHECKS).is_file()}
    text = files("infra").joinpath(TEMPLATE).read_text(encoding="utf-8")
    text = _BLOCK.sub(lambda found: found[3] if facts[found[2]] != bool(found[1]) else "", text)
    # A text of JSON is one of YAML: whatever is in it, it ends where it should.
    named = json.dumps(_PATTERN.sub(r"\\\g<0>", branch), ensure_ascii=False)
    return text.replace("@VERSION@", __version__).replace('"@BRANCH@"', named)
