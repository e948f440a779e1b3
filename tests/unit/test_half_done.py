"""Whose half-done container a sweep sees: what a killed build has left stays as it is, what others make does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra import buildah, processes
from infra.engine.client import Engine

HALF_DONE = [("container", "6df11120013e")]


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the sweep removes, of an engine that nobody serves."""
    gone: list[str] = []
    monkeypatch.setattr(Engine, "remove", lambda _, name: gone.append(name))
    return gone


def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, writes_after_s: float, others: bool) -> None:
    """Look at a container of which it is written down after a while whose it is."""
    began = time.monotonic()
    seen = lambda *_: HALF_DONE if time.monotonic() - began < writes_after_s else []  # noqa: E731
    monkeypatch.setattr(buildah, "_half_done", seen)
    monkeypatch.setattr(processes, "others_podman", lambda _: others)
    buildah.remove_half_done(Engine(f"unix://{tmp_path}/nobody.sock"), "0a1b2c3d", 0.0)


def test_what_others_make_slowly_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: list[str]
) -> None:
    sweep(tmp_path, monkeypatch, writes_after_s=1.5, others=True)
    assert removed == []


@pytest.mark.parametrize("others", [True, False])
def test_what_stays_as_it_is_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: list[str], others: bool
) -> None:
    sweep(tmp_path, monkeypatch, writes_after_s=1000.0, others=others)
    assert removed == ["6df11120013e"]
