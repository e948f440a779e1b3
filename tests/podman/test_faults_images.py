"""F20 to F27 and F51: images that are not to be had, builds that fail, and images that vanish."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from faults import DEBIAN, Fault, caused, is_told, script, small_catalog, small_workspace, written_down
from product import Done, Podman, Project, free_ports, git, step
from registry import registries_conf, serving

pytestmark = pytest.mark.usefixtures("warm")

# Of these tests alone: somebody's stack of the same service, left up, would be used.
SERVICE = "pictured"
JOB = 'kind = "job"\n[ready]\nprobe = "completed"\ntimeout = "60s"\n'


@pytest.fixture
def faulty(tmp_path: Path, make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Make a project of a small catalogue and a small workspace."""

    def make(components: dict[str, str], files: dict[str, str] | None = None) -> Project:
        catalog = small_catalog(tmp_path / "catalog", components, list(components), service=SERVICE)
        return make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace", files))

    return make


def job(image: str) -> str:
    return f'image = "{image}"\ncommand = ["true"]\n{JOB}'


def built(name: str, more: str = "") -> str:
    """A component that is built from the workspace's Containerfile, on the Debian base."""
    return (
        f'image = "localhost/{name}"\n{more}{JOB}'
        f'[build]\ncontainerfile = "{name}/Containerfile"\ncontext = "{name}"\n'
        f'[build.images]\nBASE = "{DEBIAN}"\n'
    )


def containerfile(name: str, *lines: str) -> dict[str, str]:
    return {f"{name}/Containerfile": "\n".join(["ARG BASE", "FROM ${BASE}", *lines, ""]), f"{name}/file": "a\n"}


# -- F20, F21: registries


