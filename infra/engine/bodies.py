"""What the engine is sent: the body that creates a container, the archive of its files. Pure."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from typing import Any

from infra.engine.types import HOST, ContainerSpec, TarFile


def container(spec: ContainerSpec) -> dict[str, Any]:
    """Return the body of libpod's create."""
    body: dict[str, Any] = {
        "name": spec.name,
        "image": spec.image,
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "netns": {"nsmode": "bridge"},
        "networks": {spec.network: _attachment(spec)},
        "hostadd": [f"{name}:{address}" for name, address in spec.hosts.items()],
        "portmappings": [
            {"container_port": port, "host_port": host, "host_ip": HOST, "protocol": "tcp"}
            for port, host in spec.ports.items()
        ],
        "stop_timeout": int(spec.stop_grace_s),
        # The official images declare volumes; without this each container leaks one that has no label.
        "image_volume_mode": "ignore",
        "log_configuration": {"driver": "k8s-file"},
    }
    body |= {"command": list(spec.command)} if spec.command else {}
    if spec.volume is not None:
        body["volumes"] = [{"Name": spec.volume[0], "Dest": spec.volume[1]}]
    if spec.restarts:
        body |= {"restart_policy": "on-failure", "restart_tries": spec.restarts}
    body |= {"resource_limits": spec.limits} if spec.limits else {}
    return body


def _attachment(spec: ContainerSpec) -> dict[str, Any]:
    own = {"static_ips": [spec.address], "static_mac": spec.mac} if spec.address else {}
    return {"aliases": [spec.alias], **own}


def archive(files: Sequence[TarFile]) -> bytes:
    """Return files as a tar, with their modes and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode, entry.uid, entry.gid = len(file.content), file.mode, file.owner, file.owner
            tar.addfile(entry, io.BytesIO(file.content))
        end = tar.offset
    # Two empty blocks end an archive. Python pads on to 10 KiB, which Podman 4.3.1 may leave unread: "broken pipe".
    return buffer.getvalue()[: end + 2 * tarfile.BLOCKSIZE]
