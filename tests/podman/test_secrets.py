"""No secret leaves a run that fails at each step in turn: not into its folder, the console, plan, status or an image.

The stack and the suite say their secrets wherever they can, as they are and as JSON, URLs and base64 would have them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from faults import small_project
from product import Podman, Project, new_run

AT_A_TIME = 3
SECRETS = {
    "password": "Pa55-of-the-tests",
    "odd": "p\"a\\s%s=w&o<r>d' é$`/+ 🚀",
    "short": "q7z",
    "key": "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA7f\nq3Zt0lW1nOtHinG\n-----END KEY-----",
}
NAMES = {name.upper(): f"{{db.secrets.{name}}}" for name in SECRETS}
SAYS = 'env; echo "$PASSWORD" "$ODD" "($SHORT)"; echo "$KEY"; '
SAYS += 'printf %s "user:$PASSWORD" | base64; printf %s "$ODD" | base64 -w0; echo;'
REDIS = 'redis-server --save "" --appendonly no --protected-mode no'


def table(name: str, values: dict[str, str]) -> str:
    rows = "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return f"[{name}]\n{rows}\n"


def component(command: str, *, more: str = "", probe: str = "") -> str:
    words = json.dumps(["/bin/sh", "-c", command])
    ready = probe or '[ports]\nredis = 6379\n[ready]\nprobe = "redis"\nport = "redis"\ntimeout = "10s"\n'
    image = 'image = "docker.io/library/redis:7-alpine"'
    return f"{image}\ncommand = {words}\n{more}\n{table('env', NAMES)}{ready}"


JOB = '[ready]\nprobe = "completed"\ntimeout = "20s"\n'
SHOUT = """
    import base64, json, urllib.parse
    for key in ("PASSWORD", "ODD", "SHORT", "KEY"):
        value = os.environ[key]
        print(key, value, json.dumps(value), repr(value))
        print(urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value))
        print(json.dumps({"line": json.dumps({"password": value})}), f"redis://x:{urllib.parse.quote(value)}@y")
        if key != "SHORT":
            print(base64.b64encode(value.encode()), base64.b64encode(b"user:" + value.encode()))
    ALL = " and ".join(os.environ[key] for key in ("PASSWORD", "ODD", "SHORT", "KEY"))
"""
TESTS = {
    "engine": "def test_a(): pass",
    "image": "def test_a(): pass",
    "gate": "def test_a(): pass",
    "late": "def test_a(): pass",
    "job": "def test_a(): pass",
    "check": "def test_a(): pass",
    "before": "def test_a(): pass",
    "setup": f"{SHOUT}    raise ValueError(ALL)\n",
    "suite": f"{SHOUT}    def test_a(): assert ALL == '', ALL\n",
    "death": f"{SHOUT}    def test_a():\n        kill('db'); time.sleep(20)\n",
    "signal": f"{SHOUT}    def test_a():\n        print('it waits', flush=True); time.sleep(60)\n",
}
STACKS = {name: ["db"] for name in TESTS} | {
    "image": ["db", "nowhere"],
    "gate": ["db", "dying"],
    "late": ["db", "deaf"],
    "job": ["db", "failing"],
    "check": ["brief", "db", "pause"],
}
COMPONENTS = {
    "db": component(f"{SAYS} exec {REDIS}", more=table("secrets", SECRETS)),
    "nowhere": component("true", more='kind = "job"', probe=JOB).replace("redis:7-alpine", "no-such-thing:1"),
    "dying": component(f"{SAYS} echo FATAL: $PASSWORD refused; exit 1"),
    "deaf": component(f"{SAYS} sleep 60").replace('"10s"', '"1s"'),
    "failing": component(f"{SAYS} echo ERROR: $ODD refused; exit 3", more='kind = "job"', probe=JOB),
    "brief": component(f"{SAYS} {REDIS} & sleep 1.5; echo FATAL: $KEY; exit 1"),
    "pause": component("sleep 2", more='kind = "job"', probe=JOB),
}


@dataclass(frozen=True)
class Ended:
    """A run that has failed: where, what it said, and all of its files."""

    run: str
    code: int
    said: str
    folder: Path
    step: str | None


@pytest.fixture(scope="module")
def telling(warm: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    before = shlex.join(["sh", "-c", f"{SAYS} exit 1"])
    made = small_project(tmp_path_factory.mktemp("secrets"), TESTS, components=COMPONENTS, stacks=STACKS)
    catalog = made.folder.parent / "catalog" / "services"
    for name in TESTS:
        path = catalog / f"{name}.toml"
        text = path.read_text(encoding="utf-8")
        steps = f'before = [{{ name = "generate", command = {json.dumps(shlex.split(before))} }}]\n'
        text = text.replace("[tiers.integration]\n", f"[tiers.integration]\n{steps if name == 'before' else ''}", 1)
        path.write_text(text + table("tiers.integration.env", {**NAMES, "PYTEST_ADDOPTS": "-s"}), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def ended(telling: Project) -> Iterator[Callable[[str], Ended]]:
    """All runs, several at a time; each test waits for its own."""

    def one(name: str) -> Ended:
        words = ("suite.run", "--service", name, "--ports", "auto", "--verbose")
        if name == "signal":
            with telling.going(*words) as going:
                going.says("it waits")
                os.kill(going.process.pid, signal.SIGTERM)
                run, code, said = going.run, going.ends(60), going.text
        else:
            run = new_run()
            host = "unix:///tmp/no-such-socket" if name == "engine" else None
            mode = "local" if name == "image" else "auto"
            done = telling.invoke(*words, "--run", run, CONTAINER_HOST=host, INFRA_IMAGES=mode)
            code, said = done.code, done.text
        cause = telling.report(run)["cause"]
        return Ended(run, code, said, telling.runs / run, cause["step"])

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures: dict[str, Future[Ended]] = {name: pool.submit(one, name) for name in TESTS}
        yield lambda name: futures[name].result(300)


def forms(secret: str) -> set[str]:
    """How a secret could be found, by other words than the product's own."""
    found = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    found |= {quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(json.dumps(secret))[3:-3]}
    found |= {base64.b64encode(secret.encode()).decode()}
    found |= {base64.b64encode(b"user:" + secret.encode()).decode()[8:-4]}
    return found | {line for line in secret.splitlines() if len(line) > 3}


