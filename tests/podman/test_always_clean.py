"""Always clean: whatever ends a run, nothing of it is left, and nothing of anybody else is touched.

The runs are the real main job, against the real engine, killed and signalled for real. Those that are killed go on
several at a time: that they do not disturb each other is part of the promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import killing
import pytest
from beside import foreign_image, nobodys
from killing import Ground, Seen, new_run, until_clean, wait
from moments import LAST_BUILD_STEP, Moment, is_in, logged, monitored, nonce_env, role, said, socket
from owned import container, dead_owner, image_of, marks_of, things_of

from infra import labels, processes, sweep
from infra.engine.client import Engine
from infra.kept import marker
from infra.labels import Owner
from infra.lease import Lease
from infra.lease_names import private_folder

AT_A_TIME = 2


@pytest.fixture(scope="module")
def warm(ground: Ground) -> Ground:
    return ground


# -- what must not be touched


@pytest.fixture(scope="module")
def strangers(held: Lease, warm: Ground) -> Iterator[Callable[[], dict[str, list[str]]]]:
    """Things without our labels, a run that is alive, one that a person was handed, and how they all are."""
    engine = held.engine.clone()
    handed = new_run()
    bystander, of_another = nobodys()
    alive = kept = None
    with foreign_image(held, of_another) as image:
        try:
            engine.create_network(bystander.network, {})
            engine.create_volume(bystander.volume, {})
            container(engine, bystander.container, bystander.network, {}, bystander.volume)
            engine.tag(engine.image_id(image) or "", bystander.tag)
            alive = things_of(engine, held.run, held.owner)
            kept = things_of(engine, handed, dead_owner())
            engine.create_volume(marker(handed), marks_of(handed, held.owner) | {labels.KEPT: "infra.up"})
            everybody = {"bystander": bystander, "alive": alive, "kept": kept}
            yield lambda: {who: what.there(engine) for who, what in everybody.items()}
            assert engine.image_id(of_another)
        finally:
            engine.remove_volume(marker(handed))
            for one in (bystander, alive, kept):
                if one is not None:
                    one.remove(engine)


# -- twenty moments


MOMENTS = (
    Moment("reaper-starts", (role("reaper"),)),
    Moment("service-starts", (socket,)),
    Moment("engine-answers", (said("  engine "),)),
    Moment("build-begins", (said("image golang"), logged("build-datastorage.log", "STEP 1")), changed="workspace"),
    Moment("build-run-step", (said("image golang"), LAST_BUILD_STEP), changed="workspace"),
    Moment("build-compiles", (said("image golang"), LAST_BUILD_STEP), 1.0, "workspace", group=True),
    Moment("build-commits", (said("image golang"), logged("build-datastorage.log", "COMMIT")), changed="workspace"),
    Moment("recipe-run-step", (logged("build-redis.log", "RUN sleep 30"),), 0.3, "redis-run"),
    Moment("recipe-version", (said("image debian"), is_in("version-redis", "created", "running")), 0.0, "redis"),
    Moment("bootstrap", (logged("build-debian.log", "I: "),), 1.0, "debian"),
    Moment("postgres-created", (said("image datastorage"), is_in("postgres", "created", "initialized", "running"))),
    Moment("postgres-starting", (said("image datastorage"), monitored("postgres"))),
    Moment("postgres-gate", (said("image datastorage"), is_in("postgres", "running")), 0.4, group=True),
    Moment("migrations-running", (said("  postgres "), is_in("migrations", "running"))),
    Moment("redis-created", (said("  migrations "), is_in("redis", "created", "initialized", "running"))),
    Moment("datastorage-gate", (said("  redis "), is_in("datastorage", "running"))),
    Moment("suite-compiles", (said("  check "), role("suite")), 0.4, group=True),
    Moment("suite-runs", (said("  check "), said("Running Suite"))),
    Moment("teardown-begins", (said("  suite "),), group=True),
    Moment("teardown-goes-on", (said("  suite "), is_in("postgres", "gone", "removing"))),
)
# Every day these; all of them, and each point between two calls (test_crash_points), in soak.
DAILY = (
    "reaper-starts",
    "engine-answers",
    "build-run-step",
    "build-commits",
    "recipe-version",
    "postgres-created",
    "postgres-gate",
    "migrations-running",
    "suite-compiles",
    "teardown-goes-on",
)


@dataclass(frozen=True)
class Killed:
    """How a kill went: seconds until nothing was left, and what was."""

    run: str
    seen: Seen
    seconds: float
    left: tuple[str, ...]
    reaper: str

    def __str__(self) -> str:
        return f"left after {self.seconds:.2f} s: {', '.join(self.left) or 'nothing'}; the reaper: {self.reaper}"


def kill(ground: Ground, engine: Engine, moment: Moment) -> Killed:
    with ground.main_job("--fresh", env=nonce_env(ground, moment.changed)) as run:
        moment.reach(run, engine)
        assert run.process.poll() is None, "\n".join(run.lines)
        if moment.group:
            os.killpg(run.process.pid, signal.SIGKILL)
        else:
            run.process.kill()
        run.process.wait(5)
        seen = Seen.of(engine, run.run)
        seconds, left = until_clean(engine, run.run)
        log = run.folder / "logs" / "engine.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        said = [line for line in lines if "owner gone" in line or "Error" in line]
    return Killed(run=run.run, seen=seen, seconds=seconds, left=tuple(left), reaper="; ".join(said) or "silent")


def nameless_volumes(engine: Engine) -> set[str]:
    """What an image's VOLUME line makes, where nobody takes care."""
    return {one.name for one in engine.volumes() if not one.labels and len(one.name) == 64}


