"""What a process of this host does in its container, by /proc: where it takes connections, and its CPU time."""

from __future__ import annotations

import ipaddress
import os
import struct
from pathlib import Path

_LISTEN = "0A"


def listening(pid: int) -> tuple[str, ...] | None:
    """Return the addresses on which the network of a process takes TCP, as in `0.0.0.0:8080`; None where unknown."""
    found: set[tuple[int, str]] = set()
    try:
        for name in ("tcp", "tcp6"):
            lines = Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()
            for line in lines[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    address, _, port = fields[1].partition(":")
                    found.add((int(port, 16), _address(address)))
    except (OSError, ValueError, IndexError):
        return None
    return tuple(f"{address}:{port}" for port, address in sorted(found))


def _address(text: str) -> str:
    """Read the kernel's form: words of 32 bits in the host's order, as hex."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)))


def cpu_s(pid: int) -> float | None:
    """Return the CPU seconds of a process and its ended children; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
