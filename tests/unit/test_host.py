"""Small pure parts around the engine: the host's workarounds, registries' answers, the image cache, build logs."""

import tomllib
from pathlib import Path

import pytest

from infra import labels
from infra.build import output_of_failing_step
from infra.cache import doomed, is_cached
from infra.engine import host
from infra.engine.host import HostFacts
from infra.engine.types import ContainerState, Image
from infra.registry import classify


def facts(
    *,
    hybrid: bool = False,
    v1: bool = False,
    systemd: bool = True,
    runc: bool = True,
    low: dict[str, int] | None = None,
) -> HostFacts:
    return HostFacts(hybrid_cgroups=hybrid, cgroups_v1=v1, systemd=systemd, runc=runc, low_limits=low or {})


@pytest.mark.parametrize(
    ("seen", "conf", "sentences"),
    [
        (facts(), {}, 0),
        (facts(v1=True), {}, 0),
        (facts(hybrid=True, v1=True), {"engine": {"runtime": "runc"}}, 1),
        (facts(hybrid=True, runc=False), {}, 0),
        (facts(systemd=False), {"engine": {"cgroup_manager": "cgroupfs", "events_logger": "file"}}, 1),
        (
            facts(low={"nofile": 4096, "nproc": 512}),
            {"containers": {"default_ulimits": ["nofile=4096:4096", "nproc=512:512"]}},
            1,
        ),
        (
            facts(hybrid=True, systemd=False, low={"nofile": 1024}),
            {
                "engine": {"runtime": "runc", "cgroup_manager": "cgroupfs", "events_logger": "file"},
                "containers": {"default_ulimits": ["nofile=1024:1024"]},
            },
            3,
        ),
    ],
)
def test_a_host_gets_what_it_needs_and_the_report_a_sentence_for_each(
    seen: HostFacts, conf: dict[str, object], sentences: int
) -> None:
    made, said = host.overrides(seen)
    assert made == conf
    assert len(said) == sentences


def test_the_sentences_name_the_cause() -> None:
    said = " ".join(host.overrides(facts(hybrid=True, systemd=False, low={"nofile": 1024}))[1])
    assert all(word in said for word in ("hybrid cgroups", "runc", "systemd", "nofile=1024:1024"))


def test_this_host_can_be_looked_at() -> None:
    seen = host.facts()
    assert seen.low_limits.keys() <= {"nofile", "nproc"}
    assert not (seen.hybrid_cgroups and not seen.cgroups_v1)


def test_what_a_user_has_configured_stays_and_ours_comes_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs.conf"
    theirs.write_text('[engine]\nruntime = "crun"\nimage_parallel_copies = 3\n[network]\nfirewall_driver = "none"\n')
    monkeypatch.setenv("CONTAINERS_CONF", str(theirs))
    before = theirs.read_bytes()
    host.write_configuration(tmp_path / "ours.conf", {"engine": {"runtime": "runc"}, "containers": {"tz": "local"}})
    assert tomllib.loads((tmp_path / "ours.conf").read_text()) == {
        "engine": {"runtime": "runc", "image_parallel_copies": 3},
        "network": {"firewall_driver": "none"},
        "containers": {"tz": "local"},
    }
    assert theirs.read_bytes() == before


def test_a_configuration_that_cannot_be_read_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.conf").write_text("[engine")
    for name in ("theirs.conf", "nowhere.conf"):
        monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / name))
        host.write_configuration(tmp_path / "ours.conf", {"engine": {"runtime": "runc"}})
        assert tomllib.loads((tmp_path / "ours.conf").read_text()) == {"engine": {"runtime": "runc"}}


# Podman's words, 4.3.1 and 5.4.2.
PING = 'pinging container registry registry-1.docker.io: Get "https://registry-1.docker.io/v2/": '
UNREACHABLE = (
    PING + "dial tcp: lookup registry-1.docker.io: no such host",
    PING + "dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: server misbehaving",
    PING + "dial tcp: lookup registry-1.docker.io: Temporary failure in name resolution",
    PING + "dial tcp 127.0.0.1:5000: connect: connection refused",
    PING + "dial tcp 192.0.2.1:443: i/o timeout",
    PING + "dial tcp 192.0.2.1:443: connect: network is unreachable",
    PING + "dial tcp 192.0.2.1:443: connect: no route to host",
    PING + "read tcp 10.0.0.2:53412->192.0.2.1:443: read: connection reset by peer",
    PING + "x509: certificate signed by unknown authority",
    PING + "tls: failed to verify certificate: x509: certificate is not trusted",
    PING + "context deadline exceeded",
    PING + "EOF",
    PING + "Forbidden: received unexpected HTTP status: 403 Forbidden",
    "received unexpected HTTP status: 503 Service Unavailable",
)
ANSWERED = (
    "reading manifest nosuchtag in docker.io/library/redis: manifest unknown",
    "reading manifest 7-alpine in quay.io/x/y: unauthorized: access to the requested resource is not authorized",
    "toomanyrequests: You have reached your pull rate limit.",
    "requested access to the resource is denied",
    "unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password",
)


