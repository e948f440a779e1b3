"""Secrets in every form in which somebody may write them, in pieces, short and long; and what is left alone."""

import base64
import json
import urllib.parse
from collections.abc import Callable
from xml.sax.saxutils import escape

import pytest

from infra.masking import MASK, in_pieces, masked

ODD = "p\"a\\s%s=w&o<r>d' é$`/+ 🚀"
PEM = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA7f\nq3Zt0lW1\n}\n-----END KEY-----\n"

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "Python": lambda text: repr(text)[1:-1],
    "Python's bytes": lambda text: repr(text.encode())[2:-1],
    "a URL's path": urllib.parse.quote,
    "a URL's password": lambda text: urllib.parse.quote(text, safe=""),
    "a form": urllib.parse.quote_plus,
    "a URL in lower case": lambda text: urllib.parse.quote(text, safe="").lower(),
    "SQL": lambda text: text.replace("'", "''"),
    "XML": lambda text: escape(text, {'"': "&quot;"}),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", ["test_password", ODD, "abcd"])
def test_a_secret_is_masked_in_every_form(secret: str, form: str) -> None:
    if form == "a URL in lower case" and secret == ODD:
        secret = secret.lower()
    written = FORMS[form](secret)
    assert masked(f"before {written} after", [secret]) == f"before {MASK} after"


def test_what_go_quotes_is_masked() -> None:
    assert masked(r'msg="refused: p\"a\\s" level=error', ['p"a\\s']) == f'msg="refused: {MASK}" level=error'


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "slm_user"])
def test_what_is_inside_base64_is_masked_wherever_it_begins(user: str) -> None:
    header = base64.b64encode(f"{user}:test_password".encode()).decode()
    left = masked(f"Authorization: Basic {header}", ["test_password"])
    assert MASK in left
    shown = left.removeprefix("Authorization: Basic ").replace(MASK, "")
    assert "password" not in base64.b64decode(shown + "=" * (-len(shown) % 4)).decode("utf-8", "replace")


def test_of_a_secret_of_several_lines_each_line_is_one() -> None:
    text = masked(f"key:\n{PEM}", [PEM])
    assert "MIIE" not in text
    for line in PEM.splitlines():
        assert len(line) < 4 or line not in masked(f"  {line}\n", [PEM])
    assert masked("if (x) { y } else { z }", [PEM]) == "if (x) { y } else { z }"


def test_a_short_secret_is_masked_as_a_word_alone() -> None:
    assert masked("password=db1;db10 xdb1 db1\n'db1'", ["db1"]) == f"password={MASK};db10 xdb1 {MASK}\n'{MASK}'"
    assert masked("a cat and 443 of 1443", ["443"]) == f"a cat and {MASK} of 1443"


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_nothing_is_no_secret(secret: str) -> None:
    assert masked("a b\nc", [secret]) == "a b\nc"


@pytest.mark.parametrize("size", [1, 2, 7, 4096, 20_000])
def test_a_secret_across_two_pieces_is_masked(size: int) -> None:
    text = "x" * 70_000 + "test_password" + "y" * 30_000 + "test_password"
    pieces = [text[at : at + size] for at in range(0, len(text), size)] if size > 7 else [text[:70_000], *text[70_000:]]
    joined = "".join(in_pieces(pieces, lambda one: masked(one, ["test_password"])))
    assert joined == text.replace("test_password", MASK)
