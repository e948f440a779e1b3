"""What is recommended, and when a human has to look."""

import asyncio
from typing import Any

import pytest

from examples import incident, recovery
from holmesgpt_api.decide import decide
from holmesgpt_api.investigate import Mock
from holmesgpt_api.models import Analysis, IncidentRequest, RecoveryRequest


def analysis_of(request: dict[str, Any]) -> Analysis:
    shape = RecoveryRequest if "attempts" in request else IncidentRequest
    parsed = shape.model_validate(request)
    return decide(parsed, asyncio.run(Mock().investigate(parsed)))


@pytest.mark.parametrize(
    ("signal", "workflow", "confidence"),
    [("OOMKilled", "increase-memory-limit", 0.95), ("NodeNotReady", "drain-node", 0.82)],
)
def test_a_known_signal_has_a_workflow(signal: str, workflow: str, confidence: float) -> None:
    analysis = analysis_of(incident(signal))
    assert analysis.recommended_workflow is not None
    assert (analysis.recommended_workflow.workflow_id, analysis.confidence) == (workflow, confidence)
    assert not analysis.needs_human_review


def test_a_crash_after_a_deployment_is_rolled_back() -> None:
    analysis = analysis_of(incident("CrashLoopBackOff", context={"recent_deployment": "v42"}))
    assert analysis.recommended_workflow is not None
    assert analysis.recommended_workflow.workflow_id == "rollback-deployment"
    assert analysis.recommended_workflow.parameters == {"revision": "v42"}


def test_a_crash_without_a_deployment_is_too_uncertain() -> None:
    analysis = analysis_of(incident("CrashLoopBackOff"))
    assert analysis.recommended_workflow is not None
    assert analysis.human_review_reason == "low_confidence"


def test_an_unknown_signal_has_no_workflow() -> None:
    analysis = analysis_of(incident("SolarFlare"))
    assert (analysis.recommended_workflow, analysis.human_review_reason) == (None, "no_workflow")


def test_the_cause_names_the_resource() -> None:
    assert "Pod/shop/payments-7d9f" in analysis_of(incident()).root_cause


def test_equal_requests_have_equal_answers() -> None:
    request = incident("NodeNotReady")
    assert analysis_of(request) == analysis_of(request)


def test_each_failed_attempt_makes_it_less_certain() -> None:
    once, twice = ("restart-pod",), ("restart-pod", "restart-pod")
    assert analysis_of(recovery("OOMKilled", *once)).confidence == 0.8
    assert analysis_of(recovery("OOMKilled", *twice)).confidence == 0.65


def test_what_failed_is_not_recommended_again() -> None:
    analysis = analysis_of(recovery("NodeNotReady", "drain-node"))
    assert analysis.recommended_workflow is not None
    assert analysis.recommended_workflow.workflow_id == "reboot-node"
    assert [workflow.workflow_id for workflow in analysis.alternative_workflows] == ["replace-node"]


def test_when_all_has_failed_a_human_has_to_look() -> None:
    analysis = analysis_of(recovery("OOMKilled", "increase-memory-limit", "restart-pod"))
    assert (analysis.recommended_workflow, analysis.human_review_reason) == (None, "workflows_exhausted")


def test_an_attempt_has_an_id_of_its_own() -> None:
    request = incident()
    again = request | {"attempts": [{"workflow_id": "restart-pod"}]}
    assert analysis_of(request).analysis_id != analysis_of(again).analysis_id


def test_confidence_is_never_negative() -> None:
    assert analysis_of(recovery("NodeNotReady", *["drain-node"] * 9)).confidence == 0.0
