"""What a host's facts mean for a run. Pure: facts in, one answer out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra import tools
from infra.catalog.names import nox_command
from infra.disks import Disk
from infra.doctor.checks import Check, failure, ok, unchecked, warning
from infra.doctor.facts import Go, Power, Rootless
from infra.doctor.wants import Wants, busiest, hungriest
from infra.engine.host import HostFacts, overrides
from infra.tools import Tool, installation

_LOW_BYTES = 5 * 1024**3
_LITTLE_MB = 512
_PROCESSES_A_CPU = 4
_IDS = 65536
_EDITOR = "${EDITOR:-vi}"


def disk(name: str, facts: Disk) -> Check:
    """Judge a disk: a build wants a gigabyte, and none succeeds where it is full."""
    seen = f"{facts.path}: {facts.described}"
    if facts.lacks:
        judged = failure if facts.is_full else warning
        return judged(name, f"{seen}; {facts.lacks}", facts.frees)
    if facts.free < _LOW_BYTES:
        return warning(name, seen, facts.frees)
    return ok(name, seen)


def memory(facts: Power, wants: Sequence[Wants]) -> Check:
    """Judge memory by what the components of the hungriest stack may take."""
    seen = f"{facts.where} has {facts.available_mb / 1024:.1f} GiB free of {facts.total_mb / 1024:.1f} GiB"
    one = hungriest(wants)
    if one is not None and one.memory_mb:
        rest = f" ({', '.join(one.unlimited)} declare none)" if one.unlimited else ""
        seen += f"; {one.name} may take {one.memory_mb / 1024:.1f} GiB{rest}"
        part, largest = one.largest
        edit = f"{_EDITOR} {one.catalog}/components/{part}.toml  # memory_mb"
        if largest > facts.total_mb:
            return failure("memory", f"{seen}: {part} alone is declared to take {largest / 1024:.1f} GiB", edit)
        if one.memory_mb > facts.available_mb:
            return warning("memory", seen, "ps -eo rss,pid,args --sort=-rss | head  # who has it")
    elif one is not None:
        seen += f"; {one.name} declares no memory_mb"
    if facts.available_mb < _LITTLE_MB:
        return warning("memory", seen, "ps -eo rss,pid,args --sort=-rss | head  # who has it")
    return ok("memory", seen)


def processors(facts: Power, wants: Sequence[Wants]) -> Check:
    """Judge processors by the processes of the busiest suite: too few are no error, but slow."""
    one = busiest(wants)
    seen = f"{facts.cpus} on {facts.where}"
    if one is None:
        return ok("cpus", seen)
    seen += f"; {one.name} runs {one.processes} processes"
    if one.processes > facts.cpus * _PROCESSES_A_CPU:
        fix = f"{_EDITOR} {one.catalog}/services/{one.service}.toml  # procs: fewer, or expect timeouts"
        return warning("cpus", seen, fix)
    return ok("cpus", seen)


def runtime(facts: HostFacts, found: Sequence[str], *, private: bool, used: str) -> Check:
    """Judge the OCI runtime. `used` is what a service that is not ours says it uses; ours uses what fits."""
    said = "; ".join(overrides(facts)[1])
    if facts.hybrid_cgroups and not facts.runc and used != "runc":
        seen = "this host has cgroups in hybrid mode, which crun refuses, and no runc"
        return failure("runtime", seen, tools.tool("runc").install_command)
    if private:
        if not found:
            return failure("runtime", "there is neither crun nor runc", tools.tool("runc").install_command)
        chosen = "runc" if facts.hybrid_cgroups else "Podman's own choice"
        return ok("runtime", f"{chosen} of {', '.join(found)}{f'; worked around: {said}' if said else ''}")
    if facts.hybrid_cgroups and used == "crun":
        seen = "the engine's service uses crun, which refuses cgroups in hybrid mode"
        return failure("runtime", seen, f'{_EDITOR} /etc/containers/containers.conf  # [engine] runtime = "runc"')
    if facts.low_limits:
        limits = ", ".join(f"{name}={hard}:{hard}" for name, hard in facts.low_limits.items())
        seen = f"{used or 'unknown'}; hard limits are below Podman's defaults ({limits}): setrlimit may be refused"
        fix = f"{_EDITOR} /etc/containers/containers.conf  # [containers] default_ulimits = [{limits}]"
        return warning("runtime", seen, fix)
    return ok("runtime", used or "the engine's own business")


def rootless(facts: Rootless | None, version: tuple[int, ...]) -> Check:
    """Judge what Podman needs without root; None for root."""
    if facts is None:
        return ok("rootless", "not needed: Podman runs as root")
    network = "pasta" if version >= (5,) else "slirp4netns"
    wrong: list[tuple[str, str]] = []
    if not facts.mappers:
        wrong.append(("newuidmap is missing", tools.tool("newuidmap").install_command))
    if min(facts.subuids, facts.subgids) < _IDS:
        seen = f"{facts.user} has {facts.subuids} subordinate user ids and {facts.subgids} group ids, {_IDS} are wanted"
        ranges = "--add-subuids 100000-165535 --add-subgids 100000-165535"
        wrong.append((seen, f"sudo usermod {ranges} {shlex.quote(facts.user)} && podman system migrate"))
    if not facts.tun:
        wrong.append(("/dev/net/tun is missing", "sudo modprobe tun"))
    if not (facts.pasta if network == "pasta" else facts.slirp4netns):
        wrong.append((f"{network} is missing", tools.tool(network).install_command))
    if wrong:
        return failure("rootless", "; ".join(seen for seen, _ in wrong), " && ".join(fix for _, fix in wrong))
    if not facts.shared:
        return warning("rootless", "/ is not a shared mount", "sudo mount --make-rshared /")
    return ok("rootless", f"{facts.subuids} ids, {network}, /dev/net/tun")


def proxies(environ: Mapping[str, str], found: Mapping[str, str]) -> Check:
    """Judge proxies: one that does not leave out 127.0.0.1 catches a suite's calls of its own stack."""
    if not found:
        return ok("proxies", "none")
    seen = ", ".join(f"{key}={value}" for key, value in sorted(found.items()))
    given = {key: environ[key] for key in ("NO_PROXY", "no_proxy") if environ.get(key)}
    lacking = [key for key, value in given.items() if not _spares_us(value)] or ([] if given else ["NO_PROXY"])
    if lacking:
        fix = 'export NO_PROXY="127.0.0.1,localhost,${NO_PROXY:-$no_proxy}" && export no_proxy="$NO_PROXY"'
        return warning("proxies", f"{seen}, and {lacking[0]} lacks 127.0.0.1: suites call their stack there", fix)
    return ok("proxies", f"{seen}, not for 127.0.0.1")


