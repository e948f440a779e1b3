"""Whether a run is worth repeating. Pure.

Only where the infrastructure is to blame, and no test has failed: a test that has says something of the product, and
to ask it again until it is quiet hides that. An error of ours, and something left behind, say nothing of the
infrastructure.
"""

from __future__ import annotations

from infra.errors import Ended, InfraError, Internal, Invalid

MOST = 10
FLAG = "--retry-infra"
ENV = "INFRA_RETRY_INFRA"


def number(text: str, where: str) -> int:
    """Read how often a run may be repeated. Raises `Invalid`."""
    if text.isascii() and text.isdecimal() and int(text) <= MOST:
        return int(text)
    raise Invalid(
        f'{where} is how often a run may be repeated, 0 to {MOST}, not "{text}"',
        reference="arguments",
        remedy=f"unset {ENV}" if where == ENV else f"invoke suite.run {FLAG} 1",
    )


def why_not(error: Ended, failed_tests: int | None) -> str | None:
    """Return why a run that has ended so is not repeated, or None where it is. `failed_tests` is None where unknown."""
    if not isinstance(error, InfraError):
        return f"it was {error.outcome}"
    if isinstance(error, Internal):
        return f"{error.reference} is no fault of the infrastructure"
    if error.blame != "infrastructure":
        return f"the blame is {error.blame}"
    if failed_tests is None:
        return "the suite was ended without a report of its own, so whether a test had failed is not known"
    if failed_tests:
        return f"{failed_tests} of its tests had failed by then"
    return None
