"""Nothing outside of the workspace is used, nothing outside of a run's folder is written, and no value is a command."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from given import catalog_copy, edited, put, settings_with, workspace_in
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import content, plan, rundir
from infra.catalog.loading import load
from infra.errors import Invalid
from infra.placeholders import problem, render
from infra.workspace import inside

steady = settings(derandomize=True, deadline=None, database=None, max_examples=150)
DATASTORAGE = "components/datastorage.toml"


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that there is below a folder: kinds, times of change, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, data)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the workspace with all that a run looks for, which is as it was when the test is over."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("keep out")
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "001_first.sql").write_text("SELECT 1;\n")
    (folder / "file").write_text("theirs")
    before = everything(folder)
    yield folder
    assert everything(folder) == before


# Paths of the catalogue that lead out of the workspace through links.


def linked(workspace: Path, path: str, target: Path) -> None:
    """Put a link to somewhere else into the place of a file or folder of the workspace."""
    place = workspace / path
    place.rename(place.with_name(f"{place.name}.before"))
    place.symlink_to(target)


@pytest.mark.parametrize(
    ("key", "path", "target"),
    [
        ("components/datastorage.toml: build.containerfile", "docker/data-storage.Dockerfile", "Dockerfile"),
        ("components/datastorage.toml: build.containerfile", "docker", "."),
        ("components/migrations.toml: migrations.folder", "migrations", "."),
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_that_leads_out_of_the_workspace_is_refused_with_the_key_and_where_it_leads(
    key: str, path: str, target: str, relative: bool, tmp_path: Path, outside: Path
) -> None:
    folder, workspace = catalog_copy(tmp_path), workspace_in(tmp_path)
    (outside / "data-storage.Dockerfile").symlink_to("Dockerfile")
    place = workspace / path
    to = Path(os.path.relpath(outside / target, place.parent)) if relative else outside / target
    linked(workspace, path, to)
    with pytest.raises(Invalid) as raised:
        plan.make(load(folder), settings_with(folder, workspace), service="notification")
    (outside / "data-storage.Dockerfile").unlink()
    os.utime(outside)
    assert raised.value.reference == "outside-workspace"
    assert raised.value.message.startswith(f"{folder}/{key}: {workspace}/")
    assert f"leads out of the workspace, to {outside}" in raised.value.message


@pytest.mark.parametrize(("word", "key"), [("cwd", "tiers.unit.cwd"), ("context", "build.context")])
def test_a_folder_that_is_a_link_out_of_the_workspace_is_refused(
    word: str, key: str, tmp_path: Path, outside: Path
) -> None:
    folder, workspace = catalog_copy(tmp_path), workspace_in(tmp_path)
    (workspace / "out").symlink_to(outside)
    file, old, new, tier = {
        "cwd": ("services/notification.toml", "[tiers.unit]", '[tiers.unit]\ncwd = "out"', "unit"),
        "context": (DATASTORAGE, 'context = "."', 'context = "out"', "integration"),
    }[word]
    with edited(folder / file, old, new), pytest.raises(Invalid) as raised:
        plan.make(load(folder), settings_with(folder, workspace), service="notification", tier=tier)
    assert (
        raised.value.message == f"{folder / file}: {key}: {workspace / 'out'} leads out of the workspace, to {outside}"
    )


def test_a_link_inside_of_the_workspace_is_fine(tmp_path: Path) -> None:
    folder, workspace = catalog_copy(tmp_path), workspace_in(tmp_path)
    (workspace / "migrations").rename(workspace / "sql")
    (workspace / "migrations").symlink_to("sql")
    made = plan.make(load(folder), settings_with(folder, workspace), service="notification")
    assert "/migrations/001_first.sql" in {file.path for step in made.steps for file in step.files}


def test_a_workspace_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    folder, workspace = catalog_copy(tmp_path), workspace_in(tmp_path)
    (tmp_path / "here").symlink_to(workspace)
    assert plan.make(load(folder), settings_with(folder, tmp_path / "here"), service="notification").steps


@pytest.mark.parametrize(
    ("path", "why"),
    [("loop", "its links lead in a circle"), ("x" * 300, "File name too long"), ("out/file", "leads out")],
)
def test_a_path_that_cannot_be_followed_is_invalid(path: str, why: str, tmp_path: Path, outside: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "loop").symlink_to("loop")
    (tmp_path / "workspace" / "out").symlink_to(outside)
    with pytest.raises(Invalid) as raised:
        inside(tmp_path / "workspace", path, "the key")
    assert raised.value.message.startswith("the key: ")
    assert why in raised.value.message


@steady
@given(
    path=st.lists(st.sampled_from(("..", ".", "", "a", "loop", "out", "file", "...", "-", "~")), min_size=1).map(
        "/".join
    )
)
def test_no_path_of_the_catalogue_is_used_outside_of_the_workspace(
    path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = tmp_path_factory.getbasetemp() / "paths" / "workspace"
    if not workspace.exists():
        (workspace / "a").mkdir(parents=True)
        (workspace / "out").symlink_to("..")
        (workspace / "loop").symlink_to("loop")
    try:
        found = inside(workspace, path, "key")
    except Invalid:
        return
    assert found.resolve().is_relative_to(workspace.resolve())


# Links in a build context.


def git(folder: Path, *words: str) -> None:
    config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*")
    subprocess.run(["git", *config, "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture(params=["in git", "without git"])
def context(request: pytest.FixtureRequest, tmp_path: Path, outside: Path) -> Path:
    """A build context with links: to a folder outside, to a file outside, and up."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "main.go").write_text("package main\n")
    (folder / "out").symlink_to(outside)
    (folder / "up").symlink_to("..")
    (folder / "secret").symlink_to(outside / "secret.txt")
    if request.param == "in git":
        git(folder, "init", "-q")
        git(folder, "add", "-A")
    return folder


