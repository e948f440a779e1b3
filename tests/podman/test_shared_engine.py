"""What runs on one host share, although each has its own: names of images, a name server, the folder of networks.

Each of these was found by killing runs beside each other (docs/always-clean.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import killing
import pytest
from beside import hanging
from killing import Ground, new_run, processes, wait
from owned import dead_owner, image_of, things_of
from product import Podman

from infra import buildah, lease
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.lease import Lease
from infra.lease_names import bridge, make_private_folder, private_folder
from infra.processes import monitors

ROUNDS = 25
# linux/sockios.h, linux/if.h
SIOCBRADDBR, SIOCSIFFLAGS, IFF_UP = 0x89A0, 0x8914, 1


@pytest.fixture(scope="module")
def two(ground: Ground) -> Iterator[tuple[Lease, Lease]]:
    """Two owners, each with an engine service of its own on the one store."""
    with lease.hold(new_run(), "one", "none") as one, lease.hold(new_run(), "other", "none") as other:
        yield one, other


def test_names_of_one_image_that_many_change_at_once_are_not_lost(two: tuple[Lease, Lease]) -> None:
    image = image_of(two[0].engine, "redis")
    lost: list[str] = []

    def change(engine: Engine, who: int) -> None:
        for number in range(ROUNDS):
            ref = f"localhost/shared-{who}:number-{number}"
            engine.tag(image, ref)
            if engine.image_id(ref) != image:
                lost.append(ref)
            engine.untag(ref)

    changing = [
        threading.Thread(target=change, args=(one.engine.clone(), number)) for number, one in enumerate((*two, *two))
    ]
    for thread in changing:
        thread.start()
    for thread in changing:
        thread.join(120)
    stayed = [tag for one in two[0].engine.images() for tag in one.tags if tag.startswith("localhost/shared-")]
    for ref in stayed:
        two[0].engine.untag(ref)
    assert (lost, stayed) == ([], [])


def test_a_stack_needs_no_name_server_and_shares_no_bridge(ground: Ground, podman: Podman) -> None:
    with ground.main_job("--fresh", env=hanging(ground)) as going:
        going.reach("its suite", lambda: going.said("  check "), 240)
        name = f"notification-{going.run}"
        assert json.loads(podman("network", "inspect", name).out)[0]["network_interface"] == bridge(going.run)
        addresses = {}
        for component in ("postgres", "redis", "datastorage"):
            inspected = podman.inspect(f"notification-{component}-{going.run}")
            addresses[component] = inspected["NetworkSettings"]["Networks"][name]["IPAddress"]
            hosts = dict(entry.split(":", 1) for entry in inspected["HostConfig"]["ExtraHosts"])
            assert hosts.keys() == {"postgres", "migrations", "redis", "datastorage"}
            assert {who: hosts[who] for who in addresses} == addresses


def test_what_a_person_has_made_of_ours_stays(ground: Ground, two: tuple[Lease, Lease], podman: Podman) -> None:
    """A commit copies the labels of a run, a build those of the image it stands on, and a date has eight digits."""
    run, engine = new_run(), two[0].engine
    placed = things_of(engine, run, dead_owner())
    mine = f"mine-{new_run()}"
    tags = ("localhost/redis:before-20261121", f"localhost/{mine}/redis:main-1a2b3c4d")
    try:
        podman("commit", "--pause=false", placed.container, f"localhost/{mine}:committed")
        podman("run", "--detach", "--name", mine, f"localhost/{mine}:committed", "sleep", "300")
        for tag in tags:
            podman("tag", image_of(engine, "redis"), tag)
        before = podman.inspect(mine)["State"]["Pid"]
        assert ground.invoke("infra.gc").returncode == 0
        assert placed.there(engine) == ["no container", "image None"]
        assert podman.inspect(mine)["State"]["Pid"] == before
        assert [tag for tag in tags if engine.image_id(tag) is None] == []
    finally:
        placed.remove(engine)
        engine.remove(mine)
        for tag in (*tags, f"localhost/{mine}:committed"):
            engine.remove_image(tag)


@pytest.mark.parametrize("words", [("images.build",), ("suite.run", "--tier", "unit")], ids=["stack", "no-stack"])
def test_a_name_that_a_run_has_on_this_host_is_refused(
    words: tuple[str, ...], ground: Ground, two: tuple[Lease, Lease]
) -> None:
    """Another checkout has run directories of its own, and does not see it there."""
    run = two[0].run
    shutil.rmtree(ground.root / ".infra/runs" / run, ignore_errors=True)
    done = ground.invoke(*words, "--service", "notification", "--run", run)
    assert (done.returncode, f"there is a run {run} already" in done.stdout) == (78, True), done.stdout + done.stderr
    assert (private_folder(run) / "owner").read_text() == str(two[0].owner)
    assert two[0].engine.version() == two[0].version


def test_a_name_that_a_run_has_in_the_engine_is_refused(ground: Ground, two: tuple[Lease, Lease]) -> None:
    run, engine = new_run(), two[0].engine
    elsewhere = replace(two[0].owner, host="elsewhere")
    placed = things_of(engine, run, elsewhere)
    try:
        before = placed.there(engine)
        done = ground.invoke("images.build", "--service", "notification", "--run", run)
        assert (done.returncode, f"there is a run {run} already" in done.stdout) == (78, True), done.stdout
        assert placed.there(engine) == before
        assert not private_folder(run).exists()
    finally:
        placed.remove(engine)


def test_a_run_of_two_owners_is_dead_when_both_are(ground: Ground, two: tuple[Lease, Lease]) -> None:
    """One of them was killed before it was refused the name, and has left a process."""
    run, engine = new_run(), two[0].engine
    placed = things_of(engine, run, two[0].owner)
    marks = {**os.environ, "INFRA_RUN": run, "INFRA_OWNER": str(dead_owner()), "INFRA_ROLE": "suite"}
    with subprocess.Popen(("sleep", "300"), env=marks) as left:
        try:
            before = placed.there(engine)
            assert ground.invoke("infra.gc").returncode == 0
            assert (placed.there(engine), left.poll()) == (before, None)
            placed.remove(engine)
            assert ground.invoke("infra.gc").returncode == 0
            assert left.wait(5) == -signal.SIGKILL
        finally:
            placed.remove(engine)
            left.kill()


def test_two_runs_that_make_the_same_image_at_once_make_one(ground: Ground, two: tuple[Lease, Lease]) -> None:
    """One of a recipe with a version, which is made in two steps."""
    nonce = f"\nLABEL nonce={new_run()}\n"
    catalog = str(ground.catalog({"local/redis.Containerfile": lambda text: text + nonce}))
    before = {one.id for one in two[0].engine.images(reference="localhost/redis:*")}
    words = ("images.build", "--service", "notification")
    with ThreadPoolExecutor(2) as pool:
        makers = [pool.submit(ground.invoke, *words, INFRA_CATALOG=catalog) for _ in range(2)]
        done = [maker.result(200) for maker in makers]
    assert [one.returncode for one in done] == [0, 0], "\n".join(one.stdout + one.stderr for one in done)
    new = [one for one in two[0].engine.images(reference="localhost/redis:*") if one.id not in before]
    assert [len(one.tags) for one in new] == [1]


def test_a_bootstrap_that_is_killed_mounts_nothing_for_anybody_else(ground: Ground, two: tuple[Lease, Lease]) -> None:
    """mmdebstrap mounts the host's /dev/shm and more into what it makes: whoever deletes that deletes through it."""
    edit = {"local/debian.toml": lambda text: text.replace("packages = [", 'packages = ["hostname", ')}
    kept = Path("/dev/shm") / f"beside-{new_run()}"
    with ground.main_job("--fresh", env={"INFRA_CATALOG": str(ground.catalog(edit))}) as going:
        folder = private_folder(going.run)
        going.reach("the mounts of a bootstrap", lambda: any(map(partial(mounts_in, folder), processes())), 120)
        if mounts_in(folder, Path("/proc/self")):
            going.process.send_signal(signal.SIGTERM)  # it unmounts them; killed, it would not
            going.ends()
            pytest.fail("its mounts are there for everybody")
        kept.touch()
        going.process.kill()
        going.ends()
    try:
        assert killing.until_clean(two[0].engine, going.run)[1] == []
        assert kept.exists()
    finally:
        kept.unlink(missing_ok=True)


