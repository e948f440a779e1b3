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
from typing import Any

import psutil

from infra import processes, remnants
from infra.engine.client import Engine
from infra.errors import InfraError
from infra.labels import IMAGE
from infra.lease_names import cgroup, is_mounted_in, private_folder

_KILL_S = 2.0
# Whatever goes on writes what is missing some milliseconds later. A machine that is busy may hold it up for more than
# a second: where somebody else's Podman or buildah is there, whose it may be, it is given more.
_WRITING_S, _WRITING_BESIDE_S = 1.0, 5.0
_LOOK_S = 0.05
_STATE = "buildah.json"


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
    remnants.remove_groups(cgroup(run))
    _remove_runtime_states(run)


def working_containers(engine: Engine, run: str) -> tuple[str, ...]:
    """Return the ids of the working containers that a run's builds left."""
    return tuple(container for container, owner in _working(engine) if owner == run)


def runs_of_working_containers(engine: Engine) -> tuple[str, ...]:
    """Return the runs whose builds have left working containers, or have them now."""
    return tuple(dict.fromkeys(run for _, run in _working(engine)))


def remove_dead(engine: Engine, alive: Callable[[], Set[str]]) -> list[str]:
    """Remove the working containers of builds whose run is not there any more; return those runs."""
    working = _working(engine)
    # Asked afterwards: a run that began meanwhile has its network before its first build.
    living = alive() if working else set()
    removed = []
    for container, run in working:
        if run not in living:
            kill(run)
            remove_half_done(engine, run, None)
            with contextlib.suppress(InfraError):
                engine.remove(container)
                removed.append(run)
    return removed


def remove_half_done(engine: Engine, run: str, built_since: float | None) -> None:
    """Remove what carries no mark of a run because its build was ended while it wrote it.

    A working container without buildah.json, or a runtime's state of one without state.json, is the run's when it was
    made after `built_since`, when the run's builds began. An image without a manifest is when it stands on what a
    working container of the run stands on, or has our labels: with such a one in the store every list of images
    fails, whoever asks (Podman 4.3; newer ones write it whole). Others build and create containers at the same moment:
    what is theirs is whole a moment later, so only what stays as it is for that long is removed.
    """

    def patience_s() -> float:
        return _WRITING_BESIDE_S if processes.others_podman(engine.url) else _WRITING_S

    found = what_stays(lambda: _half_done(engine, run, built_since), patience_s)
    for kind, name in found:
        with contextlib.suppress(InfraError):
            if kind == "container":
                engine.remove(name)
            elif kind == "image":
                engine.remove_image(name, force=True)
            else:
                shutil.rmtree(name, ignore_errors=True)


def what_stays(look: Callable[[], list[tuple[str, str]]], patience_s: Callable[[], float]) -> list[tuple[str, str]]:
    """Return what one look after another finds, from the first to the one after the patience.

    That is asked after the first: who was writing then is still there, or has written it.
    """
    if not (found := look()):
        return []
    deadline = time.monotonic() + patience_s()
    while found and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        again = look()
        found = [one for one in found if one in again]
    return found


def _half_done(engine: Engine, run: str, since: float | None) -> list[tuple[str, str]]:
    """Return (kind, id): images first, for nothing can be listed with them, and they are known by the containers."""
    external = [row.id for row in engine.containers(external=True) if row.external]
    if not external and since is None:
        return []
    # While its bundle is there, somebody's build may still start it.
    unwritten = [path for path in _runtime_states() if _is_made_since(path, since, "state.json")]
    states = [("state", str(path)) for path in unwritten if not _has_bundle(path)]
    owners = {name: _owner_of(engine, name) for name in external}
    containers = _stored(engine, "containers", "containers.json", "volatile-containers.json")
    # Podman's own containers are external too while they are made, and have this from the beginning.
    podmans = {one["id"] for one in containers if one.get("metadata")}
    unmarked = {name for name, owner in owners.items() if owner is None} - podmans
    folder = store(engine, "containers")
    unnamed = {name for name in unmarked if _is_made_since(folder / name / "userdata", since, _STATE)}
    working = unnamed | {name for name, owner in owners.items() if owner == run}
    parents = {str(layer["id"]): layer.get("parent") for layer in _stored(engine, "layers", "layers.json")}
    bases = {parents.get(str(one["layer"])) for one in containers if one["id"] in working} - {None}
    found = []
    for image in _stored(engine, "images", "images.json"):
        below = {str(image.get("layer")), parents.get(str(image.get("layer")))}
        torn = "manifest" not in (image.get("big-data-names") or ())
        if torn and (bases & below or _is_labelled(engine, image)):
            found.append(("image", str(image["id"])))
    return [*found, *(("container", name) for name in sorted(unnamed)), *states]


