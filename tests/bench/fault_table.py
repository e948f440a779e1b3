"""The table of recorded faults: each is caused by its test, and told how soon. Writes docs/faults.md."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "faults.md"
FAULTS = 52
_SECONDS = 3600.0
_WIDTH = 300


def main() -> int:
    """Run the tests, or take the rows of a run that was, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fault_table", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write (docs/faults.md)")
    parser.add_argument("--rows", type=Path, help="what a run of the tests has written to INFRA_TEST_FAULTS")
    options = parser.parse_args()
    code, text = (0, options.rows.read_text(encoding="utf-8")) if options.rows else _cause_all()
    page = render([json.loads(line) for line in text.splitlines()], os.getloadavg()[0])
    options.out.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return code


def _cause_all() -> tuple[int, str]:
    """Run the tests of faults; return pytest's exit code and the rows they have written."""
    with tempfile.TemporaryDirectory(prefix="infra-bench-") as scratch:
        rows = Path(scratch) / "rows"
        rows.touch()
        argv = (sys.executable, "-m", "pytest", "-q", "-k", "test_f", "tests/podman", "-p", "no:cacheprovider")
        env = {**os.environ, "INFRA_TEST_FAULTS": str(rows)}
        code = subprocess.run(argv, cwd=ROOT, env=env, timeout=_SECONDS, check=False).returncode
        return code, rows.read_text(encoding="utf-8")


def render(rows: Sequence[dict[str, Any]], load: float) -> str:
    """Return the page: a line for each way in which a fault was caused, in the order of their numbers."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    seen = {row["fault"] for row in rows}
    missing = [name for name in (f"F{number:02}" for number in range(1, FAULTS + 1)) if name not in seen]
    lines = [
        "# Recorded faults, and how each is told",
        "",
        "Written by `python -m tests.bench.fault_table`: the tests `test_fNN_...` cause each for real (or feed its",
        "recorded words, where it says so) and keep the first line that a person sees. Seconds are from the",
        "moment that the engine, the container or the suite shows it, to that line; `-` where the run itself meets it.",
        "Those of F14 to F16, F19 to F23, F25 in a build and F51 are of whole runs to their end; F46 and F48 until all",
        "was over.",
        "",
        f"{when}, {os.cpu_count()} CPUs, load {load:.1f}; {len(seen)} of {FAULTS} faults"
        + (f", without {', '.join(missing)}" if missing else ""),
        "",
        "| fault | caused how | first line | s | blame | reference |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["fault"], row["how"])):
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.2f}"
        cells = (row["fault"], row["how"], f"`{_plain(row['line'])}`", seconds, row["blame"], row["reference"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _plain(line: str) -> str:
    """A line as it may stand in a table: without the folders of the test, not too long."""
    line = re.sub(r"/tmp/pytest-of-[^/]+/pytest-\d+/(popen-gw\d+/)?[^/\s]+/", "", line)
    line = line.replace("|", "/").replace("`", "'")
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]} ..."


if __name__ == "__main__":
    raise SystemExit(main())
