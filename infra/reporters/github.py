"""GitHub Actions: groups that fold, annotations, and the step's summary.

While a run goes on, nothing that is printed is a command: what a suite, a build or a container writes is their own
business, and `::set-output` or `##[error]` in it does nothing. Commands are stopped by a word that nobody else knows,
and only around each of ours they are not. What is written here is masked like everything else.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from infra.errors import Blame, Cause, Outcome
from infra.masked_report import masked
from infra.placeholders import one_line
from infra.plan import Plan
from infra.report import Case, Report, StepResult
from infra.watch import Reporter, Reporters

SUITE = "suite"
# GitHub shows ten errors of a step and drops the others; one of them is the cause.
_CASES = 9
_EVIDENCE = 25
_ROWS = 50
_SUMMARY_BYTES = 256 * 1024
_EDIT = "${EDITOR:-vi} "
_LINE = re.compile(r"\bline (\d+)\b")


def around(
    console: Reporter, write: Callable[[str], None], environ: Mapping[str, str], folders: Iterable[Path]
) -> Reporters:
    """Return the console's reporter with GitHub's before and after it: whatever the console says, commands are stopped.

    `write` is the step's output, `folders` where files may be.
    """
    github = GitHubReporter(write, environ, folders)
    return Reporters([github, console, GitHubResult(github)])


class GitHubReporter(Reporter):
    """One more observer, of a step of GitHub Actions; the result is told apart, by `conclude`."""

    def __init__(self, write: Callable[[str], None], environ: Mapping[str, str], folders: Iterable[Path]) -> None:
        self._write = write
        self._environ = environ
        self._given = self._folders = tuple(folders)
        self._mask: Callable[[str], str] = str
        self._open = False
        self._word: str | None = None

    def run_started(self, plan: Plan, directory: str) -> None:
        self._mask = plan.mask
        self._folders = (*self._given, *(folder / plan.suite.cwd for folder in self._given))
        if plan.steps:
            self._group(f"stack of {plan.service} {plan.tier}")
        else:
            self._command()

    def step_started(self, name: str) -> None:
        if name == SUITE:
            self._group(SUITE)

    def step_finished(self, step: StepResult) -> None:
        if step.name == SUITE:
            self._unfold()

    def failed(self, outcome: Outcome, blame: Blame, cause: Cause) -> None:
        # What comes now is why: nobody should have to unfold it. Others' words are among it.
        self._command(*(["::endgroup::"] if self._open else []))
        self._open = False

    def run_finished(self, report: Report) -> None:
        self._unfold()

    def conclude(self, report: Report) -> None:
        """Annotate, let commands be commands again, and write the step's summary."""
        report = masked(report, self._mask)  # before anything of it is cut short or escaped
        self._command(*self._annotations(report), stop=False)
        if path := self._environ.get("GITHUB_STEP_SUMMARY"):
            text = summary(report, self._environ).encode("utf-8", "replace")[:_SUMMARY_BYTES]
            with Path(path).open("ab") as file:
                file.write(text.decode("utf-8", "ignore").encode())

    def _group(self, title: str) -> None:
        self._command(*(["::endgroup::"] if self._open else []), f"::group::{data(title)}")
        self._open = True

    def _unfold(self) -> None:
        if self._open:
            self._command("::endgroup::")
            self._open = False

    def _command(self, *commands: str, stop: bool = True) -> None:
        """Say commands, and that what comes after them is none."""
        lines = [f"::{self._word}::"] if self._word else []
        self._word = secrets.token_hex(16) if stop else None
        lines += [*commands, *([f"::stop-commands::{self._word}"] if stop else [])]
        self._write("".join(f"{line}\n" for line in lines))

    def _annotations(self, report: Report) -> Iterator[str]:
        cause = report.cause
        if cause is not None:
            level = "warning" if report.goes_again else "error"
            where = f"{report.service} {report.tier}".strip()
            title = f"{report.outcome}: {where}{f', {cause.step}' if cause.step else ''} ({report.blame})"
            message = f"{cause.message}; to do: {cause.remedy}"
            yield annotation(level, title, message, named(cause, self._environ, self._folders))
        elif report.flaky:
            yield annotation("warning", f"flaky: {report.service} {report.tier}", report.sentence(), None)
        failed = [case for case in report.suite.cases if case.state == "failed"] if report.suite else []
        for case in failed[:_CASES]:
            yield annotation("error", case.name, one_line(case.message) or "failed", _placed(case, self._environ))


