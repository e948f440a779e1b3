"""The files of the run directory: report.json, junit.xml, trace.json (OTLP), and diagnosis.md on failure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from infra.masked_report import masked
from infra.placeholders import one_line
from infra.report import Report, StepResult
from infra.watch import Reporter


class FilesReporter(Reporter):
    """Writes the run directory's files when the run is over; `mask` takes secrets out of all of them."""

    def __init__(self, folder: Path, mask: Callable[[str], str]) -> None:
        self._folder = folder
        self._mask = mask

    def run_finished(self, report: Report) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        report = masked(report, self._mask)
        self._write("report.json", json.dumps(report.as_json(), indent=2) + "\n")
        self._write("junit.xml", junit(report))
        self._write("trace.json", json.dumps(trace(report), indent=2) + "\n")
        if report.cause is not None:
            self._write("diagnosis.md", diagnosis(report))

    def _write(self, name: str, text: str) -> None:
        # Whole or not at all: somebody may be reading the newest run while it ends.
        part = self._folder / f".{name}.part"
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        part.replace(self._folder / name)


def junit(report: Report) -> str:
    """Return JUnit XML: the steps as cases of a set-up suite, the suite's failures as cases of their own."""
    root = ElementTree.Element("testsuites")
    name = f"{report.service}.{report.tier}"
    stack = ElementTree.SubElement(root, "testsuite", name=f"{name}.stack", tests=str(len(report.steps)))
    _properties(stack, report)
    failures = [case for case in report.suite.cases if case.state == "failed"] if report.suite else []
    failed_steps = 0
    for step in report.steps:
        case = ElementTree.SubElement(stack, "testcase", classname=f"{name}.stack", name=step.name)
        case.set("time", f"{step.duration_s:.3f}")
        if step.status != "passed" and not (step.name == "suite" and failures):
            failed_steps += 1
            message = step.cause.line(step.status) if step.cause else step.status
            error = ElementTree.SubElement(
                case, "error", message=_legal(message), type=step.cause.reference if step.cause else "error"
            )
            error.text = _legal("\n".join(step.cause.evidence) if step.cause else "")
    if report.cause is not None and not failed_steps and not failures:
        # No step shows it (a wrong catalogue, something left behind), and a failed run must not look green.
        failed_steps = 1
        case = ElementTree.SubElement(stack, "testcase", classname=f"{name}.stack", name="run", time="0.000")
        line = report.cause.line(report.outcome)
        ElementTree.SubElement(case, "error", message=_legal(line), type=report.cause.reference)
        stack.set("tests", str(len(report.steps) + 1))
    stack.set("errors", str(failed_steps))
    stack.set("time", f"{report.duration_s:.3f}")
    if report.suite is not None:
        result = report.suite
        counts = {"tests": len(result.cases), "failures": len(failures), "skipped": result.skipped}
        suite = ElementTree.SubElement(root, "testsuite", name=name, time=f"{result.duration_s:.3f}")
        for key, count in counts.items():
            suite.set(key, str(count))
        for case_ in result.cases:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=_legal(case_.name))
            case.set("time", f"{case_.duration_s:.3f}")
            if case_.state == "failed":
                failure = ElementTree.SubElement(case, "failure", message=_legal(one_line(case_.message)))
                failure.text = _legal(f"{case_.message}\n{case_.location}")
            elif case_.state == "skipped":
                ElementTree.SubElement(case, "skipped", message=_legal(case_.message))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _properties(stack: ElementTree.Element, report: Report) -> None:
    """Say in properties what no case shows: the cause of tests that are red, and that a pass was not the first try."""
    told: dict[str, object] = {}
    if report.cause is not None:
        told |= {"cause": report.cause.reference, "blame": report.blame or ""}
    if report.most_attempts > 1:
        told |= {
            "attempt": report.attempt,
            "most_attempts": report.most_attempts,
            "retry_of": report.retry_of or "",
            "flaky": str(report.flaky).lower(),
        }
    if told:
        properties = ElementTree.SubElement(stack, "properties")
        for key, value in told.items():
            ElementTree.SubElement(properties, "property", name=f"infra.{key}", value=str(value))


