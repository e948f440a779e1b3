"""What is worth another attempt, and what a report says of several. A table of every way to end."""

import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from given import CAUSE, DIED, PASSED, ROOT, SUITE, plan_of, settings_with

from infra import attempts, ports, retry, settings
from infra.errors import Ended, Internal, Interrupted, Invalid, NoImage, NotReady, SuiteFailed, Unavailable
from infra.report import Attempt, Case, Scene, Section
from infra.reporters.files import diagnosis, junit
from infra.request import Request
from infra.signals import Interrupts


@pytest.mark.parametrize(
    ("error", "failed", "why"),
    [
        (NotReady("m", reference="component-died"), 0, None),
        (NoImage("m", reference="registry-unreachable"), 0, None),
        (Unavailable("m", reference="engine-hangs"), 0, None),
        (NotReady("m", reference="component-died"), 2, "2 of its tests had failed by then"),
        (NotReady("m", reference="component-died"), None, "whether a test had failed is not known"),
        (NotReady("m", reference="job-failed", blame="product"), 0, "the blame is product"),
        (NotReady("m", reference="port-taken", blame="user"), 0, "the blame is user"),
        (Invalid("m", reference="catalogue"), 0, "the blame is user"),
        (SuiteFailed("m", reference="tests-failed"), 1, "the blame is test"),
        (Internal("m", reference="left-behind"), 0, "left-behind is no fault of the infrastructure"),
        (Internal("m", reference="internal"), 0, "internal is no fault of the infrastructure"),
        (Interrupted(15), 0, "it was interrupted"),
    ],
)
def test_only_the_infrastructure_before_any_test_has_failed(error: Ended, failed: int | None, why: str | None) -> None:
    said = retry.why_not(error, failed)
    assert (said is None) == (why is None)
    assert (why or "") in (said or "")


def test_a_test_that_failed_with_the_stack_is_not_one_that_had_failed() -> None:
    failed = Case(name="a", state="failed", ended_at=100.0)
    assert failed.failed_before(100.5)
    assert not failed.failed_before(99.9)
    assert failed.failed_before(None)
    assert replace(failed, ended_at=None).failed_before(1.0)
    assert not replace(failed, cut_off=True).failed_before(None)
    assert not replace(failed, state="passed").failed_before(None)


@pytest.mark.parametrize("text", ["", "-1", "11", "1.5", "two", "²"])
def test_a_number_that_is_none_is_said_with_where_it_stood(text: str) -> None:
    for where in (retry.FLAG, retry.ENV):
        with pytest.raises(Invalid, match=where):
            retry.number(text, where)


def test_nox_says_it_by_the_environment() -> None:
    assert settings.read(ROOT, {"INFRA_RETRY_INFRA": "3"}).retry_infra == 3
    assert settings.read(ROOT, {"INFRA_RETRY_INFRA": ""}).retry_infra == 0
    with pytest.raises(Invalid, match=r'INFRA_RETRY_INFRA .* not "x"'):
        settings.read(ROOT, {"INFRA_RETRY_INFRA": "x"})


FIRST = Attempt(run="aaaaaaaa", outcome="not-ready", reference="component-died", duration_s=2.0)
SECOND = Attempt(run="1884d074", outcome="passed", reference=None, duration_s=3.0)
FLAKY = replace(PASSED, attempts=(FIRST, SECOND), most_attempts=3)


def test_a_pass_that_took_two_attempts_says_so_everywhere() -> None:
    assert FLAKY.sentence().startswith("passed only at attempt 2 of 3 (run aaaaaaaa component-died): 2 passed")
    said = FLAKY.as_json()
    assert (said["attempt"], said["most_attempts"], said["retry_of"], said["flaky"]) == (2, 3, "aaaaaaaa", True)
    assert [one["run"] for one in said["attempts"]] == ["aaaaaaaa", "1884d074"]
    properties = {one.get("name"): one.get("value") for one in ElementTree.fromstring(junit(FLAKY)).iter("property")}
    assert properties["infra.flaky"] == "true"
    assert properties["infra.attempt"] == "2"


def test_a_clean_pass_is_no_flaky_one() -> None:
    clean = replace(PASSED, attempts=(SECOND,), most_attempts=3)
    assert clean.sentence() == PASSED.sentence()
    assert (clean.flaky, clean.retry_of, clean.attempt) == (False, None, 1)


def test_the_page_has_cause_remedy_evidence_and_then_the_rest() -> None:
    scene = Scene(
        sections=(Section(title="Components", lines=("postgres: exited with code 1",)),),
        missing=("the log of redis could not be had: the engine does not answer within 10 s",),
    )
    page = diagnosis(replace(DIED, scene=scene, attempts=(FIRST,), most_attempts=2, not_again="the blame is test"))
    order = (
        "# not-ready: postgres: ",
        "- to do: ",
        "## Evidence",
        "## Attempt 1 of 2",
        "It is not repeated: the blame is test.",
        "## What could not be had",
        "- the log of redis could not be had: the engine does not answer within 10 s",
        "## Components",
        "    postgres: exited with code 1",
        "## Steps",
    )
    places = [page.find(part) for part in order]
    assert places == sorted(places)
    assert places[0] == 0


def test_a_message_without_an_end_is_cut_in_the_report() -> None:
    from infra.masked_report import masked

    case = Case(name="x", state="failed", message="a" * 100_000 + "z")
    told = masked(replace(PASSED, suite=replace(SUITE, cases=(case,))), str).suite
    assert told is not None
    assert len(told.cases[0].message) < 17_000
    assert told.cases[0].message.endswith("az")


def test_a_catalogue_that_has_gone_wrong_is_not_waited_for(tmp_path: Path) -> None:
    settings_ = settings_with(tmp_path / "no catalogue", tmp_path)
    request = Request(service="notification", tier="integration", run="1884d074")
    began = time.monotonic()
    attempts._wait(settings_, request, DIED, Interrupts())
    assert time.monotonic() - began < 1


def test_the_next_attempt_waits_for_the_ports_of_its_plan(tmp_path: Path) -> None:
    made = plan_of(tmp_path)
    wanted = {port.host for step in made.steps for port in step.ports} | {port.host for port in made.suite_ports}
    assert set(ports.fixed(made)) == wanted
    assert ports.fixed(plan_of(tmp_path / "auto", ports="auto")) == ()


def test_the_cause_of_red_tests_is_in_junit_too() -> None:
    red = Case(name="writes", state="failed", message="connection refused")
    report = replace(DIED, suite=replace(SUITE, cases=(red,)), cause=replace(CAUSE, reference="localhost-refused"))
    properties = {one.get("name"): one.get("value") for one in ElementTree.fromstring(junit(report)).iter("property")}
    assert properties == {"infra.cause": "localhost-refused", "infra.blame": "infrastructure"}
    assert not list(ElementTree.fromstring(junit(PASSED)).iter("property"))