def mounts_in(folder: Path, process: Path) -> bool:
    return f" {folder}/" in killing.text_of(process, "mountinfo")


def test_a_runtime_state_that_is_not_written_yet_goes_with_its_build(ground: Ground, two: tuple[Lease, Lease]) -> None:
    run = new_run()
    bundle = f"buildah{int(run, 16)}"
    state = Path("/run/runc") / f"buildah-{bundle}"
    (make_private_folder(run, str(dead_owner())) / "build-x" / bundle).mkdir(parents=True)
    state.mkdir(parents=True)
    try:
        os.mkfifo(state / "exec.fifo")
        assert ground.invoke("infra.gc").returncode == 0
        wait("its end", lambda: not state.exists() and not private_folder(run).exists(), 10.0)
    finally:
        shutil.rmtree(state, ignore_errors=True)
        shutil.rmtree(private_folder(run), ignore_errors=True)


def test_a_container_whose_monitor_was_killed_leaves_nothing_of_its_runtime(
    ground: Ground, two: tuple[Lease, Lease]
) -> None:
    """Podman itself forgets the OCI runtime's state and the control groups then."""
    run, engine = new_run(), two[0].engine
    placed = things_of(engine, run, dead_owner())
    try:
        seen = killing.Seen.of(engine, run)
        assert len(seen.containers) == 1
        for monitor in monitors(lambda name: name == placed.container):
            if monitor.name() == "conmon":
                monitor.kill()
        assert ground.invoke("infra.gc", "--run", run).returncode == 0
        assert killing.left(engine, run, seen) == []
    finally:
        placed.remove(engine)


