"""The environment of a Python suite: one for what its requirements hold, whoever asks."""

from pathlib import Path

import pytest

from infra import venvs
from infra.errors import Invalid


def key(*files: Path) -> str:
    return venvs._key(files)


def test_the_same_requirements_are_one_environment_and_others_another(tmp_path: Path) -> None:
    one, two, same = (tmp_path / name for name in ("one.txt", "two.txt", "same.txt"))
    one.write_text("pytest==9.1.1\n")
    same.write_text("pytest==9.1.1\n")
    two.write_text("pytest==9.1.0\n")
    assert key(one) == key(same) != key(two)


def test_what_a_file_includes_counts(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer.txt", tmp_path / "deeper" / "inner.txt"
    inner.parent.mkdir()
    outer.write_text("-r deeper/inner.txt\n")
    inner.write_text("httpx==0.28.1\n")
    before = key(outer)
    inner.write_text("httpx==0.28.0\n")
    assert key(outer) != before


def test_files_that_include_each_other_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-r b.txt\n")
    (tmp_path / "b.txt").write_text("-c a.txt\n")
    assert key(tmp_path / "a.txt")


@pytest.mark.parametrize("line", ["./lib", "-e ./lib", "--editable=./lib", "  ./lib  # ours"])
def test_a_folder_of_this_host_counts_with_what_is_in_it_and_where_it_is(line: str, tmp_path: Path) -> None:
    places = []
    for name in ("a", "b"):
        library = tmp_path / name / "lib"
        library.mkdir(parents=True)
        (library / "code.py").write_text("x = 1\n")
        (tmp_path / name / "requirements.txt").write_text(f"pytest\n{line}\n")
        places.append(tmp_path / name / "requirements.txt")
    first = key(places[0])
    assert first != key(places[1])
    assert first == key(places[0])
    (places[0].parent / "lib" / "code.py").write_text("x = 22\n")
    assert key(places[0]) != first


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "outer.txt").write_text("-r gone.txt\n")
    with pytest.raises(Invalid, match=r"gone\.txt: the suite's requirements cannot be read"):
        key(tmp_path / "outer.txt")
