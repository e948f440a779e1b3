"""Things in the engine that carry the labels of runs, or none at all: what sweeps take, and what they leave."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from infra import labels
from infra.engine.client import Engine
from infra.engine.types import ContainerSpec
from infra.labels import Owner


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
        raw["command"] = list(body.command)
        engine._call("POST", "/containers/create", data=json.dumps(raw))
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