def leaks(text: str) -> list[str]:
    """The names of the secrets that are in a text, with what is around them."""
    found = []
    for name, secret in SECRETS.items():
        if len(secret) < 4:
            found += [f"{name}: {hit[0]}" for hit in re.finditer(rf".{{0,40}}\b{secret}\b.{{0,10}}", text)]
        else:
            where = [(form, text.find(form)) for form in forms(secret)]
            found += [f"{name}: {text[max(at - 60, 0) : at + 20]!r}" for _, at in where if at >= 0]
    return found


STEPS = {
    "engine": ("engine", 69),
    "image": ("image no-such-thing", 74),
    "gate": ("dying", 75),
    "late": ("deaf", 75),
    "job": ("failing", 75),
    "check": ("brief", 75),
    "before": ("generate", 1),
    "setup": ("suite", 1),
    "suite": ("suite", 1),
    "death": ("db", 75),
    "signal": (None, 143),
}


@pytest.mark.parametrize("name", TESTS)
def test_a_run_that_fails_tells_no_secret(ended: Callable[[str], Ended], name: str) -> None:
    run = ended(name)
    assert (run.step, run.code) == STEPS[name], run.said
    assert leaks(run.said) == []
    files = [path for path in run.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {"report.json", "junit.xml", "diagnosis.md"} <= {path.name for path in files}
    told = {path.name: leaks(path.read_bytes().decode("utf-8", "replace")) for path in files}
    assert {path: found for path, found in told.items() if found} == {}
    if name not in ("engine", "image"):
        assert "********" in (run.folder / "logs" / "db.log").read_text()


def test_what_looks_at_a_stack_tells_no_secret(telling: Project, podman: Podman) -> None:
    """A stack that failed and is kept: its plan, state, logs, the file of its environment, its images."""
    run = new_run()
    try:
        done = telling.invoke("suite.run", "--service", "suite", "--ports", "auto", "--run", run, INFRA_KEEP="1")
        assert done.code == 1, done.text
        assert "PASSWORD=********" in (telling.runs / run / "env").read_text()
        assert leaks((telling.runs / run / "env").read_text()) == []
        for words in (
            ("infra.plan", "--service", "suite"),
            ("infra.plan", "--service", "suite", "--json"),
            ("infra.status", "--run", run),
            ("infra.status", "--run", run, "--json"),
            ("infra.logs", "--service", "suite", "--run", run),
        ):
            told = telling.invoke(*words)
            assert told.code == 0, told.text
            assert leaks(told.text) == [], words
        logs = telling.invoke("infra.logs", "--service", "suite", "--run", run, GITHUB_ACTIONS="true").lines
        assert logs[0].startswith("::stop-commands::"), "what a container has written is no command"
        assert logs[-1] == f"::{logs[0].removeprefix('::stop-commands::')}::"
        assert len(logs) > 2
        image = podman.inspect(f"suite-db-{run}")["Image"]
        history = podman("history", "--no-trunc", "--format", "json", image).out
        assert leaks(history + podman("image", "inspect", image).out) == []
        labels = json.dumps(podman.inspect(f"suite-db-{run}")["Config"]["Labels"])
        assert leaks(labels) == []
    finally:
        telling.invoke("infra.down", "--run", run)
    assert podman.left_of(run) == []
