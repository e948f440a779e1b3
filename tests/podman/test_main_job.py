"""The main job, whole: what it does while it runs, what it says, what it writes, and that nothing stays."""

from __future__ import annotations

import itertools
import json
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import psycopg
import pytest
from product import (
    LABEL,
    SECRET,
    WORKSPACE,
    Done,
    Going,
    Podman,
    Project,
    catalog_copy,
    edit,
    eventually,
    new_run,
    step,
    step_names,
    texts_below,
    workspace_copy,
)

SERVICE = ("--service", "notification")
MAIN = ("suite.run", *SERVICE, "--ports", "auto")
STACK = ("postgres", "migrations", "redis", "datastorage")
SQL_FILES = sorted((path.name for path in (WORKSPACE / "migrations").glob("*.sql")), key=lambda n: int(n.split("_")[0]))
SPECS = 91
# What values of DATASTORAGE_FAULT turn red.
RED: dict[str, list[str]] = tomllib.loads((WORKSPACE / "test" / "faults.toml").read_text())["notification"]


@dataclass(frozen=True)
class Observed:
    """One run of the main job that was held before its suite and looked at, and another one beside it."""

    run: str
    code: int
    lines: list[str]
    folder: Path
    report: dict[str, Any]
    containers: dict[str, dict[str, Any]]
    network: dict[str, Any]
    tags: list[str]
    image: str
    resolved: str
    files: str
    migrated: list[int]
    beside: Done
    beside_report: dict[str, Any]
    left: list[str]


