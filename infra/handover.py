"""Images handed to another machine: what runs find by content hash, as one archive that nothing is lost in.

A tar, gzipped if its name ends so: `images.json`, then each image's manifest and all their blobs, each blob once.
It is the `dir:` form of Podman with shared blobs. All other forms change the manifest or the configuration of some
image, and so its id, of which the hashes of everything that is built on it are made: it would be built again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import shlex
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.commands import Command
from infra.engine.transport import EngineRefused
from infra.errors import Invalid, NoImage, Unavailable
from infra.lease import Lease
from infra.lease_names import private_folder

SCHEMA = 1
INDEX = "images.json"
_MEMBER = re.compile(r"[0-9a-f]{64}(\.manifest)?|version|images\.json")
_BLOB = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][\w./:-]*:\w[\w.-]*")
_FAST = 1
_MOVE_S = 1800.0


def check_place(file: Path) -> None:
    """Raise `Invalid` where an archive could not be written, before anything is done for it."""
    try:
        if file.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        _part(file).touch()
        _part(file).unlink()
    except OSError as error:
        raise _not_written(file, error) from error


def savable(images: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the images that can be handed over, by names with a tag, and the names of those that can have none."""
    saved, left_out = {}, []
    for name, id_ in images.items():
        tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        if _NAME.fullmatch(tagged):
            saved[tagged] = id_
        else:
            left_out.append(name)
    return saved, tuple(sorted(left_out))


