"""What a host needs, as data: how a tool is recognised, which packages bring it, what it is for.

Standard library only. Nothing here installs anything; `infra.bootstrap` does, where it was asked.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.catalog.names import nox_command
from infra.errors import Unavailable

# Beside PATH: where Podman's own helpers are, and what PATH lacks for people who are not root.
HELPERS = (
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/libexec/podman",
    "/usr/lib/podman",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
)
MANAGERS: Mapping[str, tuple[str, ...]] = {
    "apt-get": ("apt-get", "install", "-y", "-q", "--no-install-recommends"),
    "dnf": ("dnf", "install", "-y"),
    "brew": ("brew", "install"),
}


NO_ROOT = "this user is not root and there is no sudo"
NOT_APT = "and system packages are installed from here with apt only"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Something the host must have: one of `commands`, or all the Python `modules`.

    `packages` is by package manager, `unit` a systemd unit that comes with them and is not wanted,
    `house` marks what only this project's own tests need.
    """

    name: str
    why: str
    packages: Mapping[str, tuple[str, ...]]
    commands: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    minimum: tuple[int, ...] = ()
    unit: str = ""
    house: bool = False

    @property
    def state(self) -> str:
        """Why this tool does not do, empty when it does."""
        if self.modules:
            importlib.invalidate_caches()
            gone = [name for name in self.modules if importlib.util.find_spec(name) is None]
            return f"python has no {gone[0]}" if gone else ""
        found = [path for path in map(find, self.commands) if path]
        if not found:
            return "missing"
        version = _version(found[0]) if self.minimum else ()
        if version < self.minimum:
            return f"version {_dotted(version)} is older than {_dotted(self.minimum)}"
        return ""

    @property
    def install_command(self) -> str:
        """The command that installs this tool on this host."""
        return str(installation([self]))


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The commands that install some tools; `refusal` says why a person has to run them."""

    steps: tuple[tuple[str, ...], ...]
    refusal: str = ""

    def __str__(self) -> str:
        return " && ".join(map(shlex.join, self.steps))


TOOLS = (
    Tool(
        name="python3-venv",
        why="makes the .venv that nox and invoke run from",
        modules=("venv", "ensurepip"),
        packages={"apt-get": ("python3-venv",)},
    ),
    Tool(
        name="podman",
        why="runs the containers",
        commands=("podman",),
        minimum=(4, 3),
        packages={"apt-get": ("podman",), "dnf": ("podman",), "brew": ("podman",)},
    ),
    Tool(
        name="runc",
        why="starts containers where crun refuses the cgroup layout",
        commands=("runc",),
        packages={"apt-get": ("runc",), "dnf": ("runc",)},
    ),
    Tool(
        name="netavark",
        why="gives a run a network of its own",
        commands=("netavark",),
        packages={"apt-get": ("netavark",), "dnf": ("netavark",)},
    ),
    Tool(
        name="aardvark-dns",
        why="resolves the components' names on that network",
        commands=("aardvark-dns",),
        packages={"apt-get": ("aardvark-dns",), "dnf": ("aardvark-dns",)},
    ),
    Tool(
        name="iptables",
        why="netavark's firewall in Debian 12",
        commands=("iptables",),
        packages={"apt-get": ("iptables",)},
    ),
    Tool(
        name="nft",
        why="netavark's firewall since Debian 13",
        commands=("nft",),
        packages={"apt-get": ("nftables",)},
    ),
    Tool(
        name="newuidmap",
        why="maps user ids for Podman without root",
        commands=("newuidmap",),
        packages={"apt-get": ("uidmap",), "dnf": ("shadow-utils",)},
    ),
    Tool(
        name="slirp4netns",
        why="the network of Podman 4 without root",
        commands=("slirp4netns",),
        packages={"apt-get": ("slirp4netns",)},
    ),
    Tool(
        name="pasta",
        why="the network of Podman 5 without root",
        commands=("pasta",),
        packages={"apt-get": ("passt",), "dnf": ("passt",)},
    ),
    Tool(
        name="mmdebstrap",
        why="makes base images where no registry answers",
        commands=("mmdebstrap",),
        packages={"apt-get": ("mmdebstrap",)},
    ),
    Tool(
        name="git",
        why="tells which files belong to a build's context",
        commands=("git",),
        packages={"apt-get": ("git",), "dnf": ("git",), "brew": ("git",)},
    ),
    Tool(
        name="ca-certificates",
        why="is what TLS of builds and of Go is checked against",
        commands=("update-ca-certificates",),
        packages={"apt-get": ("ca-certificates",)},
    ),
    Tool(
        name="docker-registry",
        why="is the registry that the tests pull from",
        commands=("docker-registry",),
        packages={"apt-get": ("docker-registry",)},
        unit="docker-registry.service",
        house=True,
    ),
)


def tool(name: str) -> Tool:
    """Return one tool of the table."""
    return next(tool for tool in TOOLS if tool.name == name)


def missing(tools: Sequence[Tool] = TOOLS) -> tuple[Tool, ...]:
    """Return those that this host lacks or has too old.

    A tool without a package for this host's package manager is not asked for: there Podman's own
    package brings it.
    """
    manager = package_manager() or "dnf"
    return tuple(tool for tool in tools if manager in tool.packages and tool.state)


def find(command: str) -> str | None:
    """Return where a command is, on PATH or where Podman keeps its helpers."""
    return shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *HELPERS]))


def package_manager() -> str:
    """Return the first package manager we know that this host has, or nothing."""
    return next((name for name in MANAGERS if find(name)), "")


def installation(tools: Sequence[Tool]) -> Installation:
    """Return what installs all of these here, in one transaction."""
    manager = package_manager()
    packages = [name for tool in tools for name in tool.packages.get(manager or "dnf", (tool.name,))]
    command = (*MANAGERS.get(manager, ("install",)), *dict.fromkeys(packages))
    if manager == "brew":
        return Installation(steps=(command,), refusal=NOT_APT)
    root = _as_root()
    if manager != "apt-get":
        return Installation(steps=((*root, *command),), refusal=NOT_APT)
    # A server that its package starts under systemd is none that we want: tests start their own.
    systemd = Path("/run/systemd/system").exists()
    stop = [("systemctl", "disable", "--now", tool.unit) for tool in tools if tool.unit and systemd]
    steps = (("apt-get", "update", "-q"), command, *stop)
    refusal = NO_ROOT if root and not find("sudo") else ""
    return Installation(steps=tuple((*root, *step) for step in steps), refusal=refusal)


def _as_root() -> tuple[str, ...]:
    """Return what stands before a command that root has to run."""
    return ("sudo", "env", "DEBIAN_FRONTEND=noninteractive") if os.geteuid() else ()


def _version(path: str) -> tuple[int, ...]:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return tuple(map(int, found[0].split("."))) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "unknown"


def not_installed(command: str) -> Unavailable:
    """Return the error for a command that is not there, with the command that installs it."""
    known = next((tool for tool in TOOLS if command in tool.commands), None)
    return Unavailable(
        f"{command} is not installed",
        reference="tool-missing",
        remedy=known.install_command if known else f"{nox_command()} -s bootstrap",
        blame="user",
    )
