"""Run directories and settings: real folders, real files."""

import os
import subprocess
from pathlib import Path

import pytest

from infra import rundir, settings
from infra.catalog.loading import load
from infra.catalog.names import locations, names
from infra.errors import Invalid


def test_a_run_has_a_folder_and_is_the_latest(tmp_path: Path) -> None:
    runs = tmp_path / ".infra" / "runs"
    one = rundir.make(runs, "11111111")
    assert one == runs / "11111111"
    assert (runs / "latest").resolve() == one.resolve()
    two = rundir.make(runs, "22222222")
    assert (runs / "latest").resolve() == two.resolve()
    assert (runs / "latest").readlink() == Path("22222222"), "relative, so that the folder can be moved"
    assert sorted(path.name for path in runs.iterdir()) == ["11111111", "22222222", "latest"]


def test_a_run_that_has_been_is_refused_and_its_files_stay(tmp_path: Path) -> None:
    (rundir.make(tmp_path, "11111111") / "report.json").write_text("{}")
    rundir.make(tmp_path, "22222222")
    with pytest.raises(Invalid) as raised:
        rundir.make(tmp_path, "11111111")
    assert raised.value.reference == "run-exists"
    assert str(tmp_path / "11111111") in raised.value.message
    assert (tmp_path / "11111111" / "report.json").read_text() == "{}"
    assert (tmp_path / "latest").readlink() == Path("22222222")


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="the run directory cannot be made"):
        rundir.make(tmp_path / "file" / "runs", "11111111")


def test_a_latest_that_is_a_folder_of_somebodys_stays(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    assert rundir.make(tmp_path, "11111111").is_dir()
    assert (tmp_path / "latest").is_dir()


def test_the_50_newest_folders_are_kept(tmp_path: Path) -> None:
    for number in range(53):
        folder = tmp_path / f"{number:08x}"
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / "x.log").touch()
        os.utime(folder, (1000 + number, 1000 + number))
    (tmp_path / "latest").symlink_to(f"{52:08x}")
    (tmp_path / "a file").touch()
    rundir.prune(tmp_path, ())
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{number:08x}" for number in range(3, 53)} | {"latest", "a file"}


def test_folders_of_runs_that_go_on_and_of_stacks_that_are_up_are_kept_however_old(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    for number in range(53):
        rundir.make(tmp_path, f"{number:08x}")
        os.utime(tmp_path / f"{number:08x}", (1000 + number, 1000 + number))
    up, alive, over = (f"{number:08x}" for number in range(3))
    rundir.hand_over(tmp_path / up)
    rundir.prune(tmp_path, {alive})
    assert {up, alive, over} & names() == {up, alive}
    rundir.take_back(tmp_path / up)
    os.utime(tmp_path / up, (1000, 1000))
    rundir.prune(tmp_path, ())
    assert {up, alive, over} & names() == set()


VALUES = {
    "PLAIN": "http://127.0.0.1:18110/x?",
    "EMPTY": "",
    "SPACES": "  a b  ",
    "QUOTES": "say \"yes\" or 'no'",
    "DOLLAR": "$HOME ${HOME} $(id)",
    "BACKSLASH": "a\\b\\",
    "HASH": "a #b",
    "SEMICOLON": "a; rm -rf /",
    "BACKTICK": "`id`",
    "UNICODE": "é ✓",
    "LINES": "one\ntwo\n",
    "QUOTED_LINES": 'it\'s\n"two" $HOME\n`id`',
    "RETURN": "a\rb",
    "ESCAPE": "\x1b[31mred",
    "TILDE": "~/x:~/y",
    "STAR": "*",
    "ASSIGNMENT": "a=b c=d",
    "COMMENT": "#x",
    "BANG": "!x",
}


def test_a_dotenv_file_says_the_same_to_a_shell(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(rundir.dotenv(VALUES), encoding="utf-8")
    script = f"set -a; . {path}; env -0"
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, check=True, env={"HOME": "/h", "PATH": "/bin"}
    )
    seen = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    assert {key: seen.get(key) for key in VALUES} == VALUES
    assert done.stderr == b""


def test_a_dotenv_file_has_the_lines_of_a_value_because_shells_know_no_other_way() -> None:
    assert rundir.dotenv({"A": "x", "B": "one\ntwo"}) == "A=x\nB='one\ntwo'\n"
    assert rundir.dotenv({}) == ""


# Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cat", "work", "infra/catalog"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def table(root: Path, text: str) -> None:
    (root / "pyproject.toml").write_text(text)


def test_without_a_word_there_are_defaults(root: Path) -> None:
    read = settings.read(root, {})
    assert (read.catalog, read.workspace) == (root / "infra" / "catalog", root)
    assert (read.images, read.keep, read.runs) == ("auto", False, root / ".infra" / "runs")


def test_pyproject_says_where_things_are_and_the_environment_comes_first(root: Path) -> None:
    table(root, '[tool.infra]\ncatalog = "cat"\nworkspace = "work"\n')
    read = settings.read(root, {})
    assert (read.catalog, read.workspace) == (root / "cat", root / "work")
    read = settings.read(root, {"INFRA_CATALOG": str(root / "work"), "INFRA_WORKSPACE": "cat", "INFRA_KEEP": "1"})
    assert (read.catalog, read.workspace, read.keep) == (root / "work", root / "cat", True)


@pytest.mark.parametrize(("value", "keep"), [("1", True), ("0", False), ("", False), ("yes", True)])
def test_keep_is_on_for_anything_but_nothing_and_0(value: str, keep: bool, root: Path) -> None:
    assert settings.read(root, {"INFRA_KEEP": value}).keep is keep


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("[tool.infra", {}, ("pyproject.toml: not valid TOML", "line 1")),
        ('[tool.infra]\ncatalogue = "cat"\n', {}, ("tool.infra.catalogue: unknown key", "catalog, workspace")),
        ("[tool]\ninfra = 5\n", {}, ("pyproject.toml: tool.infra: must be a table",)),
        ('[tool.infra]\ncatalog = "nowhere"\n', {}, ("tool.infra.catalog: no folder at ", "nowhere")),
        ('[tool.infra]\nworkspace = "nowhere"\n', {}, ("tool.infra.workspace: no folder at ",)),
        ("[[tool.infra]]\n", {}, ("pyproject.toml: tool.infra: must be a table",)),
        ("[tool.infra]\nworkspace = 5\n", {}, ("tool.infra.workspace: must be a text that is not empty",)),
        ('[tool.infra]\ncatalog = ""\n', {}, ("tool.infra.catalog: must be a text that is not empty",)),
        ('[tool.infra]\ncatalog = ["a"]\n', {}, ("tool.infra.catalog: must be a text that is not empty",)),
        ('[tool.infra]\ncatalog = "a\\u0000b"\n', {}, ("tool.infra.catalog: must be a text",)),
        ("", {"INFRA_CATALOG": "/nowhere"}, ("INFRA_CATALOG: no folder at /nowhere",)),
        ("", {"INFRA_WORKSPACE": "/nowhere"}, ("INFRA_WORKSPACE: no folder at /nowhere",)),
        ("", {"INFRA_IMAGES": "lokal"}, ('INFRA_IMAGES is "lokal"', "auto, registry, local")),
    ],
)
def test_wrong_settings_are_invalid_with_where_and_what(
    text: str, environ: dict[str, str], says: tuple[str, ...], root: Path
) -> None:
    table(root, text)
    with pytest.raises(Invalid) as raised:
        settings.read(root, environ)
    assert raised.value.exit_code == 78
    assert [words for words in says if words not in raised.value.message] == []


