"""What `infra.init` writes, what it leaves alone, and what it refuses before it has written anything."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from infra import init
from infra.catalog.loading import load
from infra.catalog.names import locations, names
from infra.errors import Invalid
from infra.settings import read


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a folder, and what it holds."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("language", init.LANGUAGES)
def test_an_empty_folder_gets_a_service_that_can_be_run(language: str, tmp_path: Path) -> None:
    done = init.write(tmp_path, "shop", language)
    assert {line.partition(" ")[0] for line in done.said} == {"wrote"}
    assert done.to_add == ()
    (suite,) = names(tmp_path, {}).suites
    assert (suite.session, suite.language) == ("integration-shop", language)
    assert names(tmp_path, {}).problems == ()
    assert load(read(tmp_path, {}).catalog).service("shop").language == language
    environment = {"go": {"REDIS_ADDR"}, "python": {"DATABASE_URL"}}[language]
    assert set(load(tmp_path / "catalog").tier("shop", "integration").env) == environment
    for name in ("noxfile.py", "tasks.py"):
        assert len((tmp_path / name).read_text().splitlines()) <= 5


def test_a_second_time_changes_nothing_and_says_so(tmp_path: Path) -> None:
    init.write(tmp_path, "shop", "python")
    before = tree(tmp_path)
    done = init.write(tmp_path, "shop", "python")
    assert tree(tmp_path) == before
    assert {line.partition(" ")[0] for line in done.said} == {"kept"}


def test_a_database_is_called_after_its_service(tmp_path: Path) -> None:
    init.write(tmp_path, "my-shop", "python")
    values = load(tmp_path / "catalog").components["postgres"].values
    assert values == {"database": "my_shop", "user": "my_shop"}
    suite = (tmp_path / "tests/integration/my-shop/test_my_shop.py").read_text()
    assert 'os.environ["DATABASE_URL"]' in suite
    assert [name for name, data in tree(tmp_path).items() if re.search(rb"@[A-Z_]+@", data)] == []


def test_one_more_service_gets_ports_that_no_other_has(tmp_path: Path) -> None:
    for name in ("shop", "stock", "my-shop-2"):
        init.write(tmp_path, name, "python")
    services = load(tmp_path / "catalog").services
    assert [services[name].ports for name in ("shop", "stock", "my-shop-2")] == [
        {"postgres": 15432},
        {"postgres": 15433},
        {"postgres": 15434},
    ]
    assert (tmp_path / "tests/integration/my-shop-2/test_my_shop_2.py").is_file()


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  # a comment", '\n[tool.other]\nx = "y"'])
def test_a_pyproject_that_is_there_keeps_every_byte_and_gets_the_table(end: str, tmp_path: Path) -> None:
    before = f'[project]\nname = "shop"\nversion = "1"{end}'.encode()
    (tmp_path / "pyproject.toml").write_bytes(before)
    assert "added [tool.infra] to pyproject.toml" in init.write(tmp_path, "shop", "go").said
    after = (tmp_path / "pyproject.toml").read_bytes()
    assert after.startswith(before)
    document = tomllib.loads(after.decode())
    assert document["project"] == {"name": "shop", "version": "1"}
    assert document["tool"]["infra"] == {"catalog": "catalog", "workspace": "."}


def test_a_table_that_is_there_says_where_the_files_go(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    text = '[tool.infra]\ncatalog = "backend/stack"\nworkspace = "backend"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    init.write(tmp_path, "shop", "go")
    assert (tmp_path / "pyproject.toml").read_text() == text
    assert locations(tmp_path, {}).catalog == tmp_path / "backend/stack"
    assert (tmp_path / "backend/stack/services/shop.toml").is_file()
    assert (tmp_path / "backend/go.mod").is_file()
    assert (tmp_path / "noxfile.py").is_file()
    assert not (tmp_path / "catalog").exists()


def test_an_empty_table_is_one_and_its_files_go_where_settings_look(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.infra]\n")
    init.write(tmp_path, "shop", "python")
    assert (tmp_path / "pyproject.toml").read_text() == "[tool.infra]\n"
    assert read(tmp_path, {}).catalog == tmp_path / "infra/catalog"
    assert load(tmp_path / "infra/catalog").service("shop").language == "python"
    assert not (tmp_path / "catalog").exists()


def test_a_workspace_elsewhere_is_shown_by_its_path(tmp_path: Path) -> None:
    root, workspace = tmp_path / "root", tmp_path / "work"
    root.mkdir()
    workspace.mkdir()
    (workspace / "go.mod").write_text("module example.test/mine\n\ngo 1.24.0\n")
    (root / "pyproject.toml").write_text(f'[tool.infra]\nworkspace = "{workspace}"\n')
    done = init.write(root, "shop", "")
    assert (workspace / "test/integration/shop/suite_test.go").is_file()
    assert done.to_add == (f"{workspace}/go.mod is yours: its test runner: go get -tool gotest.tools/gotestsum",)


@pytest.mark.parametrize(
    ("text", "to_add"),
    [
        ("from infra.tasks import namespace\n", ()),
        ("", ("tasks/__init__.py is yours: from infra.tasks import namespace",)),
    ],
)
def test_a_package_of_tasks_is_ones_own_and_gets_no_file_beside_it(
    text: str, to_add: tuple[str, ...], tmp_path: Path
) -> None:
    package = tmp_path / "tasks" / "__init__.py"
    package.parent.mkdir()
    package.write_text(text)
    done = init.write(tmp_path, "shop", "python")
    assert f"kept {package}" in done.said
    assert done.to_add == to_add
    assert not (tmp_path / "tasks.py").exists()
    assert package.read_text() == text


def test_tasks_of_a_package_have_the_folder_above_it_for_root(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("from infra.tasks import namespace\n")
    env = {**os.environ, "PYTHONPATH": str(Path(init.__file__).parents[2])}
    for arguments in (["infra.init", "--service", "shop", "--language", "python"], ["infra.plan", "--service", "shop"]):
        command = [sys.executable, "-m", "invoke", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "catalog/services/shop.toml").is_file()
    assert list((tmp_path / "tasks").glob("*.toml")) == []


def test_the_development_stacks_ports_are_taken(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    data = '[components.postgres]\ndata = "/var/lib/postgresql/data"\n'
    (tmp_path / "catalog/dev.toml").write_text(f'stack = ["postgres"]\n[ports]\npostgres = 15432\n{data}')
    init.write(tmp_path, "shop", "python")
    assert load(tmp_path / "catalog").services["shop"].ports == {"postgres": 15433}


def test_the_language_is_gos_where_there_is_a_module(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.test/mine\n\ngo 1.24.0\n")
    done = init.write(tmp_path, "shop", "")
    assert (tmp_path / "test/integration/shop/suite_test.go").is_file()
    assert done.to_add == ("go.mod is yours: its test runner: go get -tool gotest.tools/gotestsum",)


def test_a_noxfile_and_a_tasks_file_of_ones_own_are_kept_and_what_they_lack_is_said(tmp_path: Path) -> None:
    (tmp_path / "noxfile.py").write_text("import nox\n")
    (tmp_path / "tasks.py").write_text("from infra.tasks import namespace\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    done = init.write(tmp_path, "shop", "python")
    assert (tmp_path / "noxfile.py").read_text() == "import nox\n"
    assert {line.partition(" ")[0] for line in done.to_add} == {"noxfile.py", ".gitignore"}


@pytest.mark.parametrize(
    ("service", "language", "pyproject", "says"),
    [
        ("Shop", "go", None, '"Shop" is no name'),
        ("../x", "go", None, '"../x" is no name'),
        ("shop", "rust", None, 'the language is go or python, not "rust"'),
        ("shop", "pyton", None, 'did you mean "python"?'),
        ("shop", "go", "x = [", "not valid TOML"),
        ("shop", "go", "tool = { x = 1 }", "no [tool.infra] can stand at its end"),
        ("shop", "go", "tool = 3", "no [tool.infra] can stand at its end"),
        ("shop", "go", "[[tool]]\nx = 1", "no [tool.infra] can stand at its end"),
        ("shop", "go", "[[tool.infra]]\n", "tool.infra: must be a table"),
        ("shop", "go", '[tool]\ninfra = "x"\n', "tool.infra: must be a table"),
        ("shop", "go", '[tool.infra]\ncatalog = ""\n', "tool.infra.catalog: must be a text that is not empty"),
        ("shop", "go", "[tool.infra]\ncatalog = 3\n", "tool.infra.catalog: must be a text that is not empty"),
        ("shop", "go", '[tool.infra]\nworkspace = ["a"]\n', "tool.infra.workspace: must be a text that is not empty"),
        ("shop", "go", '[tool.infra]\ncatalog = "a\\u0000b"\n', "tool.infra.catalog: must be a text"),
    ],
)
def test_what_is_refused_has_written_nothing(
    service: str, language: str, pyproject: str | None, says: str, tmp_path: Path
) -> None:
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject)
    before = tree(tmp_path)
    with pytest.raises(Invalid) as raised:
        init.write(tmp_path, service, language)
    assert says in raised.value.message
    assert raised.value.exit_code == 78
    assert tree(tmp_path) == before


def test_a_folder_that_is_not_there_and_a_package_that_hides_this_one(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no folder at"):
        init.write(tmp_path / "nowhere", "shop", "go")
    (tmp_path / "infra").mkdir()
    init.write(tmp_path, "shop", "go")
    (tmp_path / "infra" / "__init__.py").touch()
    with pytest.raises(Invalid, match="hides the one"):
        init.write(tmp_path, "stock", "go")


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("catalog", "file", "is no folder"),
        ("tests", "file", "is no folder"),
        ("tests/integration", "link", "is no folder, but a link to nothing"),
        ("noxfile.py", "folder", "is no file"),
        ("noxfile.py", "link", "is no file, but a link to nothing"),
        ("pyproject.toml", "link", "is no file, but a link to nothing"),
        (".gitignore", "folder", "is no file"),
        ("catalog/schema", "file", "is no folder"),
    ],
)
def test_what_is_of_the_wrong_kind_is_one_message_before_anything_is_written(
    name: str, kind: str, says: str, tmp_path: Path
) -> None:
    wrong = tmp_path / name
    wrong.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        wrong.write_text("a file\n")
    elif kind == "folder":
        wrong.mkdir()
    else:
        wrong.symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Invalid) as raised:
        init.write(tmp_path, "shop", "python")
    assert raised.value.reference == "not-begun"
    assert raised.value.message == f"{wrong}: {says}"
    assert raised.value.remedy.startswith(f"ls -ld {wrong}  # ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("folder", "name"), [("My Shop", "my-shop"), ("42", "shop"), ("shop.v2", "shop-v2")])
def test_a_service_is_called_after_its_folder(folder: str, name: str, tmp_path: Path) -> None:
    assert init.default_service(tmp_path / folder) == name


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(init.__file__).parents[2])}
    command = [sys.executable, "-m", "infra.init", "--service", "shop", "--language", "go"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    *said, next_line = done.stdout.splitlines()
    assert {line.removeprefix("wrote ") for line in said} == set(tree(tmp_path))
    assert re.match(r"next: .*nox(\.\w+)? -s (bootstrap )?integration-shop", next_line)
    wrong = subprocess.run(
        [*command, "--language", "c"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stdout) == (78, "")
    assert wrong.stderr.startswith('invalid: the language is go or python, not "c"')


def test_beside_a_file_that_does_not_load_no_command_is_promised(tmp_path: Path) -> None:
    init.write(tmp_path, "shop", "go")
    old = tmp_path / "catalog" / "services" / "shop.toml"
    old.write_text("schema = 2\n")
    env = {**os.environ, "PYTHONPATH": str(Path(init.__file__).parents[2])}
    command = [sys.executable, "-m", "infra.init", "--service", "another", "--language", "go"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "wrote catalog/services/another.toml\n" in done.stdout
    assert "next: " not in done.stdout
    assert done.stderr.startswith(f"invalid: {old}: made for a newer version of this tool: its schema is 2, ")
    assert "; to do: git -C " in done.stderr
    assert old.read_text() == "schema = 2\n"
