"""The console as a pipe and as a terminal sees it."""

import os
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from given import DIED, PASSED, ROOT, plan_of
from rich.console import Console

from infra.report import Report
from infra.reporters.console import ConsoleReporter, rows


def shown(report: Report, tmp_path: Path, *, terminal: bool = False, verbose: bool = False) -> str:
    """What is written while a run goes on and ends."""
    out = StringIO()
    reporter = ConsoleReporter(
        Console(file=out, force_terminal=terminal, width=60, highlight=False, _environ={"TERM": "xterm"}),
        verbose=verbose,
    )
    reporter.run_started(plan_of(tmp_path), ".infra/runs/1884d074")
    for step in report.steps:
        reporter.step_started(step.name)
        reporter.step_progress(step.name, "STEP 1/2: FROM [red]scratch[/red]")
        if step.name == "suite":
            reporter.suite_line("Ran 2 of 2 Specs [bold]in[/bold] [1.2 seconds] /x/[y]")
        reporter.step_finished(step)
    reporter.note("look at [bold]this[/bold]")
    reporter.run_finished(report)
    return out.getvalue()


def test_a_step_is_one_line_with_its_duration(tmp_path: Path) -> None:
    lines = shown(PASSED, tmp_path).splitlines()
    assert lines[:6] == [
        "notification integration: run 1884d074, ports fixed, .infra/runs/1884d074",
        "  engine                    0.50 s  ok  Podman 4.3.1, crun, socket",
        "  image redis               3.00 s  ok",
        "  image postgres            9.50 s  ok  built: new base",
        "  postgres                  2.25 s  ok  7 polls",
        "Ran 2 of 2 Specs [bold]in[/bold] [1.2 seconds] /x/[y]",
    ]


def test_the_critical_path_and_then_the_result_come_last(tmp_path: Path) -> None:
    lines = shown(PASSED, tmp_path).splitlines()
    assert lines[-2] == "critical path: engine 0.5 > image postgres 9.5 > postgres 2.2 > suite 4.0 = 16.2 s"
    assert lines[-1] == PASSED.sentence()


def test_a_failure_says_the_cause_first_then_its_evidence(tmp_path: Path) -> None:
    lines = shown(DIED, tmp_path).splitlines()
    why = "not-ready: postgres: the container exited with code 1: FATAL: out of [red]disk[/red]"
    start = lines.index(f"{why}; to do: look at logs/postgres.log")
    assert lines[start - 1] == "  look at [bold]this[/bold]"
    assert lines[start + 1 : start + 4] == [
        "  blame: infrastructure; more: invoke infra.explain component-died",
        "  | LOG: starting",
        "  | FATAL: out of [red]disk[/red]",
    ]
    assert lines[start + 4].startswith("critical path: ")
    assert lines[start + 5] == DIED.sentence()
    assert len(lines) == start + 6
    assert "  postgres                  2.25 s  FAILED  7 polls" in lines


def test_a_pipe_gets_no_escape_codes_and_no_progress(tmp_path: Path) -> None:
    for report in (PASSED, DIED):
        text = shown(report, tmp_path / str(report.exit_code))
        assert "\x1b" not in text
        assert "\r" not in text
        assert "STEP 1/2" not in text


def test_a_terminal_gets_progress_and_colour_and_markup_stays_text(tmp_path: Path) -> None:
    text = shown(DIED, tmp_path, terminal=True)
    assert "\x1b[1;31m" in text  # the cause, bold and red
    assert "STEP 1/2: FROM [red]scratch[/red]" in text
    assert "out of [red]disk[/red]" in text


def test_verbose_streams_builds(tmp_path: Path) -> None:
    lines = shown(PASSED, tmp_path, verbose=True).splitlines()
    assert "  image redis | STEP 1/2: FROM [red]scratch[/red]" in lines


def test_a_long_line_is_not_broken(tmp_path: Path) -> None:
    cause = replace(DIED.cause, message="x" * 500) if DIED.cause else None
    assert "x" * 500 in shown(replace(DIED, cause=cause), tmp_path)


def test_a_run_without_steps_still_has_its_result(tmp_path: Path) -> None:
    lines = shown(replace(DIED, steps=()), tmp_path).splitlines()
    assert lines[-1] == DIED.sentence()
    assert not any(line.startswith("critical path") for line in lines)


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from rich.console import Console
from infra.reporters.console import ConsoleReporter
from infra.report import StepResult
one = ConsoleReporter(Console(highlight=False), verbose=False)
one.step_finished(StepResult(name="redis", status="failed", start_s=0, duration_s=1))
one.suite_line("\\x1b[31mred\\x1b[0m [x]")
"""


@pytest.mark.parametrize(("name", "value", "coloured"), [("NO_COLOR", "1", False), ("FORCE_COLOR", "1", True)])
def test_a_process_honours_no_color(name: str, value: str, coloured: bool) -> None:
    environ = {"PATH": os.defpath, "TERM": "xterm-256color", "FORCE_COLOR": "1", name: value}
    argv = [sys.executable, "-c", PROGRAM.format(root=str(ROOT))]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    assert ("\x1b[31m" in done.stdout) is coloured
    assert "redis" in done.stdout
    assert "[x]" in done.stdout


def test_rows_are_aligned_without_blanks_at_the_end() -> None:
    assert rows([("a", "bbb", ""), ("aaaa", "b", "c")]) == "a     bbb\naaaa  b    c"
    assert rows([]) == ""
