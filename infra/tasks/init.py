"""`invoke infra.init`: the files with which a repository begins."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from infra.tasks import common

HELP = {
    "service": "the name of the first service, or of one more; the folder's where it is not said",
    "language": "of its suite: go or python; go where there is a go.mod and it is not said",
}


@task(help=HELP)
def init(_: Context, service: str = "", language: str = "") -> None:
    """Write noxfile.py, tasks.py, [tool.infra], a component, a service and its suite. Nothing is overwritten."""
    begin(common.root(), service, language)


def begin(root: Path, service: str, language: str) -> None:
    """Write the files, say which, and what comes next: of a catalogue that does not load, what is wrong with it."""
    from infra import bootstrap, settings, tools
    from infra import init as beginning
    from infra.catalog.loading import load

    with common.told():
        service = service or beginning.default_service(root)
        done = beginning.write(root, service, language)
        for line in done.said:
            print(line.replace(f" {root}/", " "))
        for line in done.to_add:
            print(f"to add: {line}")
        load(settings.read(root).catalog)  # a file that was there may keep every session from running
        own = Path(sys.prefix) / "bin" / "nox"  # one of another environment has none of this
        nox = "nox" if shutil.which("nox") == str(own) else f"{shlex.quote(sys.executable)} -m nox"
        lacking = tools.missing(bootstrap.wanted(()))
        first = (
            f"  # bootstrap installs what this host lacks: {', '.join(one.name for one in lacking)}" if lacking else ""
        )
        print(f"next: {nox} -s {'bootstrap ' if lacking else ''}integration-{service}{first}")
