"""The report and the files of the run directory: one set of facts, five ways to write it."""

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from given import CAUSE, DIED, PASSED, STEPS, SUITE

from infra.errors import Blame, Cause, Internal, Interrupted, Invalid, NoImage, NotReady, Outcome, SuiteFailed
from infra.report import Case, Report, StepResult, SuiteResult, critical_path
from infra.reporters.files import FilesReporter, diagnosis, junit, trace, traceparent
from infra.watch import Recorder, Reporter, Reporters

HANGS = replace(
    PASSED,
    outcome=Outcome.FAILED,
    blame="test",
    exit_code=1,
    suite=None,
    steps=(*STEPS[:4], replace(STEPS[4], status="failed", cause=replace(CAUSE, reference="suite-hung", step="suite"))),
    cause=replace(CAUSE, reference="suite-hung", step="suite"),
)


def step(name: str, start: float, end: float) -> StepResult:
    return StepResult(name=name, status="passed", start_s=start, duration_s=end - start)


def path_of(*steps: StepResult) -> list[str]:
    return [one.name for one in critical_path(steps)]


def test_the_critical_path_is_the_chain_that_the_duration_is_made_of() -> None:
    assert path_of(step("a", 0, 1), step("b", 1, 3), step("c", 3, 4)) == ["a", "b", "c"]


def test_of_images_that_overlap_only_the_last_is_on_the_path() -> None:
    images = (step("redis", 1, 4), step("postgres", 1, 9.5), step("datastorage", 2, 8))
    assert path_of(step("engine", 0, 1), *images, step("start", 9.5, 11)) == ["engine", "postgres", "start"]


def test_an_image_that_waited_for_its_base_has_the_base_before_it() -> None:
    images = (step("base", 0, 5), step("built on base", 5.0005, 9), step("other", 0, 8))
    assert path_of(*images, step("start", 9, 10)) == ["base", "built on base", "start"]


def test_a_gap_between_steps_does_not_break_the_path() -> None:
    assert path_of(step("a", 0, 1), step("b", 3, 4), step("c", 9, 10)) == ["a", "b", "c"]


def test_the_order_of_recording_does_not_matter() -> None:
    steps = (step("c", 3, 4), step("a", 0, 1), step("b", 1, 3))
    assert path_of(*steps) == path_of(*reversed(steps)) == ["a", "b", "c"]


def test_steps_without_a_duration_end_the_path_and_not_the_program() -> None:
    assert path_of() == []
    assert sorted(path_of(step("a", 0, 0), step("b", 0, 0), step("c", 1, 1))) == ["a", "b", "c"]


def test_the_path_of_the_whole_report() -> None:
    said = PASSED.as_json()["critical_path"]
    assert said == [
        {"name": "engine", "duration_s": 0.5},
        {"name": "image postgres", "duration_s": 9.5},
        {"name": "postgres", "duration_s": 2.25},
        {"name": "suite", "duration_s": 4.0},
    ]


@pytest.mark.parametrize("report", [PASSED, DIED, HANGS, replace(PASSED, engine=None, steps=(), suite=None)])
def test_report_json_has_all_fields_of_the_contract(report: Report) -> None:
    said = json.loads(json.dumps(report.as_json()))
    wanted = {"schema", "engine", "run", "service", "tier", "outcome", "blame", "exit_code", "started", "duration_s"}
    assert wanted | {"steps", "critical_path", "suite", "cause", "left_behind"} <= said.keys()
    if report.engine:
        assert {"version", "rootless", "runtime", "host", "workarounds"} <= said["engine"].keys()
    for one in said["steps"]:
        assert {"name", "status", "start_s", "duration_s", "polls", "cause"} <= one.keys()
    if report.suite:
        assert {"tests", "passed", "failed", "skipped", "duration_s"} <= said["suite"].keys()
    if report.cause:
        assert {"reference", "step", "message", "remedy", "evidence"} <= said["cause"].keys()
    assert said["left_behind"] == []


def test_report_json_holds_the_facts() -> None:
    said = json.loads(json.dumps(DIED.as_json()))
    assert (said["outcome"], said["blame"], said["exit_code"]) == ("not-ready", "infrastructure", 75)
    assert said["cause"]["step"] == "postgres"
    assert said["steps"][3]["cause"]["reference"] == "component-died"
    assert said["steps"][3]["polls"] == 7
    assert said["engine"]["workarounds"] == ["no systemd"]


@pytest.mark.parametrize(
    ("error", "outcome", "code", "blame"),
    [
        (Invalid("m", reference="r"), "invalid", 78, "user"),
        (NotReady("m", reference="r"), "not-ready", 75, "infrastructure"),
        (NotReady("m", reference="r", blame="product"), "not-ready", 75, "product"),
        (NoImage("m", reference="r"), "no-image", 74, "infrastructure"),
        (SuiteFailed("m", reference="r"), "failed", 1, "test"),
        (Internal("m", reference="r"), "internal", 70, "infrastructure"),
        (Interrupted(2), "interrupted", 130, "user"),
        (Interrupted(15), "interrupted", 143, "user"),
        (Interrupted(1), "interrupted", 129, "user"),
    ],
)
def test_every_way_to_end_has_its_word_and_its_exit_code(
    error: Invalid | Interrupted, outcome: str, code: int, blame: Blame
) -> None:
    assert (str(error.outcome), error.exit_code, error.blame) == (outcome, code, blame)


