"""The catalogue's values: names, durations, ports, images, paths; each says what would be right where one is wrong."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, StringConstraints, Tag, WithJsonSchema

from infra.catalog import names

NAME = f"^{names.NAME}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
# A registry host (with a dot, a port or `localhost`), a path, and a tag or digest or neither.
IMAGE = re.compile(
    r"(?P<registry>localhost|[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?|[a-z0-9-]+:\d+)"
    r"/(?P<path>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(?P<version>:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class ShortName(ValueError):
    """An image without its registry: which one is meant would depend on the host."""


def seconds(value: object) -> object:
    """Accept "500ms", "30s", "15m", "1h" or a number of seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
        if match is None:
            raise ValueError('a duration such as "500ms", "30s" or "15m"')
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool):
        raise ValueError('a duration such as "500ms", "30s" or "15m"')  # noqa: TRY004 - pydantic wants this one
    return value


def _image(value: object) -> object:
    if isinstance(value, str) and IMAGE.fullmatch(value) is None:
        what = (
            "an image named in full, with its registry, such as "
            '"docker.io/library/postgres:16-alpine" or "localhost/my-service"'
        )
        if IMAGE.fullmatch(f"localhost/{value}"):
            raise ShortName(what)
        raise ValueError(what)
    return value


def _form(value: object) -> str:
    return "(table)" if isinstance(value, dict) else "(number)"


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("a text without NUL characters")
    return value


def _no_option(value: str) -> str:
    if not value or value.startswith("-"):
        raise ValueError("a package or a path; options stand in `args`")
    return value


def _images(value: object) -> object:
    return (_image(value),) if isinstance(value, str) else value


def _inside(value: object) -> object:
    """Accept a path that stays below the folder it is relative to; links are looked at where it is used."""
    if isinstance(value, str) and (
        not value or value.startswith("/") or ".." in value.split("/") or not value.isprintable()
    ):
        raise ValueError('a path inside of the workspace, without ".."')
    return value


def _rooted(value: object) -> object:
    if isinstance(value, str) and (
        not value.startswith("/") or value.endswith("/") or ".." in value.split("/") or not value.isprintable()
    ):
        raise ValueError('a path in the container, from "/" on and without ".."')
    return value


# The second argument of a validator is what the published JSON Schema says of it.
_Duration = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(ms|s|m|h)$")]
Seconds = Annotated[
    float,
    BeforeValidator(seconds, json_schema_input_type=_Duration | Annotated[float, Field(gt=0)]),
    Field(gt=0, allow_inf_nan=False),
]
Grace = Annotated[
    float,
    BeforeValidator(seconds, json_schema_input_type=_Duration | Annotated[float, Field(ge=0)]),
    Field(ge=0, allow_inf_nan=False),
]
_ImageText = Annotated[str, StringConstraints(pattern=f"^{re.sub(r'[?]P<[a-z]+>', '?:', IMAGE.pattern)}$")]
ImageName = Annotated[str, BeforeValidator(_image, json_schema_input_type=_ImageText)]
Images = Annotated[
    tuple[ImageName, ...],
    BeforeValidator(
        _images, json_schema_input_type=_ImageText | Annotated[tuple[_ImageText, ...], Field(min_length=1)]
    ),
    Field(min_length=1),
]
"""An image, or several of which the first that can be had is taken."""
FileMode = Annotated[str, StringConstraints(pattern=r"^0[0-7]{3}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
DebianPackage = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
_NO_WAY_UP = r"(?!(?:.*/)?\.\.(?:/|$))"
_InsideText = Annotated[str, StringConstraints(pattern=f"^(?!/){_NO_WAY_UP}.+$")]
_RootedText = Annotated[str, StringConstraints(pattern=f"^/{_NO_WAY_UP}.*[^/]$")]
Inside = Annotated[str, BeforeValidator(_inside, json_schema_input_type=_InsideText)]
Rooted = Annotated[str, BeforeValidator(_rooted, json_schema_input_type=_RootedText)]
Text = Annotated[str, AfterValidator(_no_nul)]
"""What becomes a word of a command, or a value of an environment."""
HostPorts = Annotated[
    Annotated[PortNumber, Tag("(number)")] | Annotated[dict[Name, PortNumber], Tag("(table)")], Discriminator(_form)
]
_PackageText = WithJsonSchema({"type": "string", "pattern": "^(?!-).+$"})
_PathText = WithJsonSchema({"type": "string", "pattern": f"^(?![-/]){_NO_WAY_UP}.+$"})
Packages = Annotated[tuple[Annotated[Text, AfterValidator(_no_option), _PackageText], ...], Field(min_length=1)]
Paths = Annotated[tuple[Annotated[Inside, AfterValidator(_no_option), _PathText], ...], Field(min_length=1)]
Processes = Annotated[int, Field(ge=1, le=64, strict=True)]
