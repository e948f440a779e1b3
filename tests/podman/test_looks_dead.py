"""An owner that only looks dead is left alone, and one that only looks alive is not: each with real processes.

A run is swept by whoever starts next (here mostly `infra.gc`), so a wrong answer ends somebody's work.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import killing
import pytest
from killing import Ground, Seen, Victim, new_run, until_clean
from moments import Moment, before, has_written, logged, said
from owned import container, dead_owner, things_of
from product import Podman
from serving import served

from infra import labels
from infra.engine.client import Engine
from infra.labels import Life, Owner
from infra.lease import Lease

GATE = Moment("a gate", (said("image datastorage"), has_written("postgres")))
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
# An owner stands still for so long. Its own deadlines go on meanwhile: PostgreSQL's gate has 30 s.
STILL_S = 8.0


def gc(ground: Ground) -> dict[str, Any]:
    """Sweep what is dead; which runs are removed and which are spared."""
    done = ground.invoke("infra.gc", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def spared(answer: dict[str, Any]) -> dict[str, str]:
    return {row["run"]: row["why"] for row in answer["spared"]}


def whole(engine: Engine, run: Victim) -> dict[str, object]:
    """What a run has, and in what state: nothing of it may be another when somebody has swept."""
    mine = {labels.RUN: run.run}
    return {
        "containers": sorted((one.id, one.state) for one in engine.containers(mine)),
        "networks": sorted(one.name for one in engine.networks(mine)),
        "tags": sorted(tag for image in engine.images() for tag in image.tags if tag.endswith(f"-{run.run}")),
        "reaper": killing.with_role(run.run, "reaper"),
        "service": killing.serving(run.run),
    }


def orphaned(run: Victim, *, reaper: bool) -> None:
    """Kill the owner, and before it the reaper if that is wanted."""
    for pid in (*(killing.with_role(run.run, "reaper") if reaper else ()), run.process.pid):
        os.kill(pid, signal.SIGKILL)
    run.process.wait(5)


# -- a pid that is used again


@contextlib.contextmanager
def with_pid(pid: int) -> Iterator[None]:
    """A process of that very pid: the kernel is told which one it gave last, and gives the next one."""
    if not os.access(LAST_PID, os.W_OK):
        pytest.skip(f"{LAST_PID} cannot be written here")
    deadline = time.monotonic() + 30
    while True:
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "600"])
        if process.pid == pid:
            break
        process.kill()  # somebody else on this host was faster
        process.wait()
        assert time.monotonic() < deadline, f"pid {pid} was not to be had"
    try:
        yield
        assert process.poll() is None, "somebody has ended a process that has nothing to do with any run"
    finally:
        process.kill()
        process.wait()


def test_a_pid_that_is_used_again_is_no_owner(ground: Ground, engine: Engine) -> None:
    with ground.main_job("--fresh") as run:
        GATE.reach(run, engine)
        owner = Owner.of(run.process.pid)
        orphaned(run, reaper=True)
    seen = Seen.of(engine, run.run)
    assert killing.left(engine, run.run, seen) != []
    with with_pid(owner.pid):
        again = Owner.of(owner.pid)
        assert (again.pid, again.started != owner.started) == (owner.pid, True)
        assert (again.life(), owner.life()) == (Life.ALIVE, Life.DEAD)
        assert run.run not in spared(gc(ground))
    assert until_clean(engine, run.run, 1.0)[1] == []
    assert killing.left(engine, run.run, seen) == []


# -- an owner that stands still


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_stopped_owner_is_alive(ground: Ground, engine: Engine) -> None:
    """As Ctrl-Z and a laptop's lid do. Others start and end runs meanwhile; its own reaper waits too."""
    with ground.main_job("--fresh") as run:
        GATE.reach(run, engine)
        with standing_still(run.process.pid):
            then = whole(engine, run)
            assert "owner alive" in spared(gc(ground))[run.run]
            with ground.main_job("--fresh") as other:
                assert other.ends(120) == 0, "\n".join(other.lines)
            assert whole(engine, run) == then
            assert not any(run.run in line for line in other.lines)
        assert run.ends(120) == 0, "\n".join(run.lines)
        assert run.report()["outcome"] == "passed"
        assert until_clean(engine, run.run, 1.0)[1] == []


class SlowEngine:
    """A socket in front of the engine's. While it is slow nothing passes. (To stop the engine stops everybody's.)"""

    def __init__(self, engine: str, path: Path) -> None:
        self.url = f"unix://{path}"
        self._engine = engine.removeprefix("unix://")
        self._flows = threading.Event()
        self._flows.set()
        self.waiting = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """Let nothing pass in this block."""
        self.waiting.clear()
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # a close alone wakes nobody
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as engine, contextlib.suppress(OSError):
            engine.connect(self._engine)
            back = threading.Thread(target=self._pump, args=(engine, caller), daemon=True)
            back.start()
            self._pump(caller, engine)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._flows.is_set():
                    self.waiting.set()
                    self._flows.wait(60)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_an_owner_whose_engine_is_slow_is_alive(ground: Ground, held: Lease, engine: Engine, tmp_path: Path) -> None:
    """Its engine answers nothing for a while, in the middle of a gate."""
    proxy = SlowEngine(held.connection.url, tmp_path / "slow.sock")
    try:
        with ground.main_job("--fresh", env={"CONTAINER_HOST": proxy.url}) as run:
            GATE.reach(run, engine)
            with proxy.slow():
                assert proxy.waiting.wait(10), "the owner asks its engine nothing"
                began = time.monotonic()
                then = whole(engine, run)
                answer = gc(ground)
                time.sleep(max(0.0, STILL_S - (time.monotonic() - began)))
                assert whole(engine, run) == then
                assert run.process.poll() is None
            assert "owner alive" in spared(answer)[run.run]
            assert run.ends(120) == 0, "\n".join(run.lines)
            assert run.report()["outcome"] == "passed"
            assert until_clean(engine, run.run, 1.0)[1] == []
    finally:
        proxy.close()


