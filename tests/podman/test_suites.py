"""Suites that end in every way there is, through the real command line, with Redis as their stack or none at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import WORKSPACE, Done, Podman, Project, free_ports, new_run, redis_catalog, step_names, suite, without

RUNNER = "./test/runner"
NO_STACK = "stack = []\n"
AT_A_TIME = 3
SERVICES = {
    "failing": suite(f"{RUNNER}/failing"),
    "skipping": suite(f"{RUNNER}/skipping"),
    "allowing": NO_STACK
    + suite(
        f"{RUNNER}/skipping",
        f"{RUNNER}/pending",
        more='allowed_skips = ["Without DataStorage writes an event", "Without DataStorage reads an event"]',
    ),
    "pending": suite(f"{RUNNER}/pending"),
    "hanging": suite(f"{RUNNER}/hanging", timeout="12s"),
    "broken": NO_STACK + suite(f"{RUNNER}/testdata/broken"),
    "beforesuite": suite(f"{RUNNER}/beforesuite"),
    "crash": NO_STACK + suite(f"{RUNNER}/crash"),
    "misnamed": NO_STACK + suite(f"{RUNNER}/no-such-package"),
    "fewer": NO_STACK + suite(f"{RUNNER}/pending"),
    "words": NO_STACK
    + suite(
        "./pending",
        tier=(
            'cwd = "test/runner"\npath = ["../../tools"]\nunset = ["GIVEN_BY_THE_HOST"]\n'
            'env = { GIVEN = "run {run} of {service}" }\n'
            'before = [{ name = "generate", command = ["show-words", "{service}"] }]\n'
        ),
    ),
    "refusing": suite(
        f"{RUNNER}/pending",
        tier='before = [{ name = "generate", command = ["sh", "-c", "echo no generator here >&2; exit 3"] }]\n',
    ),
    "slow-before": NO_STACK
    + suite(f"{RUNNER}/pending", tier='before = [{ name = "wait", command = ["sleep", "60"], timeout = "300ms" }]\n'),
    "toolless": NO_STACK
    + suite(f"{RUNNER}/pending", tier='before = [{ name = "generate", command = ["no-such-tool-here"] }]\n'),
}
ARGS = {"fewer": ("--", "--focus=matches nothing at all")}


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    done: Done
    report: dict[str, Any]
    folder: Path
    left: list[str]

    @property
    def cause(self) -> dict[str, Any]:
        return dict(self.report["cause"] or {})

    @property
    def end(self) -> tuple[int, str, str | None]:
        return self.done.code, self.report["outcome"], self.cause.get("reference")

    def log(self, name: str) -> str:
        return (self.folder / "logs" / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services(warm: Project, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One catalogue with a service for each way to end, over the real workspace's `test/runner`."""
    folder = tmp_path_factory.mktemp("suites")
    catalog = redis_catalog(folder / "catalog", SERVICES, free_ports(1)[0])
    workspace = folder / "workspace"
    workspace.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(WORKSPACE / name, workspace)
    shutil.copytree(
        WORKSPACE / "test" / "runner", workspace / "test" / "runner", ignore=shutil.ignore_patterns("*.test")
    )
    tool = workspace / "tools" / "show-words"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$1: ${GIVEN_BY_THE_HOST-unset}, $GIVEN, in ${PWD##*/}"\n', encoding="utf-8")
    tool.chmod(0o755)
    return make_project(catalog=catalog, workspace=workspace)


@pytest.fixture(scope="module")
def ended(services: Project, podman: Podman) -> Iterator[Callable[[str], Ended]]:
    """All runs, several at a time; each test waits for its own."""

    def one(service: str) -> Ended:
        run = new_run()
        words = ("suite.run", "--service", service, "--ports", "auto", "--run", run, *ARGS.get(service, ()))
        done = services.invoke(*words, GIVEN_BY_THE_HOST="yes")
        return Ended(done, services.report(run), services.runs / run, podman.left_of(run))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures: dict[str, Future[Ended]] = {service: pool.submit(one, service) for service in SERVICES}
        yield lambda service: futures[service].result(200)


@pytest.mark.parametrize(
    ("service", "code", "outcome", "reference", "blame"),
    [
        ("failing", 1, "failed", "tests-failed", "test"),
        ("skipping", 1, "failed", "unexpected-skip", "test"),
        ("allowing", 0, "passed", None, None),
        ("pending", 0, "passed", None, None),
        ("hanging", 1, "failed", "suite-hung", "test"),
        ("broken", 1, "failed", "suite-does-not-compile", "test"),
        ("beforesuite", 1, "failed", "suite-setup-failed", "test"),
        ("misnamed", 1, "failed", "no-suite-found", "user"),
        ("fewer", 1, "failed", "no-test-ran", "test"),
        ("words", 0, "passed", None, None),
        ("refusing", 1, "failed", "before-suite-command-failed", "test"),
        ("slow-before", 1, "failed", "before-suite-command-failed", "test"),
        ("toolless", 69, "unavailable", "tool-missing", "user"),
    ],
)
def test_a_suite_ends_with_its_outcome_its_reference_and_its_blame(
    ended: Callable[[str], Ended], service: str, code: int, outcome: str, reference: str | None, blame: str | None
) -> None:
    run = ended(service)
    assert (*run.end, run.report["blame"]) == (code, outcome, reference, blame), run.done.text
    assert run.report["exit_code"] == code
    assert run.left == []


def test_a_failing_suite_names_the_spec_and_where_it_is(ended: Callable[[str], Ended]) -> None:
    run = ended("failing")
    assert run.cause["message"] == "1 of 2 tests failed, first: Arithmetic gets a sum wrong"
    assert "test/runner/failing/suite_test.go  # line 19" in run.cause["remedy"]
    assert {key: run.report["suite"][key] for key in ("tests", "passed", "failed", "skipped")} == {
        "tests": 2,
        "passed": 1,
        "failed": 1,
        "skipped": 0,
    }
    said = next(line for line in run.done.lines if line.startswith("failed: "))
    assert said == f"failed: suite: {run.cause['message']}; to do: {run.cause['remedy']}"


def test_specs_that_skip_themselves_are_named(ended: Callable[[str], Ended]) -> None:
    run = ended("skipping")
    assert "no datastorage" in run.cause["message"]
    assert sorted(run.report["suite"]["unexpected_skips"]) == [
        "Without DataStorage reads an event",
        "Without DataStorage writes an event",
    ]


def test_a_pending_spec_is_counted_as_skipped_and_forgiven(ended: Callable[[str], Ended]) -> None:
    suite_of = ended("pending").report["suite"]
    assert (suite_of["tests"], suite_of["passed"], suite_of["skipped"]) == (2, 1, 1)


def test_a_suite_that_hangs_says_where(ended: Callable[[str], Ended]) -> None:
    run = ended("hanging")
    assert "did not end within 12 s" in run.cause["message"]
    told = "\n".join(run.cause["evidence"])
    assert "A spec sleeps for a day" in told
    assert "time.Sleep" in told
    assert "test/runner/hanging/suite_test.go:18" in told
    assert "time.Sleep" in run.log("suite.log")


def test_a_suite_that_does_not_compile_says_what_the_compiler_says(ended: Callable[[str], Ended]) -> None:
    assert any("undefined: undefined" in line for line in ended("broken").cause["evidence"])


def test_a_set_up_that_fails_is_the_cause_and_not_the_specs_after_it(ended: Callable[[str], Ended]) -> None:
    run = ended("beforesuite")
    assert run.cause["message"] == "[set-up] BeforeSuite failed: DATA_STORAGE_URL is not set"
    assert (run.report["suite"]["passed"], run.report["suite"]["failed"]) == (0, 0)
    assert [case["name"] for case in run.report["suite"]["failures"]] == ["[set-up] BeforeSuite"]


def test_a_suite_whose_process_dies_is_a_failure_that_says_so(ended: Callable[[str], Ended]) -> None:
    run = ended("crash")
    assert (run.done.code, run.report["outcome"], run.report["blame"]) == (1, "failed", "test"), run.done.text
    assert run.cause["step"] == "suite"
    assert run.cause["evidence"] or run.report["suite"]["failures"]


def test_a_wrong_package_is_told_with_where_to_look(ended: Callable[[str], Ended]) -> None:
    assert "packages or paths" in ended("misnamed").cause["remedy"]


def test_what_stands_after_the_dashes_goes_to_the_suite(ended: Callable[[str], Ended]) -> None:
    run = ended("fewer")
    assert "matches nothing at all" in next(line for line in run.done.lines if line.startswith("+ "))
    assert run.report["suite"]["skipped"] == 2


def test_a_tier_extends_path_sets_a_folder_unsets_and_runs_a_command_before(ended: Callable[[str], Ended]) -> None:
    run = ended("words")
    name = run.report["run"]
    assert run.log("before-generate.log") == f"words: unset, run {name} of words, in runner\n"
    assert step_names(run.report) == ["generate", "suite"]


def test_a_command_before_the_suite_that_fails_is_the_cause_and_the_suite_does_not_run(
    ended: Callable[[str], Ended],
) -> None:
    run = ended("refusing")
    assert run.cause["step"] == "generate"
    assert "exit code 3" in run.cause["message"]
    assert run.cause["evidence"] == ["no generator here"]
    assert "suite" not in step_names(run.report)
    assert step_names(run.report)[-2:] == ["generate", "teardown"]


def test_a_command_before_the_suite_that_takes_too_long_is_ended(ended: Callable[[str], Ended]) -> None:
    assert "took more than 0.3 s" in ended("slow-before").cause["message"]


def test_a_tier_without_a_stack_needs_no_engine(services: Project, tmp_path: Path) -> None:
    """Everything but podman is on PATH, and CONTAINER_HOST leads nowhere."""
    path = without(services.environment()["PATH"], "podman", tmp_path)
    nowhere = f"unix://{tmp_path}/none.sock"
    done = services.invoke("suite.run", "--service", "words", PATH=path, CONTAINER_HOST=nowhere)
    assert done.code == 0, done.text
    report = services.report()
    assert report["engine"] is None
    assert step_names(report) == ["generate", "suite"]
