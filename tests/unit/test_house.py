"""The rules of the house: imports go one way, one module per foreign library, sizes, docstrings, names."""

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from given import ROOT

# From the ground up: a module imports from its own layer or from those above it in this list, never from below.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "words",
        (
            "infra",
            "infra.catalog",
            "infra.engine",
            "infra.reporters",
            "infra.errors",
            "infra.placeholders",
            "infra.labels",
            "infra.lease_names",
            "infra.run_names",
            "infra.away",
            "infra.commands",
            "infra.tools",
            "infra.catalog.names",
            "infra.engine.types",
            "infra.values",
            "infra.masking",
            "infra.bounded",
            "infra.lock",
            "infra.runners",
            "infra.causes",
            "infra.causes.facts",
            "infra.causes.rules",
            "infra.causes.arguments",
            "infra.causes.databases",
            "infra.causes.endings",
            "infra.causes.engines",
            "infra.causes.hosts",
            "infra.causes.images",
            "infra.causes.network",
            "infra.causes.runs",
            "infra.causes.starting",
            "infra.causes.suites",
            "infra.causes.table",
            "infra.cgroups",
            "infra.killings",
            "infra.sampled",
        ),
    ),
    (
        "catalogue",
        (
            "infra.model",
            "infra.devstack",
            "infra.catalog.explaining",
            "infra.catalog.declared",
            "infra.catalog.extending",
            "infra.catalog.checks",
            "infra.catalog.loading",
            "infra.catalog.schema",
            "infra.catalog.schema.__main__",
            "infra.init",
            "infra.workers",
            "infra.workspace",
            "infra.migrations",
            "infra.settings",
            "infra.retry",
            "infra.matrix",
            "infra.rundir",
            "infra.content",
            "infra.signals",
        ),
    ),
    ("plan", ("infra.plan", "infra.devplan", "infra.report", "infra.ending", "infra.request")),
    (
        "observers",
        (
            "infra.watch",
            "infra.masked_report",
            "infra.reporters.console",
            "infra.reporters.files",
            "infra.reporters.github",
            "infra.reporters.output",
            "infra.runners.places",
            "infra.runners.program",
            "infra.runners.ginkgo",
            "infra.runners.gotestsum",
            "infra.runners.pytest",
            "infra.verdict",
            "infra.suites",
            "infra.venvs",
        ),
    ),
    (
        "engine",
        (
            "infra.engine.names",
            "infra.engine.answers",
            "infra.engine.bodies",
            "infra.engine.host",
            "infra.engine.store",
            "infra.engine.sockets",
            "infra.engine.transport",
            "infra.engine.client",
            "infra.engine.last_lines",
            "infra.engine.discover",
        ),
    ),
    (
        "ownership",
        (
            "infra.processes",
            "infra.forwardings",
            "infra.firewall",
            "infra.remnants",
            "infra.buildah",
            "infra.kept",
            "infra.sweep",
            "infra.reaper",
            "infra.lease",
            "infra.cache",
            "infra.disks",
            "infra.evidence",
            "infra.registry",
        ),
    ),
    (
        "steps",
        (
            "infra.probes",
            "infra.diagnose",
            "infra.sampling",
            "infra.readiness",
            "infra.ports",
            "infra.build",
            "infra.images",
            "infra.handover",
            "infra.stack",
            "infra.databases",
            "infra.applied",
            "infra.redis_numbers",
            "infra.isolation",
            "infra.scene",
        ),
    ),
    (
        "doctor",
        (
            "infra.doctor",
            "infra.doctor.checks",
            "infra.doctor.facts",
            "infra.doctor.reach",
            "infra.doctor.wants",
            "infra.doctor.host",
            "infra.doctor.machine",
            "infra.doctor.engine",
            "infra.doctor.examine",
            "infra.doctor.fixes",
            "infra.doctor.start",
        ),
    ),
    (
        "run",
        (
            "infra.consumer",
            "infra.holding",
            "infra.run",
            "infra.devlook",
            "infra.lasting",
            "infra.clearing",
            "infra.development",
            "infra.lending",
            "infra.execute",
            "infra.attempts",
            "infra.status",
            "infra.components",
        ),
    ),
    (
        "entries",
        (
            "infra.bootstrap",
            "infra.sessions",
            "infra.serve",
            "infra.starter",
            "infra.pytest_plugin",
            "infra.pytest_components",
            "infra.tasks",
            "infra.tasks.__main__",
            "infra.tasks.common",
            "infra.tasks.dev",
            "infra.tasks.ci",
            "infra.workflow",
            "infra.tasks.doctor",
            "infra.tasks.explain",
            "infra.tasks.components",
            "infra.tasks.removal",
            "infra.tasks.images",
            "infra.tasks.init",
            "infra.init.__main__",
            "infra.tasks.infra",
            "infra.tasks.suite",
        ),
    ),
)
LEVEL = {module: level for level, (_, modules) in enumerate(LAYERS) for module in modules}

