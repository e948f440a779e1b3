"""`infra-init`, or `python -m infra.init`: begin in a folder that has nothing. `invoke infra.init` does the same."""

from __future__ import annotations

import argparse
from pathlib import Path

from infra.tasks import init


def main() -> None:
    """Read the words, write the files, say what comes next."""
    parser = argparse.ArgumentParser(prog="infra-init", description=init.init.__doc__)
    for name, text in init.HELP.items():
        parser.add_argument(f"--{name}", default="", help=text)
    words = parser.parse_args()
    init.begin(Path.cwd(), words.service, words.language)


if __name__ == "__main__":
    main()