def test_the_sentence_is_one_line_that_says_all() -> None:
    assert PASSED.sentence() == ("passed: 2 passed in 3.5 s; nothing left behind (run 1884d074, 16.2 s, exit code 0)")
    assert DIED.sentence() == "not-ready; nothing left behind (run 1884d074, 12.2 s, exit code 75)"
    left = replace(PASSED, outcome=Outcome.INTERNAL, exit_code=70, left_behind=("container a", "network b"))
    assert "LEFT BEHIND: container a, network b" in left.sentence()
    assert "nothing left behind" not in left.sentence()
    kept = replace(DIED, kept=True)
    assert "the stack stays up as run 1884d074" in kept.sentence()


# junit.xml


def counted(text: str) -> ElementTree.Element:
    """Parse, and hold every suite's attributes against what it contains, as CI systems do."""
    root = ElementTree.fromstring(text)
    for one in root.iter("testsuite"):
        assert int(one.get("tests", "-1")) == len(one.findall("testcase"))
        assert int(one.get("failures", "0")) == len(one.findall("testcase/failure"))
        assert int(one.get("errors", "0")) == len(one.findall("testcase/error"))
        assert int(one.get("skipped", "0")) == len(one.findall("testcase/skipped"))
    return root


def broken(root: ElementTree.Element) -> list[str]:
    return [case.get("name", "") for case in root.iter("testcase") if case.find("failure") is not None] + [
        case.get("name", "") for case in root.iter("testcase") if case.find("error") is not None
    ]


def test_junit_of_a_run_that_passed_has_nothing_red() -> None:
    root = counted(junit(PASSED))
    assert [one.get("name") for one in root] == ["notification.integration.stack", "notification.integration"]
    assert broken(root) == []


def test_junit_of_tests_that_failed_has_each_with_its_message_and_the_step_only_once() -> None:
    cases = (
        Case(name="a", state="passed", duration_s=0.25),
        Case(name="b", state="failed", message="Expected\n  1", location="/w/x_test.go:7"),
        Case(name="c", state="skipped", message="pending"),
        Case(name="[set-up] BeforeSuite", state="failed", message="no", setup=True),
    )
    report = replace(HANGS, suite=SuiteResult(cases=cases, duration_s=1.0))
    root = counted(junit(report))
    assert broken(root) == ["b", "[set-up] BeforeSuite"]
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "Expected 1"
    assert failure.text == "Expected\n  1\n/w/x_test.go:7"


def test_junit_of_a_component_that_died_names_it() -> None:
    root = counted(junit(DIED))
    assert broken(root) == ["postgres"]
    error = root.find(".//error")
    assert error is not None
    assert error.get("type") == "component-died"
    assert error.text == "LOG: starting\nFATAL: out of [red]disk[/red]"


def test_junit_of_a_suite_without_a_report_is_red() -> None:
    assert broken(counted(junit(HANGS))) == ["suite"]


def test_junit_of_a_suite_that_failed_without_a_failed_test_is_red() -> None:
    assert broken(counted(junit(replace(HANGS, suite=SUITE)))) == ["suite"]


def test_junit_of_a_run_that_failed_outside_of_any_step_is_red() -> None:
    cause = Cause(reference="catalogue", step=None, message="a.toml: x: unknown key", remedy="edit a.toml")
    report = replace(PASSED, outcome=Outcome.INVALID, exit_code=78, steps=(), suite=None, cause=cause)
    root = counted(junit(report))
    assert broken(root) == ["run"]


def test_junit_leaves_out_what_xml_cannot_hold_and_keeps_the_rest() -> None:
    message = '\x1b[31mred\x1b[0m \x00\x08 <b> & "q" ]]> é ✓ 🚀 \ufffe \ud800 tab\t'
    case = Case(name=f"n {message}", state="failed", message=message)
    root = counted(junit(replace(PASSED, suite=SuiteResult(cases=(case,), duration_s=1.0))))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.startswith('[31mred[0m  <b> & "q" ]]> é ✓ 🚀   tab')


# trace.json


def test_the_trace_is_otlp_with_one_span_a_step_below_the_runs() -> None:
    said = json.loads(json.dumps(trace(PASSED)))
    spans = said["resourceSpans"][0]["scopeSpans"][0]["spans"]
    root, *steps = spans
    assert [one["name"] for one in steps] == [one.name for one in STEPS]
    assert all(re.fullmatch(r"[0-9a-f]{32}", one["traceId"]) for one in spans)
    assert all(re.fullmatch(r"[0-9a-f]{16}", one["spanId"]) for one in spans)
    assert len({one["traceId"] for one in spans}) == 1
    assert len({one["spanId"] for one in spans}) == len(spans)
    assert "parentSpanId" not in root
    assert {one["parentSpanId"] for one in steps} == {root["spanId"]}


