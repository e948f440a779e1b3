"""What the host lacks or refuses: disk, kernel limits, runtimes, user namespaces."""

from __future__ import annotations

from infra.causes.rules import Rule, both, by_host, by_itself, either, exited, logged, said

RULES = (
    Rule(
        reference="disk-full",
        blame="infrastructure",
        when=either(
            by_host(r"[Nn]o space left on device", r"(?:write|copy) [^:]+: [Dd]isk quota exceeded"),
            both(exited(), by_itself, logged(r"[Nn]o space left on device")),
        ),
        message="the disk is full{disk}: {line}",
        hint="{disk_fix}",
    ),
    Rule(
        reference="keyring-full",
        blame="infrastructure",
        when=by_host(r"join keyctl.*[Dd]isk quota exceeded", r"create (?:session )?key.*quota exceeded"),
        message="the kernel's keyrings of this user are used up, and each container wants one",
        hint="invoke infra.gc && cat /proc/key-users  # still full? sudo sysctl -w kernel.keys.maxkeys=2000",
    ),
    Rule(
        reference="runtime-unfit",
        blame="user",
        when=by_host(
            r"cgroups in hybrid mode not supported",
            r"unknown version specified",
            r"this version of runc doesn't work on cgroups v2",
        ),
        message="the OCI runtime does not fit this host: {line}",
        hint="{nox} -s bootstrap && unset CONTAINER_HOST  # installs runc, which a run's own service uses",
    ),
    Rule(
        reference="limits-too-low",
        blame="infrastructure",
        when=by_host(
            r"setrlimit.*[Oo]peration not permitted", r"error setting rlimit", r"rlimit.*[Oo]peration not permitted"
        ),
        message="this host does not allow the open files or processes that the engine asks for: {line}",
        hint="ulimit -Hn; ulimit -Hu  # default_ulimits in the service's containers.conf must be within these",
    ),
    Rule(
        reference="too-many-networks",
        blame="infrastructure",
        when=by_host(
            r"could not find free subnet from subnet pools", r"too many networks", r"exchange full|File exists.*bridge"
        ),
        message="the host has no room for another network: {line}",
        hint="invoke infra.gc && podman network ls",
    ),
    Rule(
        reference="tun-missing",
        blame="infrastructure",
        when=by_host(r"open\(?[\" ]*/dev/net/tun", r"/dev/net/tun.*(?:No such|denied|not permitted)"),
        message="rootless networks need /dev/net/tun, and this account cannot open it",
        hint="sudo modprobe tun && sudo chmod 0666 /dev/net/tun",
    ),
    Rule(
        reference="subuid-missing",
        blame="infrastructure",
        when=by_host(
            r"no subuid ranges found",
            r"no subgid ranges found",
            r"cannot find UID/GID for user",
            r"insufficient UIDs or GIDs",
            r"newuidmap.*(?:denied|not allowed|failed)",
            r"potentially insufficient UIDs",
        ),
        message="this account has no range of subordinate user ids: {line}",
        hint="sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER && podman system migrate",
    ),
    Rule(
        reference="rootless-network-missing",
        blame="user",
        when=by_host(
            r"could not find (?P<tool>slirp4netns|pasta)",
            r"(?P<tool>slirp4netns|pasta).*(?:executable file not found|not found)",
        ),
        message="rootless networks need {tool}, which is not installed",
        hint="{nox} -s bootstrap  # installs it",
    ),
    Rule(
        reference="mount-not-shared",
        blame="infrastructure",
        # Podman warns of it in the output of every rootless build.
        when=said(r'"/" is not a shared mount'),
        message="the host's / is not a shared mount, which rootless containers need",
        hint="sudo mount --make-rshared /",
    ),
)