BUSY = r"""#!/bin/sh
# netavark's calls, once it is to take a network down
[ -e {flag} ] && case "$0 $*" in */iptables\ *-[DFX]*|*/nft\ -j*) echo "the firewall is busy" >&2; exit 4;; esac
exec {real} "$@"
"""


def test_a_network_that_podman_cannot_take_down_forwards_no_ports(
    ground: Ground, two: tuple[Lease, Lease], podman: Podman, tmp_path: Path
) -> None:
    """Podman removes its containers all the same, and says so in its log at most."""
    flag = tmp_path / "busy"
    for name in ("iptables", "nft"):
        stub = tmp_path / name
        stub.write_text(BUSY.format(flag=flag, real=shutil.which(name) or "false"))
        stub.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), ground.environment()["PATH"]])
    with ground.main_job("--fresh", env={**hanging(ground), "PATH": path}) as going:
        going.reach("its suite", lambda: going.said("  check "), 240)
        network = podman.inspect(f"notification-redis-{going.run}")["NetworkSettings"]["Networks"]
        addresses = network[f"notification-{going.run}"]["IPAddress"].rpartition(".")[0]
        assert len(forwarded(addresses)) == 4
        flag.touch()
        going.process.send_signal(signal.SIGTERM)
        going.ends()
    assert killing.until_clean(two[0].engine, going.run)[1] == []
    assert forwarded(addresses) == []


def forwarded(addresses: str) -> list[str]:
    """The firewall's rules that send packets there."""
    rules = []
    for argv in (("iptables-save", "-t", "nat"), ("nft", "list", "table", "inet", "netavark")):
        with contextlib.suppress(FileNotFoundError):
            rules += subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
    return [rule for rule in rules if "dnat" in rule.lower() and f" {addresses}." in rule.partition("dport")[2]]