# Who may import what is not ours. What is not named here may be imported by nobody.
FOREIGN = {
    "podman": {"infra.engine.transport"},
    "requests": {"infra.engine.discover", "infra.engine.transport", "infra.engine.client", "infra.probes"},
    "psycopg": {"infra.probes", "infra.databases"},
    "redis": {"infra.redis_numbers"},
    "pytest": {"infra.pytest_plugin", "infra.pytest_components"},
    "tenacity": {"infra.readiness"},
    "pydantic": {"infra.values", "infra.model", "infra.devstack", "infra.catalog.loading", "infra.catalog.explaining"},
    "rich": {"infra.reporters.console", "infra.tasks.common", "infra.serve"},
    "invoke": {
        "infra.tasks",
        "infra.tasks.dev",
        "infra.tasks.doctor",
        "infra.tasks.explain",
        "infra.tasks.ci",
        "infra.tasks.__main__",
        "infra.tasks.components",
        "infra.tasks.removal",
        "infra.tasks.images",
        "infra.tasks.init",
        "infra.tasks.infra",
        "infra.tasks.suite",
    },
    "nox": {"infra.sessions"},
    "tomli_w": {"infra.engine.host"},
    "psutil": {
        "infra.labels",
        "infra.forwardings",
        "infra.processes",
        "infra.sweep",
        "infra.ports",
        "infra.scene",
        "infra.buildah",
        "infra.reaper",
    },
    "subprocess": {
        "infra.bootstrap",
        "infra.tools",
        "infra.commands",
        "infra.content",
        "infra.firewall",
        "infra.labels",
        "infra.lease",
        "infra.reaper",
        "infra.registry",
        "infra.engine.discover",
        "infra.starter",
        "infra.doctor.facts",
        "infra.doctor.machine",
        "infra.pytest_components",
    },
}
STANDARD_ONLY = ("infra.catalog.names", "infra.errors", "infra.tools", "infra.bootstrap")
# The reaper is a program of its own; what it says goes to the run's log.
SPEAKERS = (
    "infra.tasks.",
    "infra.bootstrap",
    "infra.catalog.schema.__main__",
    "infra.sessions",
    "infra.serve",
    "infra.pytest_plugin",
    "infra.reaper",
    "infra.reporters.output",
)