def save(lease: Lease, images: Mapping[str, str], file: Path) -> int:
    """Write `savable` images (ids by name) to an archive, which is there whole or not at all; return its size in bytes.

    Raises `Invalid`, `NoImage`, `Unavailable`.
    """
    _check_here(lease)
    part = _part(file)
    try:
        with (
            _folder(lease) as folder,
            tarfile.open(part, "w:gz", compresslevel=_FAST) if _is_gzip(file) else tarfile.open(part, "w") as tar,
        ):
            _put_index(tar, images, folder)
            written: set[str] = set()
            for id_ in dict.fromkeys(images.values()):
                image = folder / "image"
                _podman(lease, "push", id_, f"dir:{image}")
                (image / "manifest.json").rename(image / f"{id_}.manifest")
                for path in sorted(image.iterdir()):
                    if path.name not in written:
                        written.add(path.name)
                        tar.add(path, path.name)
                shutil.rmtree(image)
        part.replace(file)
        return file.stat().st_size
    except OSError as error:
        raise _not_written(file, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def load(lease: Lease, file: Path) -> tuple[Mapping[str, str], int]:
    """Have the images of an archive under their names; return them, and how many were not there before.

    Of an archive that is not whole, or damaged, nothing is loaded. Raises as `save` does.
    """
    _check_here(lease)
    with _folder(lease) as folder:
        images = unpacked(file, folder)
        engine, fresh = lease.engine, 0
        for id_ in dict.fromkeys(images.values()):
            if engine.image_id(id_) is None:
                shutil.copy(folder / f"{id_}.manifest", folder / "manifest.json")
                _podman(lease, "pull", f"dir:{folder}")
                fresh += 1
        for name, id_ in images.items():
            if engine.image_id(id_) is None:
                raise _broken(file, f"what it calls {name} is another image")
            engine.tag(id_, name)
        with contextlib.suppress(EngineRefused):  # the name that newer Podmans make of the folder
            engine.untag(f"localhost{folder}:latest")
    return images, fresh


def unpacked(file: Path, folder: Path) -> Mapping[str, str]:
    """Unpack an archive into an empty folder; return its images, ids by name. Nothing of it is trusted.

    Raises `Invalid` for what is no whole archive, `NoImage` where there is no room.
    """
    try:
        with tarfile.open(file, "r|*") as tar:
            for member in tar:
                _unpack(tar, member, file, folder)
        images = _images((folder / INDEX).read_text(encoding="utf-8"))
        for id_ in images.values():
            _check_whole(folder, id_)
        return images
    except (tarfile.TarError, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise _broken(file, str(error) or "it ends too early") from error
    except FileNotFoundError as error:
        if not file.exists():
            raise Invalid(
                f"there is no file {file}",
                reference="archive-missing",
                remedy=f"invoke images.save --file {shlex.quote(str(file))}",
            ) from error
        raise _broken(file, f"it lacks {Path(error.filename).name}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _not_moved(f"{file} cannot be unpacked in {folder.parent}: {error.strerror}") from error
        raise _broken(file, error.strerror or str(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _broken(file, "what it says of itself cannot be read") from error


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path, folder: Path) -> None:
    """Unpack one part. Raises `Invalid` for what has no place in an archive, and for a blob that is not what it was."""
    if not member.isreg() or not _MEMBER.fullmatch(member.name):
        raise _broken(file, f"it holds {member.name!r}")
    source = tar.extractfile(member)
    assert source is not None
    found = hashlib.sha256()
    with source, (folder / member.name).open("wb") as target:
        while piece := source.read(1024 * 1024):
            found.update(piece)
            target.write(piece)
    if _BLOB.fullmatch(member.name) and found.hexdigest() != member.name:  # a blob's name is its hash
        raise _broken(file, f"the bytes of {member.name} are not those that were saved")


def _images(text: str) -> Mapping[str, str]:
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(document["schema"])
    images = {str(name): str(id_) for name, id_ in document["images"].items()}
    if not all(_NAME.fullmatch(name) and re.fullmatch(r"[0-9a-f]{64}", id_) for name, id_ in images.items()):
        raise ValueError(images)
    return images


def _check_whole(folder: Path, image: str) -> None:
    """Raise FileNotFoundError for what an archive that was cut short has not, ValueError for another image's."""
    manifest = json.loads((folder / f"{image}.manifest").read_text(encoding="utf-8"))
    if manifest["config"]["digest"] != f"sha256:{image}":
        raise ValueError(manifest)
    for blob in (manifest["config"], *manifest["layers"]):
        (folder / str(blob["digest"]).removeprefix("sha256:")).stat()


def _put_index(tar: tarfile.TarFile, images: Mapping[str, str], folder: Path) -> None:
    index = folder / INDEX
    index.write_text(json.dumps({"schema": SCHEMA, "images": dict(images)}, indent=2) + "\n")
    tar.add(index, INDEX)


@contextlib.contextmanager
def _folder(lease: Lease) -> Iterator[Path]:
    """An empty folder among what the run has for itself: whoever sweeps it removes that, too."""
    with tempfile.TemporaryDirectory(dir=private_folder(lease.run), prefix="images-", ignore_cleanup_errors=True) as it:
        yield Path(it)


def _podman(lease: Lease, verb: str, *words: str) -> None:
    argv = (*lease.connection.podman, verb, "--quiet", *words)
    log = private_folder(lease.run) / f"{verb}.log"
    with Command(argv, env=lease.podman_environment(), log=log, on_line=lambda _: None) as command:
        code = command.wait(_MOVE_S)
        said = next(reversed(command.tail), "nothing was said")
    if code != 0:
        how = "took too long" if code is None else f"ended with exit code {code}"
        raise _not_moved(f"podman {verb} {how}: {said}")


def _not_moved(what: str) -> NoImage:
    return NoImage(
        what, reference="image-not-moved", remedy="df -h /tmp; podman info  # is there room, and the storage?"
    )


def _check_here(lease: Lease) -> None:
    if lease.connection.remote or len(lease.connection.podman) > 1:
        raise Unavailable(
            f"images are saved from Podman on this host and loaded into it, and this is {lease.connection.origin}",
            reference="engine-elsewhere",
            remedy="unset CONTAINER_HOST CONTAINER_CONNECTION  # the engine of this host is wanted",
            blame="user",
        )


def _part(file: Path) -> Path:
    return file.with_name(f".{file.name}.part")


def _not_written(file: Path, error: OSError) -> Invalid:
    folder = shlex.quote(str(file.parent))
    remedy = f"ls -ld {folder}; df -h {folder}  # it must be a folder, writable, with room"
    if file.is_dir():
        remedy = f"invoke images.save --file {shlex.quote(str(file / 'images.tar'))}"
    return Invalid(
        f"{file} cannot be written: {error.strerror or error}", reference="archive-not-written", remedy=remedy
    )


def _is_gzip(file: Path) -> bool:
    return file.name.endswith((".gz", ".tgz"))


def _broken(file: Path, why: str) -> Invalid:
    return Invalid(
        f"{file} is no whole archive of images: {why}",
        reference="archive-unusable",
        remedy=f"ls -l {shlex.quote(str(file))}  # not all of it? copy it again; invoke images.save makes one",
    )
