"""F01 to F13: components that do not start, or do not get ready. Each is caused for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults import caused, is_told, small_catalog, small_workspace, written_down
from product import Project

pytestmark = pytest.mark.usefixtures("warm")


@pytest.fixture
def faulty(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Make a project of a small catalogue and a small workspace."""

    def make(
        components: dict[str, str], stack: list[str], files: dict[str, str] | None = None, **more: object
    ) -> Project:
        catalog = small_catalog(tmp_path / "catalog", components, stack, **more)  # type: ignore[arg-type]
        return make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace", files))

    return make


def test_f05_an_error_in_a_migration_ends_the_run_and_names_file_line_and_error(
    faulty: Callable[..., Project],
) -> None:
    files = {"migrations/001_good.sql": "CREATE TABLE a ();\n", "migrations/002_bad.sql": "\nCREAT TABLE b ();\n"}
    fault = caused(faulty({}, ["postgres", "migrations"], files))
    is_told(
        fault,
        reference="migration-failed",
        blame="product",
        code=75,
        step="migrations",
        says=["002_bad.sql, line 2", 'syntax error at or near "CREAT"'],
        remedy="002_bad.sql",
        shows=["psql:002_bad.sql:2: ERROR:", "state: ended, exit code 3", "applying 001_good.sql"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F05", "a file with bad SQL", fault)