def test_the_trace_has_real_times_in_nanoseconds_as_strings() -> None:
    spans = trace(PASSED)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    started = datetime.fromisoformat(PASSED.started).timestamp()
    for span, (start, end) in zip(spans, [(0.0, 16.25), *((one.start_s, one.end_s) for one in STEPS)], strict=True):
        assert isinstance(span["startTimeUnixNano"], str)
        assert int(span["startTimeUnixNano"]) / 1e9 == pytest.approx(started + start, abs=1e-3)
        assert int(span["endTimeUnixNano"]) / 1e9 == pytest.approx(started + end, abs=1e-3)


def test_a_failed_step_and_its_run_have_the_error_status() -> None:
    spans = trace(DIED)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["name"] for span in spans if span["status"]["code"] == 2] == ["notification integration", "postgres"]


def test_the_header_that_a_suite_gets_names_the_suites_span() -> None:
    spans = trace(PASSED)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    suite = next(span for span in spans if span["name"] == "suite")
    assert traceparent("1884d074", "suite") == f"00-{suite['traceId']}-{suite['spanId']}-01"


# diagnosis.md, and the files as files


def test_the_diagnosis_says_what_why_and_what_to_do() -> None:
    text = diagnosis(DIED)
    assert text.startswith("# not-ready: postgres: the container exited with code 1: FATAL")
    assert "- blame: infrastructure\n" in text
    assert "- to do: look at logs/postgres.log\n" in text
    assert "    LOG: starting\n    FATAL: out of [red]disk[/red]\n" in text
    assert "| postgres | failed | 2.25 |" in text


def test_a_run_that_passed_has_no_diagnosis(tmp_path: Path) -> None:
    FilesReporter(tmp_path / "new", str).run_finished(PASSED)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["junit.xml", "report.json", "trace.json"]


def test_secrets_are_in_none_of_the_files(tmp_path: Path) -> None:
    def leak(text: str) -> str:
        return f"{text}: password=s3cret"

    cause = Cause(
        reference="x", step="postgres", message=leak("m"), remedy=leak("r"), evidence=(leak("e1"), leak("e2"))
    )
    case = Case(name=leak("name"), state="failed", message=leak("message"), location=leak("location"))
    steps = tuple(replace(one, note=leak("note"), status="failed", cause=cause) for one in STEPS)
    report = replace(DIED, cause=cause, steps=steps, suite=SuiteResult(cases=(case,), duration_s=1.0))
    report = replace(report, notes=(leak("note"),), left_behind=(leak("container"),))
    FilesReporter(tmp_path, lambda text: text.replace("s3cret", "********")).run_finished(report)
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["diagnosis.md", "junit.xml", "report.json", "trace.json"]
    for path in files:
        assert "s3cret" not in path.read_text()
    assert json.loads((tmp_path / "report.json").read_text())["cause"]["message"] == "m: password=********"


# The recorder, watched by a reporter of ours.


class Diary(Reporter):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(f"note {text}")

    def step_started(self, name: str) -> None:
        self.told.append(f"start {name}")

    def step_finished(self, step: StepResult) -> None:
        self.told.append(f"{step.status} {step.name}")


def test_each_reporter_is_told_of_each_step_in_order() -> None:
    one, two = Diary(), Diary()
    recorder = Recorder(Reporters([one, Reporter(), two]))
    with recorder.step("outer"), recorder.step("inner") as handle:
        handle.polls, handle.note = 3, "seen"
    recorder.note("by the way")
    assert one.told == two.told
    assert one.told == ["start outer", "start inner", "passed inner", "passed outer", "note by the way"]
    assert [(done.name, done.polls, done.note) for done in recorder.steps] == [("inner", 3, "seen"), ("outer", 0, "")]
    assert recorder.notes == ["by the way"]


def test_an_error_of_ours_gets_the_steps_name_once_and_is_its_cause() -> None:
    recorder = Recorder(Diary())
    with pytest.raises(NotReady) as raised, recorder.step("outer"), recorder.step("postgres"):
        raise NotReady("no", reference="r")
    assert raised.value.step == "postgres"
    inner, outer = recorder.steps
    assert (inner.status, outer.status) == ("failed", "failed")
    assert inner.cause is not None
    assert outer.cause is not None
    assert (inner.cause.step, outer.cause.step) == ("postgres", "postgres")


def test_an_interrupted_step_is_not_a_failed_one() -> None:
    diary = Diary()
    recorder = Recorder(diary)
    with pytest.raises(Interrupted), recorder.step("redis"):
        raise Interrupted(2)
    assert recorder.steps[0].status == "interrupted"
    assert recorder.steps[0].cause is None
    with pytest.raises(ZeroDivisionError), recorder.step("bug"):
        raise ZeroDivisionError
    assert diary.told[-1] == "failed bug"
