"""Make an image with the podman command line: live output, ignore rules and hard links as podman-build(1) has them.

Every build process carries the run's name; what a killed build leaves is known to `buildah`. The host's certificate
authorities are mounted while a build runs, so that downloads behind a terminating proxy work and no layer holds them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra import buildah, content, labels, tools
from infra.commands import Command
from infra.content import Content
from infra.engine import host
from infra.errors import NoImage, Unavailable
from infra.lease import Lease
from infra.lease_names import private_folder

_BUILD_S = 3600.0
_LOOK_EVERY_S = 10.0
_EVIDENCE_LINES = 25
# Settings of the host's package clients that a build may want; passed where the Containerfile declares the argument.
_HOST_ARGS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOFLAGS", "PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")
_VERSION = f"{labels.PREFIX}.version"


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


def make(request: BuildRequest, ref: str, *, lease: Lease, log: Path, on_line: Callable[[str], None]) -> None:
    """Make the image and name it `ref`. Raises `NoImage` with the failing step and its output."""
    lease.builds.append(time.time())
    folder = private_folder(lease.run)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-", ignore_cleanup_errors=True) as scratch:
        work = Path(scratch)
        if request.bootstrap is not None:
            _bootstrap(request, request.bootstrap, ref, work, lease, log, on_line)
        else:
            _build(request, ref, work, lease, log, on_line)


def version_of(marks: Mapping[str, str]) -> str:
    """Return what the image's own version command said when it was built, by the image's labels, or nothing."""
    return marks.get(_VERSION, "")


def _image_labels(request: BuildRequest) -> dict[str, str]:
    name = Path(request.name).name
    return {labels.IMAGE: name, labels.CONTENT: request.content.label()}


def _build(
    request: BuildRequest, ref: str, work: Path, lease: Lease, log: Path, on_line: Callable[[str], None]
) -> None:
    assert request.containerfile is not None
    context = work / "context"
    content.stage(request.folder, request.files, context)
    unversioned = ref if not request.version else f"{ref}-unversioned"
    argv = _build_command(request, unversioned, lease, work, context)
    _run(argv, ref, lease, work, log, on_line)
    if request.version:
        _label_version(request, unversioned, ref, work, lease, log, on_line)


def _build_command(request: BuildRequest, ref: str, lease: Lease, work: Path, context: Path) -> list[str]:
    assert request.containerfile is not None
    text = request.containerfile.read_text(encoding="utf-8")
    args = {name: os.environ[name] for name in _HOST_ARGS if name in os.environ and f"ARG {name}" in text}
    argv = [*lease.connection.podman, "build", "--file", str(request.containerfile), "--tag", ref]
    for name, value in (args | dict(request.args)).items():
        argv += ["--build-arg", f"{name}={value}"]
    for name, value in _image_labels(request).items():
        argv += ["--label", f"{name}={value}"]
    if request.target:
        argv += ["--target", request.target]
    if not lease.connection.remote:
        argv += buildah.flags(lease.run, host.own_authorities(), work)
    return [*argv, str(context)]


def _label_version(
    request: BuildRequest,
    source: str,
    ref: str,
    work: Path,
    lease: Lease,
    log: Path,
    on_line: Callable[[str], None],
) -> None:
    """Ask the image for its version and write it down as a label, so that no later run has to ask."""
    said: list[str] = []
    podman = list(lease.connection.podman)
    name = f"{lease.service}-version-{Path(request.name).name}-{lease.run}"
    marks = [word for key, value in lease.labels("version").items() for word in ("--label", f"{key}={value}")]
    # A volume that the image declares has no name of ours: killed half way, nobody would know whose it was.
    run = ["run", "--rm", "--network", "none", "--image-volume", "ignore", "--name", name, *marks]
    run += [source, *request.version]
    _run([*podman, *run], ref, lease, work, log, said.append)
    version = next((line for line in reversed(said) if line.strip()), "unknown")
    file = work / "version.Containerfile"
    file.write_text(f"FROM {source}\nLABEL {_VERSION}={version!r}\n".replace("'", '"'), encoding="utf-8")
    flags = [] if lease.connection.remote else buildah.flags(lease.run, None, work)
    argv = ["build", "--file", str(file), "--tag", ref, *flags]
    _run([*podman, *argv, str(work)], ref, lease, work, log, on_line)
    _run([*podman, "untag", source], ref, lease, work, log, on_line)


def _bootstrap(
    request: BuildRequest,
    release: str,
    ref: str,
    work: Path,
    lease: Lease,
    log: Path,
    on_line: Callable[[str], None],
) -> None:
    """Make a minimal Debian with mmdebstrap and import it. An imported image has no PATH unless it is given one."""
    if shutil.which("mmdebstrap") is None:
        raise Unavailable(
            f"no registry answers, and mmdebstrap, which would make {release} from packages, is not installed",
            reference="mmdebstrap-missing",
            remedy=tools.tool("mmdebstrap").install_command,
            blame="user",
        )
    tar = work / f"{release}.tar"
    argv = ["mmdebstrap", "--format=tar", "--variant=minbase", *_SLIM]
    if request.packages:
        argv.append(f"--include={','.join(request.packages)}")
    _run([*argv, release, str(tar)], ref, lease, work, log, on_line)
    changes = ["ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 'CMD ["bash"]']
    changes += [f'LABEL {key}="{value}"' for key, value in _image_labels(request).items()]
    flags = [word for change in changes for word in ("--change", change)]
    _run([*lease.connection.podman, "import", *flags, str(tar), ref], ref, lease, work, log, on_line)


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


def _run(argv: list[str], ref: str, lease: Lease, work: Path, log: Path, on_line: Callable[[str], None]) -> None:
    environ = lease.podman_environment() | {"TMPDIR": str(work)}
    try:
        with Command(argv, env=environ, log=log, on_line=on_line) as command:
            on_line(f"+ {command}")
            code = _ended(command, lease)
            if code == 0:
                return
            tail = tuple(command.tail)
    except FileNotFoundError as error:
        raise tools.not_installed(argv[0]) from error
    why = "took too long" if code is None else f"exit code {code}"
    raise NoImage(
        f"{ref} could not be built ({why}): {failing_step(tail)}",
        reference="build-failed",
        remedy=f"look at {log}",
        blame="product" if "--file" in argv else "infrastructure",
        evidence=output_of_failing_step(tail),
    )


def _ended(command: Command, lease: Lease) -> int | None:
    """Wait for a command's end. Podman's remote client waits for ever for an engine that hangs: look at that too."""
    engine, deadline = lease.engine.clone(), time.monotonic() + _BUILD_S
    while (code := command.wait(_LOOK_EVERY_S)) is None and time.monotonic() < deadline:
        engine.version()
    return code


def failing_step(lines: tuple[str, ...]) -> str:
    """Return the build step that failed, as podman announced it, or the last line."""
    steps = [line for line in lines if line.startswith("STEP ") or "] STEP " in line]
    errors = [line for line in lines if line.startswith(("Error:", "error:"))]
    return (steps or errors or list(lines) or ["no output"])[-1].strip()


def output_of_failing_step(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the last step's own output, not the whole log."""
    starts = [index for index, line in enumerate(lines) if line.startswith("STEP ") or "] STEP " in line]
    return lines[starts[-1] if starts else 0 :][-_EVIDENCE_LINES:]
