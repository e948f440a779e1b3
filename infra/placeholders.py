"""The placeholder language of the catalogue: `{component.port}`, `{component.secrets.name}`, `{run}` ...

`{component.values.name}` is a text that is no secret. `{{` and `}}` stand for braces. There is nothing else: no
expressions, no defaults.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest known word, or the known words where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f" (known: {', '.join(known)})" if known else ""


def problem(template: str, known: Collection[str]) -> str | None:
    """Return what is wrong with a template, in words, or None."""
    for match in _TOKEN.finditer(template):
        token = match[0]
        if token in ("{", "}"):
            return f'a lone "{token}" in "{shorten(template)}": write "{token * 2}" for the character itself'
        if match[1] is not None and match[1] not in known:
            return f'unknown placeholder "{plain(token, 80)}"{nearest(match[1], known)}'
    return None


def names(template: str) -> set[str]:
    """Return the names that a template uses."""
    return {match[1] for match in _TOKEN.finditer(template) if match[1] is not None}


def render(template: str, values: Mapping[str, str]) -> str:
    """Fill a template in. Raises KeyError for a name without a value; templates are checked when loaded."""

    def replace(match: re.Match[str]) -> str:
        if match[1] is not None:
            return values[match[1]]
        return match[0][0]

    return _TOKEN.sub(replace, template)


def plain(text: str, width: int = 1000) -> str:
    """Return a text as one line that a terminal only shows: what does not print is escaped, the middle is left out."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= width else f"{text[: width // 2]}...{text[3 - width // 2 :]}"


def one_line(text: str, width: int = 200) -> str:
    """Return a message of several lines as one, cut to `width` characters."""
    return shorten(" ".join(text.split()), width)


def shorten(text: str, width: int = 60) -> str:
    """Return the first line, cut to `width` characters."""
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= width else first[: width - 3] + "..."
