"""Whose half-done container a sweep sees: what a killed build has left stays as it is, what others make does not."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from infra import buildah, processes

MINE, THEIRS = ("container", "6df11120013e"), ("container", "a6ce3c2115b2")


def test_only_what_is_there_at_every_look_stays() -> None:
    began = time.monotonic()

    def look() -> list[tuple[str, str]]:
        at = time.monotonic() - began
        return [MINE, *([THEIRS] if at < 0.3 else []), *([("container", f"{at}")] if at > 0.1 else [])]

    assert buildah.what_stays(look, lambda: 0.6) == [MINE]


def test_where_there_is_nothing_nobody_is_asked_for_patience() -> None:
    asked: list[str] = []

    def look() -> list[tuple[str, str]]:
        asked.append("look")
        return []

    def patience_s() -> float:
        asked.append("patience")
        return 1000.0

    assert buildah.what_stays(look, patience_s) == []
    assert asked == ["look"]


def test_a_podman_is_others_unless_it_serves_the_engine_that_is_asked(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/podman.sock"
    started = {name: shell(tmp_path / name, "unix:///another.sock") for name in ("podman", "buildah", "podmanager")}
    serving = shell(tmp_path / "serving" / "podman", url)
    try:
        others = {process.pid for process in processes.others_podman(url)}
        assert {name for name, process in started.items() if process.pid in others} == {"podman", "buildah"}
        assert serving.pid not in others
    finally:
        for process in (*started.values(), serving):
            process.communicate("", timeout=10)


def shell(path: Path, url: str) -> subprocess.Popen[str]:
    """A process of that name, with the engine's address among its words, that ends with its input."""
    path.parent.mkdir(exist_ok=True)
    shutil.copy("/bin/sh", path)
    return subprocess.Popen((path, "-c", "read line", "service", url), stdin=subprocess.PIPE, text=True)
