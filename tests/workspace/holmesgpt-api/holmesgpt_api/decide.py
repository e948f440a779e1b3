"""From what was found to what is recommended. Pure."""

from __future__ import annotations

import uuid

from holmesgpt_api.models import Analysis, Attempt, Finding, IncidentRequest, Reason, RecoveryRequest

REVIEW_BELOW = 0.7
_LOSS_PER_ATTEMPT = 0.15
_NAMESPACE = uuid.UUID("6f1d2a54-9d5c-4d8e-9a3f-5f0b7f0c2d11")


def decide(request: IncidentRequest, finding: Finding, *, fault: str = "") -> Analysis:
    """Return the answer to a request: the same for the same request and finding, its id too.

    A workflow that was attempted is not recommended again, and each attempt that failed makes the finding less certain.
    """
    attempts: tuple[Attempt, ...] = request.attempts if isinstance(request, RecoveryRequest) else ()
    failed = set() if fault == "repeat-workflow" else {attempt.workflow_id for attempt in attempts}
    left = tuple(workflow for workflow in finding.workflows if workflow.workflow_id not in failed)
    confidence = round(max(0.0, finding.confidence - _LOSS_PER_ATTEMPT * len(attempts)), 2)
    reason: Reason | None = None
    if not finding.workflows:
        reason = "no_workflow"
    elif not left:
        reason = "workflows_exhausted"
    elif confidence < REVIEW_BELOW and fault != "overconfident":
        reason = "low_confidence"
    return Analysis(
        analysis_id=str(uuid.uuid5(_NAMESPACE, f"{request.incident_id}\0{len(attempts)}")),
        incident_id=request.incident_id,
        correlation_id=request.correlation_id,
        root_cause=finding.root_cause,
        contributing_factors=finding.contributing_factors,
        confidence=confidence,
        recommended_workflow=left[0] if left else None,
        alternative_workflows=left[1:],
        needs_human_review=reason is not None,
        human_review_reason=reason,
        is_recovery=bool(attempts),
        attempt=len(attempts) + 1,
    )
