"""Secrets do not leave: how a text is made that has none of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from xml.sax.saxutils import escape

MASK = "********"


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without any of these secrets, as they are or as JSON or XML would write them."""
    forms = {form for secret in secrets for form in _written(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _written(secret: str) -> tuple[str, ...]:
    return (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        _as_go(secret),
        escape(secret),
        escape(secret, {'"': "&quot;"}),
    )


def _as_go(secret: str) -> str:
    """Return a text as Go's encoding/json writes it: what HTML would read as its own is escaped, too."""
    text = json.dumps(secret, ensure_ascii=False)[1:-1]
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
