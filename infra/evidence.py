"""Evidence before teardown: logs always; on failure what the engine says of each container, and its events.

Bounded to 10 s and, with all that a run's own commands have logged, to 20 MB; secrets masked. A collector that fails
skips none of the others, and what could not be had is said. What a suite itself puts into its run's folder is its own.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from infra import bounded
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.errors import InfraError
from infra.labels import COMPONENT, RUN
from infra.masking import in_pieces

SECONDS = 10.0
BYTES = 20 * 1024 * 1024
# Of those for report.json, junit.xml, trace.json and diagnosis.md.
_REPORTS = 2 * 1024 * 1024
# What is read of a long log's end: more lines take the engine longer than there is time.
_LINES = 10_000
# After the owner was killed the sweep does not wait long.
_KILLED_S = 0.7
_FOLDERS = ("logs", "inspect")


@dataclass
class Found:
    """What collectors have brought, and what could not be had, in sentences; `states` is component to inspection."""

    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    storage: str | None = None
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One thing to collect. `work` returns what then keeps it: a collector whose time is over writes nothing."""

    what: str
    work: Callable[[Engine], Callable[[], None]]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Whose evidence it is, where it goes, and how it is masked."""

    run: str
    folder: Path
    mask: Callable[[str], str]


def collect(
    engine: Engine,
    place: Place,
    names: Iterable[tuple[str, str]],
    *,
    failed: bool,
    seconds: float = SECONDS,
    disks: bool = True,
) -> Found:
    """Save the evidence of the components in `names` (component, container). Never raises.

    Of the `disks` the engine has to be asked, which takes it 0.3 s and more.
    """
    targets, found = list(names), Found()
    share = BYTES // max(2 * len(targets) + 1, 1)
    jobs = [_log(place, *one, share) for one in targets]
    if failed:
        jobs += [_inspect(place, *one, share, found) for one in targets]
        jobs += [_events(place, share), *([_storage(found)] if disks else [])]
    if engine.silent:
        found.missing = [_no(job.what, "the engine does not answer") for job in jobs]
    else:
        _all(jobs, engine, found, seconds)
    return found


def of_killed(engine: Engine, place: Place) -> None:
    """Save what can be had within a moment of a run whose owner has been killed, and a page that says so."""
    names = sorted(
        (one.labels.get(COMPONENT, one.name), one.name)
        for one in engine.containers({RUN: place.run})
        if one.state != "created"
    )
    # Before there was a container there is nothing to save, and the sweep is not to wait for that.
    found = collect(engine, place, names, failed=True, seconds=_KILLED_S, disks=False) if names else Found()
    lines = [
        "# killed: the process that owned this run ended without a word: it was killed",
        "",
        "- blame: infrastructure",
        "- reference: owner-killed",
        "- to do: dmesg | grep -i 'killed process'  # was it the kernel, for want of memory?",
        f"- run: {place.run}",
        "",
        "## Evidence",
        "",
        *(f"    {component_line(name, found)}" for name, _ in names or [("no container", "")]),
        "",
        *(f"- {line}" for line in sorted(found.missing)),
    ]
    _save(place.folder / "diagnosis.md", place.mask("\n".join(lines) + "\n").encode())
    trim(place.folder)


def component_line(name: str, found: Found) -> str:
    """Say how a component was."""
    if any(line.startswith(f"the state of {name} ") for line in found.missing):
        return f"{name}: not known"
    told = found.states.get(name)
    if told is None:
        return f"{name}: no container"
    state: Mapping[str, Any] = told.get("State") or {}
    status = str(state.get("Status"))
    if status == "running":
        return f"{name}: running since {_time(state.get('StartedAt'))}, pid {state.get('Pid')}"
    if status not in ("exited", "stopped", "dead"):
        return f"{name}: {status}"
    oom = ", out of memory" if state.get("OOMKilled") else ""
    error = f", {state['Error']}" if state.get("Error") else ""
    return f"{name}: {status} with code {state.get('ExitCode')}{oom} at {_time(state.get('FinishedAt'))}{error}"


def _time(text: object) -> str:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(str(text)).astimezone(UTC).strftime("%H:%M:%S.%f")[:-3] + " UTC"
    return str(text)


def trim(folder: Path) -> None:
    """Hold a run's folder to its bound, where logs are too long: the longest are shortened, evenly. Never raises."""
    bounded.trim([folder / name for name in _FOLDERS], BYTES - _REPORTS)


