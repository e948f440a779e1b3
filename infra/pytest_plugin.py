"""The pytest plug-in: `pytest --infra-service NAME` has the stack of a service while it runs.

The stack is brought up once, by the controller, before any test or xdist worker starts; a process of its own has it and
ends it with the controller, however that ends. Tests find the addresses in their environment; a variable that the
catalogue gives to each parallel process is there without its number. Where a runner has made the stack already, or no
service is asked for, or no test is to run, this plug-in does nothing but that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.catalog.names import Unreadable, toml
from infra.pytest_components import infra_component as infra_component  # noqa: PLC0414 - the plug-in offers it
from infra.starter import GONE, Served

_HEAR_S = 5.0
# A test that waits for what has died is left this time to end by itself.
_STOP_S = 5.0
_STOP_AGAIN_S = 0.2
_RUN = "INFRA_RUN"
_SERVICE = "INFRA_SERVICE"
_WORKER = "INFRA_WORKER"
_WORKERS = "INFRA_WORKERS"
_NAMES = "INFRA_WORKER_NAMES"
_INVALID = 78
# With these pytest shows something and runs no test.
_SHOWING = (
    "help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow", "collectonly", "setupplan",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InfraStack:
    """The stack as a test sees it. `worker` counts from 1; `env` is this worker's environment."""

    run: str
    service: str
    worker: int
    env: Mapping[str, str] = field(repr=False)


@dataclass
class _Stack:
    """A stack of this session's own: what was in the environment before, and how it ended."""

    served: Served
    replaced: dict[str, str | None] = field(default_factory=dict)
    listener: threading.Thread | None = None
    error: Mapping[str, Any] | None = None
    early: bool = False


_STACK = pytest.StashKey[_Stack]()
_NUMBERS = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("infra", "stacks of real services in Podman")
    group.addoption("--infra-service", metavar="NAME", help="have this service's stack while the tests run")
    group.addoption("--infra-tier", metavar="TIER", default="integration", help="its tier (default: integration)")
    group.addoption(
        "--infra-ports", choices=("fixed", "auto"), default="fixed", help="the catalogue's ports, or any free ones"
    )
    group.addoption("--infra-fresh", action="store_true", help="a stack of its own even where one is up")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Bring the stack up, before pytest and xdist start anything. A failure is our exit code, and nothing is started.

    What has the stack prints its steps, and why it could not be had. xdist has counted its workers before this.
    """
    if hasattr(config, "workerinput") or any(config.getoption(option, False) for option in _SHOWING):
        return None
    service = config.getoption("--infra-service")
    if service and not os.environ.get(_RUN):
        stack = _Stack(Served.start(_task(config, service)))
        config.stash[_STACK] = stack
        config.add_cleanup(lambda: _end(stack))
        try:
            return _wait(stack)
        except KeyboardInterrupt:
            _end(stack)
            return pytest.ExitCode.INTERRUPTED
    there = os.environ.get(_SERVICE)
    if service and there != service:
        _say(f"invalid: the stack that is there is that of {there}, not of {service}; to do: unset {_RUN}")
        return _INVALID
    has, asked = _count(), _xdist_workers(config)
    if os.environ.get(_RUN) and 0 < has < asked:
        what = f"{asked} xdist workers, and the stack that is there has values for {has}"
        _say(f"invalid: {what}; to do: python3 -m pytest -n {has}")
        return _INVALID
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Take what this worker has for itself; listen to the stack while the tests run."""
    config = session.config
    number = _number_of(config)
    replaced = _take_worker(number)
    stack = config.stash.get(_STACK, None)
    if stack is not None:
        stack.replaced = replaced | stack.replaced
        stack.listener = threading.Thread(target=_listen, args=(stack, session), daemon=True)
        stack.listener.start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's, which need not be there
    """Number xdist's workers: one that replaces one that has crashed has its number, and xdist's name is a new one."""
    numbers = node.config.stash.setdefault(_NUMBERS, {})
    number = next(n for n in range(1, len(numbers) + 2) if n not in numbers.values())
    numbers[node.gateway.id] = number
    node.workerinput["infra_worker"] = number


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401
    """Take a number back."""
    node.config.stash.setdefault(_NUMBERS, {}).pop(node.gateway.id, None)


@pytest.fixture(scope="session")
def infra_stack() -> InfraStack:
    """The stack that runs under these tests. An error names what starts one."""
    if not os.environ.get(_RUN):
        pytest.fail("there is no stack: run pytest with --infra-service NAME, or through the runner", pytrace=False)
    return InfraStack(
        run=os.environ[_RUN],
        service=os.environ.get(_SERVICE, ""),
        worker=int(os.environ.get(_WORKER) or 1),
        env=dict(os.environ),
    )


def _number_of(config: pytest.Config) -> int:
    workerinput: Mapping[str, Any] = getattr(config, "workerinput", {})
    return int(workerinput.get("infra_worker", 1))


