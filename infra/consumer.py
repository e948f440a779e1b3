"""Who uses a stack that is ready: a suite of ours, or a pytest that has asked for it; and what they are given."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra import away, isolation, labels, lease_names, ports, processes, rundir, signals, suites, venvs
from infra.causes.table import Found
from infra.errors import Ended, InfraError, Internal, NotReady, SuiteFailed
from infra.isolation import Shared
from infra.lease import Lease
from infra.placeholders import render
from infra.plan import Plan
from infra.report import SuiteResult, WorkerResult
from infra.reporters.files import traceparent
from infra.request import Request
from infra.runners import pytest
from infra.settings import Settings
from infra.signals import Interrupts
from infra.suites import SuiteRun
from infra.watch import Recorder
from infra.workers import Worker

_LOOK_EVERY_S = 0.25
_LAST_WORDS_S = 20.0


@dataclass(frozen=True, kw_only=True)
class ReadyStack:
    """A stack that is ready. `run` is whose it is; `look` raises when it is not ready any more.

    Of one that is `lent` everything that its workers have not made themselves is a person's.
    """

    plan: Plan
    run: str
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    lease: Lease | None = None
    lent: bool = False
    look: Callable[[], None] = lambda: None
    explain: Callable[[tuple[str, ...]], Found | None] = lambda _lines: None

    def blamed(self, error: SuiteFailed, result: SuiteResult | None) -> SuiteFailed:
        """Return a red suite's error with the stack's cause, where the words of its failures show one."""
        failures = [case for case in result.cases if case.state == "failed"] if result is not None else []
        lines = tuple(line for case in failures for line in case.message.splitlines())
        found = self.explain(lines) if failures else None
        if found is None:
            return error
        blamed = SuiteFailed(
            f"{found.message}; {error.message}",
            reference=found.reference,
            remedy=found.remedy,
            blame=found.blame,
            evidence=(*found.evidence[:1], *error.evidence),
        )
        blamed.shown = error.shown
        return blamed


@dataclass
class Consumer:
    """The use of a ready stack in one run. `result` and `workers` are what is known of it at the end."""

    settings: Settings
    request: Request
    recorder: Recorder
    interrupts: Interrupts
    folder: Path
    result: SuiteResult | None = None
    failed: bool = False
    # None where it cannot be told. What fails because its stack has died is no test that has failed.
    failed_tests: int | None = 0
    _heard: SuiteResult | None = None
    workers: list[WorkerResult] = field(default_factory=list)

    def suite(self, ready: ReadyStack) -> None:
        """Run the suite. Raises `SuiteFailed`, and what `look` raises."""
        plan = ready.plan
        ready = self._with_suite_ports(ready)
        with self._workers(ready) as each:
            suite = self._suite_run(ready, each)
            spec = plan.suite.suite
            if spec.runner == "pytest" and spec.requirements:
                with self.recorder.step("requirements") as handle:
                    files = tuple(self.settings.workspace / name for name in spec.requirements)
                    python, handle.note = venvs.python_of(self.settings.root / ".infra" / "venvs", files, suite)
                    suite = suite.with_python(python)
            values = plan.suite_values(ready.ports, str(self.folder))
            for step in plan.suite.before:
                with self.recorder.step(step.name):
                    suites.run_step(suite, step, tuple(render(word, values) for word in step.command))
            with self.recorder.step("suite") as handle:
                try:
                    self.result, error = suites.run(suite)
                except NotReady as died:
                    local = ready.lease is not None and not ready.lease.connection.remote
                    self.failed_tests = self._failed_before(died.shown.timestamp() if local and died.shown else None)
                    raise
                except InfraError:
                    self.failed_tests = self._failed_before(None)
                    raise
                if self.result is not None:
                    handle.note = self.result.sentence()
                if error is not None:
                    self.failed_tests = self._failed_before(None)
                    raise ready.blamed(error, self.result)

    def _failed_before(self, moment: float | None) -> int | None:
        """How many tests had failed by then, which is when the stack died by the clock of this host, or in all."""
        if self._heard is None:
            return None
        return sum(case.failed_before(moment) for case in self._heard.cases)

    def _hear(self, result: SuiteResult | None) -> None:
        self._heard = result

    def serve(self, ready: ReadyStack) -> None:
        """Hand the addresses over to the process that has started this one, and keep the stack until it is gone."""
        ready = self._with_suite_ports(ready)
        pipe = self.request.served
        if pipe is None:
            raise Internal("nobody is there to be served", reference="internal", remedy="less {folder}/diagnosis.md")
        with self._workers(ready) as each:
            self.write_env(ready, each)
            given = self.given(ready, each)
            pipe.tell({"env": given})
            with self.recorder.step("suite") as handle:
                try:
                    while not pipe.has_word(_LOOK_EVERY_S):
                        ready.look()
                except Ended as error:
                    # It hears of it at once, and says what it has to say before we do.
                    pipe.tell_error(error.outcome, error.exit_code, ready.plan.mask(error.message))
                    if isinstance(error, InfraError):
                        pipe.has_word(_LAST_WORDS_S)
                    raise
                handle.note = pytest.ended(os.read(pipe.until, select.PIPE_BUF))

    def given(self, ready: ReadyStack, each: tuple[Worker, ...]) -> dict[str, str]:
        """Return what a suite gets beside the host's environment."""
        plan = ready.plan
        return {
            **plan.suite_env(ready.ports, str(self.folder), each),
            "INFRA_RUN": plan.run,
            "INFRA_SERVICE": plan.service,
            "INFRA_RUN_DIR": str(self.folder),
            "INFRA_INVOKE": str(rundir.program(self.folder)),
            "TRACEPARENT": traceparent(plan.run, "suite"),
        }

    def note_away(self, ready: ReadyStack) -> None:
        """Say what the suite has taken away and not started again: no fault, but nobody should have to guess."""
        away_now = {mark.container for mark in away.marks_of(ready.plan.run)}
        for name in (step.name for step in ready.plan.steps):
            if f"{ready.plan.service}-{name}-{ready.run}" in away_now:
                back = (
                    f": invoke infra.start --component {name} --run {ready.run}" if ready.run != ready.plan.run else ""
                )
                self.recorder.note(f"{name} was taken away by the suite and not started again{back}")

    def write_env(self, ready: ReadyStack, each: tuple[Worker, ...] = ()) -> None:
        """Write the environment down for people, secrets masked, and the program that it names."""
        ready = self._with_suite_ports(ready)
        masked = {key: ready.plan.mask(value) for key, value in self.given(ready, each).items()}
        rundir.write_program(self.settings, self.folder)
        (self.folder / "env").write_text(rundir.dotenv(masked), encoding="utf-8")

    @contextlib.contextmanager
    def _workers(self, ready: ReadyStack) -> Iterator[tuple[Worker, ...]]:
        plan = ready.plan
        if ready.lease is None or (plan.cloned is None and plan.redis is None):
            yield isolation.workers_of(plan, plan.run, lease_names.slot(plan.run) if plan.worker_count else 0, {}, ())
            return
        shared = Shared(
            plan=plan,
            ports=ready.ports,
            owner=ready.lease.owner,
            run=plan.run,
            stack=ready.run,
            lent=ready.lent,
            note=self.recorder.note,
        )
        try:
            with contextlib.ExitStack() as stack:
                with self.recorder.step("workers") as handle:
                    handing = isolation.handed_out(shared, self._is_kept, self.interrupts.held, self.workers)
                    each = stack.enter_context(handing)
                    handle.note = f"{len(each)}, each with {plan.worker_has}"
                try:
                    yield each
                except InfraError:
                    self.failed = True
                    raise
        finally:
            for worker in self.workers:
                if worker.kept:
                    self.recorder.note(f"the database of worker {worker.number} is kept: {worker.database}")

    def _is_kept(self, number: int) -> bool:
        """With INFRA_KEEP the database of a worker whose test has failed stays; of all, where none can be told."""
        failed = [case for case in self.result.cases if case.state == "failed"] if self.result else []
        known = {case.worker for case in failed if case.worker is not None}
        return self.settings.keep and self.failed and (number in known or not known)

    def _with_suite_ports(self, ready: ReadyStack) -> ReadyStack:
        """Choose the ports that the suite's own processes listen on."""
        if not ready.plan.suite_ports or "suite" in ready.ports:
            return ready
        chosen = {port.name: port.host or ports.any_free() for port in ready.plan.suite_ports}
        return replace(ready, ports={**ready.ports, "suite": chosen})

    def _suite_run(self, ready: ReadyStack, each: tuple[Worker, ...]) -> SuiteRun:
        plan = ready.plan
        self.write_env(ready, each)
        cwd = (self.settings.workspace / plan.suite.cwd).resolve()
        values = plan.suite_values(ready.ports, str(self.folder))
        return SuiteRun(
            spec=plan.suite.suite,
            args=(*(render(word, values) for word in plan.suite.suite.args), *self.request.args),
            cwd=cwd,
            env=self._environment(ready, each, cwd),
            logs=self.folder / "logs",
            raw=lease_names.private_folder(plan.run) / "report",
            on_line=self.recorder.watch.suite_line,
            look=lambda: self._look(ready),
            interrupts=self.interrupts,
            mask=plan.mask,
            heard=self._hear,
            file=plan.places["service_file"],
        )

    def _look(self, ready: ReadyStack) -> None:
        """Look at the stack; a fault of it is told at once, before the suite has been ended."""
        try:
            ready.look()
        except InfraError as error:
            self.recorder.name(error, "suite")
            raise

    def _environment(self, ready: ReadyStack, each: tuple[Worker, ...], cwd: Path) -> dict[str, str]:
        plan = ready.plan
        base = {**os.environ, "PATH": self.request.path or os.environ.get("PATH", os.defpath)}
        base.pop(signals.PARENT_PIPE, None)
        owner = ready.lease.owner if ready.lease else labels.Owner.of(os.getpid())
        given = self.given(ready, each) | processes.environment(plan.run, owner, "suite")
        return plan.suite.environment(base, given, cwd)
