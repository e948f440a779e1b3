"""Ginkgo's own report is believed: counts, causes, and what is a failure though the console is green."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from given import WORKSPACE

from infra import suites, verdict
from infra.errors import NotReady, SuiteFailed, Unavailable
from infra.model import GinkgoSuite, GotestsumSuite, Step, TierSpec
from infra.report import SuiteResult
from infra.runners.ginkgo import Ginkgo
from infra.signals import Interrupts
from infra.suites import SuiteRun

RECORDED = WORKSPACE / "test" / "runner" / "reports"
Json = Mapping[str, object]


def spec(
    text: str, state: str = "passed", message: str = "", kind: str = "It", *, panic: str = "", nano: int = 250_000_000
) -> Json:
    """One node of a Ginkgo report, with the fields that Ginkgo v2 writes."""
    failure = {"Message": message, "Location": {"FileName": "/w/suite_test.go", "LineNumber": 42}}
    if panic:
        failure |= {"ForwardedPanic": panic}
    node: dict[str, object] = {
        "ContainerHierarchyTexts": ["delivery"] if kind == "It" else None,
        "LeafNodeType": kind,
        "LeafNodeText": text,
        "State": state,
        "RunTime": nano,
    }
    return node | ({"Failure": failure} if message or panic else {})


def suite(*specs: Json, special: tuple[str, ...] = ()) -> Json:
    return {
        "SuitePath": "/w",
        "SuiteSucceeded": False,
        "SpecialSuiteFailureReasons": list(special) or None,
        "RunTime": 1_500_000_000,
        "SpecReports": list(specs) or None,
    }


def report_of(tmp_path: Path, *suites_: Json) -> Path:
    path = tmp_path / "ginkgo.json"
    path.write_text(json.dumps(suites_))
    return path


def run_in(
    tmp_path: Path, packages: tuple[str, ...] = ("./x",), timeout: float = 60.0, path: str | None = None
) -> SuiteRun:
    """All that a suite needs, with nothing to look at."""
    return SuiteRun(
        spec=GinkgoSuite(runner="ginkgo", packages=packages, timeout=timeout),
        args=(),
        cwd=tmp_path,
        env={"PATH": os.defpath if path is None else path},
        logs=tmp_path / "logs",
        raw=tmp_path / "raw",
        on_line=lambda _: None,
        look=lambda: None,
        interrupts=Interrupts(),
        mask=lambda text: text.replace("s3cret", "***"),
    )


def read(report: Path, allowed: tuple[str, ...] = ()) -> SuiteResult:
    return Ginkgo(spec=GinkgoSuite(runner="ginkgo", packages=("./x",), allowed_skips=allowed)).read(report)


def judged(
    tmp_path: Path, *specs: Json, code: int = 1, allowed: tuple[str, ...] = (), special: tuple[str, ...] = ()
) -> tuple[SuiteResult, SuiteFailed | None]:
    path = report_of(tmp_path, suite(*specs, special=special))
    result = read(path, allowed)
    return result, verdict.judge(result, code, ("the last line",), check=f"cd {tmp_path} && go vet ./x")


def test_what_counts_are_the_it_nodes_of_all_suites(tmp_path: Path) -> None:
    path = report_of(
        tmp_path,
        suite(spec("", kind="BeforeSuite"), spec("a"), spec("b", "failed", "no"), spec("", kind="AfterSuite")),
        suite(spec("c", "pending"), spec("d", "skipped"), spec("e", "skipped", "no cluster")),
        suite(),
    )
    result = read(path)
    assert (result.tests, result.passed, result.failed, result.skipped) == (5, 1, 1, 3)
    assert result.duration_s == 4.5
    assert [case.name for case in result.cases] == [f"delivery {name}" for name in "abcde"]
    assert result.cases[0].duration_s == 0.25
    assert result.cases[1].location == "/w/suite_test.go:42"


@pytest.mark.parametrize("state", ["failed", "panicked", "interrupted", "aborted", "timedout"])
def test_every_way_to_fail_is_a_failure(state: str, tmp_path: Path) -> None:
    result, error = judged(tmp_path, spec("a"), spec("b", state, "why\nmore"))
    assert result.failed == 1
    assert error is not None
    assert error.reference == "tests-failed"
    assert error.message == "1 of 2 tests failed, first: delivery b"
    assert error.evidence == ("delivery b: why more (/w/suite_test.go:42)",)
    assert (error.blame, error.exit_code) == ("test", 1)


def test_a_panic_is_told_by_what_was_thrown(tmp_path: Path) -> None:
    result, _ = judged(tmp_path, spec("a", "panicked", panic="runtime error: nil map"))
    assert result.cases[0].message == "runtime error: nil map"


def test_green_is_green(tmp_path: Path) -> None:
    result, error = judged(tmp_path, spec("a"), spec("b"), spec("", kind="BeforeSuite"), code=0)
    assert error is None
    assert result.sentence() == "2 passed"


def test_a_failed_set_up_is_the_cause_and_comes_first_and_once_and_is_no_test(tmp_path: Path) -> None:
    broken = spec("", "failed", "dial tcp: connection refused\nstack", kind="BeforeSuite")
    result, error = judged(tmp_path, spec("a", "skipped"), spec("b", "skipped"), broken, broken, broken, broken)
    assert error is not None
    assert error.reference == "suite-setup-failed"
    assert error.message == "[set-up] BeforeSuite failed: dial tcp: connection refused stack"
    assert error.remedy == "${EDITOR:-vi} /w/suite_test.go  # line 42"
    assert len(error.evidence) == 1
    assert (result.tests, result.failed, result.skipped) == (2, 0, 2)


def test_a_skip_with_a_reason_is_a_failure_unless_it_is_allowed_by_name(tmp_path: Path) -> None:
    specs = (spec("a"), spec("b", "skipped", "DataStorage is not there"))
    result, error = judged(tmp_path, *specs, code=0)
    assert [case.unexpected for case in result.cases] == [False, True]
    assert error is not None
    assert error.reference == "unexpected-skip"
    assert error.message == "1 tests skipped themselves, first: delivery b: DataStorage is not there"
    assert "allowed_skips" in error.remedy
    assert judged(tmp_path, *specs, code=0, allowed=("delivery b",))[1] is None
    assert judged(tmp_path, *specs, code=0, allowed=("delivery",))[1] is not None


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("pending", ""),
        ("skipped", ""),
        ("skipped", "Spec skipped because an earlier spec in an ordered container failed"),
    ],
)
def test_pending_focus_and_the_rest_of_an_ordered_container_are_not_unexpected(
    state: str, message: str, tmp_path: Path
) -> None:
    result, error = judged(tmp_path, spec("a"), spec("b", state, message), code=0)
    assert error is None
    assert (result.passed, result.skipped) == (1, 1)


@pytest.mark.parametrize("specs", [(), (spec("a", "skipped"),), (spec("a", "pending"),)])
def test_green_with_nothing_run_is_a_failure(specs: tuple[Json, ...], tmp_path: Path) -> None:
    error = judged(tmp_path, *specs, code=0)[1]
    assert error is not None
    assert error.reference == "no-test-ran"
    assert error.message == f"no test ran ({len(specs)} skipped)"


def test_a_suite_that_does_not_compile_is_said_before_anything_else(tmp_path: Path) -> None:
    error = judged(tmp_path, special=("Failed to compile x:\n\nx_test.go:3: undefined: y",))[1]
    assert error is not None
    assert error.reference == "suite-does-not-compile"
    assert "undefined: y" in error.message
    assert error.remedy == f"cd {tmp_path} && go vet ./x"
    other = judged(tmp_path, spec("a"), special=("Suite configuration is invalid",))[1]
    assert other is not None
    assert other.reference == "suite-broken"


def test_a_green_report_with_a_red_exit_code_is_red(tmp_path: Path) -> None:
    error = judged(tmp_path, spec("a"), code=3)[1]
    assert error is not None
    assert error.reference == "suite-exit-code"
    assert "exit code 3" in error.message


@pytest.mark.parametrize("text", ["", "{", "{}", "3", '["x"]', "null"])
def test_what_is_no_report_is_a_value_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ginkgo.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        read(path)


def test_the_command_line_has_ours_then_the_catalogues_then_the_persons() -> None:
    declared = GinkgoSuite(runner="ginkgo", packages=("./a/...", "./b"), timeout=900, procs=3)
    runner = Ginkgo(spec=declared)
    argv = runner.command(("/r/ginkgo",), ("--label=x", "--focus=a b"), Path("/r/logs/ginkgo.json"))
    assert argv[:2] == ("/r/ginkgo", "run")
    assert {"--procs=3", "--json-report=ginkgo.json", "--output-dir=/r/logs", "--timeout=960s"} <= set(argv)
    assert argv[-4:] == ("--label=x", "--focus=a b", "./a/...", "./b")


# What Ginkgo itself has written: recorded, see the README beside the reports.


# Report: exit code, then tests, passed, failed and skipped, then why it did not pass.
WROTE = {
    "failing": (1, (2, 1, 1, 0), "tests-failed"),
    "skipping": (0, (2, 0, 0, 2), "unexpected-skip"),
    "pending": (0, (2, 1, 0, 1), None),
    "slow": (0, (20, 20, 0, 0), None),
    "focus-one": (0, (2, 1, 0, 1), None),
    "focus-nothing": (0, (2, 0, 0, 2), "no-test-ran"),
    "beforesuite": (1, (0, 0, 0, 0), "suite-setup-failed"),
    "beforesuite-serial": (1, (0, 0, 0, 0), "suite-setup-failed"),
    "broken": (1, (0, 0, 0, 0), "suite-does-not-compile"),
    "broken-and-pending": (1, (2, 1, 0, 1), "suite-does-not-compile"),
    "two-suites": (1, (2, 1, 1, 0), "tests-failed"),
    "crash": (1, (0, 0, 0, 0), "suite-killed"),
    "hanging-timeout": (1, (1, 0, 1, 0), "suite-hung"),
    "hanging-sigterm": (1, (1, 0, 1, 0), "suite-killed"),
    "hanging-sigint": (1, (1, 0, 1, 0), "suite-killed"),
}


def test_all_recorded_reports_are_known() -> None:
    assert sorted(path.stem for path in RECORDED.glob("*.json")) == sorted(WROTE)


@pytest.mark.parametrize("name", WROTE)
def test_a_recorded_report_is_judged_for_what_happened(name: str, tmp_path: Path) -> None:
    code, counts, reference = WROTE[name]
    path = RECORDED / f"{name}.json"
    result = read(path)
    assert (result.tests, result.passed, result.failed, result.skipped) == counts
    error = verdict.judge(result, code, ("the last line",), check="go vet ./x")
    assert (error.reference if error else None) == reference
    if error is not None:
        assert error.exit_code == 1
        assert error.message
        assert error.remedy


def test_a_recorded_set_up_failure_says_why_and_where_once() -> None:
    result = read(RECORDED / "beforesuite.json")
    assert [(case.name, case.setup) for case in result.cases] == [("[set-up] BeforeSuite", True)]
    assert result.cases[0].message.startswith("DATA_STORAGE_URL is not set")
    assert "suite_test.go:" in result.cases[0].location


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_every_recorded_report_is_read(path: Path) -> None:
    result = read(path)
    nodes = [node for one in json.loads(path.read_text()) for node in one.get("SpecReports") or ()]
    states = [node["State"] for node in nodes if node["LeafNodeType"] == "It"]
    assert result.tests == len(states)
    assert result.passed == states.count("passed")
    assert result.skipped == states.count("skipped") + states.count("pending")
    assert result.failed == len(states) - result.passed - result.skipped


def test_a_set_up_that_was_cut_off_or_failed_with_the_stack_had_not_failed_before(tmp_path: Path) -> None:
    ended = {"EndTime": "2026-11-22T01:02:03.5Z"}
    failed, cut = (spec("", state, "no database", "BeforeSuite") for state in ("failed", "interrupted"))
    (case,) = read(report_of(tmp_path, suite({**failed, **ended}))).cases
    moment = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC).timestamp()
    assert (case.failed_before(moment), case.failed_before(moment + 1)) == (False, True)
    (case,) = read(report_of(tmp_path, suite({**cut, **ended}))).cases
    assert not case.failed_before(None)


# A suite as a process: a stand-in for `go` that makes a stand-in for `ginkgo`, both real programs.


def tools(tmp_path: Path, script: str) -> str:
    """Put a `go` on a PATH of its own whose `build -o X` makes a ginkgo that is `script`; returns the PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    program = folder / "ginkgo.py"
    program.write_text(f"#!{sys.executable}\nimport sys, os, json, time, signal\nlogs = 'logs'\n{script}\n")
    program.chmod(0o755)
    go = folder / "go"
    go.write_text(f'#!/bin/sh\nmkdir -p "$(dirname "$3")"\ncp {program} "$3"\n')
    go.chmod(0o755)
    return f"{folder}:{os.defpath}"


