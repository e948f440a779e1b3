"""What stands beside a run and must not be touched: things of everybody's, and how they are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import killing
from killing import Ground, new_run

from infra import labels
from infra.engine.client import Engine
from infra.engine.types import ContainerSpec
from infra.labels import Owner
from infra.lease import Lease


@dataclass(frozen=True)
class Things:
    """One thing of each kind that a run may have."""

    container: str
    network: str
    volume: str
    tag: str

    def there(self, engine: Engine) -> list[str]:
        """Which of them are there, and in what state."""
        state = engine.state(self.container)
        return [
            f"container {state.id} {state.status}" if state else "no container",
            *(f"network {one.name}" for one in engine.networks() if one.name == self.network),
            *(f"volume {one.name}" for one in engine.volumes() if one.name == self.volume),
            f"image {engine.image_id(self.tag)}",
        ]

    def remove(self, engine: Engine) -> None:
        engine.remove(self.container)
        engine.remove_network(self.network)
        engine.remove_volume(self.volume)
        engine.untag(self.tag)


def image_of(engine: Engine, name: str) -> str:
    """A cached image that the warm run has left."""
    return max(engine.images({labels.IMAGE: name}), key=lambda one: one.created).id


def container(engine: Engine, name: str, network: str, marks: dict[str, str], volume: str | None = None) -> None:
    """A Redis that runs."""
    body = ContainerSpec(
        name=name,
        image=image_of(engine, "redis"),
        alias="redis",
        network=network,
        address=None,
        hosts={},
        command=("redis-server", "--save", ""),
        env={},
        labels=marks,
        ports={},
        stop_grace_s=1.0,
        memory_mb=None,
    )
    if volume is None:
        engine.create(body)
    else:
        raw = {"name": name, "image": body.image, "labels": marks, "volumes": [{"Name": volume, "Dest": "/held"}]}
        engine._json("POST", "/containers/create", data=json.dumps({**raw, "command": list(body.command)}))
    engine.start(name)


def things(engine: Engine, names: Things, marks: dict[str, str]) -> Things:
    engine.create_network(names.network, marks)
    engine.create_volume(names.volume, marks)
    container(engine, names.container, names.network, marks)
    engine.tag(image_of(engine, "redis"), names.tag)
    return names


def marks_of(run: str, owner: object) -> dict[str, str]:
    return {
        labels.RUN: run,
        labels.SERVICE: "beside",
        labels.TIER: "none",
        labels.OWNER: str(owner),
        labels.CREATED: "2026-01-01T00:00:00+00:00",
    }


def named(run: str) -> Things:
    """The names of a run's things."""
    return Things(
        container=f"beside-redis-{run}",
        network=f"beside-{run}",
        volume=f"beside-data-{run}",
        tag=f"localhost/redis:beside-{run}",
    )


def things_of(engine: Engine, run: str, owner: object) -> Things:
    """A run's things, all with its labels."""
    return things(engine, named(run), marks_of(run, owner))


def dead_owner() -> Owner:
    with subprocess.Popen(["sleep", "60"]) as process:
        owner = Owner.of(process.pid)
        process.kill()
    return owner


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


# -- everybody at once


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

        bystander = Things(
            container="bystander-redis-0badcafe",
            network="bystander-0badcafe",
            volume="bystander-0badcafe",
            tag="localhost/bystander:mine-0badcafe",
        )
        owners = {
            "alive": (held.run, held.owner),
            "another host's": (new_run(), replace(dead_owner(), host="elsewhere")),
            "another pid namespace's": (new_run(), replace(dead_owner(), namespace="1")),
            "nobody known's": (new_run(), "somebody/else's"),
        }
        image = stack.enter_context(foreign_image(held, "localhost/bystander-image:mine-0badcafe"))
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
    """A suite that takes no notice of signals for ten minutes."""
    name = "./test/integration/notification"
    edit = {"services/notification.toml": lambda text: text.replace(name, "./test/runner/hanging")}
    return {"INFRA_CATALOG": str(ground.catalog(edit))}
