"""What the benchmark makes of its measurements: medians, ratios, moments in logs, and the page. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Unit = Literal["s", "ms", "ratio"]
# What a component's own log says when it is ready. PostgreSQL's entrypoint runs a first server: the last line counts.
READY = {
    "postgres": "database system is ready to accept connections",
    "redis": "Ready to accept connections",
    "datastorage": '"msg":"datastorage serves"',
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?\s*(Z|[+-]\d\d:?\d\d)")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. `seen` is one number a round; a row without a goal is there to explain another."""

    what: str
    unit: Unit
    seen: Sequence[float]
    goal: float | None = None
    ours: Sequence[float] = field(default=())
    theirs: Sequence[float] = field(default=())

    @property
    def median(self) -> float:
        """The middle of all rounds."""
        return statistics.median(self.seen)

    @property
    def met(self) -> bool | None:
        """Whether the goal was met, None where there is none."""
        return None if self.goal is None else self.median <= self.goal

    def cells(self) -> tuple[str, ...]:
        """Return the row as it stands in the table."""
        pair = ""
        if self.ours and self.theirs:
            pair = f"{shown(statistics.median(self.ours), 's')} / {shown(statistics.median(self.theirs), 's')}"
        goal = "" if self.goal is None else f"<= {shown(self.goal, self.unit)}"
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        spread = f"{shown(min(self.seen), self.unit)} to {shown(max(self.seen), self.unit)}"
        return (self.what, goal, f"**{shown(self.median, self.unit)}**", spread, pair, verdict)


HEAD = ("figure", "goal", "seen, median", "all rounds", "ours / theirs", "")


def ratio(what: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None) -> Row:
    """Return ours over theirs, round by round: both sides of a round met the same noise of the machine."""
    pairs = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Row(what=what, unit="ratio", seen=pairs, goal=goal, ours=ours, theirs=theirs)


def shown(value: float, unit: Unit) -> str:
    """Return a figure as a person reads it; ratios have no unit."""
    match unit:
        case "s":
            return f"{value:.2f} s"
        case "ms":
            return f"{value * 1000:.0f} ms"
        case "ratio":
            return f"{value:.2f}"


def moment(text: str) -> float:
    """Return the first time in a text, as Podman and Go write it, in seconds since the epoch. Raises ValueError."""
    found = _TIME.search(text)
    if found is None:
        raise ValueError(f"no time in {text[:80]!r}")
    day, clock, fraction, zone = found.groups()
    zone = "+00:00" if zone == "Z" else zone
    return datetime.fromisoformat(f"{day}T{clock}{zone}").timestamp() + float(f"0.{fraction or 0}")


def ready_at(component: str, log: str) -> float:
    """Return when a component's log, with the engine's times in front, says that it is ready. Raises ValueError."""
    said = [line for line in log.splitlines() if READY[component] in line]
    if not said:
        raise ValueError(f"{component} has not said {READY[component]!r}: {log[-400:]}")
    return moment(said[-1])


def passed_at(report: Mapping[str, Any], name: str) -> float:
    """Return when a step of a report ended: for a component, when its gate passed."""
    step = step_of(report, name)
    return moment(str(report["started"])) + float(step["start_s"]) + float(step["duration_s"])


def step_of(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return one step of a report."""
    return next(step for step in report["steps"] if step["name"] == name)


def duration(report: Mapping[str, Any], names: Iterable[str]) -> float:
    """Return the time that steps took by the clock: where they overlap, it counts once."""
    wanted = set(names)
    spans = sorted(
        (step["start_s"], step["start_s"] + step["duration_s"]) for step in report["steps"] if step["name"] in wanted
    )
    total, until = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def images_of(report: Mapping[str, Any]) -> list[str]:
    """Return the names of the steps that decided about an image."""
    return [step["name"] for step in report["steps"] if step["name"].startswith("image ")]


def gates_of(said: str) -> dict[str, float]:
    """Return when each gate of stack.sh passed, by what it printed: a name and a time a line."""
    lines = [line.split() for line in said.splitlines()]
    return {words[1]: float(words[2].replace(",", ".")) for words in lines if words[:1] == ["passed"]}


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a table that reads as text and renders as Markdown."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]

    def written(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([written(lines[0]), rule, *map(written, lines[1:])])


def page(rows: Sequence[Row], facts: Mapping[str, str], explained: str, when: datetime | None = None) -> str:
    """Return docs/figures.md. `explained` is prose kept by hand; it is taken over from the page that was there."""
    when = when or datetime.now(UTC)
    missed = [row.what for row in rows if row.met is False]
    verdict = f"Missed: {'; '.join(missed)}." if missed else "Every goal is met."
    told = "\n".join(f"- {name}: {value}" for name, value in {"date": f"{when:%Y-%m-%d %H:%M} UTC", **facts}.items())
    return f"{TITLE}\n\n{told}\n\n{verdict}\n\n{table(rows)}\n\n{DEFINITIONS}\n\n{EXPLAINED}\n{explained}"


def explained(text: str) -> str:
    """Return the part of a page that is written by hand."""
    return text.partition(f"{EXPLAINED}\n")[2]


TITLE = """\
# What it costs

Written by `nox -s bench` on the real Podman with the real images. What follows the definitions is kept by hand."""

DEFINITIONS = """\
Ours and theirs take turns in one process, so that both meet the same machine; a ratio is made in each round, and the
median of the rounds counts. All images are there and unchanged.

- **Stack ready**: from the start of the process (`invoke infra.up`; `bash tests/bench/stack.sh`) to the moment when the
  last of the four gates has passed. The script has the same images, commands, configuration files, ports, order and
  gates, asks every 10 ms, and does nothing else: no decision about images, no owner, no sweep, no report.
- **nox, invoke, report**: the time of `nox -s integration-<service>` by the clock, less the steps of its report:
  `engine`, `image ...`, the components, `check`, `suite`, `teardown`. Also shown less the components, `suite` and
  `teardown` alone, so that finding the engine and deciding about images count as ours.
- **Teardown**: the step `teardown` of the same runs, logs saved and network, tags and processes included, against
  `podman rm -f -t 0 -v` of the script's four containers and nothing else. Evidence is what has passed when the last log
  has been written.
- **Unchanged image**: the longest of the steps `image ...` of a run.
- **`nox -l`**: with a `podman` on PATH that writes down that it was called, and CONTAINER_HOST at a socket that counts.
- **Lateness**: from the line of the component's own log that says it is ready, with the time at which the engine got
  it, to the moment the gate passed; for the migrations, from the engine's time of their end. The report's resolution is
  1 ms. A gate may pass before the line is written."""

EXPLAINED = "<!-- from here on by hand -->"
