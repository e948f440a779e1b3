"""What the tests of the recorded faults share: small catalogues, and one look at how a fault is told everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from product import CATALOG, Done, Going, Project, eventually, free_ports, new_run
from remedies import COMMAND

from infra.causes.table import BY_REFERENCE

DEBIAN = "docker.io/library/debian:trixie-slim"
# Where a bench wants to see what the tests have measured: a line of JSON for each fault.
ROWS = "INFRA_TEST_FAULTS"
REDIS = """
image = "docker.io/library/redis:7-alpine"
command = ["redis-server", "--save", "", "--appendonly", "no"]
[ports]
redis = 6379
[ready]
probe = "redis"
port = "redis"
timeout = "10s"
"""
# What a suite of these may say; it kills a component of its own run as a person would.
HELPERS = """
import os, signal, time
import psutil
RUN, SERVICE = os.environ["INFRA_RUN"], os.environ["INFRA_SERVICE"]

def kill(component):
    name = f"{SERVICE}-{component}-{RUN}"
    for one in psutil.process_iter(["name", "cmdline"]):
        if one.info["name"] == "conmon" and name in (one.info["cmdline"] or ()):
            for child in one.children():
                child.kill()

def first_time(name):
    try:
        open(os.path.join(os.path.dirname(__file__), name), "x").close()
        return True
    except FileExistsError:
        return False
"""


@dataclass(frozen=True)
class Fault:
    """A run that has ended because of a fault, as a person and as a program see it."""

    done: Done
    report: dict[str, Any]
    folder: Path

    @property
    def cause(self) -> dict[str, Any]:
        return dict(self.report["cause"])

    @property
    def line(self) -> str:
        """The first line that a person sees of it."""
        return first_line(self.done.text)

    def log(self, name: str) -> str:
        return (self.folder / "logs" / name).read_text(encoding="utf-8")


def first_line(text: str) -> str:
    """The line that says how it ended, where, why, and what to do."""
    words = "failed|invalid|unavailable|not-ready|no-image|internal|interrupted"
    found = re.search(rf"^(?:{words}): .*$", text, re.MULTILINE)
    assert found, f"no line says why: {text}"
    return found[0]


def caused(project: Project, service: str = "faulty", *words: str, ports: str = "fixed", **env: str | None) -> Fault:
    """Run the suite of a service that cannot pass, to its end."""
    run = new_run()
    rest = words[words.index("--") :] if "--" in words else ()
    own = words[: len(words) - len(rest)]
    done = project.invoke("suite.run", "--service", service, "--run", run, "--ports", ports, *own, *rest, **env)
    return Fault(done, project.report(run), project.runs / run)


def ended(project: Project, going: Going) -> Fault:
    """The fault of a run that was watched while it went on."""
    return Fault(Done((), going.ends(), going.text, ""), project.report(going.run), project.runs / going.run)


def is_told(
    fault: Fault,
    *,
    reference: str,
    blame: str,
    code: int,
    step: str | None,
    says: Sequence[str] = (),
    remedy: str = "",
    shows: Sequence[str] = (),
) -> None:
    """The same cause on the console, in report.json, JUnit and diagnosis.md: step, cause, remedy, then evidence."""
    cause, text = fault.cause, fault.done.text
    assert (cause["reference"], fault.report["blame"], fault.done.code) == (reference, blame, code), text
    assert reference in BY_REFERENCE, f"{reference} has no rule, so infra.explain knows nothing of it"
    assert BY_REFERENCE[reference].blame in (blame, "component")
    assert cause["step"] == step
    assert fault.report["left_behind"] == []
    where = f"{step}: " if step else ""
    assert fault.line == f"{fault.report['outcome']}: {where}{cause['message']}; to do: {cause['remedy']}"
    assert COMMAND.match(cause["remedy"]), f"no command: {cause['remedy']}"
    assert subprocess.run(("bash", "-n", "-c", cause["remedy"]), capture_output=True, check=False).returncode == 0
    assert "{" not in cause["remedy"].replace("${EDITOR", ""), "a placeholder was left"
    for words in says:
        assert words in cause["message"], f"{words!r} is not in {cause['message']!r}"
    assert remedy in cause["remedy"]
    evidence = "\n".join(cause["evidence"])
    for words in shows:
        assert words in evidence, f"{words!r} is not shown by {evidence!r}"
    page = (fault.folder / "diagnosis.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {fault.line}\n")
    root = ElementTree.parse(fault.folder / "junit.xml").getroot()
    errors = [one for suite in root for case in suite for one in case if one.tag in ("error", "failure")]
    assert errors, "JUnit shows a failed run as green"
    told = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert (told["infra.cause"], told["infra.blame"]) == (reference, blame)
    if no_test_failed(fault):
        assert reference in [one.get("type") for one in errors]


def no_test_failed(fault: Fault) -> bool:
    """Whether no test of the suite's own has failed, so that JUnit's failure is a case of the set-up."""
    return not (fault.report["suite"] or {}).get("failed")


def written_down(number: str, how: str, fault: Fault, seconds: float | None = None) -> None:
    """Keep the row of a fault for the table: `seconds` from the moment it showed to the line that names it."""
    after = seconds if seconds is not None else fault.cause.get("named_after_s")
    row(number, how, fault.line, after, fault.report["blame"], fault.cause["reference"])


def row(number: str, how: str, line: str, seconds: float | None, blame: str, reference: str) -> None:
    """Keep a row of the table, where somebody wants it."""
    if target := os.environ.get(ROWS):
        told = {"fault": number, "how": how, "line": line, "seconds": seconds, "blame": blame, "reference": reference}
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")


def script(text: str) -> str:
    """The words of a component's `command` that run a shell script; braces are placeholders in a catalogue."""
    return f"command = {json.dumps(['sh', '-c', text.replace('{', '{{').replace('}', '}}')])}\n"


