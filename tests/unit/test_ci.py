"""What CI runs: the matrix and the workflow, from the catalogue and from one template."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from given import CATALOG, ROOT, catalog_copy, edited

from infra.catalog.loading import load
from infra.errors import Invalid
from infra.matrix import chosen
from infra.model import Tier
from infra.workflow import workflow

SUITE = 'suite = { runner = "gotestsum", packages = ["./..."], timeout = "5m" }\n'
OURS = ROOT / ".github" / "workflows" / "suites.yml"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


def sessions(services: str = "", tiers: str = "", languages: str = "") -> list[str]:
    found = chosen(load(CATALOG), services=services, tiers=tiers, languages=languages)
    return [one.as_json()["session"] for one in found]


def test_the_matrix_has_every_suite_that_can_run_and_no_other() -> None:
    assert len(sessions()) == 18
    assert not [one for one in sessions() if one.startswith("e2e-")]
    assert "e2e" in load(CATALOG).services["gateway"].tiers


def test_each_entry_has_the_fields_of_the_contract() -> None:
    (entry,) = [one.as_json() for one in chosen(load(CATALOG), services="gateway", tiers="integration")]
    assert entry == {
        "session": "integration-gateway",
        "service": "gateway",
        "tier": "integration",
        "language": "go",
        "timeout_minutes": 31,
    }


def test_a_timeout_is_made_of_what_the_catalogue_allows(tmp_path: Path) -> None:
    catalog = catalog_copy(tmp_path)
    with edited(catalog / "services" / "gateway.toml", 'timeout = "15m"', 'timeout = "45m"'):
        (entry,) = chosen(load(catalog), services="gateway", tiers="integration")
    assert entry.as_json()["timeout_minutes"] == 61


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ({"services": "gateway"}, ["unit-gateway", "integration-gateway"]),
        ({"services": "gateway, notification", "tiers": "unit"}, ["unit-gateway", "unit-notification"]),
        ({"languages": "python"}, ["unit-holmesgpt-api", "integration-holmesgpt-api"]),
        ({"tiers": "e2e"}, []),
        ({"services": "gateway", "languages": "python"}, []),
    ],
)
def test_a_selection_is_by_service_tier_and_language(selection: dict[str, str], found: list[str]) -> None:
    assert sessions(**selection) == found


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        ({"services": "gatway"}, 'unknown service "gatway"; did you mean "gateway"?'),
        ({"tiers": "unit,integraton"}, 'unknown tier "integraton"; did you mean "integration"?'),
        ({"languages": "rust"}, 'no service is written in "rust" (known: go, python)'),
    ],
)
def test_a_name_that_nothing_has_is_refused(selection: dict[str, str], says: str) -> None:
    with pytest.raises(Invalid, match=re.escape(says)):
        sessions(**selection)


def invoke(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "invoke", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_matrix_is_one_line_of_json_for_an_output_of_a_step() -> None:
    done = invoke("ci.matrix", "--tier", "unit", "--json")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert len(json.loads(done.stdout)["include"]) == 9


def test_a_wrong_selection_is_one_message_and_78() -> None:
    done = invoke("ci.matrix", "--service", "gatway")
    assert (done.returncode, done.stdout) == (78, "")
    said = 'invalid: unknown service "gatway"; did you mean "gateway"?'
    assert done.stderr.startswith(f"{said}; to do: invoke ci.matrix --service gateway  # there are: ")


def test_the_repositorys_own_workflow_is_what_it_prints() -> None:
    done = invoke("ci.workflow")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == OURS.read_text(encoding="utf-8"), "invoke ci.workflow > .github/workflows/suites.yml"
    assert list(OURS.parent.iterdir()) == [OURS]


BRANCHES = (
    "main",
    "release+1",
    "feature/#7",
    "+a+b",
    "!a",
    "é/ä",
    'x"]',
    "a'b",
    "${{x}}",
    "@VERSION@",
    "@BRANCH@",
    "1]",
)
NO_BRANCHES = (
    *("", "-a", ".a", "/a", "a/", "a.", "a..b", "a//b", "a/.b", "a.lock", "a.lock/b", "a@{b", "a b", "a\tb", "a\x7fb"),
    *("a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b", "a\n", 'x"]\npermissions: write-all'),
)


@pytest.mark.parametrize("branch", [*BRANCHES, *NO_BRANCHES])
def test_a_branch_is_what_git_takes_and_stands_in_the_workflow_as_itself(branch: str, tmp_path: Path) -> None:
    argv = ["git", "check-ref-format", "--branch", branch]
    taken = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert taken == (branch in BRANCHES)
    if not taken:
        with pytest.raises(Invalid, match="is no name of a branch"):
            workflow(tmp_path, branch=branch)
        return
    (pattern,) = read(workflow(tmp_path, branch=branch))["on"]["push"]["branches"]
    # GitHub reads a pattern, in which a backslash takes its meaning from what would be one.
    assert re.sub(r"\\([!+])", r"\1", pattern) == branch
    assert not re.search(r"^!|(?<!\\)\+", pattern)
    assert workflow(tmp_path, branch=branch).count("\n") == workflow(tmp_path).count("\n")


@pytest.fixture(params=["ours", "adopters"])
def printed(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return workflow(ROOT) if request.param == "ours" else workflow(tmp_path, branch="release+1")


def test_actionlint_passes(printed: str, tmp_path: Path) -> None:
    file = tmp_path / "suites.yml"
    file.write_text(printed)
    env = os.environ | {"GOFLAGS": ""}
    argv = ["go", "run", ACTIONLINT, "-color=false", str(file)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300, env=env)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def read(printed: str) -> dict[str, Any]:
    return dict(yaml.load(printed, yaml.BaseLoader))


def steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job["steps"]]


def test_nothing_of_the_template_is_left_in_it(printed: str) -> None:
    assert not re.search(r"^\s*#[\[\]]|@[A-Z]+@", printed, re.M)


def test_it_reads_the_code_and_nothing_else(printed: str) -> None:
    document = read(printed)
    assert document["permissions"] == {"contents": "read"}
    assert not [name for name, job in document["jobs"].items() if "permissions" in job]
    assert not re.search(r"\bsecrets\.|GITHUB_TOKEN|github\.token|pull_request_target", printed)
    checkouts = [step for step in steps(document) if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(document["jobs"])
    assert {step["with"]["persist-credentials"] for step in checkouts} == {"false"}


def test_actions_are_pinned_with_their_version_beside(printed: str) -> None:
    uses = re.findall(r"uses: (.+)", printed)
    assert uses
    assert [use for use in uses if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


def test_no_expression_is_part_of_a_script(printed: str) -> None:
    assert [step["run"] for step in steps(read(printed)) if "${{" in step.get("run", "")] == []


def test_a_newer_push_cancels_and_one_failure_cancels_nothing(printed: str) -> None:
    document = read(printed)
    assert document["concurrency"]["cancel-in-progress"] == "true"
    for tier in get_args(Tier):
        job = document["jobs"][tier]
        assert job["strategy"]["fail-fast"] == "false"
        assert job["strategy"]["matrix"] == f"${{{{ fromJson(needs.plan.outputs.{tier}) }}}}"
        assert job["timeout-minutes"] == "${{ matrix.timeout_minutes }}"
    assert all("timeout-minutes" in job for job in document["jobs"].values())


def test_the_jobs_run_what_the_matrix_has_each_tier_of_it(printed: str, tmp_path: Path) -> None:
    """An adopter's tier e2e, whose target is the default, `podman`: the plan's own script asks for it."""
    catalog = catalog_copy(tmp_path)
    gateway = catalog / "services" / "gateway.toml"
    with edited(gateway, 'target = "kind"\n', ""):
        found = [one.as_json() for one in chosen(load(catalog))]
        outputs = asked_by_plan(printed, tmp_path, catalog)
    assert "e2e-gateway" in [one["session"] for one in found]
    run = {tier: json.loads(outputs[tier])["include"] for tier in get_args(Tier)}
    assert [one for one in found if one not in [row for rows in run.values() for row in rows]] == []
    document = read(printed)
    for tier, rows in run.items():
        assert {row["tier"] for row in rows} == {tier}
        assert document["jobs"]["plan"]["outputs"][tier] == f"${{{{ steps.matrix.outputs.{tier} }}}}"
        assert f"needs.plan.outputs.{tier}, 'session')" in document["jobs"][tier]["if"]


def test_where_no_suite_has_a_stack_no_job_is_there_for_its_images(printed: str, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    (catalog / "services").mkdir(parents=True)
    (catalog / "services" / "a.toml").write_text('language = "go"\n[tiers.integration]\n' + SUITE)
    outputs = asked_by_plan(printed, tmp_path, catalog)
    assert "session" in outputs["integration"]
    assert json.loads(outputs["images"]) == {"include": []}
    assert "session" in asked_by_plan(printed, tmp_path / "ours", CATALOG)["images"]


def asked_by_plan(printed: str, tmp_path: Path, catalog: Path) -> dict[str, str]:
    """Run the step of the plan that asks the catalogue; return its outputs."""
    (script,) = [step["run"] for step in steps(read(printed)) if step.get("id") == "matrix"]
    root, outputs = tmp_path / "adopter", tmp_path / "outputs"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "tasks.py").write_text("from infra.tasks import namespace\n")
    program = root / ".venv" / "bin" / "invoke"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m invoke "$@"\n')
    program.chmod(0o755)
    env = os.environ | {"GITHUB_OUTPUT": str(outputs), "INFRA_CATALOG": str(catalog), "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=root, env=env, check=True, timeout=120)
    return dict(line.split("=", 1) for line in outputs.read_text().splitlines())


def test_the_images_are_those_of_all_jobs_that_load_them(printed: str) -> None:
    jobs = read(printed)["jobs"]
    loads = [name for name, job in jobs.items() if "IMAGES" in job.get("env", {})]
    assert loads == [tier for tier in get_args(Tier) if tier != "unit"]
    (saved,) = [step["run"] for step in jobs["images"]["steps"] if "images.save" in step.get("run", "")]
    assert f"--tier {','.join(loads)} " in saved
    assert jobs["images"]["if"] == "contains(needs.plan.outputs.images, 'session')"
    assert jobs["plan"]["outputs"]["images"] == "${{ steps.matrix.outputs.images }}"
    assert all(jobs[name]["needs"] == ["plan", "images"] for name in loads)


def test_a_suite_is_what_the_runner_signals_and_what_is_left_is_always_removed_and_kept(printed: str) -> None:
    by_name = {step.get("name"): step for step in read(printed)["jobs"]["integration"]["steps"]}
    order = list(by_name)
    assert by_name["Run the suite"]["run"] == 'exec .venv/bin/nox -s "$SESSION"'
    assert by_name["Remove what is left"]["run"] == "exec .venv/bin/invoke infra.gc"
    assert by_name["Remove what is left"]["if"].startswith("always()")
    assert by_name["Keep the run directory"]["if"] == "failure() || cancelled()"
    assert by_name["Keep JUnit"]["if"] == "always()"
    assert order.index("Run the suite") < order.index("Remove what is left") < order.index("Keep the run directory")
    assert by_name["Caches of pip and Go"]["with"]["path"].split() == [
        "~/.cache/pip",
        "~/go/pkg/mod",
        "~/.cache/go-build",
    ]
    hidden = [by_name[name]["with"]["include-hidden-files"] for name in ("Keep the run directory", "Keep JUnit")]
    assert hidden == ["true", "true"], "a run directory is below .infra"


def test_an_adopter_installs_the_wheel_and_has_no_checks_of_this_house(tmp_path: Path) -> None:
    text = workflow(tmp_path)
    document = read(text)
    assert list(document["jobs"]) == ["plan", "images", "unit", "integration", "e2e"]
    assert "requirements.lock'" in text
    assert "noxfile.py -s bootstrap" not in text
    assert text.count(".venv/bin/pip install") == 3
    assert list(read(workflow(ROOT))["jobs"]) == ["checks", "plan", "images", "unit", "integration", "e2e"]


def installed(tmp_path: Path) -> Path:
    """The python of an adopter's .venv, in which this is a package among others."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv")], check=True)
    (library,) = (tmp_path / ".venv").glob("lib/python*/site-packages")
    shutil.copytree(ROOT / "infra", library / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    (library / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return tmp_path / ".venv" / "bin" / "python"


def test_a_lock_file_and_a_folder_of_an_adopters_own_are_not_this_houses(tmp_path: Path) -> None:
    python = installed(tmp_path)

    def printed() -> str:
        program = "from pathlib import Path; from infra.workflow import workflow; print(workflow(Path()), end='')"
        argv = [str(python), "-c", program]
        return subprocess.run(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout

    plain = printed()
    assert plain.count(".venv/bin/pip install") == 3
    (tmp_path / "requirements.lock").write_text("flask==3\n")
    (tmp_path / ".ci" / "run").mkdir(parents=True)
    assert printed() == plain
    (tmp_path / ".ci" / "run").rmdir()
    (tmp_path / ".ci" / "run").write_text("#!/bin/sh\n")
    assert list(read(printed())["jobs"]) == ["checks", *read(plain)["jobs"]]


@pytest.mark.parametrize(
    ("given", "says", "remedy"),
    [
        ({}, "the catalogue has no service: there are no images", "infra-init  # begins one"),
        (
            {"a": 'language = "go"\nstack = []\n[tiers.unit]\n' + SUITE},
            "no service of the catalogue has a stack: there are no images",
            "${{EDITOR:-vi}} {catalog}/services/a.toml  # stack: the components",
        ),
        (
            {
                "a": 'language = "go"\n[tiers.unit]\n' + SUITE,
                "b": 'language = "go"\nstack = ["redis"]\nports = { redis = 16400 }\n[tiers.e2e]\n' + SUITE,
            },
            "none of the chosen tiers has a stack: there are no images",
            "invoke images.save --file x.tar\n",
        ),
    ],
)
def test_where_there_are_no_images_to_save_the_command_is_another_one(
    given: dict[str, str], says: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "services").mkdir()
    for name, text in given.items():
        (tmp_path / "services" / f"{name}.toml").write_text(text)
    (tmp_path / "tasks.py").write_text("from infra.tasks import namespace\n")
    argv = [sys.executable, "-m", "invoke", "images.save", "--file", "x.tar", *(["--service", "a"] if given else [])]
    env = os.environ | {"INFRA_CATALOG": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"invalid: {says}; to do: {remedy.format(catalog=tmp_path)}")
