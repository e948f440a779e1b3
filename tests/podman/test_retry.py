"""`--retry-infra`: a run is repeated when the infrastructure has ended it and no test has failed, and it says so."""

from __future__ import annotations

import os
import signal
from xml.etree import ElementTree

import pytest
from faults import component, small_project
from product import Done, Podman, Project, new_run

TESTS = {
    "once": """
        def test_a(): assert True
        def test_b():
            if first_time("once"):
                kill("redis"); time.sleep(20)
        """,
    "always": """
        def test_a():
            kill("redis"); time.sleep(20)
        """,
    "failing": """
        def test_a(): assert False
        def test_b():
            kill("redis"); time.sleep(20)
        """,
    "red": "def test_a(): assert False",
    "green": "def test_a(): assert True",
    "jobless": "def test_a(): assert True",
    "imageless": "def test_a(): assert True",
}


@pytest.fixture(scope="module")
def small_ones(warm: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    job = component("echo ERROR: no such table; exit 3", kind="job")
    nowhere = component("true", kind="job").replace("docker.io/library/redis:7-alpine", "127.0.0.1:1/no-such-thing:1")
    stacks = {"jobless": ["redis", "job"], "imageless": ["nowhere"]}
    components = {"job": job, "nowhere": nowhere}
    return small_project(tmp_path_factory.mktemp("retry"), TESTS, components=components, stacks=stacks)


def run(small_ones: Project, service: str, *words: str, **env: str | None) -> Done:
    return small_ones.invoke("suite.run", "--service", service, *words, **env)


def told(done: Done) -> list[str]:
    return [line.strip() for line in done.lines if "attempt" in line or "not repeated" in line]


@pytest.fixture(scope="module")
def flaky(small_ones: Project) -> tuple[str, Done]:
    """A run whose Redis is killed in its first attempt, with the catalogue's own ports."""
    name = new_run()
    return name, run(small_ones, "once", "--run", name, "--retry-infra", "2")


def test_a_dependency_that_dies_before_any_test_fails_is_another_attempt(
    small_ones: Project, flaky: tuple[str, Done], podman: Podman
) -> None:
    first, done = flaky
    assert done.code == 0, done.text
    last = small_ones.report()
    assert (last["outcome"], last["attempt"], last["most_attempts"], last["retry_of"]) == ("passed", 2, 3, first)
    assert [(one["run"], one["outcome"], one["reference"]) for one in last["attempts"]] == [
        (first, "not-ready", small_ones.report(first)["cause"]["reference"]),
        (last["run"], "passed", None),
    ]
    assert all(one["duration_s"] > 0 for one in last["attempts"])
    assert last["flaky"] is True
    assert podman.left_of(first) + podman.left_of(last["run"]) == []


def test_a_pass_at_the_second_attempt_looks_like_none_at_the_first(
    small_ones: Project, flaky: tuple[str, Done]
) -> None:
    first, done = flaky
    again, end = told(done)
    last = small_ones.report()
    why = small_ones.report(first)["cause"]["reference"]
    assert again.startswith(f"attempt 1 of 3 (run {first}) was ended by the infrastructure (redis: {why})"), again
    assert f"repeated as run {last['run']}" in again
    assert end.startswith(f"passed only at attempt 2 of 3 (run {first} {why}): 2 passed"), end
    root = ElementTree.parse(small_ones.runs / last["run"] / "junit.xml").getroot()
    said = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert said == {
        "infra.attempt": "2",
        "infra.most_attempts": "3",
        "infra.retry_of": first,
        "infra.flaky": "true",
    }


def test_the_first_attempt_keeps_its_own_folder_and_its_evidence(small_ones: Project, flaky: tuple[str, Done]) -> None:
    first, _ = flaky
    report = small_ones.report(first)
    assert (report["attempt"], report["goes_again"], report["retry_of"]) == (1, True, None)
    assert (report["outcome"], report["blame"], report["cause"]["step"]) == ("not-ready", "infrastructure", "redis")
    folder = small_ones.runs / first
    assert "Ready to accept connections" in (folder / "logs" / "redis.log").read_text()
    page = (folder / "diagnosis.md").read_text()
    assert "## Attempt 1 of 3\n\nIt is repeated." in page
    assert "redis: exited with code 137" in page


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ("failing", "1 of its tests had failed by then"),
        ("red", "the blame is test"),
        ("jobless", "the blame is product"),
    ],
)
def test_what_a_test_or_the_product_has_done_is_not_repeated(small_ones: Project, service: str, why: str) -> None:
    done = run(small_ones, service, "--ports", "auto", "--retry-infra", "3")
    assert told(done) == [f"not repeated: {why}"], done.text
    report = small_ones.report()
    assert (report["attempt"], len(report["attempts"]), report["goes_again"]) == (1, 1, False)


def test_it_is_repeated_no_more_often_than_was_asked_for_and_only_the_last_is_kept(
    small_ones: Project, podman: Podman
) -> None:
    first = new_run()
    done = run(small_ones, "always", "--run", first, INFRA_RETRY_INFRA="1", INFRA_KEEP="1")
    last = small_ones.report()
    try:
        assert done.code == 75, done.text
        assert (last["outcome"], last["attempt"], last["retry_of"], last["kept"]) == ("not-ready", 2, first, True)
        assert "not-ready at attempt 2 of 2" in done.lines[-1]
        assert not small_ones.report(first)["kept"]
        assert podman.left_of(first) == []
        assert podman.names(last["run"]) == [f"always-redis-{last['run']}"]
    finally:
        small_ones.invoke("infra.down", "--run", last["run"])
    assert podman.left_of(last["run"]) == []


def test_without_the_word_nothing_is_repeated_and_nothing_said(small_ones: Project) -> None:
    done = run(small_ones, "always", "--ports", "auto")
    assert (done.code, told(done)) == (75, []), done.text
    report = small_ones.report()
    assert (report["attempt"], report["most_attempts"], report["goes_again"]) == (1, 1, False)
    assert "infra.attempt" not in (small_ones.runs / report["run"] / "junit.xml").read_text()


def test_a_clean_pass_says_nothing_of_attempts(small_ones: Project) -> None:
    done = run(small_ones, "green", "--ports", "auto", "--retry-infra", "1")
    assert (done.code, told(done)) == (0, []), done.text
    assert small_ones.report()["flaky"] is False


@pytest.mark.parametrize("number", ["-1", "11", "two", "1.5"])
def test_a_number_that_is_none_is_one_message(small_ones: Project, number: str) -> None:
    for done, where in (
        (run(small_ones, "green", f"--retry-infra={number}"), "--retry-infra"),
        (run(small_ones, "green", INFRA_RETRY_INFRA=number), "INFRA_RETRY_INFRA"),
    ):
        assert done.code == 78, done.text
        (line,) = [line for line in done.text.splitlines() if line.startswith("invalid: ")]
        assert line.startswith(f'invalid: {where} is how often a run may be repeated, 0 to 10, not "{number}"; to do: ')


def test_a_signal_between_two_attempts_ends_it(small_ones: Project) -> None:
    """Nobody listens there and there is no recipe: an attempt is over at once, and the next one waits a moment."""
    words = ("suite.run", "--service", "imageless", "--retry-infra", "5")
    with small_ones.going(*words) as going:
        going.says("it is repeated as run")
        os.kill(going.process.pid, signal.SIGTERM)
        assert going.ends(20) == 143, going.text
    assert "Traceback" not in going.text
    assert small_ones.report(going.run)["outcome"] == "no-image"
