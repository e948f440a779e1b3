"""What another repository does: it pip installs the wheel, begins with `infra-init`, and runs suites in its folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import ROOT, Podman, free_ports


@dataclass(frozen=True)
class Adopter:
    """A folder outside of this repository, and a virtual environment with the wheel in it and nothing of a checkout."""

    root: Path
    venv: Path

    def __call__(self, *words: str, check: bool = True, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder, the way a person does who has it activated."""
        ours = ("INFRA_", "PYTHON", "VIRTUAL_ENV", "NOX")
        env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        others = [part for part in env["PATH"].split(os.pathsep) if not Path(part, "nox").exists()]
        env["PATH"] = os.pathsep.join(
            [str(self.venv / "bin"), *([path] if path else [*others, str(ROOT / ".venv/bin")])]
        )
        done = subprocess.run(
            (str(self.venv / "bin" / words[0]), *words[1:]),
            cwd=self.root,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=600,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    @property
    def package(self) -> Path:
        return next((self.venv / "lib").glob("python3*/site-packages")) / "infra"

    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.root / ".infra/runs/latest/report.json").read_text()))

    def begin(self, service: str, language: str) -> str:
        """Write a service's files; its port becomes one that is free on this host, which the tests share."""
        said = self("infra-init", "--service", service, "--language", language).stdout
        path = self.root / "catalog" / "services" / f"{service}.toml"
        path.write_text(re.sub(r"= \d{5}$", f"= {free_ports(1)[0]}", path.read_text(), count=1, flags=re.MULTILINE))
        return said


@pytest.fixture(scope="module")
def adopter(tmp_path_factory: pytest.TempPathFactory) -> Adopter:
    folder = tmp_path_factory.mktemp("adopter")
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist"))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    made = Adopter(folder / "shop", folder / "venv")
    made.root.mkdir()
    (made.root / "requirements.lock").write_text("no-such-distribution==1\n")
    venv.create(made.venv, with_pip=True, symlinks=True)
    made("python", "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", str(wheel))
    assert made.package.is_dir()
    return made


def digest(package: Path) -> dict[str, str]:
    """Every file of the installed package but Python's own caches, and a hash of each."""
    files = [path for path in sorted(package.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(*texts: str) -> int:
    """Lines that say something."""
    return sum(1 for text in texts for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


@pytest.mark.parametrize(("service", "language"), [("shop", "go"), ("stock", "python")])
def test_what_infra_init_has_written_runs_at_once(
    service: str, language: str, adopter: Adopter, podman: Podman, record_property: Callable[[str, object], None]
) -> None:
    before = digest(adopter.package)
    said = adopter.begin(service, language)
    assert re.search(rf"^next: nox -s (bootstrap )?integration-{service}\b", said, re.MULTILINE)
    adopter("nox", "-s", f"integration-{service}")
    report = adopter.report()
    assert (report["outcome"], report["suite"]["passed"], report["left_behind"]) == ("passed", 1, [])
    assert podman.left_of(report["run"]) == []
    assert digest(adopter.package) == before, "a run writes nothing into the package, which may be read-only"
    assert not (adopter.root / ".venv").exists(), "a lock file of the adopter's own was taken for one of ours"
    components = sorted((adopter.root / "catalog" / "components").iterdir())
    (component,) = [path for path in components if path.stem in [step["name"] for step in report["steps"]]]
    names = ("noxfile.py", "tasks.py", "pyproject.toml", f"catalog/services/{service}.toml", str(component))
    texts = [(adopter.root / name).read_text() for name in names]
    assert max(len(text.splitlines()) for text in texts[:2]) <= 5
    record_property("lines", lines(*texts))
    assert lines(*texts) <= 25


def test_the_noxfile_is_a_program_too(adopter: Adopter) -> None:
    adopter.begin("shop", "go")
    assert "integration-shop [integration,shop,go]" in adopter("python", "noxfile.py", "-l").stdout


def test_a_host_without_podman_is_one_message(adopter: Adopter, tmp_path: Path) -> None:
    adopter.begin("stock", "python")
    for name in ("sh", "env", "git"):
        found = (Path(folder, name) for folder in ("/usr/bin", "/bin"))
        (tmp_path / name).symlink_to(next(path for path in found if path.exists()))
    done = adopter("invoke", "suite.run", "--service", "stock", check=False, path=str(tmp_path))
    said = done.stdout + done.stderr
    assert done.returncode == 69, said
    told = [line for line in said.splitlines() if line.startswith("unavailable: ")]
    assert [line.partition("; to do: ")[0] for line in told] == ["unavailable: engine: podman is not installed"], said


def test_a_newer_catalogue_is_one_message_with_the_command_that_helps(adopter: Adopter) -> None:
    adopter.begin("shop", "go")
    path = adopter.root / "catalog" / "services" / "shop.toml"
    before = path.read_text()
    path.write_text(f"schema = 9\n{before}")
    try:
        done = adopter("nox", "-l", check=False)
    finally:
        path.write_text(before)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 78
    assert said.startswith(
        f"invalid: {path}: made for a newer version of this tool: its schema is 9, and this one knows 1"
    )
    assert said.endswith("-m pip install -U kubernaut-infra")
