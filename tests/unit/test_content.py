"""What an image is made of: what changes the hash, what does not, and which files a build sees."""

import os
import subprocess
from pathlib import Path

import pytest

from infra import content
from infra.content import Content


def git(folder: Path, *words: str) -> None:
    config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "safe.directory=*")
    subprocess.run(["git", *config, "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a few tracked files."""
    (tmp_path / "cmd").mkdir()
    (tmp_path / "cmd" / "main.go").write_text("package main\n")
    (tmp_path / "go.mod").write_text("module x\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    return tmp_path


def of(
    folder: Path, containerfile: bytes = b"FROM scratch\n", base: str = "sha256:1", arguments: str = "1.25"
) -> Content:
    return content.of(
        folder=folder,
        files=content.context_files(folder),
        containerfile=containerfile,
        bases={"BASE_IMAGE": base},
        args={"VERSION": arguments},
    )


def test_the_same_tree_has_the_same_key(tree: Path) -> None:
    before = of(tree)
    os.utime(tree / "go.mod", (0, 0))
    assert of(tree).key == before.key
    assert len(before.key) == 12


def test_a_tracked_files_content_changes_the_context_and_nothing_else(tree: Path) -> None:
    before = of(tree)
    (tree / "cmd" / "main.go").write_text("package main // not committed, and still what is built\n")
    assert of(tree).key != before.key
    assert of(tree).changed_since(before.label()) == ("context",)


def test_the_executable_bit_is_content_and_other_bits_are_not(tree: Path) -> None:
    before = of(tree)
    (tree / "run.sh").chmod(0o600)
    assert of(tree).key == before.key
    (tree / "run.sh").chmod(0o755)
    assert of(tree).changed_since(before.label()) == ("context",)


def test_a_name_and_a_border_between_files_are_content(tree: Path) -> None:
    before = of(tree)
    (tree / "go.mod").rename(tree / "go.mud")
    git(tree, "add", "-A")
    assert of(tree).key != before.key


def test_each_other_part_is_told_apart(tree: Path) -> None:
    before = of(tree)
    assert of(tree, containerfile=b"FROM other\n").changed_since(before.label()) == ("containerfile",)
    assert of(tree, base="sha256:2").changed_since(before.label()) == ("base",)
    assert of(tree, arguments="1.26").changed_since(before.label()) == ("arguments",)
    assert before.changed_since(before.label()) == ()
    assert before.changed_since("junk of somebody else") == ("arguments", "base", "containerfile", "context")


def test_the_order_of_files_is_not_content(tree: Path) -> None:
    files = content.context_files(tree)
    keys = {
        content.of(folder=tree, files=names, containerfile=b"", bases={"a": "1", "b": "2"}, args={}).key
        for names in (files, files[::-1])
    }
    assert len(keys) == 1


def test_untracked_junk_changes_nothing_and_is_named(tree: Path) -> None:
    before = of(tree)
    (tree / "notes.txt").write_text("junk")
    (tree / ".gitignore").write_text("*.o\n")
    (tree / "main.o").write_text("junk")
    assert of(tree).key == before.key
    assert content.untracked_files(tree) == (".gitignore", "notes.txt")


def test_a_file_that_is_tracked_but_gone_is_no_error(tree: Path) -> None:
    (tree / "go.mod").unlink()
    assert content.context_files(tree) == ("cmd/main.go", "run.sh")


def test_ignored_files_change_nothing_and_the_rules_themselves_are_not_ignored_by_accident(tree: Path) -> None:
    (tree / ".containerignore").write_text("# comment\n\n*.md\ncmd\n")
    (tree / "README.md").write_text("one")
    git(tree, "add", "-A")
    before = of(tree)
    assert content.context_files(tree) == (".containerignore", "go.mod", "run.sh")
    (tree / "README.md").write_text("two")
    (tree / "cmd" / "main.go").write_text("two")
    assert of(tree).key == before.key


def test_dockerignore_counts_where_there_is_no_containerignore(tree: Path) -> None:
    (tree / ".dockerignore").write_text("cmd\n")
    assert "cmd/main.go" not in content.context_files(tree)
    (tree / ".containerignore").write_text("run.sh\n")
    assert "cmd/main.go" in content.context_files(tree)


IGNORED = (
    ("a.md", ("*.md",), True),
    ("docs/a.md", ("*.md",), False),  # one segment only, unlike .gitignore
    ("docs/a.md", ("**/*.md",), True),
    ("a.md", ("**/*.md",), True),
    ("docs/deep/er/a.md", ("docs/**/a.md",), True),
    ("docs/a.md", ("docs/**/a.md",), True),
    ("docs/a.md", ("docs",), True),
    ("docs/a.md", ("docs/",), True),
    ("docs/a.md", ("/docs",), True),
    ("mydocs/a.md", ("docs",), False),
    ("sub/docs/a.md", ("docs",), False),
    ("sub/docs/a.md", ("**/docs",), True),
    ("go.mod", ("*", "!go.mod"), False),
    ("go.sum", ("*", "!go.mod"), True),
    ("cmd/main.go", ("*", "!cmd"), False),
    ("cmd/main_test.go", ("*", "!cmd", "**/*_test.go"), True),
    ("cmd/main_test.go", ("**/*_test.go", "!cmd"), False),  # the last rule that matches decides
    ("a1", ("a?",), True),
    ("a/1", ("a?1",), False),
    ("a1", ("a[0-9]",), True),
    ("anything", ("**",), True),
    ("anything", (), False),
)


@pytest.mark.parametrize(("name", "rules", "ignored"), IGNORED)
def test_rules_match_as_containerignore_says(name: str, rules: tuple[str, ...], ignored: bool) -> None:
    assert content.is_ignored(name, rules) is ignored


@pytest.mark.timeout(60)
def test_a_rule_of_many_stars_takes_no_time() -> None:
    assert not content.is_ignored("x/" * 200 + "y", ["**/x/" * 40 + "z"])
    assert content.is_ignored("x/" * 200 + "y", ["**/x/" * 40 + "y"])
    assert content.is_ignored("x", ["**/" * 5000 + "x"])


def test_rules_that_are_not_utf_8_match_names_that_are_not(tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tree / name).write_text("x")
    (tree / ".containerignore").write_bytes(b"caf\xe9.txt\r\n")
    git(tree, "add", "-A")
    assert name not in content.context_files(tree)
    assert ".containerignore" in content.context_files(tree)


def test_a_link_to_a_folder_counts_outside_of_git_as_it_does_inside(tmp_path: Path) -> None:
    (tmp_path / "cmd").mkdir()
    (tmp_path / "cmd" / "main.go").write_text("package main\n")
    (tmp_path / "link").symlink_to("cmd")
    assert content.context_files(tmp_path) == ("cmd/main.go", "link")


def test_outside_of_git_every_file_counts(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("c")
    (tmp_path / ".containerignore").write_text("**/*.log\n")
    (tmp_path / "a" / "x.log").write_text("x")
    assert content.context_files(tmp_path) == (".containerignore", "a/b/c")
    assert content.untracked_files(tmp_path) == ()


def test_a_context_may_be_a_folder_of_a_repository(tree: Path) -> None:
    (tree / "cmd" / "junk").write_text("untracked")
    assert content.context_files(tree / "cmd") == ("main.go",)
    before = of(tree / "cmd")
    (tree / "go.mod").write_text("module y\n")
    assert of(tree / "cmd").key == before.key


def test_a_repository_may_hold_the_work_tree_of_another(tree: Path) -> None:
    inner = tree / "vendor"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "lib.go").write_text("package lib\n")
    git(inner, "add", "-A")
    assert content.context_files(inner) == ("lib.go",)
    assert "vendor/lib.go" not in content.context_files(tree)


def test_a_symlink_counts_by_where_it_points_and_is_staged_as_one(tree: Path, tmp_path: Path) -> None:
    (tree / "link").symlink_to("go.mod")
    (tree / "dangling").symlink_to("/nowhere/at/all")
    (tree / "folder").symlink_to("cmd")
    git(tree, "add", "-A")
    before = of(tree)
    assert {"link", "dangling", "folder"} < set(content.context_files(tree))
    (tree / "link").unlink()
    (tree / "link").symlink_to("run.sh")
    assert of(tree).changed_since(before.label()) == ("context",)
    staged = tmp_path / "staged"
    content.stage(tree, content.context_files(tree), staged)
    assert (staged / "link").readlink() == Path("run.sh")
    assert (staged / "dangling").is_symlink()
    assert (staged / "folder").readlink() == Path("cmd")


def test_what_is_staged_is_what_was_hashed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (tree / "run.sh").chmod(0o755)
    (tree / "junk").write_text("untracked")
    staged = tmp_path_factory.mktemp("outside") / "staged"
    content.stage(tree, content.context_files(tree), staged)
    found = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())
    assert tuple(found) == content.context_files(tree)
    assert of(staged).key == of(tree).key


def test_an_empty_context_can_be_staged_and_hashed(tmp_path: Path) -> None:
    content.stage(tmp_path, (), tmp_path / "staged")
    assert (tmp_path / "staged").is_dir()
    assert len(of(tmp_path / "staged").key) == 12


def test_a_name_that_is_not_utf_8_is_hashed_too(tree: Path) -> None:
    before = of(tree)
    (tree / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    git(tree, "add", "-A")
    assert of(tree).changed_since(before.label()) == ("context",)


def test_words_alone_have_a_content_as_well() -> None:
    one, two = content.of_text(release="trixie", packages="a b"), content.of_text(release="trixie", packages="a c")
    assert two.changed_since(one.label()) == ("packages",)