@pytest.fixture(scope="module")
def volumes_before(held: Lease) -> set[str]:
    return nameless_volumes(held.engine.clone())


@pytest.fixture(scope="module")
def kills(
    request: pytest.FixtureRequest, warm: Ground, held: Lease, strangers: object, volumes_before: set[str]
) -> Iterator[dict[str, Future[Killed]]]:
    """The moments that are selected, several at a time; each test waits for its own."""
    names = {item.name for item in request.session.items}
    wanted = [one for one in MOMENTS if one.name in DAILY or f"test_owner_killed[{one.name}]" in names]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {one.name: pool.submit(kill, warm, held.engine.clone(), one) for one in wanted}


@pytest.mark.parametrize(
    "moment", [pytest.param(one.name, marks=() if one.name in DAILY else pytest.mark.soak) for one in MOMENTS]
)
def test_owner_killed(moment: str, kills: dict[str, Future[Killed]]) -> None:
    killed = kills[moment].result(240)
    print(f"killed at {moment}: {killed}")
    assert killed.left == (), str(killed)


def test_nothing_of_the_killed_comes_back(
    kills: dict[str, Future[Killed]], engine: Engine, volumes_before: set[str]
) -> None:
    done = [future.result(240) for future in kills.values()]
    assert len(done) >= len(DAILY)
    assert {one.run: killing.left(engine, one.run, one.seen) for one in done} == {one.run: [] for one in done}
    assert nameless_volumes(engine) <= volumes_before


def test_strangers_see_nothing_of_it(
    strangers: Callable[[], dict[str, list[str]]], kills: dict[str, Future[Killed]]
) -> None:
    for future in kills.values():
        future.exception(240)
    seen = strangers()
    for who, what in seen.items():
        assert len(what) == 4, (who, what)
        assert what[0].endswith(" running"), (who, what)
        assert what[3] != "image None", (who, what)


# -- owner and reaper