class GitHubResult(Reporter):
    """The last to be told that a run is over: what the console says of it has others' words."""

    def __init__(self, github: GitHubReporter) -> None:
        self._github = github

    def run_finished(self, report: Report) -> None:
        self._github.conclude(report)


def named(cause: Cause, environ: Mapping[str, str], folders: Iterable[Path]) -> tuple[str, str] | None:
    """Return the file that a cause names, and the line: that which its remedy edits."""
    if not cause.remedy.startswith(_EDIT):
        return None
    try:
        words = shlex.split(cause.remedy, comments=True)
    except ValueError:
        return None
    line = _LINE.search(f"{cause.message} {cause.remedy}")
    file = _file(words[1], environ, folders) if len(words) > 1 else None
    return (file, line[1] if line else "") if file else None


def _placed(case: Case, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the file in which a test failed, and the line; a suite's result has absolute paths."""
    name, _, line = case.location.rpartition(":")
    file = _file(name, environ, [Path("/")]) if line.isdecimal() else None
    return (file, line) if file else None


def _file(name: str, environ: Mapping[str, str], folders: Iterable[Path]) -> str | None:
    """Return a file as GitHub names it, from the checkout's root; None for what is not there."""
    root = Path(environ.get("GITHUB_WORKSPACE") or ".").resolve()
    for folder in folders if name else ():
        path = (folder / name).resolve()
        if path.is_file() and path.is_relative_to(root):
            return str(path.relative_to(root))
    return None


def annotation(level: str, title: str, message: str, where: tuple[str, str] | None) -> str:
    """Return the command that annotates; `where` is a file and a line, or an empty text."""
    properties = {"file": where[0], "line": where[1]} if where else {}
    given = ",".join(f"{key}={_property(value)}" for key, value in (properties | {"title": title}).items() if value)
    return f"::{level} {given}::{data(message)}"


def data(text: str) -> str:
    """Return a text as the last part of a command has it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return data(text).replace(":", "%3A").replace(",", "%2C")


def artifact(report: Report) -> str:
    """Return the name under which the workflow of `ci.workflow` uploads a run's directory."""
    return f"run-{report.tier}-{report.service}"


def summary(report: Report, environ: Mapping[str, str]) -> str:
    """Return the step's summary, in GitHub's markdown: outcome, cause, steps, and where everything else is."""
    lines = [f"### {_plain(f'{report.service} {report.tier}'.strip())}: {report.outcome}", ""]
    lines += [_plain(report.sentence()), ""]
    if report.cause is not None:
        cause = report.cause
        lines += [f"**{_plain(f'{cause.step}: ' if cause.step else '')}{_plain(cause.message)}**", ""]
        lines += [f"Blame: {report.blame}. What it means: `invoke infra.explain {cause.reference}`. To do:", ""]
        lines += [*_fenced([cause.remedy or "see the evidence"]), *_fenced(cause.evidence[:_EVIDENCE]), ""]
    failed = [case for case in report.suite.cases if case.state == "failed"] if report.suite else []
    if failed:
        lines += ["| failed | says | where |", "|---|---|---|"]
        for case in failed[:_ROWS]:
            where = ":".join(_placed(case, environ) or (case.location,))
            lines.append(f"| {_plain(case.name)} | {_plain(one_line(case.message))} | {_plain(where)} |")
        lines.append("")
    lines += ["<details><summary>Steps</summary>", "", "| step | status | seconds | |", "|---|---|---:|---|"]
    lines += [
        f"| {_plain(step.name)} | {step.status} | {step.duration_s:.2f} | {_plain(one_line(step.note))} |"
        for step in report.steps
    ]
    lines += ["", "</details>", "", _where(report, environ), ""]
    return "\n".join(lines) + "\n"


def _where(report: Report, environ: Mapping[str, str]) -> str:
    folder = f"Report, logs and JUnit: `{Path(report.directory).name}`"
    server, repository, run = (environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    if report.exit_code == 0 or not (server and repository and run):
        return f"{folder} in `.infra/runs`."
    return f"{folder} in the artifact `{artifact(report)}` of [this run]({server}/{repository}/actions/runs/{run})."


def _plain(text: str) -> str:
    """Return a text in which nothing is markup, nor the border of a cell."""
    text = text.replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text)


def _fenced(lines: Iterable[str]) -> list[str]:
    """Return lines as a block of code, whatever backticks are in them."""
    lines = list(lines)
    longest = max((len(found) for found in re.findall(r"`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence] if lines else []
