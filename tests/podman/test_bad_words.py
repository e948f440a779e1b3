"""More of what is wrong, told once with nothing started: words of the command line, file names, JSON's own stream."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from product import WORKSPACE, Podman, Project, catalog_copy, edit, new_run, workspace_copy


def private_folders(run: str) -> list[str]:
    return [path.name for path in Path(tempfile.gettempdir()).glob("infra-*") if run in path.name]


@pytest.mark.parametrize(
    ("words", "said", "to_do"),
    [
        (
            ("--service", "notificatoin"),
            'unknown service "notificatoin"; did you mean "notification"?',
            "--service notification  # ",
        ),
        ((), "no service given", "--service NAME  # there are: "),
        (
            ("--service", "notification", "--tier", "integratoin"),
            'has no tier "integratoin"; did you mean "integration"?',
            "--service notification --tier integration  # there are: e2e, integration, unit",
        ),
        (
            ("--service", "notification", "--ports", "any"),
            '--ports is fixed or auto, not "any"',
            "--help",
        ),
    ],
)
@pytest.mark.parametrize("task", ["suite.run", "infra.up"])
def test_a_wrong_word_is_one_message_and_nothing_is_started(
    project: Project, podman: Podman, task: str, words: tuple[str, ...], said: str, to_do: str
) -> None:
    run = new_run()
    done = project.invoke(task, *words, "--run", run)
    assert done.code == 78, done.text
    told = [line for line in done.text.splitlines() if line.startswith("invalid: ")]
    assert len(told) == 1, done.text
    assert said in told[0]
    assert f"to do: invoke {task} {to_do}" in done.text
    assert "Traceback" not in done.text
    assert (podman.left_of(run), private_folders(run)) == ([], [])


def test_an_image_that_is_not_named_in_full_is_refused(
    make_project: Callable[..., Project], podman: Podman, tmp_path: Path
) -> None:
    catalog = catalog_copy(tmp_path / "catalog")
    edit(catalog / "components" / "redis.toml", "docker.io/library/redis", "redis")
    run = new_run()
    done = make_project(catalog=catalog).invoke("suite.run", "--service", "notification", "--run", run)
    assert done.code == 78, done.text
    (told,) = [line for line in done.lines if line.startswith("invalid: ")]
    assert "redis.toml: image: " in told
    assert "docker.io/" in told
    assert (podman.left_of(run), private_folders(run)) == ([], [])


def test_two_migrations_with_one_number_are_named_both(
    make_project: Callable[..., Project], podman: Podman, tmp_path: Path
) -> None:
    workspace = workspace_copy(tmp_path / "workspace")
    first = sorted((WORKSPACE / "migrations").glob("*.sql"))[0]
    number = first.name.split("_")[0]
    shutil.copy(first, workspace / "migrations" / f"{number}_the_same_again.sql")
    run = new_run()
    done = make_project(workspace=workspace).invoke("suite.run", "--service", "notification", "--run", run)
    assert done.code == 78, done.text
    (told,) = [line for line in done.lines if line.startswith("invalid: ")]
    assert first.name in told
    assert f"{number}_the_same_again.sql" in told
    assert (podman.left_of(run), private_folders(run)) == ([], [])


@pytest.mark.parametrize(
    "words",
    [("infra.plan", "--service", "notification"), ("infra.status",), ("images.list",), ("infra.gc",)],
    ids=lambda words: str(words[0]),
)
def test_json_is_all_there_is_on_stdout(project: Project, words: tuple[str, ...]) -> None:
    done = project.invoke(*words, "--json")
    assert done.code == 0, done.text
    assert isinstance(json.loads(done.out), dict)


def test_an_error_of_a_json_task_leaves_stdout_empty(project: Project) -> None:
    done = project.invoke("infra.plan", "--service", "nobody", "--json")
    assert (done.code, done.out) == (78, "")
    assert done.err.startswith("invalid: ")
