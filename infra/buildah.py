"""What a killed `podman build` leaves, and how it is known: by its control group and by a mount from the run's folder.

Podman gives no label to a build's working container or to its RUN processes, which live on in sessions of their own.
Both carry what the build was called with: `--cgroup-parent /infra-<run>` and a volume whose source lies in the run's
folder. Buildah writes them into the working container's buildah.json (4.3.1 and 5.4.2 alike), the kernel shows them
of each process. What carries neither is somebody else's build.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Set
from pathlib import Path

import psutil

from infra import processes
from infra.engine.client import Engine
from infra.errors import InfraError
from infra.lease_names import cgroup, private_folder

_KILL_S = 2.0
_CGROUPS = Path("/sys/fs/cgroup")


def flags(run: str, bundle: Path | None, work: Path) -> list[str]:
    """Return the build flags that make a build's leftovers findable, and the host's authorities trusted in it."""
    # The host's network saves a bridge a build, and is all that a download needs.
    chosen = ["--network", "host"]
    own_group = os.geteuid() == 0 and not Path("/run/systemd/system").is_dir()
    if own_group:
        chosen += ["--cgroup-parent", f"/{cgroup(run)}"]
    if bundle is not None:
        copy = work / "ca-certificates.crt"
        shutil.copyfile(bundle, copy)
        chosen += ["--volume", f"{copy}:/etc/ssl/certs/ca-certificates.crt:ro"]
    elif not own_group:
        # Nothing else of the run would stand in buildah.json: an empty folder over one that every image has.
        empty = work / "mark"
        empty.mkdir(exist_ok=True)
        chosen += ["--volume", f"{empty}:/media:ro"]
    return chosen


def kill(run: str) -> None:
    """End the processes of a run's builds that outlived their podman, and the control groups they were in."""
    deadline = time.monotonic() + _KILL_S
    while (found := _processes(run)) and time.monotonic() < deadline:
        processes.kill(found)
    _remove_cgroups(run)
    _remove_runtime_states(run)


def working_containers(engine: Engine, run: str) -> tuple[str, ...]:
    """Return the ids of the working containers that a run's builds left."""
    return tuple(container for container, owner in _working(engine) if owner == run)


def remove_dead(engine: Engine, alive: Callable[[], Set[str]]) -> list[str]:
    """Remove the working containers of builds whose run is not there any more; return those runs."""
    working = _working(engine)
    # Asked afterwards: a run that began meanwhile has its network before its first build.
    living = alive() if working else set()
    removed = []
    for container, run in working:
        if run not in living:
            kill(run)
            with contextlib.suppress(InfraError):
                engine.remove(container)
                removed.append(run)
    return removed


def _working(engine: Engine) -> list[tuple[str, str]]:
    """Return (container id, run) of all working containers that were made by builds of ours."""
    external = [row for row in engine.containers(external=True) if row.external]
    if not external:
        return []
    store = engine.info()["store"]
    folder = Path(store["graphRoot"]) / f"{store['graphDriverName']}-containers"
    found = []
    for row in external:
        try:
            text = (folder / row.id / "userdata" / "buildah.json").read_text(encoding="utf-8")
            options = json.loads(text).get("CommonBuildOpts") or {}
        except (OSError, ValueError):
            continue
        if run := _run_of(options):
            found.append((row.id, run))
    return found


def _run_of(options: dict[str, object]) -> str | None:
    parent = re.fullmatch(r"/infra-([0-9a-f]{8})", str(options.get("CgroupParent") or ""))
    if parent:
        return parent[1]
    volumes = options.get("Volumes") or []
    for volume in volumes if isinstance(volumes, list) else []:
        source = re.search(r"/infra-\d+-([0-9a-f]{8})/", str(volume))
        if source:
            return source[1]
    return None


def _processes(run: str) -> list[psutil.Process]:
    """Processes in the run's control group, or in another mount namespace with a mount from the run's folder."""
    ours = _mount_namespace(Path("/proc/self"))
    group, folder = f"/{cgroup(run)}", f"/{private_folder(run).name}/"
    found = []
    for process in psutil.process_iter():
        base = Path(f"/proc/{process.pid}")
        try:
            groups = (base / "cgroup").read_text(encoding="utf-8").splitlines()
            in_group = any(f"{line.split(':', 2)[2]}/".startswith(f"{group}/") for line in groups)
            other = _mount_namespace(base) != ours
            mounted = other and folder in (base / "mountinfo").read_text(encoding="utf-8")
            if (in_group or mounted) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def _mount_namespace(base: Path) -> str:
    return str((base / "ns" / "mnt").readlink())


def _remove_cgroups(run: str) -> None:
    """The kernel keeps an empty group until its folder is removed."""
    for top in (_CGROUPS, *(path for path in _CGROUPS.glob("*") if path.is_dir())):
        group = top / cgroup(run)
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def _remove_runtime_states(run: str) -> None:
    """The OCI runtime keeps a folder for each build container whose end it was not told of."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else "/run"
    mark = f"/{private_folder(run).name}/"
    for state in Path(runtime or "/run").glob("*/buildah-buildah*/state.json"):
        with contextlib.suppress(OSError):
            if mark in state.read_text(encoding="utf-8"):
                shutil.rmtree(state.parent, ignore_errors=True)
