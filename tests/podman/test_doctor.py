"""`infra.doctor` on this host: what is well, what is not, what it mends; real ports, leftovers, disks, processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import new_run
from owned import dead_owner, named, things_of
from product import Done, Podman, Project, catalog_copy, edit, eventually, free_ports, redis_catalog, suite
from product import without as path_without

from infra import ports
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.labels import ENV_OWNER, Owner
from infra.lease import Lease

NAMES = {
    "engine",
    "version",
    "runtime",
    "rootless",
    "storage",
    "temporary",
    "memory",
    "cpus",
    "ports",
    "proxies",
    "trust",
    "tools",
    "go",
    "leftovers",
    "forwardings",
    "images",
}
SMALL = "64m"
_ASK_AGAIN = 10


def checks_of(done: Done) -> dict[str, dict[str, str]]:
    """The checks of `--json` by name; whatever they say, they have the form of the contract."""
    told = done.json()
    assert all(set(one) == {"name", "state", "seen", "fix"} for one in told["checks"])
    order = ["ok", "warning", "failure"]
    assert told["state"] == max((one["state"] for one in told["checks"]), key=order.index)
    assert done.code == (69 if told["state"] == "failure" else 0), done.text
    return {one["name"]: one for one in told["checks"]}


def examined(project: Project, *words: str, **more: str | None) -> dict[str, dict[str, str]]:
    """The checks, asked again where this host was too busy for one of them to answer in its time."""
    for _ in range(_ASK_AGAIN):
        found = checks_of(project.invoke("infra.doctor", *words, "--json", **more))
        if not any("no answer within" in one["seen"] for one in found.values()):
            break
    return found


def test_a_healthy_host_has_no_failure_and_is_told_within_seconds(warm: Project) -> None:
    began = time.monotonic()
    done = warm.invoke("infra.doctor", "--service", "notification", "--json")
    took = time.monotonic() - began
    found = checks_of(done)
    if any("no answer within" in one["seen"] for one in found.values()):
        found = examined(warm, "--service", "notification")
    assert set(found) >= NAMES
    assert [one for one in found.values() if one["state"] == "failure"] == []
    assert found["engine"]["state"] == found["version"]["state"] == "ok"
    assert done.err == ""
    assert took < 30, "a second where nothing else goes on"


def test_for_a_person_it_is_a_line_a_check_with_its_fix_below(warm: Project) -> None:
    done = warm.invoke("infra.doctor", SSL_CERT_FILE="/nowhere.pem")
    assert done.code == 0, done.text
    at = next(number for number, line in enumerate(done.lines) if line.split()[:2] == ["warning", "trust"])
    assert "/nowhere.pem" in done.lines[at]
    assert done.lines[at + 1].strip() == "fix: unset SSL_CERT_FILE"
    assert done.lines[-1].startswith("warning: 0 failure, ")


def test_an_unknown_service_and_a_tier_that_it_lacks_are_invalid(project: Project) -> None:
    done = project.invoke("infra.doctor", "--service", "notifications")
    assert done.code == 78
    assert 'unknown service "notifications"' in done.err
    assert project.invoke("infra.doctor", "--service", "notification", "--tier", "smoke").code == 78


def test_a_catalogue_that_cannot_be_read_is_one_failure_among_the_checks(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    catalog = catalog_copy(tmp_path / "catalog")
    (catalog / "services" / "broken.toml").write_text("language = ", encoding="utf-8")
    found = examined(make_project(catalog=catalog))
    assert found["catalogue"]["state"] == "failure"
    assert "broken.toml" in found["catalogue"]["seen"]
    assert found["engine"]["state"] == "ok"


# -- ports


def test_a_port_that_is_held_is_named_with_who_holds_it(make_project: Callable[..., Project], tmp_path: Path) -> None:
    with socket.socket() as holder:
        port = free_ports(1)[0]
        catalog = redis_catalog(tmp_path / "catalog", {"held": suite("./test/runner/failing")}, port)
        project = make_project(catalog=catalog)
        assert examined(project, "--service", "held")["ports"]["state"] == "ok"
        holder.bind(("127.0.0.1", port))
        holder.listen()
        asked = examined(project, "--service", "held")["ports"]
        every = examined(project)["ports"]
    assert (asked["state"], asked["fix"]) == ("failure", f"kill {os.getpid()}  # or use --ports auto")
    assert f"{port} of held (redis) is taken by process {os.getpid()} (" in asked["seen"]
    assert every["state"] == "warning"


# -- leftovers


def test_what_a_dead_run_has_left_is_found_and_mended_and_what_lives_or_is_foreign_stays(
    warm: Project, podman: Podman, engine: Engine, held: Lease
) -> None:
    stranger = f"stranger-{new_run()}"
    alive = things_of(engine, held.run, held.owner)
    try:
        podman("volume", "create", stranger)
        then = alive.there(engine)
        eventually("it is we who sweep a dead run", lambda: is_found_and_mended(warm, engine, held), 240)
        assert alive.there(engine) == then
        assert podman("volume", "exists", stranger, check=False).code == 0
    finally:
        alive.remove(engine)
        podman("volume", "rm", stranger, check=False)


def is_found_and_mended(project: Project, engine: Engine, held: Lease) -> bool:
    """Leave something of a dead run, look, and mend it; False where another run on this host was faster to sweep it."""
    run = new_run()
    try:
        dead = things_of(engine, run, dead_owner())
    except EngineRefused:  # swept while it was made
        named(run).remove(engine)
        return False
    found = examined(project)["leftovers"]
    assert held.run not in found["seen"]
    untouched = "no container" not in dead.there(engine)
    done = project.invoke("infra.doctor", "--fix", "--json")
    said = f"sweep run {run}: its owner is dead"
    assert run not in checks_of(done)["leftovers"]["seen"]
    assert dead.there(engine) == ["no container", "image None"]
    if not untouched or said not in done.json()["fixed"]:
        return False
    assert (found["state"], found["fix"]) == ("warning", "invoke infra.gc")
    assert f"{run} of beside" in found["seen"]
    assert f"fix: {said}" in done.err
    return True


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start processes that are called like Podman's own, with the mark of an owner."""
    started: list[subprocess.Popen[bytes]] = []
    code = "import socket, sys, time\nheld = socket.socket()\nif sys.argv[1] == '--port':\n"
    code += "    held.bind(('127.0.0.1', int(sys.argv[2])))\n    held.listen()\ntime.sleep(300)\n"

    def start(name: str, *words: str, owner: str | None) -> subprocess.Popen[bytes]:
        path = tmp_path / f"program{len(started)}" / name
        path.parent.mkdir()
        path.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
        path.chmod(0o755)
        env = {key: value for key, value in os.environ.items() if key != ENV_OWNER}
        started.append(subprocess.Popen([path, *words], env=env | ({ENV_OWNER: owner} if owner else {})))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait(10)


