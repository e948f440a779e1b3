"""What is made of the engine's JSON: inspections as Podman 4.3.1 has written them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.engine import answers

NEVER = "0001-01-01T00:00:00Z"
ID = "0a02fdb95ad534de2fe4b6fdd4229c2cd4ec412fcb873d86ce5db000b7970ed4"


def inspected(**state: object) -> dict[str, Any]:
    common = {"Status": "running", "ExitCode": 0, "OOMKilled": False, "Error": "", "Pid": 20649}
    return {
        "Id": ID,
        "State": {**common, "StartedAt": "2026-11-22T00:18:49.276497562Z", "FinishedAt": NEVER, **state},
        "RestartCount": 2,
        "Config": {"Labels": None, "StopTimeout": 7},
        "HostConfig": {"Memory": 67108864},
        "NetworkSettings": {"Ports": {"6379/tcp": [{"HostIp": "127.0.0.1", "HostPort": "16379"}], "80/tcp": None}},
    }


def test_a_container_that_runs_has_all_that_a_cause_needs() -> None:
    state = answers.state(inspected(CgroupPath=f"/libpod_parent/libpod-{ID}"))
    assert (state.pid, state.cgroup, state.restarts) == (20649, f"/libpod_parent/libpod-{ID}", 2)
    assert (state.memory_limit_mb, state.stop_grace_s, state.ports) == (64, 7, {6379: 16379})
    assert (state.started, state.finished) == (datetime(2026, 11, 22, 0, 18, 49, 276497, UTC), None)


def test_one_that_has_ended_has_no_process_and_no_control_group() -> None:
    state = answers.state(inspected(Status="exited", Pid=0, ExitCode=137, FinishedAt="2026-11-22T01:18:49.5+01:00"))
    assert (state.dead, state.pid, state.cgroup) == (True, None, None)
    assert state.started is not None
    assert state.finished is not None
    assert (state.finished - state.started).total_seconds() == 0.223503


def test_what_older_or_other_engines_leave_out_is_unknown_and_no_error() -> None:
    told = inspected(StartedAt=NEVER)
    for left_out in ("HostConfig", "RestartCount"):
        del told[left_out]
    del told["Config"]["StopTimeout"], told["State"]["Pid"], told["State"]["FinishedAt"]
    state = answers.state(told)
    assert (state.pid, state.cgroup, state.started, state.finished) == (None, None, None, None)
    assert (state.memory_limit_mb, state.stop_grace_s, state.restarts) == (None, None, 0)
