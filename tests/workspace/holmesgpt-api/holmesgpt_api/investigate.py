"""Who finds out: a model that is asked, or the deterministic stand-in for one."""

from __future__ import annotations

from typing import Protocol

import httpx
from pydantic import ValidationError

from holmesgpt_api.models import Finding, IncidentRequest, Workflow
from holmesgpt_api.problems import Problem
from holmesgpt_api.settings import Settings


class Investigator(Protocol):
    """Finds the cause of an incident. Raises `Problem`."""

    async def investigate(self, request: IncidentRequest) -> Finding: ...


def chosen(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> Investigator:
    """Return who investigates by these settings."""
    if settings.mock_llm:
        return Mock()
    return Model(settings.llm_url, transport) if settings.llm_url else Nobody()


class Nobody:
    """There is neither a model nor mock mode."""

    async def investigate(self, request: IncidentRequest) -> Finding:
        """Refuse."""
        raise Problem(503, "llm-not-configured", "No LLM", "neither MOCK_LLM nor LLM_URL is set")


class Model:
    """An endpoint that takes a request and answers with a `Finding`."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self._url = url
        self._client = httpx.AsyncClient(transport=transport, timeout=60.0)

    async def investigate(self, request: IncidentRequest) -> Finding:
        """Ask the model; whatever is wrong with it or its answer is a 502."""
        try:
            answer = await self._client.post(self._url, json=request.model_dump())
            answer.raise_for_status()
            return Finding.model_validate_json(answer.content)
        except ValidationError as error:
            why = f"{error.error_count()} errors in its answer, first: {error.errors()[0]['msg']}"
            raise Problem(502, "llm-failed", "LLM failed", why) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Problem(502, "llm-failed", "LLM failed", f"{type(error).__name__}: {error}") from error


class Mock:
    """Deterministic answers by the signal's type."""

    async def investigate(self, request: IncidentRequest) -> Finding:
        """Return what is in the table, or that nothing is known."""
        at, deployment = str(request.resource), request.context.recent_deployment
        match request.signal.type:
            case "OOMKilled":
                return Finding(
                    root_cause=f"{at} needs more memory than its limit allows",
                    contributing_factors=("memory limit below the working set",),
                    confidence=0.95,
                    workflows=_workflows(("increase-memory-limit", {"factor": "2"}), ("restart-pod", {})),
                )
            case "CrashLoopBackOff" if deployment:
                return Finding(
                    root_cause=f"{at} has crashed since {deployment} was deployed",
                    contributing_factors=(f"deployment of {deployment}",),
                    confidence=0.88,
                    workflows=_workflows(("rollback-deployment", {"revision": deployment}), ("restart-pod", {})),
                )
            case "CrashLoopBackOff":
                return Finding(
                    root_cause=f"{at} ends soon after each start, and nothing was deployed",
                    confidence=0.55,
                    workflows=_workflows(("restart-pod", {})),
                )
            case "NodeNotReady":
                return Finding(
                    root_cause=f"the kubelet of {at} does not report",
                    contributing_factors=("no heartbeat",),
                    confidence=0.82,
                    workflows=_workflows(("drain-node", {}), ("reboot-node", {}), ("replace-node", {})),
                )
        return Finding(root_cause=f"nothing is known of {request.signal.type}", confidence=0.0)


def _workflows(*named: tuple[str, dict[str, str]]) -> tuple[Workflow, ...]:
    return tuple(Workflow(workflow_id=name, parameters=parameters) for name, parameters in named)
