"""Making a .venv and installing tools: real venvs from a wheel of ours, real commands on PATH."""

import base64
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import bootstrap
from infra.errors import Unavailable
from infra.tools import TOOLS, installation, missing, tool

HERE = Path(__file__).resolve().parents[1]
ENSURE = """
import sys
from pathlib import Path
from infra.bootstrap import ensure_venv
ensure_venv(Path(sys.argv[1]))
"""


def wheel(folder: Path, version: str) -> str:
    """Write a wheel that holds one module, and return the line of a lock file that pins it."""
    folder.mkdir(exist_ok=True)
    path, info = folder / f"pinned-{version}-py3-none-any.whl", f"pinned-{version}.dist-info"
    files = {
        "pinned.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: pinned\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return f"pinned=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose lock pins one wheel, which pip finds in a folder and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    root = tmp_path / "root"
    root.mkdir()
    (root / "requirements.lock").write_text(wheel(tmp_path / "wheels", "1"))
    return root


def pinned(root: Path) -> str:
    python = root / ".venv/bin/python"
    program = "import pinned; print(pinned.VERSION)"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_a_venv_is_made_once_and_updated_when_the_lock_changes(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.ensure_venv(root) == root / ".venv/bin/python"
    assert pinned(root) == "1"
    assert capfd.readouterr().out.count("+ ") == 2
    bootstrap.ensure_venv(root)
    assert capfd.readouterr().out == ""

    (root / ".venv/kept").touch()
    (root / "requirements.lock").write_text(wheel(root.parent / "wheels", "2"))
    bootstrap.ensure_venv(root)
    assert pinned(root) == "2"
    assert (root / ".venv/kept").exists()
    assert capfd.readouterr().out.count("+ ") == 1


def test_the_package_is_compiled_where_python_may_keep_no_bytecode(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "infra").mkdir()
    (root / "infra/module.py").write_text("")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    bootstrap.ensure_venv(root)
    assert list(root.glob("infra/__pycache__/module.*.pyc"))


def test_a_venv_made_by_hand_is_completed(root: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", root / ".venv"], check=True)
    (root / ".venv/kept").touch()
    bootstrap.ensure_venv(root)
    assert pinned(root) == "1"
    assert (root / ".venv/kept").exists()


@pytest.mark.parametrize("moment", ["bin/python", "lib/python3*/site-packages/pip"])
def test_a_venv_whose_making_was_killed_is_made_anew(root: Path, moment: str) -> None:
    making = subprocess.Popen([sys.executable, "-c", ENSURE, root], cwd=HERE, start_new_session=True)
    deadline = time.monotonic() + 30
    while not list(root.glob(f".venv/{moment}")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(making.pid, signal.SIGKILL)
    making.wait()
    assert (root / ".venv/making").exists()
    (root / ".venv/debris").touch()
    bootstrap.ensure_venv(root)
    assert pinned(root) == "1"
    assert not (root / ".venv/debris").exists()


def test_a_venv_that_was_moved_is_made_anew(root: Path) -> None:
    bootstrap.ensure_venv(root)
    moved = root.rename(root.with_name("moved"))
    bootstrap.ensure_venv(moved)
    assert str(moved) in (moved / ".venv/bin/pip").read_text().splitlines()[0]


def test_two_callers_at_once_make_one_venv(root: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", ENSURE, root], cwd=HERE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(text.count("-m venv") for text in said) == [0, 1]


def test_without_the_package_the_message_names_the_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(Unavailable, match="could not be installed") as caught:
        bootstrap.ensure_venv(root)
    assert "-m pip install" in caught.value.remedy
    monkeypatch.setenv("PIP_FIND_LINKS", str(root.parent / "wheels"))
    bootstrap.ensure_venv(root)
    assert pinned(root) == "1"


def test_a_repository_without_a_lock_uses_the_python_that_runs_nox(tmp_path: Path) -> None:
    assert bootstrap.ensure_venv(tmp_path) == Path(sys.executable)
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("argv", "sessions"),
    [
        ("-s bootstrap tests", ("bootstrap", "tests")),
        ("-v --sessions lint -x -- -s bootstrap", ("lint",)),
        ("--session=lint", ("lint",)),
        ("-l", ()),
        ("-t integration -- bootstrap", ()),
    ],
)
def test_the_words_of_the_command_line_are_those_nox_reads(argv: str, sessions: tuple[str, ...]) -> None:
    assert bootstrap.requested(argv.split()) == sessions


def test_sessions_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOXSESSION", "bootstrap,tests")
    assert bootstrap.requested([]) == ("bootstrap", "tests")


def test_an_unknown_suite_ends_before_anything_is_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "noxfile.py", "-s", "bootstrap", "integration-notifcation"],
        env={**os.environ, "INFRA_CATALOG": str(catalog(tmp_path)), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    assert done.stdout == ""
    assert 'invalid: unknown session "integration-notifcation"; did you mean integration-notification?' in done.stderr


def catalog(folder: Path) -> Path:
    (folder / "services").mkdir()
    (folder / "services/notification.toml").write_text("[tiers.integration]\n")
    return folder


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is all of PATH: its apt-get notes its arguments and 'installs' a podman."""
    folder = tmp_path / "commands"
    folder.mkdir()
    command(
        folder / "apt-get",
        f'echo "$*" >>{folder}/noted; [ "$1" = update ] && exit 0;'
        f" printf '#!/bin/sh\\necho podman version 5.4.2\\n' >{folder}/podman;"
        f" /bin/chmod +x {folder}/podman",
    )
    command(folder / "sudo", 'shift; shift; exec "$@"')
    monkeypatch.setenv("PATH", str(folder))
    return folder


def command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_is_missing_is_installed_in_one_command_that_is_printed(
    commands: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    podman = tool("podman")
    assert podman.state == "missing"
    bootstrap.install(missing([podman]))
    assert (commands / "noted").read_text().splitlines() == [
        "update -q",
        "install -y -q --no-install-recommends podman",
    ]
    printed = capfd.readouterr().out.splitlines()
    assert [line.partition("apt-get ")[2] for line in printed] == (commands / "noted").read_text().splitlines()
    assert all(line.startswith("+ ") for line in printed)
    assert missing([podman]) == ()
    bootstrap.install(missing([podman]))
    assert capfd.readouterr().out == ""


def test_a_tool_that_is_too_old_says_so(commands: Path) -> None:
    command(commands / "podman", "echo podman version 3.4.4")
    assert tool("podman").state == "version 3.4.4 is older than 4.3"


def test_a_release_too_old_for_us_is_not_installed_again_and_again(commands: Path) -> None:
    command(commands / "podman", "echo podman version 3.4.4")
    command(commands / "apt-get", "exit 0")
    with pytest.raises(Unavailable, match=r"3\.4\.4 is older than 4\.3, although"):
        bootstrap.install(missing([tool("podman")]))


def test_a_failing_package_manager_is_unavailable(commands: Path) -> None:
    command(commands / "apt-get", "exit 100")
    with pytest.raises(Unavailable, match="podman could not be installed") as caught:
        bootstrap.install([tool("podman")])
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(("manager", "start"), [("dnf", "dnf install -y"), ("brew", "brew install")])
def test_other_package_managers_are_named_and_not_run(commands: Path, manager: str, start: str) -> None:
    (commands / "apt-get").rename(commands / manager)
    with pytest.raises(Unavailable, match="with apt only") as caught:
        bootstrap.install(missing([tool("podman"), tool("mmdebstrap")]))
    assert f"{start} podman" in caught.value.remedy
    assert "mmdebstrap" not in caught.value.remedy
    assert not (commands / "noted").exists()


def test_every_tool_can_be_installed_with_apt(commands: Path) -> None:
    packages = [package for each in TOOLS for package in each.packages["apt-get"]]
    assert installation(TOOLS).steps[1][-len(packages) :] == tuple(packages)
    assert all(each.why and (each.commands or each.modules) for each in TOOLS)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("module x\n\ngo 1.25.0\n", (1, 25, 0)),
        ("module x\n\ngo 1.24\n\ntoolchain go1.26.2\n", (1, 26, 2)),
        ("module x\n", ()),
    ],
)
def test_the_go_that_a_workspace_asks_for(tmp_path: Path, text: str, asked: tuple[int, ...]) -> None:
    (tmp_path / "go.mod").write_text(text)
    assert bootstrap.go_asked(tmp_path) == asked
    assert bootstrap.go_asked(tmp_path / "elsewhere") == ()


def test_venv_tools_come_first(tmp_path: Path, commands: Path) -> None:
    command(commands / "go", "echo go version go1.19.8 linux/amd64")
    assert bootstrap.go_found(tmp_path) == (1, 19, 8)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    command(tmp_path / ".venv/bin/go", "echo go version go1.26.6 linux/amd64")
    assert bootstrap.go_found(tmp_path) == (1, 26, 6)


def test_the_lock_satisfies_the_project() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())
    lock = (HERE / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    for line in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line
        assert any(each.operator == "<" for each in wanted.specifier), f"{line}: no upper bound"


def test_the_lock_names_hashes_and_no_place() -> None:
    lock = (HERE / "requirements.lock").read_text()
    entries = re.split(r"^(?=[a-z])", lock, flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock
