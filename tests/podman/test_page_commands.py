"""What stands on the pages is executed: each line of a ```sh block, in a copy of this checkout, with the real Podman.

A page's files (blocks whose first line is a path) are written where they stand, so that its commands find them. A line
ends with exit code 0, or with the one that its comment names: `# exit code 75`. See CONTRIBUTING.md.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from blocks import ROOT, Block, blocks, commands, pages, told
from checkout import Checkout, PageFails
from product import Project

from infra import bootstrap

EXECUTED = [page for page in pages() if any(block.language == "sh" for block in told(page))]
WITH_GO = [page for page in pages() if any(block.language == "go" for block in blocks(page))]
# What a piece of a Go file may use without importing it on the page.
_IMPORTS = {
    "fmt": '"fmt"',
    "os": '"os"',
    "exec": '"os/exec"',
    "time": '"time"',
    "Describe": '. "github.com/onsi/ginkgo/v2"',
    "GinkgoParallelProcess": '. "github.com/onsi/ginkgo/v2"',
    "Expect": '. "github.com/onsi/gomega"',
    "ExpectWithOffset": '. "github.com/onsi/gomega"',
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, warm: Project) -> Checkout:
    return Checkout.make(tmp_path_factory.mktemp("pages") / "checkout")


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_it_says(page: Path, checkout: Checkout, tmp_path: Path) -> None:
    with checkout.page():
        for block in told(page):
            if block.file is not None and block.language != "text":
                checkout.put(block.file, block.text)
            if block.language == "sh":
                state = tmp_path / f"{block.line}.sh"
                state.touch()
                try:
                    for command in commands(block):
                        checkout.execute(command, state)
                except PageFails as error:
                    raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.mark.parametrize("page", WITH_GO, ids=lambda page: page.name)
def test_the_go_of_a_page_compiles(page: Path, checkout: Checkout) -> None:
    workspace = checkout.folder / "tests" / "workspace"
    with checkout.page():
        for block in blocks(page):
            if block.language == "go":
                folder = workspace / "test" / "pages" / f"line{block.line}"
                folder.mkdir(parents=True)
                (folder / "page_test.go").write_text(as_file(block), encoding="utf-8")
        words = ("go", "vet", "./test/pages/...")
        env = {**os.environ, "PATH": bootstrap.tool_path(ROOT)}
        vetted = subprocess.run(words, cwd=workspace, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert vetted.returncode == 0, f"{page.name}, by the lines of its blocks: {vetted.stderr}"


def as_file(block: Block) -> str:
    """A piece of a Go file as a whole one: with a package, and with the imports that it uses."""
    if re.search(r"^package ", block.text, re.MULTILINE):
        return block.text
    used = {path for word, path in _IMPORTS.items() if re.search(rf"(?<![.\w]){word}[.(]", block.text)}
    imports = "\n".join(sorted(used))
    return f"package page\n\nimport (\n{imports}\n)\n\n{block.text}"


def test_a_line_that_fails_is_told_with_its_place_and_its_words(checkout: Checkout, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```sh\n# nothing\nexport A=b; cd docs\n[ $A = b ] && ls \\\n  ports.md\n"
        "(exit 75)  # exit code 75\necho 'said this' && false\n```\n",
        encoding="utf-8",
    )
    (block,) = blocks(page)
    *good, bad = commands(block)
    state = tmp_path / "state"
    state.touch()
    for command in good:
        checkout.execute(command, state)
    with pytest.raises(PageFails, match=r"page\.md:9: exit code 1, and the page says 0\n  \$ echo .*\nsaid this\n"):
        checkout.execute(bad, state)


def test_pages_have_commands() -> None:
    assert {page.name for page in EXECUTED} >= {"README.md", "ports.md", "adding-a-service.md", "troubleshooting.md"}
