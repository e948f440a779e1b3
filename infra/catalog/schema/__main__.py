"""`python -m infra.catalog.schema [FOLDER]`: write the schemas, into the package or another folder."""

import sys
from pathlib import Path

from infra.catalog.schema import documents

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"wrote {folder / name}")
