"""What an investigation leaves in DataStorage."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from apps import check_problem, running
from examples import INCIDENT, RECOVERY, incident, recovery
from holmesgpt_api.app import create_app
from holmesgpt_api.settings import Settings
from stack import Storage

pytestmark = pytest.mark.anyio


async def ask(app: FastAPI, path: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answers to some requests, when all of their trail is written."""
    async with running(app) as client:
        answers = [await client.post(path, json=request) for request in requests]
    assert [answer.status_code for answer in answers] == [200] * len(requests)
    return [answer.json() for answer in answers]


async def test_an_incident_is_requested_and_then_analyzed(app: FastAPI, storage: Storage) -> None:
    request = incident()
    await ask(app, INCIDENT, request)
    trail = await storage.trail(request)
    assert [event["event_type"] for event in trail] == ["holmesgpt.incident.analyzed", "holmesgpt.incident.requested"]
    assert [event["event_outcome"] for event in trail] == ["success", "pending"]


async def test_the_trail_says_what_the_answer_said(app: FastAPI, storage: Storage) -> None:
    request = incident("NodeNotReady")
    [answer] = await ask(app, INCIDENT, request)
    [event] = await storage.trail(request, event_type="holmesgpt.incident.analyzed")
    said = event["event_data"]
    assert said["workflow_id"] == answer["recommended_workflow"]["workflow_id"] == "drain-node"
    for member in ("analysis_id", "incident_id", "root_cause", "confidence", "needs_human_review"):
        assert said[member] == answer[member]


async def test_every_event_is_of_the_category_analysis(app: FastAPI, storage: Storage) -> None:
    request = incident()
    await ask(app, INCIDENT, request)
    assert len(await storage.trail(request, event_category="analysis")) == 2


async def test_an_unknown_signal_is_left_to_a_human(app: FastAPI, storage: Storage) -> None:
    request = incident("SolarFlare")
    await ask(app, INCIDENT, request)
    [event] = await storage.trail(request, event_outcome="success")
    assert event["event_data"]["workflow_id"] is None
    assert event["event_data"]["human_review_reason"] == "no_workflow"


async def test_low_confidence_is_left_to_a_human(app: FastAPI, storage: Storage) -> None:
    request = incident("CrashLoopBackOff")
    await ask(app, INCIDENT, request)
    [event] = await storage.trail(request, event_outcome="success")
    assert event["event_data"]["confidence"] == 0.55
    assert event["event_data"]["needs_human_review"] is True
    assert event["event_data"]["human_review_reason"] == "low_confidence"


async def test_an_investigation_that_cannot_be_is_a_failure(settings: Settings, storage: Storage) -> None:
    request = incident()
    app = create_app(Settings(data_storage_url=storage.url, fault=settings.fault))
    async with running(app) as client:
        assert (await client.post(INCIDENT, json=request)).status_code == 503
    [event] = await storage.trail(request, event_outcome="failure")
    assert event["event_type"] == "holmesgpt.incident.failed"
    assert event["event_data"]["error"] == "neither MOCK_LLM nor LLM_URL is set"


async def test_a_request_that_is_not_valid_leaves_nothing(app: FastAPI, storage: Storage) -> None:
    request = incident("")
    async with running(app) as client:
        assert (await client.post(INCIDENT, json=request)).status_code == 400
    assert await storage.trail(request) == []


async def test_a_field_that_is_wrong_is_told_as_a_problem(client: httpx.AsyncClient) -> None:
    problem = check_problem(await client.post(INCIDENT, json=incident("")), 400, "validation-error")
    assert [error["field"] for error in problem["errors"]] == ["signal.type"]


async def test_text_in_any_script_is_kept(app: FastAPI, storage: Storage) -> None:
    request = incident("容量不足", incident_id="Größe: تم \U0001f631")
    await ask(app, INCIDENT, request)
    for event in await storage.trail(request):
        assert event["event_data"]["signal_type"] == "容量不足"
        assert event["event_data"]["incident_id"] == request["incident_id"]


async def test_a_request_asked_twice_has_one_analysis_id_and_two_trails(app: FastAPI, storage: Storage) -> None:
    request = incident()
    first, second = await ask(app, INCIDENT, request, request)
    assert first == second
    trail = await storage.trail(request, event_outcome="success")
    assert [event["event_data"]["analysis_id"] for event in trail] == [first["analysis_id"]] * 2


async def test_a_recovery_is_recorded_with_its_attempt(app: FastAPI, storage: Storage) -> None:
    request = recovery("OOMKilled", "restart-pod")
    await ask(app, RECOVERY, request)
    [event] = await storage.trail(request, event_type="holmesgpt.recovery.analyzed")
    assert event["event_data"]["attempt"] == 2


async def test_an_incident_and_its_recovery_are_one_trail(app: FastAPI, storage: Storage) -> None:
    request = incident("NodeNotReady")
    async with running(app) as client:
        await client.post(INCIDENT, json=request)
        await client.post(RECOVERY, json=request | {"attempts": [{"workflow_id": "drain-node"}]})
    kinds = [event["event_type"].split(".")[1] for event in await storage.trail(request)]
    assert kinds == ["recovery", "recovery", "incident", "incident"]


async def test_a_recovery_does_not_recommend_what_failed(app: FastAPI, storage: Storage) -> None:
    request = recovery("NodeNotReady", "drain-node")
    [answer] = await ask(app, RECOVERY, request)
    assert answer["recommended_workflow"]["workflow_id"] == "reboot-node"


async def test_a_recovery_with_nothing_left_is_left_to_a_human(app: FastAPI, storage: Storage) -> None:
    request = recovery("OOMKilled", "increase-memory-limit", "restart-pod")
    [answer] = await ask(app, RECOVERY, request)
    assert answer["recommended_workflow"] is None
    assert answer["human_review_reason"] == "workflows_exhausted"
