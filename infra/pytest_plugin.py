"""The pytest plug-in: `pytest --infra-service NAME` has the stack of a service while it runs.

The stack is brought up once, by the controller, before any test or xdist worker starts; a process of its own has it and
ends it with the controller, however that ends. Tests find the addresses in their environment; a variable that the
catalogue gives to each parallel process is there without its number. Where a runner has made the stack already, or no
service is asked for, this plug-in does nothing but that.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_END_S = 90.0
_RUN = "INFRA_RUN"
_WORKERS = "INFRA_WORKERS"
_PARENT_PIPE = "INFRA_PARENT_PIPE"


@dataclass(frozen=True, kw_only=True)
class InfraStack:
    """The stack as a test sees it. `worker` counts from 1; `env` is what the catalogue gives to this worker."""

    run: str
    service: str
    worker: int
    env: Mapping[str, str]


@dataclass
class _Served:
    """The process that has the stack, and what it has said."""

    process: subprocess.Popen[bytes]
    until: int
    life: int
    answers: int
    error: dict[str, Any] | None = None
    early: bool = False
    over: threading.Event = field(default_factory=threading.Event)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("infra", "stacks of real services in Podman")
    group.addoption("--infra-service", metavar="NAME", help="have this service's stack while the tests run")
    group.addoption("--infra-tier", metavar="TIER", default="integration", help="its tier (default: integration)")
    group.addoption(
        "--infra-ports", choices=("fixed", "auto"), default="fixed", help="the catalogue's ports, or any free ones"
    )
    group.addoption("--infra-fresh", action="store_true", help="a stack of its own even where one is up")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Bring the stack up, in the controller, before xdist starts its workers; each of them looks for its own part."""
    config = session.config
    if hasattr(config, "workerinput"):
        _take_worker(int(re.sub(r"\D", "", str(config.workerinput["workerid"])) or 0) + 1)
        return
    service = config.getoption("--infra-service")
    if service and not os.environ.get(_RUN) and not config.option.collectonly:
        served = _start(config, service)
        config.stash[_SERVED] = served
        session.config.add_cleanup(lambda: _end(served))
        _wait(served, session)
    _take_worker(1)


@pytest.fixture(scope="session")
def infra_stack() -> InfraStack:
    """The stack that runs under these tests. An error names what starts one."""
    if not os.environ.get(_RUN):
        pytest.fail("there is no stack: run pytest with --infra-service NAME, or through the runner", pytrace=False)
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) + 1
    return InfraStack(run=os.environ[_RUN], service=os.environ["INFRA_SERVICE"], worker=worker, env=dict(os.environ))


_SERVED = pytest.StashKey[_Served]()


def _take_worker(number: int) -> None:
    """Put what this worker has for itself under its plain name; other workers' values are nobody's here."""
    count = int(os.environ.get(_WORKERS) or 0)
    for name in [name for name in os.environ if name.endswith(f"_{number}")]:
        plain = name.removesuffix(f"_{number}")
        if count and all(f"{plain}_{n}" in os.environ for n in range(1, count + 1)):
            os.environ[plain] = os.environ[name]


def _start(config: pytest.Config, service: str) -> _Served:
    answers, their_answers = os.pipe()
    their_until, until = os.pipe()
    their_life, life = os.pipe()
    task = {
        "root": str(_root(config.rootpath)),
        "service": service,
        "tier": config.getoption("--infra-tier"),
        "ports": config.getoption("--infra-ports"),
        "fresh": config.getoption("--infra-fresh"),
        "answers": their_answers,
        "until": their_until,
    }
    package_parent = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
    try:
        # A session of its own: a Ctrl-C is for pytest, which ends the stack when its tests have ended.
        process = subprocess.Popen(
            (sys.executable, "-m", "infra.serve", json.dumps(task)),
            env={**os.environ, "PYTHONPATH": path, _PARENT_PIPE: f"{their_life}:{os.fstat(their_life).st_ino}"},
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
            pass_fds=(their_answers, their_until, their_life),
            start_new_session=True,
        )
    finally:
        for theirs in (their_answers, their_until, their_life):
            os.close(theirs)
    return _Served(process=process, until=until, life=life, answers=answers)


def _root(start: Path) -> Path:
    """Return the folder whose pyproject.toml has `[tool.infra]`: the nearest from pytest's rootdir upwards."""
    for folder in (start, *start.parents):
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
            if "infra" in tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {}):
                return folder
    return start


def _wait(served: _Served, session: pytest.Session) -> None:
    """Wait until the stack is ready, and put its addresses into the environment, which xdist's workers inherit."""
    lines = os.fdopen(served.answers, encoding="utf-8")
    answer = json.loads(lines.readline() or "{}")
    if "env" not in answer:
        lines.close()
        error = answer.get("error", {"message": "the process that has the stack is gone", "exit_code": 70})
        pytest.exit(_told(error), returncode=int(error["exit_code"]))
    os.environ.update(answer["env"])

    def listen() -> None:
        """A stack that ends early ends the session: one error, and not one a test."""
        with lines:
            for line in lines:
                served.error = json.loads(line)["error"]
                if not served.over.is_set():
                    served.early = True
                    _stop(session, _told(served.error))

    threading.Thread(target=listen, daemon=True).start()


def _stop(session: pytest.Session, why: str) -> None:
    """End the tests: pytest's own loop asks the session, that of xdist its plug-in."""
    distributed = session.config.pluginmanager.get_plugin("dsession")
    if distributed is not None:
        distributed.shouldstop = why
    session.shouldfail = why


def _told(error: Mapping[str, Any]) -> str:
    """Say it in one line: what to do, and the evidence, have been printed by the process that had the stack."""
    step = f"{error['step']}: " if error.get("step") else ""
    return f"{error.get('outcome', 'internal')}: {step}{error['message']}"


def _end(served: _Served) -> None:
    """End the stack and wait for it. Whoever does not wait leaves it to the process that has it."""
    served.over.set()
    with contextlib.suppress(OSError):
        os.close(served.until)
    with contextlib.suppress(subprocess.TimeoutExpired):
        served.process.wait(_END_S)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """End the stack after the summary. A session whose stack ended early, or left something behind, is not green."""
    yield
    served = session.config.stash.get(_SERVED, None)
    if served is not None:
        _end(served)
        if served.error is not None and (served.early or session.exitstatus == pytest.ExitCode.OK):
            session.exitstatus = int(served.error["exit_code"])
