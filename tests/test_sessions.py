"""The nox sessions: real nox processes, real signals, an owner that writes down what it sees."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.catalog.names import SuiteName, names
from infra.sessions import _parent_pipe

HERE = Path(__file__).resolve().parents[1]

# What `invoke suite.run` does here: note its arguments, then wait for the end if asked to.
TASKS = """\
import json, os, signal, sys, time
from pathlib import Path
from invoke import Collection, task

NOTES = Path(__file__).with_name("notes")

def note(what):
    with NOTES.open("a") as file:
        file.write(json.dumps(what) + "\\n")

def terminated(*_):
    note("SIGTERM")
    time.sleep(1)
    note("cleaned")
    raise SystemExit(143)

@task
def run(c, service=None, tier=None):
    fd, _, inode = os.environ["INFRA_PARENT_PIPE"].partition(":")
    ours = os.fstat(int(fd)).st_ino == int(inode)
    note({"service": service, "tier": tier, "argv": sys.argv[1:], "pipe": ours})
    if os.environ.get("WAIT") == "pipe":
        os.read(int(fd), 1)
        note("nox is gone")
    elif os.environ.get("WAIT") == "signal":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, terminated)
        note("waiting")
        time.sleep(30)
    raise SystemExit(int(os.environ.get("EXIT", "0")))

namespace = Collection()
namespace.add_collection(Collection("suite", run=run))
"""
SERVICE = """\
language = "go"
stack = ["postgres", "redis"]
[tiers.unit]
stack = []
[tiers.integration]
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository that adopts infra: without a lock file, so sessions use this test's python."""
    services = tmp_path / "infra/catalog/services"
    shutil.copytree(HERE / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("*.toml", "__pycache__"))
    shutil.copy(HERE / "noxfile.py", tmp_path)
    services.mkdir(exist_ok=True, parents=True)
    (services / "notification.toml").write_text(SERVICE)
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


