"""The HTTP application."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict

import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from holmesgpt_api import investigate, problems
from holmesgpt_api.audit import Policy, Trail
from holmesgpt_api.decide import decide
from holmesgpt_api.models import Analysis, IncidentRequest, RecoveryRequest
from holmesgpt_api.problems import Problem
from holmesgpt_api.settings import Settings


def create_app(
    settings: Settings,
    *,
    policy: Policy | None = None,
    audit_transport: httpx.AsyncBaseTransport | None = None,
    llm_transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """Return the application; its audit trail is `app.state.trail`, written while its lifespan lasts."""
    trail = Trail(settings.data_storage_url, policy or Policy(), audit_transport)
    service = _Service(settings, trail, investigate.chosen(settings, llm_transport))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with trail.running():
            yield

    app = FastAPI(title="HolmesGPT-API", version="1.0.0", lifespan=lifespan)
    app.state.trail = trail
    problems.install(app, plain=settings.fault == "plain-errors")

    @app.post("/api/v1/incident/analyze")
    async def incident(request: IncidentRequest) -> Analysis:
        return await service.analyze("incident", request)

    @app.post("/api/v1/recovery/analyze")
    async def recovery(request: RecoveryRequest) -> Analysis:
        return await service.analyze("recovery", request)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        if not (settings.mock_llm or settings.llm_url):
            raise Problem(503, "not-ready", "Not ready", "neither MOCK_LLM nor LLM_URL is set")
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics(), media_type="text/plain; version=0.0.4")

    return app


class _Service:
    """Investigates, decides, counts, and leaves a trail of it."""

    def __init__(self, settings: Settings, trail: Trail, investigator: investigate.Investigator) -> None:
        self._fault = settings.fault
        self._trail = trail
        self._investigator = investigator
        self._analyses: Counter[tuple[str, str]] = Counter()

    async def analyze(self, kind: str, request: IncidentRequest) -> Analysis:
        about: dict[str, object] = {"incident_id": request.incident_id, "signal_type": request.signal.type}
        self._record(f"{kind}.requested", "pending", request, about)
        try:
            analysis = decide(request, await self._investigator.investigate(request), fault=self._fault)
        except Problem as problem:
            self._analyses[kind, "failure"] += 1
            self._record(f"{kind}.failed", "failure", request, about | {"error": problem.detail})
            raise
        self._analyses[kind, "success"] += 1
        self._record(f"{kind}.analyzed", "success", request, about | _summary(analysis))
        return analysis

    def _record(self, kind: str, outcome: str, request: IncidentRequest, data: dict[str, object]) -> None:
        if self._fault == "forget-recoveries" and kind.startswith("recovery."):
            return
        self._trail.record(kind, outcome, request.correlation_id, data)

    def metrics(self) -> str:
        lines = ["# TYPE holmesgpt_analyses_total counter"]
        for (kind, outcome), count in sorted(self._analyses.items()):
            lines.append(f'holmesgpt_analyses_total{{kind="{kind}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE holmesgpt_audit_events_total counter")
        counts = asdict(self._trail.counts)
        for state in ("written", "failed", "dropped"):
            lines.append(f'holmesgpt_audit_events_total{{state="{state}"}} {counts[state]}')
        return "\n".join([*lines, ""])


def _summary(analysis: Analysis) -> dict[str, object]:
    """What of an answer is kept in its audit event."""
    workflow = analysis.recommended_workflow
    return {
        "analysis_id": analysis.analysis_id,
        "root_cause": analysis.root_cause,
        "confidence": analysis.confidence,
        "workflow_id": workflow.workflow_id if workflow else None,
        "needs_human_review": analysis.needs_human_review,
        "human_review_reason": analysis.human_review_reason,
        "attempt": analysis.attempt,
    }
