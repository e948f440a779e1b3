"""From a request to a report: the one `except` of a run, and the one place where signals are caught."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from infra import evidence, retry, run_names, rundir, scene, signals
from infra.consumer import Consumer
from infra.development import Development
from infra.ending import Ending
from infra.errors import Ended, Internal, Outcome
from infra.holding import Goal
from infra.lease_names import private_folders
from infra.lending import Lending
from infra.report import Attempt, Report
from infra.reporters.files import FilesReporter
from infra.reporters.output import patient
from infra.request import Request
from infra.run import Run
from infra.settings import Settings
from infra.signals import Interrupts
from infra.watch import Recorder, Reporter, Reporters

_KINDS: Mapping[Goal, type[Run | Development | Lending]] = {"dev": Development, "dev-test": Lending}


@contextlib.contextmanager
def watched() -> Iterator[Interrupts]:
    """Catch the signals until the block ends, and hold them where nothing says otherwise."""
    with (
        signals.caught(output=True) as interrupts,
        patient(lambda: interrupts.first is not None),
        interrupts.held(),
    ):
        yield interrupts


def once(settings: Settings, request: Request, console: Reporter, goal: Goal, interrupts: Interrupts) -> Report:
    """Do one run and return its report; every error is in the report. Raises `Invalid` for a bad `--run` only."""
    run = run_names.run_name(request.run)
    folder = rundir.make(settings.runs, run)
    ending = Ending()
    # The mask is known only when the plan is.
    files = FilesReporter(folder, lambda text: ending.mask(text))  # noqa: PLW0108
    recorder = Recorder(
        Reporters([console, files]),
        folder=rundir.shown(folder),
        mask=lambda text: ending.mask(text),  # noqa: PLW0108
    )
    started = datetime.now(UTC)
    error: Ended | None = None
    request = replace(request, run=run)
    consumer = Consumer(settings, request, recorder, interrupts, folder)
    try:
        with interrupts.raised():
            _KINDS.get(goal, Run)(settings, request, recorder, interrupts, ending, consumer).go(goal)
    except Ended as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001 - the last resort: a bug of ours still ends in a report
        error = _bug(caught)
    evidence.trim(folder)
    report = _report(run, request, recorder, ending, started, error, consumer)
    if interrupts.first is not None:
        report = replace(report, goes_again=False)
    recorder.watch.run_finished(report)
    rundir.prune(settings.runs, {name for name, _ in private_folders()})
    return report


def _bug(error: Exception) -> Internal:
    return Internal(
        f"an error of ours: {type(error).__name__}: {error}",
        reference="internal",
        remedy="less {folder}/diagnosis.md  # report it with the run's folder",
        evidence=tuple(traceback.format_exc().splitlines()[-20:]),
    )


def _report(
    run: str,
    request: Request,
    recorder: Recorder,
    ending: Ending,
    started: datetime,
    error: Ended | None,
    consumer: Consumer,
) -> Report:
    if error is None and ending.left:
        error = Internal(
            f"something was left behind: {', '.join(ending.left)}",
            reference="left-behind",
            remedy=f"invoke infra.gc --run {run}",
        )
    cause = recorder.name(error) if error else None
    outcome = error.outcome if error else Outcome.PASSED
    this = Attempt(
        run=run,
        outcome=str(outcome),
        reference=cause.reference if cause else None,
        duration_s=recorder.elapsed_s,
    )
    why_not = retry.why_not(error, consumer.failed_tests) if error and request.may_go_again else None
    return Report(
        run=run,
        service=request.service or "",
        tier=request.tier,
        outcome=outcome,
        blame=error.blame if error else None,
        exit_code=error.exit_code if error else 0,
        started=started.isoformat(timespec="milliseconds"),
        duration_s=recorder.elapsed_s,
        steps=tuple(sorted(recorder.steps, key=lambda step: step.start_s)),
        suite=consumer.result,
        cause=cause,
        engine=ending.engine,
        left_behind=ending.left,
        directory=str(consumer.folder),
        kept=ending.kept,
        stack=ending.stack,
        notes=tuple(recorder.notes),
        workers=tuple(consumer.workers),
        resources=ending.resources,
        scene=ending.scene or (scene.of_host(ending.plan, consumer.folder) if error else None),
        attempts=(*request.earlier, this),
        most_attempts=request.retries + 1,
        goes_again=error is not None and request.may_go_again and why_not is None,
        not_again=why_not,
    )
