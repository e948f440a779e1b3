"""What is released: the wheel and the sdist as they are built, every file of them."""

import json
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
from given import ROOT
from packaging.requirements import Requirement

import infra

# Beside the modules. A new one is named here, or it is not in the wheel on purpose.
DATA = (
    "infra/py.typed",
    "infra/causes/pages.md",
    "infra/workflow.yml",
    "infra/catalog/components/datastorage.toml",
    "infra/catalog/components/holmesgpt-api.toml",
    "infra/catalog/components/migrations.toml",
    "infra/catalog/components/postgres.toml",
    "infra/catalog/components/redis.toml",
    "infra/catalog/local/debian.toml",
    "infra/catalog/local/golang.Containerfile",
    "infra/catalog/local/golang.toml",
    "infra/catalog/local/pgvector-entrypoint.sh",
    "infra/catalog/local/pgvector.Containerfile",
    "infra/catalog/local/pgvector.toml",
    "infra/catalog/local/python.Containerfile",
    "infra/catalog/local/python.toml",
    "infra/catalog/local/redis-entrypoint.sh",
    "infra/catalog/local/redis.Containerfile",
    "infra/catalog/local/redis.toml",
    "infra/catalog/schema/component.schema.json",
    "infra/catalog/schema/dev.schema.json",
    "infra/catalog/schema/recipe.schema.json",
    "infra/catalog/schema/service.schema.json",
    "infra/init/templates/both/.gitignore.txt",
    "infra/init/templates/both/noxfile.py.txt",
    "infra/init/templates/both/tasks.py.txt",
    "infra/init/templates/go/catalog/components/redis.toml.txt",
    "infra/init/templates/go/catalog/services/shop.toml.txt",
    "infra/init/templates/go/go.mod.txt",
    "infra/init/templates/go/go.sum.txt",
    "infra/init/templates/go/test/integration/shop/suite_test.go.txt",
    "infra/init/templates/python/catalog/components/postgres.toml.txt",
    "infra/init/templates/python/catalog/services/shop.toml.txt",
    "infra/init/templates/python/tests/integration/shop/requirements.txt.txt",
    "infra/init/templates/python/tests/integration/shop/test_shop.py.txt",
)
MODULES = [str(path.relative_to(ROOT)) for path in (ROOT / "infra").rglob("*.py")]
NAME = f"kubernaut_infra-{infra.__version__}"
INFO = [f"{NAME}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")]
# hatchling puts .gitignore beside what is asked for, so that a wheel is the same when it is built from there.
BESIDE = (".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml")


def build(source: Path, target: Path, *words: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target), *words]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"), "--target", "wheel", "--target", "sdist")


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def metadata(dist: Path) -> dict[str, str]:
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as archive:
        return dict(HeaderParser().parsestr(archive.read(f"{NAME}.dist-info/METADATA").decode()).items())


def test_the_wheel_holds_what_it_needs_and_nothing_else(dist: Path) -> None:
    assert names(dist / f"{NAME}-py3-none-any.whl") == sorted([*MODULES, *DATA, *INFO])


def test_the_sdist_holds_what_the_wheel_is_built_from_and_nothing_else(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        held = sorted(archive.getnames())
        archive.extractall(tmp_path, filter="data")
    assert held == sorted(f"{NAME}/{name}" for name in (*MODULES, *DATA, *BESIDE))
    again = build(tmp_path / NAME, tmp_path / "again", "--target", "wheel")
    assert names(again / f"{NAME}-py3-none-any.whl") == names(dist / f"{NAME}-py3-none-any.whl")


def test_the_version_is_written_in_one_place(dist: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "infra/__init__.py"}
    assert metadata(dist)["Version"] == infra.__version__


def test_who_installs_it_gets_what_it_imports_and_no_tool_of_its_developers(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as archive:
        lines = archive.read(f"{NAME}.dist-info/METADATA").decode().splitlines()
        points = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
    wanted = {Requirement(line.partition(":")[2]).name for line in lines if line.startswith("Requires-Dist:")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wanted == {Requirement(line).name for line in project["dependencies"]}
    assert "infra-init = infra.init.__main__:main" in points
    assert "infra = infra.pytest_plugin" in points


REMEDIES = """
import json
from infra.catalog.names import upgrade
from infra.causes.facts import Facts
from infra.causes.table import BY_REFERENCE, find
from infra.doctor import engine, host
from infra.tools import not_installed
found = find(Facts(doing="gate", step="job", said="could not find slirp4netns"))
checks = (engine.version("1.0.0"), host.go("", (), ()), host.python("", pytest=False))
print(json.dumps({
    "bootstrap": [not_installed("no-such-tool").remedy, found.remedy, *(one.fix for one in checks)],
    "hints": [BY_REFERENCE[name].shown_hint for name in ("tool-missing", "runtime-unfit", "unknown-session")],
    "upgrade": upgrade(),
}))
"""


def said(python: Path, folder: Path, path: str = "") -> dict[str, Any]:
    env = {"PYTHONPATH": path} if path else {}
    done = subprocess.run([python, "-c", REMEDIES], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_remedies_name_a_python_that_has_it_where_it_is_installed(dist: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as archive:
        archive.extractall(packages)
    (packages / "what-it-imports.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "venv/bin/python"
    told = said(python, tmp_path)
    assert [one.partition("  # ")[0] for one in told["bootstrap"]] == [f"{python} -m nox -s bootstrap"] * 5
    assert [one.removeprefix(f"{python} -m nox -") for one in told["hints"]] == [
        "s bootstrap  # installs it, or says how",
        "s bootstrap && unset CONTAINER_HOST  # installs runc, which a run's own service uses",
        "l  # the sessions that there are",
    ]
    assert told["upgrade"] == f"{python} -m pip install -U {metadata(dist)['Name']}"


def test_a_user_who_has_installed_it_has_no_checkout(dist: Path, tmp_path: Path) -> None:
    scheme = sysconfig.get_preferred_scheme("user")
    packages = Path(sysconfig.get_path("purelib", scheme, {"userbase": str(tmp_path)}))
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as archive:
        archive.extractall(packages)
    program = "from infra.catalog import names; print(names.__file__, names.is_installed())"
    python = getattr(sys, "_base_executable", sys.executable)
    env = {"PYTHONUSERBASE": str(tmp_path)}
    done = subprocess.run([python, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(packages / "infra/catalog/names.py"), "True"]


def test_remedies_of_a_checkout_are_its_noxfile_and_a_pull_there(tmp_path: Path) -> None:
    told = said(Path(sys.executable), tmp_path, str(ROOT))
    assert [one.partition("  # ")[0] for one in told["bootstrap"]] == ["python3 noxfile.py -s bootstrap"] * 5
    assert told["hints"][2] == "python3 noxfile.py -l  # the sessions that there are"
    assert told["upgrade"] == f"git -C {ROOT} pull"
