"""Stacks of Redis' image alone and suites of a few lines of pytest: runs that take seconds and fail as told."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from product import CATALOG, Project, free_ports

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


def script(text: str, *, kind: str = "service", more: str = "") -> str:
    """A component that does what a line of shell says; it is ready at once, or when it has ended."""
    ready = '[ready]\nprobe = "completed"\ntimeout = "20s"\n'
    words = json.dumps(["/bin/sh", "-c", text.replace("{", "{{").replace("}", "}}")])
    return f'image = "docker.io/library/redis:7-alpine"\nkind = "{kind}"\ncommand = {words}\n{more}\n{ready}'


def make(
    folder: Path,
    tests: Mapping[str, str],
    *,
    components: Mapping[str, str] | None = None,
    stacks: Mapping[str, list[str]] | None = None,
    tier: str = "",
) -> Project:
    """A project with one service for each test file; its stack is Redis where `stacks` says nothing else."""
    catalog, workspace = folder / "catalog", folder / "workspace"
    for name in ("components", "services"):
        (catalog / name).mkdir(parents=True)
    shutil.copytree(CATALOG / "local", catalog / "local")
    known = {"redis": REDIS, **(components or {})}
    for name, text in known.items():
        (catalog / "components" / f"{name}.toml").write_text(text, encoding="utf-8")
    workspace.mkdir()
    (workspace / "helpers.py").write_text(HELPERS, encoding="utf-8")
    ports = iter(free_ports(3 * len(tests)))
    for name, text in tests.items():
        (workspace / f"test_{name}.py").write_text(f"from helpers import *\n{textwrap.dedent(text)}", encoding="utf-8")
        stack = (stacks or {}).get(name, ["redis"])
        numbers = "".join(f"{part} = {next(ports)}\n" for part in stack if "[ports]" in known[part])
        service = (
            f'language = "python"\nstack = {json.dumps(stack)}\n[ports]\n{numbers}[tiers.integration]\n'
            f"path = [{json.dumps(str(Path(sys.executable).parent))}]\n{tier}\n"
            f'[tiers.integration.suite]\nrunner = "pytest"\npaths = ["test_{name}.py"]\ntimeout = "60s"\n'
        )
        (catalog / "services" / f"{name}.toml").write_text(service, encoding="utf-8")
    return Project.make(folder / "project", catalog=catalog, workspace=workspace)
