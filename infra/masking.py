"""Secrets do not leave: how a text is made that has none of them. Pure.

What is masked: a secret as it is, and as JSON, Go, Python, a shell, SQL, XML, a URL or base64 would write it, one
inside the other too (a line of JSON in a report of JSON). Of a secret of several lines each line is one as well,
because logs are read by lines. Inside base64 (`Basic dXNlcjpwYXNz...`) what a secret makes of its own is masked,
whatever is before it.

What is short is half masked: a text of fewer than 4 characters only where it stands alone, between what is no letter
and no digit ("db1" in `password=db1`, not in "db10"), and in no other form: a password "a" would leave no word whole.
Base64 with more around it is masked where at least 8 characters are the secret's own, which 7 bytes always give. Of a
secret of several lines, one that is as short (a brace) is none.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

MASK = "********"
# Shorter than that, a secret is a word like any other.
_SHORT = 4
_TELLING_BASE64 = 8
# Longer than any secret as anything writes it: a text that comes in pieces is held back for so much.
_OVERLAP = 16 * 1024


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without any of these secrets, in whatever form this module knows."""
    long, short = _forms(frozenset(secrets))
    for form in long:
        text = text.replace(form, MASK)
    return short.sub(MASK, text) if short else text


def in_pieces(pieces: Iterable[str], mask: Callable[[str], str]) -> Iterator[str]:
    """Yield a text that comes in pieces, masked also where a secret lies across two of them."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size > 4 * _OVERLAP:
            text = mask("".join(waiting))
            yield text[:-_OVERLAP]
            waiting = [text[-_OVERLAP:]]
            size = _OVERLAP
    if waiting:
        yield mask("".join(waiting))


@lru_cache(maxsize=16)
def _forms(secrets: frozenset[str]) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """Return the forms to look for, longest first, and a pattern of what is short."""
    whole = {secret for secret in secrets if secret.strip()}
    lines = {line.strip() for secret in whole for line in secret.splitlines() if len(line.strip()) >= _SHORT}
    short = {secret for secret in whole if len(secret) < _SHORT}
    forms = {form for secret in (whole | lines) - short for form in _written(secret)}
    words = "|".join(re.escape(word) for word in sorted(short, key=len, reverse=True))
    pattern = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])") if short else None
    return tuple(sorted(forms, key=len, reverse=True)), pattern


def _written(secret: str) -> set[str]:
    """Return a text as it is and as others write it: each form of it, and each quoted form of those."""
    forms = {secret, *_encoded(secret)}
    for _ in range(2):
        forms |= {form for known in forms for form in _quoted(known)}
    return {form for form in forms if form}


def _quoted(text: str) -> Iterator[str]:
    """What stands between the quotes, as several languages write them."""
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield _as_go(text)
    yield repr(text)[1:-1]
    yield repr(text.encode())[2:-1]
    yield shlex.quote(text)[1:-1] if shlex.quote(text) != text else text
    yield text.replace("'", "''")
    yield re.sub(r'([\\"$`])', r"\\\1", text)
    yield escape(text)
    yield escape(text, {'"': "&quot;"})
    yield escape(text, {'"': "&quot;", "'": "&apos;"})
    yield escape(text, {'"': "&#34;", "'": "&#39;"})


def _encoded(secret: str) -> Iterator[str]:
    for form in (quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="!$&'()*+,;=:@/?-._~")):
        yield form
        yield re.sub("%..", lambda found: found[0].lower(), form)
    yield base64.b64encode(secret.encode()).decode("ascii")
    yield base64.urlsafe_b64encode(secret.encode()).decode("ascii")
    for before in range(3):
        for made in _in_base64(secret.encode(), before):
            if len(made) >= _TELLING_BASE64:
                yield made


def _in_base64(data: bytes, before: int) -> Iterator[str]:
    """What a text makes of base64 when so many bytes are before it, less the characters that it shares with others."""
    whole = base64.b64encode(bytes(before) + data)
    start = -(-before * 8 // 6)
    made = whole[start : (before + len(data)) * 8 // 6].decode("ascii")
    yield made
    yield made.replace("+", "-").replace("/", "_")


def _as_go(secret: str) -> str:
    """Return a text as Go's encoding/json writes it: what HTML would read as its own is escaped, too."""
    text = json.dumps(secret, ensure_ascii=False)[1:-1]
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
