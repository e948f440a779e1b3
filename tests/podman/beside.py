"""What stands beside a run and must not be touched: things of everybody's, and how they are."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import killing
from killing import Ground, new_run
from owned import Things, container, dead_owner, named, things_of

from infra.engine.client import Engine
from infra.lease import Lease


@contextlib.contextmanager
def foreign_image(held: Lease, ref: str) -> Iterator[str]:
    """An image that carries no label at all."""
    podman, env = list(held.connection.podman), {**os.environ, **dict(held.connection.env)}
    empty = b"\0" * 10240
    subprocess.run([*podman, "import", "-", ref], input=empty, env=env, check=True, capture_output=True, timeout=60)
    try:
        yield ref
    finally:
        held.engine.clone().remove_image(ref)


@dataclass
class Neighbours:
    """All that stands beside the runs of a test: real runs, and things that carry whatever labels."""

    engine: Engine
    runs: dict[str, str] = field(default_factory=dict)
    things: dict[str, Things] = field(default_factory=dict)

    def state(self) -> Mapping[str, object]:
        """How all of them are: ids and states of containers, ids of images, pids of processes."""
        engine = self.engine.clone()
        names = {name for one in self.things.values() for name in vars(one).values()}

        def ours(name: str) -> bool:
            return name in names or any(run in name for run in self.runs.values())

        return {
            "containers": {row.name: (row.id, row.state) for row in engine.containers() if ours(row.name)},
            "networks": sorted(row.name for row in engine.networks() if ours(row.name)),
            "volumes": sorted(row.name for row in engine.volumes() if ours(row.name)),
            "tags": {tag: image.id for image in engine.images() for tag in image.tags if ours(tag)},
            "processes": {
                (who, role): killing.with_role(run, role)
                for who, run in self.runs.items()
                for role in ("suite", "reaper")
            },
        }


def changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What has changed, in words."""
    return [f"{what} were {before[what]}, are {now[what]}" for what in before if before[what] != now[what]]


def nobodys() -> tuple[Things, str]:
    """Things that are called like a run's and have no label of ours, and the name of an image that others made."""
    name = new_run()
    things = Things(
        container=f"bystander-redis-{name}",
        network=f"bystander-{name}",
        volume=f"bystander-{name}",
        tag=f"localhost/bystander:mine-{name}",
    )
    return things, f"localhost/bystander-image:mine-{name}"


@contextlib.contextmanager
def neighbours(ground: Ground, held: Lease) -> Iterator[Neighbours]:
    """A stack that a person has up, a run whose suite goes on, things of unknown owners and of nobody."""
    engine = held.engine.clone()
    all_of_them = Neighbours(engine=engine)
    with contextlib.ExitStack() as stack:
        up = new_run()
        stack.callback(ground.invoke, "infra.gc", "--run", up)
        done = ground.invoke("infra.up", "--service", "notification", "--ports", "auto", "--run", up)
        assert done.returncode == 0, done.stdout + done.stderr
        going = stack.enter_context(ground.main_job("--fresh", env=hanging(ground)))
        going.reach("its suite", lambda: going.said("Running Suite"), 240)
        all_of_them.runs = {"up": up, "going on": going.run}

        bystander, of_another = nobodys()
        owners = {
            "alive": (held.run, held.owner),
            "another host's": (new_run(), replace(dead_owner(), host="elsewhere")),
            "another pid namespace's": (new_run(), replace(dead_owner(), namespace="1")),
            "nobody known's": (new_run(), "somebody/else's"),
        }
        image = stack.enter_context(foreign_image(held, of_another))
        stack.callback(bystander.remove, engine)
        engine.create_network(bystander.network, {})
        engine.create_volume(bystander.volume, {})
        container(engine, bystander.container, bystander.network, {}, bystander.volume)
        engine.tag(engine.image_id(image) or "", bystander.tag)
        all_of_them.things["nobody's"] = bystander
        for who, (run, owner) in owners.items():
            stack.callback(named(run).remove, engine)
            all_of_them.things[who] = things_of(engine, run, owner)
        yield all_of_them


def hanging(ground: Ground) -> dict[str, str]:
    """A suite that goes on for a day."""

    def edit(text: str) -> str:
        return text.replace("./test/integration/notification", "./test/runner/hanging").replace('"15m"', '"24h"')

    return {"INFRA_CATALOG": str(ground.catalog({"services/notification.toml": edit}))}