def test_links_of_a_context_are_staged_as_links_and_nothing_behind_them(context: Path, tmp_path: Path) -> None:
    files = content.context_files(context)
    assert set(files) - {f for f in files if f.startswith(".git/")} == {"main.go", "out", "secret", "up"}
    staged = tmp_path / "staged"
    content.stage(context, files, staged)
    assert {path.name for path in staged.iterdir()} - {".git"} == {"main.go", "out", "secret", "up"}
    assert [name for name in ("out", "secret", "up") if not (staged / name).is_symlink()] == []


def test_a_file_below_a_link_is_not_written_where_the_link_leads(context: Path, tmp_path: Path, outside: Path) -> None:
    staged = tmp_path / "staged"
    content.stage(context, ("main.go", "out", "out/file", "up", "up/context/main.go"), staged)
    assert sorted(path.name for path in staged.iterdir()) == ["main.go", "out", "up"]
    assert (outside / "file").read_text() == "theirs"


def test_a_tracked_folder_that_has_become_a_link_is_only_that_link(tmp_path: Path, outside: Path) -> None:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("ours")
    (folder / "sub" / "deep").mkdir()
    (folder / "sub" / "deep" / "file").write_text("ours")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    (folder / "sub").rename(tmp_path / "gone")
    (folder / "sub").symlink_to(outside)
    assert content.context_files(folder) == ()
    git(folder, "add", "-A")
    assert content.context_files(folder) == ("sub",)
    content.stage(folder, content.context_files(folder), tmp_path / "staged")
    assert (tmp_path / "staged" / "sub").readlink() == outside


def test_a_merge_that_is_not_resolved_names_each_file_once(tmp_path: Path) -> None:
    folder = tmp_path / "context"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "one")
    for branch, target in (("one", "a"), ("two", "b")):
        if branch == "two":
            git(folder, "checkout", "-q", "--orphan", "two")
        (folder / "link").unlink(missing_ok=True)
        (folder / "link").symlink_to(target)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", branch)
    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "merge", "-q", "--allow-unrelated-histories", "one")
    assert content.context_files(folder) == ("link",)
    content.stage(folder, content.context_files(folder), tmp_path / "staged")
    assert (tmp_path / "staged" / "link").is_symlink()


# What is written is written into the run's folder.


def test_a_plan_writes_nothing_at_all(tmp_path: Path, outside: Path) -> None:
    folder, workspace = catalog_copy(tmp_path), workspace_in(tmp_path)
    before = everything(tmp_path)
    plan.make(load(folder), settings_with(folder, workspace), service="notification")
    assert everything(tmp_path) == before