def ran(tmp_path: Path, script: str, timeout: float = 60.0) -> tuple[SuiteResult | None, SuiteFailed | None]:
    return suites.run(run_in(tmp_path, timeout=timeout, path=tools(tmp_path, script)))


def test_the_report_is_believed_and_not_what_was_printed(tmp_path: Path) -> None:
    red = json.dumps([suite(spec("a", "failed", "no"))])
    result, error = ran(tmp_path, f"open('raw/ginkgo.json', 'w').write({red!r}); print('SUCCESS! -- 1 Passed s3cret')")
    assert result is not None
    assert result.failed == 1
    assert error is not None
    log = (tmp_path / "logs" / "suite.log").read_text()
    assert "SUCCESS! -- 1 Passed ***" in log


@pytest.mark.parametrize(
    ("script", "reference"),
    [
        ("print('Found no test suites'.lower()); sys.exit(1)", "no-suite-found"),
        ("sys.exit(0)", "no-report"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "suite-killed"),
        ("open('raw/ginkgo.json', 'w').write('[{\"SpecRep')", "no-report"),
        ("open('raw/ginkgo.json', 'w').write('[{\"SpecReports\": [3]}]')", "no-report"),
    ],
)
def test_no_report_is_a_cause_of_its_own(script: str, reference: str, tmp_path: Path) -> None:
    result, error = ran(tmp_path, script)
    assert result is None
    assert error is not None
    assert error.reference == reference
    assert error.exit_code == 1


