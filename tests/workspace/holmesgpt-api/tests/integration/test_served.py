"""The service as its users have it: a process that listens on a port."""

import re

import pytest

from apps import check_problem
from examples import INCIDENT, RECOVERY, incident, recovery
from stack import Server, Storage

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("served")]


def test_it_is_healthy(served: Server) -> None:
    answer = served.get("/health")
    assert (answer.status_code, answer.text) == (200, '{"status":"healthy"}')


def test_it_is_ready(served: Server) -> None:
    assert served.get("/ready").json() == {"status": "ready"}


def test_it_answers_over_the_wire(served: Server) -> None:
    answer = served.post(INCIDENT, json=incident())
    assert answer.status_code == 200
    assert answer.json()["recommended_workflow"] == {
        "workflow_id": "increase-memory-limit",
        "parameters": {"factor": "2"},
        "rationale": "",
    }


def test_its_metrics_count_what_it_analyzed(served: Server) -> None:
    def analyses() -> int:
        answer = served.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = re.search(r'^holmesgpt_analyses_total{kind="recovery",outcome="success"} (\d+)$', answer.text, re.M)
        return int(found[1]) if found else 0

    before = analyses()
    served.post(RECOVERY, json=recovery("OOMKilled", "restart-pod"))
    assert analyses() == before + 1


def test_a_body_that_is_no_json_is_told_as_a_problem(served: Server) -> None:
    check_problem(served.post(INCIDENT, content=b'{"incident_id": '), 400, "malformed-json")


def test_a_path_that_is_not_there_is_told_as_a_problem(served: Server) -> None:
    check_problem(served.get("/api/v2/incident/analyze"), 404, "not-found")


async def test_sigterm_ends_it_with_0_and_its_trail_written(served: Server, storage: Storage) -> None:
    requests = [incident() for _ in range(5)]
    for request in requests:
        served.post(INCIDENT, json=request)
    assert served.end() == 0
    for request in requests:
        assert len(await storage.trail(request)) == 2
