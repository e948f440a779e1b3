"""How the tests are shared out among processes: a file stays in one, and so do files that want the same ports."""

from __future__ import annotations

import os

import pytest

# Those that start a service of the catalogue on the catalogue's own ports.
_FIXED_PORTS = ("test_main_job", "test_services")


def pytest_configure() -> None:
    """What the tests start is no worker of theirs."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        os.environ.pop(name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group that xdist keeps together (`--dist loadgroup`)."""
    for item in items:
        group = "fixed-ports" if item.path.stem in _FIXED_PORTS else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
