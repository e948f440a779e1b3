"""Facts of a host that checks are made of, each looked at by one function. Nothing is judged here."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra import tools
from infra.tools import Tool

_ASK_S = 5.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True, kw_only=True)
class Power:
    """Memory and processors of where containers run, in MiB."""

    total_mb: int
    available_mb: int
    cpus: int
    where: str = "this host"


@dataclass(frozen=True, kw_only=True)
class Rootless:
    """What Podman needs of a host to run without root. `subuids` and `subgids` count the ids a user is given."""

    user: str
    mappers: bool
    subuids: int
    subgids: int
    tun: bool
    slirp4netns: bool
    pasta: bool
    shared: bool


@dataclass(frozen=True, kw_only=True)
class Go:
    """The module of a Go suite. `module` is its go.mod, or nothing; `tool` the runner's package, if it is required."""

    folder: str
    module: str
    tool: str
    required: bool
    wants: tuple[int, ...]


def power() -> Power:
    """Look at this host's memory, within what its control group allows, and its processors."""
    numbers: dict[str, int] = {}
    with contextlib.suppress(OSError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        numbers = {name: int(kb) // 1024 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    total = numbers.get("MemTotal", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2)
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text(encoding="ascii")) // 1024**2)
    available = min(total, numbers.get("MemAvailable", total))
    return Power(total_mb=total, available_mb=available, cpus=os.cpu_count() or 1)


def rootless() -> Rootless:
    """Look at what Podman needs to run as this user."""
    user = getpass.getuser()
    return Rootless(
        user=user,
        mappers=all(map(tools.find, ("newuidmap", "newgidmap"))),
        subuids=granted(_lines("/etc/subuid"), user, os.getuid()),
        subgids=granted(_lines("/etc/subgid"), user, os.getuid()),
        tun=Path("/dev/net/tun").exists(),
        slirp4netns=tools.find("slirp4netns") is not None,
        pasta=tools.find("pasta") is not None,
        shared=_root_is_shared(_lines("/proc/self/mountinfo")),
    )


def granted(lines: Iterable[str], user: str, uid: int) -> int:
    """Return how many ids the lines of /etc/subuid or /etc/subgid give a user (subuid(5))."""
    rows = [line.strip().split(":") for line in lines]
    return sum(int(row[2]) for row in rows if len(row) == 3 and row[0] in (user, str(uid)) and row[2].isdecimal())


def _root_is_shared(mountinfo: Iterable[str]) -> bool:
    roots = [line.split(" ") for line in mountinfo if line.split(" ")[4:5] == ["/"]]
    return any(word.startswith("shared:") for words in roots for word in words[6:])


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies that are set, without what is secret in them."""
    found = {key: value for key, value in environ.items() if key.lower() in _PROXIES and value}
    return {key: re.sub(r"^(\w+://)?.*@", r"\1", value) for key, value in found.items()}


def absent_bundles(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name a bundle of certificates which is not there."""
    named = {key: environ[key] for key in BUNDLES if environ.get(key)}
    return {key: value for key, value in named.items() if not Path(value).exists()}


def system_bundle() -> str:
    """Return the host's bundle of certificates, or nothing."""
    return next((path for path in _SYSTEM_BUNDLES if Path(path).is_file()), "")


def missing_tools() -> tuple[Tool, ...]:
    """Return what bootstrap would install and this user's Podman could need; Podman itself is the engine's business."""
    rootless_only = ("newuidmap", "slirp4netns", "pasta")
    firewalls = [one for one in tools.TOOLS if one.name in ("nft", "iptables")]
    asked = [one for one in tools.TOOLS if not one.house and one.name != "podman" and one not in firewalls]
    if os.geteuid() == 0:
        asked = [one for one in asked if one.name not in rootless_only]
    else:  # which of the two networks is Podman's own choice, and the rootless check's
        asked = [one for one in asked if one.name not in rootless_only[1:]]
    gone = tools.missing(asked)
    neither = tools.missing(firewalls)
    return (*gone, *neither[:1]) if len(neither) == len(firewalls) else gone


def go_module(folder: Path, top: Path, tool: str) -> Go:
    """Look at the module that a folder of a workspace is in, and whether it requires a runner."""
    inside = [one for one in (folder, *folder.parents) if one == top or top in one.parents]
    path = next((one / "go.mod" for one in inside if (one / "go.mod").is_file()), None)
    lines = _lines(str(path)) if path else []
    version = next((line.split()[1] for line in lines if re.match(r"go\s+\d", line)), "")
    words = {word for line in lines for word in line.split("//")[0].split()}
    return Go(
        folder=str(folder),
        module=str(path or ""),
        tool=tool,
        required=any(word == tool or tool.startswith(f"{word}/") for word in words if "." in word),
        wants=_numbers(version),
    )


def go_version(go: str) -> tuple[int, ...]:
    """Ask a go for its version; one that would fetch another is asked for its own."""
    argv = [go, "env", "GOVERSION"]
    environ = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_ASK_S, check=False, env=environ, cwd="/")
    return _numbers(done.stdout.strip().removeprefix("go"))


def has_pytest(python: str) -> bool:
    """Ask a python whether it has pytest."""
    code = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('pytest') else 1)"
    done = subprocess.run([python, "-c", code], capture_output=True, timeout=_ASK_S, check=False)
    return done.returncode == 0


def which(command: str, path: str) -> str:
    """Return where a command is on a PATH, or nothing."""
    return shutil.which(command, path=path) or ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"\d+", text)[:3])
