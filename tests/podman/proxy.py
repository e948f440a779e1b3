"""A proxy in front of a real Podman, on a unix socket of its own, that misbehaves by rules.

Without a rule that matches it passes bytes both ways, whatever they mean: streams, hijacked connections, half-closed
ones. A connection is asked for its requests one after another: each head is read, decided on, and then forwarded, so
that keep-alive does not carry a request past the rules.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_END_S = 300.0
_SIZE = 65536


@dataclass
class Rule:
    """What happens to requests whose method and path match, from the `first` such request on, `count` times."""

    fault: Fault
    method: str = ".*"
    path: str = ""
    first: int = 1
    count: int | None = None
    seen: int = 0
    # After the first hit, everything.
    for_good: bool = False

    def hits(self, method: str, path: str) -> bool:
        if self.for_good and self.seen >= self.first:
            return True
        if not (re.fullmatch(self.method, method) and re.search(self.path, path)):
            return False
        self.seen += 1
        return self.seen >= self.first and (self.count is None or self.seen < self.first + self.count)


@dataclass
class Proxy:
    """The proxy while it runs. `asked` are the requests so far, `hit` those that a rule was applied to."""

    path: Path
    real: Path
    rules: list[Rule] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hit: list[tuple[float, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    deaf: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def rule(self, rule: Rule) -> None:
        """Have requests go wrong from now on."""
        with self._lock:
            self.rules.append(rule)

    def lift(self) -> None:
        """Be a good proxy again."""
        with self._lock:
            self.rules.clear()
        self.deaf.clear()

    def decide(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.asked.append(f"{method} {path}")
            for rule in self.rules:
                if rule.hits(method, path):
                    self.hit.append((time.monotonic(), f"{method} {path}"))
                    return rule.fault
        return None

    def lifted(self) -> bool:
        return not self.rules or self.closing.is_set()

    # -- one connection

    def serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while not self.closing.is_set():
                head = _head(client)
                if not head:
                    return
                method, path = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
                fault = self.decide(method, path)
                if fault is not None and not fault(self, client):
                    return
                if not self._forward(client, head):
                    return

    def _forward(self, client: socket.socket, head: bytes) -> bool:
        """Pass one request and its answer. The real one closes afterwards, unless it was hijacked; false then too."""
        upgrade = re.search(rb"\r\nupgrade:", head.partition(b"\r\n\r\n")[0], re.IGNORECASE) is not None
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(str(self.real))
            head, _, body = head.partition(b"\r\n\r\n")
            if not upgrade:
                head = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.IGNORECASE) + b"\r\nConnection: close"
            real.sendall(head + b"\r\n\r\n" + body)
            _both_ways(client, real, self.closing)
        return False


def _head(client: socket.socket) -> bytes:
    """A request's head, and what came with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(_SIZE)
        if not piece:
            return b""
        received += piece
    return received


def _both_ways(client: socket.socket, real: socket.socket, closing: threading.Event) -> None:
    """Pass bytes until the real one has no more to say. An end of one direction is passed on as just that."""
    other = {client: real, real: client}
    with selectors.DefaultSelector() as ready:
        for one in other:
            ready.register(one, selectors.EVENT_READ)
        while not closing.is_set():
            for key, _ in ready.select(0.2):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(_SIZE)
                if data:
                    other[source].sendall(data)
                    continue
                if source is real:
                    return
                ready.unregister(source)
                other[source].shutdown(socket.SHUT_WR)


# -- what can go wrong: each returns whether the request is forwarded after all

Fault = Callable[[Proxy, socket.socket], bool]


def _answer(client: socket.socket, status: str, body: bytes, kind: str = "application/json", length: int = -1) -> bool:
    size = len(body) if length < 0 else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    client.sendall(head.encode() + body)
    return False


def refuse(status: str = "500 Internal Server Error", words: str = "no, said the proxy") -> Fault:
    """Podman's own form of an error."""
    body = json.dumps({"cause": words, "message": words, "response": int(status.split(maxsplit=1)[0])}).encode()
    return lambda _, client: _answer(client, status, body)


def html(_: Proxy, client: socket.socket) -> bool:
    return _answer(client, "502 Bad Gateway", b"<html><h1>502 Bad Gateway</h1></html>", "text/html")


def answer(body: bytes) -> Fault:
    """A 200 with any body."""
    return lambda _, client: _answer(client, "200 OK", body)


def hang(proxy: Proxy, client: socket.socket) -> bool:
    """Accept, read, and answer nothing until the rules are lifted; what hung so long is never forwarded."""
    _until(proxy.lifted)
    return False


def close(_: Proxy, client: socket.socket) -> bool:
    return False


def half_headers(_: Proxy, client: socket.socket) -> bool:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: applic")
    return False


def half_body(_: Proxy, client: socket.socket) -> bool:
    return _answer(client, "200 OK", b'{"Id": "12', length=5000)


def half_body_and_hang(proxy: Proxy, client: socket.socket) -> bool:
    _answer(client, "200 OK", b'{"Id": "12', length=5000)
    return hang(proxy, client)


def half_chunks(_: Proxy, client: socket.socket) -> bool:
    client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{},\n\r\nff\r\n12")
    return False


def trickle(proxy: Proxy, client: socket.socket) -> bool:
    """A byte a second of an answer that is longer than anybody waits."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    _until(lambda: proxy.lifted() or client.send(b" ") == 0, every=1.0)
    return False


def slow(seconds: float) -> Fault:
    """The right answer, late."""

    def fault(proxy: Proxy, _: socket.socket) -> bool:
        proxy.closing.wait(seconds)
        return True

    return fault


def deaf(proxy: Proxy, client: socket.socket) -> bool:
    """Accept no more connections, and leave this one without an answer."""
    proxy.deaf.set()
    return hang(proxy, client)


def _until(seen: Callable[[], bool], every: float = 0.05) -> None:
    deadline = time.monotonic() + _END_S
    while not seen() and time.monotonic() < deadline:
        time.sleep(every)


@contextlib.contextmanager
def proxied(path: Path, real: Path) -> Iterator[Proxy]:
    """A proxy on `path` in front of the socket `real`."""
    proxy = Proxy(path, real)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(128)
        listening.settimeout(0.1)

        def accept() -> None:
            while not proxy.closing.is_set():
                if proxy.deaf.is_set():
                    time.sleep(0.05)
                    continue
                with contextlib.suppress(TimeoutError):
                    client, _ = listening.accept()
                    client.settimeout(_END_S)
                    threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.closing.set()
            accepting.join(5)
    path.unlink(missing_ok=True)