def test_a_bridge_that_podman_has_left_goes_with_its_network(ground: Ground, two: tuple[Lease, Lease]) -> None:
    run, engine = new_run(), two[0].engine
    placed = things_of(engine, run, dead_owner())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for request, flags in ((SIOCBRADDBR, 0), (SIOCSIFFLAGS, IFF_UP)):
                fcntl.ioctl(any_socket, request, struct.pack("16sH14x", bridge(run).encode(), flags))
        seen = killing.Seen.of(engine, run)
        assert f"network interface {bridge(run)}" in killing.left(engine, run, seen)
        assert ground.invoke("infra.gc").returncode == 0
        assert killing.left(engine, run, seen) == []
    finally:
        placed.remove(engine)


def test_what_others_are_just_making_is_not_taken_for_what_a_killed_build_has_left(
    two: tuple[Lease, Lease], podman: Podman, tmp_path: Path
) -> None:
    """Podman's container is storage without a container while it is made, buildah's has no mark of anybody."""
    engine, image = two[0].engine, image_of(two[0].engine, "redis")
    (tmp_path / "Containerfile").write_text(f"FROM {image}\nRUN true\n")
    ended = threading.Event()
    looks: list[float] = []

    def sweep() -> None:
        looking, since = two[1].engine.clone(), time.time() - 1.0
        while not ended.is_set():
            with contextlib.suppress(EngineRefused):  # a list that meets somebody's removal; a sweep looks again, too
                buildah.remove_half_done(looking, new_run(), since)
            looks.append(time.monotonic())

    sweeping = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in sweeping:
        thread.start()
    names = [f"stranger-{number}-{new_run()}" for number in range(ROUNDS)]
    try:
        for number, name in enumerate(names):
            podman("create", "--name", name, image, "sleep", "60")
            if number % 5 == 0:
                flags = ("--no-cache", "--network=host", f"--iidfile={tmp_path / f'{number}.id'}")
                podman("build", *flags, str(tmp_path))
    finally:
        ended.set()
        for thread in sweeping:
            thread.join(60)
        there = {row.name for row in engine.containers()}
        for name in names:
            engine.remove(name)
        for built in tmp_path.glob("*.id"):
            engine.remove_image(built.read_text(), force=True)
    assert [name for name in names if name not in there] == []
    assert len(looks) > ROUNDS


@pytest.mark.soak
def test_a_build_of_others_that_is_held_up_while_it_writes_is_left_to_them(
    two: tuple[Lease, Lease], podman: Podman, tmp_path: Path
) -> None:
    engine, image = two[0].engine, image_of(two[0].engine, "redis")
    (tmp_path / "Containerfile").write_text(f"FROM {image}\nRUN true\n")
    folder = buildah.store(engine, "containers")
    since = time.time() - 1.0
    build = ("podman", "build", "--no-cache", "--network=host", f"--iidfile={tmp_path / 'id'}", str(tmp_path))
    for _ in range(4 * ROUNDS):
        before = set(folder.iterdir())
        with subprocess.Popen(build, env=podman.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as going:
            while going.poll() is None and not is_met(folder, before):
                pass
            going.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            if met := is_met(folder, before):
                sweep = threading.Thread(target=buildah.remove_half_done, args=(two[1].engine, new_run(), since))
                sweep.start()
                time.sleep(2.5)
            going.send_signal(signal.SIGCONT)
            told = going.communicate(timeout=60)[0].decode()
        assert going.returncode == 0, told
        engine.remove_image((tmp_path / "id").read_text(), force=True)
        if met:
            sweep.join(30)
            return
    raise AssertionError(f"of {4 * ROUNDS} builds none was met while it wrote")


def is_met(folder: Path, before: set[Path]) -> bool:
    """Whether a sweep sees a container that is being made. Where the storage is locked it waits, and sees nothing."""
    return bool(unwritten(folder, before)) and not locked(folder)


def locked(folder: Path) -> bool:
    """Whether somebody holds the lock of a storage's containers."""
    with (folder / "containers.lock").open("rb") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def unwritten(folder: Path, before: set[Path]) -> list[Path]:
    """Folders of containers that are new, and of which buildah has not written down yet whose they are."""
    made = [one / "userdata" for one in folder.iterdir() if one not in before]
    with contextlib.suppress(OSError):  # the build has ended meanwhile
        return [one for one in made if not list(one.glob("*buildah.json*"))]
    return []