@pytest.fixture(scope="module")
def observed(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Observed:
    """The real catalogue plus one command before the suite that waits until all has been looked at."""
    scratch = tmp_path_factory.mktemp("observed")
    go_on = scratch / "go-on"
    catalog = catalog_copy(scratch / "catalog")
    held = f"until [ -e {go_on} ]; do sleep 0.02; done"
    before = f'before = [{{ name = "held", command = ["sh", "-c", "{held}"], timeout = "100s" }}]\n'
    edit(catalog / "services" / "notification.toml", "[tiers.integration.env]", before + "\n[tiers.integration.env]")
    mine = make_project(catalog=catalog)
    with ThreadPoolExecutor(1) as pool, mine.going(*MAIN) as going:
        try:
            return _look(going, mine, warm, podman, go_on, pool)
        finally:
            go_on.touch()


def _look(
    going: Going, mine: Project, warm: Project, podman: Podman, go_on: Path, pool: ThreadPoolExecutor
) -> Observed:
    run = going.run
    other = new_run()
    going.says(f"  {'check':<22}")
    second = pool.submit(warm.invoke, *MAIN, "--run", other)
    containers = {name: podman.inspect(f"notification-{name}-{run}") for name in STACK}
    network = json.loads(podman("network", "inspect", f"notification-{run}").out)[0]
    tags = podman.tags(run)
    image = podman("history", "--no-trunc", tags[0]).out + podman("image", "inspect", tags[0]).out
    names = "getent hosts postgres; getent hosts redis; getent hosts datastorage"
    # No `podman exec`: in a chroot (tests run in one, too) it lands outside of the container.
    guest = ("--rm", "--network", f"notification-{run}", "--entrypoint", "sh", containers["redis"]["Image"])
    resolved = podman("run", *guest, "-c", names).out
    mounted = Path(podman("mount", f"notification-datastorage-{run}").out.strip())
    files = _described(containers["datastorage"]["State"]["Pid"], mounted / "etc" / "datastorage")
    podman("umount", f"notification-datastorage-{run}")
    values = dict(line.split("=", 1) for line in mine.invoke("infra.env", *SERVICE, "--run", run).lines)
    with psycopg.connect(
        host=values["POSTGRES_HOST"],
        port=values["POSTGRES_PORT"],
        user=values["POSTGRES_USER"],
        password=values["POSTGRES_PASSWORD"],
        dbname=values["POSTGRES_DB"],
        connect_timeout=10,
    ) as connection:
        rows = connection.execute("SELECT version FROM schema_version ORDER BY applied_at").fetchall()
    eventually("the second run's stack", lambda: second.done() or len(podman.names(other)) == len(STACK))
    go_on.touch()
    code = going.ends()
    beside = second.result(180)
    return Observed(
        run=run,
        code=code,
        lines=going.said,
        folder=mine.runs / run,
        report=mine.report(run),
        containers=containers,
        network=network,
        tags=tags,
        image=image,
        resolved=resolved,
        files=files,
        migrated=[row[0] for row in rows],
        beside=beside,
        beside_report=warm.report(other),
        left=[*podman.left_of(run), *podman.left_of(other)],
    )


def _described(pid: int, folder: Path) -> str:
    """Whom a process runs as, then names, modes, owners and contents of the files in its folder."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    user = next(line.split()[2] for line in status.splitlines() if line.startswith("Uid:"))
    paths = sorted(folder.iterdir())
    stats = [f"{path.name} {path.stat().st_mode & 0o777:o} {path.stat().st_uid}" for path in paths]
    return "\n".join([user, *stats, *(path.read_text(encoding="utf-8") for path in paths)])


def seconds_of(report: dict[str, Any], moment: str) -> float:
    """A moment as the report counts: seconds from the run's start."""
    return (datetime.fromisoformat(moment) - datetime.fromisoformat(report["started"])).total_seconds()


def test_the_main_job_passes(observed: Observed) -> None:
    assert observed.code == 0, "\n".join(observed.lines)
    assert observed.report["outcome"] == "passed"


def test_steps_come_in_the_declared_order_and_none_before_the_gate_of_the_one_before(observed: Observed) -> None:
    names = step_names(observed.report)
    assert [name for name in names if name in STACK] == list(STACK)
    for before, after in itertools.pairwise(STACK):
        first, second = step(observed.report, before), step(observed.report, after)
        passed = first["start_s"] + first["duration_s"]
        assert second["start_s"] >= passed - 0.002
        # The engine's own word for it; the clocks are one, the report rounds to milliseconds.
        for moment in (observed.containers[after]["Created"], observed.containers[after]["State"]["StartedAt"]):
            assert seconds_of(observed.report, moment) >= passed - 0.01, f"{after} before {before} was ready"


def test_images_are_had_before_any_readiness_clock_runs(observed: Observed) -> None:
    images = [one for one in observed.report["steps"] if one["name"].startswith("image ")]
    assert {"image redis", "image pgvector", "image datastorage"} <= {one["name"] for one in images}
    assert max(one["start_s"] + one["duration_s"] for one in images) <= step(observed.report, "postgres")["start_s"]


def test_all_components_are_looked_at_once_more_before_the_suite(observed: Observed) -> None:
    assert step_names(observed.report)[-4:] == ["check", "held", "suite", "teardown"]


def test_the_job_has_ended_and_all_services_are_running_when_the_suite_starts(observed: Observed) -> None:
    states = {name: one["State"] for name, one in observed.containers.items()}
    assert (states["migrations"]["Status"], states["migrations"]["ExitCode"]) == ("exited", 0)
    assert {states[name]["Status"] for name in ("postgres", "redis", "datastorage")} == {"running"}


@pytest.mark.parametrize("component", STACK)
def test_a_container_carries_the_labels_of_the_contract(observed: Observed, component: str) -> None:
    found = observed.containers[component]
    assert found["Name"] == f"notification-{component}-{observed.run}"
    carried = {key: value for key, value in found["Config"]["Labels"].items() if key.startswith(LABEL)}
    owner, created = carried.pop(f"{LABEL}.owner"), carried.pop(f"{LABEL}.created")
    assert (
        carried.items()
        >= {
            f"{LABEL}.run": observed.run,
            f"{LABEL}.service": "notification",
            f"{LABEL}.tier": "integration",
            f"{LABEL}.component": component,
        }.items()
    )
    _, boot, _, pid, _ = owner.split("/")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    assert int(pid) > 0
    assert abs(datetime.fromisoformat(created) - datetime.fromisoformat(observed.report["started"])) < timedelta(
        minutes=5
    )


def test_the_network_carries_the_labels_of_the_contract(observed: Observed) -> None:
    carried = observed.network["labels"]
    assert carried[f"{LABEL}.run"] == observed.run
    assert carried[f"{LABEL}.service"] == "notification"
    assert carried[f"{LABEL}.tier"] == "integration"
    assert len(carried[f"{LABEL}.owner"].split("/")) == 5
    assert datetime.fromisoformat(carried[f"{LABEL}.created"]).utcoffset() == timedelta(0)
    assert f"{LABEL}.component" not in carried


def test_the_built_image_has_a_tag_that_no_other_run_has(observed: Observed) -> None:
    assert f"localhost/datastorage:notification-{observed.run}" in observed.tags
    datastorage = observed.containers["datastorage"]
    assert datastorage["ImageName"] == f"localhost/datastorage:notification-{observed.run}"
    for tag in observed.tags:
        assert tag.endswith(f":notification-{observed.run}")


def test_containers_find_each_other_by_alias_on_the_runs_own_network(observed: Observed) -> None:
    addresses = {
        name: observed.containers[name]["NetworkSettings"]["Networks"][f"notification-{observed.run}"]["IPAddress"]
        for name in ("postgres", "redis", "datastorage")
    }
    assert [line.split()[0] for line in observed.resolved.splitlines()] == list(addresses.values())


def test_datastorage_reads_its_configuration_and_secrets_as_uid_1001(observed: Observed) -> None:
    lines = observed.files.splitlines()
    assert lines[:4] == [
        "1001",
        "config.yaml 444 1001",
        "db-secrets.yaml 400 1001",
        "redis-secrets.yaml 400 1001",
    ]
    assert "  host: postgres" in lines
    assert "  addr: redis:6379" in lines
    assert f"password: {SECRET}" in lines
    config = observed.files.partition("username:")[0]
    assert SECRET not in config


def test_a_secret_is_in_no_label_argument_or_layer(observed: Observed) -> None:
    for name, found in observed.containers.items():
        config = found["Config"]
        shown = json.dumps(
            [config["Labels"], config["Cmd"], config["Entrypoint"], config.get("CreateCommand"), found["Args"]]
        )
        assert SECRET not in shown, name
    assert SECRET not in observed.image
    assert SECRET not in json.dumps(observed.network)


def test_ports_are_published_on_127_0_0_1_alone(observed: Observed) -> None:
    for name, found in observed.containers.items():
        bindings = found["HostConfig"]["PortBindings"] or {}
        assert {row["HostIp"] for rows in bindings.values() for row in rows or ()} <= {"127.0.0.1"}, name
    assert len(published(observed.containers["datastorage"])) == 2
    assert published(observed.containers["migrations"]) == []


def published(container: dict[str, Any]) -> list[str]:
    """The container ports that have a port of the host; an image's EXPOSE alone gives none."""
    return [port for port, rows in (container["HostConfig"]["PortBindings"] or {}).items() if rows]


def test_containers_have_no_restart_policy(observed: Observed) -> None:
    for name, found in observed.containers.items():
        assert found["HostConfig"]["RestartPolicy"]["Name"] in ("", "no"), name


def test_containers_leave_no_volume_without_a_label(observed: Observed) -> None:
    for name, found in observed.containers.items():
        assert found["Mounts"] == [], name


def test_migrations_are_applied_in_the_order_of_their_numbers(observed: Observed) -> None:
    said = (observed.folder / "logs" / "migrations.log").read_text(encoding="utf-8")
    applied = [line.removeprefix("applying ") for line in said.splitlines() if line.startswith("applying ")]
    assert applied == SQL_FILES
    assert len(SQL_FILES) >= 8
    assert observed.migrated == sorted(observed.migrated)
    assert observed.migrated[-2:] == [999, 1000]


def test_report_json_has_the_fields_of_the_contract(observed: Observed) -> None:
    report = observed.report
    contract = (
        "schema engine run service tier outcome blame exit_code started duration_s steps critical_path suite "
        "cause left_behind"
    )
    assert set(contract.split()) <= report.keys()
    assert {"version", "rootless", "runtime", "host", "workarounds"} <= report["engine"].keys()
    for one in report["steps"]:
        assert {"name", "status", "start_s", "duration_s", "polls", "cause"} <= one.keys()
        assert (one["status"], one["cause"]) == ("passed", None)
    for one in report["critical_path"]:
        assert one.keys() == {"name", "duration_s"}
    assert {"tests", "passed", "failed", "skipped", "duration_s"} <= report["suite"].keys()


def test_report_json_says_what_happened(observed: Observed, podman: Podman) -> None:
    report = observed.report
    wanted: dict[str, object] = {
        "run": observed.run,
        "service": "notification",
        "tier": "integration",
        "outcome": "passed",
        "blame": None,
        "exit_code": 0,
        "cause": None,
        "left_behind": [],
    }
    assert {key: report[key] for key in wanted} == wanted
    counts = {key: report["suite"][key] for key in ("tests", "passed", "failed", "skipped")}
    assert counts == {"tests": SPECS, "passed": SPECS, "failed": 0, "skipped": 0}
    assert report["engine"]["version"] == podman("version", "--format", "{{.Client.Version}}").out.strip()
    assert datetime.fromisoformat(report["started"]).utcoffset() == timedelta(0)
    polled = {one["name"] for one in report["steps"] if one["polls"] > 0}
    assert polled == set(STACK)


def test_the_critical_path_is_what_the_duration_is_made_of(observed: Observed) -> None:
    path = [one["name"] for one in observed.report["critical_path"]]
    assert path[0] == "engine"
    assert path[-8:] == [*STACK, "check", "held", "suite", "teardown"]
    total = sum(one["duration_s"] for one in observed.report["critical_path"])
    # Beside it are the plan before the first step and the reports after the last: more on a host that is busy.
    assert total == pytest.approx(observed.report["duration_s"], rel=0.1, abs=1.0)


def test_junit_xml_has_every_spec_among_them_7_of_7_written(observed: Observed) -> None:
    root = ElementTree.parse(observed.folder / "junit.xml").getroot()
    suites = {one.get("name"): one for one in root.iter("testsuite")}
    suite = suites["notification.integration"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(SPECS), "0", "0")
    names = [case.get("name") for case in suite.iter("testcase")]
    assert "The audit client has 7 of 7 events written and none failed when it is closed" in names
    assert len(set(names)) == SPECS
    stack = [case.get("name") for case in suites["notification.integration.stack"].iter("testcase")]
    assert stack == step_names(observed.report)


def test_trace_json_has_a_span_for_the_run_and_one_below_it_for_each_step(observed: Observed) -> None:
    trace = json.loads((observed.folder / "trace.json").read_text(encoding="utf-8"))
    spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
    whole = [span for span in spans if "parentSpanId" not in span]
    assert [span["name"] for span in whole] == ["notification integration"]
    below = [span for span in spans if "parentSpanId" in span]
    assert [span["name"] for span in below] == step_names(observed.report)
    assert {span["parentSpanId"] for span in below} == {whole[0]["spanId"]}
    assert {span["traceId"] for span in spans} == {whole[0]["traceId"]}
    for span in below:
        assert int(whole[0]["startTimeUnixNano"]) <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert int(span["endTimeUnixNano"]) <= int(whole[0]["endTimeUnixNano"]) + 10_000_000


def test_the_run_directory_has_the_environment_and_a_log_of_each_component(observed: Observed) -> None:
    names = [line.split("=")[0] for line in (observed.folder / "env").read_text(encoding="utf-8").splitlines()]
    assert {"DATA_STORAGE_URL", "POSTGRES_HOST", "POSTGRES_PORT", "REDIS_ADDR"} <= set(names)
    for component in STACK:
        assert (observed.folder / "logs" / f"{component}.log").stat().st_size > 0, component
    assert "Ran 91 of 91 Specs" in (observed.folder / "logs" / "suite.log").read_text(encoding="utf-8")
    assert not (observed.folder / "diagnosis.md").exists()


def test_latest_leads_to_the_newest_run(observed: Observed) -> None:
    latest = observed.folder.parent / "latest"
    assert latest.is_symlink()
    assert latest.resolve() == observed.folder.resolve()


def test_a_secret_is_in_no_file_of_the_run_directory_and_not_on_the_console(observed: Observed) -> None:
    assert SECRET not in "\n".join(observed.lines)
    holding = [path.name for path, text in texts_below(observed.folder) if SECRET in text]
    assert holding == []


def test_the_console_has_a_line_a_step_then_the_critical_path_then_one_line_of_result(observed: Observed) -> None:
    steps = [line for line in observed.lines if line.startswith("  ") and " s  ok" in line]
    assert [line.split(" s  ok")[0].rsplit(maxsplit=1)[0].strip() for line in steps] == step_names_by_end(
        observed.report
    )
    assert observed.lines[-2].startswith("critical path: engine ")
    result = observed.lines[-1]
    assert result.startswith(f"passed: {SPECS} passed in ")
    assert "nothing left behind" in result
    assert observed.run in result
    assert result.endswith("exit code 0)")


def step_names_by_end(report: dict[str, Any]) -> list[str]:
    """The steps in the order in which they were told: images end in any order."""
    ended = sorted(report["steps"], key=lambda one: one["start_s"] + one["duration_s"])
    return [one["name"] for one in ended]


def test_the_suites_own_output_is_on_the_console_before_its_step_ends(observed: Observed) -> None:
    said = next(index for index, line in enumerate(observed.lines) if "Ran 91 of 91 Specs" in line)
    ended = next(index for index, line in enumerate(observed.lines) if line.startswith("  suite "))
    assert said < ended


def test_workarounds_of_the_host_are_on_the_console_and_in_the_report(observed: Observed) -> None:
    said = [line for line in observed.lines if line.startswith("  worked around on this host: ")]
    workarounds = observed.report["engine"]["workarounds"]
    assert len(said) == bool(workarounds)
    for one in workarounds:
        assert one in said[0]


def test_two_runs_of_one_service_at_the_same_time_do_not_meet(observed: Observed) -> None:
    assert observed.beside.code == 0, observed.beside.text
    # Both stacks were there at the same time.
    first, second = stack_time(observed.report), stack_time(observed.beside_report)
    assert max(first[0], second[0]) < min(first[1], second[1])


def stack_time(report: dict[str, Any]) -> tuple[datetime, datetime]:
    """From the first component's start to the begin of the teardown."""
    started = datetime.fromisoformat(report["started"])
    begin, end = step(report, STACK[0])["start_s"], step(report, "teardown")["start_s"]
    return started + timedelta(seconds=begin), started + timedelta(seconds=end)


def test_nothing_is_left(observed: Observed) -> None:
    assert observed.left == []


def test_nox_runs_the_main_job_on_the_catalogues_ports(warm: Project) -> None:
    done = warm.python("nox", "-s", "integration-notification")
    assert done.code == 0, done.text
    report = warm.report()
    assert report["outcome"] == "passed", done.text
    env = (warm.runs / report["run"] / "env").read_text(encoding="utf-8")
    assert "DATA_STORAGE_URL=http://127.0.0.1:18110\n" in env
    assert "POSTGRES_PORT=15453\n" in env
    assert "REDIS_ADDR=127.0.0.1:16399\n" in env


# -- the suite can fail, and so can all before it


@pytest.mark.parametrize("fault", RED)
def test_a_datastorage_that_is_broken_turns_the_named_specs_red(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path: Path, fault: str
) -> None:
    catalog = catalog_copy(tmp_path / "catalog")
    edit(catalog / "components" / "datastorage.toml", "[env]\n", f'[env]\nDATASTORAGE_FAULT = "{fault}"\n')
    project = make_project(catalog=catalog)
    done = project.invoke(*MAIN)
    assert done.code == 1, done.text
    report = project.report()
    assert (report["outcome"], report["blame"], report["exit_code"]) == ("failed", "test", 1)
    assert sorted(case["name"] for case in report["suite"]["failures"]) == sorted(RED[fault])
    assert report["cause"]["reference"] == "tests-failed"
    assert report["cause"]["step"] == "suite"
    said = done.lines[next(i for i, line in enumerate(done.lines) if line.startswith("failed: ")) :]
    assert said[0].startswith(f"failed: suite: {len(RED[fault])} of {SPECS} tests failed")
    page = (project.runs / report["run"] / "diagnosis.md").read_text(encoding="utf-8")
    for name in RED[fault]:
        assert name in page
    assert podman.left_of(report["run"]) == []


def test_a_migration_with_an_sql_error_is_named_with_the_error(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    workspace = workspace_copy(tmp_path / "workspace")
    bad = workspace / "migrations" / "009_audit_events_checks.sql"
    bad.write_text("-- +goose Up\nALTER TABLE audit_evnets ADD COLUMN note text;\n", encoding="utf-8")
    project = make_project(workspace=workspace)
    done = project.invoke(*MAIN)
    assert done.code == 75, done.text
    report = project.report()
    assert (report["outcome"], report["blame"]) == ("not-ready", "product")
    cause = report["cause"]
    assert (cause["step"], cause["reference"]) == ("migrations", "migration-failed")
    told = "\n".join((cause["message"], *cause["evidence"]))
    assert "009_audit_events_checks.sql" in told
    assert 'relation "audit_evnets" does not exist' in told
    assert step_names(report)[-2:] == ["migrations", "teardown"]
    assert podman.left_of(report["run"]) == []


def test_a_dependency_that_dies_while_the_suite_runs_ends_the_run_at_once_and_is_named(
    warm: Project, podman: Podman, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    catalog = catalog_copy(tmp_path / "catalog")
    edit(catalog / "services" / "notification.toml", "./test/integration/notification", "./test/runner/slow")
    project = make_project(catalog=catalog)
    with project.going(*MAIN, "--", "-v", SLOW_SPEC_MS="5000") as going:
        going.says("answers request")
        podman("kill", "--signal", "KILL", f"notification-redis-{going.run}")
        killed = time.monotonic()
        going.says("  suite ")
        told = time.monotonic() - killed
        assert going.ends() == 75, going.text
    # 20 s of specs were still to come.
    assert told < 10.0
    report = project.report(going.run)
    assert (report["outcome"], report["blame"]) == ("not-ready", "infrastructure")
    cause = report["cause"]
    assert (cause["step"], cause["reference"]) == ("redis", "killed-through-engine")
    assert "137" in cause["message"]
    assert step(report, "suite")["status"] == "failed"
    folder = project.runs / going.run
    assert json.loads((folder / "inspect" / "redis.json").read_text(encoding="utf-8"))["State"]["ExitCode"] == 137
    assert (folder / "logs" / "events.jsonl").exists()
    for component in STACK:
        assert (folder / "logs" / f"{component}.log").exists()
    assert "redis" in (folder / "diagnosis.md").read_text(encoding="utf-8").splitlines()[0]
    assert podman.left_of(going.run) == []
    assert [line for line in processes_with(going.run) if "ginkgo" in line or ".test" in line] == []


def processes_with(run: str) -> list[str]:
    """The command lines that name a run."""
    shown = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in shown if run in line]
