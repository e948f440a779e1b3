"""What a reader asks for first when a run has failed: how each component was, who held its ports, addresses, disks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from infra import away, evidence
from infra.evidence import Found, Place, component_line
from infra.lease_names import private_folder
from infra.plan import Plan, PlannedStep
from infra.report import Scene, Section
from infra.stack import Stack

_GB = 1024**3


def save(stack: Stack, names: Iterable[tuple[str, str]], folder: Path, *, failed: bool) -> Scene | None:
    """Save the evidence of the components in `names` (component, container), and return what else there is to see.

    Of a run that did not fail, the logs are all. Never raises.
    """
    place = Place(run=stack.plan.run, folder=folder, mask=stack.plan.mask)
    try:
        found = evidence.collect(stack.engine, place, names, failed=failed)
        return _whole(found, stack, folder) if failed else None
    except Exception as error:  # noqa: BLE001 - it comes before the sweep, and is no reason to skip that
        return _none_but(error) if failed else None


def _whole(found: Found, stack: Stack, folder: Path) -> Scene:
    plan = stack.plan
    ports = [
        (step.name, number)
        for step in plan.steps
        for number in sorted({*stack.ports.get(step.name, {}).values(), *(p.host for p in step.ports if p.host)})
    ]
    addresses = tuple(f"{name}: {address}" for name, address in stack.addresses.items())
    sections = (
        Section(title="Components", lines=tuple(_component(plan, step, found) for step in plan.steps)),
        Section(title=f"Addresses on the network {plan.network}", lines=addresses),
        *_of_host(ports, folder, found.storage),
    )
    return Scene(sections=tuple(one for one in sections if one.lines), missing=tuple(sorted(found.missing)))


def _none_but(error: Exception) -> Scene:
    return Scene(missing=(f"how the run was could not be looked at: {type(error).__name__}: {error}",))


def _component(plan: Plan, step: PlannedStep, found: Found) -> str:
    """Say how a component was, and whether somebody had taken it away on purpose."""
    line = component_line(step.name, found)
    for mark in away.marks(step.container):
        who = "the suite" if mark.by == plan.run else mark.who
        return line.replace(f"{step.name}: ", f"{step.name}: taken away by {who}, ", 1)
    return line


def of_host(plan: Plan | None, folder: Path) -> Scene | None:
    """Return the scene of a run that has failed before there was a stack. Never raises."""
    if plan is None:
        return None
    ports = [(step.name, port.host) for step in plan.steps for port in step.ports if port.host]
    ports += [("suite", port.host) for port in plan.suite_ports if port.host]
    try:
        return Scene(sections=tuple(one for one in _of_host(ports, folder, None) if one.lines))
    except Exception as error:  # noqa: BLE001 - the report is being made
        return _none_but(error)


def _of_host(ports: Iterable[tuple[str, int]], folder: Path, storage: str | None) -> Iterator[Section]:
    holders = _holders()
    lines = tuple(f"{number} ({name}): {holders.get(number, 'nobody')}" for name, number in ports)
    yield Section(title="Who listened on the ports of this host", lines=lines)
    yield Section(title="Disk", lines=tuple(_disks(folder, storage)))


def _holders() -> dict[int, str]:
    """Return who listens on TCP ports here, by port."""
    found: dict[int, str] = {}
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections(kind="tcp"):
            if one.laddr and one.status == psutil.CONN_LISTEN:
                found[one.laddr.port] = _process(one.pid)
    return found


def _process(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        name, words = process.name(), process.cmdline()
    except psutil.Error:
        return f"process {pid}"
    if words and Path(words[0]).name == "conmon" and "-n" in words:  # it holds what its container publishes
        return f"container {words[words.index('-n') + 1]} (conmon, process {pid})"
    return f"process {pid} ({name})"  # a stranger's command line may hold what is secret


def _disks(folder: Path, storage: str | None) -> Iterator[str]:
    places = {"run directory": str(folder), "temporary files, builds": str(private_folder("x").parent)}
    if storage is not None:
        places["images and containers"] = storage
    for what, place in places.items():
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(place)
            yield f"{what} ({place}): {usage.free / _GB:.1f} GB free of {usage.total / _GB:.1f}"