def _is_made_since(folder: Path, since: float | None, file: str) -> bool:
    """Whether a folder was made after `since`, and its file is still to be written."""
    try:
        return since is not None and folder.stat().st_mtime >= since and not (folder / file).exists()
    except OSError:
        return False


def _is_labelled(engine: Engine, image: dict[str, Any]) -> bool:
    """Whether an image that the engine cannot read has our labels in its configuration."""
    for file in (store(engine, "images") / str(image["id"])).glob("=*"):
        with contextlib.suppress(OSError):
            if f'"{IMAGE}"' in file.read_text(encoding="utf-8", errors="replace"):
                return True
    return False


def _stored(engine: Engine, kind: str, *names: str) -> list[dict[str, Any]]:
    """Return what the store's files say of its layers, containers or images; nothing where they are not here."""
    rows: list[dict[str, Any]] = []
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            rows += json.loads((store(engine, kind) / name).read_text(encoding="utf-8")) or []
    return rows


def store(engine: Engine, kind: str) -> Path:
    """Return the folder in which the engine's storage has its containers, images or layers."""
    told = engine.info()["store"]
    return Path(f"{told['graphRoot']}/{told['graphDriverName']}-{kind}")


def _working(engine: Engine) -> list[tuple[str, str]]:
    """Return (container id, run) of all working containers that were made by builds of ours."""
    external = [row.id for row in engine.containers(external=True) if row.external]
    owners = ((container, _owner_of(engine, container)) for container in external)
    return [(container, run) for container, run in owners if run is not None]


def _owner_of(engine: Engine, container: str) -> str | None:
    """Return the run whose build made a working container, as buildah has written it down, or began to."""
    folder = store(engine, "containers") / container / "userdata"
    for path in (folder / _STATE, *folder.glob(f".tmp-{_STATE}*")):
        with contextlib.suppress(OSError, ValueError):
            options = json.loads(path.read_text(encoding="utf-8")).get("CommonBuildOpts") or {}
            if run := _run_of(options):
                return run
    return None


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
    # A mount that all have tells nothing of who has it.
    only_theirs = not is_mounted_in(private_folder(run))
    found = []
    for process in psutil.process_iter():
        base = Path(f"/proc/{process.pid}")
        try:
            groups = (base / "cgroup").read_text(encoding="utf-8").splitlines()
            in_group = any(f"{line.split(':', 2)[2]}/".startswith(f"{group}/") for line in groups)
            other = only_theirs and _mount_namespace(base) != ours
            mounted = other and folder in (base / "mountinfo").read_text(encoding="utf-8")
            if (in_group or mounted) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def _mount_namespace(base: Path) -> str:
    return str((base / "ns" / "mnt").readlink())


def _remove_runtime_states(run: str) -> None:
    """The OCI runtime keeps a folder for each build container whose end it was not told of.

    It is named after the build's bundle, a temporary folder, which in a build of ours lies in the run's folder.
    """
    bundles = {f"buildah-{bundle.name}" for bundle in private_folder(run).glob("build-*/buildah*")}
    # Its control group, or below it; or a mount from the run's folder.
    mark = re.compile(rf'/infra-(\d+-)?{run}["/]')
    for state in _runtime_states():
        with contextlib.suppress(OSError):
            if state.name in bundles or mark.search((state / "state.json").read_text(encoding="utf-8")):
                shutil.rmtree(state, ignore_errors=True)


def _has_bundle(state: Path) -> bool:
    """Whether the bundle that a runtime's state is named after is in one of the usual folders."""
    return any(Path(folder, state.name.removeprefix("buildah-")).exists() for folder in ("/var/tmp", "/tmp"))


def _runtime_states() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else "/run"
    return list(Path(runtime or "/run").glob("*/buildah-buildah*"))