@pytest.mark.parametrize("value", ['""', "3", '["a"]', '"a\\u0000b"'])
def test_a_list_of_sessions_says_that_a_folders_name_is_none(value: str, root: Path) -> None:
    table(root, f"[tool.infra]\ncatalog = {value}\n")
    assert locations(root, {}).catalog == root / "infra/catalog"
    assert names(root, {}).problems[0].message.startswith(f"{root}/pyproject.toml: tool.infra.catalog: must be a text")


def test_where_nothing_names_a_catalogue_a_person_is_told_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        settings.read(tmp_path, {})
    assert f"no folder at {tmp_path}/infra/catalog, and no tool.infra.catalog in " in raised.value.message
    assert raised.value.remedy.startswith("infra-init  # ")


@pytest.mark.parametrize(
    ("pyproject", "files", "says"),
    [
        ("", {}, "no folder at "),
        ('[tool.infra]\ncatalog = "nowhere"\n', {}, "tool.infra.catalog: no folder at "),
        ("[tool.infra\n", {}, "pyproject.toml: not valid TOML: "),
        ("[tool.infra]\ncatalog = 3\n", {}, "tool.infra.catalog: must be a text"),
        ("[tool]\ninfra = 3\n", {}, "tool.infra: must be a table"),
        ('[tool.infra]\ncatalogue = "infra"\n', {}, "tool.infra.catalogue: unknown key"),
        ("", {"README": b""}, "it has no folder services/"),
        ("", {"services/shop.toml": b"stack = [\n"}, "shop.toml: not valid TOML: "),
        ("", {"services/shop.toml": b"\xff"}, "shop.toml: not valid TOML: not UTF-8"),
        ("", {"services/shop.toml": b"schema = 2\n"}, "made for a newer version of this tool"),
        ("", {"services/Web2.toml": b""}, "its name is no name: a letter, then letters, digits"),
    ],
)
def test_what_nox_says_is_one_message_and_that_of_invoke(
    pyproject: str, files: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    table(tmp_path, pyproject)
    for name, data in files.items():
        path = tmp_path / "infra" / "catalog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with pytest.raises(Invalid) as raised:
        load(settings.read(tmp_path, {}).catalog)
    assert says in raised.value.message
    assert raised.value.remedy
    assert [one.cause() for one in names(tmp_path, {}).problems] == [raised.value.cause()]


def test_a_tool_that_is_no_table_says_nothing_of_us(root: Path) -> None:
    table(root, "tool = 5\n")
    assert settings.read(root, {}).workspace == root


@pytest.mark.parametrize("mode", ["auto", "registry", "local"])
def test_images_are_asked_for_in_three_ways(mode: str, root: Path) -> None:
    assert settings.read(root, {"INFRA_IMAGES": mode}).images == mode
