"""A report without secrets, and what a suite's own report says without them. Pure.

What has been cut short or escaped is not masked any more: this comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from infra.report import Report, Scene, SuiteResult

_MESSAGE = 16 * 1024


def masked(report: Report, mask: Callable[[str], str]) -> Report:
    """Return the report without secrets: in what people and programs have said, never in names and numbers."""
    steps = tuple(
        replace(step, note=mask(step.note), cause=step.cause and step.cause.masked(mask)) for step in report.steps
    )
    suite = report.suite and masked_result(report.suite, mask)
    if suite is not None:
        suite = replace(suite, cases=tuple(replace(case, message=_short(case.message)) for case in suite.cases))
    return replace(
        report,
        steps=steps,
        suite=suite,
        notes=tuple(map(mask, report.notes)),
        left_behind=tuple(map(mask, report.left_behind)),
        cause=report.cause and report.cause.masked(mask),
        scene=report.scene and _masked_scene(report.scene, mask),
    )


def masked_result(result: SuiteResult, mask: Callable[[str], str]) -> SuiteResult:
    """Return what a suite's own report says without secrets, and whole: of what is cut first, half a secret stays."""
    cases = tuple(
        replace(case, name=mask(case.name), message=mask(case.message), location=mask(case.location))
        for case in result.cases
    )
    return replace(result, cases=cases, broken=tuple(map(mask, result.broken)))


def _masked_scene(scene: Scene, mask: Callable[[str], str]) -> Scene:
    sections = tuple(replace(one, lines=tuple(map(mask, one.lines))) for one in scene.sections)
    return Scene(sections=sections, missing=tuple(map(mask, scene.missing)))


def _short(message: str) -> str:
    """What a test says, without what it says too much: the suite's own log has more of it."""
    if len(message) <= _MESSAGE:
        return message
    cut = f"[{len(message) - _MESSAGE} characters were cut here]"
    return "\n".join((message[: _MESSAGE // 2], cut, message[-_MESSAGE // 2 :]))
