"""The benchmark's own arithmetic, and the page it writes; no engine, no clock."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rounds
from figures import (
    DEFINITIONS,
    Row,
    duration,
    explained,
    gates_of,
    images_of,
    moment,
    page,
    passed_at,
    ratio,
    ready_at,
    table,
)
from given import ROOT

from infra import plan, settings
from infra.catalog.loading import load

REPORT: dict[str, Any] = {
    "started": "2026-11-21T14:16:14.500+00:00",
    "steps": [
        {"name": "engine", "start_s": 0.0, "duration_s": 0.5},
        {"name": "image a", "start_s": 0.5, "duration_s": 0.4},
        {"name": "image b", "start_s": 0.6, "duration_s": 0.5},
        {"name": "postgres", "start_s": 1.2, "duration_s": 1.3},
    ],
}


def test_a_ratio_is_made_round_by_round_and_its_median_counts() -> None:
    row = ratio("stack ready", [2.0, 9.0, 3.0], [2.0, 3.0, 2.0], 1.1)
    assert list(row.seen) == [1.0, 3.0, 1.5]
    assert row.median == 1.5
    assert row.met is False
    assert row.cells()[4] == "3.00 s / 2.00 s"


def test_a_goal_that_is_just_reached_is_met_and_no_goal_is_neither() -> None:
    assert Row(what="list", unit="s", seen=[0.5], goal=0.5).met is True
    assert Row(what="late", unit="ms", seen=[0.0121]).met is None
    assert Row(what="late", unit="ms", seen=[0.0121, -0.004]).cells()[2:4] == ("**4 ms**", "-4 ms to 12 ms")


def test_steps_that_overlap_count_once() -> None:
    assert duration(REPORT, images_of(REPORT)) == pytest.approx(0.6)
    assert duration(REPORT, ["engine", "postgres"]) == pytest.approx(1.8)
    assert duration(REPORT, []) == 0.0


def test_a_gate_passed_when_its_step_ended() -> None:
    assert passed_at(REPORT, "postgres") == pytest.approx(datetime(2026, 11, 21, 14, 16, 17, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T14:16:17.250000001Z 1:M ready",
        "2026-11-21T15:16:17.250+01:00 ready",
        '"2026-11-21T09:16:17.25-05:00"',
        "2026-11-21 14:16:17.250123 +0000 UTC",
    ],
)
def test_times_are_read_as_podman_and_go_write_them(text: str) -> None:
    expected = datetime(2026, 11, 21, 14, 16, 17, 250000, tzinfo=UTC).timestamp()
    assert moment(text) == pytest.approx(expected, abs=0.001)


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time"):
        moment("ready to accept connections")


def test_the_second_server_of_postgresql_is_the_one_that_is_ready() -> None:
    says = "LOG:  database system is ready to accept connections"
    log = f"2026-11-21T14:16:01Z {says}\n2026-11-21T14:16:02Z shut down\n2026-11-21T14:16:03Z {says}\n"
    assert ready_at("postgres", log) == moment("2026-11-21T14:16:03Z")
    with pytest.raises(ValueError, match="redis has not said"):
        ready_at("redis", log)


def test_the_scripts_gates_are_read_from_what_it_says() -> None:
    assert gates_of("passed postgres 1763734577.25\nnoise\npassed redis 1763734578,5\n") == {
        "postgres": 1763734577.25,
        "redis": 1763734578.5,
    }


def test_a_table_has_a_line_for_every_row_and_columns_of_one_width() -> None:
    text = table([Row(what="list", unit="s", seen=[0.2], goal=0.5), Row(what="longer than that", unit="s", seen=[9])])
    head, rule, first, second = text.splitlines()
    assert len({len(head), len(rule), len(first), len(second)}) == 1
    assert "met" in first
    assert "| <= 0.50 s |" in first


def test_a_new_page_keeps_what_was_written_by_hand() -> None:
    rows = [Row(what="nox -l", unit="s", seen=[0.9], goal=0.5), Row(what="teardown", unit="ratio", seen=[1], goal=1.2)]
    text = page(rows, {"engine": "Podman 4.3.1"}, "## Missed\n\nwhy\n", datetime(2026, 11, 21, 14, 0, tzinfo=UTC))
    assert "- date: 2026-11-21 14:00 UTC\n- engine: Podman 4.3.1\n" in text
    assert "Missed: nox -l.\n" in text
    assert DEFINITIONS in text
    assert explained(text) == "## Missed\n\nwhy\n"
    assert explained("") == ""
    assert "Every goal is met." in page(rows[1:], {}, "")


def test_the_script_gets_what_the_plan_says(tmp_path: Path) -> None:
    read = settings.read(ROOT, {})
    made = plan.make(load(read.catalog), read, service="notification", run="1884d074")
    images = {step.name: f"id-of-{step.name}" for step in made.steps}
    text = rounds.script_plan(made, images, {"owner": "me and you"}, tmp_path)
    (tmp_path / "plan.sh").write_text(text)
    asked = 'source "$1"; printf "%s\\n" "${postgres[@]}" "$postgres_asks" "${datastorage_asks[@]}" "$redis_asks"'
    done = subprocess.run(
        ["bash", "-euc", asked, "-", str(tmp_path / "plan.sh")], capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()
    assert words[:4] == ["--name", "notification-postgres-1884d074", "--label", "owner=me and you"]
    assert words[-5:] == ["18110", "/health", "200", '"status":"healthy"', "16399"]
    assert "127.0.0.1:15453:5432" in words
    assert words[words.index("id-of-postgres") :][1:3] == ["postgres", "-c"]
    assert {path.name for path in (tmp_path / "migrations" / "migrations").iterdir()} >= {"apply.sh", "order"}


def test_the_script_is_bash_and_short() -> None:
    script = ROOT / "tests" / "bench" / "stack.sh"
    subprocess.run(["bash", "-n", script], check=True)
    assert len(script.read_text().splitlines()) <= 90
