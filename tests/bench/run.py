"""`nox -s bench`: what a run costs, against a shell script that an expert would write. Writes docs/figures.md."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/bench"), str(ROOT / "tests/podman")]

import figures  # noqa: E402
import rounds  # noqa: E402

from infra import lease, run_names, signals  # noqa: E402
from infra.errors import Ended, Interrupted  # noqa: E402

PAGE = ROOT / "docs" / "figures.md"


def main() -> int:
    """Measure, print the table, write the page. A missed goal is no failure: figures are read, not enforced."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often everything is measured (10)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write (docs/figures.md)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    run = run_names.new_run()
    try:
        with signals.caught() as interrupts, lease.hold(run, rounds.SERVICE, "integration") as held:
            with rounds.Bench.prepared(held, interrupts) as bench:
                for number in range(options.rounds):
                    print(f"round {number + 1} of {options.rounds}: {bench.round()}", flush=True)
            facts = rounds.facts(held, [*sys.argv[1:]])
            rows = bench.rows()
    except Interrupted as error:
        return error.exit_code
    except Ended as error:
        print(f"{error.outcome}: {error.message}", file=sys.stderr)
        return error.exit_code
    print(figures.table(rows))
    kept = ""
    with contextlib.suppress(FileNotFoundError):
        kept = figures.explained(options.out.read_text(encoding="utf-8"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(figures.page(rows, facts, kept), encoding="utf-8")
    print(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
