"""Names of runs: 8 hex digits."""

from __future__ import annotations

import re
import secrets

from infra.errors import Invalid

RUN = r"[0-9a-f]{8}"


def new_run() -> str:
    """Return a run's name: 8 hex digits."""
    return secrets.token_hex(4)


def run_name(run: str | None) -> str:
    """Return the name that was asked for, or a new one. Raises `Invalid`."""
    if run is not None and re.fullmatch(RUN, run) is None:
        what = f'a run is named by 8 hex digits, not "{run}"'
        raise Invalid(what, reference="run-name", remedy="invoke infra.status  # leave --run out")
    return run or new_run()
