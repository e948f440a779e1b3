"""The plan while it runs: containers started in order, each behind its gate, and watched until they are ended."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from infra import away, disks, labels, ports, probes
from infra.diagnose import Inquiry
from infra.engine import host
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.engine.types import ContainerSpec, TarFile
from infra.errors import InfraError, NotReady
from infra.lease import Lease
from infra.lease_names import bridge
from infra.plan import Plan, PlannedStep
from infra.readiness import Gate
from infra.sampling import Sampler
from infra.watch import Recorder

_AUTO_PORT_TRIES = 5
_SUBNET_TRIES = 5
_SIGKILLED = 137
_SETTLES = 10
_SETTLE_S = 0.1
DEFAULT_GRACE_S = 15.0
# Below it are the network's own and, where a person attaches more to the network, those that the engine hands out.
_FIRST_ADDRESS = 100


@dataclass
class Stack:
    """The containers of one plan. `ports` fills as they start: component to port name to host port.

    Each has an address of its own, and the names of all in its hosts file: the name server, which all the networks of a
    host share, is away for a moment whenever any container comes or goes (aardvark-dns 1.4), and a lookup in it fails.
    `volumes` has those that were there before it.
    """

    plan: Plan
    lease: Lease
    recorder: Recorder
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    started: list[PlannedStep] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    volumes: frozenset[str] = frozenset()
    sampler: Sampler = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.engine.clone(), local=not self.lease.connection.remote)

    @property
    def engine(self) -> Engine:
        """The engine that runs it."""
        return self.lease.engine

    def make_network(self) -> None:
        """Create the run's network: the first thing a run makes and the last it removes, so it carries the owner."""
        self.lease.unswept.set()
        subnet = self._create_network()
        self.addresses = addresses(subnet, [step.name for step in self.plan.steps])

    def _create_network(self) -> str:
        """Create it with an interface and a subnet of our own choice; return the subnet.

        Podman takes the lowest that is free, but a service does not see what another has created within the kernel's
        tick of 4 to 10 ms in which it looked last (it compares its folder's time): two runs that begin together would
        share a subnet and a bridge, and the first to end would take both away.
        """
        name, run, marks = self.plan.network, self.plan.run, self.lease.labels()
        for subnet in subnets(host.subnet_pool(), run):
            with contextlib.suppress(EngineRefused):  # it is taken
                return self.engine.create_network(name, marks, interface=bridge(run), subnet=subnet)
        try:
            return self.engine.create_network(name, marks)
        except EngineRefused as error:
            raise self.inquiry.no_network(error) from error

    def start(self, step: PlannedStep, image: str, *, follow: bool) -> None:
        """Create a component's container, copy its files in, start it, and wait for its gate."""
        with self.recorder.step(step.name) as handle:
            self._run(step, image)
            self.started.append(step)
            if follow:
                self._follow(step)
            handle.polls = self._gate(step).wait()

    @property
    def inquiry(self) -> Inquiry:
        """What a fault is judged by."""
        return Inquiry(
            engine=self.engine,
            plan=self.plan,
            started=self.started,
            ports=self.ports,
            addresses=self.addresses,
            local=not self.lease.connection.remote,
            disk=lambda: disks.words(remote=self.lease.connection.remote, root=self.lease.graph_root()),
            stopping=self.stopping,
            volumes=self.volumes,
            memory=self.sampler.facts,
        )

    def _gate(self, step: PlannedStep) -> Gate:
        return Gate(
            inquiry=self.inquiry,
            step=step,
            ports=self.ports[step.name],
            look=lambda: self.look(but=step),
            sampler=self.sampler,
        )

    def look(self, *, but: PlannedStep | None = None) -> None:
        """Look once at every long-running component, `but` one; raise `NotReady` for one that has died, or in part."""
        for step in self.started:
            if step.kind == "service" and step is not but and (error := self._fault(step)) is not None:
                raise error

    def _fault(self, step: PlannedStep) -> NotReady | None:
        """Return what is wrong with a component. What this run has taken away itself is no fault of anybody."""
        state = self.inquiry.look_at(step)
        if state is not None and not state.dead and state.status != "paused":
            return self.inquiry.died(step, state, "watch") if self.sampler.child_killed(step.name, state) else None
        marks = away.marks(step.container)
        if state is not None and marks:
            ours = any(mark.by == self.plan.run for mark in marks)
            return None if ours else self.inquiry.taken_away(step, state, marks[0])
        state = self.engine.state(step.container)  # it may have been started since, and its mark taken away
        if state is None:
            return self.inquiry.gone(step)
        if state.dead:
            return self.inquiry.died(step, state, "watch")
        return self.inquiry.frozen(step) if state.status == "paused" else None

    def adopt(self, step: PlannedStep) -> int:
        """Take over a container that another run has started, behind its gate; return the number of polls."""
        state = self.engine.state(step.container)
        runs = state is not None and (state.status == "running" or (step.kind == "job" and state.dead))
        if state is None or not runs or state.labels.get(labels.DECLARED) != step.declared:
            what = "gone" if state is None else "declared otherwise by now" if runs else state.status
            which = f"--service {self.plan.service} --tier {self.plan.tier}"
            remedy = f"invoke infra.down {which} && invoke infra.up {which}  # or --fresh --ports auto"
            if state is not None and not runs and step.kind == "service":
                remedy = f"invoke infra.start --component {step.name} --run {state.labels.get(labels.RUN)}"
                if marks := away.marks(step.container):
                    what += f": {marks[0].who} took it away deliberately"
            raise NotReady(
                f"{step.container} of the stack that is up is {what}",
                reference="stack-not-usable",
                remedy=remedy,
                step=step.name,
                blame="user",
            )
        self.ports[step.name] = {port.name: state.ports[port.container] for port in step.ports}
        self.started.append(step)
        self.sampler.watch(step.name, step.container, state, own=False)
        return self._gate(step).wait()

    def reset(self) -> None:
        """Give a stack that was up a clean slate, as its components declare.

        Where the suite's workers have database numbers of their own, those of a person at the stack are left alone.
        """
        for step in self.plan.steps:
            state = self.engine.state(step.container) if step.on_reuse is not None else None
            if state is None or state.status != "running":  # nothing to empty: what is wrong is told when it is adopted
                continue
            asked = next((port.container for port in step.ports if port.name == getattr(step.ready, "port", None)), 0)
            if why := probes.flush_redis(state.ports.get(asked, 0), whole=self.plan.redis is None):
                raise NotReady(
                    f"it could not be flushed: {why}",
                    reference="reuse-reset-failed",
                    remedy=f"invoke infra.down --service {self.plan.service}  # or --fresh --ports auto",
                    step=step.name,
                )

    def drain(self, hurry: threading.Event) -> None:
        """Stop the components that ask for a grace period, last started first; everything else is just removed."""
        for step in reversed(self.started):
            if step.stop_grace_s > 0 and not hurry.is_set():
                self._stop(step, hurry)

    def _stop(self, step: PlannedStep, hurry: threading.Event) -> None:
        """Stop one component. Once `hurry` is set the call is left alone: the sweep kills what it waits for."""
        client = self.engine.clone()

        def work() -> None:
            with contextlib.suppress(InfraError):  # what cannot be asked is removed all the same
                if said := stop(client, step.container, step.stop_grace_s):
                    self.recorder.note(f"{step.name} {said}")

        stopping = threading.Thread(target=work, daemon=True)
        stopping.start()
        while stopping.is_alive() and not hurry.is_set():
            stopping.join(0.05)

    def _run(self, step: PlannedStep, image: str) -> None:
        for attempt in range(_AUTO_PORT_TRIES):
            self._create(step, image)
            try:
                self.engine.start(step.container)
            except EngineRefused as error:
                if self._lost_port(error):
                    # Podman picks a free port at create and does not hold it: another one took it meanwhile.
                    if self.plan.ports_mode == "auto" and attempt < _AUTO_PORT_TRIES - 1:
                        self.engine.remove(step.container)
                        continue
                    for port in step.ports:
                        if port.host is not None and not ports.is_free(port.host):
                            raise ports.taken(step.name, port.host, self.engine) from error
                raise self.inquiry.refused(step, image, error) from error
            break
        state = self.engine.state(step.container)
        if state is None:
            raise self.inquiry.gone(step)
        self.sampler.watch(step.name, step.container, state)
        wanted = {port.container: port.host for port in step.ports}
        known = {**{c: h for c, h in wanted.items() if h is not None}, **state.ports}
        self.ports[step.name] = {port.name: known[port.container] for port in step.ports}

    def _create(self, step: PlannedStep, image: str) -> None:
        spec = ContainerSpec(
            name=step.container,
            image=image,
            alias=step.name,
            network=self.plan.network,
            address=self.addresses.get(step.name),
            hosts=self.addresses,
            command=step.command,
            env=step.env,
            labels=self.lease.labels(step.name) | {labels.DECLARED: step.declared},
            ports={port.container: port.host or 0 for port in step.ports},
            stop_grace_s=step.stop_grace_s or DEFAULT_GRACE_S,
            memory_mb=step.memory_mb,
            cgroup_v2=step.memory_mb is not None and self.lease.cgroup_v2(),
            volume=step.volume,
            restarts=step.restarts,
        )
        files = [TarFile(path=f.path, content=f.content.encode(), mode=f.mode, owner=f.owner) for f in step.files]
        try:
            self.engine.create(spec)
            self.engine.put_files(step.container, files)
        except EngineRefused as error:
            raise self.inquiry.refused(step, image, error) from error

    @staticmethod
    def _lost_port(error: EngineRefused) -> bool:
        return "address already in use" in error.message or "port is already allocated" in error.message

    def _follow(self, step: PlannedStep) -> None:
        client, watch = self.engine.clone(), self.recorder.watch

        def follow() -> None:
            with contextlib.suppress(InfraError, OSError, ValueError):  # it ends with the container, however that ends
                client.follow_logs(step.container, lambda line: watch.log_line(step.name, self.plan.mask(line)))

        threading.Thread(target=follow, daemon=True).start()


