"""gotestsum's and pytest's own reports are believed: counts, names, places, causes, as the real tools wrote them."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from given import WORKSPACE

from infra import verdict
from infra.commands import Command
from infra.errors import SuiteFailed
from infra.model import GotestsumSuite, PytestSuite
from infra.report import Case, SuiteResult
from infra.runners import program
from infra.runners.gotestsum import Gotestsum
from infra.runners.places import placed
from infra.runners.pytest import Pytest

REPORTS = WORKSPACE / "test" / "runner" / "reports"
GO = REPORTS / "gotestsum"
PY = REPORTS / "pytest"
MODULE = "example.org/recorded"


def of_go(report: Path, allowed: tuple[str, ...] = ()) -> SuiteResult:
    return Gotestsum(spec=GotestsumSuite(runner="gotestsum", packages=("./x",), allowed_skips=allowed)).read(report)


def of_pytest(report: Path, allowed: tuple[str, ...] = ()) -> SuiteResult:
    return Pytest(spec=PytestSuite(runner="pytest", paths=("tests",), allowed_skips=allowed)).read(report)


def recorded(path: Path, allowed: tuple[str, ...] = ()) -> SuiteResult:
    return of_go(path, allowed) if path.suffix == ".jsonl" else of_pytest(path, allowed)


def judged(result: SuiteResult, code: int, tail: tuple[str, ...] = ("the last line",)) -> SuiteFailed | None:
    return verdict.judge(result, code, tail, check="the check")


def the(result: SuiteResult, name: str) -> Case:
    """The one case of a name."""
    (case,) = [case for case in result.cases if case.name == name]
    return case


# Report: exit code, then tests, passed, failed and skipped, then why it did not pass.
Told = tuple[int, tuple[int, int, int, int], str | None]
GO_WROTE: dict[str, Told] = {
    "passing": (0, (2, 2, 0, 0), None),
    "failing": (1, (2, 1, 1, 0), "tests-failed"),
    "parallel": (1, (2, 1, 1, 0), "tests-failed"),
    "two-packages": (1, (4, 3, 1, 0), "tests-failed"),
    "subtests": (1, (7, 4, 2, 1), "tests-failed"),
    "parents": (1, (5, 1, 2, 2), "tests-failed"),
    "flaky": (1, (1, 0, 1, 0), "tests-failed"),
    "skipping": (0, (2, 1, 0, 1), "unexpected-skip"),
    "panic": (1, (2, 1, 1, 0), "tests-failed"),
    "panic-subtest": (1, (2, 1, 1, 0), "tests-failed"),
    "panic-in-library": (1, (1, 0, 1, 0), "tests-failed"),
    "exit": (1, (2, 1, 1, 0), "tests-failed"),
    "testmain": (1, (0, 0, 0, 0), "suite-setup-failed"),
    "testmain-after": (1, (1, 1, 0, 0), "suite-setup-failed"),
    "broken": (1, (0, 0, 0, 0), "suite-does-not-compile"),
    "broken-and-passing": (1, (2, 2, 0, 0), "suite-does-not-compile"),
    "vetted": (1, (0, 0, 0, 0), "suite-does-not-compile"),
    "no-such-package": (1, (0, 0, 0, 0), "no-suite-found"),
    "no-such-folder": (1, (0, 0, 0, 0), "no-suite-found"),
    "no-packages": (1, (0, 0, 0, 0), "suite-killed"),  # without its console, see below
    "no-test-files": (0, (0, 0, 0, 0), "no-test-ran"),
    "nothing-matches": (0, (0, 0, 0, 0), "no-test-ran"),
    "timeout": (1, (2, 1, 1, 0), "suite-hung"),
    "killed": (-9, (2, 1, 1, 0), "suite-killed"),
    "test-killed": (1, (2, 1, 1, 0), "tests-failed"),
    "chatter": (1, (2, 1, 1, 0), "tests-failed"),
}
PY_WROTE: dict[str, Told] = {
    "passing": (0, (7, 7, 0, 0), None),
    "xdist-passing": (0, (7, 7, 0, 0), None),
    "failing": (1, (2, 1, 1, 0), "tests-failed"),
    "setup-error": (1, (2, 1, 1, 0), "tests-failed"),
    "teardown-error": (1, (3, 0, 3, 0), "tests-failed"),
    "subtests": (1, (1, 0, 1, 0), "tests-failed"),
    "strict": (1, (1, 0, 1, 0), "tests-failed"),
    "same-names": (1, (8, 7, 1, 0), "tests-failed"),
    "control": (1, (1, 0, 1, 0), "tests-failed"),
    "xdist-crash": (1, (2, 1, 1, 0), "tests-failed"),
    "pending": (0, (4, 2, 0, 2), None),
    "skipping": (0, (4, 1, 0, 3), "unexpected-skip"),
    "module-skip": (5, (1, 0, 0, 1), "unexpected-skip"),
    "collection": (2, (0, 0, 0, 0), "suite-setup-failed"),
    "syntax": (2, (0, 0, 0, 0), "suite-setup-failed"),
    "xdist-collection": (1, (7, 7, 0, 0), "suite-setup-failed"),
    "exit": (7, (1, 1, 0, 0), "suite-exit-code"),
    "interrupted": (2, (1, 1, 0, 0), "suite-exit-code"),
    "nothing-collected": (5, (0, 0, 0, 0), "no-test-ran"),
    "no-file": (4, (0, 0, 0, 0), "suite-killed"),  # without its console, see below
}
WROTE = {GO / f"{name}.jsonl": told for name, told in GO_WROTE.items()}
WROTE |= {PY / f"{name}.xml": told for name, told in PY_WROTE.items()}


def test_all_recorded_reports_are_known() -> None:
    assert {*GO.iterdir(), *PY.iterdir()} == set(WROTE)


@pytest.mark.parametrize("path", WROTE, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_report_is_judged_for_what_happened(path: Path) -> None:
    code, counts, reference = WROTE[path]
    result = recorded(path)
    assert (result.tests, result.passed, result.failed, result.skipped) == counts
    error = judged(result, code)
    assert (error.reference if error else None) == reference
    if error is not None:
        assert error.exit_code == 1
        assert error.message
        assert error.remedy
    names = [case.name for case in result.cases]
    assert len(set(names)) == len(names)
    assert all(names)
    assert all(case.message for case in result.cases if case.state == "failed"), "a failure says why"


# gotestsum


def test_a_failed_go_test_has_what_it_said_and_the_line_where_it_failed() -> None:
    case = the(of_go(GO / "failing.jsonl"), f"{MODULE}/failing TestSubtracts")
    assert case.message == "x_test.go:8: three less two\nx_test.go:9: got 3, want 1"
    assert case.location == f"{MODULE}/failing/x_test.go:9"
    error = judged(of_go(GO / "failing.jsonl"), 1)
    assert error is not None
    assert error.message == f"1 of 2 tests failed, first: {MODULE}/failing TestSubtracts"
    assert case.location.rpartition(":")[0] in error.remedy
    assert error.blame == "test"


def test_a_go_test_that_passes_has_no_words() -> None:
    cases = of_go(GO / "passing.jsonl").cases
    assert [(case.name, case.state, case.message, case.location) for case in cases] == [
        (f"{MODULE}/passing TestAdds", "passed", "", ""),
        (f"{MODULE}/passing TestAddsUp", "passed", "", ""),
    ]


def test_what_counts_are_subtests_and_not_their_parents() -> None:
    result = of_go(GO / "subtests.jsonl")
    assert [(case.name.removeprefix(f"{MODULE}/subtests "), case.state) for case in result.cases] == [
        ("TestGreen/one", "passed"),
        ("TestGreen/two_words/deep", "passed"),
        ("TestRed/good", "passed"),
        ("TestRed/bad/deep", "failed"),
        ("TestRed/away", "skipped"),
        ("TestParent", "failed"),
        ("TestParent/child", "passed"),
    ]
    assert the(result, f"{MODULE}/subtests TestRed/bad/deep").message == "x_test.go:12: no such row"
    assert the(result, f"{MODULE}/subtests TestParent").message == "x_test.go:18: rows are left"


def test_a_parent_that_fails_or_skips_of_itself_counts_although_its_children_did_not_fail() -> None:
    result = of_go(GO / "parents.jsonl")
    assert [(case.name.removeprefix(f"{MODULE}/parents "), case.state, case.message) for case in result.cases] == [
        ("TestSkipsAfterwards", "skipped", "x_test.go:7: the rest needs a cluster"),
        ("TestSkipsAfterwards/child", "passed", ""),
        ("TestFailsAfterSkip", "failed", "x_test.go:12: rows are left"),
        ("TestFailsAfterSkip/away", "skipped", "x_test.go:11: no datastorage"),
        ("TestFailsAfterFailed/bad", "failed", "x_test.go:16: no such row"),
    ]


def test_a_test_that_failed_once_has_failed_however_often_it_passed() -> None:
    assert the(of_go(GO / "flaky.jsonl"), f"{MODULE}/flaky TestOnlyOnce").message == "x_test.go:10: the first time"


def test_a_go_test_that_skips_itself_is_unexpected_unless_it_is_allowed_by_name() -> None:
    path = GO / "skipping.jsonl"
    case = the(of_go(path), f"{MODULE}/skipping TestWrites")
    assert (case.state, case.unexpected, case.message) == ("skipped", True, "x_test.go:7: no datastorage")
    allowed = of_go(path, (f"{MODULE}/skipping TestWrites",))
    assert not any(case.unexpected for case in allowed.cases)
    assert judged(allowed, 0) is None
    assert judged(of_go(path, ("TestWrites", f"{MODULE}/skipping Test")), 0) is not None


@pytest.mark.parametrize(
    ("report", "test", "says", "location"),
    [
        ("panic", "panicking TestPanics", "panic: assignment to entry in nil map", "/workspace/panicking/x_test.go:9"),
        ("panic-subtest", "panicsub TestPanics/inside", "panic: no such row", "/workspace/panicsub/x_test.go:8"),
        ("panic-in-library", "deadlock TestLibrary", "panic: strings: neg", "/workspace/deadlock/x_test.go:8"),
    ],
)
def test_a_panic_is_told_by_what_was_thrown_and_where_in_the_teams_own_code(
    report: str, test: str, says: str, location: str
) -> None:
    case = the(of_go(GO / f"{report}.jsonl"), f"{MODULE}/{test}")
    assert case.state == "failed"
    assert case.message.startswith(says)
    assert case.location == location


@pytest.mark.parametrize(
    ("report", "test", "message"),
    [
        ("exit", "exits TestExits", "it did not end: no config"),
        ("killed", "hanging TestHangs", "it did not end: its process is gone"),
        ("test-killed", "hanging TestHangs", "it did not end: signal: killed"),
    ],
)
def test_a_go_test_that_began_and_did_not_end_has_failed(report: str, test: str, message: str) -> None:
    assert the(of_go(GO / f"{report}.jsonl"), f"{MODULE}/{test}").message == message


@pytest.mark.parametrize(
    ("report", "says"),
    [("testmain", "DATA_STORAGE_URL is not set"), ("testmain-after", "rows are left")],
)
def test_a_testmain_that_fails_is_a_set_up_that_failed_and_no_test(report: str, says: str) -> None:
    result = of_go(GO / f"{report}.jsonl")
    first = result.cases[0]
    assert (first.setup, first.message) == (True, says)
    error = judged(result, 1)
    assert error is not None
    assert error.message == f"{first.name} failed: {says}"
    assert first.name == f"[set-up] {MODULE}/{report.replace('-', '')}"


def test_go_that_does_not_compile_is_told_in_the_compilers_words_also_beside_green_packages() -> None:
    for report in ("broken", "broken-and-passing"):
        error = judged(of_go(GO / f"{report}.jsonl"), 1)
        assert error is not None
        assert error.message == "it does not compile: broken/x_test.go:5:31: undefined: adds"
        assert error.remedy == "the check"


def test_a_package_that_is_not_there_is_no_matter_of_the_compilers() -> None:
    error = judged(of_go(GO / "no-such-package.jsonl"), 1)
    assert error is not None
    assert error.message == "there is no such package: stat /workspace/nowhere: directory not found"
    assert error.blame == "user"
    assert "infra/catalog/services" in error.remedy


def test_the_timeout_of_go_itself_is_said_before_the_test_that_it_struck() -> None:
    result = of_go(GO / "timeout.jsonl")
    error = judged(result, 1)
    assert error is not None
    assert error.message == f"timeout: test timed out after 1s in {MODULE}/hanging"
    hangs = the(result, f"{MODULE}/hanging TestHangs")
    assert hangs.message.startswith("it did not end: panic: test timed out after 1s")
    assert hangs.location == "/workspace/hanging/x_test.go:10"


def test_a_suite_that_was_killed_is_told_by_the_signal_and_not_by_what_it_left_unfinished() -> None:
    error = judged(of_go(GO / "killed.jsonl"), -9)
    assert error is not None
    assert error.message == "the suite was killed by SIGKILL (signal 9) after 2 tests"
    assert error.evidence == ("the last line",)


def test_what_a_test_prints_ends_no_line_of_the_report() -> None:
    result = of_go(GO / "chatter.jsonl")
    assert the(result, f"{MODULE}/chatter TestPrints").message.endswith('x_test.go:10: a <b> & "c"\nsecond line')
    assert the(result, f"{MODULE}/chatter TestGoesOn").state == "passed"


@pytest.mark.parametrize("name", sorted(GO_WROTE))
def test_a_go_report_that_was_cut_anywhere_in_its_last_line_tells_all_before_it(name: str, tmp_path: Path) -> None:
    *before, last = (GO / f"{name}.jsonl").read_bytes().splitlines(keepends=True) or [b""]
    path = tmp_path / "gotestsum.jsonl"
    path.write_bytes(b"".join(before))
    whole = of_go(path)
    for cut in (1, len(last) // 2, len(last) - 2):
        path.write_bytes(b"".join(before) + last[:cut])
        assert of_go(path) == whole


def test_a_go_report_is_broken_where_a_line_in_its_middle_is(tmp_path: Path) -> None:
    first, second, *others = (GO / "passing.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "gotestsum.jsonl"
    path.write_text("".join((first, second[:40] + "\n", *others)))
    with pytest.raises(ValueError, match=r"."):
        of_go(path)


@pytest.mark.parametrize("line", ["3", "[]", "{}", '"x"', '{"Action": "run"}', '{"Package": "x"}'])
def test_what_is_no_event_is_a_value_error(line: str, tmp_path: Path) -> None:
    path = tmp_path / "gotestsum.jsonl"
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(ValueError, match="no event"):
        of_go(path)


def test_an_empty_go_report_has_no_tests(tmp_path: Path) -> None:
    path = tmp_path / "gotestsum.jsonl"
    path.touch()
    assert of_go(path) == SuiteResult(cases=(), duration_s=0.0)


def test_the_duration_is_from_the_first_event_to_the_last(tmp_path: Path) -> None:
    path = tmp_path / "gotestsum.jsonl"
    events = [
        {"Time": "2026-01-02T03:04:05.5Z", "Action": "start", "Package": "x"},
        {"Time": "2026-01-02T03:04:08.75Z", "Action": "pass", "Package": "x", "Test": "TestA", "Elapsed": 2.5},
    ]
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    result = of_go(path)
    assert result.duration_s == 3.25
    assert result.cases == (Case(name="x TestA", state="passed", duration_s=2.5),)


def test_the_command_line_of_gotestsum_has_ours_then_the_catalogues_then_the_persons() -> None:
    declared = GotestsumSuite(runner="gotestsum", packages=("./a/...", "./b"), timeout=900)
    runner = Gotestsum(spec=declared)
    argv = runner.command(("/r/gotestsum",), ("-run=A B", "-race"), Path("/r/logs/gotestsum.jsonl"))
    ours, _, gos = " ".join(argv).partition(" -- ")
    assert ours.split()[0] == "/r/gotestsum"
    assert "--jsonfile=/r/logs/gotestsum.jsonl" in ours.split()
    assert gos == "-count=1 -timeout=960s -run=A B -race ./a/... ./b"
    assert argv[-4:] == ("-run=A B", "-race", "./a/...", "./b")
    assert runner.check == "go vet ./a/... ./b"
    assert declared.procs == 1


# pytest


def test_the_names_of_pytest_are_module_class_test_and_parameters() -> None:
    for report in ("passing", "xdist-passing"):
        names = sorted(case.name for case in of_pytest(PY / f"{report}.xml").cases)
        assert names == sorted(
            ["test_passing.TestStore.test_reads"]
            + [f"test_passing.TestStore.test_writes[{text}]" for text in ("plain", "a b", "[x]", r"\xe9", "a::b/c.d")]
            + ["test_passing.TestStore.test_writes[<&>\"']"]
        )


def test_one_name_in_two_folders_is_two_tests() -> None:
    result = of_pytest(PY / "same-names.xml")
    assert the(result, "test_passing.TestStore.test_reads").state == "passed"
    assert the(result, "two.test_passing.TestStore.test_reads").state == "failed"


@pytest.mark.parametrize(
    ("report", "test", "message", "location"),
    [
        (
            "failing",
            "test_failing.test_leaves_rows",
            "AssertionError: rows are left\n  second line\nassert 3 == 0",
            "test_failing.py:2",
        ),
        (
            "setup-error",
            "test_setup_error.test_reads",
            'failed on setup with "ConnectionError: DataStorage is not there"',
            "test_setup_error.py:6",
        ),
        (
            "teardown-error",
            "test_teardown_error.test_passes_first",
            'failed on teardown with "RuntimeError: rows are left"',
            "test_teardown_error.py:7",
        ),
        ("teardown-error", "test_teardown_error.test_fails_first", "assert 1 == 2", "test_teardown_error.py:15"),
        (
            "teardown-error",
            "test_teardown_error.test_skips_first",
            'failed on teardown with "RuntimeError: rows are left"',
            "test_teardown_error.py:7",
        ),
        ("subtests", "test_subtests.test_rows", "assert 1 != 1", "test_subtests.py:4"),
        ("strict", "test_strict.test_passes_unexpectedly", "[XPASS(strict)] issue 7", ""),
        (
            "xdist-crash",
            "test_crash.test_crashes",
            "failed on setup with \"worker 'gw0' crashed while running 'test_crash.py::test_crashes'\"",
            "",
        ),
    ],
)
def test_a_failed_python_test_has_its_first_reason_and_where(
    report: str, test: str, message: str, location: str
) -> None:
    case = the(of_pytest(PY / f"{report}.xml"), test)
    assert (case.state, case.message, case.location, case.setup) == ("failed", message, location, False)


def test_an_expected_failure_is_pending_work_and_no_unexpected_skip() -> None:
    cases = of_pytest(PY / "pending.xml").cases
    assert [(case.name.removeprefix("test_pending.test_"), case.state, case.unexpected) for case in cases] == [
        ("adds", "passed", False),
        ("pending", "skipped", False),
        ("pending_and_not_run", "skipped", False),
        ("passes_unexpectedly", "passed", False),
    ]


def test_a_python_test_that_is_skipped_is_unexpected_unless_it_is_allowed_by_name() -> None:
    path = PY / "skipping.xml"
    skipped = [case for case in of_pytest(path).cases if case.state == "skipped"]
    assert [(case.message, case.unexpected) for case in skipped] == [
        ("no datastorage", True),
        ("issue 7", True),
        ("no cluster", True),
    ]
    assert judged(of_pytest(path, tuple(case.name for case in skipped)), 0) is None
    error = judged(of_pytest(path, tuple(case.name for case in skipped[1:])), 0)
    assert error is not None
    assert error.message == "1 tests skipped themselves, first: test_skipping.test_writes: no datastorage"


def test_a_module_that_skips_itself_says_why() -> None:
    case = the(of_pytest(PY / "module-skip.xml"), "test_module_skip")
    assert (case.unexpected, case.message) == (True, "no cluster")


@pytest.mark.parametrize(
    ("report", "module", "says", "location"),
    [
        ("collection", "test_collection", "No module named 'nowhere_at_all'", "test_collection.py:1"),
        ("xdist-collection", "test_collection", "No module named 'nowhere_at_all'", "test_collection.py:1"),
        ("syntax", "test_syntax", "SyntaxError: invalid syntax", "/workspace/test_syntax.py:1"),
    ],
)
def test_a_module_that_cannot_be_collected_is_a_set_up_that_failed(
    report: str, module: str, says: str, location: str
) -> None:
    first = of_pytest(PY / f"{report}.xml").cases[0]
    assert (first.name, first.setup, first.location) == (f"[set-up] {module}", True, location)
    assert first.message.startswith("it could not be collected: ")
    assert first.message.endswith(says)


@pytest.mark.parametrize("report", ["exit", "interrupted"])
def test_a_test_during_which_the_session_was_given_up_is_not_green(report: str) -> None:
    result = of_pytest(PY / f"{report}.xml")
    assert [case.state for case in result.cases] == ["passed"]
    assert result.cases[0].name.endswith("test_adds")


@pytest.mark.parametrize("text", ["", "{", "<testsuites", "<a></b>", "\x00"])
def test_what_is_no_junit_report_is_a_value_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pytest.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a JUnit report"):
        of_pytest(path)


@pytest.mark.parametrize("procs", [1, 3])
def test_the_command_line_of_pytest_has_ours_then_the_catalogues_then_the_persons(procs: int) -> None:
    runner = Pytest(spec=PytestSuite(runner="pytest", paths=("tests/a", "tests/b"), procs=procs))
    argv = runner.command(("python3", "-m", "pytest"), ("-k", "a b"), Path("/r/logs/pytest.xml"))
    assert argv == (
        *("python3", "-m", "pytest", "--junit-xml=/r/logs/pytest.xml"),
        *(("--numprocesses=3",) if procs == 3 else ()),
        *("-k", "a b", "tests/a", "tests/b"),
    )
    assert runner.check == "python3 -m pytest --collect-only tests/a tests/b"


# The end of the console, where a report says nothing.


@pytest.mark.parametrize(
    ("path", "code", "line"),
    [
        (GO / "no-packages.jsonl", 1, "no packages to test"),
        (PY / "no-file.xml", 4, "ERROR: file or directory not found: test_nowhere.py"),
    ],
    ids=["gotestsum", "pytest"],
)
def test_a_runner_that_finds_nothing_where_the_catalogue_points_is_the_users_matter(
    path: Path, code: int, line: str
) -> None:
    error = judged(recorded(path), code, ("a line", line, ""))
    assert error is not None
    assert (error.reference, error.blame, error.message) == ("no-suite-found", "user", "no test suite was found")
    assert line in error.evidence


def test_pytest_that_leaves_no_report_is_told_by_its_exit_code_and_its_last_lines() -> None:
    error = verdict.no_report(4, ("python -m pytest: error: unrecognized arguments: --nonsense",))
    assert (error.reference, error.message) == ("no-report", "the suite ended with exit code 4 and left no report")
    assert "--nonsense" in error.evidence[0]
    killed = verdict.no_report(-6, ("Fatal Python error: Aborted",))
    assert (killed.reference, killed.message) == (
        "suite-killed",
        "the suite was killed by SIGABRT (signal 6) and left no report",
    )


@pytest.mark.parametrize("tool", [True, False])
def test_the_command_of_a_runner_is_gos_own_where_go_mod_calls_it_a_tool_and_else_a_build_for_this_run(
    tmp_path: Path, tool: bool
) -> None:
    package = "github.com/onsi/ginkgo/v2/ginkgo"
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).write_bytes((WORKSPACE / name).read_bytes())
    if not tool:
        subprocess.run(["go", "mod", "edit", f"-droptool={package}"], cwd=tmp_path, check=True)
    shown: list[str] = []

    def start(argv: tuple[str, ...], log: str, is_shown: bool) -> Command:
        on_line = shown.append if is_shown else lambda _: None
        return Command(argv, env=os.environ, cwd=tmp_path, log=tmp_path / "logs" / log, on_line=on_line)

    with program.had(package, tmp_path, tmp_path / "bin", start) as (words):
        said = subprocess.run([*words, "version"], capture_output=True, text=True, check=True).stdout
        assert said.startswith("Ginkgo Version 2.")
        assert (Path(words[0]).parent == tmp_path / "bin") is not tool
    assert Path(words[0]).exists() is tool
    assert shown == []


@pytest.mark.parametrize(
    ("location", "file"),
    [
        ("example.test/shop/pkg/a_test.go:7", "work/pkg/a_test.go"),  # gotestsum names the package
        ("example.test/shop/a_test.go:7", "work/a_test.go"),
        ("a_test.go:7", "work/suite/a_test.go"),  # pytest's, from where it ran
        ("example.test/other/pkg/a_test.go:7", ""),
        ("a package that has no line", ""),
        ("", ""),
    ],
)
def test_where_a_test_failed_is_a_file_that_can_be_edited(location: str, file: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    for folder in (work / "pkg", work / "suite", work):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a_test.go").write_text("package a\n")
    (work / "go.mod").write_text("// a module\nmodule example.test/shop\n\ngo 1.26\n")
    case = Case(name="audits", state="failed", message="no", location=location)
    result = placed(SuiteResult(cases=(case,), duration_s=1.0), work / "suite")
    assert result.cases[0].location == (f"{tmp_path / file}:7" if file else location)
    error = judged(result, 1)
    assert error is not None
    assert error.remedy.startswith("${EDITOR:-vi} " if file else "less ")
