"""`nox -s pages`: write the generated parts of README.md and docs/, each between two comments that name it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/pages")]

import troubleshooting  # noqa: E402
from blocks import pages  # noqa: E402

from infra.catalog.declared import Catalog  # noqa: E402
from infra.catalog.loading import load  # noqa: E402

_PART = re.compile(r"(?P<begin><!-- begin (?P<name>[\w-]+): [^\n]* -->\n).*?(?P<end><!-- end (?P=name) -->)", re.DOTALL)


def main() -> int:
    """Write every page whose parts are not what they would be written as, and say which."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")
    return 0


def written(text: str) -> str:
    """Return a page with its generated parts as they are now. Raises KeyError for a part that nobody writes."""
    return _PART.sub(lambda part: f"{part['begin']}{PARTS[part['name']]()}\n{part['end']}", text)


def ports() -> str:
    """Return the table of the host's ports of all services, and of the development stack."""
    folder = ROOT / "infra" / "catalog"
    catalog = load(folder)
    files = [*sorted((folder / "services").glob("*.toml")), *folder.glob("dev.toml")]
    tables = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in files}
    published = {name: _published(catalog, table.get("ports", {})) for name, table in tables.items()}
    columns = list(dict.fromkeys(port for has in published.values() for port in has))
    rows = [("service", *columns, "the suite's own"), ("---",) * (len(columns) + 2)]
    for name, has in published.items():
        own = ", ".join(f"{port} {number}" for port, number in tables[name].get("suite_ports", {}).items())
        title = "the development stack" if name == "dev" else name
        rows.append((title, *(str(has.get(column, "")) for column in columns), own))
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |").replace("|  |", "| |") for row in rows)


def _published(catalog: Catalog, given: Mapping[str, int | Mapping[str, int]]) -> dict[str, int]:
    """Return numbers by component, and by port where the component has several."""
    found: dict[str, int] = {}
    for component, numbers in given.items():
        if isinstance(numbers, int):
            found[component] = numbers
        else:
            alone = len(catalog.components[component].ports) == 1
            found |= {component if alone else f"{component} {port}": number for port, number in numbers.items()}
    return found


def index() -> str:
    """Return the list of the pages by their titles, two in a line: a README is short."""
    titles = {page.name: page.read_text(encoding="utf-8").partition("\n")[0] for page in pages()[1:]}
    links = [f"[{title.removeprefix('# ')}](docs/{name})" for name, title in titles.items()]
    return ",\n".join(", ".join(links[number : number + 2]) for number in range(0, len(links), 2))


PARTS: Mapping[str, Callable[[], str]] = {
    "ports": ports,
    "causes": troubleshooting.causes,
    "pages": index,
}

if __name__ == "__main__":
    raise SystemExit(main())