def _all(jobs: Sequence[_Job], engine: Engine, found: Found, seconds: float) -> None:
    """Do all jobs at once, until the time is over."""
    waiting, lock = {job.what: job for job in jobs}, threading.Lock()

    def do(job: _Job, own: Engine) -> None:
        why = None
        keep = _nothing
        try:
            keep = job.work(own)
        except Exception as error:  # noqa: BLE001 - whatever an engine says: the others go on
            why = error.message if isinstance(error, InfraError) else f"{type(error).__name__}: {error}"
        with lock:
            if waiting.pop(job.what, None) is None:
                return  # too late
            try:
                keep()
            except OSError as error:
                why = str(error)
            if why is not None:
                found.missing.append(_no(job.what, why))

    threads = []
    deadline = time.monotonic() + seconds
    for job in jobs:
        thread = threading.Thread(target=do, args=(job, engine.clone(seconds)), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # as many as this user, or this control group, may have
            with lock:
                del waiting[job.what]
                found.missing.append(_no(job.what, str(error)))
        else:
            threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    with lock:
        found.missing += [_no(what, f"the engine does not answer within {seconds:g} s") for what in waiting]
        waiting.clear()


def _no(what: str, why: str) -> str:
    return f"{what} could not be had: {why}"


def _nothing() -> None:
    """What there is to keep of a container that was never created."""


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _is_gone(error: EngineRefused) -> bool:
    return error.status == HTTPStatus.NOT_FOUND


def _log(place: Place, component: str, container: str, limit: int) -> _Job:
    def work(engine: Engine) -> Callable[[], None]:
        try:
            data = _ends(engine, container, place.mask, limit)
        except EngineRefused as error:
            if _is_gone(error):
                return _nothing
            raise
        return lambda: _save(place.folder / "logs" / f"{component}.log", data)

    return _Job(what=f"the log of {component}", work=work)


def _ends(engine: Engine, container: str, mask: Callable[[str], str], limit: int) -> bytes:
    """Read a log; of one that is too long the beginning and the end, without what is between them."""
    head, size = bytearray(), 0
    pieces = engine.log_pieces(container)
    for piece in pieces:
        size += len(piece)
        head += piece
        if size > limit // 2:
            pieces.close()
            break
    else:
        return mask(head.decode("utf-8", "replace")).encode("utf-8", "replace")
    end = bounded.Ends(limit // 2)
    texts = (piece.decode("utf-8", "replace") for piece in engine.log_pieces(container, _LINES))
    for text in in_pieces(texts, mask):
        end.take(text.encode("utf-8", "replace"))
    # Masked before it is cut, and read up to the end of a line: half a secret would be none to the mask.
    start = mask(head[: head.rfind(b"\n") + 1 or None].decode("utf-8", "replace")).encode("utf-8", "replace")
    return start[: limit // 4] + f"\n[cut here; the last {_LINES} lines follow]\n".encode() + end.bytes()


def _inspect(place: Place, component: str, container: str, limit: int, found: Found) -> _Job:
    def work(engine: Engine) -> Callable[[], None]:
        try:
            told = engine.inspect(container)
        except EngineRefused as error:
            if _is_gone(error):
                return _nothing
            raise
        data = json.dumps(_masked(told, place.mask), indent=2).encode()[:limit]

        def keep() -> None:
            found.states[component] = told
            _save(place.folder / "inspect" / f"{component}.json", data)

        return keep

    return _Job(what=f"the state of {component}", work=work)


def _masked(value: object, mask: Callable[[str], str]) -> object:
    """Mask what is text in a JSON document: a secret "443" leaves the numbers alone."""
    match value:
        case str():
            return mask(value)
        case list():
            return [_masked(one, mask) for one in value]
        case dict():
            return {mask(str(key)): _masked(one, mask) for key, one in value.items()}
        case _:
            return value


def _events(place: Place, limit: int) -> _Job:
    def work(engine: Engine) -> Callable[[], None]:
        kept = bounded.Ends(limit)
        for line in engine.events({RUN: place.run}):
            kept.take(place.mask(f"{line}\n").encode("utf-8", "replace"))
        return lambda: _save(place.folder / "logs" / "events.jsonl", kept.bytes())

    return _Job(what="the engine's events", work=work)


def _storage(found: Found) -> _Job:
    def work(engine: Engine) -> Callable[[], None]:
        root = str(engine.info()["store"]["graphRoot"])

        def keep() -> None:
            found.storage = root

        return keep

    return _Job(what="where the engine stores its images", work=work)
