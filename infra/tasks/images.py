"""`invoke images.*`: the built images, which outlive runs as a cache."""

from __future__ import annotations

import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from infra import labels
from infra.errors import Invalid, edit
from infra.tasks import common

if TYPE_CHECKING:
    from infra.catalog.declared import Catalog
    from infra.engine.types import Image
    from infra.plan import PlannedStep

_DAY = 24 * 3600.0


@task(
    help={
        "service": "a service of the catalogue",
        "tier": "its tier",
        "run": "the run's name, 8 hex digits",
        "verbose": "stream the output of builds",
    }
)
def build(_: Context, service: str = "", tier: str = "integration", run: str = "", verbose: bool = False) -> None:
    """Have all images of a service's stack, without starting anything."""
    from infra.attempts import execute

    with common.told():
        settings = common.read_settings()
        request = common.request(service or None, tier, run=run, verbose=verbose)
        report = execute(settings, request, common.reporter(verbose=verbose), "images")
    common.leave(report.exit_code)


_SELECTION = {
    "service": "services, with commas between; all where it is not given",
    "tier": "tiers, with commas between; all that can be run and have a stack where it is not given",
}


@task(
    help={
        "file": "the archive to write, gzipped if it is called .gz",
        **_SELECTION,
        "verbose": "stream the output of builds",
    }
)
def save(_: Context, file: str = "", service: str = "", tier: str = "", verbose: bool = False) -> None:
    """Have all images of the chosen services' stacks, and write them to one archive."""
    from infra import handover, matrix, plan
    from infra.attempts import execute
    from infra.catalog.loading import load as load_catalog

    with common.told():
        path = _file(file, "save")
        handover.check_place(path)
        settings = common.read_settings()
        catalog = load_catalog(settings.catalog)
        picked = matrix.chosen(catalog, services=service, tiers=tier)
        used: dict[str, str] = {}
        asked: set[str] = set()
        for one in picked:
            wanted = {
                _image_of(step) for step in plan.make(catalog, settings, service=one.service, tier=one.tier).steps
            }
            if wanted <= asked:
                continue
            asked |= wanted
            request = common.request(one.service, one.tier, verbose=verbose)
            report = execute(settings, request, common.reporter(verbose=verbose), "images")
            if report.exit_code:
                common.leave(report.exit_code)
            used |= report.images
        if not used:
            raise _no_images(catalog, file)
        started = time.monotonic()
        with common.engine() as held:
            saved, left_out = handover.savable(used)
            size = handover.save(held, saved, path)
        for name in left_out:
            print(f"left out: {name} is named by its digest, and is pulled where it is wanted")
        print(f"saved {len(saved)} images in {path}: {size / 1e6:.0f} MB, {time.monotonic() - started:.1f} s")


@task(help={"file": "the archive that images.save has written"})
def load(_: Context, file: str = "") -> None:
    """Have the images of an archive, so that runs find them and build nothing."""
    from infra import handover

    with common.told():
        path, started = _file(file, "load"), time.monotonic()
        with common.engine() as held:
            images, fresh = handover.load(held, path)
        for name in images:
            print(f"  {name}")
        there = len(set(images.values())) - fresh
        took = f"{time.monotonic() - started:.1f} s"
        print(f"loaded {fresh} images from {path}{f', {there} were there' if there else ''}: {took}")


def _no_images(catalog: Catalog, file: str) -> Invalid:
    """Return the error for a choice of services without stacks: others have some, or one is to be declared."""
    from infra import matrix

    if any(one.stack for one in matrix.chosen(catalog)):
        message, remedy = "none of the chosen tiers has a stack", f"invoke images.save --file {shlex.quote(file)}"
    elif catalog.services:
        message = "no service of the catalogue has a stack"
        path = catalog.folder / "services" / f"{min(catalog.services)}.toml"
        remedy = edit(path, 'stack: the components that its suites need, as in stack = ["redis"]')
    else:
        message, remedy = "the catalogue has no service", "infra-init  # begins one"
    return Invalid(f"{message}: there are no images", reference="no-stack", remedy=remedy)


def _image_of(step: PlannedStep) -> str:
    """Return what tells the images of two plans apart: a build's own tag is that of one run."""
    return repr((step.image.name, step.image.build or step.image.ref))


def _file(given: str, task_name: str) -> Path:
    if not given:
        raise Invalid(
            "--file is missing: the archive of images",
            reference="arguments",
            remedy=f"invoke images.{task_name} --file images.tar",
        )
    return Path(given)


@task(name="list", help={"json": "print JSON and nothing else"})
def show(_: Context, json: bool = False) -> None:
    """List the images that are ours, the newest first."""
    from infra.reporters.console import rows

    with common.told(), common.engine() as held:
        found = sorted(held.engine.images({labels.IMAGE: ""}), key=lambda one: one.created, reverse=True)
        if json:
            common.show({"images": [_row(image) for image in found]})
            return
        table = [("image", "tags", "MB", "age")]
        for image in found:
            tags = ", ".join(tag.rpartition(":")[2] for tag in image.tags) or "(none)"
            age = f"{(time.time() - image.created) / 3600:.1f} h"
            table.append((image.labels[labels.IMAGE], tags, f"{image.size / 1e6:.0f}", age))
        print(rows(table))


@task(
    name="prune",
    help={
        "days": "drop what is older (default 30)",
        "gigabytes": "drop the oldest beyond (default 20)",
        "json": "print JSON",
    },
)
def drop(_: Context, days: str = "", gigabytes: str = "", json: bool = False) -> None:
    """Drop cached images beyond an age and a size; images of runs stay."""
    from infra import cache, sweep

    with common.told(), common.engine() as held:
        max_age_s = _number(days, "--days") * _DAY if days else cache.MAX_AGE_S
        max_bytes = _number(gigabytes, "--gigabytes") * 1024**3 if gigabytes else cache.MAX_BYTES
        sweep.sweep_dead(held.engine)
        gone = cache.drop(held.engine, max_age_s=max_age_s, max_bytes=max_bytes)
        if json:
            common.show({"removed": [_row(image) for image in gone]})
            return
        size = sum(image.size for image in gone) / 1e6
        print(f"removed {len(gone)} images, {size:.0f} MB")


def _number(text: str, flag: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise Invalid(
            f'{flag} is a number, not "{text}"', reference="arguments", remedy=f"invoke images.prune {flag} 7"
        )
    return value


def _row(image: Image) -> dict[str, object]:
    created = datetime.fromtimestamp(image.created, UTC).isoformat()
    name = image.labels[labels.IMAGE]
    return {"image": name, "id": image.id, "tags": list(image.tags), "created": created, "bytes": image.size}


namespace = Collection("images", build, show, drop, save, load)
