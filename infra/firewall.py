"""What netavark has left in the firewall of a network that is gone: chains that it names, and the jumps to them.

Where it is stopped half way through (the firewall is busy, it is killed), the published ports stay forwarded to an
address that nobody has, and whoever publishes one of them next is not reached. Chains without rules stay each time
(netavark 1.4). Rules that only name the subnet stay here too: they accept what nobody sends.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

_COMMAND_S = 5.0
_TABLE = "inet netavark"


def remove(name: str, network_id: str) -> None:
    """Remove what the firewall has of a network that was removed. Only root may."""
    _remove_from_iptables(name)
    _remove_from_nftables(network_id)


def _remove_from_iptables(name: str) -> None:
    """Podman 4's chains end in the first 13 digits of the SHA-512 of the network's name."""
    digest = hashlib.sha512(name.encode()).hexdigest()[:13].upper()
    rules = _said("iptables-save", "-t", "nat").splitlines()
    chains = [f"NETAVARK-{digest}", f"NETAVARK-DN-{digest}"]
    chains = [chain for chain in chains if any(rule.startswith(f":{chain} ") for rule in rules)]
    jumps = [rule for rule in rules if rule.startswith("-A ") and rule.endswith(tuple(f"-j {c}" for c in chains))]
    changes = [f"-D {jump.removeprefix('-A ')}" for jump in jumps]
    changes += [f"{change} {chain}" for change in ("-F", "-X") for chain in chains]
    if changes:
        _said("iptables-restore", "--noflush", "--wait", given="\n".join(["*nat", *changes, "COMMIT", ""]))


def _remove_from_nftables(network_id: str) -> None:
    """Podman 5's chains begin with the first 8 digits of the network's id."""
    prefix = f"nv_{network_id[:8]}_"
    said = _said("nft", "--json", "list", "table", *_TABLE.split()) if network_id else ""
    listed = _rows(said)
    chains = [str(one["chain"]["name"]) for one in listed if one.get("chain", {}).get("name", "").startswith(prefix)]
    jumps = [one["rule"] for one in listed if _jumps(one.get("rule", {}), prefix)]
    changes = [f"delete rule {_TABLE} {jump['chain']} handle {jump['handle']}" for jump in jumps]
    changes += [f"{change} chain {_TABLE} {chain}" for change in ("flush", "delete") for chain in chains]
    if changes:
        _said("nft", "--file", "-", given="\n".join([*changes, ""]))


def _rows(said: str) -> list[dict[str, Any]]:
    try:
        return list(json.loads(said)["nftables"])
    except (ValueError, LookupError, TypeError):
        return []


def _jumps(rule: dict[str, Any], prefix: str) -> bool:
    """Whether a rule jumps to a chain of that prefix."""
    return any(str(part.get("jump", {}).get("target", "")).startswith(prefix) for part in rule.get("expr", ()))


def _said(*argv: str, given: str = "") -> str:
    """Return what a command says, or nothing where it is not here or cannot."""
    try:
        done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=_COMMAND_S, check=True)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout
