"""What is made of samples: peaks, sums over starts, who is told of a child that was killed, and what is reported."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

from given import DIED
from test_cgroups import ID, SLICE, V2, tree
from test_transport import Serve, http, serve  # noqa: F401 - a fixture

from infra import killings
from infra.causes.facts import MemoryFacts
from infra.engine.client import Engine
from infra.engine.types import ContainerState
from infra.report import Resources
from infra.reporters.files import diagnosis
from infra.sampling import Sampler, near_limit

QUIET = {**V2, "memory.events": "max 0\noom_kill 0\n", "memory.current": "20971520\n", "memory.peak": "31457280\n"}
STATE = ContainerState(
    id=ID,
    status="running",
    exit_code=0,
    oom_killed=False,
    error="",
    ports={},
    pid=os.getpid(),
    cgroup=f"/{SLICE}",
    memory_limit_mb=64,
)
USED = Resources(
    component="redis", memory_peak_mb=64.0, memory_held_mb=0.0, memory_limit_mb=64, cpu_s=1.25, oom_kills=0
)


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / SLICE / name.replace("_", ".", 1)).write_text(f"{text}\n", encoding="ascii")


def watching(root: Path, *, own: bool = True) -> Sampler:
    sampler = Sampler(root=tree(root, {SLICE: QUIET}))
    sampler.watch("redis", "c", STATE, own=own)
    return sampler


def facts(sampler: Sampler) -> MemoryFacts:
    known = sampler.facts("redis")
    assert known is not None
    return known


def test_a_container_of_ours_has_the_kernels_own_peak(tmp_path: Path) -> None:
    with watching(tmp_path) as sampler:
        assert facts(sampler) == MemoryFacts(
            limit_mb=64,
            peak_mb=30,
            oom_kills=0,
            failed_charges=0,
            kernel=(),
            certain=False,
            last_mb=facts(sampler).last_mb,
            would_show=killings.kernel_log("0" * 64) is not None,
        )
        assert sampler.facts("postgres") is None
    (used,) = sampler.stop()
    assert used == replace(USED, memory_peak_mb=30.0, cpu_s=1.34)


def test_of_one_that_others_have_used_only_what_we_saw_counts(tmp_path: Path) -> None:
    with watching(tmp_path, own=False) as sampler:
        put(tmp_path, memory_current="26214400", cpu_stat="usage_usec 2000000")
        known = facts(sampler)
    assert known.peak_mb == 25
    assert sampler.stop()[0].cpu_s == 0.66


def test_what_was_killed_and_started_again_is_summed_up(tmp_path: Path) -> None:
    with watching(tmp_path) as sampler:
        put(tmp_path, memory_events="max 3\noom_kill 1")
        assert facts(sampler).certain
        (tmp_path / SLICE).rename(tmp_path / "away")
        ended = facts(sampler)
        assert ended.oom_kills == 1
        (tmp_path / "away").rename(tmp_path / SLICE)
        put(tmp_path, memory_events="max 2\noom_kill 1", cpu_stat="usage_usec 1000000")
        known = facts(sampler)
    assert (known.oom_kills, known.failed_charges, known.first_kill) == (2, 5, ended.first_kill)
    assert ended.first_kill is not None
    assert sampler.stop()[0].cpu_s == 2.34


def test_a_child_that_was_killed_shows_once_it_is_clear_that_the_first_process_lives(tmp_path: Path) -> None:
    with watching(tmp_path) as sampler:
        assert not sampler.child_killed("redis", STATE)
        put(tmp_path, memory_events="max 3\noom_kill 1", memory_peak="67108864")
        facts(sampler)
        assert not sampler.child_killed("redis", STATE), "too early to say"
        time.sleep(0.25)
        assert not sampler.child_killed("redis", replace(STATE, status="exited", pid=None)), "its end is told elsewhere"
        gone = replace(STATE, pid=2**22 + 1)
        assert not sampler.child_killed("redis", gone), "it has ended, and the engine does not know yet"
        assert sampler.child_killed("redis", STATE)


def test_who_comes_near_the_limit_by_more_than_a_cache_is_named() -> None:
    assert near_limit(USED) is None
    assert near_limit(replace(USED, memory_held_mb=57.5)) is None
    assert near_limit(replace(USED, memory_held_mb=57.6)) == "redis came near its memory limit: 58 of 64 MB"
    assert near_limit(replace(USED, memory_held_mb=57.6, memory_limit_mb=None)) is None
    assert near_limit(replace(USED, memory_held_mb=None, oom_kills=None)) is None
    said = "redis met its memory limit of 64 MB, and the kernel killed a process of it"
    assert near_limit(replace(USED, oom_kills=1)) == said


def test_the_report_says_what_was_used_and_what_could_not_be_seen() -> None:
    unseen = Resources(
        component="job", memory_peak_mb=None, memory_held_mb=None, memory_limit_mb=None, cpu_s=None, oom_kills=None
    )
    report = replace(DIED, resources=(USED, unseen))
    assert [row["memory_peak_mb"] for row in report.as_json()["resources"]] == [64.0, None]
    text = diagnosis(report)
    assert "| redis | 64 | 64 | 1.25 | 0 |\n| job | - | - | - | - |\n" in text
    assert "## Resources" not in diagnosis(DIED)


def test_one_that_has_ended_before_it_was_seen_holds_nothing_and_is_unknown(tmp_path: Path) -> None:
    sampler = Sampler(root=tree(tmp_path, {SLICE: {**QUIET, "memory.current": ""}}))
    sampler.watch("redis", "c", STATE)
    held = [one.resolve() for one in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if path.is_relative_to(tmp_path)]
    (used,) = sampler.stop()
    assert (used.memory_peak_mb, used.cpu_s, used.oom_kills) == (None, None, None)


def test_an_engine_that_names_another_container_ends_no_thread(serve: Serve) -> None:  # noqa: F811
    rows = [{"Name": name, "MemUsage": 20 * 1024**2, "CPUNano": 10**9} for name in ("another", "c")]
    server = serve({"/containers/stats": http(json.dumps({"Error": None, "Stats": rows}).encode())})
    with Sampler(Engine(server.url), local=False) as sampler:
        sampler.watch("redis", "c", STATE)
        deadline = time.monotonic() + 5
        while facts(sampler).peak_mb != 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert facts(sampler).peak_mb == 20