def _spares_us(no_proxy: str) -> bool:
    return bool({"*", "127.0.0.1", "127.0.0.0/8"} & {word.strip() for word in no_proxy.split(",")})


def trust(absent: Mapping[str, str], own: Path | None, system: str) -> Check:
    """Judge what TLS is checked against."""
    if absent:
        named = ", ".join(f"{key} is {value}" for key, value in absent.items())
        fix = f"unset {' '.join(absent)}"
        if set(absent) == {"SSL_CERT_FILE"}:  # Go and OpenSSL look into the system's folders, too
            return warning("trust", f"{named}, and there is no such file: other bundles are taken, or none", fix)
        return failure("trust", f"{named}, and there is no such file: what reads that refuses all TLS", fix)
    if own is not None:
        return ok("trust", f"authorities of the host's own ({own}), mounted while images are built")
    if not system:
        fix = tools.tool("ca-certificates").install_command
        return warning("trust", "this host has no bundle of certificates: no TLS of a build or of Go is trusted", fix)
    return ok("trust", system)


def tool_chain(missing: Sequence[Tool]) -> Check:
    """Judge the tools that bootstrap installs: which of them a run needs depends on what it does."""
    if not missing:
        return ok("tools", "all that bootstrap installs")
    seen = ", ".join(f"{one.name} ({one.why})" for one in missing)
    return warning("tools", f"missing: {seen}", str(installation(missing)))


def go(found: str, version: tuple[int, ...], modules: Sequence[Go]) -> Check:
    """Judge what Go suites need: a go, and a module that requires the runner."""
    if not found:
        return failure("go", "go is not installed", f"{nox_command()} -s bootstrap")
    for one in modules:
        if not one.module:
            return failure("go", f"{one.folder} is in no Go module", f"cd {shlex.quote(one.folder)} && go mod init")
        if not one.required:
            fix = f"cd {shlex.quote(one.folder)} && go get -tool {one.tool} && go mod tidy"
            return failure("go", f"{one.module} does not require {one.tool}", fix)
    dotted = ".".join(map(str, version))
    newest = max(modules, key=lambda one: one.wants)
    if version and newest.wants > version:
        wanted = ".".join(map(str, newest.wants))
        seen = f"{found} is {dotted}, and {newest.module} wants {wanted}: go fetches that first"
        return warning("go", seen, f"{nox_command()} -s bootstrap")
    return ok("go", f"{found} {dotted}") if version else unchecked("go", f"{found} does not say its version")


def python(found: str, *, pytest: bool) -> Check:
    """Judge what Python suites without requirements of their own need."""
    if not found:
        return failure("python", "python3 is not installed", f"{nox_command()} -s bootstrap")
    if not pytest:
        return failure("python", f"{found} has no pytest", f"{shlex.quote(found)} -m pip install pytest")
    return ok("python", f"{found} with pytest")
