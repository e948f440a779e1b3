"""Who owns a run, and whether that owner lives: real processes, and labels that others could have written."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra import labels
from infra.labels import Life, Owner, life_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test ends."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def me() -> Owner:
    return Owner.of(os.getpid())


def test_an_owner_is_written_and_read_back() -> None:
    assert Owner.parse(str(me())) == me()
    assert str(me()).count("/") == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "a/b/c/d/e",
        "a/b/c/12",
        "a/b/c/12/34/56",
        "a/b/c/-1/5",
        "a/b/c/1.5/5",
        "a/b/c/ 12/5",
        "/b/c/12/5",
        "a//c/12/5",
        "a/b/c/12/",
        "////",
    ],
)
def test_what_we_did_not_write_is_no_owner_and_its_life_is_unknown(text: str) -> None:
    assert Owner.parse(text) is None
    assert life_of({labels.OWNER: text}) is Life.UNKNOWN


def test_what_has_no_owner_is_never_dead() -> None:
    assert life_of({}) is Life.UNKNOWN
    assert life_of({labels.RUN: "1884d074"}) is Life.UNKNOWN


def test_this_process_lives() -> None:
    assert me().life() is Life.ALIVE
    assert life_of({labels.OWNER: str(me())}) is Life.ALIVE


def test_another_hosts_owner_is_unknown_whatever_its_pid() -> None:
    assert replace(me(), host="elsewhere").life() is Life.UNKNOWN
    assert replace(me(), host="elsewhere", boot="other", pid=1 << 30).life() is Life.UNKNOWN


def test_another_pid_namespaces_owner_is_unknown() -> None:
    assert replace(me(), namespace="4026531999").life() is Life.UNKNOWN
    assert replace(me(), namespace="4026531999", pid=1 << 30).life() is Life.UNKNOWN


def test_an_owner_of_another_boot_is_dead_also_in_another_namespace() -> None:
    boot = "00000000-0000-0000-0000-000000000000"
    assert replace(me(), boot=boot).life() is Life.DEAD
    assert replace(me(), boot=boot, namespace="1").life() is Life.DEAD


def test_a_child_that_has_ended_is_dead(child: subprocess.Popen[bytes]) -> None:
    owner = Owner.of(child.pid)
    assert owner.life() is Life.ALIVE
    child.kill()
    child.wait()
    assert owner.life() is Life.DEAD
    with pytest.raises(psutil.NoSuchProcess):
        Owner.of(child.pid)


def test_a_zombie_is_dead(child: subprocess.Popen[bytes]) -> None:
    owner = Owner.of(child.pid)
    child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert owner.life() is Life.DEAD
    with pytest.raises(psutil.NoSuchProcess):
        Owner.of(child.pid)


def test_a_pid_that_somebody_else_has_now_is_dead(child: subprocess.Popen[bytes]) -> None:
    assert replace(Owner.of(child.pid), started="1").life() is Life.DEAD


def test_a_stopped_process_lives(child: subprocess.Popen[bytes]) -> None:
    owner = Owner.of(child.pid)
    child.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert owner.life() is Life.ALIVE


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        owner = Owner.of(process.pid)
        assert owner.life() is Life.ALIVE
        assert owner.started.isdecimal()
        process.kill()


def test_two_processes_are_two_owners(child: subprocess.Popen[bytes]) -> None:
    assert Owner.of(child.pid) != me()


def test_the_labels_are_those_of_the_contract() -> None:
    found = {labels.RUN, labels.SERVICE, labels.TIER, labels.COMPONENT, labels.OWNER, labels.CREATED}
    names = {"run", "service", "tier", "component", "owner", "created"}
    assert found == {f"dev.kubernaut.infra.{name}" for name in names}
