"""GitHub Actions: what its runner would make of what is printed, and of the step's summary."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import pytest
from given import DIED, PASSED, ROOT, plan_of
from rich.console import Console

from infra.errors import Cause, Outcome, edit
from infra.report import Case, Report, StepResult, SuiteResult
from infra.reporters.console import ConsoleReporter
from infra.reporters.github import annotation, around, summary
from infra.tasks import common
from infra.watch import Reporter, Reporters

SECRET = "test_password"
HALF = "slm_user:t"


@dataclass
class Runner:
    """What GitHub's runner does with a step's output: commands are obeyed unless they are stopped."""

    commands: list[tuple[str, str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    word: str | None = None

    def read(self, text: str) -> "Runner":
        for line in text.splitlines():
            # Its first form stands at a line's beginning, the older one anywhere in it.
            found = re.match(r"\s*::([\w-]+)(?: (.*?))?::(.*)", line) or re.search(
                r"##\[([\w-]+)(?: (.*?))?\](.*)", line
            )
            if self.word is not None:
                if line == f"::{self.word}::":
                    self.word = None
                else:
                    self.lines.append(line)
            elif found and found[1] == "stop-commands":
                self.word = found[3]
            elif found:
                self.commands.append((found[1], found[2] or "", found[3]))
            else:
                self.lines.append(line)
        return self

    def said(self, name: str) -> list[str]:
        return [f"{properties}::{data}" for command, properties, data in self.commands if command == name]


SAYS = ("::error::of a suite", "  ::set-output name=x::y", "text ##[error]of a suite", "::endgroup::", "::add-mask::a")


def run_of(
    report: Report, tmp_path: Path, *, environ: dict[str, str] | None = None, suite: tuple[str, ...] = SAYS
) -> Runner:
    """What the runner sees of a run while it goes on and ends."""
    out = StringIO()
    console = ConsoleReporter(Console(file=out, width=60, highlight=False), verbose=True)
    watch = around(console, lambda text: void(out.write(text)), environ or {}, (tmp_path,))
    watch.run_started(plan_of(tmp_path), ".infra/runs/1884d074")
    for step in report.steps:
        watch.step_started(step.name)
        watch.step_progress(step.name, "::error::of a build")
        if step.name == "suite":
            for line in suite:
                watch.suite_line(line)
        if step.cause is not None and report.blame is not None:
            watch.failed(report.outcome, report.blame, step.cause)
        watch.step_finished(step)
    watch.log_line("redis", "::warning::of a container")
    watch.run_finished(report)
    runner = Runner().read(out.getvalue())
    assert runner.word is None, "what comes after the run is not silenced"
    return runner


def void(_: object) -> None:
    """A writer's answer is nobody's business."""


def test_a_stack_and_a_suite_are_folded_and_the_result_is_not(tmp_path: Path) -> None:
    runner = run_of(PASSED, tmp_path)
    assert [name for name, _, _ in runner.commands] == ["group", "endgroup", "group", "endgroup"]
    assert [data for name, _, data in runner.commands if name == "group"] == [
        "stack of notification integration",
        "suite",
    ]
    assert runner.lines[-1] == PASSED.sentence()


def test_what_a_suite_a_build_or_a_container_writes_is_shown_and_is_no_command(tmp_path: Path) -> None:
    runner = run_of(PASSED, tmp_path)
    assert {name for name, _, _ in runner.commands} == {"group", "endgroup"}
    assert set(SAYS) <= set(runner.lines)
    assert "  redis | ::warning::of a container" in runner.lines


def test_a_word_that_stops_commands_is_never_used_twice(tmp_path: Path) -> None:
    out = StringIO()
    github, plan = around(Reporter(), lambda text: void(out.write(text)), {}, ()), plan_of(tmp_path)
    for _ in range(3):
        github.run_started(plan, "")
        github.run_finished(PASSED)
    words = re.findall(r"^::stop-commands::(\w+)$", out.getvalue(), re.M)
    assert len(words) == len(set(words)) > 3
    assert all(len(word) == 32 for word in words)


def test_a_cause_is_one_annotation_and_shown_where_nothing_is_folded(tmp_path: Path) -> None:
    runner = run_of(DIED, tmp_path)
    (error,) = runner.said("error")
    assert error.startswith(
        "title=not-ready%3A notification integration%2C postgres (infrastructure)::the container exi"
    )
    assert error.endswith("; to do: look at logs/postgres.log")
    names = [name for name, _, _ in runner.commands]
    assert names == ["group", "endgroup", "error"]


def test_an_annotation_is_escaped_as_github_wants_it() -> None:
    said = annotation("error", "50%: a, b", "50%\r\nof: a, b", ("a,b:c.go", "7"))
    assert said == "::error file=a%2Cb%3Ac.go,line=7,title=50%25%3A a%2C b::50%25%0D%0Aof: a, b"
    assert annotation("warning", "t", "m", ("a.go", "")) == "::warning file=a.go,title=t::m"


def failing(cause: Cause, *cases: Case, **more: object) -> Report:
    suite = SuiteResult(cases=cases, duration_s=1.0)
    step = StepResult(name="suite", status="failed", start_s=0.0, duration_s=1.0, cause=cause)
    report = replace(PASSED, outcome=Outcome.FAILED, blame="test", exit_code=1, suite=suite, steps=(step,), cause=cause)
    return replace(report, **more)  # type: ignore[arg-type]


def test_a_file_that_a_cause_names_is_annotated_in_it(tmp_path: Path) -> None:
    file = tmp_path / "migrations" / "011 bad.sql"
    file.parent.mkdir()
    file.write_text("CREAT\n")
    cause = Cause(reference="x", step="suite", message="011 bad.sql, line 4: no", remedy=edit("migrations/011 bad.sql"))
    (error,) = run_of(failing(cause), tmp_path, environ={"GITHUB_WORKSPACE": str(tmp_path)}).said("error")
    assert error.startswith("file=migrations/011 bad.sql,line=4,title=")


@pytest.mark.parametrize("remedy", [edit("gone.sql"), edit("../../../etc/hosts"), "${EDITOR:-vi} 'a", "less x"])
def test_a_file_that_is_not_in_the_checkout_is_not_named(remedy: str, tmp_path: Path) -> None:
    cause = Cause(reference="x", step="suite", message="line 4: no", remedy=remedy)
    (error,) = run_of(failing(cause), tmp_path, environ={"GITHUB_WORKSPACE": str(tmp_path)}).said("error")
    assert error.startswith("title=failed%3A")


def test_failed_tests_are_annotated_where_they_are_and_no_more_of_them_than_github_shows(tmp_path: Path) -> None:
    (tmp_path / "a_test.go").write_text("package a\n")
    cases = [
        Case(name=f"audits {n}", state="failed", message=f"want {SECRET}\ngot 2", location=f"{tmp_path}/a_test.go:{n}")
        for n in range(1, 30)
    ]
    cause = Cause(reference="x", step="suite", message="29 of 29 failed", remedy="less x")
    errors = run_of(failing(cause, *cases), tmp_path, environ={"GITHUB_WORKSPACE": str(tmp_path)}).said("error")
    assert len(errors) == 10
    assert errors[1] == "file=a_test.go,line=1,title=audits 1::want ******** got 2"


@pytest.mark.parametrize(
    ("location", "annotated", "where"),
    [
        ("{root}/pkg/a_test.go:7", "file=pkg/a_test.go,line=7,", "pkg/a\\_test.go:7"),
        ("example.test/other/pkg/a_test.go:7", "", "example.test/other/pkg/a\\_test.go:7"),
    ],
)
def test_where_a_test_failed_is_told_from_the_checkout_on(
    location: str, annotated: str, where: str, tmp_path: Path
) -> None:
    root, path = tmp_path / "checkout", tmp_path / "summary.md"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "a_test.go").write_text("package a\n")
    cause = Cause(reference="x", step="suite", message="1 of 1 failed", remedy="less x")
    case = Case(name="audits", state="failed", message="no", location=location.format(root=root))
    environ = {"GITHUB_WORKSPACE": str(root), "GITHUB_STEP_SUMMARY": str(path)}
    errors = run_of(failing(cause, case), tmp_path, environ=environ).said("error")
    assert errors[1] == f"{annotated}title=audits::no"
    assert f"| audits | no | {where} |" in path.read_text()


def test_an_attempt_that_is_repeated_is_a_warning(tmp_path: Path) -> None:
    runner = run_of(replace(DIED, goes_again=True), tmp_path)
    assert (len(runner.said("warning")), runner.said("error")) == (1, [])


def test_the_summary_has_outcome_cause_steps_and_where_the_rest_is(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    told = {f"GITHUB_{name}": name.lower() for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")}
    run_of(DIED, tmp_path, environ={**told, "GITHUB_STEP_SUMMARY": str(path)})
    lines = path.read_text().splitlines()
    assert lines[:2] == ["before", "### notification integration: not-ready"]
    assert "**postgres: the container exited with code 1: FATAL: out of \\[red\\]disk\\[/red\\]**" in lines
    assert "look at logs/postgres.log" in lines
    assert "| image postgres | passed | 9.50 | built: new base |" in lines
    assert lines[-2] == (
        "Report, logs and JUnit: `1884d074` in the artifact `run-integration-notification` of [this run]"
        "(server_url/repository/actions/runs/run_id)."
    )


def test_nothing_that_a_program_says_is_markup_of_the_summary(tmp_path: Path) -> None:
    case = Case(name="a|b <img> `x`", state="failed", message="x\n| y", location="")
    cause = Cause(
        reference="x", step="suite", message="<b>*no*</b>\nit is", remedy="less x", evidence=("```", "# evidence")
    )
    lines = summary(failing(cause, case), {}).splitlines()
    assert "**suite: &lt;b>\\*no\\*&lt;/b> it is**" in lines
    assert "| a\\|b &lt;img> \\`x\\` | x \\| y |  |" in lines
    at = lines.index("# evidence")
    assert (lines[at - 2], lines[at + 1]) == ("````", "````")


def test_no_secret_is_annotated_or_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    case = Case(name=f"says {SECRET}", state="failed", message=SECRET, location=f"{SECRET}:1")
    cause = Cause(reference="x", step="suite", message=SECRET, remedy=f"echo {SECRET}", evidence=(SECRET,))
    runner = run_of(failing(cause, case), tmp_path, environ={"GITHUB_STEP_SUMMARY": str(path)})
    assert SECRET not in str(runner.commands)
    assert SECRET not in path.read_text()
    assert "********" in path.read_text()
    # As GitHub's markdown would have it: what is escaped first is a secret that nobody finds.
    assert SECRET not in path.read_text().replace("\\", "")


def test_of_a_secret_at_which_a_message_is_cut_no_half_is_told(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    url = f"postgres://slm_user:{SECRET}@127.0.0.1:1/x"
    case = Case(name="says", state="failed", message="y" * (197 - 20 - len("test_pas")) + url, location="")
    cause = Cause(reference="x", step="suite", message="1 of 1 failed", remedy="less x")
    runner = run_of(failing(cause, case), tmp_path, environ={"GITHUB_STEP_SUMMARY": str(path)})
    told = f"{runner.commands} {path.read_text()}".replace("\\", "")
    assert "slm_user:***" in told
    assert HALF not in told


def test_a_summary_that_is_too_long_for_github_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    cause = Cause(reference="x", step="suite", message="ä" * 2_000_000, remedy="less x")
    run_of(failing(cause), tmp_path, environ={"GITHUB_STEP_SUMMARY": str(path)})
    assert 200_000 < len(path.read_bytes()) < 1024 * 1024
    assert path.read_text(encoding="utf-8").startswith("### notification")


def test_a_summary_that_cannot_be_written_costs_no_annotation(tmp_path: Path) -> None:
    runner = run_of(DIED, tmp_path, environ={"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "folder")})
    assert len(runner.said("error")) == 1
    assert any("GitHubResult failed and is told no more" in line for line in runner.lines)


@pytest.mark.parametrize(("says", "kind"), [("true", Reporters), ("false", ConsoleReporter), ("", ConsoleReporter)])
def test_it_speaks_in_github_actions_and_nowhere_else(
    says: str, kind: type[Reporter], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", says)
    made: Callable[..., Reporter] = common.reporter
    reporter = made(verbose=False)
    assert type(reporter) is kind
    reporter.run_finished(DIED)
    assert ("::error " in capsys.readouterr().out) is (says == "true")


def test_a_cause_that_is_known_at_the_end_alone_is_no_command_either(tmp_path: Path) -> None:
    """What is left behind: nobody has told of it before the run was over."""
    cause = Cause(
        reference="x", step=None, message="::error::a", remedy="less x", evidence=("::add-mask::a", "##[group]b")
    )
    report = replace(DIED, cause=cause, steps=PASSED.steps[:4])
    runner = run_of(report, tmp_path)
    assert [name for name, _, _ in runner.commands] == ["group", "endgroup", "error"]
    assert "  | ##[group]b" in runner.lines
    assert runner.lines[-1] == report.sentence()


SAYING = """
import sys
from infra.errors import {error}
from infra.tasks import common
with common.told():
    raise {error}("no\\r::error::of a program", reference="x", remedy="echo test_password",
                  evidence=("::set-output name=x::y", "##[error]of test_password"))