def test_an_event_of_gotestsums_that_lacks_something_is_no_report(tmp_path: Path) -> None:
    event = json.dumps({"Action": "output", "Package": "x"})
    path = tools(tmp_path, f"open('raw/gotestsum.jsonl', 'w').write({event!r} + chr(10) + {event!r} + chr(10))")
    spec = GotestsumSuite(runner="gotestsum", packages=("./x",))
    result, error = suites.run(replace(run_in(tmp_path, path=path), spec=spec))
    assert result is None
    assert error is not None
    assert error.reference == "no-report"


def test_only_a_masked_report_is_ever_among_the_logs(tmp_path: Path) -> None:
    """Also while the suite goes on: of an owner that is killed nobody masks anything."""
    red = json.dumps([suite(spec("a", "failed", "s3cret"))])
    seen: list[str] = []

    def look() -> None:
        if (tmp_path / "written").exists():
            seen.extend(path.name for path in (tmp_path / "logs").iterdir())
            raise NotReady("redis died", reference="component-died")

    path = tools(
        tmp_path,
        f"open('raw/ginkgo.json', 'w').write({red!r})\n"
        "open('raw/theirs.out', 'w').write('x')\nopen('written', 'w')\ntime.sleep(60)",
    )
    with pytest.raises(NotReady):
        suites.run(replace(run_in(tmp_path, path=path), look=look))
    assert "suite.log" in seen
    assert "ginkgo.json" not in seen
    report = (tmp_path / "logs" / "ginkgo.json").read_text()
    assert '"Message": "***"' in report
    assert (tmp_path / "logs" / "theirs.out").exists()
    assert list((tmp_path / "raw").iterdir()) == []


