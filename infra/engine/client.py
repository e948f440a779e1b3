"""Transport to Podman's API by podman-py, in types of ours. The only module that imports podman.

Raw requests on purpose: podman-py's resource managers ignore filters, drop options in silence and wait without a
bound (pitfalls.md). Every call has a bound. What cannot be reached, hangs or speaks nonsense is `NoAnswer`; what the
engine refuses is `EngineRefused` with the engine's own words; removing what is not there is success.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import requests

from infra.cgroups import Usage
from infra.engine import answers, bodies, names
from infra.engine.transport import EngineRefused, Transport
from infra.engine.types import Container, ContainerSpec, ContainerState, Event, Image, Resource, TarFile
from infra.errors import Unavailable
from infra.labels import Labels

OLDEST = (4, 3)
_FOLLOW = 24 * 3600.0
_PULL = 1800.0
_STARTED = (204, 304)


class Engine(Transport):
    """One Podman service. Not thread-safe: `clone()` gives another thread its own session."""

    def clone(self, timeout: float | None = None) -> Engine:
        """Return a client of the same engine with a session of its own."""
        return Engine(self.url, timeout=timeout or self._timeout, identity=self._identity, health=self._health)

    # -- the engine itself

    def version(self) -> str:
        """Return the engine's version; raises `Unavailable` when it is older than we support."""
        # Not /version: for that Podman asks all its helpers for theirs, which takes 0.25 s.
        said = self._call("GET", "/_ping").headers.get("Libpod-API-Version")
        version, numbers = self._understood("GET", "/_ping", answers.version, json.dumps({"Version": said}).encode())
        if numbers < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Unavailable(
                f"Podman at {self.url} is {version}; {oldest} is the oldest supported",
                reference="podman-too-old",
                remedy=f"podman --url {self.url} version  # {oldest} or newer is wanted there",
                blame="user",
            )
        return version

    def info(self) -> dict[str, Any]:
        """Return `podman info` as the engine answers it, or has answered to this client or a clone of it."""
        if self._health.info is None:
            self._health.info = self._read("GET", "/info", answers.info)
        return self._health.info

    def events(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Return the engine's events so far of what carries `labels`, a JSON document a line."""
        params = {"stream": "false", "since": "24h", **_filters(labels)}
        response = self._call("GET", "/events", params=params)
        return tuple(line.decode("utf-8", "replace") for line in response.iter_lines() if line)

    def container_events(self, container: str) -> tuple[Event, ...]:
        """Return what has happened to a container in the last day, in order."""
        params = {"stream": "false", "since": "24h", "filters": json.dumps({"container": [container]})}
        response = self._call("GET", "/events", params=params)
        return tuple(self._understood("GET", "/events", answers.event, one) for one in response.iter_lines() if one)

    # -- containers

    def create(self, spec: ContainerSpec) -> str:
        """Create a container and return its id. Never pulls."""
        return self._read("POST", "/containers/create", _id, data=json.dumps(bodies.container(spec)))

    def put_files(self, container: str, files: Sequence[TarFile]) -> None:
        """Copy files into a created container; missing parent folders are made."""
        if files:
            # Without copyUIDGID=false libpod gives all of it to the user that the image names, whoever should own it.
            words = {"path": "/", "copyUIDGID": "false"}
            self._call("PUT", f"/containers/{container}/archive", params=words, data=bodies.archive(files))

    def start(self, container: str) -> None:
        """Start a created container."""
        self._call("POST", f"/containers/{container}/start", expect=_STARTED)

    def state(self, container: str) -> ContainerState | None:
        """Return the container's state, or None where there is no such container."""
        try:
            return self._read("GET", f"/containers/{container}/json", answers.state)
        except EngineRefused as error:
            if error.status == requests.codes.not_found:
                return None
            raise

    def inspect(self, container: str) -> dict[str, Any]:
        """Return the engine's whole answer, for evidence."""
        return self._read("GET", f"/containers/{container}/json", answers.an_object)

    def usage(self, containers: Sequence[str]) -> Mapping[str, Usage]:
        """Return what running containers use now, by their names."""
        params = {"containers": list(containers), "stream": "false"}
        return self._read("GET", "/containers/stats", answers.usage, params=params)

    def logs(self, container: str, tail: int | None = None) -> str:
        """Return what the container has written, both streams in order, the last `tail` lines or all."""
        return b"".join(self.log_pieces(container, tail)).decode("utf-8", "replace")

    def log_pieces(self, container: str, tail: int | None = None) -> Generator[bytes, None, None]:
        """Yield the same as it comes; who has enough closes it. The engine takes long for many last lines.

        Measured with Podman 4.3.1, lines of 100 bytes: 200 in 0.01 s, 20,000 in 0.8, 50,000 in 3.3; 100 MB whole in 7.
        """
        params = {"stdout": "true", "stderr": "true", "tail": "all" if tail is None else str(tail)}
        return _payloads(self._stream("GET", f"/containers/{container}/logs", params=params))

    def follow_logs(self, container: str, on_line: Callable[[str], None]) -> None:
        """Call `on_line` for each line until the container ends or the engine goes away. Use a `clone()`."""
        params = {"stdout": "true", "stderr": "true", "follow": "true"}
        pending = b""
        for piece in _payloads(self._stream("GET", f"/containers/{container}/logs", params=params, timeout=_FOLLOW)):
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                on_line(line.decode("utf-8", "replace"))

    def stop(self, container: str, grace_s: float) -> None:
        """Ask a container to end and kill it after the grace period."""
        timeout = grace_s + self._timeout
        path = f"/containers/{container}/stop"
        self._call("POST", path, params={"timeout": str(int(grace_s))}, gone_ok=True, timeout=timeout)

    def kill(self, container: str, signal: str) -> None:
        """Send a signal to a container's first process."""
        self._call("POST", f"/containers/{container}/kill", params={"signal": signal})

    def freeze(self, container: str, *, frozen: bool) -> None:
        """Freeze all processes of a container, or let them go on."""
        self._call("POST", f"/containers/{container}/{'pause' if frozen else 'unpause'}")

    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; no grace."""
        # Without "volumes" (the libpod path does not know Docker's "v") its anonymous volumes stay, nobody's.
        params = {"force": "true", "volumes": "true", "timeout": "0"}
        self._call("DELETE", f"/containers/{container}", params=params, gone_ok=True)

    def containers(self, labels: Mapping[str, str] | None = None, *, external: bool = False) -> tuple[Container, ...]:
        """Return all containers, running or not, that carry `labels`; with `external` also storage containers."""
        params = {"all": "true", **({"external": "true"} if external else {}), **_filters(labels)}
        wanted = labels or {}
        return self._read("GET", "/containers/json", lambda data: answers.containers(data, wanted), params=params)

    # -- networks and volumes

    def create_network(
        self, name: str, labels: Labels, *, interface: str | None = None, subnet: str | None = None
    ) -> str:
        """Create a bridge network with names; return its subnet, as in `10.89.0.0/24`."""
        body: dict[str, Any] = {"name": name, "driver": "bridge", "dns_enabled": True, "labels": labels}
        if interface is not None:
            body["network_interface"] = interface
        if subnet is not None:
            body["subnets"] = [{"subnet": subnet}]
        return self._read("POST", "/networks/create", answers.subnet, data=json.dumps(body))

    def networks(self, labels: Mapping[str, str] | None = None) -> tuple[Resource, ...]:
        """Return the networks that carry `labels`."""
        read = partial(answers.resources, name="name", labels="labels", wanted=labels or {})
        return self._read("GET", "/networks/json", read, params=_filters(labels))

    def subnet(self, network: str) -> str | None:
        """Return the subnet of a network, or None where there is no such network."""
        try:
            return self._read("GET", f"/networks/{network}/json", answers.subnet)
        except EngineRefused as error:
            if error.status == requests.codes.not_found:
                return None
            raise

    def remove_network(self, name: str) -> None:
        """Remove a network."""
        self._call("DELETE", f"/networks/{name}", gone_ok=True)

    def create_volume(self, name: str, labels: Labels) -> None:
        """Create an empty volume."""
        body = json.dumps({"Name": name, "Labels": labels})
        self._read("POST", "/volumes/create", answers.an_object, data=body)

    def volumes(self, labels: Mapping[str, str] | None = None) -> tuple[Resource, ...]:
        """Return the volumes that carry `labels`."""
        read = partial(answers.resources, name="Name", labels="Labels", wanted=labels or {})
        return self._read("GET", "/volumes/json", read, params=_filters(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a volume. Never by force: that would remove the containers that use it, whosever they are."""
        self._call("DELETE", f"/volumes/{name}", gone_ok=True)

    # -- images

    def images(self, labels: Mapping[str, str] | None = None, reference: str | None = None) -> tuple[Image, ...]:
        """Return the images that carry `labels`, without the intermediate ones of builds.

        `reference` is a pattern for the last part of a name, `*:*-1884d074`: of all others no size is computed, which
        is what takes long.
        """
        params = _filters(labels)
        if reference is not None:
            params = {"filters": json.dumps({"reference": [reference]})}
        return self._read("GET", "/images/json", lambda data: answers.images(data, labels or {}), params=params)

    def image_id(self, ref: str) -> str | None:
        """Return the id of an image in local storage, or None."""
        found = self.image(ref)
        return None if found is None else found[0]

    def image(self, ref: str) -> tuple[str, Mapping[str, str]] | None:
        """Return the id and the labels of an image in local storage, or None. A list would compute every size."""
        try:
            return self._read("GET", f"/images/{ref}/json", answers.image)
        except EngineRefused as error:
            if error.status == requests.codes.not_found:
                return None
            raise

    def tag(self, image: str, ref: str) -> None:
        """Give an image another name."""
        repo, _, tag = ref.rpartition(":")
        with names.alone():
            self._call("POST", f"/images/{image}/tag", params={"repo": repo, "tag": tag})

    def untag(self, ref: str) -> None:
        """Take a name away; the image stays."""
        repo, _, tag = ref.rpartition(":")
        with names.alone():
            self._call("POST", f"/images/{ref}/untag", params={"repo": repo, "tag": tag}, gone_ok=True)

    def remove_image(self, image: str, *, force: bool = False) -> None:
        """Remove an image that nothing uses, or one of its names; by force also one that cannot be read."""
        with names.alone():
            self._call("DELETE", f"/images/{image}", params={"force": "true"} if force else {}, gone_ok=True)

    def pull(self, ref: str, on_line: Callable[[str], None]) -> None:
        """Pull an image, its progress line by line. Raises `EngineRefused` with the registry's words."""
        params = {"reference": ref, "policy": "missing"}
        self._bounded("POST", "/images/pull", lambda: self._pull(params, on_line), _PULL)

    def _pull(self, params: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        for line in _lines(self._stream("POST", "/images/pull", params=params, timeout=_PULL)):
            event = self._understood("POST", "/images/pull", answers.an_object, line)
            if "error" in event:
                raise EngineRefused(str(event["error"]), 500)
            if text := event.get("stream"):
                on_line(str(text).rstrip())


def _filters(labels: Mapping[str, str] | None) -> dict[str, str]:
    """The parameter by which the API filters by labels, none without any; an empty value asks for the key alone."""
    wanted = [f"{key}={value}" if value else key for key, value in (labels or {}).items()]
    return {"filters": json.dumps({"label": wanted})} if wanted else {}


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    pending = b""
    for piece in pieces:
        *lines, pending = (pending + piece).split(b"\n")
        yield from filter(None, lines)
    if pending:
        yield pending


def _id(data: object) -> str:
    return answers.a_text(answers.an_object(data)["Id"])


def _payloads(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Split Podman's log stream: 8 bytes of header, of which the last four are the length."""
    received = bytearray()
    for piece in pieces:
        received += piece
        at = 0
        while len(received) >= at + 8 + (size := int.from_bytes(received[at + 4 : at + 8], "big")):
            yield bytes(received[at + 8 : at + 8 + size])
            at += 8 + size
            if len(received) < at + 8:
                break
        del received[:at]
