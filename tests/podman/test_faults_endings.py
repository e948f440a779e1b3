"""F35 to F39 and F50: components that end, are killed or are taken away, and an engine that goes away.

Four exit codes 137 are four causes: memory, a stop whose grace ran out, `podman kill`, and somebody's `kill -9`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from faults import (
    Fault,
    Stopwatch,
    caused,
    first_line,
    is_told,
    job,
    script,
    small_catalog,
    small_workspace,
    written_down,
)
from product import CATALOG, Done, Going, Podman, Project, eventually
from serving import served

from infra import killings, lease_names
from infra.engine import host

pytestmark = pytest.mark.usefixtures("warm")

LIMIT_MB = 48
HUNGRY = "tail /dev/zero"
REDIS = (CATALOG / "components" / "redis.toml").read_text(encoding="utf-8")
SERVER = "redis-server --save '' --appendonly no --protected-mode no"
SERVICE = "ending"  # others have stacks of other services up
FAULTY = ("suite.run", "--service", SERVICE, "--ports", "auto")
# A suite that goes on for a minute, and is told red tests by nobody.
LONG = "import time\n\n\ndef test_long():\n    print('the suite goes on', flush=True)\n    time.sleep(60)\n"


def redis(shell: str, *more: str) -> str:
    """Redis' component with another command: a shell that has the server run, and what else."""
    words = next(line for line in REDIS.splitlines() if line.startswith("command"))
    return "\n".join([*more, REDIS.replace(words, script(shell).rstrip())])


