"""An archive of images: whole, or one message. Needs no Podman: what is unpacked is what is believed."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from infra.errors import Invalid
from infra.handover import check_place, savable, unpacked

LAYER, CONFIG = b"a layer" * 5000, b"{}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ID = digest(CONFIG)
BLOBS = {digest(LAYER): LAYER, ID: CONFIG}
A_LAYER = {"digest": f"sha256:{digest(LAYER)}"}
MANIFEST = {
    "config": {"digest": f"sha256:{ID}"},
    "layers": [A_LAYER],
}
INDEX = {"schema": 1, "images": {"localhost/redis:91da574c220e": ID}}


def archive(
    file: Path,
    *,
    index: object = INDEX,
    manifest: object = MANIFEST,
    blobs: Mapping[str, bytes] = BLOBS,
    mode: str = "w",
) -> Path:
    """Write an archive as `images.save` does, or nearly."""
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        parts = {"images.json": json.dumps(index).encode(), f"{ID}.manifest": json.dumps(manifest).encode()}
        for name, data in (parts | dict(blobs)).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("named otherwise", "w:gz")])
def test_a_whole_archive_says_what_is_in_it(name: str, mode: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert unpacked(archive(tmp_path / name, mode=mode), folder) == INDEX["images"]
    assert (folder / digest(LAYER)).read_bytes() == LAYER


def half(file: Path) -> None:
    archive(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def half_zipped(file: Path) -> None:
    archive(file, mode="w:gz")
    file.write_bytes(file.read_bytes()[:-20])


def damaged(file: Path) -> None:
    """All of its length, and one byte of a layer is another."""
    archive(file)
    data = file.read_bytes()
    at = data.index(LAYER) + len(LAYER) // 2
    file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def outside(file: Path) -> None:
    archive(file, blobs={**BLOBS, "../tasks.py": b""})


def a_link(file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        member = tarfile.TarInfo("version")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)


def index_of(index: object) -> Callable[[Path], object]:
    return lambda file: archive(file, index=index)


UNREADABLE = "what it says of itself cannot be read"


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (half, "unexpected end of data"),
        (half_zipped, ""),
        (damaged, f"the bytes of {digest(LAYER)} are not those that were saved"),
        (lambda file: archive(file, blobs={**BLOBS, ID: b"[]"}), f"the bytes of {ID} are not those that were saved"),
        (
            lambda file: archive(file, manifest={"config": {"digest": f"sha256:{digest(LAYER)}"}, "layers": []}),
            UNREADABLE,
        ),
        (lambda file: archive(file, blobs={ID: CONFIG}), f"it lacks {digest(LAYER)}"),
        (lambda file: archive(file, manifest={}), UNREADABLE),
        (lambda file: archive(file, manifest=[]), UNREADABLE),
        (outside, "it holds '../tasks.py'"),
        (a_link, "it holds 'version'"),
        (index_of({"schema": 2, "images": {}}), UNREADABLE),
        (index_of([]), UNREADABLE),
        (index_of({"schema": 1, "images": {"localhost/redis:x": "../x"}}), UNREADABLE),
        (index_of({"schema": 1, "images": {"--help": ID}}), UNREADABLE),
        (index_of({"schema": 1, "images": {"localhost/redis:x": digest(b"other")}}), f"it lacks {digest(b'other')}"),
        (lambda file: file.write_bytes(b""), "empty file"),
        (lambda file: file.write_bytes(b"hello"), ""),
        (lambda file: file.write_bytes(gzip.compress(b"hello")), ""),
        (lambda file: file.mkdir(), "Is a directory"),
    ],
)
def test_what_is_no_whole_archive_is_refused(write: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    file, folder = tmp_path / "bad.tar", tmp_path / "folder"
    folder.mkdir()
    write(file)
    with pytest.raises(Invalid) as raised:
        unpacked(file, folder)
    assert raised.value.reference == "archive-unusable"
    assert raised.value.message.startswith(f"{file} is no whole archive of images: {says}")
    assert str(file) in raised.value.remedy
    assert "save --file" not in raised.value.remedy, "whatever it is, it is not to be written over"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "folder"]


def test_what_is_named_by_its_digest_alone_cannot_be_handed_over() -> None:
    named = {"docker.io/library/redis": "1", "localhost:5000/a": "2", "localhost/b:x": "3"}
    by_digest = {f"d:7@sha256:{'0' * 64}": "5", f"c@sha256:{'0' * 64}": "4"}
    saved, left_out = savable(by_digest | named)
    assert saved == {"docker.io/library/redis:latest": "1", "localhost:5000/a:latest": "2", "localhost/b:x": "3"}
    assert left_out == tuple(sorted(by_digest))


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is no file") as raised:
        unpacked(tmp_path / "none.tar", tmp_path)
    assert raised.value.reference == "archive-missing"


@pytest.mark.parametrize("name", ["no/images.tar", "."])
def test_a_place_where_nothing_can_be_written_is_said_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be written: ") as raised:
        check_place(tmp_path / name)
    assert raised.value.reference == "archive-not-written"
    assert list(tmp_path.iterdir()) == []
    save = f"invoke images.save --file {tmp_path}/images.tar"
    assert (raised.value.remedy == save) == (name == "."), "of a folder, a file in it"


def test_a_place_where_something_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "images.tar"
    file.write_text("an earlier one")
    check_place(file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("images.tar", "an earlier one")]