def job(shell: str, *more: str, timeout: str = "60s") -> str:
    """A job that runs a shell script; its gate has a minute, which nothing here waits for."""
    lines = ['kind = "job"', *more, script(shell).rstrip(), "[ready]", 'probe = "completed"', f'timeout = "{timeout}"']
    return "\n".join(lines) + "\n"


def small_catalog(
    folder: Path,
    components: Mapping[str, str],
    stack: Sequence[str],
    *,
    suite: str = 'runner = "pytest"\npaths = ["ok"]\n',
    tier: str = "",
    ports: Mapping[str, int] | None = None,
    service: str = "faulty",
) -> Path:
    """A catalogue of one service. `components` has the text of each file; what is not in it is the real one's.

    The default image is a Debian without anything in it. Host ports are free ones unless `ports` says which
    (`component` or `component.port`).
    """
    (folder / "components").mkdir(parents=True)
    (folder / "services").mkdir()
    shutil.copytree(CATALOG / "local", folder / "local")
    lines = []
    for name in stack:
        path = folder / "components" / f"{name}.toml"
        if name in components:
            text = components[name]
            path.write_text(text if "image =" in text else f'image = "{DEBIAN}"\n{text}', encoding="utf-8")
        else:
            shutil.copy(CATALOG / "components" / path.name, path)
        names = _port_names(path)
        given = [(ports or {}).get(f"{name}.{one}") or (ports or {}).get(name) for one in names]
        numbers = [port or free for port, free in zip(given, free_ports(len(names)), strict=True)] if names else []
        if len(names) == 1:
            lines.append(f"{name} = {numbers[0]}")
        elif names:
            inner = ", ".join(f"{one} = {number}" for one, number in zip(names, numbers, strict=True))
            lines.append(f"{name} = {{ {inner} }}")
    _write_service(folder, service, stack, lines, tier, suite)
    return folder


def _write_service(catalog: Path, name: str, stack: Sequence[str], ports: Sequence[str], tier: str, suite: str) -> None:
    text = f'language = "python"\nstack = {json.dumps(list(stack))}\n[ports]\n' + "\n".join(ports)
    text += f"\n[tiers.integration]\n{tier}\n[tiers.integration.suite]\n{suite}"
    (catalog / "services" / f"{name}.toml").write_text(text, encoding="utf-8")


def _port_names(path: Path) -> list[str]:
    import tomllib

    return list(tomllib.loads(path.read_text(encoding="utf-8")).get("ports", {}))


def small_workspace(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A workspace with one test that passes (`ok/test_ok.py`) and what else is given; git tracks it."""
    from product import git

    given = {"ok/test_ok.py": "def test_ok():\n    assert True\n", **(files or {})}
    for name, text in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    return folder


def component(text: str, *, kind: str = "service", more: str = "") -> str:
    """A component of Redis' image that does what a line of shell says; it is ready at once, or when it has ended."""
    ready = '[ready]\nprobe = "completed"\ntimeout = "20s"\n'
    return f'image = "docker.io/library/redis:7-alpine"\nkind = "{kind}"\n{script(text)}{more}\n{ready}'


def small_project(
    folder: Path,
    tests: Mapping[str, str],
    *,
    components: Mapping[str, str] | None = None,
    stacks: Mapping[str, list[str]] | None = None,
    tier: str = "",
) -> Project:
    """A project with one service for each test file of a few lines; its stack is Redis where `stacks` has no other."""
    known = {"redis": REDIS, **(components or {})}
    catalog, workspace = folder / "catalog", folder / "workspace"
    for name in ("components", "services"):
        (catalog / name).mkdir(parents=True)
    shutil.copytree(CATALOG / "local", catalog / "local")
    for name, text in known.items():
        (catalog / "components" / f"{name}.toml").write_text(text, encoding="utf-8")
    workspace.mkdir()
    (workspace / "helpers.py").write_text(HELPERS, encoding="utf-8")
    free = iter(free_ports(3 * len(tests)))
    path = f"path = [{json.dumps(str(Path(sys.executable).parent))}]\n{tier}"
    for name, text in tests.items():
        (workspace / f"test_{name}.py").write_text(f"from helpers import *\n{textwrap.dedent(text)}", encoding="utf-8")
        stack = (stacks or {}).get(name, ["redis"])
        ports = [f"{part} = {next(free)}" for part in stack if "[ports]" in known[part]]
        suite = f'runner = "pytest"\npaths = ["test_{name}.py"]\ntimeout = "60s"\n'
        _write_service(catalog, name, stack, ports, path, suite)
    return Project.make(folder / "project", catalog=catalog, workspace=workspace)


class Stopwatch:
    """How long after something was done a running product says a line."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def until(self, said: list[str], pattern: str, seconds: float = 60.0) -> float:
        """Wait until a line matches; return the seconds since the watch was made."""
        known = re.compile(pattern)
        eventually(f"a line like {pattern}", lambda: any(known.search(line) for line in said), seconds, 0.01)
        return time.monotonic() - self.began
