"""What the engine's JSON says, as values of ours. Pure; what is not of the expected shape raises (KeyError, TypeError).

Rows are filtered here once more: what does not carry the labels that were asked for is not ours to touch, whatever
the engine says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.cgroups import Usage
from infra.engine.types import Container, ContainerState, Event, Image, Resource

_STORAGE = ("storage", "unknown", "")
_MB = 1024 * 1024


def an_object(data: object) -> dict[str, Any]:
    """Return a JSON object; anything else is a TypeError."""
    if not isinstance(data, dict):
        raise TypeError(f"{type(data).__name__} instead of an object")
    return data


def a_text(data: object) -> str:
    """Return a JSON string; anything else is a TypeError."""
    if not isinstance(data, str):
        raise TypeError(f"{type(data).__name__} instead of a string")
    return data


def version(data: object) -> tuple[str, tuple[int, ...]]:
    """Return the engine's version, as it writes it and as numbers to compare."""
    text = a_text(an_object(data)["Version"])
    return text, tuple(int(part) for part in text.split("-", maxsplit=1)[0].split(".")[:2])


def subnet(data: object) -> str:
    """Return the first subnet of a network that was created."""
    return a_text(an_object(an_object(data)["subnets"][0])["subnet"])


def image(data: object) -> tuple[str, dict[str, str]]:
    """Return an image's id and its labels from its inspection."""
    told = an_object(data)
    return a_text(told["Id"]).removeprefix("sha256:"), _labels(told.get("Labels"))


def info(data: object) -> dict[str, Any]:
    """Return `podman info`; the parts that are looked at are there, and objects."""
    told = an_object(data)
    store, host = an_object(told["store"]), an_object(told["host"])
    a_text(store["graphRoot"]), a_text(store["graphDriverName"])
    an_object(told.get("version") or {}), an_object(host.get("security") or {}), an_object(host.get("ociRuntime") or {})
    return told


def state(data: object) -> ContainerState:
    """Return a container's state from its inspection."""
    told = an_object(data)
    now = an_object(told["State"])
    bindings = an_object((told.get("NetworkSettings") or {}).get("Ports") or {})
    return ContainerState(
        id=a_text(told["Id"]),
        status=a_text(now["Status"]),
        exit_code=int(now["ExitCode"]),
        oom_killed=bool(now["OOMKilled"]),
        error=now.get("Error") or "",
        ports={int(key.split("/")[0]): int(rows[0]["HostPort"]) for key, rows in bindings.items() if rows},
        labels=told["Config"].get("Labels") or {},
        pid=int(now.get("Pid") or 0) or None,
        cgroup=now.get("CgroupPath") or None,
        started=_moment(now.get("StartedAt")),
        finished=_moment(now.get("FinishedAt")),
        memory_limit_mb=int((told.get("HostConfig") or {}).get("Memory") or 0) // _MB or None,
        stop_grace_s=None if (grace := told["Config"].get("StopTimeout")) is None else int(grace),
        restarts=int(told.get("RestartCount") or 0),
        user=told["Config"].get("User") or "",
    )


def event(data: object) -> Event:
    """Return an event. Those of Docker's form have a number for the time."""
    told = an_object(data)
    name = a_text(told.get("status") or told.get("Action") or told.get("Status") or "")
    return Event(name=name, at=datetime.fromtimestamp(int(told.get("timeNano") or 0) / 1e9, UTC))


def _moment(text: str | None) -> datetime | None:
    """A moment as Go writes it; what has not been yet is written as the year 1."""
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment is not None and moment.year > 1 else None


def usage(data: object) -> dict[str, Usage]:
    """Return what containers use, by name. What the engine does not say, kills and failed charges, is 0."""
    return {
        a_text(row["Name"]): Usage(
            memory_mb=row["MemUsage"] / _MB,
            memory_peak_mb=row["MemUsage"] / _MB,
            memory_limit_mb=None,
            oom_kills=0,
            failed_charges=0,
            cpu_s=row["CPUNano"] / 1e9,
        )
        for row in _rows(an_object(data).get("Stats"))
    }


def containers(data: object, wanted: Mapping[str, str]) -> tuple[Container, ...]:
    """Return the rows of a list of containers that carry the labels."""
    return tuple(
        Container(
            id=a_text(row["Id"]),
            name=(row.get("Names") or [""])[0],
            state=row.get("State") or "",
            created=str(row.get("Created") or ""),
            labels=_labels(row.get("Labels")),
            host_ports=_host_ports(row.get("Ports") or []),
            external=(row.get("State") or "") in _STORAGE,
        )
        for row in _rows(data)
        if _carries(_labels(row.get("Labels")), wanted)
    )


def resources(data: object, name: str, labels: str, wanted: Mapping[str, str]) -> tuple[Resource, ...]:
    """Return the rows of a list of networks or volumes, which call `name` and `labels` differently."""
    found = (
        Resource(name=a_text(row[name]), labels=_labels(row.get(labels)), id=row.get("id") or "") for row in _rows(data)
    )
    return tuple(one for one in found if _carries(one.labels, wanted))


def images(data: object, wanted: Mapping[str, str]) -> tuple[Image, ...]:
    """Return the rows of a list of images that carry the labels."""
    found = (
        Image(
            id=a_text(row["Id"]).removeprefix("sha256:"),
            tags=tuple(a_text(tag) for tag in row.get("RepoTags") or row.get("Names") or ()),
            labels=_labels(row.get("Labels")),
            created=int(row["Created"]),
            size=int(row["Size"]),
        )
        for row in _rows(data)
    )
    return tuple(one for one in found if _carries(one.labels, wanted))


def _rows(data: object) -> list[dict[str, Any]]:
    """Return a list of objects. Podman writes null for an empty one."""
    if data is None:
        return []
    if not isinstance(data, list):
        raise TypeError(f"{type(data).__name__} instead of a list")
    return [an_object(row) for row in data]


def _labels(data: object) -> dict[str, str]:
    return {key: a_text(value) for key, value in an_object(data or {}).items()}


def _carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())


def _host_ports(rows: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(int(row["host_port"]) + offset for row in rows for offset in range(int(row.get("range") or 1)))
