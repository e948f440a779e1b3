"""What an image is made of, as a hash: decides whether anything is built, and says why it was.

The context is what git tracks (with the work tree's contents) less `.containerignore`; outside of git, every file. The
same files, and no others, are staged for the build, so the hash and the build cannot disagree.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_SHORT = 12


@dataclass(frozen=True, kw_only=True)
class Content:
    """The parts of an image's content, each a short hash. `key` names all of them together."""

    parts: Mapping[str, str]

    @property
    def key(self) -> str:
        """One hash for all parts, 12 hex digits."""
        return _digest(self.label().encode())

    def label(self) -> str:
        """Return the parts as a label's value."""
        return " ".join(f"{name}={value}" for name, value in sorted(self.parts.items()))

    def changed_since(self, label: str) -> tuple[str, ...]:
        """Return the names of the parts that differ from another image's label."""
        other = dict(part.split("=", 1) for part in label.split() if "=" in part)
        return tuple(name for name, value in sorted(self.parts.items()) if other.get(name) != value)


def of(
    *, folder: Path, files: Iterable[str], containerfile: bytes, bases: Mapping[str, str], args: Mapping[str, str]
) -> Content:
    """Return the content of a build: files of the context, Containerfile, base images by id, arguments."""
    context = hashlib.sha256()
    for name in sorted(files):
        path = folder / name
        kind = "l" if path.is_symlink() else "x" if os.access(path, os.X_OK) else "f"
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        context.update(os.fsencode(f"{kind} {name}\0{hashlib.sha256(data).hexdigest()}\n"))
    return Content(
        parts={
            "context": context.hexdigest()[:_SHORT],
            "containerfile": _digest(containerfile),
            "base": _digest(repr(sorted(bases.items())).encode()),
            "arguments": _digest(repr(sorted(args.items())).encode()),
        }
    )


def of_text(**parts: str) -> Content:
    """Return the content of something that is described by words alone."""
    return Content(parts={name: _digest(text.encode()) for name, text in parts.items()})


def context_files(folder: Path) -> tuple[str, ...]:
    """Return the files of a build context, relative to it: what git tracks, or all, less the ignore file's."""
    names = _tracked(folder)
    if names is None:
        names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    ignored = ignore_rules(folder)
    # While a merge is not resolved, git names a file several times.
    present = {name for name in names if (folder / name).is_symlink() or (folder / name).is_file()}
    return tuple(sorted(name for name in _not_below_links(folder, present) if not is_ignored(name, ignored)))


def untracked_files(folder: Path) -> tuple[str, ...]:
    """Return the files that git would track if they were added: left out of a build, and worth saying so."""
    found = _git(folder, "ls-files", "--others", "--exclude-standard", "-z")
    rules = ignore_rules(folder)
    return tuple(name for name in found or () if not is_ignored(name, rules))


def ignore_rules(folder: Path) -> tuple[str, ...]:
    """Return the rules of `.containerignore`, or of `.dockerignore` where there is none."""
    for name in (".containerignore", ".dockerignore"):
        path = folder / name
        if path.is_file():
            lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="surrogateescape").split("\n"))
            return tuple(line for line in lines if line and not line.startswith("#"))
    return ()


def is_ignored(name: str, rules: Iterable[str]) -> bool:
    """Whether the rules leave a file out: the last rule that matches it, or a folder above it, decides."""
    ignored = False
    for rule in rules:
        wanted = rule.startswith("!")
        pattern = rule.lstrip("!").strip("/")
        if any(_matches(part, pattern) for part in _with_parents(name)):
            ignored = not wanted
    return ignored


def stage(folder: Path, files: Iterable[str], target: Path) -> None:
    """Copy the context's files to `target`, which is made; a link is copied as one, and never followed."""
    for name in _not_below_links(folder, files):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, copy, follow_symlinks=False)
    target.mkdir(parents=True, exist_ok=True)


def _not_below_links(folder: Path, names: Iterable[str]) -> list[str]:
    """Leave out what is reached through a link: it is not of this folder, and a copy would be written through it."""
    links: dict[str, bool] = {"": False}

    def is_linked(parent: str) -> bool:
        if parent not in links:
            links[parent] = is_linked(parent.rpartition("/")[0]) or (folder / parent).is_symlink()
        return links[parent]

    return [name for name in names if not is_linked(name.rpartition("/")[0])]


def _with_parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]


def _matches(path: str, pattern: str) -> bool:
    """Match like a .containerignore: `*` within one path segment, `**` over any number of them."""
    segments = path.split("/")
    ends = {0}  # how many segments the pattern so far may have matched
    for part in pattern.split("/"):
        if part == "**" and ends:
            ends = set(range(min(ends), len(segments) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(segments) and fnmatch.fnmatchcase(segments[end], part)}
    return len(segments) in ends


def _tracked(folder: Path) -> list[str] | None:
    return _git(folder, "ls-files", "--cached", "-z")


def _git(folder: Path, *words: str) -> list[str] | None:
    """Return git's NUL-separated answer, or None outside of a repository."""
    argv = ["git", "-c", "safe.directory=*", "-C", str(folder), *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook's own repository
    try:
        done = subprocess.run(argv, capture_output=True, timeout=30, check=False, env=env)
    except FileNotFoundError:
        return None
    if done.returncode != 0:
        return None
    return [name for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_SHORT]