@contextlib.contextmanager
def answering(status: int, code: str, message: str) -> Iterator[int]:
    """Play a registry that answers every manifest so; yields its port."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v2/" else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(5)


def pulled(project: Project, tmp_path: Path, port: int, **env: str) -> Fault:
    return caused(project, SERVICE, **registries_conf(tmp_path / "registries.conf", port), **env)


ABSENT = "docker.io/library/absent:16"


@pytest.mark.parametrize("images", ["auto", "registry"])
def test_f20_what_is_told(faulty: Callable[..., Project], tmp_path: Path, images: str) -> None:
    with serving(tmp_path / "server") as registry:
        fault = pulled(faulty({"one": job(ABSENT)}), tmp_path, registry.port, INFRA_IMAGES=images)
    is_told(
        fault,
        reference="image-unknown",
        blame="user",
        code=74,
        step="image absent",
        says=[f"the registry has no image {ABSENT}", "never published", "manifest unknown"],
        remedy=f"${{EDITOR:-vi}} {tmp_path}/catalog/components/one.toml  # image; what there is: podman search "
        "--list-tags docker.io/library/absent",
        shows=["manifest unknown"],
    )
    assert fault.report["duration_s"] < 20
    written_down("F20", f"a real registry without it (INFRA_IMAGES={images})", fault, fault.report["duration_s"])


def test_f20_what_is_told_of_a_name_that_is_unknown(faulty: Callable[..., Project], tmp_path: Path) -> None:
    with answering(404, "NAME_UNKNOWN", "repository name not known to registry") as port:
        fault = pulled(faulty({"one": job(ABSENT)}), tmp_path, port)
    is_told(fault, reference="image-unknown", blame="user", code=74, step="image absent", says=['"name unknown"'])


def test_f20_what_is_told_of_one_that_is_denied(faulty: Callable[..., Project], tmp_path: Path) -> None:
    with answering(403, "DENIED", "requested access to the resource is denied") as port:
        fault = pulled(faulty({"one": job(ABSENT)}), tmp_path, port)
    is_told(
        fault,
        reference="image-denied",
        blame="user",
        code=74,
        step="image absent",
        says=["it is private, or there is none of that name"],
        remedy=f"podman login docker.io && podman pull {ABSENT}  # or mend the name in {tmp_path}/catalog",
        shows=["denied"],
    )
    written_down("F20", "a registry that denies it", fault, fault.report["duration_s"])


def test_f21_what_is_told(faulty: Callable[..., Project], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    fault = pulled(faulty({"one": job(ABSENT)}), tmp_path, port)
    is_told(
        fault,
        reference="registry-unreachable",
        blame="infrastructure",
        code=74,
        step="image absent",
        says=[f"no registry answers for {ABSENT}", "connection refused"],
        remedy=f"podman pull {ABSENT}  # shows it; or add a recipe, local/<name>.toml",
        shows=[f"127.0.0.1:{port}"],
    )
    assert fault.report["duration_s"] < 20
    written_down("F21", "nobody listens at the registry's address", fault, fault.report["duration_s"])


def test_f21_what_is_told_where_the_name_does_not_resolve(faulty: Callable[..., Project]) -> None:
    fault = caused(faulty({"one": job("registry.nowhere.invalid/team/app:1")}), SERVICE)
    is_told(
        fault,
        reference="registry-unreachable",
        blame="infrastructure",
        code=74,
        step="image app",
        says=["no registry answers for registry.nowhere.invalid/team/app:1"],
        remedy="podman pull registry.nowhere.invalid/team/app:1",
    )
    written_down("F21", "the registry's name does not resolve", fault, fault.report["duration_s"])


def test_f21_what_is_told_of_a_rate_limit(faulty: Callable[..., Project], tmp_path: Path) -> None:
    """Podman tries for two minutes; it is asked what it thinks after three seconds."""
    with answering(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.") as port:
        fault = pulled(faulty({"one": job(ABSENT)}), tmp_path, port)
    is_told(
        fault,
        reference="rate-limited",
        blame="infrastructure",
        code=74,
        step="image absent",
        says=["too many requests (429)"],
        remedy="podman login docker.io  # and again; or wait",
        shows=["429 Too Many Requests"],
    )
    assert fault.report["duration_s"] < 20
    written_down("F21", "a server that plays the registry: 429", fault, fault.report["duration_s"])


@pytest.mark.parametrize("images", ["auto", "registry"])
def test_f21_what_is_told_of_a_gateway_that_gives_up(
    faulty: Callable[..., Project], tmp_path: Path, images: str
) -> None:
    with answering(504, "", "") as port:
        fault = pulled(faulty({"one": job(ABSENT)}), tmp_path, port, INFRA_IMAGES=images)
    is_told(
        fault,
        reference="registry-broken",
        blame="infrastructure",
        code=74,
        step="image absent",
        says=["504 Gateway Timeout"],
        remedy=f"podman pull {ABSENT}  # when it is well again",
        shows=["504 Gateway Timeout"],
    )
    written_down("F21", f"a server that plays the registry: 504 ({images})", fault, fault.report["duration_s"])


# -- F22, F23: catalogues that are refused


def test_f22_what_is_told(faulty: Callable[..., Project], tmp_path: Path, podman: Podman) -> None:
    fault = caused(faulty({"one": job("postgres:16")}), SERVICE)
    is_told(
        fault,
        reference="short-name",
        blame="user",
        code=78,
        step=None,
        says=["one.toml: image: ", "named in full, with its registry", "not 'postgres:16'"],
        remedy=f"${{EDITOR:-vi}} {tmp_path}/catalog/components/one.toml  # image",
    )
    assert fault.report["steps"] == []
    assert podman.left_of(fault.report["run"]) == []
    written_down("F22", "postgres:16 in a catalogue", fault, fault.report["duration_s"])


def test_f22_what_is_told_of_a_short_name_in_a_containerfile(faulty: Callable[..., Project], tmp_path: Path) -> None:
    files = {"app/Containerfile": "FROM nosuchimage:16\n", "app/file": "a\n"}
    fault = caused(faulty({"one": built("app")}, files), SERVICE)
    is_told(
        fault,
        reference="short-name",
        blame="user",
        code=74,
        step="image app",
        says=["has no registry in its name", "nosuchimage:16"],
        remedy=f"${{EDITOR:-vi}} {tmp_path}/workspace/app/Containerfile  # docker.io/library/NAME:TAG",
        shows=["nosuchimage:16"],
    )
    written_down("F22", "nosuchimage:16 in a Containerfile", fault, fault.report["duration_s"])


@pytest.mark.parametrize("gone", ["containerfile", "context"])
def test_f23_what_is_told(faulty: Callable[..., Project], tmp_path: Path, gone: str, podman: Podman) -> None:
    project = faulty({"one": built("app")}, containerfile("app"))
    workspace = tmp_path / "workspace"
    at = workspace / "app" / "Containerfile" if gone == "containerfile" else workspace / "app"
    at.rename(workspace / "elsewhere")
    fault = caused(project, SERVICE)
    what = "no file at" if gone == "containerfile" else "no folder at"
    is_told(
        fault,
        reference="build-files-missing",
        blame="user",
        code=78,
        step=None,
        says=[f"one.toml: build.{gone}: {what} {at}"],
        remedy=f"${{EDITOR:-vi}} {tmp_path}/catalog/components/one.toml  # build.{gone}: the right path; or point",
    )
    assert podman.left_of(fault.report["run"]) == []
    written_down("F23", f"the {gone} is moved", fault, fault.report["duration_s"])


def test_f23_what_is_told_of_a_file_that_a_build_copies(faulty: Callable[..., Project], tmp_path: Path) -> None:
    project = faulty({"one": built("app")}, containerfile("app", "COPY file /", "RUN true"))
    git(tmp_path / "workspace", "mv", "app/file", "app/moved")
    fault = caused(project, SERVICE)
    is_told(
        fault,
        reference="build-file-missing",
        blame="user",
        code=74,
        step="image app",
        says=["copies what the build's context does not have", "file"],
        remedy=f"git -C {tmp_path}/workspace/app status --short --ignored",
        shows=["no such file or directory"],
    )
    written_down("F23", "a file that is copied is moved", fault, fault.report["duration_s"])


# -- F24, F25: builds


def test_f24_what_is_told(faulty: Callable[..., Project]) -> None:
    second = "RUN echo said-by-the-second; date +%s.%N; ls /nowhere"
    lines = ("RUN echo of-the-first-step", second, "RUN echo never")
    fault = caused(faulty({"one": built("app")}, containerfile("app", *lines)), SERVICE)
    is_told(
        fault,
        reference="build-failed",
        blame="product",
        code=74,
        step="image app",
        says=[f": {second} failed (exit code 2): ls: cannot access '/nowhere': No such file or directory"],
        remedy=f"less .infra/runs/{fault.report['run']}/logs/build-app.log",
        shows=["said-by-the-second", "No such file or directory"],
    )
    evidence = fault.cause["evidence"]
    assert not [line for line in evidence if "of-the-first-step" in line or "echo never" in line]
    assert "of-the-first-step" in fault.log("build-app.log")
    shown = next(float(line) for line in evidence if re.fullmatch(r"\d+\.\d+", line))
    image = step(fault.report, "image app")
    began = datetime.fromisoformat(fault.report["started"]).timestamp()
    seconds = round(began + image["start_s"] + image["duration_s"] - shown, 2)
    assert seconds < 10
    written_down("F24", "a RUN step that fails", fault, seconds)


ARM = "printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\267\\0\\1\\0\\0\\0' > /program && chmod 755 /program"


def test_f25_what_is_told(faulty: Callable[..., Project]) -> None:
    """A program with an arm64 ELF header; the image it is in says amd64."""
    text = built("app", 'command = ["/program"]\n')
    fault = caused(faulty({"one": text}, containerfile("app", f"RUN {ARM}")), SERVICE)
    is_told(
        fault,
        reference="wrong-architecture",
        blame="infrastructure",
        code=75,
        step="one",
        says=["exec format error"],
        remedy=f"podman image inspect localhost/app:{SERVICE}-",
        shows=["exec format error"],
    )
    assert fault.cause["named_after_s"] is None or fault.cause["named_after_s"] < 10
    written_down("F25", "a program with an arm64 ELF header", fault)


def test_f25_what_is_told_in_a_build(faulty: Callable[..., Project]) -> None:
    lines = (f"RUN {ARM}", 'RUN ["/program"]')
    fault = caused(faulty({"one": built("app")}, containerfile("app", *lines)), SERVICE)
    is_told(
        fault,
        reference="build-wrong-architecture",
        blame="infrastructure",
        code=74,
        step="image app",
        says=["the build runs a program for another architecture", "exec /program: exec format error"],
        remedy="/workspace/app/Containerfile  # FROM, or what it downloads",
        shows=["exec format error"],
    )
    written_down("F25", "the same in a build's RUN", fault, fault.report["duration_s"])


# -- F26, F27: images that vanish


def vanishing(project: Project, podman: Podman, *words: str) -> tuple[Fault, float]:
    """While the first component goes on, remove the image of the second; seconds from its turn to the cause."""
    with project.going("suite.run", "--service", SERVICE) as going:
        going.says("image app")
        tag = f"localhost/app:{SERVICE}-{going.run}"
        podman("image", "exists", tag)
        podman(*words, tag)
        going.says("first  ")
        began = time.monotonic()
        going.says("to do: ")
        seconds = time.monotonic() - began
        code = going.ends()
    return Fault(Done((), code, going.text, ""), project.report(going.run), project.runs / going.run), seconds


@pytest.mark.parametrize(
    ("number", "words"), [("F26", ("untag",)), ("F27", ("rmi", "--force"))], ids=["F26 its tag", "F27 the image"]
)
def test_f26_and_f27_what_is_told(
    faulty: Callable[..., Project], podman: Podman, number: str, words: tuple[str, ...]
) -> None:
    first = script("sleep 4") + JOB
    # What is built here is nobody else's: another test's image is not removed.
    project = faulty(
        {"first": first, "second": built("app", 'command = ["true"]\n')},
        containerfile("app", f"LABEL tests.{number}={time.time_ns()}"),
    )
    fault, seconds = vanishing(project, podman, *words)
    is_told(
        fault,
        reference="image-vanished",
        blame="infrastructure",
        code=75,
        step="second",
        says=[f"its image localhost/app:{SERVICE}-{fault.report['run']} was there, and is not any more"],
        remedy="podman events",
        shows=["localhost/app"],
    )
    assert seconds < 10
    written_down(number, f"podman {' '.join(words)} while the first component starts", fault, round(seconds, 2))


# -- F51: authorities that a container does not trust


@contextlib.contextmanager
def over_tls(folder: Path) -> Iterator[int]:
    """Serve a file over TLS, signed by an authority that nobody trusts."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=house authority"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(5)


DOWNLOADS = {
    "apt": (DEBIAN, "/usr/lib/apt/apt-helper -o Acquire::Retries=0 download-file https://127.0.0.1:{port}/x /tmp/x"),
    "go": (
        "docker.io/library/golang:1.25-trixie",
        "mkdir /m && cd /m && go mod init x && GOPROXY=https://127.0.0.1:{port} go get example.com/y@v1",
    ),
}


@pytest.mark.parametrize("client", DOWNLOADS)
def test_f51_what_is_told(faulty: Callable[..., Project], tmp_path: Path, client: str) -> None:
    base, download = DOWNLOADS[client]
    with over_tls(tmp_path) as port:
        files = containerfile("app", f"RUN {download.format(port=port)}")
        fault = caused(faulty({"one": built("app").replace(DEBIAN, base)}, files), SERVICE)
    is_told(
        fault,
        reference="certificate-unknown",
        blame="infrastructure",
        code=74,
        step="image app",
        says=["signed by an authority that is not trusted"],
        remedy="SSL_CERT_FILE=",
        shows=["ertificate"],
    )
    written_down(
        "F51", f"a build downloads with {client} from a server nobody trusts", fault, fault.report["duration_s"]
    )
