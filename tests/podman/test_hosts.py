"""Hosts of the tests' own: what the tests rest on when several run at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from killing import processes, text_of
from product import ROOT, eventually, without
from spread import HOSTS, distribution

ENTER = (sys.executable, str(ROOT / "tests/hosts/enter.py"))
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("slirp4netns") is None, reason="hosts of their own want root and slirp4netns"
)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return tmp_path / "host"


def run(host: Path, script: str, *words: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a Python script on a host."""
    argv = (*ENTER, str(host), sys.executable, "-c", script, *words)
    return subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)


def test_it_has_the_exit_code_the_words_and_the_output_of_its_command(host: Path) -> None:
    done = run(host, "import sys; print(sys.argv[1:]); print('problem', file=sys.stderr); sys.exit(7)", "a b", "--c=d")
    assert (done.returncode, done.stdout, done.stderr) == (7, "['a b', '--c=d']\n", "problem\n")


def test_a_signal_that_ends_its_command_is_told_as_a_shell_tells_it(host: Path) -> None:
    assert run(host, "import os; os.kill(os.getpid(), 9)").returncode == 128 + 9


def test_a_port_that_is_taken_here_is_free_there(host: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        bind = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('bound')"
        done = run(host, bind, port)
        assert done.stdout == "bound\n", done.stderr
        here = subprocess.run((sys.executable, "-c", bind, port), capture_output=True, text=True, check=False)
        assert "Address already in use" in here.stderr


def test_it_sees_no_process_no_file_and_no_interface_of_ours(host: Path) -> None:
    folders = ("/tmp", "/var/tmp", "/run", "/dev/shm", "/var/lib/containers", "/etc/containers/networks")
    here = [Path(folder, f"infra-test-host-{os.getpid()}") for folder in folders]
    for mark in here:
        mark.touch()
    try:
        look = (
            "import os, sys, pathlib\n"
            "print([mark for mark in sys.argv[2:] if pathlib.Path(mark).exists()])\n"
            "print(*os.listdir('/sys/class/net'))\n"
            "environments = [one.read_bytes() for one in pathlib.Path('/proc').glob('[0-9]*/environ')]\n"
            "print(sum(sys.argv[1].encode() in one for one in environments))\n"
        )
        needle = f"INFRA_TEST_HOST={os.getpid()}"
        with subprocess.Popen(("sleep", "60"), env={**os.environ, "INFRA_TEST_HOST": str(os.getpid())}) as ours:
            done = run(host, look, needle, *map(str, here))
            ours.kill()
    finally:
        for mark in here:
            mark.unlink()
    files, interfaces, with_mark = done.stdout.splitlines()
    assert (files, with_mark) == ("[]", "0")
    assert {"lo", "tap0"} <= set(interfaces.split())
    assert not {"eth0"} & set(interfaces.split())


def test_anybody_may_write_where_anybody_may_here(host: Path) -> None:
    done = run(host, "import os; print(*(oct(os.stat(one).st_mode) for one in ('/tmp', '/var/tmp', '/dev/shm')))")
    assert done.stdout.split() == ["0o41777"] * 3


def test_a_group_of_shared_memory_is_not_seen(host: Path) -> None:
    made = subprocess.run(("ipcmk", "--shmem", "4096"), capture_output=True, text=True, check=True).stdout
    number = made.rpartition(":")[2].strip()
    try:
        done = run(host, "import pathlib; print(pathlib.Path('/proc/sysvipc/shm').read_text().count(chr(10)))")
        assert done.stdout == "1\n", "the heading alone"
    finally:
        subprocess.run(("ipcrm", "--shmem-id", number), check=True)


def test_what_is_kept_is_there_again_and_what_a_boot_loses_is_not(host: Path) -> None:
    kept, lost = ("/tmp/a", "/var/lib/containers/a", "/var/tmp/a"), ("/run/a", "/dev/shm/a")
    wrote = run(host, "import sys, pathlib; [pathlib.Path(one).touch() for one in sys.argv[1:]]", *kept, *lost)
    assert wrote.returncode == 0, wrote.stderr
    found = run(host, "import sys, os; print([one for one in sys.argv[1:] if os.path.exists(one)])", *kept, *lost)
    assert found.stdout == f"{list(kept)}\n"
    assert not any(Path(one).exists() for one in (*kept, *lost))


ENDS: dict[str, tuple[int | None, str, int]] = {
    "its command": (None, "", 0),
    "a kill of the one that entered": (signal.SIGKILL, "entering", -signal.SIGKILL),
    "a SIGTERM to the one that entered": (signal.SIGTERM, "entering", -signal.SIGTERM),
    "a kill of its network": (signal.SIGKILL, "slirp4netns", 69),
    "a kill of what holds it": (signal.SIGKILL, "unshare", 128 + signal.SIGKILL),
}


@pytest.mark.parametrize("ends", ENDS)
def test_with_it_ends_all_that_it_has_started(host: Path, ends: str) -> None:
    number, whom, code = ENDS[ends]
    mark = f"600.{os.getpid()}"
    leave = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(['sleep', sys.argv[1]], start_new_session=True); print('started', flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    argv = (*ENTER, str(host), sys.executable, "-c", leave, mark, "0" if number is None else "600")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as entering:
        assert entering.stdout is not None
        assert entering.stdout.readline() == "started\n"
        if number is not None:
            started = {one.name(): one for one in psutil.Process(entering.pid).children()}
            os.kill(started[whom].pid if whom in started else entering.pid, number)
        assert entering.wait(30) == code
    eventually("the end of all", lambda: not [*with_word(mark), *with_open(host)], 15)


def test_an_interrupt_is_the_commands(host: Path) -> None:
    """As a terminal tells it: to all at once. What the command does then is not cut short."""
    waits = (
        "import time\ntry:\n    print('started', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(1); print('ended'); raise SystemExit(5)\n"
    )
    argv = (*ENTER, str(host), sys.executable, "-c", waits)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as entering:
        assert entering.stdout is not None
        assert entering.stdout.readline() == "started\n"
        os.killpg(entering.pid, signal.SIGINT)
        assert entering.stdout.read() == "ended\n"
        assert entering.wait(30) == 5


def with_open(folder: Path) -> Iterator[int]:
    """The processes that have a file open in a folder."""
    for one in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if one.readlink().is_relative_to(folder):
                yield int(one.parts[2])


def with_word(word: str) -> Iterator[int]:
    """The processes that have a word in their command line."""
    return (int(one.name) for one in processes() if word in text_of(one, "cmdline").split("\n"))


def test_it_reaches_what_the_machine_reaches(host: Path) -> None:
    script = (
        "import socket; socket.create_connection(('deb.debian.org', 80), 20); print(open('/etc/resolv.conf').read())"
    )
    subprocess.run((sys.executable, "-c", script), check=True, capture_output=True)
    there = run(host, script)
    assert there.stdout == "nameserver 10.0.2.3\n\n", there.stderr


def test_a_server_of_the_machine_is_not_reached(host: Path) -> None:
    """slirp4netns has the machine's 127.0.0.1 at 10.0.2.2, unless it is told otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run(host, f"import socket; socket.create_connection(('10.0.2.2', {server.getsockname()[1]}), 2)")
    assert done.returncode == 1


def test_from_a_folder_that_is_another_there_it_is_refused(host: Path) -> None:
    done = subprocess.run((*ENTER, str(host), "true"), cwd="/tmp", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (69, "a host of its own cannot be made: /tmp is another folder there\n")


def test_a_network_that_ends_because_the_host_does_is_not_the_cause(host: Path, tmp_path: Path) -> None:
    env = with_network(tmp_path, "while [ -e /proc/$5/ns/net ]; do :; done; echo it is gone >&2; exit 1")
    argv = (*ENTER, str(host), "true")
    for _ in range(5):  # which of the two ends is seen first differs
        done = subprocess.run(argv, cwd="/tmp", env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 69
        assert done.stderr == "a host of its own cannot be made: /tmp is another folder there\n"


def test_a_command_that_is_not_there_is_told(host: Path) -> None:
    done = subprocess.run((*ENTER, str(host), "no-such-command"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (127, "no-such-command: No such file or directory\n")


def test_without_a_network_it_says_so(host: Path, tmp_path: Path) -> None:
    env = with_network(tmp_path, "echo there is no tun device >&2; exit 1")
    argv = (*ENTER, str(host), "true")
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (69, "a host of its own has no network: there is no tun device\n")


def with_network(folder: Path, script: str) -> dict[str, str]:
    """An environment in which slirp4netns is a shell script."""
    slirp4netns = folder / "bin" / "slirp4netns"
    slirp4netns.parent.mkdir()
    slirp4netns.write_text(f"#!/bin/sh\n{script}\n")
    slirp4netns.chmod(0o755)
    return {**os.environ, "PATH": f"{slirp4netns.parent}:{os.environ['PATH']}"}


# -- what `nox -s tests` does with them


def spread(*words: str, **env: str) -> str:
    """The first line of a run of the tests that only collects them."""
    argv = (sys.executable, "-m", "tests.hosts.spread", *words)
    environ = {**os.environ, "PYTEST_ADDOPTS": "--collect-only -q", **env}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[0]


def test_chosen_tests_are_run_here() -> None:
    assert spread("tests/unit/test_half_done.py") == "tests on this host, one by one: some of them were asked for"


def test_two_runs_do_not_share_hosts() -> None:
    HOSTS.mkdir(parents=True, exist_ok=True)
    with (HOSTS / "lock").open("w") as lock:
        with contextlib.suppress(OSError):  # these tests themselves may run on hosts
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        said = spread("-m", "soak")
    assert said == "tests on this host, one by one: another run of the tests has the hosts of this checkout"


def test_without_what_makes_hosts_tests_are_run_here(tmp_path: Path) -> None:
    path = without(os.environ["PATH"], "slirp4netns", tmp_path)
    assert spread("-m", "soak", PATH=path) == "tests on this host, one by one: hosts of their own want slirp4netns"


def test_each_host_has_a_worker_and_a_file_is_run_on_one() -> None:
    words = distribution([Path("/a b/1"), Path("/a b/2")])
    assert words[words.index("--dist") + 1] == "loadfile"
    hosts = [word for word in words if word.startswith("popen//python=")]
    assert [shlex.split(word.partition("=")[2])[2] for word in hosts] == ["/a b/1", "/a b/2"]
