"""All checks of one examination: which there are, and who answers each. They run side by side."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from infra import disks
from infra.doctor import engine as engine_checks
from infra.doctor import facts, host, machine
from infra.doctor.checks import Asked, Check, background, ok, unchecked
from infra.doctor.facts import Power
from infra.doctor.reach import Reached
from infra.doctor.wants import Wants
from infra.engine import host as engine_host
from infra.engine import store
from infra.engine.client import Engine
from infra.engine.store import Stored
from infra.lease import Lease
from infra.settings import Settings
from infra.tools import find

ORDER = (
    "catalogue",
    "engine",
    "machine",
    "version",
    "runtime",
    "rootless",
    "storage",
    "temporary",
    "memory",
    "cpus",
    "ports",
    "proxies",
    "trust",
    "tools",
    "go",
    "python",
    "leftovers",
    "forwardings",
    "images",
)
Questions = Mapping[str, Callable[[], Check]]
_STORED_S = 0.6
_REMOTE = "the engine's own host has it"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined. `asked` says that a service was named, so that all of `wants` counts."""

    settings: Settings
    wants: tuple[Wants, ...]
    asked: bool
    path: str
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def ask(questions: Questions) -> dict[str, Asked]:
    """Ask all questions at once."""
    return {name: Asked(name, question) for name, question in questions.items()}


def answers(asked: Mapping[str, Asked]) -> tuple[Check, ...]:
    """Wait for all answers; return them in the order in which people read them."""
    return tuple(asked[name].answer() for name in ORDER if name in asked)


def of_host(subject: Subject) -> Questions:
    """Return what can be asked while the engine is still to be reached."""
    environ = subject.environ
    questions: dict[str, Callable[[], Check]] = {
        "temporary": lambda: host.disk("temporary", disks.temporary()),
        "cpus": lambda: host.processors(facts.power(), subject.wants),
        "proxies": lambda: host.proxies(environ, facts.proxies(environ)),
        "trust": lambda: host.trust(
            facts.absent_bundles(environ), engine_host.own_authorities(), facts.system_bundle()
        ),
        "tools": lambda: host.tool_chain(facts.missing_tools()),
    }
    runners = {one.spec.suite.runner for one in subject.wants}
    if runners & {"ginkgo", "gotestsum"}:
        questions["go"] = lambda: _go(subject)
    if "pytest" in runners:
        questions["python"] = lambda: _python(subject)
    return questions


def stored() -> Future[Stored]:
    """Read what the storage on this host has of ours, for those who ask."""
    return background(lambda: store.ours(store.graph_root()))


def of_engine(subject: Subject, reached: Reached, ours: Future[Stored]) -> Questions:
    """Return what is asked of the engine, and what depends on which engine it is."""
    held = reached.lease
    error = reached.error
    local = held is None or not held.connection.remote
    questions: dict[str, Callable[[], Check]] = {
        "storage": lambda: _storage(ours) if local else ok("storage", _REMOTE),
        "memory": lambda: host.memory(facts.power() if local or held is None else _remote_power(held), subject.wants),
        "ports": lambda: engine_checks.fixed_ports(
            _clone(held), subject.settings.root, subject.wants, asked=subject.asked
        ),
        "forwardings": lambda: engine_checks.judge_forwardings(
            engine_checks.stale_forwardings(_clone(held), held.connection if held else None)
        ),
        "images": lambda: _images(held, ours if local else None),
    }
    if sys.platform == "darwin":
        questions["machine"] = lambda: machine.judge(machine.machines(), answers=held is not None)
    if held is None:
        why = "there is no engine to ask"
        gone = {name: _constant(unchecked(name, why)) for name in ("version", "runtime", "rootless", "leftovers")}
        return {**questions, **gone, "engine": _constant(error or unchecked("engine", why))}
    questions |= {
        "engine": lambda: ok("engine", f"{held.connection.origin} at {held.connection.url}"),
        "version": lambda: engine_checks.version(held.version),
        "leftovers": lambda: engine_checks.leftovers(held.engine.clone()),
        "runtime": lambda: _runtime(held),
        "rootless": lambda: _rootless(held),
    }
    return questions


def _constant(check: Check) -> Callable[[], Check]:
    return lambda: check


def _clone(held: Lease | None) -> Engine | None:
    return held.engine.clone() if held else None


def _storage(ours: Future[Stored]) -> Check:
    """How much of the disk is ours is left out where that cannot be read in time."""
    found = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, TimeoutError):
        found = ours.result(_STORED_S)
    return host.disk("storage", disks.storage(found))


def _images(held: Lease | None, ours: Future[Stored] | None) -> Check:
    found: Stored | None = None
    if ours is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = ours.result()
    if found is None and held is None:
        return unchecked("images", "there is no engine to ask")
    return engine_checks.judge_images(engine_checks.aged(_clone(held), found), found)


def _runtime(held: Lease) -> Check:
    connection = held.connection
    if connection.remote:
        return ok("runtime", _REMOTE)
    seen = engine_host.facts()
    private = bool(connection.service)
    # To say what it uses takes an engine half a second.
    used = "" if private or not (seen.hybrid_cgroups or seen.low_limits) else held.facts().runtime
    found = [name for name in ("crun", "runc") if find(name)]
    return host.runtime(seen, found, private=private, used=used)


def _rootless(held: Lease) -> Check:
    if held.connection.remote:
        return ok("rootless", _REMOTE)
    return host.rootless(None if os.geteuid() == 0 else facts.rootless(), engine_checks.numbers(held.version))


def _remote_power(held: Lease) -> Power:
    said = held.engine.clone().info()["host"]
    return Power(
        total_mb=int(said["memTotal"]) // 1024**2,
        available_mb=int(said["memFree"]) // 1024**2,
        cpus=int(said["cpus"]),
        where="the engine's host",
    )


def _go(subject: Subject) -> Check:
    wants = [one for one in subject.wants if one.spec.suite.runner in ("ginkgo", "gotestsum")]
    modules = []
    for one in wants:
        modules.append(facts.go_module(_folder(subject, one), subject.settings.workspace, one.spec.suite.tool))
    found = facts.which("go", _path(subject, wants[0]))
    return host.go(found, facts.go_version(found) if found else (), tuple(dict.fromkeys(modules)))


def _python(subject: Subject) -> Check:
    """Suites with requirements have an environment of their own, made by the python that runs this."""
    wants = [one for one in subject.wants if one.spec.suite.runner == "pytest" and not _requires(one)]
    if not wants:
        return ok("python", f"{sys.executable} makes the suites' environments")
    found = facts.which("python3", _path(subject, wants[0]))
    return host.python(found, pytest=bool(found) and facts.has_pytest(found))


def _requires(one: Wants) -> Iterable[str]:
    return one.spec.suite.requirements if one.spec.suite.runner == "pytest" else ()


def _folder(subject: Subject, one: Wants) -> Path:
    return (subject.settings.workspace / one.spec.cwd).resolve()


def _path(subject: Subject, one: Wants) -> str:
    """Return the PATH that a suite is started with."""
    return one.spec.environment({"PATH": subject.path}, {}, _folder(subject, one))["PATH"]
