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
from pathlib import Path

import killing
import pytest
from beside import hanging
from killing import Ground, new_run
from owned import dead_owner, image_of, things_of
from product import Podman

from infra import buildah, lease, processes
from infra.engine.client import Engine
from infra.labels import Owner
from infra.lease import Lease
from infra.lease_names import bridge, make_private_folder, private_folder

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


@pytest.mark.parametrize("alive", [True, False])
def test_a_tag_without_a_network_stays_while_its_owner_is_seen_on_this_host(
    alive: bool, ground: Ground, two: tuple[Lease, Lease]
) -> None:
    """An engine may not see a network that another service has just made: it is not asked alone."""
    run = new_run()
    ref = f"localhost/redis:beside-{run}"
    engine = two[0].engine
    make_private_folder(run, str(Owner.of(os.getpid()) if alive else dead_owner()))
    try:
        engine.tag(image_of(engine, "redis"), ref)
        assert ground.invoke("infra.gc").returncode == 0
        assert (engine.image_id(ref) is not None) is alive
    finally:
        engine.untag(ref)
        if private_folder(run).exists():
            (private_folder(run) / "owner").unlink()
            private_folder(run).rmdir()
    assert killing.left(engine, run, killing.Seen()) == []


def test_a_container_whose_monitor_was_killed_leaves_nothing_of_its_runtime(
    ground: Ground, two: tuple[Lease, Lease]
) -> None:
    """Podman itself forgets the OCI runtime's state and the control groups then."""
    run, engine = new_run(), two[0].engine
    placed = things_of(engine, run, dead_owner())
    try:
        seen = killing.Seen.of(engine, run)
        assert len(seen.containers) == 1
        for monitor in processes.monitors(lambda name: name == placed.container):
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
