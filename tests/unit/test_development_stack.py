"""The development stack as it is declared, planned and compared, with no Podman."""

import hashlib
import os
import textwrap
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from given import CATALOG, ROOT, WORKSPACE, catalog_copy, settings_with, workspace_in

from infra import applied, devlook, kept, labels, lease_names, lock, plan, rundir
from infra.applied import Row
from infra.catalog.loading import load
from infra.devplan import DevPlan, catalog_of, for_suite, plan_dev
from infra.devstack import BOOTSTRAP, EXAMPLE, busy, refuse_to_break, refuse_to_end
from infra.engine import bodies
from infra.engine.client import Engine
from infra.engine.types import ContainerSpec, ContainerState, Resource
from infra.errors import Invalid, NotReady
from infra.labels import DATA as DATA_LABEL
from infra.labels import ROOT as ROOT_LABEL
from infra.labels import RUN as RUN_LABEL
from infra.lease import named
from infra.plan import Plan, PlannedStep
from infra.run_names import new_run
from infra.settings import runs_of
from infra.sweep import FoundRun
from infra.workspace import PlannedFile

RUN = "0a1b2c3d"


@pytest.fixture
def dev(tmp_path: Path) -> DevPlan:
    return plan_dev(load(CATALOG), settings_with(CATALOG, workspace_in(tmp_path)), run=RUN)


def service(name: str, tier: str = "integration") -> Plan:
    return plan.make(load(CATALOG), settings_with(CATALOG, WORKSPACE), service=name, tier=tier, run="11111111")


# Declared


def test_the_contract_of_the_catalogue(dev: DevPlan) -> None:
    ports = {step.name: [port.host for port in step.ports] for step in dev.services}
    assert ports == {"postgres": [5432], "redis": [6379]}
    assert [step.name for step in dev.plan.steps] == ["postgres", "migrations", "redis"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("restarts = 5", "restart = 5", ("restart: unknown key", 'did you mean "restarts"')),
        ("restarts = 5", "restarts = -1", ("restarts: ",)),
        ("restarts = 5", 'restarts = "5"', ("restarts: ",)),
        ('["postgres", "migrations", "redis"]', "[]", ("stack: must have at least 1 item",)),
        ("redis = 6379", "Redis = 6379", ("ports.Redis: must match pattern",)),
        (
            '"postgres", "migrations"',
            '"migrations", "postgres"',
            ('stack: the job "migrations" needs postgres, which would be started after it',),
        ),
        ('"redis"]', '"rediss"]', ('stack: unknown component "rediss"', "did you mean")),
        ("redis = 6379", "", ('ports.redis: no host port for "redis"',)),
        ("redis = 6379", "redis = 16390", ("ports.redis.redis: port 16390 is also ports.redis",)),
        ("redis = 6379", "redis = 5432", ("ports.redis.redis: port 5432 is also", "the development stack")),
        (
            "[components.redis]",
            "[components.datastorage]",
            ('components.datastorage: "datastorage" is not in the stack',),
        ),
        ("[components.redis]", "[components.migrations]", ("components.migrations.data: a job has no data",)),
        ('data = "/data"', 'data = "data"', ("components.redis.data: ",)),
        ('data = "/data"', "", ("components.redis.data: missing", 'data = "/data"')),
        (
            'data = "/var/lib/postgresql/data"',
            "",
            ("components.postgres.data: missing", 'data = "/var/lib/postgresql/data"'),
        ),
        ('"--appendonly"', '"{postgres.secret}"', ("components.redis.command.1: ", "postgres.secret")),
    ],
)
def test_a_mistake_in_its_file_is_one_message(tmp_path: Path, old: str, new: str, says: tuple[str, ...]) -> None:
    path = catalog_copy(tmp_path) / "dev.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(Invalid) as caught:
        load(path.parent)
    assert [words for words in (str(path), *says) if words not in caught.value.message] == []
    assert str(path) in caught.value.remedy
    assert "should" not in caught.value.message


