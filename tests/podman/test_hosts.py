"""Hosts of the tests' own: what the tests rest on when several run at once."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from product import ROOT, eventually

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
    marks = [Path("/tmp"), Path("/var/tmp"), Path("/run"), Path("/dev/shm"), Path("/var/lib/containers")]
    here = [folder / f"infra-test-host-{os.getpid()}" for folder in marks]
    for mark in here:
        mark.touch()
    try:
        look = (
            "import os, sys, pathlib\n"
            "print([mark for mark in sys.argv[2:] if pathlib.Path(mark).exists()])\n"
            "print(sorted(os.listdir('/sys/class/net')))\n"
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
    assert done.stdout.splitlines() == ["[]", "['lo', 'tap0']", "0"], done.stderr


def test_what_is_kept_is_there_again_and_what_a_boot_loses_is_not(host: Path) -> None:
    kept, lost = ("/tmp/a", "/var/lib/containers/a", "/var/tmp/a"), ("/run/a", "/dev/shm/a")
    wrote = run(host, "import sys, pathlib; [pathlib.Path(one).touch() for one in sys.argv[1:]]", *kept, *lost)
    assert wrote.returncode == 0, wrote.stderr
    found = run(host, "import sys, os; print([one for one in sys.argv[1:] if os.path.exists(one)])", *kept, *lost)
    assert found.stdout == f"{list(kept)}\n"
    assert not any(Path(one).exists() for one in (*kept, *lost))


@pytest.mark.parametrize("ends", ["its command", "a kill of the one that entered"])
def test_with_it_ends_all_that_it_has_started(host: Path, ends: str) -> None:
    mark = f"{os.getpid()}{len(ends)}"
    leave = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(['sleep', sys.argv[1]], start_new_session=True); print('started', flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    argv = (*ENTER, str(host), sys.executable, "-c", leave, f"600.{mark}", "0" if ends == "its command" else "600")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as entering:
        assert entering.stdout is not None
        assert entering.stdout.readline() == "started\n"
        if ends != "its command":
            entering.kill()
        entering.wait(30)
    eventually("the end of all", lambda: not list(with_word(f"600.{mark}")), 15)


def with_word(word: str) -> Iterator[int]:
    """The processes that have a word in their command line."""
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if re.search(rf"(^|\0){re.escape(word)}\0", one.read_text(errors="replace")):
                yield int(one.parent.name)
        except OSError:
            continue


def test_it_reaches_what_the_machine_reaches(host: Path) -> None:
    """Names are resolved there as here; a container's are asked of the same server."""
    name = "deb.debian.org"
    script = (
        "import socket, sys; print(sorted({row[4][0] for row in socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)}))"
    )
    here = subprocess.run((sys.executable, "-c", script, name), capture_output=True, text=True, check=True)
    there = run(host, script, name)
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    assert run(host, f"import socket; socket.create_connection(('{name}', 80), 20).close()").returncode == 0


def test_without_a_network_it_says_so(host: Path, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "slirp4netns").write_text("#!/bin/sh\necho there is no tun device >&2\nexit 1\n")
    (fake / "slirp4netns").chmod(0o755)
    done = subprocess.run(
        (*ENTER, str(host), "true"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"},
    )
    assert done.returncode == 69
    assert done.stderr == "no network for a host of its own: there is no tun device\n\n"