def nox(house: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nox", *args],
        cwd=house,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def notes(house: Path) -> list[object]:
    file = house / "notes"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(house: Path, count: int, seconds: float) -> list[object]:
    deadline = time.monotonic() + seconds
    while len(notes(house)) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return notes(house)


@pytest.fixture
def running(house: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """nox in a session of its own, its owner waiting in the way that the test's marker asks for."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nox", "-s", "integration-notification"],
        cwd=house,
        env={**os.environ, "WAIT": request.param},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # under nohup and in the background SIGINT is ignored, and stays so across exec
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    yield process
    process.kill()
    process.wait()


def test_a_list_names_every_tier_with_tags_and_description(house: Path) -> None:
    done = nox(house, "-l")
    assert done.returncode == 0
    assert (
        "- integration-notification [integration,notification,go]"
        " -> Go integration suite of notification against postgres, redis." in done.stdout
    )
    assert "- unit-notification [unit,notification,go] -> Go unit suite of notification." in done.stdout
    assert "e2e-notification" not in done.stdout


def test_a_list_for_machines_is_json_and_nothing_else(house: Path) -> None:
    listed = json.loads(nox(house, "-l", "--json").stdout)
    assert {"integration-notification", "bootstrap", "tests", "lint", "types", "bench", "soak"} <= {
        entry["session"] for entry in listed
    }
    tagged = json.loads(nox(house, "-l", "--json", "-t", "unit").stdout)
    assert [entry["session"] for entry in tagged] == ["unit-notification"]


def test_nothing_runs_when_nobody_asked(house: Path) -> None:
    done = nox(house)
    assert done.returncode == 0
    assert "No sessions selected" in done.stdout
    assert notes(house) == []


def test_a_list_needs_nox_and_the_standard_library_alone() -> None:
    program = (
        "import sys, nox._cli; before = set(sys.modules); import infra.sessions;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=HERE, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"infra", "nox"}


def test_arguments_reach_the_owner_word_for_word(house: Path) -> None:
    rest = ["-v", "--focus=a b", "", "--", "--json", "it's $HOME"]
    done = nox(house, "-s", "integration-notification", "--", *rest)
    assert done.returncode == 0, done.stderr
    (seen,) = notes(house)
    assert seen == {
        "service": "notification",
        "tier": "integration",
        "argv": ["suite.run", "--service", "notification", "--tier", "integration", "--", *rest],
        "pipe": True,
    }


@pytest.mark.parametrize(("owner", "expected"), [("0", 0), ("75", 1)])
def test_nox_knows_passed_and_failed_only(house: Path, owner: str, expected: int) -> None:
    assert nox(house, "-s", "unit-notification", EXIT=owner).returncode == expected


@pytest.mark.parametrize("running", ["pipe"], indirect=True)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_owner_notices_when_nox_alone_is_ended(
    house: Path, running: subprocess.Popen[bytes], signum: signal.Signals
) -> None:
    assert len(wait_for(house, 1, 20)) == 1
    running.send_signal(signum)
    running.wait()
    assert wait_for(house, 2, 2)[1:] == ["nox is gone"]


@pytest.mark.parametrize("running", ["signal"], indirect=True)
def test_an_interrupt_of_nox_alone_terminates_the_owner_and_waits_for_it(
    house: Path, running: subprocess.Popen[bytes]
) -> None:
    assert len(wait_for(house, 2, 20)) == 2
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    assert notes(house)[2:] == ["SIGTERM", "cleaned"]


def test_stdin_is_what_it_was_after_the_owner_has_ended() -> None:
    before = os.fstat(0)
    with _parent_pipe() as name:
        assert name == f"0:{os.fstat(0).st_ino}"
        assert os.get_inheritable(0)
    assert os.path.samestat(before, os.fstat(0))


def test_a_broken_catalogue_is_one_message_with_file_and_line(house: Path) -> None:
    broken = house / "infra/catalog/services/broken.toml"
    broken.write_text('language = "go"\nstack = [\n')
    done = nox(house, "-l")
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"invalid: {broken}" in done.stderr
    assert "line 3" in done.stderr
    assert nox(house, "-s", "unit-notification").returncode == 78


def test_a_broken_pyproject_is_one_message_with_what_to_do(house: Path) -> None:
    (house / "pyproject.toml").write_text("[tool.infra]\ncatalog = 3\n")
    done = nox(house, "-s", "integration-notification")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1), done.stderr
    key = "tool.infra.catalog"
    assert f"{key}: must be a text that is not empty" in done.stderr
    assert f"; to do: ${{EDITOR:-vi}} {house}/pyproject.toml  # {key}\n" in done.stderr


def test_a_broken_catalogue_stops_no_session_that_does_not_need_it(house: Path) -> None:
    (house / "infra/catalog/services/broken.toml").write_text("[tiers.integraton]\n")
    done = nox(house, "-l", "-s", "types")
    assert done.returncode == 0
    assert "did you mean integration?" in done.stderr


def test_an_unknown_session_is_told_the_nearest_name(house: Path) -> None:
    done = nox(house, "-s", "integration-notifcation")
    assert done.returncode == 3
    assert "did you mean integration-notification?" in done.stderr


def test_the_catalogue_is_the_environments_then_the_projects(tmp_path: Path) -> None:
    for folder, service in (("one", "alpha"), ("two", "beta")):
        (tmp_path / folder / "services").mkdir(parents=True)
        (tmp_path / folder / "services" / f"{service}.toml").write_text("[tiers.e2e]\n")
    (tmp_path / "pyproject.toml").write_text('[tool.infra]\ncatalog = "one"\n')
    expected = SuiteName(service="alpha", tier="e2e", language="")
    assert names(tmp_path, {}).suites == (expected,)
    assert names(tmp_path, {"INFRA_CATALOG": str(tmp_path / "two")}).suites[0].session == "e2e-beta"
    assert names(tmp_path, {"INFRA_CATALOG": "none"}).problems[0].message.startswith("INFRA_CATALOG: no folder at ")