def test_no_service_can_have_its_name(tmp_path: Path) -> None:
    catalog = catalog_copy(tmp_path)
    (catalog / "services" / "gateway.toml").rename(catalog / "services" / "dev.toml")
    with pytest.raises(Invalid, match=r"services/dev\.toml: \"dev\" is the development stack"):
        load(catalog)


def test_a_catalogue_without_one_says_which_file_would_declare_it(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    (folder / "dev.toml").unlink()
    catalog = load(folder)
    with pytest.raises(Invalid) as caught:
        plan_dev(catalog, settings_with(folder, workspace_in(tmp_path)))
    assert caught.value.reference == "no-dev-stack"
    assert str(folder / "dev.toml") in caught.value.remedy


def test_the_file_that_is_shown_to_a_catalogue_without_one_is_right(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    page = (ROOT / "infra/causes/pages.md").read_text(encoding="utf-8").partition("## no-dev-stack\n")[2]
    block = [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("    ")]
    for text in (EXAMPLE.replace("; ", "\n"), textwrap.dedent("\n".join(block))):
        (folder / "dev.toml").write_text(text, encoding="utf-8")
        made = plan_dev(load(folder), settings_with(folder, WORKSPACE), run=RUN)
        assert [step.volume for step in made.services] == [(f"dev-postgres-{RUN}", "/var/lib/postgresql/data")]


def test_it_is_no_service_but_its_run_can_be_planned() -> None:
    catalog = load(CATALOG)
    assert "dev" not in catalog.services
    with pytest.raises(Invalid, match="no service, it is the development stack"):
        catalog.service("dev")
    assert list(catalog_of(catalog, "dev").services) == ["dev"]
    assert catalog_of(catalog, "contextapi") is catalog


# Planned


def test_what_stays_up_has_a_volume_and_bounded_restarts_and_a_job_has_neither(dev: DevPlan) -> None:
    assert {step.name: (step.volume, step.restarts) for step in dev.plan.steps} == {
        "postgres": ((f"dev-postgres-{RUN}", "/var/lib/postgresql/data"), 5),
        "migrations": (None, 0),
        "redis": ((f"dev-redis-{RUN}", "/data"), 5),
    }
    assert "fsync=off" not in " ".join(dev.services[0].command), "its data survive a power cut"


def test_what_it_is_made_of_shows_in_what_is_declared(tmp_path: Path, dev: DevPlan) -> None:
    path = catalog_copy(tmp_path / "other") / "dev.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("max_connections=200", "max_connections=201"))
    again = plan_dev(load(path.parent), settings_with(path.parent, tmp_path / "workspace"), run="99999999")
    first, second = ({step.name: step.declared for step in one.services} for one in (dev, again))
    assert first["redis"] == second["redis"]
    assert first["postgres"] != second["postgres"]


@pytest.mark.parametrize(
    ("old", "new", "others"),
    [
        ("postgres = 5432", "postgres = 5499", []),
        # By its order each component has its address: one in between moves all that come after it.
        ('["postgres", "migrations", "redis"]', '["redis", "postgres", "migrations"]', ["redis"]),
    ],
)
def test_a_port_or_an_order_that_has_changed_shows_in_what_is_declared(
    tmp_path: Path, dev: DevPlan, old: str, new: str, others: list[str]
) -> None:
    path = catalog_copy(tmp_path / "other") / "dev.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    again = plan_dev(load(path.parent), settings_with(path.parent, tmp_path / "workspace"), run=RUN, ports="auto")
    before = {step.name: step.declared for step in dev.services}
    assert [step.name for step in again.services if step.declared != before[step.name]] == [*others, "postgres"]


def test_free_ports_are_no_other_declaration(tmp_path: Path, dev: DevPlan) -> None:
    auto = plan_dev(load(CATALOG), settings_with(CATALOG, workspace_in(tmp_path / "b")), run=RUN, ports="auto")
    assert [step.declared for step in auto.services] == [step.declared for step in dev.services]


def test_the_engine_is_asked_for_the_volume_and_the_restarts() -> None:
    spec = ContainerSpec(
        name="dev-redis-0a1b2c3d",
        image="redis",
        alias="redis",
        network="dev-0a1b2c3d",
        address=None,
        hosts={},
        command=(),
        env={},
        labels={},
        ports={},
        stop_grace_s=1,
        memory_mb=None,
    )
    plain = bodies.container(spec)
    assert not {"volumes", "restart_policy", "restart_tries"} & plain.keys(), "a suite's crash is a finding"
    lasting = bodies.container(replace(spec, volume=("kept", "/data"), restarts=5))
    assert lasting["volumes"] == [{"Name": "kept", "Dest": "/data"}]
    assert (lasting["restart_policy"], lasting["restart_tries"]) == ("on-failure", 5)


# Lent


@pytest.mark.parametrize(
    ("name", "tier", "says"),
    [
        ("notification", "integration", "needs datastorage"),
        ("contextapi", "unit", "has no stack"),
        ("aianalysis", "integration", "needs datastorage, holmesgpt-api"),
    ],
)
def test_a_suite_that_it_does_not_fit_is_told_what_does(dev: DevPlan, name: str, tier: str, says: str) -> None:
    with pytest.raises(NotReady) as caught:
        for_suite(dev, service(name, tier))
    assert says in caught.value.message
    own = f"invoke suite.run --service {name}" + (" --tier unit" if tier == "unit" else "")
    assert caught.value.remedy.partition("  #")[0] == own


def test_a_suite_that_would_change_a_persons_data_is_refused(dev: DevPlan) -> None:
    wanted = service("contextapi")
    assert wanted.suite.workers is not None
    alone = wanted.suite.model_copy(update={"workers": wanted.suite.workers.model_copy(update={"redis": None})})
    with pytest.raises(NotReady, match="declares no workers for redis, so it would change your data"):
        for_suite(dev, replace(wanted, suite=alone))


def test_what_has_data_is_a_persons_whether_or_not_they_last(dev: DevPlan) -> None:
    fleeting = replace(dev, plan=replace(dev.plan, steps=tuple(replace(s, volume=None) for s in dev.plan.steps)))
    wanted = service("contextapi")
    with pytest.raises(NotReady, match="declares no workers for postgres, redis, so it would change your data"):
        for_suite(fleeting, replace(wanted, suite=wanted.suite.model_copy(update={"workers": None})))


def test_a_suite_whose_databases_are_filled_by_another_job_is_refused(dev: DevPlan) -> None:
    wanted = service("contextapi")
    (job,) = (step for step in wanted.steps if step.kind == "job")
    with pytest.raises(NotReady, match="has no migrations of seed for the suite's databases"):
        for_suite(dev, replace(wanted, steps=(*wanted.steps, replace(job, name="seed"))))


@pytest.mark.parametrize(("name", "stack"), [("contextapi", ["postgres", "redis"]), ("gateway", ["redis"])])
def test_a_suite_that_fits_gets_the_containers_that_are_there(dev: DevPlan, name: str, stack: list[str]) -> None:
    made = for_suite(dev, service(name))
    assert [step.container for step in made.steps] == [f"dev-{part}-{RUN}" for part in stack]
    assert (made.service, made.run) == (name, "11111111")


def test_its_workers_databases_are_those_that_the_suites_own_stack_would_give_them() -> None:
    theirs = plan_dev(load(CATALOG), settings_with(CATALOG, WORKSPACE), run=RUN).cloned
    own = service("contextapi").cloned
    assert theirs is not None
    assert own is not None
    assert theirs.content == own.content


# Migrations


FILES = {"001_a.sql": "CREATE TABLE a ();\n", "002_b.sql": "CREATE TABLE b ();\n", "1000_c.sql": "SELECT 1"}


def rows(*names: str, applied_: bool = True) -> list[Row]:
    return [Row(name=n, sha256=hashlib.sha256(FILES[n].encode()).hexdigest(), applied=applied_) for n in names]


def test_of_a_new_database_all_is_pending() -> None:
    seen = applied.compared(FILES, [])
    assert seen.pending == tuple(FILES)
    assert seen.warning is None


def test_what_was_added_is_pending_in_order_wherever_it_belongs() -> None:
    assert applied.compared(FILES, rows("002_b.sql")).pending == ("001_a.sql", "1000_c.sql")


def test_what_failed_half_way_is_tried_again_and_remembered() -> None:
    seen = applied.compared(FILES, [*rows("001_a.sql"), *rows("002_b.sql", applied_=False)])
    assert (seen.applied, seen.begun, seen.pending) == (("001_a.sql",), ("002_b.sql",), ("002_b.sql", "1000_c.sql"))


def test_what_was_edited_or_removed_after_it_was_applied_is_one_warning_with_the_command() -> None:
    files = {**FILES, "001_a.sql": "CREATE TABLE a (b int);\n"}
    del files["002_b.sql"]
    seen = applied.compared(files, rows(*FILES))
    assert (seen.edited, seen.gone, seen.pending) == (("001_a.sql",), ("002_b.sql",), ())
    assert seen.warning is not None
    assert all(
        word in seen.warning
        for word in ("001_a.sql", "002_b.sql", "without your data: invoke dev.cleanup && invoke dev.bootstrap")
    )


def test_an_edit_of_what_failed_is_no_warning() -> None:
    seen = applied.compared({**FILES, "001_a.sql": "other"}, rows("001_a.sql", applied_=False))
    assert seen.warning is None


def test_a_job_with_some_migrations_alone_records_each_and_keeps_the_lines(dev: DevPlan) -> None:
    job = replace(dev.migrations[0].job, files=files_of(dev))
    told = applied.recorded(job, "/migrations", ["1000_c.sql"])
    texts = {file.path: file.content for file in told.files}
    assert sorted(texts) == ["/migrations/1000_c.sql", "/migrations/apply.sh", "/migrations/order"]
    assert texts["/migrations/order"] == "1000_c.sql\n"
    first, *rest = texts["/migrations/1000_c.sql"].splitlines()
    assert first.startswith("INSERT INTO infra.migrations ")
    assert first.endswith("; SELECT 1"), "errors name the lines of the file"
    assert rest[0] == ";", "the file's last statement may lack it"
    assert rest[1].startswith("UPDATE infra.migrations SET applied")


def files_of(dev: DevPlan) -> tuple[PlannedFile, ...]:
    """The job's files, with three migrations of this test in the place of the workspace's."""
    own = [file for file in dev.migrations[0].job.files if file.path.endswith(".sh")]
    sql = {f"/migrations/{name}": text for name, text in FILES.items()}
    sql["/migrations/order"] = "".join(f"{name}\n" for name in FILES)
    return (*own, *(PlannedFile(path=path, content=text, mode=0o444, owner=0) for path, text in sql.items()))


def test_a_job_is_pointed_at_another_database_by_its_environment_alone(dev: DevPlan) -> None:
    env = {"PGDATABASE": "shop", "PGUSER": "shop", "URL": "postgres://shop:shop@shop/shop?sslmode=disable", "X": "shop"}
    job = replace(dev.migrations[0].job, env=env, files=files_of(dev))
    moved = applied.elsewhere(job, "/migrations", "shop", "other")
    assert moved.env == {
        "PGDATABASE": "other",
        "PGUSER": "shop",
        "URL": "postgres://shop:shop@shop/other?sslmode=disable",
        "X": "shop",
    }
    first = next(file.content for file in moved.files if file.path.endswith("001_a.sql"))
    assert first.startswith("DO $infra$ BEGIN IF current_database() <> 'other'"), "it touches no other database"
    assert first.endswith(FILES["001_a.sql"])


# Jobs without migrations


@pytest.mark.parametrize(
    ("status", "code", "declared", "why"),
    [
        ("exited", 0, "same", None),
        ("exited", 3, "same", "failed (exit code 3)"),
        ("exited", 0, "other", devlook.OTHERWISE),
        ("running", 0, "same", "running"),
        ("created", 0, "same", "created"),
    ],
)
def test_a_job_is_done_where_it_ended_well_as_it_is_declared(
    dev: DevPlan, status: str, code: int, declared: str, why: str | None
) -> None:
    job = replace(dev.migrations[0].job, declared="same")
    state = ContainerState(
        id="1",
        status=status,
        exit_code=code,
        oom_killed=False,
        error="",
        ports={},
        labels={labels.DECLARED: declared},
    )
    assert devlook.undone(job, state) == why
    assert devlook.undone(job, None) == "gone"


# What is not ready


def seen(step: PlannedStep, why: str, **more: str) -> devlook.Seen:
    return devlook.Seen(step=step, state=None, ports={}, why=why, **more)


@pytest.mark.parametrize(
    ("why", "hangs"),
    [
        ("gone", False),
        (devlook.OTHERWISE, False),
        ("not ready: PING: timed out", True),
        ("not ready: its ports are not published", True),
        ("not ready: GET http://127.0.0.1:8080/health: Connection refused", True),
        ('not ready: connection to server at "127.0.0.1", port 5432 failed: timeout expired', True),
        ("not ready: GET http://127.0.0.1:8080/health answered 503: no", False),
        ("not ready: PING answered -LOADING Redis is loading the dataset in memory", False),
        ("not ready: connection failed: FATAL:  the database system is starting up", False),
        ("not ready: connection failed: FATAL:  sorry, too many clients already", False),
    ],
)
def test_what_runs_and_does_not_answer_hangs_and_what_answers_does_not(dev: DevPlan, why: str, hangs: bool) -> None:
    assert seen(dev.services[0], why).hangs == hangs


def test_the_remedy_for_what_is_not_ready_is_what_helps(dev: DevPlan) -> None:
    postgres, redis = dev.services
    afresh = "invoke dev.cleanup && invoke dev.bootstrap  # starts afresh, without your data"
    hung = devlook.unusable(seen(redis, "not ready: PING: timed out"))
    assert (hung.reference, hung.remedy.partition("  #")[0]) == ("dev-stack-not-ready", "invoke dev.bootstrap")
    moved = devlook.unusable(seen(redis, devlook.OTHERWISE, moved="/other"))
    assert moved.reference == "dev-stack-data-moved"
    assert moved.remedy == f'{afresh}; or components.redis.data = "/other" again'
    refused = 'not ready: connection failed: FATAL:  database "action_history" does not exist'
    dropped = devlook.unusable(seen(postgres, refused))
    assert dropped.reference == "data-made-otherwise"
    assert dropped.message.startswith('its data have no database "action_history"')
    assert dropped.remedy.startswith(afresh)
    fleeting = devlook.unusable(seen(replace(postgres, volume=None), refused))
    assert fleeting.reference == "dev-stack-not-ready"


def test_data_have_moved_where_their_volume_says_another_folder(dev: DevPlan) -> None:
    class Volumes(Engine):
        def volumes(self, labels: Mapping[str, str] | None = None) -> tuple[Resource, ...]:
            return (Resource(name=f"dev-redis-{RUN}", id="", labels={DATA_LABEL: "/data"}),)

    engine, (postgres, redis) = Volumes("unix:///nowhere"), dev.services
    assert devlook.moved(engine, postgres) is None, "it has no volume yet"
    assert devlook.moved(engine, redis) is None
    assert devlook.moved(engine, replace(redis, volume=(redis.container, "/other"))) == "/data"
    assert devlook.moved(engine, replace(redis, volume=None)) == "/data"


def test_a_stack_with_a_job_that_is_not_done_is_not_whole(dev: DevPlan) -> None:
    found = FoundRun(run=RUN, service="dev", tier="integration", created="", owner=None, kept=BOOTSTRAP)
    well = devlook.Look(
        found=found,
        dev=dev,
        components=(),
        migrations={},
        jobs={"seed": None},
        dropped=(),
        template=True,
        certain=True,
    )
    assert well.whole
    assert not replace(well, dropped=("dev-nats-1a2b3c4d",)).whole
    assert not replace(well, jobs={"seed": "failed (exit code 1)"}).whole
    assert not replace(well, certain=False).whole, "a sweep would end it, were the other witness lost, too"
    assert well.as_json()["jobs"] == {"seed": {"done": True, "why": None}}


# What ends it


def test_its_volumes_say_that_it_stays_once_it_was_handed_over(tmp_path: Path) -> None:
    run = {labels.RUN: RUN, labels.KEPT: BOOTSTRAP}
    data = Resource(name=f"dev-postgres-{RUN}", id="", labels={**run, labels.ROOT: str(tmp_path)})
    assert kept.reason(data) is None, "a first bootstrap that was interrupted is swept"
    rundir.hand_over(runs_of(tmp_path) / RUN)
    assert kept.reason(data) == BOOTSTRAP
    assert kept.reason(replace(data, labels=run)) is None
    assert kept.reason(replace(data, labels={**data.labels, labels.RUN: "../.."})) is None
    rundir.take_back(runs_of(tmp_path) / RUN)
    assert kept.reason(data) is None
    assert kept.reason(Resource(name=kept.marker(RUN), id="", labels=run)) == BOOTSTRAP


def test_a_folder_that_cannot_be_looked_at_counts_as_handed_over(tmp_path: Path) -> None:
    assert rundir.is_handed_over(tmp_path / ("x" * 300)), "as that of another user, which root can see"
    (tmp_path / "file").touch()
    assert not rundir.is_handed_over(tmp_path / "file")
    assert not rundir.is_handed_over(tmp_path / "nothing")


def test_it_is_taken_back_in_the_checkout_that_had_it(tmp_path: Path) -> None:
    class Volumes(Engine):
        def volumes(self, labels: Mapping[str, str] | None = None) -> tuple[Resource, ...]:
            carried: tuple[dict[str, str], ...] = ({ROOT_LABEL: str(tmp_path)}, {})
            return tuple(Resource(name="x", id="", labels=one) for one in carried if labels == {RUN_LABEL: RUN})

    rundir.hand_over(runs_of(tmp_path) / RUN)
    kept.take_back(Volumes("unix:///nowhere"), RUN)
    assert not rundir.is_handed_over(runs_of(tmp_path) / RUN)


def test_it_is_not_torn_from_under_a_suite() -> None:
    run, stack = new_run(), new_run()
    with named(run):
        lease_names.refuse_used(stack)
        lease_names.use(run, stack)
        with pytest.raises(NotReady, match=rf"run {run} \(process {os.getpid()}\) has its suite going in it") as caught:
            lease_names.refuse_used(stack)
        assert caught.value.reference == "stack-in-use"
    lease_names.refuse_used(stack)


def test_a_lock_that_cannot_be_had_is_done_without(tmp_path: Path) -> None:
    name = f"-test-{new_run()}"
    path = Path(f"/tmp/infra-{os.getuid()}{name}.lock")
    path.symlink_to(tmp_path / "elsewhere")
    waited: list[int] = []
    try:
        with lock.turn(name, waited.append, busy):
            assert not (tmp_path / "elsewhere").exists()
    finally:
        path.unlink()
    assert waited == []


def test_a_lock_keeps_others_waiting() -> None:
    name = f"-test-{new_run()}"
    waited = threading.Event()
    told: list[int] = []

    def waits(pid: int) -> None:
        told.append(pid)
        waited.set()

    def have() -> None:
        with lock.turn(name, waits, busy):
            pass

    try:
        with lock.turn(name, waits, busy):
            other = threading.Thread(target=have)
            other.start()
            assert waited.wait(20)
            assert other.is_alive()
            late = rf"another dev.bootstrap or dev.cleanup \(process {os.getpid()}\) goes on, and has not ended"
            with pytest.raises(NotReady, match=late) as caught, lock.turn(name, waits, busy, longest_s=0.2):
                pass
            assert caught.value.remedy.startswith(f"kill {os.getpid()}  # ")
        other.join(20)
        assert not other.is_alive()
        assert told == [os.getpid()] * 2
    finally:
        Path(f"/tmp/infra-{os.getuid()}{name}.lock").unlink()


@pytest.mark.parametrize("refuse", [refuse_to_end, refuse_to_break])
def test_nothing_else_ends_or_breaks_it(refuse: object) -> None:
    assert callable(refuse)
    refuse(RUN, "infra.up")
    refuse(RUN, None)
    with pytest.raises(NotReady, match=f"run {RUN} is the development stack"):
        refuse(RUN, BOOTSTRAP)