# -- another boot


def test_a_run_of_another_boot_is_dead_and_one_of_another_host_is_not(ground: Ground, engine: Engine) -> None:
    """Both name a pid that lives and its true start time: after a boot that is chance, elsewhere nobody can say."""
    here = Owner.of(os.getpid())
    runs = {"boot": (new_run(), replace(here, boot="0-0-0")), "host": (new_run(), replace(here, host="elsewhere"))}
    placed = {}
    try:
        for what, (run, owner) in runs.items():
            placed[what] = things_of(engine, run, owner)
        then = placed["host"].there(engine)
        answer = gc(ground)
        assert runs["boot"][0] not in spared(answer)
        assert placed["boot"].there(engine) == ["no container", "image None"]
        assert "owner unknown" in spared(answer)[runs["host"][0]]
        assert placed["host"].there(engine) == then
        assert then[0].endswith(" running")
    finally:
        for one in placed.values():
            one.remove(engine)


# -- two sweeps at once


def test_two_sweeps_at_once_and_a_reaper_beside_them_end_the_same_runs(
    ground: Ground, held: Lease, engine: Engine
) -> None:
    """One run has lost its owner and its reaper, one its owner only. A run that lives and a stranger look on."""
    bystander = f"bystander-{new_run()}"
    alive = things_of(engine, held.run, held.owner)
    made = [alive]
    try:
        container(engine, bystander, "", {}, alive.volume)
        then = alive.there(engine)
        env = {"INFRA_CATALOG": str(ground.catalog(before("echo waiting; exec sleep 60")))}
        with ground.main_job("--fresh", env=env) as lost, ground.main_job("--fresh", env=env) as reaped:
            for run in (lost, reaped):
                Moment("a whole stack", (logged("before-wait.log", "waiting"),)).reach(run, engine)
            orphaned(lost, reaper=True)
            seen = {run.run: Seen.of(engine, run.run) for run in (lost, reaped)}
            placed = things_of(engine, new_run(), dead_owner())  # what both sweeps find at the same moment
            made.append(placed)
            orphaned(reaped, reaper=False)
            answers = in_parallel(ground, 2)
        # Which of them has ended which run is nobody's business, nor what else on this host is swept meanwhile.
        assert all(spared(answer)[held.run].startswith("owner alive") for answer in answers)
        for run in (lost, reaped):
            assert until_clean(engine, run.run, 1.0)[1] == []
            assert killing.left(engine, run.run, seen[run.run]) == []
        assert placed.there(engine) == ["no container", "image None"]
        assert alive.there(engine) == then
        state = engine.state(bystander)
        assert state is not None
        assert state.status == "running"
    finally:
        engine.remove(bystander)
        for one in made:
            one.remove(engine)


def in_parallel(ground: Ground, count: int) -> list[dict[str, Any]]:
    """Several sweeps started at once, each a process; what they answer."""
    argv = (sys.executable, "-m", "invoke", "infra.gc", "--json")
    going = [
        subprocess.Popen(
            argv,
            cwd=ground.root,
            env=ground.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    answers = []
    try:
        for process in going:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, out + err
            answers.append(json.loads(out))
    finally:
        for process in going:
            process.kill()
            process.wait()
    return answers


def test_a_stack_that_is_up_in_another_storage_is_left_alone(ground: Ground, podman: Podman, tmp_path: Path) -> None:
    """Storages share their user's networks: one shows a run of which the containers and the marker are elsewhere."""
    run = new_run()
    up = ground.invoke("infra.up", "--service", "gateway", "--ports", "auto", "--run", run)
    assert up.returncode == 0, up.stdout + up.stderr

    def state() -> list[dict[str, object]]:
        said = ground.invoke("infra.status", "--run", run, "--json")
        return list(json.loads(said.stdout)["runs"][0]["components"])

    try:
        before = state()
        assert [one["ready"] for one in before] == [True]
        conf = tmp_path / "storage.conf"
        conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/root"\nrunroot = "{tmp_path}/run"\n')
        with served({**podman.env, "CONTAINERS_STORAGE_CONF": str(conf)}) as other:
            assert run in {one.labels.get(labels.RUN) for one in Engine(other.url).networks()}
            swept = ground.invoke("infra.gc", "--json", CONTAINER_HOST=other.url)
            assert run not in swept.stdout, swept.stdout
            for words in (("infra.down", "--run", run), ("infra.gc", "--run", run)):
                refused = ground.invoke(*words, CONTAINER_HOST=other.url)
                assert f"run {run}" in refused.stdout + refused.stderr
        assert state() == before
        assert Path("/sys/class/net", f"infra{run}").exists()
    finally:
        assert ground.invoke("infra.down", "--run", run).returncode == 0
