"""F41 to F45, F49 and F52: suites that cannot start, do not compile, run nothing, hang, die, or leave something."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import Fault, caused, is_told, small_catalog, small_workspace, written_down
from product import WORKSPACE, Project, without

RUNNER = "./test/runner"


def ginkgo(*packages: str, timeout: str = "60s") -> str:
    """A suite of the real workspace's `test/runner`."""
    return f'runner = "ginkgo"\nprocs = 2\npackages = {list(packages)}\ntimeout = "{timeout}"\n'


@pytest.fixture
def go(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[[str], Project]:
    """Make a project whose suite is Go's, without a stack."""

    def make(suite: str) -> Project:
        workspace = tmp_path / "workspace"
        ignored = shutil.ignore_patterns("*.test")
        shutil.copytree(WORKSPACE / "test" / "runner", workspace / "test" / "runner", ignore=ignored)
        for name in ("go.mod", "go.sum"):
            shutil.copy(WORKSPACE / name, workspace)
        return make_project(catalog=small_catalog(tmp_path / "catalog", {}, [], suite=suite), workspace=workspace)

    return make


@pytest.fixture
def python(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Make a project whose suite is pytest's, without a stack; `files` are the workspace's."""

    def make(files: dict[str, str], suite: str = 'runner = "pytest"\npaths = ["suite"]\n') -> Project:
        catalog = small_catalog(tmp_path / "catalog", {}, [], suite=suite)
        return make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace", files))

    return make


def named_at_once(fault: Fault) -> None:
    assert fault.cause["named_after_s"] is not None
    assert fault.cause["named_after_s"] < 10


def test_f41_a_missing_go_is_named_with_what_installs_it(go: Callable[[str], Project], tmp_path: Path) -> None:
    project = go(ginkgo(f"{RUNNER}/pending"))
    fault = caused(project, PATH=without(project.environment()["PATH"], "go", tmp_path))
    is_told(fault, reference="tool-missing", blame="user", code=69, step="suite", says=["go is not installed"])
    written_down("F41", "go not on PATH", fault)


def test_f41_a_python_without_pytest_is_named_with_what_installs_it(
    python: Callable[..., Project], tmp_path: Path
) -> None:
    # A python of its own, without anything installed.
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    fault = caused(
        python({"suite/test_x.py": ""}),
        PATH=f"{tmp_path / 'bare' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=None,
    )
    is_told(
        fault,
        reference="tool-missing",
        blame="user",
        code=69,
        step="suite",
        says=["pytest"],
        remedy="requirements",
    )
    written_down("F41", "pytest not installed", fault)


def test_f41_a_go_mod_without_ginkgo_is_told_with_what_adds_it(go: Callable[[str], Project]) -> None:
    project = go(ginkgo(f"{RUNNER}/pending"))
    gomod = Path(project.folder / "pyproject.toml").read_text(encoding="utf-8")
    workspace = Path(gomod.split('workspace = "')[1].split('"')[0])
    text = (workspace / "go.mod").read_text(encoding="utf-8").replace("v2.", "v2.999.")
    (workspace / "go.mod").write_text(text, encoding="utf-8")
    fault = caused(project)
    is_told(fault, reference="runner-build-failed", blame="user", code=1, step="suite", remedy="go get -tool")
    written_down("F41", "a Ginkgo version that does not exist", fault)


def test_f42_a_suite_that_does_not_compile_shows_the_compilers_line(go: Callable[[str], Project]) -> None:
    fault = caused(go(ginkgo(f"{RUNNER}/testdata/broken")))
    is_told(
        fault,
        reference="suite-does-not-compile",
        blame="test",
        code=1,
        step="suite",
        remedy="go vet",
        shows=["undefined: undefined"],
    )
    named_at_once(fault)
    written_down("F42", "a suite that does not compile", fault)


def test_f43_a_path_that_moved_is_no_green_suite(go: Callable[[str], Project]) -> None:
    fault = caused(go(ginkgo(f"{RUNNER}/moved-elsewhere")))
    is_told(fault, reference="no-suite-found", blame="user", code=1, step="suite", says=["no test suite was found"])
    named_at_once(fault)
    written_down("F43", "a path that is empty", fault)


def test_f43_a_suite_that_skips_itself_is_no_green_suite(python: Callable[..., Project]) -> None:
    text = "import pytest\n\ndef test_reads():\n    pytest.skip('no DataStorage')\n\ndef test_ok():\n    pass\n"
    fault = caused(python({"suite/test_x.py": text}))
    is_told(
        fault,
        reference="unexpected-skip",
        blame="test",
        code=1,
        step="suite",
        says=["1 test", "skipped", "no DataStorage"],
    )
    named_at_once(fault)
    written_down("F43", "tests that skip themselves", fault)


def test_f44_a_suite_that_hangs_is_ended_and_says_where(go: Callable[[str], Project]) -> None:
    fault = caused(go(ginkgo(f"{RUNNER}/hanging", timeout="12s")))
    is_told(
        fault,
        reference="suite-hung",
        blame="test",
        code=1,
        step="suite",
        says=["did not end within 12 s"],
        remedy="suite.log",
        shows=["time.Sleep"],
    )
    written_down("F44", "a spec that sleeps; its time: 12 s", fault)


def test_f45_a_suite_that_is_killed_is_told_by_its_signal(python: Callable[..., Project]) -> None:
    text = "import os, signal\n\ndef test_dies():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    fault = caused(python({"suite/test_x.py": text}))
    is_told(fault, reference="suite-killed", blame="test", code=1, step="suite", says=["signal 9", "SIGKILL"])
    named_at_once(fault)
    written_down("F45", "SIGKILL to pytest", fault)


def test_f45_a_suite_that_crashes_is_told_by_its_signal(python: Callable[..., Project]) -> None:
    text = "import ctypes\n\ndef test_dies():\n    ctypes.string_at(0)\n"
    fault = caused(python({"suite/test_x.py": text}))
    is_told(fault, reference="suite-killed", blame="test", code=1, step="suite", says=["SIGSEGV"])
    written_down("F45", "a suite that crashes", fault)


def test_f49_a_misspelt_component_is_refused_before_anything_starts(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    catalog = small_catalog(tmp_path / "catalog", {}, ["postgres", "migrations"])
    path = catalog / "services" / "faulty.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('["postgres", ', '["postgress", '), encoding="utf-8")
    fault = caused(make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace")))
    is_told(
        fault,
        reference="unknown-component",
        blame="user",
        code=78,
        step=None,
        says=['unknown component "postgress"', 'did you mean "postgres"'],
        remedy="services/faulty.toml",
    )
    assert fault.report["steps"] == []
    written_down("F49", 'stack = ["postgress", ...]', fault)
