"""A plug-in of pytest's for workers of pytest-xdist: what a test starts is not told that it is one, and is none."""

import os

for _name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
    os.environ.pop(_name, None)
