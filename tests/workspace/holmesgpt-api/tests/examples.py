"""Requests that are valid; tests change what they are about."""

import uuid
from typing import Any

INCIDENT = "/api/v1/incident/analyze"
RECOVERY = "/api/v1/recovery/analyze"


def incident(signal: str = "OOMKilled", **changes: object) -> dict[str, Any]:
    """Return an incident that no other test has."""
    return {
        "incident_id": f"incident-{uuid.uuid4()}",
        "correlation_id": f"holmesgpt-api-{uuid.uuid4()}",
        "signal": {"type": signal, "severity": "critical", "message": "seen by Prometheus"},
        "resource": {"kind": "Pod", "name": "payments-7d9f", "namespace": "shop"},
        "context": {"environment": "production", "cluster": "eu-1"},
    } | changes


def recovery(signal: str, *attempted: str, **changes: object) -> dict[str, Any]:
    """Return an incident in which workflows were run and did not help."""
    attempts = [{"workflow_id": name, "error": "timed out"} for name in attempted]
    return incident(signal, attempts=attempts, **changes)
