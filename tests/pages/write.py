"""`nox -s pages`: write the generated parts of README.md and docs/, each between two comments that name it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/pages")]

import troubleshooting  # noqa: E402
from blocks import pages  # noqa: E402

from infra.catalog.declared import Catalog, host_ports  # noqa: E402
from infra.catalog.loading import load  # noqa: E402
from infra.model import Service  # noqa: E402

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
    """Return the table of the host's ports of all services."""
    catalog = load(ROOT / "infra" / "catalog")
    columns = list(
        dict.fromkeys(
            f"{component} {port}"
            for service in catalog.services.values()
            for component, port, _ in _published(catalog, service)
        )
    )
    rows = [("service", *columns, "the suite's own"), ("---",) * (len(columns) + 2)]
    for name, service in catalog.services.items():
        has = {f"{component} {port}": str(number) for component, port, number in _published(catalog, service)}
        own = ", ".join(f"{port} {number}" for port, number in service.suite_ports.items())
        rows.append((name, *(has.get(column, "") for column in columns), own))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _published(catalog: Catalog, service: Service) -> list[tuple[str, str, int]]:
    return [
        (component, port, number)
        for component in service.ports
        for port, number in host_ports(service, component, catalog.components[component].ports).items()
    ]


def index() -> str:
    """Return the list of the pages by their titles."""
    titles = {page.name: page.read_text(encoding="utf-8").partition("\n")[0] for page in pages()[1:]}
    return "\n".join(f"- [{title.removeprefix('# ')}](docs/{name})" for name, title in titles.items())


PARTS: Mapping[str, Callable[[], str]] = {
    "ports": ports,
    "causes": troubleshooting.causes,
    "pages": index,
}

if __name__ == "__main__":
    raise SystemExit(main())