@pytest.fixture
def faulty(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Make a project with one component and a suite of a minute."""

    def make(name: str, text: str) -> Project:
        suite = 'runner = "pytest"\npaths = ["long"]\nargs = ["-s"]\n'
        catalog = small_catalog(tmp_path / "catalog", {name: text}, [name], suite=suite, service=SERVICE)
        workspace = small_workspace(tmp_path / "workspace", {"long/test_long.py": LONG})
        return make_project(catalog=catalog, workspace=workspace)

    return make


@contextlib.contextmanager
def in_suite(project: Project, **env: str) -> Iterator[Going]:
    """A run whose suite goes on."""
    with project.going(*FAULTY, **env) as going:
        going.says("the suite goes on")
        yield going


def after(project: Project, going: Going, watch: Stopwatch, outcome: str = "not-ready") -> tuple[Fault, float]:
    """The fault of a run that goes on, and how long after the watch began its first line was there."""
    seconds = watch.until(going.said, rf"^{outcome}: ", 30)
    assert seconds < 10, going.text
    code = going.ends(60)
    return Fault(Done((), code, going.text, ""), project.report(going.run), project.runs / going.run), seconds


def no_red_tests(fault: Fault) -> None:
    """The suite was ended for the fault: nothing says that a test has failed."""
    assert fault.report["suite"] is None or fault.report["suite"]["failed"] == 0
    assert "FAILED long/" not in fault.done.text


def container(going: Going, name: str = "redis") -> str:
    return f"{SERVICE}-{name}-{going.run}"


def pid_of(podman: Podman, name: str) -> int:
    return int(podman.inspect(name)["State"]["Pid"])


# With control groups of version 2 the flag is there, and a container that meets its limit ends whole.
FLAG = not host.facts().cgroups_v1
OUT_OF_MEMORY = "out-of-memory" if FLAG else "out-of-memory-unflagged"


def kernel_tells() -> bool:
    return killings.kernel_log("0" * 64) is not None


# -- F35, F50: memory


def test_f35_what_is_told(faulty: Callable[..., Project]) -> None:
    """This host's runtime does not set the flag: the kernel's word is what tells. With it, see the recorded cases."""
    fault = caused(faulty("job", job(f"exec {HUNGRY}", f"memory_mb = {LIMIT_MB}")), SERVICE, ports="auto")
    is_told(
        fault,
        reference=OUT_OF_MEMORY,
        blame="product",
        code=75,
        step="job",
        says=["out of memory (exit code 137)", f"of {LIMIT_MB} MiB"],
        remedy="components/job.toml  # raise memory_mb",
        shows=["state: ended, exit code 137", f"OOMKilled is {str(FLAG).lower()}", "killed out of memory"],
    )
    if kernel_tells() and not FLAG:
        assert "the kernel killed its process tail" in fault.cause["message"]
        assert "oom-kill:" in fault.cause["evidence"][0]
    assert fault.cause["named_after_s"] < 10
    written_down("F35", "a job that reads /dev/zero into memory, under a limit; no flag (runc, cgroups v1)", fault)


def test_f35_a_dependency_that_is_killed_for_memory_while_the_suite_runs(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    shell = f"{SERVER} & until [ -e /tmp/eat ]; do sleep 0.1; done; exec {HUNGRY}"
    project = faulty("redis", redis(shell, f"memory_mb = {LIMIT_MB}"))
    with in_suite(project) as going:
        watch = Stopwatch()
        Path(f"/proc/{pid_of(podman, container(going))}/root/tmp/eat").touch()
        fault, _ = after(project, going, watch)
    is_told(
        fault,
        reference=OUT_OF_MEMORY,
        blame="infrastructure",
        code=75,
        step="redis",
        says=["out of memory (exit code 137)"],
        remedy="components/redis.toml  # raise memory_mb",
    )
    no_red_tests(fault)


def test_f35_what_is_told_where_conmon_has_set_the_flag(faulty: Callable[..., Project], podman: Podman) -> None:
    """Podman's flag is a file that conmon leaves in the container's folder. Here conmon does not: the test does."""
    shell = f"{SERVER} & until [ -e /tmp/eat ]; do sleep 0.1; done; exec {HUNGRY}"
    project = faulty("redis", redis(shell, f"memory_mb = {LIMIT_MB}"))
    with in_suite(project) as going:
        told = podman.inspect(container(going))
        Path(told["OCIConfigPath"]).with_name("oom").touch()
        Path(f"/proc/{told['State']['Pid']}/root/tmp/eat").touch()
        fault, _ = after(project, going, Stopwatch())
    is_told(
        fault,
        reference="out-of-memory",
        blame="infrastructure",
        code=75,
        step="redis",
        says=["killed out of memory (exit code 137): it took ", f" of {LIMIT_MB} MiB"],
        remedy="components/redis.toml  # raise memory_mb",
        shows=["OOMKilled is true"],
    )
    written_down("F35", "the same with the flag, whose file the test leaves where conmon does", fault)


def test_f50_what_is_told(faulty: Callable[..., Project], podman: Podman) -> None:
    shell = f"{SERVER} & until [ -e /tmp/eat ]; do sleep 0.1; done; {HUNGRY}; sleep 100"
    project = faulty("redis", redis(shell, f"memory_mb = {LIMIT_MB}"))
    with in_suite(project) as going:
        watch = Stopwatch()
        Path(f"/proc/{pid_of(podman, container(going))}/root/tmp/eat").touch()
        fault, seconds = after(project, going, watch)
    is_told(
        fault,
        reference=OUT_OF_MEMORY if FLAG else "child-out-of-memory",
        blame="infrastructure",
        code=75,
        step="redis",
        says=["out of memory" if FLAG else "out of memory, and the container runs on without it"],
        remedy="components/redis.toml  # raise memory_mb",
        shows=["killed out of memory" if FLAG else "PID 1 is alive"],
    )
    no_red_tests(fault)
    written_down("F50", "a hungry child of a shell that lives on, while the suite runs", fault, seconds)


# -- F36: a stop whose grace ran out


DEAF = f"trap '' TERM; {SERVER} & while :; do sleep 0.2; done"


def test_f36_what_is_told(faulty: Callable[..., Project], podman: Podman) -> None:
    project = faulty("redis", redis(DEAF))
    with in_suite(project) as going:
        podman("stop", "-t", "1", container(going))
        watch = Stopwatch()
        fault, _ = after(project, going, watch)
    is_told(
        fault,
        reference="stop-grace-exceeded",
        blame="infrastructure",
        code=75,
        step="redis",
        says=["had the engine stop it", "did not end in the time it was given", "exit code 137"],
        remedy=f"podman events --stream=false --since 10m --filter container={container(going)}",
        shows=["asked of the engine before its end: stop", "state: ended, exit code 137"],
    )
    no_red_tests(fault)
    assert fault.cause["named_after_s"] < 10
    written_down("F36", "podman stop -t 1 of a component that ignores SIGTERM", fault)


def test_a_stop_that_worked_is_no_end_of_its_own(faulty: Callable[..., Project], podman: Podman) -> None:
    shell = f"trap 'sleep 1; exit 0' TERM; {SERVER} & while :; do sleep 0.1; done"
    project = faulty("redis", redis(shell))
    with in_suite(project) as going:
        podman("stop", "-t", "8", container(going))
        fault, _ = after(project, going, Stopwatch())
    is_told(
        fault,
        reference="stopped-through-engine",
        blame="infrastructure",
        code=75,
        step="redis",
        says=["podman stop", "exit code 0"],
        remedy="podman events",
    )


def test_f36_infra_down_says_that_the_grace_ran_out(faulty: Callable[..., Project]) -> None:
    project = faulty("redis", redis(DEAF, 'stop_grace = "1s"'))
    up = project.invoke("infra.up", "--service", SERVICE, "--ports", "auto")
    assert up.code == 0, up.text
    down = project.invoke("infra.down", "--service", SERVICE)
    assert down.code == 0, down.text
    assert "redis did not end at SIGTERM within its stop_grace of 1 s, so it was killed (exit code 137)" in down.text


def test_f36_the_end_of_a_run_says_that_the_grace_ran_out(tmp_path: Path, make_project: Callable[..., Project]) -> None:
    text = redis(DEAF, 'stop_grace = "1s"')
    catalog = small_catalog(tmp_path / "catalog", {"redis": text}, ["redis"], service=SERVICE)
    project = make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace"))
    done = project.invoke("suite.run", "--service", SERVICE, "--ports", "auto")
    assert done.code == 0, done.text
    assert "redis did not end at SIGTERM within its stop_grace of 1 s, so it was killed (exit code 137)" in done.text


# -- F37: crashes


CRASHES = {
    # What a process does to itself kills also the first one of a container; what it is sent, it may ignore.
    "segv": ("""exec perl -e 'unpack "p", pack "L!", 1'""", 139, "SIGSEGV"),
    "abrt": ("sh -c 'kill -ABRT $$'; exit $?", 134, "SIGABRT"),
}


@pytest.mark.parametrize("how", CRASHES)
def test_f37_what_is_told(how: str, faulty: Callable[..., Project]) -> None:
    shell, exit_code, name = CRASHES[how]
    text = job(f"echo 'reading the map'; {shell}", 'image = "docker.io/library/debian:trixie-slim"')
    fault = caused(faulty("job", text), SERVICE, ports="auto")
    is_told(
        fault,
        reference="crashed",
        blame="product",
        code=75,
        step="job",
        says=[f"crashed with {name} (exit code {exit_code})"],
        remedy="job.log",
        shows=[f"state: ended, exit code {exit_code}", "reading the map"],
    )
    assert fault.cause["named_after_s"] < 10
    written_down("F37", f"a process that ends by {name}", fault)


def test_a_signal_that_somebody_sends_through_the_engine_is_no_crash(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    project = faulty("redis", redis(f"trap 'exit 139' SEGV; {SERVER} & while :; do sleep 0.1; done"))
    with in_suite(project) as going:
        podman("kill", "-s", "SEGV", container(going))
        fault, _ = after(project, going, Stopwatch())
    is_told(
        fault,
        reference="killed-through-engine",
        blame="infrastructure",
        code=75,
        step="redis",
        says=["podman kill", "SIGSEGV (exit code 139)"],
        remedy="podman events",
    )


# -- F38: a dependency dies while tests run


def kill_pid(podman: Podman, name: str) -> None:
    os.kill(pid_of(podman, name), signal.SIGKILL)


def kill_through_engine(podman: Podman, name: str) -> None:
    podman("kill", name)


def remove_by_force(podman: Podman, name: str) -> None:
    podman("rm", "-f", "-t", "0", name)


DEATHS = {
    "kill -9": (kill_pid, "killed-from-outside" if kernel_tells() else "killed", "SIGKILL (exit code 137)", ""),
    "podman kill": (kill_through_engine, "killed-through-engine", "podman kill", "podman events"),
    "podman rm -f": (remove_by_force, "component-removed", "somebody removed it", "podman events"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_f38_what_is_told(how: str, faulty: Callable[..., Project], podman: Podman) -> None:
    kill, reference, says, remedy = DEATHS[how]
    project = faulty("redis", REDIS)
    with in_suite(project) as going:
        kill(podman, container(going))
        fault, seconds = after(project, going, Stopwatch())
    is_told(fault, reference=reference, blame="infrastructure", code=75, step="redis", says=[says], remedy=remedy)
    no_red_tests(fault)
    assert "redis" in first_line(going.text)
    written_down("F38", f"{how} of a dependency while tests run", fault, fault.cause["named_after_s"] or seconds)


def test_a_kill_of_what_fills_its_limit_with_a_cache_of_files_is_not_memory(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    shell = f"head -c 200m /dev/zero >/tmp/file; exec {SERVER}"
    project = faulty("redis", redis(shell, f"memory_mb = {LIMIT_MB}"))
    with in_suite(project) as going:
        kill_pid(podman, container(going))
        fault, _ = after(project, going, Stopwatch())
    reference = "killed-from-outside" if kernel_tells() else "killed-at-memory-limit"
    assert fault.cause["reference"] == reference, fault.line


# -- F39: the engine goes away


def service_of(run: str) -> psutil.Process:
    """The private service of a run, by its socket's path."""
    words = f"unix://{lease_names.private_folder(run)}/podman.sock"
    found = [one for one in psutil.process_iter(["cmdline"]) if words in (one.info["cmdline"] or ())]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_f39_what_is_told(signum: signal.Signals, faulty: Callable[..., Project]) -> None:
    """The private service of the run is ended. Its reaper serves another one for the sweep."""
    project = faulty("redis", REDIS)
    with in_suite(project) as going:
        service_of(going.run).send_signal(signum)
        fault, seconds = after(project, going, Stopwatch(), "unavailable")
    is_told(
        fault,
        reference="engine-gone",
        blame="infrastructure",
        code=69,
        step="suite",
        says=[f"Podman at unix:///tmp/infra-{os.getuid()}-{going.run}", "answered before and does not any more"],
        remedy="podman --url unix:///tmp/infra-",
    )
    no_red_tests(fault)
    written_down("F39", f"{signum.name} to the private service of the run while tests run", fault, seconds)


def test_f39_a_service_of_the_hosts_that_is_stopped_in_the_middle(
    faulty: Callable[..., Project], podman: Podman
) -> None:
    project = faulty("redis", REDIS)
    with served(podman.env) as service, in_suite(project, CONTAINER_HOST=service.url) as going:
        service.stop()
        fault, seconds = after(project, going, Stopwatch(), "unavailable")
        assert fault.cause["reference"] == "engine-gone"
        assert (fault.report["blame"], fault.done.code, fault.cause["step"]) == ("infrastructure", 69, "suite")
        assert service.url in fault.cause["remedy"]
        (left,) = fault.report["left_behind"]
        assert "its reaper tries for" in left
        written_down("F39", "the service that CONTAINER_HOST names is stopped while tests run", fault, seconds)
        service.start()
        eventually("the reaper has swept", lambda: podman.left_of(going.run) == [], 60)
