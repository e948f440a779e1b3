"""`invoke ci.*`: what CI runs, from the catalogue."""

from __future__ import annotations

import json
import sys

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra.tasks import common


@task(
    name="matrix",
    help={
        "service": "services, with commas between; all where it is not given",
        "tier": "tiers, with commas between; all where it is not given",
        "language": "languages, with commas between; all where it is not given",
        "stack": "only what has a stack, and so images",
        "json": "it prints JSON and nothing else, with this or without",
    },
)
def show_matrix(
    _: Context, service: str = "", tier: str = "", language: str = "", stack: bool = False, json: bool = False
) -> None:
    """Print the sessions that can run, as one line for GitHub's fromJson."""
    from infra.catalog.loading import load
    from infra.matrix import chosen

    with common.told():
        catalog = load(common.read_settings().catalog)
        found = chosen(catalog, services=service, tiers=tier, languages=language, stacked=stack)
        print(_line({"include": [one.as_json() for one in found]}))


@task(name="workflow", help={"branch": "the branch whose pushes are tested (main)"})
def show_workflow(_: Context, branch: str = "main") -> None:
    """Print a whole GitHub Actions workflow, for .github/workflows/suites.yml."""
    from infra.workflow import workflow

    with common.told():
        sys.stdout.write(workflow(common.root(), branch=branch))


def _line(value: object) -> str:
    return json.dumps(value)


namespace = Collection("ci", show_matrix, show_workflow)
