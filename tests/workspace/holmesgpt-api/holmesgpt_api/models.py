"""The shapes of requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _storable(text: str) -> str:
    """Refuse what DataStorage would: with one such event it refuses the whole batch, other requests' events too."""
    if not text.strip() or "\0" in text:
        raise ValueError("must have text, and no NUL character")
    return text


Text = Annotated[str, Field(max_length=255), AfterValidator(_storable)]
Confidence = Annotated[float, Field(ge=0, le=1)]


class Shape(BaseModel):
    """Base of all: frozen, and an unknown member is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Signal(Shape):
    """What was noticed. Any type may come; not every one can be investigated."""

    type: Text
    severity: Literal["critical", "warning", "info"] = "warning"
    message: str = ""


class Resource(Shape):
    """What it was noticed at; a node has no namespace."""

    kind: Text
    name: Text
    namespace: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


class Context(Shape):
    """What is known besides."""

    environment: Literal["production", "staging", "development"] = "production"
    cluster: str = ""
    recent_deployment: str = ""


class IncidentRequest(Shape):
    """`POST /api/v1/incident/analyze`."""

    incident_id: Text
    correlation_id: Text
    signal: Signal
    resource: Resource
    context: Context = Context()


class Attempt(Shape):
    """A workflow that was run and did not cure the incident."""

    workflow_id: Text
    error: str = ""


class RecoveryRequest(IncidentRequest):
    """`POST /api/v1/recovery/analyze`."""

    attempts: Annotated[tuple[Attempt, ...], Field(min_length=1, max_length=20)]


class Workflow(Shape):
    """A workflow of the catalogue, with its parameters."""

    workflow_id: Text
    parameters: dict[str, str] = {}
    rationale: str = ""


class Finding(Shape):
    """What an investigation found: workflows, the best first."""

    root_cause: Text
    contributing_factors: tuple[str, ...] = ()
    confidence: Confidence
    workflows: tuple[Workflow, ...] = ()


Reason = Literal["no_workflow", "low_confidence", "workflows_exhausted"]


class Analysis(Shape):
    """The answer. Without a `recommended_workflow` a human has to look."""

    analysis_id: str
    incident_id: str
    correlation_id: str
    root_cause: str
    contributing_factors: tuple[str, ...]
    confidence: Confidence
    recommended_workflow: Workflow | None
    alternative_workflows: tuple[Workflow, ...]
    needs_human_review: bool
    human_review_reason: Reason | None
    is_recovery: bool
    attempt: int
