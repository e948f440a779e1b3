"""Where a test failed, as a file: gotestsum names the package, pytest the path from where it ran."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from infra.report import SuiteResult


def placed(result: SuiteResult, cwd: Path) -> SuiteResult:
    """Return a result whose locations are absolute paths; one of a file that is not there stays as it is."""
    module = _module(cwd)
    cases = (replace(case, location=_placed(case.location, cwd, *module)) for case in result.cases)
    return replace(result, cases=tuple(cases))


def _placed(location: str, cwd: Path, module: str, folder: Path) -> str:
    name, _, line = location.rpartition(":")
    if not name or not line.isdecimal():
        return location
    found = (path for path in (cwd / name, folder / name.removeprefix(f"{module}/")) if path.is_file())
    return next((f"{path}:{line}" for path in found), location)


def _module(cwd: Path) -> tuple[str, Path]:
    """Return the name and the folder of the Go module that a folder belongs to; no name where it belongs to none."""
    for folder in (cwd, *cwd.parents):
        try:
            text = (folder / "go.mod").read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        found = re.search(r'^module\s+"?([^\s"]+)', text, re.MULTILINE)
        return (found[1] if found else ""), folder
    return "", cwd
