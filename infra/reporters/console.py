"""One line a step with its duration; colour and progress only on a terminal; on failure the cause first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from infra.errors import Blame, Cause, Outcome
from infra.plan import Plan
from infra.report import Report, StepResult
from infra.watch import Reporter

_WIDTH = 22


class ConsoleReporter(Reporter):
    """Writes to a terminal or a pipe. `verbose` shows every line of builds and logs."""

    def __init__(self, console: Console, *, verbose: bool) -> None:
        self._console = console
        self._verbose = verbose
        self._running: list[str] = []
        self._status: Status | None = None
        self._told: Cause | None = None

    def run_started(self, plan: Plan, directory: str) -> None:
        self._line(f"{plan.service} {plan.tier}: run {plan.run}, ports {plan.ports_mode}, {directory}", "bold")

    def note(self, text: str) -> None:
        self._line(f"  {text}", "dim")

    def step_started(self, name: str) -> None:
        self._running.append(name)
        self._progress(", ".join(self._running))

    def step_progress(self, name: str, line: str) -> None:
        if self._verbose:
            self._line(f"  {name} | {line}", "dim")
        else:
            self._progress(f"{name}: {line}")

    def step_finished(self, step: StepResult) -> None:
        if step.name in self._running:
            self._running.remove(step.name)
        self._stop()
        mark, style = _MARKS[step.status]
        said = step.note or (f"{step.polls} polls" if step.polls else "")
        self._line(f"  {step.name:<{_WIDTH}} {step.duration_s:7.2f} s  {mark}{'  ' + said if said else ''}", style)
        if self._running:
            self._progress(", ".join(self._running))

    def suite_line(self, line: str) -> None:
        self._stop()
        # The suite's bytes are its own: nothing in them is markup.
        self._console.print(Text.from_ansi(line), soft_wrap=True)

    def log_line(self, component: str, line: str) -> None:
        self._line(f"  {component} | {line}", "dim")

    def run_finished(self, report: Report) -> None:
        self._stop()
        if report.cause is not None and report.blame is not None and report.cause != self._told:
            self.failed(report.outcome, report.blame, report.cause)
        if path := report.critical_path():
            chain = " > ".join(f"{step.name} {step.duration_s:.1f}" for step in path)
            self._line(f"critical path: {chain} = {sum(s.duration_s for s in path):.1f} s", "dim")
        if report.not_again is not None:
            self._line(f"not repeated: {report.not_again}", "")
        good = "bold yellow" if report.flaky else "bold green"
        self._line(report.sentence(), good if report.exit_code == 0 else "bold red")

    def failed(self, outcome: Outcome, blame: Blame, cause: Cause) -> None:
        self._told = cause
        self._stop()
        for text, style in told(outcome, blame, cause):
            self._line(text, style)

    def _line(self, text: str, style: str) -> None:
        if self._status is not None and not self._running:
            self._stop()
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _progress(self, text: str) -> None:
        if not self._console.is_terminal:
            return
        first = escape(text.replace("\t", " ")[: max(self._console.width - 6, 10)])
        if self._status is None:
            self._status = self._console.status(first, spinner="line")
            self._status.start()
        else:
            self._status.update(first)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def told(outcome: str, blame: str, cause: Cause) -> Iterator[tuple[str, str]]:
    """Yield why it did not pass, line by line with its style: the cause and what to do first, then what shows it."""
    yield cause.line(outcome), "bold red"
    yield f"  blame: {blame}; more: invoke infra.explain {cause.reference}", ""
    for line in cause.evidence:
        yield f"  | {line}", "dim"


_MARKS = {"passed": ("ok", ""), "failed": ("FAILED", "red"), "interrupted": ("interrupted", "yellow")}


def rows(table: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))] if table else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
