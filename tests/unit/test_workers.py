"""What parallel workers have for themselves: numbers, namespaces, variables, and the names of their databases."""

import contextlib
import dataclasses
import os
import re
import socketserver
import threading
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest
from given import CATALOG, settings_with, workspace_in
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import databases, isolation, lease, lease_names, workers
from infra.catalog.loading import load
from infra.databases import Name, parse
from infra.errors import NotReady
from infra.isolation import Shared
from infra.labels import Life, Owner
from infra.model import WorkersSpec
from infra.plan import make
from infra.workers import Worker

steady = settings(derandomize=True, deadline=None, database=None, max_examples=200)
INT32 = 2**31 - 1
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
runs = st.integers(0, 2**32 - 1).map(lambda number: f"{number:08x}")


def worker(number: int = 1, run: str = "1884d074", service: str = "shop", slot: int = 0) -> Worker:
    return Worker(number=number, run=run, service=service, slot=slot)


def test_no_two_workers_of_a_run_or_of_runs_beside_each_other_have_a_number_in_common() -> None:
    slots = [*range(125), *sorted({workers.slot_of_person(f"{run:08x}") for run in range(125)})]
    each = [worker(number, slot=slot) for slot, number in product(slots, range(1, workers.MOST + 1))]
    offsets = sorted(one.offset for one in each)
    assert len(offsets) == 250 * 64
    assert min(after - before for before, after in pairwise(offsets)) == 100_000


@steady
@given(slot=st.integers(0, 10_000), number=st.integers(1, 64))
def test_every_offset_and_all_the_numbers_behind_it_fit_an_int32(slot: int, number: int) -> None:
    offset = worker(number, slot=slot).offset
    assert 0 < offset <= INT32 - 99_999


def test_runs_that_are_alive_have_slots_of_their_own_and_the_next_takes_what_is_free() -> None:
    first, second, third = (f"{number:08x}" for number in (0xFEED0001, 0xFEED0002, 0xFEED0003))
    with lease.named(first):
        mine = lease_names.slot(first)
        with lease.named(second):
            assert lease_names.slot(second) != mine
            again = lease_names.slot(second)
        with lease.named(third):
            assert lease_names.slot(third) <= again
            assert lease_names.slot(third) != mine
            assert lease_names.slot(first) == mine


@steady
@given(run=runs, number=st.integers(1, 64), service=st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True))
def test_a_namespace_is_a_dns_label_for_every_name_that_the_catalogue_allows(
    run: str, number: int, service: str
) -> None:
    assert LABEL.fullmatch(worker(number, run, service).namespace)


def test_the_longest_namespace_fits_a_dns_label() -> None:
    longest = worker(64, service="s" * 40).namespace
    assert longest == f"{'s' * 40}-1884d074-64"
    assert len(longest) <= 63


def test_namespaces_of_runs_of_services_and_of_workers_differ() -> None:
    each = {
        worker(number, run, service).namespace
        for number, run, service in product((1, 11), ("1884d074", "1884d075"), ("a", "a-1884d074"))
    }
    assert len(each) == 8


def test_a_suite_gets_each_workers_values_with_its_number_behind_the_name() -> None:
    spec = WorkersSpec(env={"DB": "{worker.database}/{worker.redis}", "WHO": "{worker} of {run}: {{}}"})
    each = tuple(dataclasses.replace(worker(n), database=f"d{n}", redis=n + 4) for n in (1, 2))
    assert workers.environment(spec, each, {"run": "1884d074"}) == {
        "INFRA_WORKERS": "2",
        "INFRA_WORKER_NAMES": "DB,WHO",
        "DB_1": "d1/5",
        "DB_2": "d2/6",
        "WHO_1": "1 of 1884d074: {}",
        "WHO_2": "2 of 1884d074: {}",
    }


def test_a_worker_has_a_placeholder_for_what_it_has_and_for_nothing_else() -> None:
    assert set(worker().values) == {"worker", "worker.offset", "worker.namespace"}
    assert set(dataclasses.replace(worker(), database="d", redis=0).values) == {
        *worker().values,
        "worker.database",
        "worker.redis",
    }


@steady
@given(value=st.text(max_size=30))
def test_a_value_that_looks_like_a_placeholder_is_not_filled_in_again(value: str) -> None:
    spec = WorkersSpec(env={"X": "{postgres.secrets.password}"})
    hostile = f"{{run}}{value}{{worker}}"
    given_ = workers.environment(spec, (worker(),), {"postgres.secrets.password": hostile, "run": "1884d074"})
    assert given_["X_1"] == hostile


# Names of databases.


def owner(**changes: object) -> Owner:
    return dataclasses.replace(Owner.of(os.getpid()), **changes)  # type: ignore[arg-type]


def name(of: Owner | None = None, *, kind: databases.Kind = "w", created: int = 1_800_000_000, what: str = "") -> Name:
    return Name(kind=kind, owner=of or owner(), created=created, what=what or "1884d074_3")


@pytest.mark.parametrize(
    ("kind", "what", "run"),
    [("t", "0123abcd", "0123abcd"), ("w", "1884d074_64", "1884d074"), ("k", "1884d074_1", "1884d074")],
)
def test_a_name_is_taken_apart_into_what_it_was_made_of(kind: databases.Kind, what: str, run: str) -> None:
    made = name(kind=kind, what=what)
    assert parse(str(made)) == made
    assert made.run == run


OTHERS = {"host": "elsewhere", "boot": "another-boot", "namespace": "4026530000"}


