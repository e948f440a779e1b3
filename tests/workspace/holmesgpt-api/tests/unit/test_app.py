"""The HTTP application without DataStorage."""

from typing import Any

import httpx
import pytest

from apps import check_problem, mock_app, running
from examples import INCIDENT, RECOVERY, incident
from holmesgpt_api.app import create_app
from holmesgpt_api.settings import Settings

pytestmark = pytest.mark.anyio


async def test_it_is_healthy_and_ready_in_mock_mode() -> None:
    async with running(mock_app()) as client:
        assert (await client.get("/health")).json() == {"status": "healthy"}
        assert (await client.get("/ready")).json() == {"status": "ready"}


async def test_without_a_model_it_is_healthy_but_not_ready() -> None:
    async with running(create_app(Settings())) as client:
        assert (await client.get("/health")).status_code == 200
        check_problem(await client.get("/ready"), 503, "not-ready")


async def test_without_a_model_nothing_is_investigated() -> None:
    async with running(create_app(Settings())) as client:
        problem = check_problem(await client.post(INCIDENT, json=incident()), 503, "llm-not-configured")
    assert "MOCK_LLM" in problem["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"incident_id": ""}, "incident_id"),
        ({"signal": {}}, "signal.type"),
        ({"correlation_id": " \t"}, "correlation_id"),
        ({"correlation_id": "a\0b"}, "correlation_id"),
        ({"colour": "red"}, "colour"),
        ({"context": {"environment": "moon"}}, "context.environment"),
    ],
)
async def test_a_field_that_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    async with running(mock_app()) as client:
        problem = check_problem(await client.post(INCIDENT, json=incident() | change), 400, "validation-error")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_a_recovery_without_attempts_is_refused() -> None:
    async with running(mock_app()) as client:
        problem = check_problem(await client.post(RECOVERY, json=incident(attempts=[])), 400, "validation-error")
    assert problem["errors"][0]["field"] == "attempts"


async def test_a_model_is_asked_and_its_finding_decided_on() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert b"OOMKilled" in request.content
        return httpx.Response(
            200, json={"root_cause": "a leak", "confidence": 0.6, "workflows": [{"workflow_id": "x"}]}
        )

    app = create_app(Settings(llm_url="http://llm"), llm_transport=httpx.MockTransport(answer))
    async with running(app) as client:
        analysis = (await client.post(INCIDENT, json=incident())).json()
    assert (analysis["root_cause"], analysis["human_review_reason"]) == ("a leak", "low_confidence")


@pytest.mark.parametrize("said", [httpx.Response(500), httpx.Response(200, text="I think it is DNS.")])
async def test_a_model_that_makes_no_sense_is_a_bad_gateway(said: httpx.Response) -> None:
    app = create_app(Settings(llm_url="http://llm"), llm_transport=httpx.MockTransport(lambda _: said))
    async with running(app) as client:
        check_problem(await client.post(INCIDENT, json=incident()), 502, "llm-failed")