@pytest.mark.parametrize("said", UNREACHABLE)
def test_a_registry_that_cannot_be_reached_is_one_that_does_not_answer(said: str) -> None:
    assert classify(125, f"WARN[0000] something\nError: {said}\n") == f"Error: {said}"


@pytest.mark.parametrize("said", ANSWERED)
def test_a_registry_that_says_no_has_answered(said: str) -> None:
    assert classify(125, f"Error: {said}\n") is None


def test_a_registry_that_knows_the_image_has_answered_whatever_was_warned_of() -> None:
    assert classify(0, "WARN[0000] mirror: connection refused") is None


# The image cache

DAY = 24 * 3600
NOW = 100 * DAY


def image(name: str, age_days: float, size: int = 10) -> Image:
    return Image(id=name, tags=(f"localhost/{name}:cache",), labels={}, created=int(NOW - age_days * DAY), size=size)


def gone(*images: Image, max_age_days: float = 30, max_bytes: float = 1000) -> tuple[str, ...]:
    return tuple(one.id for one in doomed(images, now=NOW, max_age_s=max_age_days * DAY, max_bytes=max_bytes))


def test_images_that_are_young_and_small_stay() -> None:
    assert gone(image("a", 0), image("b", 29.9)) == ()


def test_images_beyond_the_age_go() -> None:
    assert gone(image("a", 30.1), image("b", 1), image("c", 99)) == ("a", "c")


def test_beyond_the_size_the_oldest_go_whatever_order_they_come_in() -> None:
    images = (image("old", 3, 50), image("new", 1, 60), image("middle", 2, 40))
    assert gone(*images, max_bytes=100) == ("old",)
    assert gone(*reversed(images), max_bytes=99) == ("middle", "old")


@pytest.mark.parametrize(
    ("tags", "is_one"),
    [
        (("localhost/redis:0123456789ab",), True),
        (("localhost/redis:0123456789ab", "localhost/redis:notification-01234567"), False),
        (("localhost/redis:0123456789ab", "localhost/mine:1"), False),
        (("localhost/mine:0123456789ab",), False),
        ((), False),  # built on one of ours, it has our labels
    ],
)
def test_an_image_is_of_the_cache_by_all_of_its_names(tags: tuple[str, ...], is_one: bool) -> None:
    assert is_cached(Image(id="a", tags=tags, labels={labels.IMAGE: "redis"}, created=0, size=0)) is is_one


def test_nothing_is_allowed_means_nothing_stays() -> None:
    assert gone(image("a", 0), image("b", 0), max_bytes=0) == ("a", "b")


# Build logs

LOG = (
    "[1/2] STEP 1/3: FROM docker.io/library/golang:1.25-trixie AS build",
    "[1/2] STEP 2/3: COPY . .",
    "--> 0123456789ab",
    "[1/2] STEP 3/3: RUN go build ./cmd/x",
    "cmd/x/main.go:7:2: undefined: y",
    'Error: building at STEP "RUN go build ./cmd/x": while running runtime: exit status 1',
)


def test_the_failing_build_step_is_the_last_that_began_and_its_output_is_all_that_is_shown() -> None:
    assert output_of_failing_step(LOG) == LOG[3:]


def test_a_build_of_one_stage_is_understood_too() -> None:
    log = ("STEP 1/2: FROM scratch", "STEP 2/2: COPY nothing /", "Error: no such file")
    assert output_of_failing_step(log) == log[1:]


def test_a_build_that_never_began_is_told_by_its_error() -> None:
    log = ("Trying to pull x...", "Error: creating build container: manifest unknown", "")
    assert output_of_failing_step(log) == log
    assert output_of_failing_step(()) == ()


def test_a_long_step_shows_its_end() -> None:
    log = ("STEP 1/1: RUN loop", *(f"line {number}" for number in range(1000)))
    shown = output_of_failing_step(log)
    assert len(shown) < 50
    assert shown[-1] == "line 999"


@pytest.mark.parametrize(
    ("status", "dead"), [("exited", True), ("stopped", True), ("running", False), ("created", False)]
)
def test_a_container_is_dead_when_it_ran_and_ended(status: str, dead: bool) -> None:
    state = ContainerState(id="1", status=status, exit_code=0, oom_killed=False, error="", ports={})
    assert state.dead is dead
