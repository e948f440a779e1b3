"""Where things are: the root (the folder of noxfile.py and tasks.py), the catalogue, the workspace, the run folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from infra import retry
from infra.catalog.names import folder
from infra.errors import Invalid

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
    mode = environ.get("INFRA_IMAGES") or "auto"
    for known in get_args(ImagesMode):
        if mode == known:
            return Settings(
                root=root,
                catalog=folder(root, "catalog", environ),
                workspace=folder(root, "workspace", environ),
                images=known,
                keep=environ.get("INFRA_KEEP", "") not in ("", "0"),
                retry_infra=retry.number(environ.get(retry.ENV) or "0", retry.ENV),
            )
    raise Invalid(
        f'INFRA_IMAGES is "{mode}"; it is one of {", ".join(get_args(ImagesMode))}',
        reference="settings",
        remedy="unset INFRA_IMAGES",
    )