def test_a_report_that_cannot_be_kept_hides_no_cause_and_does_not_stay_raw(tmp_path: Path) -> None:
    (tmp_path / "logs" / "ginkgo.json").mkdir(parents=True)  # in the way, as a full disk is
    red = json.dumps([suite(spec("a", "failed", "s3cret"))])

    def look() -> None:
        raise NotReady("redis died", reference="component-died")

    heard: list[SuiteResult | None] = []
    path = tools(tmp_path, f"open('raw/ginkgo.json', 'w').write({red!r})\ntime.sleep(60)")
    with pytest.raises(NotReady):
        suites.run(replace(run_in(tmp_path, path=path), look=look, heard=heard.append))
    assert len(heard) == 1
    left = [file for file in tmp_path.rglob("*ginkgo.json*") if file.is_file()]
    assert left == []


def test_ginkgos_own_words_for_no_suite_are_known(tmp_path: Path) -> None:
    error = ran(tmp_path, "print('Found no test suites'); sys.exit(1)")[1]
    assert error is not None
    assert error.reference == "no-suite-found"
    assert error.blame == "user"


def test_a_suite_that_hangs_is_ended_with_its_stacks(tmp_path: Path) -> None:
    script = (
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"  # like every Go program
        "signal.signal(signal.SIGQUIT, lambda *_: print('goroutine 1 [select]', flush=True))\n"
        "time.sleep(0.1)\nsignal.pause()\nsys.exit(2)"
    )
    with pytest.raises(SuiteFailed) as raised:
        ran(tmp_path, script, timeout=0.6)
    assert raised.value.reference == "suite-hung"
    assert "goroutine 1 [select]" in raised.value.evidence