def _count() -> int:
    """Return how many workers have values of their own in our environment."""
    count = os.environ.get(_WORKERS, "")
    return int(count) if count.isdecimal() else 0


def _xdist_workers(config: pytest.Config) -> int:
    """Return how many workers xdist will start: `popen` is one, `3*popen` are three."""
    distributed = config.getoption("dist", "no") != "no"
    times = [spec.partition("*")[0] for spec in (config.getoption("tx", None) or ()) if distributed]
    return sum(int(number) if number.isdecimal() else 1 for number in times)


def _take_worker(number: int) -> dict[str, str | None]:
    """Put what this worker has for itself under its plain name; return what was there before."""
    given = {_WORKER: str(number)} if os.environ.get(_RUN) else {}
    for name in filter(None, os.environ.get(_NAMES, "").split(",")):
        if (value := os.environ.get(f"{name}_{number}")) is not None:
            given[name] = value
    return _give(given)


def _give(env: Mapping[str, str]) -> dict[str, str | None]:
    """Put into the environment, which xdist's workers inherit; return what was there before."""
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    return before


def _task(config: pytest.Config, service: str) -> dict[str, object]:
    return {
        "root": str(_root(config.rootpath)),
        "service": service,
        "tier": config.getoption("--infra-tier"),
        "ports": config.getoption("--infra-ports"),
        "fresh": config.getoption("--infra-fresh"),
        "workers": _xdist_workers(config),
    }


def _root(start: Path) -> Path:
    """Return the folder whose pyproject.toml has `[tool.infra]`: the nearest from pytest's rootdir upwards."""
    for folder in (start, *start.parents):
        with contextlib.suppress(Unreadable):
            tool = toml(folder / "pyproject.toml").get("tool")
            if isinstance(tool, dict) and "infra" in tool:
                return folder
    return start


def _wait(stack: _Stack) -> int | None:
    """Wait until the stack is ready, and take its addresses; or return the exit code of why it is not."""
    answer = stack.served.read()
    if "env" in answer:
        stack.replaced = _give(answer["env"])
        return None
    error = answer.get("error")
    if error is None:
        error = GONE
        _say(_told(error))
    _end(stack)
    return int(error["exit_code"])


def _listen(stack: _Stack, session: pytest.Session) -> None:
    """Hear how the stack ended: one that ends early ends the session, with one error and not with one a test."""
    while answer := stack.served.read():
        stack.error = answer["error"]
        if not stack.served.over.is_set() and not stack.early:
            stack.early = True
            threading.Thread(target=_stop, args=(stack, session), daemon=True).start()
    if stack.error is None and not stack.served.over.is_set():
        stack.error, stack.early = GONE, True
        _stop(stack, session)


def _stop(stack: _Stack, session: pytest.Session) -> None:
    """End the tests: pytest's own loop asks the session, that of xdist its plug-in. One that hangs is interrupted."""
    why = _told(GONE) if stack.error is GONE else "the stack has ended: why is said below"
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline:
        distributed = session.config.pluginmanager.get_plugin("dsession")
        if distributed is not None:
            distributed.shouldstop = why
        session.shouldfail = why
        if stack.served.over.wait(_STOP_AGAIN_S):
            return
    if (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, signal.SIGINT)  # a sleep ends, too


def _told(error: Mapping[str, Any]) -> str:
    return f"{error['outcome']}: {error['message']}"


def _say(text: str) -> None:
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.__stderr__, flush=True)


def _end(stack: _Stack, word: bytes = b"") -> None:
    """End the stack and wait for it, once; the environment is what it was."""
    if not stack.served.end(word):
        return
    for name, value in stack.replaced.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if stack.listener is not None:
        stack.listener.join(_HEAR_S)
        if not stack.listener.is_alive():
            stack.served.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """End the stack after the summary. A session whose stack ended early, or left something behind, is not green."""
    yield
    stack = session.config.stash.get(_STACK, None)
    if stack is not None:
        told = {"exit_code": int(session.exitstatus), "said": _counted(session.config)}
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:  # what pytest has said comes before what the stack's process says
            with contextlib.suppress(OSError, ValueError):
                reporter.flush()
        _end(stack, json.dumps(told).encode())
        if stack.error is None and stack.served.process.poll() is None:
            stack.error = {"outcome": "internal", "message": "the stack has not ended in time", "exit_code": 70}
            _say(_told(stack.error))
        if stack.error is not None and (stack.early or session.exitstatus == pytest.ExitCode.OK):
            session.exitstatus = int(stack.error["exit_code"])


def _counted(config: pytest.Config) -> str:
    """Return how many tests ended in which way, in pytest's words."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    stats = reporter.stats if reporter is not None else {}
    return ", ".join(f"{len(stats[key])} {key}" for key in ("passed", "failed", "error", "skipped") if stats.get(key))
