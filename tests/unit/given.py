"""What the tests of this folder are given: copies of the real catalogue, small workspaces, reports."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infra.catalog.loading import load
from infra.errors import Cause, Outcome
from infra.plan import Plan, make
from infra.report import Case, EngineFacts, Report, StepResult, SuiteResult
from infra.settings import ImagesMode, Settings

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "infra" / "catalog"
WORKSPACE = ROOT / "tests" / "workspace"
TOML_FILES = tuple(sorted(str(path.relative_to(CATALOG)) for path in CATALOG.rglob("*.toml")))


def catalog_copy(tmp_path: Path) -> Path:
    """A copy of the real catalogue that a test may spoil."""
    return Path(shutil.copytree(CATALOG, tmp_path / "catalog", ignore=shutil.ignore_patterns("*.py", "__pycache__")))


def workspace_in(tmp_path: Path) -> Path:
    """The least that the real catalogue wants of a workspace."""
    folder = tmp_path / "workspace"
    (folder / "docker").mkdir(parents=True)
    (folder / "docker" / "data-storage.Dockerfile").write_text("FROM scratch\n")
    (folder / "migrations").mkdir()
    (folder / "migrations" / "001_first.sql").write_text("CREATE TABLE first ();\n")
    (folder / "holmesgpt-api").mkdir()
    (folder / "holmesgpt-api" / "requirements-test.txt").write_text("pytest\n")
    return folder


def settings_with(catalog: Path, workspace: Path, images: ImagesMode = "auto") -> Settings:
    """Settings as the environment would give them."""
    return Settings(root=workspace.parent, catalog=catalog, workspace=workspace, images=images, keep=False)


def plan_of(tmp_path: Path, *, images: ImagesMode = "auto", ports: str = "fixed", run: str = "1884d074") -> Plan:
    """A plan of the real catalogue, for the real service."""
    settings = settings_with(CATALOG, workspace_in(tmp_path), images)
    return make(load(CATALOG), settings, service="notification", run=run, ports=ports)


def put(path: Path, data: bytes) -> None:
    """Write a file anew: truncating one would make ext4 wait for the disk, a thousand times in some tests."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


@contextlib.contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Have one change in a file for a while; a change that changes nothing is a mistake of the test."""
    before = path.read_text(encoding="utf-8")
    assert old in before, f"{old!r} is not in {path}"
    put(path, before.replace(old, new, 1).encode())
    try:
        yield
    finally:
        put(path, before.encode())


STEPS = (
    StepResult(name="engine", status="passed", start_s=0.0, duration_s=0.5, note="Podman 4.3.1, crun, socket"),
    StepResult(name="image redis", status="passed", start_s=0.5, duration_s=3.0),
    StepResult(name="image postgres", status="passed", start_s=0.5, duration_s=9.5, note="built: new base"),
    StepResult(name="postgres", status="passed", start_s=10.0, duration_s=2.25, polls=7),
    StepResult(name="suite", status="passed", start_s=12.25, duration_s=4.0, note="2 passed"),
)
SUITE = SuiteResult(cases=(Case(name="writes", state="passed"), Case(name="reads", state="passed")), duration_s=3.5)
ENGINE = EngineFacts(version="4.3.1", rootless=True, runtime="crun", host="desk", workarounds=("no systemd",))
CAUSE = Cause(
    reference="component-died",
    step="postgres",
    message="the container exited with code 1: FATAL: out of [red]disk[/red]",
    remedy="look at logs/postgres.log",
    evidence=("LOG: starting", "FATAL: out of [red]disk[/red]"),
)


PASSED = Report(
    run="1884d074",
    service="notification",
    tier="integration",
    outcome=Outcome.PASSED,
    blame=None,
    exit_code=0,
    started="2026-01-02T03:04:05.678+00:00",
    duration_s=16.25,
    steps=STEPS,
    suite=SUITE,
    cause=None,
    engine=ENGINE,
    left_behind=(),
    directory="/tmp/runs/1884d074",
)
DIED = replace(
    PASSED,
    outcome=Outcome.NOT_READY,
    blame="infrastructure",
    exit_code=75,
    duration_s=12.25,
    steps=(*STEPS[:3], replace(STEPS[3], status="failed", cause=CAUSE)),
    suite=None,
    cause=CAUSE,
)