@pytest.mark.parametrize(
    ("sweeper", "name"),
    [("gc", "build-compiles"), pytest.param("next-run", "datastorage-gate", marks=pytest.mark.soak)],
)
def test_the_next_start_ends_what_has_lost_its_reaper_too(
    sweeper: str, name: str, warm: Ground, engine: Engine
) -> None:
    moment = next(one for one in MOMENTS if one.name == name)
    with warm.main_job("--fresh", env=nonce_env(warm, moment.changed)) as run:
        moment.reach(run, engine)
        services = killing.serving(run.run)
        reapers = killing.with_role(run.run, "reaper")
        assert len(reapers) == 1
        for pid in (*reapers, run.process.pid):
            os.kill(pid, signal.SIGKILL)
        run.process.wait(5)
    seen = Seen.of(engine, run.run)
    assert services == killing.serving(run.run)
    assert killing.left(engine, run.run, seen) != []
    if sweeper == "gc":
        done = warm.invoke("infra.gc", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert run.run in json.loads(done.stdout)["removed"]
    else:
        done = warm.invoke("suite.run", "--service", "notification", "--ports", "auto", "--fresh")
        assert done.returncode == 0, done.stdout + done.stderr
        assert run.run in done.stdout
    assert killing.left(engine, run.run, seen) == []


def test_a_reaper_that_was_killed_alone_costs_nothing(warm: Ground, engine: Engine) -> None:
    with warm.main_job("--fresh") as run:
        run.reach("a gate", lambda: is_in("postgres", "running")(run, engine))
        os.kill(killing.with_role(run.run, "reaper")[0], signal.SIGKILL)
        assert run.ends() == 0, "\n".join(run.lines)
        assert until_clean(engine, run.run, 1.0)[1] == []


# -- whose it is


OWNERS: dict[str, tuple[Callable[[], object], bool]] = {
    "another-host": (lambda: replace(dead_owner(), host="elsewhere"), False),
    "another-pid-namespace": (lambda: replace(dead_owner(), namespace="1"), False),
    "unreadable": (lambda: "somebody/else's", False),
    "empty": (lambda: "", False),
    "alive": (lambda: Owner.of(os.getpid()), False),
    "dead": (dead_owner, True),
}


def test_whose_a_run_is(warm: Ground, engine: Engine) -> None:
    """What another host, pid namespace or nobody known owns stays; what is dead from here goes."""
    made = {who: (new_run(), owner) for who, (owner, _) in OWNERS.items()}
    placed = {}
    try:
        for who, (run, owner) in made.items():
            placed[who] = things_of(engine, run, owner())
        before = {who: what.there(engine) for who, what in placed.items()}
        done = warm.invoke("infra.gc", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        answer = json.loads(done.stdout)
        after = {who: what.there(engine) for who, what in placed.items()}
    finally:
        for one in placed.values():
            one.remove(engine)
    goes = {who for who, (_, dead) in OWNERS.items() if dead}
    assert {who: after[who] == before[who] for who in OWNERS} == {who: who not in goes for who in OWNERS}
    assert {who for who in goes if after[who] != ["no container", "image None"]} == set()
    assert {made[who][0] for who in goes} <= set(answer["removed"])


def test_gc_refuses_a_run_that_is_not_seen_to_be_dead(warm: Ground, engine: Engine) -> None:
    run = new_run()
    engine.create_network(f"beside-{run}", marks_of(run, replace(dead_owner(), host="elsewhere")))
    try:
        done = warm.invoke("infra.gc", "--run", run)
        assert (done.returncode, f"beside-{run}" in {one.name for one in engine.networks()}) == (75, True)
    finally:
        engine.remove_network(f"beside-{run}")


def test_a_half_made_container_is_known_by_its_name(warm: Ground, held: Lease, engine: Engine) -> None:
    """A create that was killed leaves a storage container, which carries no label."""
    run = new_run()
    name = f"beside-redis-{run}"
    image = image_of(engine, "redis")
    env = {**os.environ, **dict(held.connection.env)}

    def half_made() -> bool:
        return any(row.external and row.name == name for row in engine.containers(external=True))

    after, deadline = 0.03, time.monotonic() + 240
    while not half_made():
        assert time.monotonic() < deadline, "each create was whole, or had not begun, when it was killed"
        engine.remove(name)
        with subprocess.Popen(
            [*held.connection.podman, "create", "--image-volume", "ignore", "--name", name, image], env=env
        ) as create:
            time.sleep(after)  # somewhere in the middle of it
            create.kill()
        after = after + 0.01 if after < 0.4 else 0.03
    engine.create_network(f"beside-{run}", marks_of(run, dead_owner()))
    done = warm.invoke("infra.gc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert killing.left(engine, run, Seen()) == []


@contextlib.contextmanager
def own_store(folder: Path) -> Iterator[tuple[list[str], dict[str, str], Engine]]:
    """A store of its own, for what would break everybody's: the podman command, its environment, an engine."""
    from infra.engine.discover import private_environment

    folder.mkdir()
    env = {**os.environ, **dict(private_environment(folder)[0])}
    podman = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
    url = f"unix://{folder}/podman.sock"
    with subprocess.Popen([*podman, "system", "service", "--time=0", url], env=env) as service:
        try:
            wait("the service", (folder / "podman.sock").exists, 20)
            yield podman, env, Engine(url)
        finally:
            service.terminate()
            service.wait(20)
            subprocess.run([*podman, "unmount", "--all"], env=env, capture_output=True, check=False, timeout=20)
            shutil.rmtree(folder, ignore_errors=True)


def test_a_build_that_is_ended_anywhere_in_its_commits_leaves_nothing(tmp_path: Path) -> None:
    """Podman 4.3 cannot list any image with one in its store whose commit was cut in half."""
    run = new_run()
    work, store = private_folder(run), Path(f"/tmp/ts-{run}")  # short: a socket's path
    recipe = tmp_path / "Containerfile"
    with own_store(store) as (podman, env, engine):
        subprocess.run([*podman, "import", "-", "localhost/base"], input=b"\0" * 10240, env=env, check=True, timeout=60)
        stranger = [*podman, "create", "--name", "stranger", "localhost/base", "true"]
        subprocess.run(stranger, env=env, check=True, capture_output=True, timeout=60)
        try:
            work.mkdir()
            (work / "file").touch()
            argv = [*podman, "build", "--volume", f"{work}/file:/file:ro", "--file", str(recipe), str(tmp_path)]
            for number in range(10):
                steps = [f"ENV A{step}={new_run()}" for step in range(20)]
                recipe.write_text("\n".join(["FROM localhost/base", *steps]))
                marks = processes.environment(run, Owner.of(os.getpid()), "build")
                with subprocess.Popen(
                    argv, env=env | marks, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                ) as build:
                    time.sleep(0.15 + 0.07 * number)  # somewhere in one of the commits
                    assert sweep.sweep_run(engine, run) == ()
                    assert build.wait(5) in (-signal.SIGKILL, 0)  # 0: it was faster
                # Names that buildah itself gives to intermediate images for a moment may stay.
                tags = {tag for image in engine.images() for tag in image.tags if "-tmp:" not in tag}
                assert tags == {"localhost/base:latest"}
                assert [row.name for row in engine.containers(external=True)] == ["stranger"]
        finally:
            engine.remove("stranger")
            shutil.rmtree(work, ignore_errors=True)


# -- what cannot be removed


@contextlib.contextmanager
def in_the_way(engine: Engine, network: str, volume: str | None = None) -> Iterator[str]:
    """Somebody's container that uses what a run wants to remove."""
    name = f"bystander-{new_run()}"
    container(engine, name, network, {}, volume)
    try:
        yield name
    finally:
        engine.remove(name)


def test_a_removal_that_fails_skips_none_of_the_others(warm: Ground, engine: Engine) -> None:
    run = new_run()
    placed = things_of(engine, run, dead_owner())
    try:
        with in_the_way(engine, "", placed.volume) as name:
            done = warm.invoke("infra.gc", "--run", run)
            assert engine.state(name) is not None
            # The network tells of the run, and so it is the last to go.
            kept = [f"network {placed.network}", f"volume {placed.volume}"]
            assert placed.there(engine) == ["no container", *kept, "image None"]
            assert done.returncode == 70, done.stdout + done.stderr
            assert placed.volume in done.stderr
        assert warm.invoke("infra.gc", "--run", run).returncode == 0
        assert killing.left(engine, run, Seen()) == []
    finally:
        placed.remove(engine)


@pytest.mark.parametrize(
    ("words", "code", "outcome"), [((), 70, "internal"), (("--", "--focus", "no such spec"), 1, "failed")]
)
def test_what_is_left_behind_is_named_and_hides_no_failure(
    words: tuple[str, ...], code: int, outcome: str, warm: Ground, engine: Engine
) -> None:
    with warm.main_job("--fresh", *words) as run:
        run.reach("the network", lambda: run.said("  engine "))
        network = f"notification-{run.run}"
        run.reach("the network", lambda: network in {one.name for one in engine.networks()})
        with in_the_way(engine, network) as name:
            assert run.ends() == code, "\n".join(run.lines)
            assert engine.state(name) is not None
            report = run.report()
            assert (report["outcome"], report["left_behind"]) == (outcome, [f"network {network}"])
    assert warm.invoke("infra.gc").returncode == 0
    assert until_clean(engine, run.run, 0.0)[1] == []
