"""The run directory `.infra/runs/<run>/`: made, linked as `latest`, the program in it, and the oldest ones dropped."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from infra.errors import Invalid
from infra.settings import Settings

_KEPT_RUNS = 50
_HANDED_OVER = "kept"


def make(runs: Path, run: str) -> Path:
    """Make a run's folder and point `latest` at it. Raises `Invalid` where a run of that name has been."""
    folder = runs / run
    try:
        folder.mkdir(parents=True, exist_ok=False)
    except FileExistsError as error:
        message = f"there has been a run {run}: its folder {folder} exists"
        raise Invalid(message, reference="run-exists", remedy="invoke infra.status  # leave --run out") from error
    except OSError as error:
        message = f"the run directory cannot be made: {error}"
        raise Invalid(
            message, reference="run-directory", remedy=f"mkdir -p {shlex.quote(str(runs))}  # it must be writable"
        ) from error
    latest = runs / "latest"
    with contextlib.suppress(OSError):
        part = runs / f".latest-{run}"
        part.symlink_to(run)
        part.replace(latest)
    return folder


def hand_over(folder: Path) -> None:
    """Say that the stack of a run is a person's from here on: its folder stays as long as that."""
    folder.mkdir(parents=True, exist_ok=True)  # of a stack that is handed over again it may have been removed
    (folder / _HANDED_OVER).touch()


def is_handed_over(folder: Path) -> bool:
    """Whether the stack of a run is a person's; it counts as one's where that cannot be seen."""
    try:
        (folder / _HANDED_OVER).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # another user's folder
        return True
    return True


def take_back(folder: Path) -> None:
    """Say that it is not any more."""
    (folder / _HANDED_OVER).unlink(missing_ok=True)


def prune(runs: Path, alive: Collection[str]) -> None:
    """Drop the oldest folders beyond the 50 newest, but none of a run that is `alive`, or of a stack that is up."""
    ages: dict[Path, float] = {}
    for path in runs.iterdir():
        with contextlib.suppress(OSError):  # another run prunes, too
            is_over = path.name not in alive and not is_handed_over(path)
            if is_over and path.is_dir() and not path.is_symlink():
                ages[path] = path.stat().st_mtime
    for old in sorted(ages, key=lambda path: ages[path], reverse=True)[_KEPT_RUNS:]:
        shutil.rmtree(old, ignore_errors=True)


def program(folder: Path) -> Path:
    """Return where the program that a suite calls, `INFRA_INVOKE`, is in a run's folder."""
    return folder / "bin" / "invoke"


def write_program(settings: Settings, folder: Path) -> Path:
    """Write that program; it works from anywhere."""
    here = str(Path(__file__).resolve().parent.parent)
    env = {
        "INFRA_CATALOG": str(settings.catalog),
        "INFRA_WORKSPACE": str(settings.workspace),
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
    }
    words = [
        "exec",
        "env",
        *(f"{key}={value}" for key, value in env.items()),
        sys.executable,
        "-P",
        "-m",
        "infra.tasks",
    ]
    text = f'#!/bin/sh\ncd {shlex.quote(str(settings.root))} || exit 70\n{shlex.join(words)} "$@"\n'
    path = program(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def dotenv(values: Mapping[str, str]) -> str:
    """Return values as a dotenv file that a shell reads the same: quoted where a plain word would be read otherwise.

    A value of several lines has several lines here, too: shells know no other way.
    """
    return "".join(f"{key}={_quote(value)}\n" for key, value in values.items())


def _quote(value: str) -> str:
    if value and all(c.isalnum() or c in "-_./:@%+,=*" for c in value):
        return value
    if value and "'" not in value:
        return f"'{value}'"  # nothing is special in these for a shell
    for special in '\\"$`':
        value = value.replace(special, f"\\{special}")
    return f'"{value}"'


def shown(folder: Path) -> str:
    """Return a folder as a person standing here would write it."""
    try:
        return str(folder.relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
