"""The kernel's log as Linux 6.18 and 4.15 have written it: whose processes were killed for memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra import killings
from infra.killings import Victim

ID = "c41d74a217491c85cb6930a39515ae6c79475bbc77eaad2ad4114a70c74e4586"
OTHER = "e2990ad18089b0a06a33fe9e47d57f1a1edc16fd5f6ce69aa5d81daaa4bc0f0f"


def killing(container: str, name: str, pid: int) -> str:
    """One killing, as /dev/kmsg gives it, less the table of processes."""
    group = f"/libpod_parent/libpod-{container}"
    return (
        f"4,108580,48273273300,-;{name} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        " SUBSYSTEM=cpu\n"
        "6,108609,48273273540,-;memory: usage 65536kB, limit 65536kB, failcnt 0\n"
        f"6,108612,48273273560,-;Memory cgroup stats for {group}:\n"
        f"6,108615,48273275055,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=libpod-{container},"
        f"mems_allowed=0,oom_memcg={group},task_memcg={group},task={name},pid={pid},uid=0\n"
        f"3,108616,48273275085,-;Memory cgroup out of memory: Killed process {pid} ({name}) total-vm:67556kB, "
        "anon-rss:65024kB, file-rss:1488kB, shmem-rss:0kB, UID:0 pgtables:168kB oom_score_adj:0\n"
    )


OLD = (
    f"6,1,1,-;Task in /libpod_parent/libpod-{ID} killed as a result of limit of /libpod_parent/libpod-{ID}\n"
    "3,2,1,-;Memory cgroup out of memory: Kill process 812 (java) score 1987 or sacrifice child\n"
    "3,3,1,-;Killed process 812 (java) total-vm:2497884kB, anon-rss:64256kB, file-rss:11584kB, shmem-rss:0kB\n"
)


def recorded(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "kmsg"
    path.write_text(text, encoding="utf-8")
    return path


def test_only_the_lines_about_this_container_are_told(tmp_path: Path) -> None:
    log = recorded(tmp_path, killing(OTHER, "postgres", 811) + killing(ID, "tail", 17840) + killing(OTHER, "x", 1))
    lines = killings.kernel_log(ID, log) or ()
    assert [line.partition(" ")[0].partition(":")[0] for line in lines] == ["oom-kill", "Memory"]
    assert "Killed process 17840 (tail) total-vm:67556kB, anon-rss:65024kB" in lines[1]
    assert killings.victims(lines) == (Victim(pid=17840, name="tail"),)
    assert killings.kernel_log("f" * 64, log) == ()


def test_a_name_with_commas_and_brackets_is_a_name(tmp_path: Path) -> None:
    lines = killings.kernel_log(ID, recorded(tmp_path, killing(ID, "a,pid=1 (b)", 44))) or ()
    assert killings.victims(lines) == (Victim(pid=44, name="a,pid=1 (b)"),)


def test_older_kernels_name_the_container_and_the_process_in_two_lines(tmp_path: Path) -> None:
    lines = killings.kernel_log(ID, recorded(tmp_path, killing(OTHER, "x", 1) + OLD)) or ()
    assert [line.split()[0] for line in lines] == ["Task", "Killed"]


def test_a_log_that_cannot_be_read_is_told_from_one_that_says_nothing(tmp_path: Path) -> None:
    assert killings.kernel_log(ID, tmp_path / "no-such-file") is None
    assert killings.kernel_log(ID, tmp_path) is None


def test_a_process_that_waits_to_be_reaped_is_not_alive() -> None:
    assert killings.is_alive(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not killings.is_alive(process.pid)
    assert not killings.is_alive(process.pid)