"""


def told(folder: Path, error: str, says: str) -> tuple[str, int]:
    argv = [sys.executable, "-c", SAYING.format(error=error)]
    environ = {**os.environ, "GITHUB_ACTIONS": says, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    return done.stderr, done.returncode


def test_what_a_task_says_of_an_error_is_no_command_and_no_secret_in_github_actions_alone() -> None:
    text, code = told(ROOT, "NotReady", "true")
    runner = Runner().read(text)
    assert (code, runner.word) == (75, None)
    assert [name for name, _, _ in runner.commands] == ["error"]
    assert "  | ::set-output name=x::y" in runner.lines
    assert "  | ##[error]of ********" in runner.lines
    assert "to do: echo ********" in runner.commands[0][2]
    assert SECRET not in text
    text, code = told(ROOT, "NotReady", "")
    assert (code, text.count("::stop-commands::")) == (75, 0)
    assert f"to do: echo {SECRET}" in text


def test_where_no_catalogue_says_what_is_secret_there_is_no_evidence(tmp_path: Path) -> None:
    text, _ = told(tmp_path, "NotReady", "true")
    assert "  | " not in text
    assert "set-output" not in text


def test_what_a_task_says_of_a_file_is_annotated_in_it(tmp_path: Path) -> None:
    """As what the plan of the workflow says of a catalogue that does not load."""
    (tmp_path / "tasks.py").write_text("from infra.tasks import namespace\n")
    file = tmp_path / "infra" / "catalog" / "services" / "shop.toml"
    file.parent.mkdir(parents=True)
    file.write_text("stack = [\n")
    argv = [sys.executable, "-m", "invoke", "ci.matrix"]
    given = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=os.environ | given, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("::error ")]
    assert error.startswith("::error file=infra/catalog/services/shop.toml,line=2,title=invalid (user)::")


def fail_after(line: str) -> None:
    with common.stopped(sys.stdout):
        print(line)
        raise ZeroDivisionError


def test_what_is_printed_for_others_is_no_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for says in ("true", "true", ""):
        monkeypatch.setenv("GITHUB_ACTIONS", says)
        with pytest.raises(ZeroDivisionError):
            fail_after("::error::of a container")
    told = capsys.readouterr().out
    words = re.findall(r"^::stop-commands::(\w{32})$", told, re.M)
    assert len(set(words)) == 2
    runner = Runner().read(told)
    assert (runner.word, runner.lines) == (None, ["::error::of a container"] * 2)
    assert runner.commands == [("error", "", "of a container")], "elsewhere it is a text like any other"
