"""Migration folders: numeric order, the Up part only, and one clear error for what cannot be applied."""

import shlex
from pathlib import Path

import pytest
from given import WORKSPACE

from infra.errors import Invalid
from infra.migrations import read, up_part

GOOSE = """\
-- a comment above
-- +goose NO TRANSACTION
-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION f() ...;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION f;
"""


def folder_with(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_text(f"SELECT '{name}';\n")
    return tmp_path


def test_versions_sort_as_numbers(tmp_path: Path) -> None:
    names = ("1000_d.sql", "999_c.sql", "0010_b.sql", "2-a.sql", "20250101120000_e.sql", "7.sql")
    found = read(folder_with(tmp_path, *names), "migrations.folder")
    assert [migration.name for migration in found] == [
        "2-a.sql",
        "7.sql",
        "0010_b.sql",
        "999_c.sql",
        "1000_d.sql",
        "20250101120000_e.sql",
    ]
    assert found[3].version == 999


def test_only_the_up_part_is_taken_and_each_line_keeps_its_number() -> None:
    taken = up_part(GOOSE).splitlines()
    assert len(taken) == len(GOOSE.splitlines())
    assert taken[4] == "CREATE FUNCTION f() ...;"
    assert "".join(taken[6:]) == ""
    assert "DROP" not in up_part(GOOSE)


def test_a_down_part_that_stands_first_is_left_out_too() -> None:
    assert up_part("-- +goose Down\nDROP TABLE a;\n-- +goose Up\nCREATE TABLE a ();\n") == (
        "\n\n-- +goose Up\nCREATE TABLE a ();\n"
    )


@pytest.mark.parametrize("marker", ["--+goose Down", "-- +GOOSE DOWN", "--   +goose  down"])
def test_markers_may_be_written_in_more_than_one_way(marker: str) -> None:
    assert "DROP" not in up_part(f"-- +goose Up\nSELECT 1;\n{marker}\nDROP TABLE a;\n")


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE a ();", "-- goose Down is only mentioned\nSELECT 1;\n", "SELECT '-- +goose Down';\n", "", "\r\n"],
)
def test_a_file_without_markers_is_taken_whole(sql: str) -> None:
    assert up_part(sql) == sql


def test_a_byte_order_mark_does_not_hide_the_up_marker(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").write_bytes(b"\xef\xbb\xbf-- +goose Up\r\nSELECT 1;\r\n-- +goose Down\r\nSELECT 2;\r\n")
    sql = read(tmp_path, "key")[0].sql
    assert "SELECT 1;" in sql
    assert "SELECT 2;" not in sql


def test_two_files_with_one_number_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        read(folder_with(tmp_path, "007_a.sql", "7_b.sql"), "key")
    assert raised.value.message == f"{tmp_path}: two migrations have number 7: 007_a.sql and 7_b.sql"


def test_of_two_files_with_one_number_none_is_renamed_that_may_be_applied(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    folder_with(folder, "0005_new.sql", "005_applied.sql", "1001_last.sql")
    with pytest.raises(Invalid) as raised:
        read(folder, "key")
    command, _, words = raised.value.remedy.partition("  # ")
    assert shlex.split(command) == ["ls", "-l", str(folder / "0005_new.sql"), str(folder / "005_applied.sql")]
    assert words == "1002 is free: for the later one, which no database has yet"


@pytest.mark.parametrize("name", ["seed.sql", "v1_a.sql", "1a.sql", "_1.sql", "1.down.sql"])
def test_a_file_whose_name_has_no_number_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        read(folder_with(tmp_path, "001_a.sql", name), "key")
    assert raised.value.message.startswith(f"{tmp_path / name}: a migration's name begins with its number")


def test_other_files_are_nobodys_business(tmp_path: Path) -> None:
    found = read(folder_with(tmp_path, "1_a.sql", "README.md", "2_b.sql.bak", "apply.sh"), "key")
    assert [migration.name for migration in found] == ["1_a.sql"]


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_folder_is_as_wrong_as_none(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    if there:
        folder.mkdir()
    with pytest.raises(Invalid) as raised:
        read(folder, "c.toml: migrations.folder")
    assert raised.value.message.startswith("c.toml: migrations.folder: no ")
    assert str(folder) in raised.value.message


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").write_bytes(b"SELECT '\xff';")
    with pytest.raises(Invalid, match=r"1_a\.sql: cannot be read: it is not UTF-8"):
        read(tmp_path, "key")
    (tmp_path / "1_a.sql").unlink()
    (tmp_path / "1_a.sql").mkdir()
    with pytest.raises(Invalid, match=r"1_a\.sql: cannot be read: it is no file"):
        read(tmp_path, "key")


def test_the_workspaces_own_migrations() -> None:
    found = read(WORKSPACE / "migrations", "key")
    versions = [migration.version for migration in found]
    assert len(found) >= 8
    assert versions == sorted(versions)
    assert versions[-2:] == [999, 1000]
    for migration in found:
        whole = (WORKSPACE / "migrations" / migration.name).read_text()
        before_down = whole.partition("-- +goose Down")[0]
        up = before_down.rpartition("-- +goose Up")[2]
        assert migration.sql.strip().removeprefix("-- +goose Up") == up.rstrip().removeprefix("-- +goose Up"), whole
        assert f"VALUES ({migration.version})" in migration.sql
        assert "DELETE FROM schema_version" not in migration.sql
        assert migration.sql.count("\n") == whole.count("\n"), "line numbers in psql's errors are the file's"


def test_a_file_that_only_goes_down_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").write_text("CREATE TABLE a ();\n-- +goose Down\nDROP TABLE a;\n")
    with pytest.raises(Invalid, match=r"1_a\.sql: it has a goose Down marker and no Up marker"):
        read(tmp_path, "migrations.folder")
