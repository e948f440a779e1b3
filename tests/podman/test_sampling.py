"""What real containers use, and what the kernel does to those that want more than they may have."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from owned import image_of
from product import Podman, Project, edit, eventually, free_ports, new_run, redis_catalog, step, suite

from infra import cgroups, killings
from infra.causes.facts import MemoryFacts
from infra.cgroups import Alarm
from infra.engine.client import Engine
from infra.engine.types import ContainerSpec, ContainerState
from infra.sampling import Sampler

LIMIT_MB = 64
HUNGRY = "tail /dev/zero"
# What a container takes: 40 MB that stay, in the memory of one process.
TAKES_40 = "head -c 40m /dev/zero | tail -c 40m | (sleep 1; cat >/dev/null); sleep 60"


@dataclass
class Host:
    """Containers of a test's own, each watched from its start."""

    engine: Engine
    network: str
    sampler: Sampler
    made: list[str] = field(default_factory=list)

    def start(self, command: str, *, memory_mb: int | None = LIMIT_MB) -> str:
        name = f"sampled-{new_run()}"
        self.made.append(name)
        self.engine.create(
            ContainerSpec(
                name=name,
                image=image_of(self.engine, "redis"),
                alias=name,
                network=self.network,
                address=None,
                hosts={},
                command=("sh", "-c", command),
                env={},
                labels={},
                ports={},
                stop_grace_s=1.0,
                memory_mb=memory_mb,
            )
        )
        self.engine.start(name)
        self.sampler.watch(name, name, self.state(name))
        return name

    def state(self, name: str) -> ContainerState:
        state = self.engine.state(name)
        assert state is not None
        return state

    def facts(self, name: str) -> MemoryFacts:
        facts = self.sampler.facts(name)
        assert facts is not None
        return facts

    def ends(self, name: str) -> ContainerState:
        eventually(f"{name} ends", lambda: self.state(name).dead, 20.0)
        return self.state(name)


