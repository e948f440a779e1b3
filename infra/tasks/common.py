"""What all tasks share: where the root is, and how an error becomes one message and an exit code."""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from infra import bootstrap
from infra.errors import Cause, Ended, InfraError, Interrupted, Invalid

if TYPE_CHECKING:
    from infra.catalog.declared import Catalog
    from infra.engine.client import Engine
    from infra.lease import Lease
    from infra.plan import Plan
    from infra.request import Request
    from infra.settings import Settings
    from infra.watch import Reporter


def root() -> Path:
    """Return the folder of tasks.py, or of tasks/: invoke changes nothing, so it is where that was loaded from."""
    tasks = sys.modules.get("tasks")
    file = getattr(tasks, "__file__", None)
    if not file:
        return Path.cwd()
    folder = Path(file).resolve().parent
    return folder.parent if Path(file).name == "__init__.py" else folder


def read_settings() -> Settings:
    """Return the settings of this repository. Raises `Invalid`."""
    from infra import settings

    return settings.read(root())


@contextmanager
def told() -> Iterator[None]:
    """Print an error of ours as one message, cause first, and exit with its code."""
    try:
        with _interrupted():
            yield
    except OSError as error:
        # Whoever read our output has gone, or it is full: no traceback, and nothing more to say.
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except Ended as error:
        from rich.console import Console
        from rich.text import Text

        from infra.reporters.console import told as lines_of

        console = Console(stderr=True)
        cause = _without_secrets(error.cause()) if _in_actions() else error.cause()
        with stopped(sys.stderr):
            for line, style in lines_of(error.outcome, error.blame, cause):
                console.print(Text(line, style=style), soft_wrap=True)
        if _in_actions():
            from infra.reporters.github import annotation, named

            message, where = f"{cause.message}; to do: {cause.remedy}", named(cause, os.environ, (root(),))
            sys.stderr.write(annotation("error", f"{error.outcome} ({error.blame})", message, where) + "\n")
        raise SystemExit(error.exit_code) from None


@contextmanager
def _interrupted() -> Iterator[None]:
    """Have a Ctrl-C where no run catches it be one like any other: invoke would exit with 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None


@contextmanager
def stopped(stream: TextIO) -> Iterator[None]:
    """Have nothing that the block prints there be a command of GitHub Actions: it has words of others."""
    word = secrets.token_hex(16) if _in_actions() else ""
    if word:
        print(f"::stop-commands::{word}", file=stream, flush=True)
    try:
        yield
    finally:
        if word:
            print(f"::{word}::", file=stream, flush=True)


def _without_secrets(cause: Cause) -> Cause:
    """Return a cause for a log that others read; without evidence where no catalogue says what a secret is."""
    from infra.catalog.loading import load
    from infra.masking import masked

    try:
        components = load(read_settings().catalog).components.values()
    except Invalid:
        return replace(cause, evidence=())
    known = {text for component in components for text in component.secrets.values() if text}
    return cause.masked(lambda text: masked(text, known))


@contextmanager
def engine() -> Iterator[Lease]:
    """Reach the engine for a task that is no run; interrupts end it like any other."""
    from infra import lease, run_names, signals

    with signals.caught(), lease.hold(run_names.new_run(), "infra", "none", looks=True) as held:
        yield held


@contextmanager
def engine_of(run: str) -> Iterator[Engine]:
    """Reach the engine for a task; that of a run that goes on here is at hand, and is what its own suite should use."""
    from infra import lease, run_names, signals

    with signals.caught(), ExitStack() as stack:
        at_hand = lease.engine_at_hand(run) if run else None
        yield at_hand or stack.enter_context(lease.hold(run_names.new_run(), "infra", "none", looks=True)).engine


def reporter(*, verbose: bool) -> Reporter:
    """Return the console's reporter, and around it that of GitHub Actions, in there.

    NO_COLOR is rich's own business; width is the terminal's.
    """
    from rich.console import Console

    from infra.reporters.console import ConsoleReporter

    console = ConsoleReporter(Console(highlight=False), verbose=verbose)
    if not _in_actions():
        return console
    from infra.reporters.github import around

    return around(console, _say, os.environ, (root(), read_settings().workspace))


def _in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def request(
    service: str | None,
    tier: str,
    *,
    run: str | None = None,
    ports: str = "fixed",
    fresh: bool = False,
    verbose: bool = False,
    args: tuple[str, ...] = (),
    retries: int = 0,
) -> Request:
    """Return what was asked for, with the PATH that finds what bootstrap has installed."""
    from infra.request import Request

    path = bootstrap.tool_path(root())
    return Request(
        service=service,
        tier=tier,
        run=run or None,
        ports=ports,
        fresh=fresh,
        follow=verbose,
        args=args,
        path=path,
        retries=retries,
    )


def planned(catalog: Catalog, settings: Settings, service: str, tier: str, run: str, ports: str) -> Plan:
    """Return the plan of what is asked for; that of the development stack, where it is that. Raises `Invalid`."""
    from infra import plan
    from infra.devplan import catalog_of

    catalog = catalog_of(catalog, service)
    return plan.make(catalog, settings, service=service or None, tier=tier, run=run or None, ports=ports)


def show(value: object) -> None:
    """Print JSON and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def leave(code: int) -> None:
    """Exit with a code that invoke does not change; a closed stdout changes it neither."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if code:
        raise SystemExit(code)


def remainder() -> tuple[str, ...]:
    """Return what stands after `--`: invoke's own `remainder` has lost the borders between words."""
    return tuple(sys.argv[sys.argv.index("--") + 1 :]) if "--" in sys.argv else ()


def drain(engine: Engine, run: str) -> None:
    """Ask the containers to end, the last one started first. One that cannot be asked is removed all the same."""
    from infra import labels
    from infra.engine.transport import NoAnswer
    from infra.stack import DEFAULT_GRACE_S, stop

    for container in sorted(engine.containers({labels.RUN: run}), key=lambda c: c.created, reverse=True):
        if container.state == "running":
            try:
                state = engine.state(container.name)
                grace_s = DEFAULT_GRACE_S if state is None or state.stop_grace_s is None else state.stop_grace_s
                if said := stop(engine, container.name, grace_s):
                    print(f"{container.labels.get(labels.COMPONENT, container.name)} {said}")
            except NoAnswer:  # the sweep says it, where there is none at all
                return
            except InfraError:
                continue
