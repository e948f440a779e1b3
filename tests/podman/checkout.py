"""A copy of this checkout that a person might have, with a `.venv`, and with ports and services that nobody else has.

What a page shows as a file is written into it, what it shows as a command is executed in it. Whoever has a stack of
the service `gateway` up, on its ports, keeps it: here that is another service, on other ports.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blocks import Command
from product import ROOT, free_ports, git

from infra import bootstrap

_SECONDS = 300.0
_LAST_LINES = 40
_PORTS = 100
_LEFT_OUT = (
    ".git",
    ".venv",
    ".nox",
    ".infra",
    ".hypothesis",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "*.test",
    "dist",
)
# Where a command names services.
_SERVICES = re.compile(r"(service[ =]+|\b(?:unit|integration|e2e)-)([\w,-]+)")
# What a line leaves to those after it, as in a terminal: folder and environment.
_SHELL = """trap 'code=$?; { export -p; printf "cd %q\\n" "$PWD"; } > "$0"; exit $code' EXIT
. "$0"
"""


class PageFails(AssertionError):
    """A command of a page does not end as the page says."""


@dataclass
class Checkout:
    """The copy. `ports` maps the catalogue's to those here; `services` have `mark` behind their names."""

    folder: Path
    ports: dict[int, int] = field(default_factory=dict)
    services: frozenset[str] = frozenset()
    free: list[int] = field(default_factory=lambda: free_ports(_PORTS))
    mark: str = field(default_factory=lambda: f"-x{secrets.token_hex(2)}")

    @classmethod
    def make(cls, folder: Path) -> Checkout:
        """Copy it with changes that are not committed, and commit all of it there."""
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        _venv(folder)
        made = cls(folder)
        for path in (folder / "infra" / "catalog").rglob("*.toml"):
            file = str(path.relative_to(folder))
            text = path.read_text(encoding="utf-8")
            path.unlink()
            made.put(file, text)
        git(folder, "init", "--quiet")
        git(folder, "add", "--all")
        who = ("-c", "user.name=page", "-c", "user.email=page@localhost", "-c", "commit.gpgsign=false")
        git(folder, *who, "commit", "--quiet", "--message=as it is")
        return made

    def moved(self, path: Path, text: str) -> str:
        """Return a file's text with the host's ports that are free here; those of a service that is new are noted."""
        if path.parent.name == "services" or path.name == "dev.toml":
            table = tomllib.loads(text)
            new = set(_numbers([table.get("ports"), table.get("suite_ports")])) - set(self.ports)
            self.ports |= {number: self.free.pop() for number in sorted(new)}
            return self._with_ports(text)
        return text

    def translated(self, command: str) -> str:
        """Return a command with what is here in the place of the catalogue's ports and services."""

        def named(found: re.Match[str]) -> str:
            return found[1] + ",".join(map(self._named, found[2].split(",")))

        return _SERVICES.sub(named, self._with_ports(command))

    def _with_ports(self, text: str) -> str:
        return re.sub(r"(?<![\d.])\d{4,5}(?![\d.])", lambda one: str(self.ports.get(int(one[0]), one[0])), text)

    def put(self, file: str, text: str) -> None:
        """Write a file, as it is here."""
        path = self.folder / file
        if path.parent == self.folder / "infra" / "catalog" / "services":
            self.services |= {path.stem}
            path = path.with_stem(self._named(path.stem))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.moved(path, text), encoding="utf-8")

    def _named(self, name: str) -> str:
        return name + self.mark if name in self.services else name

    def execute(self, command: Command, state: Path) -> None:
        """Execute a line as a person in the copy would; `state` is what the lines before it have left.

        Raises `PageFails` with all that its author needs to know.
        """
        line = self.translated(command.text)
        said, began = state.with_suffix(".said"), time.monotonic()
        with said.open("wb") as out:
            process = subprocess.Popen(
                ("bash", "-c", _SHELL + line, str(state)),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(60)
                code = None
        print(f"{command.where}: {time.monotonic() - began:.1f} s: {line}")
        if code != command.code:
            last = said.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            ended = f"not over after {_SECONDS:g} s" if code is None else f"exit code {code}"
            what = [f"{command.where}: {ended}, and the page says {command.code}", f"  $ {line}", *last]
            where = f"  (in {self.folder}, with ports and services of its own)"
            raise PageFails("\n".join([*what, where]))

    def clean(self) -> None:
        """End what a page has left up, and forget its files."""
        git(self.folder, "checkout", "--quiet", ".")
        git(self.folder, "clean", "-fdq")
        kept = {path.parent.name for path in (self.folder / ".infra" / "runs").glob("*/kept")}
        for one in json.loads(self._invoke("infra.status", "--json"))["runs"] if kept else ():
            if one["run"] in kept:
                self._invoke(*(("dev.cleanup",) if one["service"] == "dev" else ("infra.gc", "--run", one["run"])))

    def _invoke(self, *words: str) -> str:
        argv = (str(self.folder / ".venv/bin/invoke"), *words)
        env = self._environment()
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    @contextlib.contextmanager
    def page(self) -> Iterator[None]:
        """Have the copy afterwards as it was before."""
        before = self.services
        try:
            yield
        finally:
            self.services = before
            self.clean()

    def _environment(self) -> dict[str, str]:
        """That of this process, less what CI, pytest, a run, or the `.venv` of these tests have put there."""
        left_out = ("INFRA_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "NOX", "GITHUB_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        ours = {str(Path(sys.executable).parent), str(ROOT / ".venv/bin")}
        path = [folder for folder in env.get("PATH", os.defpath).split(os.pathsep) if folder not in ours]
        return {**env, "PATH": os.pathsep.join(path)}


def _numbers(value: object) -> Iterator[int]:
    """Yield all numbers in a value of a TOML file."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)


def _venv(root: Path) -> None:
    """Make a `.venv` as bootstrap would, out of the one that runs these tests; nothing is installed."""
    here, there = Path(sys.prefix), root / ".venv"
    (there / "bin").mkdir(parents=True)
    shutil.copy(here / "pyvenv.cfg", there)
    (there / "lib").symlink_to(here / "lib")
    for path in (here / "bin").iterdir():
        copy = there / "bin" / path.name
        if path.is_symlink():
            copy.symlink_to(path.readlink())
        elif path.read_bytes()[:2] == b"#!":
            text = path.read_text(encoding="utf-8").replace(str(here.resolve()), str(here))
            copy.write_text(text.replace(str(here), str(there)), encoding="utf-8")
            copy.chmod(0o755)
        else:
            copy.symlink_to(path)
    (there / "stamp.json").write_text(json.dumps(bootstrap._stamp(root)), encoding="utf-8")