def stop(engine: Engine, container: str, grace_s: float) -> str | None:
    """Ask a container to end; return what is said of one that had to be killed when its time was over."""
    start = time.monotonic()
    engine.stop(container, grace_s)
    if time.monotonic() - start < int(grace_s):
        return None
    state = engine.state(container)
    for _ in range(_SETTLES):  # Podman 4.3.1 answers before it knows the exit code: "stopped", and 0
        if state is None or state.status == "exited":
            break
        time.sleep(_SETTLE_S)
        state = engine.state(container)
    if state is None or state.exit_code != _SIGKILLED:
        return None
    return f"did not end at SIGTERM within its stop_grace of {grace_s:g} s, so it was killed (exit code 137)"


def subnets(pool: tuple[str, int] | None, run: str) -> Iterator[str]:
    """Yield subnets of a pool to try for a run, a few: the first follows from the run's name, the others from it."""
    if pool is None:
        return
    base = ipaddress.ip_network(pool[0])
    count = 2 ** (pool[1] - base.prefixlen)
    for number in range(_SUBNET_TRIES):
        at = (int(run, 16) + number * (count // 3 + 1)) % count
        yield f"{base[at * 2 ** (base.max_prefixlen - pool[1])]}/{pool[1]}"


def addresses(subnet: str, names: Sequence[str]) -> dict[str, str]:
    """Return an address of the subnet for each name; nothing where the subnet is too small to give each one."""
    network = ipaddress.ip_network(subnet)
    if network.num_addresses <= _FIRST_ADDRESS + len(names) + 1:
        return {}
    return {name: str(network[_FIRST_ADDRESS + number]) for number, name in enumerate(names)}
