"""The transport against a server that answers whatever a test says: nonsense, halves, nothing, too slowly."""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.engine.client import Engine
from infra.engine.transport import EngineRefused, NoAnswer


def http(body: bytes, status: str = "200 OK", length: int | None = None, more: str = "") -> bytes:
    told = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: {told}\r\nConnection: close\r\n\r\n".encode() + body


def refused(words: str, status: int = 500) -> bytes:
    return http(json.dumps({"cause": words, "message": words, "response": status}).encode(), f"{status} Error")


class Server:
    """Answers each path with given bytes and then closes, or never; `/_ping` is answered well unless it is given."""

    def __init__(self, answers: dict[str, bytes | None]) -> None:
        self.answers = {"/_ping": http(b"OK", more="Libpod-API-Version: 5.4.2\r\n"), **answers}
        self.asked: list[str] = []
        self.url = ""
        self.over = threading.Event()
        self.pause_s = 0.0

    def serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = client.recv(65536).decode()
            method, _, rest = head.partition(" ")
            path = rest.partition(" ")[0].partition("?")[0].removeprefix("/v4.3.0/libpod")
            self.asked.append(f"{method} {path}")
            answer = self.answers.get(path, refused("no such thing", 404))
            if answer is None:
                self.over.wait(60)
                return
            for index in range(len(answer) if self.pause_s else 1):
                client.sendall(answer[index : index + 1] if self.pause_s else answer)
                self.over.wait(self.pause_s)


Serve = Callable[[dict[str, bytes | None]], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(answers: dict[str, bytes | None]) -> Server:
            server = Server(answers)
            path = Path(f"/tmp/tt-{secrets.token_hex(4)}.sock")
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(path))
            listening.listen()
            listening.settimeout(0.05)
            server.url = f"unix://{path}"
            stack.callback(path.unlink)

            def accept() -> None:
                while not server.over.is_set():
                    with contextlib.suppress(TimeoutError):
                        client, _ = listening.accept()
                        client.settimeout(10)
                        threading.Thread(target=server.serve, args=(client,), daemon=True).start()

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(server.over.set)
            return server

        yield start


ASKS: dict[str, tuple[str, str, Callable[[Engine], object]]] = {
    "version": ("GET", "/_ping", lambda engine: engine.version()),
    "info": ("GET", "/info", lambda engine: engine.info()),
    "containers": ("GET", "/containers/json", lambda engine: engine.containers()),
    "state": ("GET", "/containers/c/json", lambda engine: engine.state("c")),
    "inspect": ("GET", "/containers/c/json", lambda engine: engine.inspect("c")),
    "networks": ("GET", "/networks/json", lambda engine: engine.networks()),
    "volumes": ("GET", "/volumes/json", lambda engine: engine.volumes()),
    "images": ("GET", "/images/json", lambda engine: engine.images()),
    "image": ("GET", "/images/i/json", lambda engine: engine.image_id("i")),
    "network": ("POST", "/networks/create", lambda engine: engine.create_network("n", {})),
    "volume": ("POST", "/volumes/create", lambda engine: engine.create_volume("v", {})),
    "pull": ("POST", "/images/pull", lambda engine: engine.pull("i", print)),
}
NONSENSE = {
    "no json": b"<html>",
    "half of it": b'{"Id": ',
    "a string": b'"yes"',
    "a list in a list": b"[[]]",
    "wrong types": b'[{"Id": 3, "id": 3, "Name": {}, "name": 4, "Labels": "x", "labels": 7, "Created": "x"}]',
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("ask", ASKS)
def test_nonsense_is_unavailable_and_names_what_was_asked(ask: str, body: bytes, serve: Serve) -> None:
    method, path, call = ASKS[ask]
    with pytest.raises(NoAnswer) as raised:
        call(Engine(serve({path: http(body)}).url))
    assert raised.value.reference == "engine-nonsense"
    assert f"{method} {path}" in raised.value.message
    assert raised.value.exit_code == 69


@pytest.mark.parametrize("ask", ["version", "info", "state", "image"])
@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b"null", b'{"State": [], "Id": 1, "Version": 4}', b'{"Version": "four"}']
)
def test_an_object_without_what_is_wanted_is_nonsense_too(ask: str, body: bytes, serve: Serve) -> None:
    _, path, call = ASKS[ask]
    with pytest.raises(NoAnswer, match="cannot be understood"):
        call(Engine(serve({path: http(body)}).url))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"what?\r\n\r\n",
        http(b"[{", length=900),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{},\n\r\nff\r\n12",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n[{}]",
        http(b"<h1>Bad Gateway</h1>", "502 Bad Gateway"),
        http(b"[]", "500 Error"),
        http(b'{"message": 7}', "404 Not Found"),
    ],
)
@pytest.mark.parametrize("ask", ["containers", "network", "image"])
def test_half_an_answer_is_unavailable(ask: str, broken: bytes, serve: Serve) -> None:
    _, path, call = ASKS[ask]
    with pytest.raises(NoAnswer) as raised:
        call(Engine(serve({path: broken}).url))
    assert raised.value.reference in ("engine-gone", "engine-nonsense")


