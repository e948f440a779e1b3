"""What all tests need, whoever runs them."""

import os

# The tests may be workers of pytest-xdist's; what they start are none.
for _name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
    os.environ.pop(_name, None)
