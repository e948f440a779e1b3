"""Whose a run is: by service it is found from the folder that made it only, by its name from anywhere."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from given import CATALOG

from infra import kept, labels, settings, status, sweep
from infra.catalog.loading import load
from infra.doctor import wants
from infra.doctor.engine import fixed_ports
from infra.engine.client import Engine
from infra.engine.discover import Connection
from infra.engine.types import Container, ContainerState, Resource
from infra.errors import NotReady
from infra.labels import Labels, Owner
from infra.lease import Lease

HERE, ELSEWHERE = Path("/home/one/shop"), Path("/home/other/shop")
RUN, COMPONENT, KEPT = labels.RUN, labels.COMPONENT, labels.KEPT
OURS, THEIRS, OLD = "1884d074", "0badcafe", "deadbeef"


def marks(run: str, root: Path | None) -> Labels:
    """The labels of a run of `gateway`; without a root as an older version has made it."""
    found = {
        labels.RUN: run,
        labels.SERVICE: "gateway",
        labels.TIER: "integration",
        labels.OWNER: str(Owner.of(os.getpid())),
        labels.CREATED: "2026-11-30T06:00:00+00:00",
    }
    return found | ({labels.ROOT: str(root)} if root is not None else {})


class Labelled(Engine):
    """An engine that knows labels, and one Redis for each run, its port 6379 at the host's 1."""

    def __init__(self, *networks: Labels, kept_up: tuple[Labels, ...] = ()) -> None:
        self.url = "unix:///nowhere"
        self.rows = networks
        self.markers = kept_up

    def networks(self, labels: Mapping[str, str] | None = None) -> tuple[Resource, ...]:
        return tuple(Resource(name="x", id="x", labels=one) for one in self.rows)

    def volumes(self, labels: Mapping[str, str] | None = None) -> tuple[Resource, ...]:
        return tuple(Resource(name=kept.marker(one[RUN]), id="", labels=one) for one in self.markers)

    def containers(self, labels: Mapping[str, str] | None = None, *, external: bool = False) -> tuple[Container, ...]:
        asked = (labels or {}).get(RUN, "")
        return tuple(
            Container(
                id="1",
                name=f"gateway-redis-{one[RUN]}",
                state="running",
                created="",
                labels={**one, COMPONENT: "redis"},
                host_ports=(1,),
                external=False,
            )
            for one in self.rows
            if asked in ("", one[RUN])
        )

    def state(self, container: str) -> ContainerState | None:
        return ContainerState(id="1", status="running", exit_code=0, oom_killed=False, error="", ports={6379: 1})


def up(run: str, root: Path | None) -> Labels:
    return marks(run, root) | {KEPT: "infra.up"}


@pytest.fixture
def two() -> Engine:
    """A stack that is up of each of two folders, and one of an older version."""
    each = (up(OURS, HERE), up(THEIRS, ELSEWHERE), up(OLD, None))
    return Labelled(marks(OURS, HERE), marks(THEIRS, ELSEWHERE), marks(OLD, None), kept_up=each)


def found(engine: Engine, root: Path, run: str = "") -> str:
    return status.one_run(engine, load(CATALOG), root, "" if run else "gateway", "integration", run).run


def test_by_service_a_stack_is_found_from_its_own_folder_only(two: Engine) -> None:
    assert (found(two, HERE), found(two, ELSEWHERE)) == (OURS, THEIRS)
    with pytest.raises(NotReady, match="no stack of gateway integration is up") as caught:
        found(two, Path("/home/third"))
    for whose in (f"run {THEIRS} is that of {ELSEWHERE}", f"run {OLD} is that of an unknown folder", "--run names it"):
        assert whose in caught.value.message


@pytest.mark.parametrize("run", [OURS, THEIRS, OLD])
def test_by_its_name_a_run_is_found_from_anywhere(two: Engine, run: str) -> None:
    assert found(two, Path("/home/third"), run) == run


def test_what_is_ended_by_service_is_of_this_folder(two: Engine) -> None:
    ours, others = status.in_reach(sweep.runs(two), HERE, "")
    assert ([one.run for one in ours], {one.run for one in others}) == ([OURS], {THEIRS, OLD})


def test_a_run_that_goes_on_is_told_apart_and_the_marker_of_an_older_version_tells_too() -> None:
    going = Labelled(marks(OURS, HERE), marks(OLD, None), kept_up=(up(OLD, ELSEWHERE),))
    assert {one.run: one.root for one in sweep.runs(going)} == {OURS: str(HERE), OLD: str(ELSEWHERE)}


def test_what_a_run_makes_carries_its_folder() -> None:
    connection = Connection(url="unix:///nowhere", origin="CONTAINER_HOST")
    held = Lease(
        run=OURS,
        service="gateway",
        tier="integration",
        owner=Owner.of(os.getpid()),
        connection=connection,
        engine=Engine(connection.url),
        version="4.3.1",
        root=HERE,
    )
    assert held.labels()[labels.ROOT] == held.labels("redis")[labels.ROOT] == str(HERE)


def test_folders_that_are_links_to_one_are_one(tmp_path: Path) -> None:
    (tmp_path / "real" / "infra" / "catalog").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert settings.read(tmp_path / "link", {}).root == (tmp_path / "real").resolve()


def test_status_asks_no_probe_of_another_folder_and_says_whose_it_is(two: Engine) -> None:
    """Nothing listens at the port: what is asked is not ready."""
    catalog = load(CATALOG)
    shown = {one.run: status.describe(two, catalog, HERE, one) for one in sweep.runs(two)}
    assert {run: one["root"] for run, one in shown.items()} == {OURS: str(HERE), THEIRS: str(ELSEWHERE), OLD: None}
    redis = {run: one["components"][0] for run, one in shown.items()}
    assert {run: one["ready"] for run, one in redis.items()} == {OURS: False, THEIRS: None, OLD: None}
    assert (redis[OURS]["ports"], redis[THEIRS]["ports"]) == ({"redis": 1}, {"6379": 1})


def test_the_doctor_wants_ports_that_a_stack_of_another_folder_may_hold(two: Engine) -> None:
    wanted = wants.of(load(CATALOG), "gateway", "integration")
    assert "gateway integration is up" in fixed_ports(two, HERE, wanted, asked=True).seen
    assert "is up" not in fixed_ports(two, Path("/home/third"), wanted, asked=True).seen
