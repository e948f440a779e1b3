"""Moments of the main job, and what is changed so that it comes to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import killing
from killing import NOTIFICATION, Edits, Ground, Victim, new_run

from infra.engine.client import Engine

Sees = Callable[[Victim, Engine], bool]


@dataclass(frozen=True)
class Moment:
    """A moment of the main job: what is seen, and how long after."""

    name: str
    sees: tuple[Sees, ...]
    after: float = 0.0
    changed: str = ""
    group: bool = False

    def reach(self, run: Victim, engine: Engine) -> None:
        """Wait until the run is there."""
        for number, sees in enumerate(self.sees):
            run.reach(f"{self.name} {number}", partial(sees, run, engine))
        time.sleep(self.after)  # what was seen goes on meanwhile


def said(text: str) -> Sees:
    return lambda run, _: run.said(text)


def logged(name: str, text: str) -> Sees:
    return lambda run, _: run.logged(name, text)


def role(name: str) -> Sees:
    return lambda run, _: bool(killing.with_role(run.run, name))


def name_of(run: Victim, component: str) -> str:
    return f"{run.service}-{component}-{run.run}"


def is_in(component: str, *states: str) -> Sees:
    def seen(run: Victim, engine: Engine) -> bool:
        state = engine.state(name_of(run, component))
        return (state.status if state else "gone") in states

    return seen


def has_written(component: str) -> Sees:
    def seen(run: Victim, engine: Engine) -> bool:
        name = name_of(run, component)
        return engine.state(name) is not None and bool(engine.logs(name))

    return seen


def monitored(component: str) -> Sees:
    return lambda run, _: killing.monitored(name_of(run, component))


def socket(run: Victim, _: Engine) -> bool:
    return Path(f"/tmp/infra-{os.getuid()}-{run.run}/podman.sock").exists()


LAST_BUILD_STEP = logged("build-datastorage.log", "RUN go build -trimpath -o")


def nonce_env(ground: Ground, changed: str) -> dict[str, str]:
    """The environment that has an image built anew, and ends where that image's recipe is not reached."""
    nonce = new_run()
    if changed == "workspace":
        return {"INFRA_WORKSPACE": str(ground.workspace())}
    edits: dict[str, dict[str, Callable[[str], str]]] = {
        "": {},
        "redis-run": {"local/redis.Containerfile": lambda text: f"{text}\nRUN sleep 30 # {nonce}\n"},
        # A version that takes its time: at once it is over before anybody has looked.
        "redis": {
            "local/redis.Containerfile": lambda text: f"{text}\nLABEL nonce={nonce}\n",
            "local/redis.toml": lambda text: text.replace(
                '["redis-server", "--version"]', '["sh", "-c", "sleep 30; redis-server --version"]'
            ),
        },
        "debian": {"local/debian.toml": lambda text: text.replace('"ca-certificates"', '"ca-certificates", "adduser"')},
    }
    return {"INFRA_CATALOG": str(ground.catalog(edits[changed]))} if changed else {}


def before(command: str) -> Edits:
    """A command that runs before the suite."""
    step = f'before = [{{ name = "wait", command = ["sh", "-c", "{command}"] }}]'
    return {NOTIFICATION: lambda text: text.replace("[tiers.integration]\n", f"[tiers.integration]\n{step}\n")}
