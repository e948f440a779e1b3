"""What a plan takes from the workspace: folders and files that are there and inside of it; migrations. Read only."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra import migrations
from infra.errors import Invalid, edit, edit_key
from infra.model import BuildSpec, Component, MigrationsSpec
from infra.placeholders import plain
from infra.rundir import shown

_RIGHT = "the right path; or point INFRA_WORKSPACE at the right workspace"


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """A file copied in before start."""

    path: str
    content: str
    mode: int
    owner: int


def inside(workspace: Path, path: str, key: str) -> Path:
    """Return a path of the catalogue's in the workspace. Raises `Invalid` where links lead out of it."""
    found = workspace / path
    try:
        at = found.resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    except (OSError, RuntimeError) as error:  # a name that is too long; links in a circle, which Python 3.13 resolves
        code = error.errno if isinstance(error, OSError) else errno.ELOOP
        why = "its links lead in a circle" if code == errno.ELOOP else os.strerror(code or 0)
        raise Invalid(
            f"{key}: {plain(str(found))}: {why}", reference="path-unusable", remedy=edit_key(key, _RIGHT)
        ) from error
    if not at.is_relative_to(workspace.resolve()):
        raise Invalid(
            f"{key}: {plain(str(found))} leads out of the workspace, to {plain(str(at))}",
            reference="outside-workspace",
            remedy=edit_key(key, "a path in the workspace; or point INFRA_WORKSPACE at a folder that holds both"),
        )
    return found


def check_folder(workspace: Path, cwd: str, key: str) -> None:
    """Raise `Invalid` where the folder of a suite is not there."""
    folder = inside(workspace, cwd, key)
    if not folder.is_dir():
        raise Invalid(
            f"{key}: no folder at {plain(str(folder))}", reference="suite-folder-missing", remedy=edit_key(key, _RIGHT)
        )


def check_requirements(workspace: Path, files: tuple[str, ...], key: str) -> None:
    """Raise `Invalid` where a suite's requirements are not there."""
    for name in files:
        file = inside(workspace, name, key)
        if not file.is_file():
            raise Invalid(f"{key}: no file at {file}", reference="requirements-missing", remedy=edit_key(key, _RIGHT))


def check_build(workspace: Path, build: BuildSpec, path: str) -> None:
    """Raise `Invalid` where what an image is built from is not there."""
    context = inside(workspace, build.context, f"{path}: build.context")
    containerfile = inside(workspace, build.containerfile, f"{path}: build.containerfile")
    if not context.is_dir():
        key, what = "build.context", f"no folder at {plain(str(context))}"
    elif not containerfile.is_file():
        key, what = "build.containerfile", f"no file at {plain(str(containerfile))}"
    else:
        return
    raise Invalid(f"{path}: {key}: {what}", reference="build-files-missing", remedy=edit(path, f"{key}: {_RIGHT}"))


def migration_files(workspace: Path, spec: MigrationsSpec, key: str) -> tuple[PlannedFile, ...]:
    """Return the files of a migrations component: the SQL, and `order`, which says how it is applied."""
    found = migrations.read(inside(workspace, spec.folder, key), key)
    order = "".join(f"{migration.name}\n" for migration in found)
    files = (("order", order), *((migration.name, migration.sql) for migration in found))
    return tuple(PlannedFile(path=f"{spec.target}/{name}", content=text, mode=0o444, owner=0) for name, text in files)


def declared(component: Component, files: Iterable[PlannedFile]) -> str:
    """Return a hash of what a container is made of: its declaration, without what a run adds, and its migrations."""
    own = component.model_dump_json(exclude={"ready", "on_reuse", "stop_grace"})
    migrated = [file.content for file in files] if component.migrations is not None else []
    return hashlib.sha256(repr((own, migrated)).encode()).hexdigest()[:12]


def places(workspace: Path, component: Component, path: Path) -> dict[str, str]:
    """Return the files that a person edits to mend a component; `path` is its own."""
    found = {"component_file": shown(path)}
    if component.migrations is not None:
        found["migrations"] = shown(workspace / component.migrations.folder)
    if component.build is not None:
        found["containerfile"] = shown(workspace / component.build.containerfile)
    return found


def places_of_service(workspace: Path, catalog: Path, service: str, cwd: str) -> dict[str, str]:
    """Return the files and folders that a person edits to mend a service's stack or its suite."""
    return {
        "service_file": shown(catalog / "services" / f"{service}.toml"),
        "component_dir": shown(catalog / "components"),
        "workspace": shown(workspace),
        "suite_dir": shown(workspace / cwd),
    }
