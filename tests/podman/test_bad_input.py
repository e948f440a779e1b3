"""What is wrong is told in one message, and nothing is started: the real command line, the real engine or none."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from product import Podman, Project, catalog_copy, edit, new_run, without

MAIN = ("suite.run", "--service", "notification", "--ports", "auto")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("components/redis.toml", "[ports]", "[port]", 'redis.toml: port: unknown key; did you mean "ports"?'),
        ("components/redis.toml", "6379", '"6379"', "redis.toml: ports.redis: "),
        (
            "services/notification.toml",
            '"redis"',
            '"reddis"',
            'stack: unknown component "reddis"; did you mean "redis"?',
        ),
        ("services/notification.toml", "{postgres.sql}", "{postgres.sqll}", "tiers.integration.env.POSTGRES_PORT: "),
        ("components/datastorage.toml", "docker/data-storage", "docker/none", "build.containerfile: no file at "),
    ],
)
def test_a_wrong_catalogue_is_one_message_and_nothing_is_started(
    podman: Podman, make_project: Callable[..., Project], tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    catalog = catalog_copy(tmp_path / "catalog")
    edit(catalog / file, old, new)
    project = make_project(catalog=catalog)
    run = new_run()
    done = project.invoke(*MAIN, "--run", run)
    assert done.code == 78, done.text
    told = [line for line in done.lines if line.startswith("invalid: ")]
    assert len(told) == 1, done.text
    assert said in told[0]
    assert str(catalog / file) in told[0]
    assert any("; to do: ${EDITOR:-vi} " in line for line in done.lines)
    assert "Traceback" not in done.text
    report = project.report(run)
    assert (report["outcome"], report["blame"], report["steps"], report["engine"]) == ("invalid", "user", [], None)
    assert podman.left_of(run) == []


def test_a_catalogue_that_is_not_there_is_told_with_where_it_was_looked_for(project: Project, tmp_path: Path) -> None:
    done = project.invoke("infra.plan", "--service", "notification", INFRA_CATALOG=str(tmp_path / "none"))
    assert done.code == 78
    assert done.err.splitlines()[0] == (
        f"invalid: INFRA_CATALOG: no folder at {tmp_path / 'none'}; "
        "to do: unset INFRA_CATALOG  # or let it name the catalog's folder"
    )


def test_the_words_of_the_environment_are_checked(project: Project) -> None:
    done = project.invoke("infra.plan", "--service", "notification", INFRA_IMAGES="remote")
    assert done.code == 78
    assert done.err.splitlines()[0] == (
        'invalid: INFRA_IMAGES is "remote"; it is one of auto, registry, local; to do: unset INFRA_IMAGES'
    )


def test_without_podman_it_is_unavailable_with_the_command_that_installs_it(project: Project, tmp_path: Path) -> None:
    run = new_run()
    path = without(project.environment()["PATH"], "podman", tmp_path)
    done = project.invoke(*MAIN, "--run", run, PATH=path, CONTAINER_HOST=None)
    assert done.code == 69, done.text
    report = project.report(run)
    assert (report["outcome"], report["exit_code"], report["blame"]) == ("unavailable", 69, "user")
    assert report["cause"]["reference"] == "podman-missing"
    assert report["cause"]["message"] == "podman is not installed"
    assert "install" in report["cause"]["remedy"]
    assert "podman" in report["cause"]["remedy"]
    assert [one["name"] for one in report["steps"]] == ["engine"]


def test_an_engine_that_is_named_and_does_not_answer_is_unavailable(project: Project, tmp_path: Path) -> None:
    run = new_run()
    done = project.invoke(*MAIN, "--run", run, CONTAINER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.code == 69, done.text
    cause = project.report(run)["cause"]
    assert cause["reference"] == "engine-socket-missing"
    assert f"no socket unix://{tmp_path}/none.sock, which CONTAINER_HOST names" in cause["message"]
    assert "unset CONTAINER_HOST" in cause["remedy"]


def test_a_connection_that_podman_does_not_have_is_unavailable(project: Project) -> None:
    done = project.invoke(*MAIN, CONTAINER_HOST=None, CONTAINER_CONNECTION="nobody-made-this")
    assert done.code == 69, done.text
    assert 'CONTAINER_CONNECTION is "nobody-made-this"' in done.out
    assert "podman system connection list" in done.out


@pytest.mark.parametrize("task", [MAIN, ("infra.status",)])
def test_an_engine_that_is_too_old_is_unavailable(project: Project, tmp_path: Path, task: tuple[str, ...]) -> None:
    with old_podman(tmp_path / "podman.sock", "3.4.0") as asked:
        done = project.invoke(*task, CONTAINER_HOST=f"unix://{tmp_path}/podman.sock")
    assert done.code == 69, done.text
    assert "is 3.4.0; 4.3 is the oldest supported" in done.text
    assert "4.3 or newer is wanted there" in done.text
    assert {path.rpartition("/")[2] for path in asked} == {"_ping"}, "nothing else was asked of it"


@contextlib.contextmanager
def old_podman(path: Path, version: str) -> Iterator[list[str]]:
    """A service on a unix socket that says it is a Podman of this version; yields the paths it is asked for."""
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = b"OK"
            self.send_response(200 if self.path.endswith("/_ping") else 500)
            self.send_header("Libpod-API-Version", version)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with socketserver.ThreadingUnixStreamServer(str(path), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield asked
        finally:
            server.shutdown()


def test_an_unknown_flag_is_invokes_own_error_and_starts_nothing(project: Project, podman: Podman) -> None:
    run = new_run()
    done = project.invoke(*MAIN, "--run", run, "--no-such-flag")
    assert done.code == 1
    assert "--no-such-flag" in done.err
    assert not (project.runs / run).exists()
    assert podman.left_of(run) == []