def test_a_latest_that_leads_elsewhere_is_replaced_and_not_followed(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(outside)
    rundir.make(tmp_path / "runs", "1884d074")
    assert (tmp_path / "runs" / "latest").readlink() == Path("1884d074")


def test_a_link_in_the_place_of_a_runs_folder_is_refused_and_not_pruned_through(tmp_path: Path, outside: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "1884d074").symlink_to(outside)
    with pytest.raises(Invalid, match="there has been a run 1884d074"):
        rundir.make(runs, "1884d074")
    for number in range(52):
        rundir.make(runs, f"{number:08x}")
    (runs / f"{0:08x}" / "link").symlink_to(outside)
    for number in range(52):
        os.utime(runs / f"{number:08x}", (1000 + number, 1000 + number))
    rundir.prune(runs, ())
    assert not (runs / f"{0:08x}").exists(), "it was pruned, with its link"
    assert (runs / "1884d074").is_symlink()


# Nothing that the catalogue names or fills in is anything but a value.

HOSTILE = (
    *("$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "x\ntouch PWNED\n", "'; touch PWNED; '", '"; touch PWNED; "'),
    *("$HOME", "${HOME}", "\\", "\\\\'", "'\"'\"'", "\\\n", "a\\nb", "#x", "!x", "~", "*", "[a-z]", "{a,b}", " ", "\t"),
    *("{run}", "{{run}}", "\r\n", "\x1b]0;x\x07", "\u2028", "é", "💥", "=", "a=b", "&", "|x", "<x", "%s", "\x85"),
)


def read_by_a_shell(folder: Path, values: dict[str, str]) -> dict[str, str]:
    """What `set -a; . ./env` makes of values."""
    put(folder / "env", rundir.dotenv(values).encode())
    done = subprocess.run(
        ["/bin/sh", "-c", "set -a; . ./env; env -0"],
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=30,
        env={"HOME": "/h", "PATH": os.defpath},
    )
    assert done.stderr == b""
    found = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    return {key: found.get(key, "(not set)") for key in values}


def test_what_a_shell_reads_is_what_was_meant_whatever_a_value_has(tmp_path: Path) -> None:
    values = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    assert read_by_a_shell(tmp_path, values) == values
    assert [path.name for path in tmp_path.iterdir()] == ["env"], "and nothing was run"


def test_what_a_shell_reads_is_what_was_meant_for_any_text(tmp_path: Path) -> None:
    special = st.text(st.sampled_from("'\"\\$`\n\r\t #!~*?[]{}()<>|&;=a1-%^é"), max_size=12)
    text = special | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)

    @settings(steady, max_examples=25)
    @given(many=st.lists(text, min_size=20, max_size=20))
    def each(many: list[str]) -> None:
        values = {f"V{number}": value for number, value in enumerate(many)}
        assert read_by_a_shell(tmp_path, values) == values

    each()
    assert [path.name for path in tmp_path.iterdir()] == ["env"]


@steady
@given(secret=st.text(max_size=20) | st.sampled_from(HOSTILE))
def test_what_is_filled_in_is_not_read_as_a_template_again(secret: str) -> None:
    values = {"a.secrets.b": secret + "{run}", "run": "1884d074"}
    assert render("{a.secrets.b}{{run}}{run}", values) == f"{secret}{{run}}{{run}}1884d074"


@steady
@given(text=st.text(st.sampled_from("{}ab.!:[]0"), max_size=14))
def test_a_template_is_told_to_be_wrong_or_is_filled_in_and_never_fails(text: str) -> None:
    known = {"a": "1", "a.b": "2"}
    if problem(text, known) is None:
        assert render(text.replace("{{", "<").replace("}}", ">"), known).count("{") == 0
    else:
        assert set(text) & {"{", "}"}


def test_a_secret_reaches_a_file_and_a_variable_and_a_command_as_the_one_word_it_is(tmp_path: Path) -> None:
    folder, workspace = catalog_copy(tmp_path), workspace_in(tmp_path)
    hostile = "x' OR 1=1; $(id) {run}"
    with edited(folder / "components" / "postgres.toml", 'password = "test_password"', f'password = "{hostile}"'):
        made = plan.make(load(folder), settings_with(folder, workspace), service="notification", run="1884d074")
    steps = {step.name: step for step in made.steps}
    assert steps["postgres"].env["POSTGRES_PASSWORD"] == hostile
    assert steps["migrations"].env["PGPASSWORD"] == hostile
    (secrets,) = [file for file in steps["datastorage"].files if file.path.endswith("db-secrets.yaml")]
    assert f"password: {hostile}\n" in secrets.content
    ports = {step.name: {port.name: 1 for port in step.ports} for step in made.steps}
    assert made.suite_env(ports, "/r")["POSTGRES_PASSWORD"] == hostile


NOT_NAMES = (
    "a b",
    "a;b",
    "A",
    "a_b",
    "a.b",
    "a/b",
    "../a",
    "-a",
    "a\nb",
    "a=b",
    "a,b",
    "a:b",
    "{run}",
    "é",
    "",
    "a" * 41,
)


@pytest.mark.parametrize("name", NOT_NAMES)
@pytest.mark.parametrize("what", ["secret", "port", "step", "stack", "workers", "stage"])
def test_no_name_of_the_catalogue_has_room_for_anything_but_a_name(what: str, name: str, tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    quoted = '"' + name.replace("\n", "\\n") + '"'
    service = "services/contextapi.toml"
    file, old, new = {
        "secret": ("components/postgres.toml", "[secrets]", f"[secrets]\n{quoted} = 'x'"),
        "port": ("components/redis.toml", "[ports]", f"[ports]\n{quoted} = 1"),
        "step": (service, "[ports]", f"[[tiers.integration.before]]\nname = {quoted}\ncommand = ['x']\n[ports]"),
        "stack": (service, 'stack = ["postgres"', f'stack = [{quoted}, "postgres"'),
        "workers": (service, 'redis = "redis"', f"redis = {quoted}"),
        "stage": (DATASTORAGE, "[build]", f"[build]\ntarget = {quoted}"),
    }[what]
    with edited(folder / file, old, new), pytest.raises(Invalid) as raised:
        load(folder)
    key = {
        "secret": "secrets.",
        "port": "ports.",
        "step": "tiers.integration.before.0.name: ",
        "stack": "stack",
        "stage": "build.target: ",
    }
    assert raised.value.message.startswith(f"{folder / file}: {key.get(what, 'tiers.integration.workers.redis: ')}")
    assert raised.value.message.isprintable()
