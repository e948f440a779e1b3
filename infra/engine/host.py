"""What this host cannot do that Podman takes for granted, and a configuration for one run that works around it.

Nothing of the host is written: the configuration goes to a private service through CONTAINERS_CONF. It starts from
the configuration that is in force, so that what a user has set stays set.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import struct
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

# What Podman asks for by itself when it runs as root (containers-common).
_DEFAULT_LIMITS = {"nofile": (resource.RLIMIT_NOFILE, 1048576), "nproc": (resource.RLIMIT_NPROC, 4194304)}
_ANSWER_S = 5.0
_DEFAULT_POOL = {"base": "10.89.0.0/16", "size": 24}
# Where an administrator puts authorities of the house's own, and the bundle that is made from them.
_ANCHORS = {
    "/usr/local/share/ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/source/anchors": "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ca-certificates/trust-source/anchors": "/etc/ssl/certs/ca-certificates.crt",
}


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """What matters of a host. `low_limits` maps Podman's ulimit names to the hard limits below Podman's defaults."""

    hybrid_cgroups: bool
    cgroups_v1: bool
    systemd: bool
    runc: bool
    low_limits: Mapping[str, int]


def facts() -> HostFacts:
    """Look at this host."""
    root = Path("/sys/fs/cgroup")
    v2 = (root / "cgroup.controllers").exists()
    low = {}
    for name, (limit, wanted) in _DEFAULT_LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        if hard not in (-1, resource.RLIM_INFINITY) and hard < wanted:
            low[name] = min(hard, _pid_max()) if name == "nproc" else hard
    return HostFacts(
        hybrid_cgroups=not v2 and (root / "unified").is_dir(),
        cgroups_v1=root.is_dir() and not v2,
        systemd=Path("/run/systemd/system").is_dir(),
        runc=shutil.which("runc") is not None,
        low_limits=low,
    )


def _pid_max() -> int:
    """The kernel's bound on processes, to which Podman 4.3.1 lowers its own hard limit: more is then refused."""
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    except OSError:
        return 32768


def serves(url: str) -> bool:
    """Whether an engine is served by a Podman of this host, of our own user or root: what listens may also forward."""
    peer_credentials = getattr(socket, "SO_PEERCRED", None)
    if peer_credentials is None or not url.startswith("unix://"):
        return False
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(url.removeprefix("unix://"))
            pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, peer_credentials, 12))
        # Of a process in another pid namespace it is 0; with podman.socket it is systemd that listens.
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        return name in ("podman", "systemd") and uid in (0, os.geteuid())
    except OSError:
        return False


def own_authorities() -> Path | None:
    """Return the bundle to trust where this host trusts certificate authorities of its own, else None.

    They show as SSL_CERT_FILE, or as files in the folder from which the system's bundle is made.
    """
    named = os.environ.get("SSL_CERT_FILE")
    if named and Path(named).is_file():
        return Path(named)
    for anchors, bundle in _ANCHORS.items():
        if Path(bundle).is_file() and any(path.is_file() for path in Path(anchors).rglob("*")):
            return Path(bundle)
    return None


def subnet_pool() -> tuple[str, int] | None:
    """Return where Podman takes subnets from first, as (network, prefix length), or None where that is unknown."""
    network = _merge(*(_read(source) for source in _in_force())).get("network", {})
    pools = network.get("default_subnet_pools", [_DEFAULT_POOL])
    try:
        return str(pools[0]["base"]), int(pools[0]["size"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def overrides(host: HostFacts) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Return the containers.conf values that fit this host, and a sentence for each for the report. Pure."""
    engine: dict[str, Any] = {}
    containers: dict[str, Any] = {}
    said: list[str] = []
    if host.hybrid_cgroups and host.runc:
        engine["runtime"] = "runc"
        said.append("hybrid cgroups (runc)")
    if not host.systemd:
        engine |= {"cgroup_manager": "cgroupfs", "events_logger": "file"}
        said.append("no systemd (cgroupfs, events in a file)")
    if host.low_limits:
        containers["default_ulimits"] = [f"{name}={hard}:{hard}" for name, hard in host.low_limits.items()]
        limits = ", ".join(containers["default_ulimits"])
        said.append(f"low hard limits ({limits})")
    conf = {name: table for name, table in (("engine", engine), ("containers", containers)) if table}
    return conf, tuple(said)


def write_configuration(path: Path, conf: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a containers.conf: what is in force for this user, with `conf` on top."""
    merged = _merge(*(_read(source) for source in _in_force()), conf)
    path.write_text(tomli_w.dumps(merged), encoding="utf-8")


def _in_force() -> Iterable[Path]:
    """Return the containers.conf files that Podman would read, in its order (containers.conf(5))."""
    if given := os.environ.get("CONTAINERS_CONF"):
        return [Path(given)]
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers"
    folders = [Path("/usr/share/containers"), Path("/etc/containers")]
    if os.geteuid() != 0:
        folders.append(home)
    return [
        path
        for folder in folders
        for path in (folder / "containers.conf", *sorted((folder / "containers.conf.d").glob("*.conf")))
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return {}


def _merge(*tables: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            known = merged.get(key)
            merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged
