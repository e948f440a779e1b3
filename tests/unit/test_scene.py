"""Evidence without an engine that helps: it is bounded, says what it could not have, and never raises."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from given import DIED, ROOT, plan_of
from test_transport import Serve, http, serve  # noqa: F401 - a fixture

from infra import evidence, ports, reaper, scene
from infra.engine.client import Engine
from infra.evidence import Found, Place
from infra.masked_report import masked
from infra.report import Scene, Section
from infra.reporters.files import FilesReporter

SECRET = "supersecret"


def mask(text: str) -> str:
    return text.replace(SECRET, "********")


def framed(data: bytes) -> bytes:
    """As the engine sends a log."""
    return struct.pack(">BxxxL", 1, len(data)) + data


def test_of_a_long_log_no_half_of_a_secret_is_left(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    limit = evidence.BYTES // 3
    before = limit // 4 - len("...supers")
    text = b"x" * (before - 1) + b"\n" + f"...{SECRET}\n".encode() + b"y" * limit + b"\n"
    server = serve({"/containers/c/logs": http(framed(text))})
    place = Place(run="1884d074", folder=tmp_path, mask=mask)
    found = evidence.collect(Engine(server.url), place, [("loud", "c")], failed=False)
    log = (tmp_path / "logs" / "loud.log").read_bytes()
    assert found.missing == []
    assert b"cut here" in log
    assert b"supers" not in log


def test_where_no_thread_can_be_started_it_says_so(tmp_path: Path) -> None:
    place = Place(run="1884d074", folder=tmp_path, mask=str)
    before = threading.stack_size(1 << 46)  # more than there are addresses
    try:
        found = evidence.collect(Engine("unix:///nowhere"), place, [("redis", "c")], failed=True)
    finally:
        threading.stack_size(before)
    assert len(found.missing) == 4
    assert all("can't start new thread" in line for line in found.missing)
    assert evidence.component_line("redis", found) == "redis: not known"


def test_where_nothing_can_be_written_the_scene_is_still_looked_at(tmp_path: Path) -> None:
    plan_of(tmp_path)  # its workspace
    code = """
import resource, sys
from pathlib import Path
from given import CATALOG, settings_with
from infra import scene
from infra.catalog.loading import load
from infra.plan import make
made = make(load(CATALOG), settings_with(CATALOG, Path(sys.argv[1])), service="notification", run="1884d074")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
seen = scene.of_host(made, Path(sys.argv[1]))
print([one.title for one in seen.sections], seen.missing)
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "unit")])}
    argv = [sys.executable, "-c", code, str(tmp_path / "workspace")]
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, check=False, timeout=60)
    assert done.stdout == "['Who listened on the ports of this host', 'Disk'] ()\n", done.stderr


def test_a_scene_that_cannot_be_looked_at_is_said_to_be_missing(tmp_path: Path) -> None:
    seen = scene.of_host(plan_of(tmp_path), Path("no\0path"))
    assert seen is not None
    (said,) = seen.missing
    assert said.startswith("how the run was could not be looked at: ValueError: ")


def test_what_a_scene_says_has_no_secrets(tmp_path: Path) -> None:
    state = {"Status": "exited", "ExitCode": 1, "FinishedAt": "now", "Error": f"exec: --password={SECRET}"}
    line = evidence.component_line("redis", Found(states={"redis": {"State": state}}))
    assert SECRET in line
    seen = Scene(sections=(Section(title="Components", lines=(line,)),), missing=(f"the log: {SECRET}",))
    report = masked(DIED, mask)
    assert report.scene is None
    FilesReporter(tmp_path, mask).run_finished(replace(DIED, scene=seen))
    for name in ("report.json", "diagnosis.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "exec: --password=********" in text
        assert SECRET not in text


def test_of_a_stranger_on_a_port_name_and_pid_are_said_and_not_its_command_line(tmp_path: Path) -> None:
    code = "; ".join(
        (
            "import socket, time",
            "s = socket.create_server(('127.0.0.1', 0))",
            "print(s.getsockname()[1], flush=True)",
            "time.sleep(60)",
        )
    )
    argv = [sys.executable, "-c", code, f"--password={SECRET}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as stranger:
        try:
            assert stranger.stdout is not None
            port = int(stranger.stdout.readline())
            made = plan_of(tmp_path)
            step = replace(made.steps[0], ports=(replace(made.steps[0].ports[0], host=port),))
            seen = scene.of_host(replace(made, steps=(step,)), tmp_path)
            taken = ports.taken("redis", port, None)
        finally:
            stranger.kill()
    assert seen is not None
    said = f"{seen} {taken.message} {taken.evidence}"
    assert said.count(f"process {stranger.pid} (python") == 3
    assert SECRET not in said


def test_evidence_that_cannot_be_had_does_not_end_the_reaper(serve: Serve, tmp_path: Path) -> None:  # noqa: F811
    log = tmp_path / "logs" / "engine.log"
    log.parent.mkdir()
    engine = Engine(serve({"/containers/json": http(b"[]"), "/events": http(b"")}).url)
    reaper._save_evidence(engine, {"run": "1884d074", "log": str(log), "secrets": [443]})  # a number breaks the mask
    assert not (tmp_path / "diagnosis.md").exists()