@pytest.fixture(scope="module")
def hungry(make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Services of a Redis under a limit; beside it a child that takes all it can get, at once or later."""
    services = {name: suite("./test/runner/hanging", timeout="20s") for name in ("at-once", "later")}
    catalog = redis_catalog(tmp_path_factory.mktemp("hungry") / "catalog", services, free_ports(1)[0])
    redis = catalog / "components" / "redis.toml"
    edit(redis, "[ports]", f"memory_mb = {LIMIT_MB}\n[ports]")
    whole = redis.read_text(encoding="utf-8")
    for name, rest in (
        ("at-once", f"({HUNGRY} &) ; sleep 60"),
        ("later", f"(sleep 6; {HUNGRY}) & exec redis-server --save '' --protected-mode no"),
    ):
        line = next(line for line in whole.splitlines() if line.startswith("command"))
        text = whole.replace(line, f'command = ["sh", "-c", "{rest}"]')
        (catalog / "components" / f"{name}.toml").write_text(text, encoding="utf-8")
        edit(catalog / "services" / f"{name}.toml", '["redis"]', f'["{name}"]')
        edit(catalog / "services" / f"{name}.toml", "\nredis = ", f"\n{name} = ")
    redis.unlink()
    return make_project(catalog=catalog)


@pytest.fixture(scope="module")
def built(hungry: Project) -> Project:
    done = hungry.invoke("images.build", "--service", "at-once")
    assert done.code == 0, done.text
    return hungry


@pytest.fixture
def host(built: Project, engine: Engine) -> Iterator[Host]:
    network = f"sampled-{new_run()}"
    engine.create_network(network, {})
    with Sampler(engine.clone()) as sampler:
        one = Host(engine, network, sampler)
        try:
            yield one
        finally:
            for name in one.made:
                engine.remove(name)
            engine.remove_network(network)


def reads_kernel_log() -> bool:
    try:
        os.close(os.open(killings.KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_f35_the_first_process_was_killed_for_memory_and_it_is_certain(host: Host) -> None:
    name = host.start(f"sleep 0.5; exec {HUNGRY}")
    assert host.ends(name).exit_code == 137
    facts = host.facts(name)
    assert (facts.certain, facts.oom_kills, facts.limit_mb) == (True, 1, LIMIT_MB)
    assert LIMIT_MB * 0.8 <= (facts.peak_mb or 0) <= LIMIT_MB
    if reads_kernel_log():
        assert [victim.name for victim in killings.victims(facts.kernel)] == ["tail"]


def test_a_137_that_a_person_has_made_is_not_memory(host: Host) -> None:
    name = host.start("exec sleep 60")
    pid = host.state(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert host.ends(name).exit_code == 137
    facts = host.facts(name)
    assert (facts.certain, facts.oom_kills, facts.kernel) == (False, 0, ())
    assert facts.peak_mb is not None
    assert facts.peak_mb < LIMIT_MB / 2


@pytest.mark.parametrize(("command", "times"), [(f"sleep 0.5; exec {HUNGRY}", 1), ("sleep 1", 0)])
def test_who_cannot_read_the_kernels_log_hears_it_from_the_removal_of_the_group(
    host: Host, command: str, times: int
) -> None:
    name = host.start(command)
    state = host.state(name)
    group = cgroups.find(state.id, state.cgroup, state.pid)
    assert group is not None
    if not group.v1:
        pytest.skip("version 2 removes nothing that would count: its events are the sampler's to see")
    alarm = Alarm(group)
    try:
        host.ends(name)
        eventually("the group is gone", lambda: group.usage() is None, 5.0)
        time.sleep(0.2)
        alarm.heard()
        assert alarm.ran_out_of_gone(0) == times
    finally:
        alarm.close()


def test_f50_a_child_was_killed_and_it_shows_at_once(host: Host) -> None:
    name = host.start(f"sleep 0.5; {HUNGRY}; sleep 60")
    eventually("the kernel kills", lambda: host.facts(name).certain, 10.0, every=0.02)
    assert host.state(name).status == "running"
    assert host.facts(name).oom_kills == 1


def test_a_cache_of_files_that_fills_the_limit_kills_nobody_and_is_not_held(host: Host) -> None:
    name = host.start("head -c 200m /dev/zero >/tmp/file; sleep 60")
    eventually("the limit is met", lambda: (host.facts(name).peak_mb or 0) >= LIMIT_MB - 1, 20.0)
    assert not host.facts(name).certain
    (used,) = host.sampler.stop()
    assert used.memory_held_mb is not None
    assert used.memory_held_mb < LIMIT_MB / 2


def test_the_peak_and_the_time_are_those_of_what_it_did(host: Host) -> None:
    peak = host.start(TAKES_40)
    busy = host.start("timeout 2 sh -c 'while :; do :; done'; sleep 60", memory_mb=None)
    pid = host.state(busy).pid
    assert pid is not None
    time.sleep(4)
    used = {one.component: one for one in host.sampler.stop()}
    took, seconds = used[peak].memory_peak_mb, used[busy].cpu_s
    assert took is not None
    assert 40 * 0.8 <= took - 4 <= 40 * 1.2  # 4 MB are the shell's and the runtime's
    assert seconds is not None
    assert 0.3 <= seconds <= 2.5  # this host's processors are shared
    assert used[busy].memory_limit_mb is None


def test_where_control_groups_cannot_be_read_the_engine_is_asked(host: Host, engine: Engine) -> None:
    name = host.start("while :; do sleep 0.1; done")
    with Sampler(engine.clone(), local=False) as sampler:
        sampler.watch(name, name, host.state(name))
        eventually("the engine has said it", lambda: bool((known := sampler.facts(name)) and known.peak_mb), 10.0)
        (used,) = sampler.stop()
    assert used.memory_peak_mb is not None
    assert used.memory_peak_mb > 0
    assert used.cpu_s
    assert (used.oom_kills, used.memory_held_mb) == (None, None)


def killed_in(built: Project, podman: Podman, service: str) -> dict[str, Any]:
    run = new_run()
    done = built.invoke("suite.run", "--service", service, "--ports", "auto", "--run", run)
    report = built.report(run)
    assert done.code == 75, done.text
    assert podman.left_of(run) == []
    cause = report["cause"]
    assert (cause["reference"], cause["step"], report["blame"]) == ("child-out-of-memory", service, "infrastructure")
    assert cause["remedy"].startswith("${EDITOR:-vi} ")
    assert f"components/{service}.toml  # raise memory_mb" in cause["remedy"]
    (used,) = report["resources"]
    assert used["oom_kills"] >= 1
    assert LIMIT_MB * 0.8 <= used["memory_peak_mb"] <= LIMIT_MB
    assert f"{service} met its memory limit of {LIMIT_MB} MB, and the kernel killed " in done.text
    text = (built.runs / run / "diagnosis.md").read_text(encoding="utf-8")
    assert f"| {service} | {used['memory_peak_mb']:g} | {LIMIT_MB} |" in text
    if reads_kernel_log():
        assert "its process tail" in cause["message"]
    return report


def test_f50_a_child_that_is_killed_before_the_gate_opens_ends_the_gate(built: Project, podman: Podman) -> None:
    report = killed_in(built, podman, "at-once")
    assert step(report, "at-once")["duration_s"] < 6  # the gate's own time is 10 s


def test_f50_a_child_that_is_killed_while_the_suite_runs_ends_the_suite(built: Project, podman: Podman) -> None:
    report = killed_in(built, podman, "later")
    assert step(report, "suite")["status"] == "failed"
    assert step(report, "suite")["duration_s"] < 15  # the suite's own time is 20 s
