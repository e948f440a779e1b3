"""Make an image with the podman command line: live output, ignore rules and hard links as podman-build(1) has them.

Every build process carries the run's name; what a killed build leaves is known to `buildah`. The host's certificate
authorities are mounted while a build runs, so that downloads behind a terminating proxy work and no layer holds them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra import buildah, content, disks, labels, tools
from infra.causes.facts import Facts
from infra.causes.table import judged
from infra.commands import Command
from infra.content import Content
from infra.engine import host, names
from infra.errors import NoImage, Unavailable
from infra.lease import Lease
from infra.lease_names import private_folder

_BUILD_S = 3600.0
_LOOK_EVERY_S = 10.0
_EVIDENCE_LINES = 25
# Settings of the host's package clients that a build may want; passed where the Containerfile declares the argument.
_HOST_ARGS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOFLAGS", "PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")
_VERSION = f"{labels.PREFIX}.version"
STOPPED = "build-stopped"


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to make: from a Containerfile with staged files, or bootstrapped from Debian packages."""

    name: str
    content: Content
    folder: Path = Path()
    files: tuple[str, ...] = ()
    containerfile: Path | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    version: tuple[str, ...] = ()
    bootstrap: str | None = None
    packages: tuple[str, ...] = ()
    theirs: bool = False
    """Whether it is built from the workspace: then what fails in it is the product's."""
    places: Mapping[str, str] = field(default_factory=dict)
    """The files that a person edits to mend it."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One build while it goes on: what is made, where, for whom, and who hears of it."""

    request: BuildRequest
    folder: Path
    lease: Lease
    log: Path
    on_line: Callable[[str], None]

    @property
    def podman(self) -> list[str]:
        return list(self.lease.connection.podman)


def make(request: BuildRequest, *, lease: Lease, log: Path, on_line: Callable[[str], None]) -> str:
    """Make the image and return its id; to name it is the caller's. Raises `NoImage` with the failing step's output."""
    disks.check_room(remote=lease.connection.remote)
    lease.builds.append(time.time())
    folder = private_folder(lease.run)
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-", ignore_cleanup_errors=True) as scratch:
        work = _Work(request=request, folder=Path(scratch), lease=lease, log=log, on_line=on_line)
        return _bootstrap(work, request.bootstrap) if request.bootstrap is not None else _build(work)


def version_of(marks: Mapping[str, str]) -> str:
    """Return what the image's own version command said when it was built, by the image's labels, or nothing."""
    return marks.get(_VERSION, "")


def _image_labels(request: BuildRequest) -> dict[str, str]:
    name = Path(request.name).name
    return {labels.IMAGE: name, labels.CONTENT: request.content.label()}


def _build(work: _Work) -> str:
    request = work.request
    assert request.containerfile is not None
    content.stage(request.folder, request.files, work.folder / "context")
    text = request.containerfile.read_text(encoding="utf-8")
    args = {name: os.environ[name] for name in _HOST_ARGS if name in os.environ and f"ARG {name}" in text}
    argv = ["--file", str(request.containerfile)]
    for name, value in (args | dict(request.args)).items():
        argv += ["--build-arg", f"{name}={value}"]
    for name, value in _image_labels(request).items():
        argv += ["--label", f"{name}={value}"]
    if request.target:
        argv += ["--target", request.target]
    image = _podman_build(work, argv, work.folder / "context", host.own_authorities())
    return _with_version(work, image) if request.version else image


def _podman_build(work: _Work, argv: list[str], context: Path, bundle: Path | None) -> str:
    """Build and return the image's id: names are given by the engine's client, one change at a time on a host."""
    said = work.folder / "id"
    said.unlink(missing_ok=True)
    flags = [] if work.lease.connection.remote else buildah.flags(work.lease.run, bundle, work.folder)
    _run(work, [*work.podman, "build", "--iidfile", str(said), *argv, *flags, str(context)], work.on_line)
    # A build that was signalled may end with 0 (Podman 4.3.1 does).
    image = said.read_text(encoding="ascii") if said.exists() else ""
    return _id_in((image,), work)


def _with_version(work: _Work, image: str) -> str:
    """Ask the image for its version and write it down as a label, so that no later run has to ask."""
    request, lease = work.request, work.lease
    name = f"{lease.service}-version-{Path(request.name).name}-{lease.run}"
    marks = [word for key, value in lease.labels("version").items() for word in ("--label", f"{key}={value}")]
    # A volume that the image declares has no name of ours: killed half way, nobody would know whose it was.
    argv = ["run", "--rm", "--network", "none", "--image-volume", "ignore", "--name", name, *marks]
    said = _run(work, [*work.podman, *argv, image, *request.version], _unheard)
    version = next((line for line in reversed(said) if line.strip()), "unknown")
    file = work.folder / "version.Containerfile"
    file.write_text(f"FROM {image}\nLABEL {_VERSION}={version!r}\n".replace("'", '"'), encoding="utf-8")
    return _podman_build(work, ["--file", str(file)], work.folder, None)