def test_a_pull_that_breaks_off_is_unavailable(serve: Serve) -> None:
    for half in (b'{"stream": "Copying"}\n{"str', b""):
        with pytest.raises(NoAnswer):
            Engine(serve({"/images/pull": http(half, length=900)}).url).pull("i", print)


def test_what_is_refused_has_the_engines_words(serve: Serve) -> None:
    engine = Engine(serve({"/networks/create": refused("no subnet is free")}).url)
    with pytest.raises(EngineRefused) as raised:
        engine.create_network("n", {})
    assert (raised.value.message, raised.value.status, raised.value.exit_code) == ("no subnet is free", 500, 75)


def test_an_engine_that_refuses_everything_is_unavailable(serve: Serve) -> None:
    engine = Engine(serve({"/networks/create": refused("no"), "/_ping": refused("no")}).url)
    with pytest.raises(NoAnswer, match="refuses everything: no"):
        engine.create_network("n", {})


def test_a_question_that_is_refused_is_asked_again_and_a_change_is_not(serve: Serve) -> None:
    server = serve({"/volumes/json": refused("busy"), "/volumes/create": refused("busy")})
    for call in (Engine(server.url).volumes, lambda: Engine(server.url).create_volume("v", {})):
        with pytest.raises(EngineRefused, match="busy"):
            call()
    assert server.asked.count("GET /volumes/json") > 3
    assert server.asked.count("POST /volumes/create") == 1


def test_a_call_without_an_answer_is_bounded_and_the_next_ones_are_short(serve: Serve) -> None:
    engine = Engine(serve({"/volumes/json": None, "/networks/json": None}).url, timeout=1.0)
    start = time.monotonic()
    with pytest.raises(NoAnswer) as raised:
        engine.volumes()
    assert raised.value.reference == "engine-hangs"
    assert "GET /volumes/json" in raised.value.message
    assert time.monotonic() - start < 4
    assert engine.silent
    assert engine.clone().silent, "a clone knows it"
    assert engine.version() == "5.4.2"
    assert not engine.silent, "it answers again"


def test_a_trickle_is_bounded_as_a_whole(serve: Serve) -> None:
    server = serve({"/volumes/json": http(b" " * 3000)})
    server.pause_s = 0.1
    start = time.monotonic()
    with pytest.raises(NoAnswer):
        Engine(server.url, timeout=1.0).volumes()
    assert time.monotonic() - start < 4


def test_an_engine_that_hangs_altogether_is_given_up_on_before_the_bound(serve: Serve) -> None:
    engine = Engine(serve({"/networks/create": None, "/_ping": None}).url)
    start = time.monotonic()
    with pytest.raises(NoAnswer) as raised:
        engine.create_network("n", {})
    assert raised.value.reference == "engine-hangs"
    assert time.monotonic() - start < 20, "30 s are for an engine that answers something"


def test_rows_without_the_labels_that_were_asked_for_are_not_believed(serve: Serve) -> None:
    rows = [{"name": "a", "labels": {"k": "1"}}, {"name": "b", "labels": {"k": "2"}}, {"name": "c", "labels": None}]
    engine = Engine(serve({"/networks/json": http(json.dumps(rows).encode())}).url)
    assert [one.name for one in engine.networks({"k": "1"})] == ["a"]
    assert [one.name for one in engine.networks({"k": ""})] == ["a", "b"]
    assert [one.name for one in engine.networks()] == ["a", "b", "c"]


def test_following_a_log_that_breaks_off_is_an_error_of_ours_and_says_what_there_was(serve: Serve) -> None:
    frames = b"".join(b"\1\0\0\0" + len(text).to_bytes(4, "big") + text for text in (b"one\ntw", b"o\nthree"))
    said: list[str] = []
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + f"{len(frames):x}".encode() + b"\r\n" + frames
    engine = Engine(serve({"/containers/c/logs": broken + b"\r\nff\r\n12"}).url)
    with pytest.raises(NoAnswer):
        engine.follow_logs("c", said.append)
    assert said == ["one", "two"]