def test_without_go_the_suite_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as raised:
        suites.run(run_in(tmp_path, path=str(tmp_path)))
    assert raised.value.message == "go is not installed"
    assert raised.value.exit_code == 69


def test_a_command_before_the_suite_that_fails_is_a_cause_with_its_output(tmp_path: Path) -> None:
    command = ("sh", "-c", "echo generating; exit 4")
    with pytest.raises(SuiteFailed) as raised:
        suites.run_step(run_in(tmp_path), Step(name="generate", command=command), command)
    assert raised.value.reference == "before-suite-command-failed"
    assert "exit code 4" in raised.value.message
    assert raised.value.evidence == ("generating",)


def test_a_command_before_the_suite_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(SuiteFailed, match=r"took more than 0\.2 s"):
        suites.run_step(run_in(tmp_path), Step(name="slow", command=("x",), timeout=0.2), ("sleep", "30"))


def test_a_killed_suite_number_is_the_signals(tmp_path: Path) -> None:
    error = ran(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)")[1]
    assert error is not None
    assert f"signal {signal.SIGTERM.value}" in error.message


def test_a_suites_environment_is_the_hosts_less_what_is_unset_with_folders_first_and_ours_on_top(
    tmp_path: Path,
) -> None:
    spec = TierSpec(
        suite=GinkgoSuite(runner="ginkgo", packages=("./x",)),
        path=("bin", "/opt/tools"),
        unset=("KUBECONFIG", "NOT_THERE"),
    )
    environ = spec.environment(
        {"PATH": "/usr/bin", "KUBECONFIG": "/home/me/.kube/config", "HOME": "/home/me", "A": "host"},
        {"A": "catalogue", "B": "b"},
        tmp_path,
    )
    assert environ == {
        "PATH": f"{tmp_path.resolve()}/bin:/opt/tools:/usr/bin",
        "HOME": "/home/me",
        "A": "catalogue",
        "B": "b",
    }


def test_what_the_catalogue_gives_wins_over_what_it_unsets(tmp_path: Path) -> None:
    spec = TierSpec(suite=GinkgoSuite(runner="ginkgo", packages=("./x",)), unset=("A", "PATH"))
    environ = spec.environment({"A": "1"}, {"A": "2"}, tmp_path)
    assert environ == {"A": "2", "PATH": os.defpath}