def _bootstrap(work: _Work, release: str) -> str:
    """Make a minimal Debian with mmdebstrap and import it. An imported image has no PATH unless it is given one."""
    if shutil.which("mmdebstrap") is None:
        raise Unavailable(
            f"no registry answers, and mmdebstrap, which would make {release} from packages, is not installed",
            reference="mmdebstrap-missing",
            remedy=tools.tool("mmdebstrap").install_command,
            blame="user",
        )
    tar = work.folder / f"{release}.tar"
    # For root it mounts the host's /dev/shm and more: killed, it must not leave them, or somebody deletes through them.
    alone = ["sh", "-c", _ALONE, "sh"] if os.geteuid() == 0 else []
    argv = [*alone, "mmdebstrap", "--format=tar", "--variant=minbase", *_SLIM]
    if work.request.packages:
        argv.append(f"--include={','.join(work.request.packages)}")
    _run(work, [*argv, release, str(tar)], work.on_line)
    changes = ["ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 'CMD ["bash"]']
    changes += [f'LABEL {key}="{value}"' for key, value in _image_labels(work.request).items()]
    flags = [word for change in changes for word in ("--change", change)]
    return _id_in(_run(work, [*work.podman, "import", *flags, str(tar)], _unheard), work)


def _unheard(_line: str) -> None:
    """For commands whose output is for us."""


def _id_in(lines: Iterable[str], work: _Work) -> str:
    """Return the image's id that a command has said or written."""
    for line in lines:
        if found := re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", line.strip()):
            return found[1]
    what = f"{work.request.name} was built, but no image"
    raise NoImage(what, reference=STOPPED, remedy=f"less {{folder}}/logs/{work.log.name}")


# Where this is not allowed, no mount is.
_ALONE = """unshare="unshare --mount --propagation private"
if $unshare true 2>/dev/null; then exec $unshare "$@"; fi
exec "$@"
"""
_SLIM = (
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=force-unsafe-io",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=Acquire::Retries "3"',
)


def _run(work: _Work, argv: list[str], on_line: Callable[[str], None]) -> tuple[str, ...]:
    """Run a command of a build to its end; return its last lines, all of them where `on_line` takes no time."""
    environ = work.lease.podman_environment() | {"TMPDIR": str(work.folder)}
    try:
        with Command(argv, env=environ, log=work.log, on_line=on_line) as command:
            on_line(f"+ {command}")
            code = _ended(command, work.lease)
            tail = tuple(command.tail)
    except FileNotFoundError as error:
        raise tools.not_installed(argv[0]) from error
    if code == 0:
        return tail
    raise _why(work, code, tail)


def _why(work: _Work, code: int | None, tail: tuple[str, ...]) -> NoImage:
    request = work.request
    return judged(
        NoImage,
        Facts(
            doing="build",
            step=f"image {names.short_name(request.name)}",
            kind="image",
            ours=request.theirs,
            said="took too long" if code is None else f"exit code {code}",
            log=output_of_failing_step(tail),
            image=f"{request.name}:{request.content.key}",
            places={
                "log": f"{{folder}}/logs/{work.log.name}",
                **request.places,
                **_disk(work.lease, tail),
            },
        ),
    )


def _disk(lease: Lease, tail: tuple[str, ...]) -> Mapping[str, str]:
    """Say which disk is full where a build says that one is."""
    said = " ".join(tail).lower()
    if "no space left" not in said and "quota exceeded" not in said:
        return {}
    return disks.words(remote=lease.connection.remote, root=lease.graph_root())


def _ended(command: Command, lease: Lease) -> int | None:
    """Wait for a command's end. Podman's remote client waits for ever for an engine that hangs: look at that too."""
    engine, deadline = lease.engine.clone(), time.monotonic() + _BUILD_S
    while (code := command.wait(_LOOK_EVERY_S)) is None and time.monotonic() < deadline:
        if len(lease.connection.podman) > 1:
            engine.version()
    return code


def output_of_failing_step(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the last step's own output, not the whole log."""
    starts = [index for index, line in enumerate(lines) if line.startswith("STEP ") or "] STEP " in line]
    return lines[starts[-1] if starts else 0 :][-_EVIDENCE_LINES:]