@pytest.mark.parametrize("changes", [{key: OTHERS[key]} for key in OTHERS] + [OTHERS], ids=str)
def test_a_name_of_another_host_boot_or_pid_namespace_is_written_again_as_it_was(changes: dict[str, object]) -> None:
    text = str(name(owner(**changes)))
    found = parse(text)
    assert found is not None
    assert str(found) == text
    assert str(dataclasses.replace(found, kind="k")) == text.replace("infra_w_", "infra_k_")


def test_the_longest_name_fits_postgresqls_63_bytes() -> None:
    ages = Owner(host="h" * 64, boot="b" * 36, namespace="4026531836", pid=4_194_304, started="999999999999")
    mac = Owner(host="h" * 64, boot="b" * 36, namespace="none", pid=99_998, started="9999999999.99")
    for of in (ages, mac):
        text = str(name(of, created=2**32 - 1, what="ffffffff_64"))
        assert len(text.encode()) <= 63
        assert parse(text) is not None


@steady
@given(
    pid=st.integers(1, 4_194_304),
    started=st.integers(0, 10**11).map(str) | st.integers(0, 10**9).map(lambda n: f"{n}.25"),
    created=st.integers(0, 2**32 - 1),
    what=runs,
    number=st.integers(1, 64),
    host=st.text(min_size=1, max_size=64),
)
def test_any_name_is_63_plain_bytes_at_most_and_is_taken_apart(
    pid: int, started: str, created: int, what: str, number: int, host: str
) -> None:
    made = name(owner(pid=pid, started=started, host=host), created=created, what=f"{what}_{number}")
    text = str(made)
    assert re.fullmatch(r"[a-z0-9_]{1,63}", text)
    found = parse(text)
    assert found is not None
    assert str(found) == text
    assert (found.created, found.what, found.owner.pid, found.owner.started) == (created, made.what, pid, started)


def strangers() -> list[str]:
    ours = str(name())
    return [
        *("", "postgres", "template1", "action_history", "infra_", "infra_w", "infra_w_mine", "infra_test"),
        *(ours + "x", "x" + ours, ours + "\n", " " + ours, ours.upper(), ours.replace("infra_w_", "infra_x_")),
        *(
            ours.replace("_1884d074_3", tail)
            for tail in ("", "_1884d07_3", "_1884d074_", "_1884d074_3_3", "_1884D074_3")
        ),
        ours.replace("1884d074", "٣884d074"),
        ours + '"; DROP DATABASE postgres; --',
    ]


@pytest.mark.parametrize("text", strangers(), ids=range(len(strangers())))  # each process of xdist has its own pid
def test_what_carries_no_name_of_ours_is_a_strangers(text: str) -> None:
    assert parse(text) is None


@steady
@given(text=st.text(max_size=70) | st.from_regex(r"infra_[twk]_[0-9a-f]{15}_.{0,40}", fullmatch=True))
def test_whatever_is_taken_for_ours_is_plain_ascii(text: str) -> None:
    found = parse(text)
    assert found is None or re.fullmatch(r"[a-z0-9_]+", text)


@pytest.mark.parametrize(
    ("changes", "life"),
    [
        ({}, Life.ALIVE),
        ({"started": "1"}, Life.DEAD),
        ({"boot": "another-boot"}, Life.DEAD),
        ({"boot": "another-boot", "namespace": "4026530000"}, Life.DEAD),
        ({"namespace": "4026530000"}, Life.UNKNOWN),
        ({"host": "elsewhere"}, Life.UNKNOWN),
        (OTHERS, Life.UNKNOWN),
    ],
    ids=str,
)
def test_a_name_says_whether_its_owner_lives_as_far_as_can_be_seen_from_here(
    changes: dict[str, object], life: Life
) -> None:
    found = parse(str(name(owner(**changes))))
    assert found is not None
    assert found.owner.life() is life


def test_a_name_is_old_after_a_week() -> None:
    week = 7 * 24 * 3600
    assert not name(created=int(time.time()) - week + 60).is_old
    assert name(created=int(time.time()) - week - 60).is_old


class Full(socketserver.StreamRequestHandler):
    """Answers like a Redis of which other runs have all numbers: for its client none but 0 can be selected."""

    def handle(self) -> None:
        while words := self.words():
            if words[0] == b"SELECT":
                self.wfile.write(b"-ERR DB index is out of range\r\n")
            elif words[:2] == [b"CLIENT", b"LIST"]:
                rows = b"".join(b"id=%d name=infra:%d:0000000%d\n" % (n, n, n % 3) for n in range(4, 16))
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(rows), rows))
            else:
                self.wfile.write(b"+OK\r\n")

    def words(self) -> list[bytes]:
        count = self.rfile.readline()[1:]
        return [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(count or 0))]


@pytest.fixture
def full() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Full) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_where_no_number_is_free_the_command_that_needs_none_is_whole(full: int, tmp_path: Path) -> None:
    """`dev.test`, which has no `--fresh`, asks for them like this."""
    owner = Owner(host="h", boot="b", namespace="1", pid=1, started="1")
    plan = make(load(CATALOG), settings_with(CATALOG, workspace_in(tmp_path)), service="gateway")
    shared = Shared(
        plan=plan, ports={"redis": {"redis": full}}, owner=owner, run="11111111", stack="22222222", lent=True
    )
    handed_out = isolation.handed_out(shared, lambda _: False, contextlib.nullcontext, [])
    with pytest.raises(NotReady) as raised, handed_out:
        pass
    assert raised.value.message.endswith(", 0 are free; the others: runs 00000000, 00000001, 00000002")
    assert raised.value.remedy == (
        "invoke infra.status  # wait until one of them has ended; or "
        "invoke suite.run --service gateway --fresh --ports auto"
    )
