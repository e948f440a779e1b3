"""The fenced blocks of the pages: what is executed, what is loaded, what is compiled.

A block whose first line is a comment that is a path and nothing else (`# infra/catalog/services/shop.toml`,
`// a/b_test.go`) is that file. One in ```text, and what is indented, is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:#|//) (?P<path>[\w./-]+\.\w+)\n")
_EXIT_CODE = re.compile(r"#.*\bexit code (?P<code>\d+)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block. `line` is that of its first line on the page, `file` the path that it says it is."""

    page: str
    line: int
    language: str
    text: str
    file: str | None

    @property
    def where(self) -> str:
        """Where a person finds it."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line of a block for a shell, with those that its backslashes continue, and the exit code that it says."""

    where: str
    text: str
    code: int


def pages() -> tuple[Path, ...]:
    """README.md and all pages of docs/."""
    return (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def told(page: Path) -> tuple[Block, ...]:
    """Return the blocks of a page that a person follows: README's first is executed as it stands by CI."""
    return blocks(page)[1:] if page.name == "README.md" else blocks(page)


def blocks(page: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    return tuple(
        Block(
            page=name,
            line=text.count("\n", 0, found.start("text")) + 1,
            language=found["language"],
            text=found["text"],
            file=path["path"] if (path := _FILE.match(found["text"])) else None,
        )
        for found in _FENCE.finditer(text)
    )


def commands(block: Block) -> Iterator[Command]:
    """Yield a block's commands. What is empty or a comment is none."""
    begun = ""
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        begun += line
        if begun.endswith("\\"):
            begun += "\n"
            continue
        if begun.strip() and not begun.lstrip().startswith("#"):
            said = _EXIT_CODE.search(begun)
            yield Command(where=f"{block.page}:{number}", text=begun, code=int(said["code"]) if said else 0)
        begun = ""
