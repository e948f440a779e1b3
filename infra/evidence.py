"""Evidence before teardown: logs always; on failure what the engine says of each container, and its events.

Bounded to 10 s and 20 MB in all, secrets masked; a collector that fails skips none of the others.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.engine.client import Engine
from infra.errors import InfraError
from infra.labels import RUN
from infra.plan import Plan

_SECONDS = 10.0
_BYTES = 20 * 1024 * 1024


def collect(engine: Engine, plan: Plan, names: Iterable[tuple[str, str]], folder: Path, *, failed: bool) -> None:
    """Save the evidence of the components in `names` (component, container) below `folder`. Never raises."""
    targets = list(names)
    share = _BYTES // max(2 * len(targets) + 1, 1)
    work: list[Callable[[Engine], None]] = [_log(plan, *one, folder, share) for one in targets]
    if failed:
        work += [_inspect(plan, *one, folder, share) for one in targets]
        work.append(_events(plan, folder, share))
    threads = [threading.Thread(target=_quietly, args=(one, engine.clone(_SECONDS)), daemon=True) for one in work]
    deadline = time.monotonic() + _SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _quietly(work: Callable[[Engine], None], engine: Engine) -> None:
    try:
        work(engine)
    except (InfraError, OSError, ValueError, KeyError):
        return


def _save(path: Path, text: str, limit: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8", "replace")
    if len(data) > limit:
        data = b"[the beginning was cut]\n" + data[-limit:]
    path.write_bytes(data)


def _log(plan: Plan, component: str, container: str, folder: Path, limit: int) -> Callable[[Engine], None]:
    return lambda engine: _save(folder / "logs" / f"{component}.log", plan.mask(engine.logs(container)), limit)


def _inspect(plan: Plan, component: str, container: str, folder: Path, limit: int) -> Callable[[Engine], None]:
    def work(engine: Engine) -> None:
        text = json.dumps(engine.inspect(container), indent=2)
        _save(folder / "inspect" / f"{component}.json", plan.mask(text), limit)

    return work


def _events(plan: Plan, folder: Path, limit: int) -> Callable[[Engine], None]:
    def work(engine: Engine) -> None:
        lines = engine.events({RUN: plan.run})
        _save(folder / "logs" / "events.jsonl", plan.mask("".join(f"{line}\n" for line in lines)), limit)

    return work
