"""Where things are: the root (the folder of noxfile.py and tasks.py), the catalogue, the workspace, the run folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from infra import retry
from infra.catalog.names import Unreadable, tool_infra
from infra.errors import Invalid, edit

ImagesMode = Literal["auto", "registry", "local"]
PortsMode = Literal["fixed", "auto"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment and `[tool.infra]` say."""

    root: Path
    catalog: Path
    workspace: Path
    images: ImagesMode
    keep: bool
    retry_infra: int = 0

    @property
    def runs(self) -> Path:
        """The folder of all run directories."""
        return runs_of(self.root)


def runs_of(root: Path) -> Path:
    """Return the folder of all run directories of a repository."""
    return root / ".infra" / "runs"


def read(root: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of the repository at `root`, links in that resolved: it is a name. Raises `Invalid`."""
    root = root.resolve()
    table = _table(root)
    mode = environ.get("INFRA_IMAGES") or "auto"
    for known in get_args(ImagesMode):
        if mode == known:
            return Settings(
                root=root,
                catalog=_folder(root, "catalog", environ.get("INFRA_CATALOG"), table, "infra/catalog"),
                workspace=_folder(root, "workspace", environ.get("INFRA_WORKSPACE"), table, "."),
                images=known,
                keep=environ.get("INFRA_KEEP", "") not in ("", "0"),
                retry_infra=retry.number(environ.get(retry.ENV) or "0", retry.ENV),
            )
    raise Invalid(
        f'INFRA_IMAGES is "{mode}"; it is one of {", ".join(get_args(ImagesMode))}',
        reference="settings",
        remedy="unset INFRA_IMAGES",
    )


def _table(root: Path) -> dict[str, object]:
    pyproject = root / "pyproject.toml"
    try:
        table = tool_infra(root) or {}
    except Unreadable as error:
        raise Invalid(str(error), reference="settings", remedy=edit(pyproject, error.key)) from error
    if unknown := table.keys() - {"catalog", "workspace"}:
        raise Invalid(
            f"{pyproject}: tool.infra.{min(unknown)}: unknown key (known: catalog, workspace)",
            reference="settings",
            remedy=edit(pyproject, f"tool.infra.{min(unknown)}"),
        )
    return table


def _folder(root: Path, key: str, given: str | None, table: Mapping[str, object], default: str) -> Path:
    value = given or table.get(key, default)
    folder = (root / str(value)).resolve()
    if not folder.is_dir():
        pyproject = root / "pyproject.toml"
        if given:
            name = f"INFRA_{key.upper()}"
            message, right = f"{name}: no folder at {folder}", f"unset {name}  # or let it name the {key}'s folder"
        elif key in table:
            message = f"{pyproject}: tool.infra.{key}: no folder at {folder}"
            right = edit(pyproject, f"tool.infra.{key}")
        else:
            message = f"no folder at {folder}, and no tool.infra.{key} in {pyproject} names another"
            right = f"infra-init  # begins here; or edit {pyproject.name}: [tool.infra] names the {key}"
        raise Invalid(message, reference="settings", remedy=right)
    return folder