@pytest.mark.skipif(sys.platform != "linux", reason="forwardings are processes of Podman's on Linux")
def test_processes_of_containers_that_are_gone_are_ended_where_their_owner_is_dead(
    project: Project, process: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    dead, alive = str(dead_owner()), str(Owner.of(os.getpid()))
    gone, there = str(tmp_path / "gone"), str(tmp_path)
    port = free_ports(1)[0]
    stale = [
        process("conmon", "-b", gone, "-n", "beside-redis-1884d074", owner=dead),
        process("rootlessport", "--port", str(port), owner=dead),
    ]
    others = [
        process("conmon", "-b", there, "-n", "beside-redis-1884d074", owner=dead),
        process("conmon", "-b", gone, "-n", "beside-redis-1884d074", owner=alive),
        process("conmon", "-b", gone, "-n", "beside-redis-1884d074", owner=None),
        process("rootlessport", "--port", str(free_ports(1)[0]), owner=alive),
        process("somebody", "--port", str(free_ports(1)[0]), owner=dead),
    ]
    eventually("it listens", lambda: not ports.is_free(port))
    seen = examined(project)["forwardings"]
    assert seen["state"] == "warning"
    assert f"monitor of container beside-redis-1884d074 (process {stale[0].pid})" in seen["seen"]
    assert f"forwarding of port {port} (process {stale[1].pid})" in seen["seen"]
    assert not any(f"process {one.pid})" in seen["seen"] for one in others)
    done = project.invoke("infra.doctor", "--fix")
    assert f"fix: end the forwarding of port {port} (process {stale[1].pid}): its container is gone" in done.out
    assert [one.wait(10) for one in stale] == [-9, -9]
    assert [one.poll() for one in others] == [None] * len(others)


# -- an engine that is missing, disks that are full


def test_without_podman_that_is_the_failure_and_the_rest_is_told_all_the_same(project: Project, tmp_path: Path) -> None:
    path = path_without(project.environment()["PATH"], "podman", tmp_path)
    found = examined(project, PATH=path)
    assert (found["engine"]["state"], found["engine"]["seen"]) == ("failure", "podman is not installed")
    assert "install" in found["engine"]["fix"]
    assert found["leftovers"]["seen"] == "could not be checked: there is no engine to ask"
    assert found["temporary"]["state"] == "ok"
    assert project.invoke("infra.doctor", "--fix", PATH=path).code == 69


def on_small_disks(project: Project, script: str, *words: str, **more: str) -> Done:
    """Run invoke where only its own processes see other disks: `script` mounts them."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root mounts")
    # What the host mounts meanwhile (others' network namespaces) is to be seen, or no container can be listed.
    unshare = ("unshare", "--mount", "--propagation", "slave", "sh", "-ec", f'{script}\nexec "$@"', "sh")
    argv = (*unshare, sys.executable, "-m", "invoke", *words)
    env = project.environment(**more)
    done = subprocess.run(argv, cwd=project.folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    return Done(argv, done.returncode, done.stdout, done.stderr)


@pytest.fixture
def aside() -> Iterator[Path]:
    """A folder outside /tmp, under which the true /tmp is seen while a small disk is mounted there."""
    folder = Path("/var/tmp") / f"doctor-{new_run()}"
    folder.mkdir()
    yield folder
    folder.rmdir()


def small_tmp(aside: Path) -> str:
    """A script that makes /tmp a small disk, with links to all that was there but runs' own folders."""
    return (
        f"mount --rbind /tmp {aside}\nmount -t tmpfs -o size={SMALL} tmpfs /tmp\n"
        f"for one in {aside}/*; do case $one in */infra-*) ;; *) ln -s $one /tmp/ ;; esac; done"
    )


def test_a_small_disk_for_builds_is_a_failure(project: Project, aside: Path) -> None:
    found = checks_of(on_small_disks(project, small_tmp(aside), "infra.doctor", "--json"))
    assert found["temporary"]["state"] == "failure"
    assert "free of 0.1 GB" in found["temporary"]["seen"]
    assert found["temporary"]["fix"].startswith("du -xhd1 /tmp")
    assert found["engine"]["state"] == "ok"


def test_a_disk_without_any_room_is_a_failure_of_the_engine_too(project: Project, aside: Path) -> None:
    fill = "head -c 65M /dev/zero > /tmp/zeroes || true"
    found = checks_of(on_small_disks(project, f"{small_tmp(aside)}\n{fill}", "infra.doctor", "--json"))
    assert found["engine"]["state"] == found["temporary"]["state"] == "failure"
    assert "No space left on device" in found["engine"]["seen"]


def test_a_small_disk_for_storage_is_a_failure(project: Project, tmp_path: Path) -> None:
    root, conf = tmp_path / "storage", tmp_path / "storage.conf"
    root.mkdir()
    conf.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{root}"\nrunroot = "{tmp_path}/run"\n', encoding="utf-8")
    mount = f"mount -t tmpfs -o size={SMALL} tmpfs {root}"
    done = on_small_disks(project, mount, "infra.doctor", "--json", CONTAINERS_STORAGE_CONF=str(conf))
    found = checks_of(done)
    assert found["storage"]["state"] == "failure"
    assert str(root) in found["storage"]["seen"]


def test_a_build_without_room_is_refused_with_the_disk_and_the_command(
    make_project: Callable[..., Project], tmp_path: Path, aside: Path
) -> None:
    catalog = redis_catalog(tmp_path / "catalog", {"fuller": suite("./test/runner/failing")}, free_ports(1)[0])
    edit(catalog / "local" / "redis.Containerfile", "FROM", f"# {new_run()}\nFROM")
    project = make_project(catalog=catalog)
    run = new_run()
    words = ("images.build", "--service", "fuller", "--run", run)
    done = on_small_disks(project, small_tmp(aside), *words, INFRA_IMAGES="local")
    report = project.report(run)
    assert (done.code, report["outcome"], report["blame"]) == (74, "no-image", "infrastructure"), done.text
    assert report["cause"]["reference"] == "disk-full"
    assert "the disk of temporary files (/tmp) has too little room: 0.1 GB free of 0.1 GB" in report["cause"]["message"]
    assert report["cause"]["remedy"].startswith("du -xhd1 /tmp")
    assert any("has too little room" in note for note in report["notes"])


# -- what a run looks at before it starts


def test_a_run_without_go_ends_before_anything_is_started(
    make_project: Callable[..., Project], podman: Podman, tmp_path: Path
) -> None:
    catalog = redis_catalog(tmp_path / "catalog", {"goless": suite("./test/runner/failing")}, free_ports(1)[0])
    project = make_project(catalog=catalog)
    run = new_run()
    path = path_without(project.environment()["PATH"], "go", tmp_path)
    done = project.invoke("suite.run", "--service", "goless", "--run", run, PATH=path)
    report = project.report(run)
    assert (done.code, report["cause"]["reference"], report["cause"]["step"]) == (69, "tool-missing", "suite")
    assert report["cause"]["message"] == "go is not installed"
    assert report["steps"] == []
    assert json.loads((project.runs / run / "report.json").read_text())["blame"] == "user"
    assert podman.left_of(run) == []
    found = examined(project, "--service", "goless", PATH=path)
    assert (found["go"]["state"], found["go"]["seen"]) == ("failure", "go is not installed")
