"""The nox sessions: thin, and the same for every repository that adopts this.

A session starts one process and waits. That process owns the run; what it gets from here is a pipe
that ends when nox does, because nox tells nobody when it is terminated or killed.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nox

from infra import bootstrap
from infra.catalog.names import SuiteName, names
from infra.errors import InfraError
from infra.tools import missing

Body = Callable[[nox.Session], None]

# After an interrupt the child has had SIGINT from the terminal, or nothing at all: SIGTERM soon,
# then wait long.
INTERRUPT_S = 0.3
TERMINATE_S = 60.0


def register_services(root: Path) -> None:
    """Register `<tier>-<service>` for every tier that the catalogue declares, and `bootstrap`.

    Where the noxfile is run as a program (`python3 noxfile.py -s ...`) it becomes nox.
    A catalogue that cannot be read ends nox with 78 and one message a file, unless all the sessions
    asked for have nothing to do with it.
    """
    if _is_program(root):
        bootstrap.main(root, sys.argv[1:])
    asked = bootstrap.requested(sys.argv[1:])
    declared = names(root, os.environ)
    for suite in declared.suites:
        _register(suite.session, suite.description, _suite(root, suite), suite.tags)
    if "bootstrap" in asked:
        nox.options.stop_on_first_error = True
    _register(
        "bootstrap",
        "Install what this host lacks, each command printed first.",
        _bootstrap(root, asked),
    )
    codes = [bootstrap.report(problem) for problem in declared.problems]
    if codes and (not asked or any(map(bootstrap.is_suite, asked))):
        raise SystemExit(codes[0])
    if hint := bootstrap.unknown_suite(root, asked):
        print(hint, file=sys.stderr)


def _is_program(root: Path) -> bool:
    program = getattr(sys.modules["__main__"], "__file__", None)
    return program is not None and Path(program).resolve() == root.resolve() / "noxfile.py"


def register_house(root: Path) -> None:
    """Register the sessions with which this repository looks after itself."""
    for name, (description, commands) in HOUSE.items():
        _register(name, description, _house(root, commands))


# Of each command's words, `{posargs}` becomes what stands after `--`.
HOUSE: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "tests": ("Run this repository's own tests with pytest.", (("tests.hosts.spread", "{posargs}"),)),
    "lint": (
        "Check style and formatting with ruff.",
        (("ruff", "check", "."), ("ruff", "format", "--check", ".")),
    ),
    "types": ("Check types with mypy, strictly.", (("mypy",),)),
    "bench": (
        "Measure what runs cost and write docs/figures.md and docs/services.md.",
        (("tests.bench.run", "{posargs}"), ("tests.bench.services",)),
    ),
    "pages": ("Write the generated parts of README.md and docs/.", (("tests.pages.write",),)),
    "soak": (
        "Run the long tests: every crash point, every signal.",
        (("tests.hosts.spread", "-m", "soak", "{posargs}"),),
    ),
}


def _register(name: str, description: str, body: Body, tags: tuple[str, ...] = ()) -> None:
    """Register one session; nothing runs by default, but a list for machines has all of them."""
    body.__doc__ = description
    nox.session(name=name, python=False, venv_backend="none", tags=list(tags), default="--json" in sys.argv)(body)


def _suite(root: Path, suite: SuiteName) -> Body:
    def body(session: nox.Session) -> None:
        rest = ("--", *session.posargs) if session.posargs else ()
        argv = ("invoke", "suite.run", "--service", suite.service, "--tier", suite.tier)
        _module(session, root, *argv, *rest)

    return body


def _house(root: Path, commands: tuple[tuple[str, ...], ...]) -> Body:
    def body(session: nox.Session) -> None:
        for command in commands:
            words = [session.posargs if word == "{posargs}" else [word] for word in command]
            _module(session, root, *(word for some in words for word in some))

    return body


def _bootstrap(root: Path, asked: tuple[str, ...]) -> Body:
    def body(session: nox.Session) -> None:
        with _told(session):
            bootstrap.install(missing(bootstrap.wanted(asked)))
            bootstrap.ensure_venv(root)
            bootstrap.ensure_go(root)

    return body


def _module(session: nox.Session, root: Path, module: str, *args: str) -> None:
    """Run a module of `.venv`'s python from `root`, its tools on PATH, a pipe to nox on fd 0."""
    with _told(session):
        python = bootstrap.ensure_venv(root)
    session.chdir(root)
    with _parent_pipe() as name:
        session.run(
            str(python),
            "-m",
            module,
            *args,
            env={"PATH": bootstrap.tool_path(root), "INFRA_PARENT_PIPE": name},
            external=True,
            interrupt_timeout=INTERRUPT_S,
            terminate_timeout=TERMINATE_S,
        )


@contextlib.contextmanager
def _told(session: nox.Session) -> Iterator[None]:
    """Make an error of ours the session's."""
    try:
        yield
    except InfraError as error:
        bootstrap.report(error)
        session.error()


@contextlib.contextmanager
def _parent_pipe() -> Iterator[str]:
    """Put a pipe on fd 0 for the children started meanwhile, and give its name, `<fd>:<inode>`.

    nox passes a child nothing but its standard streams. Nobody writes; the writing end is this
    process's alone, so the child reads end-of-file when nox has gone, however it went. The inode
    lets a process tell whether the fd 0 it has is that pipe: a grandchild with another stdin
    inherits the variable only.
    """
    reading, writing = os.pipe()
    before = os.dup(0)
    try:
        os.dup2(reading, 0)
        os.set_inheritable(0, True)
        yield f"0:{os.fstat(0).st_ino}"
    finally:
        os.dup2(before, 0)
        for fd in (reading, writing, before):
            os.close(fd)