def _legal(text: str) -> str:
    """Leave out what XML 1.0 cannot hold."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )


def trace_id(run: str) -> str:
    """Return the W3C trace id of a run, 32 hex digits."""
    return hashlib.sha256(f"trace {run}".encode()).hexdigest()[:32]


def span_id(run: str, step: str) -> str:
    """Return the W3C span id of a step, 16 hex digits; the root's step is empty."""
    return hashlib.sha256(f"span {run} {step}".encode()).hexdigest()[:16]


def traceparent(run: str, step: str) -> str:
    """Return the W3C header that makes a suite's spans children of its step."""
    return f"00-{trace_id(run)}-{span_id(run, step)}-01"


def trace(report: Report) -> dict[str, Any]:
    """Return the run as OTLP/JSON: one span for the run, one below it for each step."""
    origin = datetime.fromisoformat(report.started).timestamp()

    def span(name: str, start_s: float, end_s: float, ok: bool, step: StepResult | None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "traceId": trace_id(report.run),
            "spanId": span_id(report.run, step.name if step else ""),
            "name": name,
            "kind": 1,
            "startTimeUnixNano": str(int((origin + start_s) * 1e9)),
            "endTimeUnixNano": str(int((origin + end_s) * 1e9)),
            "status": {"code": 1 if ok else 2},
            "attributes": [],
        }
        if step is not None:
            made["parentSpanId"] = span_id(report.run, "")
            made["attributes"] = [{"key": "infra.polls", "value": {"intValue": str(step.polls)}}]
        return made

    spans = [span(f"{report.service} {report.tier}", 0.0, report.duration_s, report.exit_code == 0, None)]
    spans += [span(s.name, s.start_s, s.end_s, s.status == "passed", s) for s in report.steps]
    attributes = [
        {"key": "service.name", "value": {"stringValue": "infra"}},
        {"key": "infra.run", "value": {"stringValue": report.run}},
    ]
    scope = {"scope": {"name": "infra"}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [scope]}]}


def _resources(report: Report) -> list[str]:
    """The table of what containers have used; a dash is what could not be seen."""
    if not report.resources:
        return []
    return [
        "## Resources",
        "",
        "| component | memory, peak (MB) | memory, limit (MB) | CPU (s) | killed for memory |",
        "|---|---|---|---|---|",
        *(
            f"| {one.component} | {_or_dash(one.memory_peak_mb)} | {_or_dash(one.memory_limit_mb)} "
            f"| {_or_dash(one.cpu_s)} | {_or_dash(one.oom_kills)} |"
            for one in report.resources
        ),
        "",
    ]


def _or_dash(number: float | None) -> str:
    return "-" if number is None else f"{number:g}"


def _attempts_of(report: Report) -> list[str]:
    if report.most_attempts == 1:
        return []
    lines = [f"    {one.run}: {one.outcome}, {one.reference or 'no cause'}" for one in report.attempts]
    more = "It is repeated." if report.goes_again else f"It is not repeated: {report.not_again or 'it was the last'}."
    return [f"## Attempt {report.attempt} of {report.most_attempts}", "", more, "", *lines, ""]


def _scene(report: Report) -> list[str]:
    if report.scene is None:
        return []
    lines = []
    if report.scene.missing:
        lines += ["## What could not be had", "", *(f"- {line}" for line in report.scene.missing), ""]
    for section in report.scene.sections:
        lines += [f"## {section.title}", "", *(f"    {line}" for line in section.lines), ""]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "/")


def diagnosis(report: Report) -> str:
    """Return what went wrong as a page: cause, what to do, evidence, where the logs are."""
    cause = report.cause
    assert cause is not None
    lines = [
        f"# {cause.line(report.outcome)}",
        "",
        f"- blame: {report.blame}",
        f"- reference: {cause.reference} (`invoke infra.explain {cause.reference}`)",
        f"- to do: {cause.remedy or 'see the evidence'}",
        f"- run: {report.run} ({report.service} {report.tier}), exit code {report.exit_code}",
        "",
        "## Evidence",
        "",
        *(f"    {line}" for line in cause.evidence or ("none was found",)),
        "",
        *_attempts_of(report),
        *_scene(report),
        "## Steps",
        "",
        "| step | status | seconds | note |",
        "|---|---|---|---|",
        *(f"| {s.name} | {s.status} | {s.duration_s:.2f} | {s.note.replace('|', '/')} |" for s in report.steps),
        "",
        *_resources(report),
        "Logs are in `logs/`, the engine's view of each container in `inspect/`.",
        "",
    ]
    return "\n".join(lines)
