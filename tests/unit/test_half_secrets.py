"""A secret at which a message is cut: no half of it is told, whichever runner has reported it."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from given import PASSED, plan_of
from test_ginkgo import report_of, run_in, spec, suite

from infra import suites, verdict
from infra.model import GotestsumSuite, PytestSuite
from infra.report import SuiteResult
from infra.reporters.github import summary
from infra.suites import SuiteRun

SECRET = "test_password"
HALF = "slm_user:t"
URL = f"postgres://slm_user:{SECRET}@127.0.0.1:15433/action_history"
# Cut in the middle of it, with what each runner and `verdict` put before.
LENGTHS = range(140, 200)


def suite_run(tmp_path: Path) -> SuiteRun:
    made = replace(run_in(tmp_path), mask=plan_of(tmp_path).mask, python=sys.executable)
    for folder in (made.raw, made.logs):
        folder.mkdir(parents=True)
    return made


def check(result: SuiteResult | None, code: int) -> None:
    assert result is not None
    assert result.failed or any(case.setup for case in result.cases)
    error = verdict.judge(result, code, (), check="the check")
    assert error is not None
    report = replace(PASSED, suite=result, cause=error.cause())
    told = f"{result} {error.message} {error.evidence} {summary(report, {})}".replace("\\", "")
    assert "slm_user:***" in told
    assert HALF not in told


def test_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('n', {list(LENGTHS)})\n"
        f"def test_a(n):\n    raise AssertionError('y' * n + ' ' + {URL!r})\n"
    )
    pytest_suite = PytestSuite(runner="pytest", paths=("test_a.py",), timeout=60)
    made = replace(suite_run(tmp_path), spec=pytest_suite, env=dict(os.environ))
    result, error = suites.run(made)
    assert error is not None
    assert error.reference == "tests-failed"
    assert HALF not in str(error.evidence)
    check(result, 1)


def test_of_pytest_that_cannot_collect(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(f"raise ValueError('y' * 150 + ' ' + {URL!r})\n")
    made = replace(
        suite_run(tmp_path),
        spec=PytestSuite(runner="pytest", paths=("test_a.py",), timeout=60),
        env=dict(os.environ),
    )
    result, error = suites.run(made)
    assert error is not None
    assert error.reference == "suite-setup-failed"
    assert HALF not in error.message
    check(result, 2)


@pytest.mark.parametrize("kind", ["It", "BeforeSuite"])
def test_of_ginkgo(kind: str, tmp_path: Path) -> None:
    made = suite_run(tmp_path)
    specs = [spec("a", "failed", f"{'y' * n} {URL}", kind=kind) for n in LENGTHS]
    report = report_of(made.raw, suite(*specs))
    check(suites._read(made, suites.runner_of(made.spec), report), 1)


def test_of_gotestsum(tmp_path: Path) -> None:
    made = replace(suite_run(tmp_path), spec=GotestsumSuite(runner="gotestsum", packages=("./x",)))
    events = []
    for n in LENGTHS:
        about = {"Package": "example.org/x", "Test": f"Test{n}"}
        events += [about | {"Action": "output", "Output": f"    a_test.go:1: {'y' * n} {URL}\n"}]
        events += [about | {"Action": "fail"}]
    report = made.raw / "gotestsum.jsonl"
    report.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    check(suites._read(made, suites.runner_of(made.spec), report), 1)


def test_what_does_not_compile_says_no_secret(tmp_path: Path) -> None:
    made = suite_run(tmp_path)
    report = report_of(made.raw, suite(special=(f"Failed to compile x: {URL}",)))
    result = suites._read(made, suites.runner_of(made.spec), report)
    assert result is not None
    assert "slm_user:********@" in result.broken[0]
