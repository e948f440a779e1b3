"""Files that stay small: the beginning and the end are there, and what is between them is said to be cut."""

import threading
from pathlib import Path

import pytest

from infra.bounded import BoundedLog, Ends, cut, trim


def test_what_is_short_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"earlier\n")
    with BoundedLog(path, 1000) as log:
        log.write(b"now\n")
    assert path.read_bytes() == b"earlier\nnow\n"
    ends = Ends(100)
    ends.take(b"a")
    ends.take(b"b" * 90)
    assert ends.bytes() == b"a" + b"b" * 90


@pytest.mark.parametrize("size", [1, 7, 100, 399, 5000])
def test_a_long_log_keeps_its_beginning_and_its_end_at_every_moment(tmp_path: Path, size: int) -> None:
    path, written = tmp_path / "log", b""
    with BoundedLog(path, 400) as log:
        for number in range(5000 // size + 1):
            data = (b"%06d," % number * size)[:size]
            written += data
            log.write(data)
            assert path.stat().st_size <= 400 + size
            assert path.read_bytes()[-100:] == written[-100:]
    assert path.stat().st_size <= 450
    assert path.read_bytes()[:100] == written[:100]
    assert b"bytes were cut here" in path.read_bytes()


@pytest.mark.parametrize("size", [1, 7, 100, 399, 5000])
def test_the_ends_of_a_stream_take_no_more_than_they_may(size: int) -> None:
    ends, written = Ends(400), b""
    for number in range(5000 // size + 1):
        data = (b"%06d," % number * size)[:size]
        written += data
        ends.take(data)
    kept = ends.bytes()
    assert kept[:100] == written[:100]
    assert kept[-300:] == written[-300:]
    assert len(kept) <= 400 + size + 50
    assert f"[{ends.cut} bytes were cut here]".encode() in kept


def test_a_file_is_cut_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a" * 500 + b"z" * 500)
    cut(path, 1000)
    assert path.stat().st_size == 1000
    cut(path, 200)
    assert path.stat().st_size == 200
    text = path.read_bytes()
    assert (text[:50], text[-50:]) == (b"a" * 50, b"z" * 50)
    assert b"[800 bytes were cut here]" in text


@pytest.mark.parametrize("sizes", [(10, 20, 3000), (3000, 3000, 3000), (0, 1, 2), (5000,), ()])
def test_a_folder_is_cut_to_its_bound_and_the_short_ones_stay_whole(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.log").write_bytes(b"x" * size)
    trim([tmp_path, tmp_path / "not there"], 1500)
    left = [(tmp_path / f"{number}.log").stat().st_size for number in range(len(sizes))]
    assert sum(left) <= 1500
    assert sum(left) >= min(sum(sizes), 1400)
    assert all(now == before for now, before in zip(left, sizes, strict=True) if before <= 20)


def test_a_folder_is_trimmed_while_its_files_come_and_go(tmp_path: Path) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            for number in range(50):
                (tmp_path / f"{number}.log").write_bytes(b"x" * 100)
            for number in range(50):
                (tmp_path / f"{number}.log").unlink()

    other = threading.Thread(target=work)
    other.start()
    try:
        for _ in range(1000):
            trim([tmp_path], 1000)
    finally:
        over.set()
        other.join()
