"""The product and the engine as a person has them: command lines, files, and nothing of the inside."""

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
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra import bootstrap

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "infra" / "catalog"
WORKSPACE = ROOT / "tests" / "workspace"
LABEL = "dev.kubernaut.infra"
SECRET = "test_password"
_ASK_AGAIN = 20


def new_run() -> str:
    """A name for a run: 8 hex digits."""
    return secrets.token_hex(4)


def eventually(what: str, seen: Callable[[], bool], seconds: float = 90.0, every: float = 0.05) -> None:
    """Look until it is seen, or fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not seen within {seconds:g} s: {what}"
        time.sleep(every)


@dataclass(frozen=True)
class Done:
    """A command that has ended: `out` and `err` are what it said, `text` is both."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


@dataclass(frozen=True)
class Podman:
    """The engine by its command line, with a configuration that fits this host."""

    env: Mapping[str, str]

    def __call__(self, *words: str, seconds: float = 60.0, check: bool = True) -> Done:
        argv = ("podman", *words)
        done = subprocess.run(
            argv,
            env=self.env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
        return Done(argv, done.returncode, done.stdout, done.stderr)

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """What a command with `--format json` lists. One that meets somebody's removal half way fails: ask again."""
        for _ in range(_ASK_AGAIN):
            done = self(*words, "--format", "json", check=False)
            if done.code == 0:
                return list(json.loads(done.out or "null") or [])
            time.sleep(0.1)
        raise AssertionError(f"podman {' '.join(words)}: {done.err}")

    def containers(self, run: str) -> list[dict[str, Any]]:
        return self.rows("ps", "--all", "--filter", f"label={LABEL}.run={run}")

    def names(self, run: str) -> list[str]:
        """The names of a run's containers."""
        return sorted(row["Names"][0] for row in self.containers(run))

    def networks(self, run: str) -> list[dict[str, Any]]:
        return self.rows("network", "ls", "--filter", f"label={LABEL}.run={run}")

    def volumes(self, run: str) -> list[dict[str, Any]]:
        return self.rows("volume", "ls", "--filter", f"label={LABEL}.run={run}")

    def tags(self, run: str) -> list[str]:
        """The tags of all images that end in the run's name."""
        names = [name for row in self.rows("images") for name in row.get("Names") or ()]
        return sorted(name for name in names if name.endswith(f"-{run}"))

    def inspect(self, container: str) -> dict[str, Any]:
        return dict(json.loads(self("inspect", "--type", "container", container).out)[0])

    def left_of(self, run: str) -> list[str]:
        """Everything of a run that is in the engine."""
        return [
            *(f"container {row['Names'][0]}" for row in self.containers(run)),
            *(f"network {row['name']}" for row in self.networks(run)),
            *(f"volume {row['Name']}" for row in self.volumes(run)),
            *(f"tag {tag}" for tag in self.tags(run)),
        ]


@dataclass
class Going:
    """The product while it runs. `said` grows as it speaks."""

    process: subprocess.Popen[str]
    run: str
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            for line in out:
                self.said.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    def says(self, text: str, seconds: float = 60.0) -> None:
        """Wait until it has said something."""

        def seen() -> bool:
            assert self.process.poll() is None or text in self.text, f"it ended: {self.text}"
            return text in self.text

        eventually(f"{text!r} in {self.text}", seen, seconds)

    def ends(self, seconds: float = 120.0) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code


@dataclass(frozen=True)
class Project:
    """A folder with a tasks.py, a noxfile.py and a `[tool.infra]`, like a repository that adopts this.

    It has `.infra` and, where it was asked for, a catalogue and a workspace of its own.
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 180.0

    @classmethod
    def make(cls, folder: Path, *, catalog: Path = CATALOG, workspace: Path = WORKSPACE) -> Project:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("tasks.py", "noxfile.py"):
            shutil.copy(ROOT / name, folder / name)
        text = f"[tool.infra]\ncatalog = {json.dumps(str(catalog))}\nworkspace = {json.dumps(str(workspace))}\n"
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        return cls(folder)

    @property
    def runs(self) -> Path:
        return self.folder / ".infra" / "runs"

    def report(self, run: str = "latest") -> dict[str, Any]:
        return dict(json.loads((self.runs / run / "report.json").read_text(encoding="utf-8")))

    def environment(self, **more: str | None) -> dict[str, str]:
        """The environment of this process, less what a run or a nox around the tests has put there."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("INFRA_")}
        env |= {"PATH": bootstrap.tool_path(ROOT), "PYTHONPATH": str(ROOT), "COLUMNS": "200", **self.env}
        for key, value in more.items():
            env.pop(key, None)
            if value is not None:
                env[key] = value
        return env

    def invoke(self, *words: str, **more: str | None) -> Done:
        """Run invoke to its end."""
        return self.python("invoke", *words, **more)

    def python(self, module: str, *words: str, **more: str | None) -> Done:
        """Run a module of this python to its end; after `seconds` it is interrupted, so that it cleans up."""
        argv = (sys.executable, "-m", module, *words)
        with subprocess.Popen(
            argv,
            cwd=self.folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        ) as process:
            try:
                out, err = process.communicate(timeout=self.seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=60)
                raise AssertionError(f"{' '.join(words)} took more than {self.seconds:g} s:\n{out}{err}") from None
        return Done(argv, process.returncode, out, err)

    @contextlib.contextmanager
    def going(self, *words: str, **more: str | None) -> Iterator[Going]:
        """Run invoke while the block goes on; `--run` is added, and it is ended at the end."""
        run = new_run()
        process = subprocess.Popen(
            (sys.executable, "-m", "invoke", *_with_run(words, run)),
            cwd=self.folder,
            env=self.environment(PYTHONUNBUFFERED="1", **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
        )
        going = Going(process, run)
        try:
            yield going
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()


def _with_run(words: Sequence[str], run: str) -> list[str]:
    if words[0] == "dev.bootstrap":  # which has no word for it
        return list(words)
    own = list(words[: words.index("--")]) if "--" in words else list(words)
    return [*own, "--run", run, *words[len(own) :]]


def catalog_copy(folder: Path) -> Path:
    """A copy of the real catalogue that a test may change."""
    return Path(shutil.copytree(CATALOG, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__")))


def edit(path: Path, old: str, new: str) -> None:
    """Change one place in a file; a change that changes nothing is a mistake of the test."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def workspace_copy(folder: Path) -> Path:
    """A copy of the real workspace in a git repository of its own: what git tracks is the build context."""
    ignored = shutil.ignore_patterns("*.test", ".git")
    shutil.copytree(WORKSPACE, folder, ignore=ignored)
    for words in (("init", "--quiet"), ("add", "--all")):
        git(folder, *words)
    return folder


def git(folder: Path, *words: str) -> None:
    """Run git in a folder, whatever the host's user has configured."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        env.pop(key, None)
    subprocess.run(("git", "-C", str(folder), *words), check=True, capture_output=True, timeout=30, env=env)


def redis_catalog(folder: Path, services: Mapping[str, str], first_port: int) -> Path:
    """A catalogue of services whose stack is Redis alone; each text is the end of a service's file.

    `{package}` suites need no more than this: `suite("./test/runner/failing")`.
    """
    (folder / "components").mkdir(parents=True)
    (folder / "services").mkdir()
    shutil.copy(CATALOG / "components" / "redis.toml", folder / "components")
    shutil.copytree(CATALOG / "local", folder / "local")
    for port, (name, rest) in enumerate(services.items(), start=first_port):
        stack = rest if "stack =" in rest else f'stack = ["redis"]\n[ports]\nredis = {port}\n{rest}'
        (folder / "services" / f"{name}.toml").write_text(f'language = "go"\n{stack}', encoding="utf-8")
    return folder


def suite(*packages: str, timeout: str = "60s", more: str = "", tier: str = "") -> str:
    """The integration tier of a service: its suite, then words of the suite's and of the tier's."""
    return (
        f"[tiers.integration]\n{tier}\n[tiers.integration.suite]\n"
        f'runner = "ginkgo"\nprocs = 2\npackages = {json.dumps(list(packages))}\ntimeout = "{timeout}"\n{more}\n'
    )


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now, from below the range that the kernel hands out itself."""
    import random
    import socket

    found: list[int] = []
    for port in random.sample(range(21000, 29000), 400):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports on this host")


def step(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One step of a report."""
    found = [one for one in report["steps"] if one["name"] == name]
    assert found, f"no step {name} among {[one['name'] for one in report['steps']]}"
    return dict(found[0])


def step_names(report: Mapping[str, Any]) -> list[str]:
    return [one["name"] for one in report["steps"]]


def texts_below(folder: Path) -> Iterable[tuple[Path, str]]:
    """Every file below a folder that is text, with its text; links are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(UnicodeDecodeError):
                yield path, path.read_text(encoding="utf-8")


def run_in(text: str) -> str:
    """The run's name in what a run said."""
    found = re.search(r"\brun ([0-9a-f]{8})\b", text)
    assert found, f"no run is named in {text}"
    return found[1]


def without(path: str, tool: str, folder: Path) -> str:
    """A PATH on which all is found but one tool: folders that have it are replaced by links to the rest."""
    kept = []
    for number, entry in enumerate(path.split(":")):
        if not (Path(entry) / tool).exists():
            kept.append(entry)
            continue
        copy = folder / f"path{number}"
        copy.mkdir()
        for one in Path(entry).iterdir():
            if one.name != tool:
                (copy / one.name).symlink_to(one)
        kept.append(str(copy))
    return ":".join(kept)
