"""Suites of the catalogue, and the sessions of this house.

Fresh machine: python3 noxfile.py -s bootstrap SESSION ... -- ARGUMENTS OF THE SUITE
"""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - a message, not a traceback
    sys.stderr.write("unavailable: Python 3.11 or newer is needed, this is " + sys.version[:6] + "\n")
    raise SystemExit(69)

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

if __name__ == "__main__":
    from infra.bootstrap import main

    main(ROOT, sys.argv[1:])
else:
    from infra.sessions import register_house, register_services

    register_services(ROOT)
    register_house(ROOT)
