"""Control groups as hosts have them: version 1 and hybrid as recorded here, version 2 as its documentation has it."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra import cgroups
from infra.cgroups import Alarm, Group, Usage

ID = "0a02fdb95ad534de2fe4b6fdd4229c2cd4ec412fcb873d86ce5db000b7970ed4"
V1 = {
    "memory.usage_in_bytes": "27525120\n",
    "memory.max_usage_in_bytes": "67108864\n",
    "memory.limit_in_bytes": "67108864\n",
    "memory.failcnt": "3\n",
    "memory.memsw.failcnt": "2\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory.stat": "cache 1048576\ntotal_inactive_file 524288\ntotal_active_file 524288\n",
    "cgroup.event_control": "",
}
V1_CPU = {"cpuacct.usage": "1340000000\n"}
V2 = {
    "memory.current": "66060288\n",
    "memory.peak": "67108864\n",
    "memory.max": "67108864\n",
    "memory.events": "low 0\nhigh 0\nmax 41\noom 1\noom_kill 1\noom_group_kill 0\n",
    "memory.stat": "anon 60000000\nfile 6000000\ninactive_file 4194304\nactive_file 1048576\n",
    "cpu.stat": "usage_usec 1340000\nuser_usec 1300000\nsystem_usec 40000\n",
}
PARENT = f"libpod_parent/libpod-{ID}"
SLICE = f"machine.slice/libpod-{ID}.scope"
ROOTLESS = f"user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"


def tree(root: Path, folders: Mapping[str, Mapping[str, str]]) -> Path:
    for folder, files in folders.items():
        (root / folder).mkdir(parents=True)
        for name, text in files.items():
            (root / folder / name).write_text(text, encoding="ascii")
    return root


def found(root: Path, cgroup: str | None, pid: int | None = None, proc: Path = Path("/nowhere")) -> Group:
    group = cgroups.find(ID, cgroup, pid, root=root, proc=proc)
    assert group is not None
    return group


USAGES: dict[str, tuple[Mapping[str, Mapping[str, str]], str]] = {
    "hybrid": ({f"memory/{PARENT}": V1, f"cpuacct/{PARENT}": V1_CPU, f"unified/{PARENT}": {}}, f"/{PARENT}"),
    "v1": ({f"memory/{SLICE}": V1, f"cpu,cpuacct/{SLICE}": V1_CPU}, f"/{SLICE}"),
    "v2": ({SLICE: V2}, f"/{SLICE}"),
    "v2 with crun's group for the processes": (
        {SLICE: V2, f"{SLICE}/container": {**V2, "memory.max": "max\n"}},
        f"/{SLICE}/container",
    ),
    "v2 rootless, delegated": ({ROOTLESS: V2}, f"/{ROOTLESS}"),
}


@pytest.mark.parametrize("kind", USAGES)
def test_the_counters_are_read_whatever_the_version(kind: str, tmp_path: Path) -> None:
    folders, path = USAGES[kind]
    usage = found(tree(tmp_path, folders), path).usage()
    assert usage is not None
    assert (usage.memory_peak_mb, usage.memory_limit_mb, usage.oom_kills, usage.cpu_s) == (64, 64, 1, 1.34)
    v1 = kind in ("hybrid", "v1")
    assert usage.failed_charges == (5 if v1 else 41)
    assert (usage.memory_mb, usage.memory_held_mb) == ((26.25, 0.0) if v1 else (63.0, 58.0))


def test_no_limit_is_none_and_without_a_peak_of_the_kernels_the_present_counts(tmp_path: Path) -> None:
    v1 = {**V1, "memory.limit_in_bytes": "9223372036854771712\n"}
    old = {name: text for name, text in V2.items() if name != "memory.peak"} | {"memory.max": "max\n"}
    root = tree(tmp_path, {f"memory/{PARENT}": v1, f"cpuacct/{PARENT}": V1_CPU, SLICE: old})
    first, second = found(root, f"/{PARENT}").usage(), found(root, f"/{SLICE}").usage()
    assert isinstance(first, Usage)
    assert isinstance(second, Usage)
    assert (first.memory_limit_mb, second.memory_limit_mb, second.memory_peak_mb) == (None, None, 63.0)


def test_without_the_engines_word_the_process_says_where_it_is(tmp_path: Path) -> None:
    root = tree(tmp_path / "sys", {f"memory/{PARENT}": V1, f"cpuacct/{PARENT}": V1_CPU})
    lines = f"9:name=systemd:/{PARENT}\n4:memory:/{PARENT}\n2:cpuacct:/{PARENT}\n0::/{PARENT}\n"
    proc = tree(tmp_path / "proc", {"20649": {"cgroup": lines}, "7": {"cgroup": "4:memory:/init.scope\n"}})
    assert found(root, None, 20649, proc).v1
    assert cgroups.find(ID, None, 7, root=root, proc=proc) is None  # the number is another process's by now
    assert cgroups.find(ID, None, 8, root=root, proc=proc) is None
    assert cgroups.find(ID, None, None, root=root, proc=proc) is None


def test_where_the_engines_word_is_no_folder_here_the_process_says_where_it_is(tmp_path: Path) -> None:
    root = tree(tmp_path / "sys", {f"inner/{SLICE}": V2})
    proc = tree(tmp_path / "proc", {"20649": {"cgroup": f"0::/inner/{SLICE}\n"}})
    assert found(root, f"/{SLICE}", 20649, proc).memory == root / "inner" / SLICE


@pytest.mark.parametrize("folders", [{}, {SLICE: {"cpu.stat": V2["cpu.stat"]}}], ids=["gone", "memory not delegated"])
def test_what_is_not_counted_here_is_not_found(folders: Mapping[str, Mapping[str, str]], tmp_path: Path) -> None:
    assert cgroups.find(ID, f"/{SLICE}", 1, root=tree(tmp_path, folders)) is None


def test_a_group_that_goes_or_says_nonsense_is_no_error(tmp_path: Path) -> None:
    group = found(tree(tmp_path, {SLICE: V2}), f"/{SLICE}")
    (tmp_path / SLICE / "memory.current").write_text("", encoding="ascii")
    assert group.usage() is None
    for name in V2:
        (tmp_path / SLICE / name).unlink()
    assert group.usage() is None


def test_on_version_1_the_removal_itself_is_not_counted_as_memory(tmp_path: Path) -> None:
    alarm = Alarm(found(tree(tmp_path, {f"memory/{PARENT}": V1, f"cpuacct/{PARENT}": V1_CPU}), f"/{PARENT}"))
    try:
        asked = (tmp_path / "memory" / PARENT / "cgroup.event_control").read_text(encoding="ascii")
        assert asked.startswith(f"{alarm.fd} ")
        assert not alarm.heard()
        os.eventfd_write(alarm.fd, 1)
        poll = select.poll()
        poll.register(alarm.fd, alarm.events)
        assert poll.poll(0)
        assert alarm.ran_out_of_gone(0) == 0
        os.eventfd_write(alarm.fd, 1)
        assert alarm.heard()
        assert alarm.ran_out_of_gone(0) == 1
    finally:
        alarm.close()


def test_on_version_2_the_alarm_wakes_and_counts_nothing(tmp_path: Path) -> None:
    alarm = Alarm(found(tree(tmp_path, {SLICE: V2}), f"/{SLICE}"))
    try:
        assert alarm.events == select.POLLPRI
        assert not alarm.heard()
        assert alarm.ran_out_of_gone(0) == 0
    finally:
        alarm.close()