def files() -> dict[str, Path]:
    """The modules of the product by name."""
    found = {}
    for path in sorted((ROOT / "infra").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = files()


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Everything that a module imports, wherever in it, as full names."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def ours(module: str) -> set[str]:
    return {name for name in imported(module) if name in MODULES} - {module}


def test_every_module_has_a_layer() -> None:
    assert sorted(MODULES) == sorted(LEVEL), "a new module is put into LAYERS, and a removed one taken out"


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    if module not in LEVEL:
        pytest.skip("has no layer: another test says so")
    wrong = [f"{module} -> {name}" for name in ours(module) if LEVEL.get(name, 0) > LEVEL[module]]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, f"a cycle: {' -> '.join((*above[above.index(module) :], module))}"
        if module not in done:
            for name in sorted(ours(module)):
                visit(name, (*above, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("library", FOREIGN)
def test_one_place_for_each_foreign_library(library: str) -> None:
    users = {module for module in MODULES for name in imported(module) if name.partition(".")[0] == library}
    assert users - FOREIGN[library] == set()


def test_no_other_library_is_imported_by_anybody() -> None:
    import sys

    known = set(sys.stdlib_module_names) | set(FOREIGN) | {"infra"}
    strangers = {
        (module, name) for module in MODULES for name in imported(module) if name.partition(".")[0] not in known
    }
    assert strangers == set()


def reached(module: str) -> set[str]:
    """All modules that importing one brings in."""
    found, waiting = {module}, [module]
    while waiting:
        new = ours(waiting.pop()) - found
        found |= new
        waiting += new
    return found


@pytest.mark.parametrize("module", STANDARD_ONLY)
def test_what_runs_before_anything_is_installed_needs_the_standard_library_alone(module: str) -> None:
    libraries = set(FOREIGN) - {"subprocess"}
    wanted = {name for one in reached(module) for name in imported(one) if name.partition(".")[0] in libraries}
    assert wanted == set()


@pytest.mark.parametrize(
    "module",
    ["infra.plan", "infra.catalog.loading", "infra.report", "infra.verdict", "infra.runners.pytest", "infra.workers"],
)
def test_what_is_pure_never_reaches_the_engine_or_a_process(module: str) -> None:
    assert not [name for name in reached(module) if name.startswith("infra.engine.") or name == "infra.commands"]
    assert "subprocess" not in {name for one in reached(module) for name in imported(one)}


def speech(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module}:{node.lineno}: print"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in (("sys", "stdout"), ("sys", "stderr"))
        ):
            yield f"{module}:{node.lineno}: sys.{node.attr}"


def test_only_tasks_and_sessions_print() -> None:
    assert [said for module in MODULES if not module.startswith(SPEAKERS) for said in speech(module)] == []


def test_nobody_leaves_in_the_middle() -> None:
    leaving = [
        f"{module}:{node.lineno}"
        for module in MODULES
        if not module.startswith(SPEAKERS)
        for node in ast.walk(tree(module))
        if (isinstance(node, ast.Attribute) and node.attr in ("exit", "_exit"))
        or (isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc))
    ]
    assert leaving == []


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_300_lines(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 300


Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], prefix: str, *, observer: bool) -> Iterator[tuple[str, Documented]]:
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            overrides = isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id == "Reporter" for base in node.bases
            )
            if not observer:
                yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                # An observer's methods are described once, where they do nothing.
                yield from public(node.body, f"{prefix}.{node.name}", observer=overrides)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree(module)), f"{module} has no docstring"
    found = public(tree(module).body, module, observer=False)
    assert [name for name, node in found if not ast.get_docstring(node)] == []


def test_nothing_in_the_runner_knows_its_first_user() -> None:
    words = re.compile(
        r"data.?storage|notification|kubernaut|action_history|slm_user|audit|holmesgpt|context.?api",
        re.IGNORECASE,
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in MODULES.values()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if words.search(line) and line != 'PREFIX = "dev.kubernaut.infra"'
    ]
    assert found == []


def test_no_component_and_no_command_can_have_the_name_of_a_step_of_every_run() -> None:
    from infra.catalog.checks import STEPS

    steps = {
        node.args[0].value
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "step"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert steps >= {"engine", "suite", "teardown", "template", "workers", "requirements"}
    assert steps - set(STEPS) == set()


def test_no_test_patches_what_it_tests() -> None:
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            if "mock" in f"{module}.{'.'.join(names)}".split("."):
                found.append(f"{path}: mock")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
                found.append(f"{path}:{node.lineno}: setattr")
            if isinstance(node, ast.arg) and node.arg == "mocker":
                found.append(f"{path}:{node.lineno}: mocker")
    assert found == []


def test_readmes_first_block_is_two_lines_of_sh() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block[1] == "sh"
    lines = block[2].splitlines()
    assert len(lines) == 2
    assert all(line.strip() and not line.startswith("#") for line in lines)
    assert len(text.splitlines()) < 150


def test_ci_runs_readmes_second_line() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!")


@pytest.mark.parametrize(
    "name", ["noxfile.py", "tasks.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"]
)
def test_the_top_level_is_that_of_the_contract(name: str) -> None:
    assert (ROOT / name).is_file()
