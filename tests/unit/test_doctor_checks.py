"""What recorded facts of hosts mean: each check's state, and the command that mends it."""

import base64
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from given import CATALOG, plan_of
from test_transport import Serve, http, serve  # noqa: F401 - a fixture

from infra import build, cache, disks, labels
from infra.catalog.loading import load
from infra.disks import Disk
from infra.doctor import engine, facts, host, machine, start, wants
from infra.doctor.checks import Asked, Check, document, failure, ok, warning, worst
from infra.doctor.facts import Go, Power, Rootless
from infra.engine import store
from infra.engine.discover import Connection
from infra.engine.host import HostFacts
from infra.engine.store import Stored
from infra.engine.types import Image
from infra.errors import Unavailable
from infra.lease import Lease
from infra.sweep import FoundRun
from infra.tools import TOOLS

GB = 10**9
HERE = HostFacts(
    hybrid_cgroups=True, cgroups_v1=True, systemd=False, runc=True, low_limits={"nofile": 20000, "nproc": 32768}
)
PLAIN = HostFacts(hybrid_cgroups=False, cgroups_v1=False, systemd=True, runc=False, low_limits={})
LAPTOP = Rootless(
    user="ann", mappers=True, subuids=65536, subgids=65536, tun=True, slirp4netns=True, pasta=False, shared=True
)
ROOMY = Disk(what="container storage", path="/var/lib/containers/storage", total=270 * GB, free=75 * GB)
DESK = Power(total_mb=24105, available_mb=22773, cpus=2)
MODULE = Go(folder="/w", module="/w/go.mod", tool="github.com/onsi/ginkgo/v2/ginkgo", required=True, wants=(1, 24, 0))
WANTED = wants.of(load(CATALOG), "notification", "integration")[0]


def state_of(check: Check) -> str:
    """A check's state; what is not well has a fix, and what is well has none."""
    assert bool(check.fix) == (check.state != "ok"), check
    assert "\n" not in check.seen + check.fix
    return check.state


# -- values


def test_the_worst_state_is_that_of_all() -> None:
    assert worst([]) == "ok"
    assert worst([ok("a", ""), warning("b", ""), ok("c", "")]) == "warning"
    assert worst([warning("a", ""), failure("b", ""), ok("c", "")]) == "failure"


def test_the_document_is_that_of_the_contract() -> None:
    assert document([warning("disk", "full", "df -h")]) == {
        "checks": [{"name": "disk", "state": "warning", "seen": "full", "fix": "df -h"}],
        "state": "warning",
    }


def test_a_check_that_hangs_or_raises_is_a_warning_and_holds_up_no_other() -> None:
    ended = threading.Event()

    def hangs() -> Check:
        ended.wait(30)
        return ok("hangs", "")

    def raises() -> Check:
        raise OSError(5, "Input/output error")

    def refuses() -> Check:
        raise Unavailable("podman is not there", reference="podman-missing")

    began = time.monotonic()
    asked = [Asked("hangs", hangs, 0.3), Asked("raises", raises), Asked("refuses", refuses)]
    asked.append(Asked("fine", lambda: ok("fine", "yes")))
    answers = [one.answer() for one in asked]
    ended.set()
    assert time.monotonic() - began < 5
    assert [(one.name, one.state, one.seen) for one in answers] == [
        ("hangs", "warning", "could not be checked: no answer within 0.3 s"),
        ("raises", "warning", "could not be checked: [Errno 5] Input/output error"),
        ("refuses", "warning", "could not be checked: podman is not there"),
        ("fine", "ok", "yes"),
    ]


# -- disks


@pytest.mark.parametrize(
    ("disk", "state", "fix"),
    [
        (ROOMY, "ok", ""),
        (replace(ROOMY, free=4 * GB, ours=0), "warning", "podman system df  # shows what fills it"),
        (replace(ROOMY, free=GB, ours=9 * GB, cached=4 * GB), "warning", "invoke images.prune --days 0"),
        (replace(ROOMY, free=GB // 2, ours=9 * GB), "warning", "podman system df"),
        (replace(ROOMY, free=64 * 1024**2, ours=9 * GB), "failure", "podman system df"),
        (replace(ROOMY, inodes=3), "failure", "du -xhd1 /var/lib/containers/storage"),
        (replace(ROOMY, path="/a b", free=0), "failure", "du -xhd1 '/a b'"),
    ],
)
def test_a_disk_is_judged_by_what_a_build_wants(disk: Disk, state: str, fix: str) -> None:
    said = host.disk("storage", disk)
    assert state_of(said) == state
    assert said.fix.startswith(fix)
    assert disk.path in said.seen


def test_a_full_disk_says_how_much_is_free_and_how_much_is_ours() -> None:
    said = host.disk("storage", replace(ROOMY, free=GB // 2, ours=9 * GB, cached=4 * GB))
    assert "0.5 GB free of 270.0 GB, 9.0 GB are images of ours; a build wants 1.1 GB" in said.seen


# -- memory, processors


@pytest.mark.parametrize(
    ("power", "memory_mb", "largest", "state"),
    [
        (DESK, 0, ("", 0), "ok"),
        (DESK, 4096, ("postgres", 2048), "ok"),
        (DESK, 24000, ("postgres", 12000), "warning"),
        (DESK, 65536, ("postgres", 65536), "failure"),
        (replace(DESK, available_mb=300), 0, ("", 0), "warning"),
    ],
)
def test_memory_is_judged_by_what_the_stack_declares(
    power: Power, memory_mb: int, largest: tuple[str, int], state: str
) -> None:
    said = host.memory(power, (replace(WANTED, memory_mb=memory_mb, largest=largest, unlimited=()),))
    assert state_of(said) == state
    assert "notification integration" in said.seen
    if state == "failure":
        assert f"{CATALOG}/components/postgres.toml" in said.fix


def test_of_all_services_the_hungriest_and_the_busiest_count() -> None:
    others = (replace(WANTED, service="small", memory_mb=100), replace(WANTED, service="large", memory_mb=900))
    assert "large integration may take" in host.memory(DESK, others).seen
    assert state_of(host.processors(DESK, others)) == "ok"
    assert state_of(host.processors(replace(DESK, cpus=1), (replace(WANTED, memory_mb=1),))) == "ok"
    assert host.processors(DESK, ()).seen == "2 on this host"


def test_too_many_processes_for_the_processors_are_a_warning() -> None:
    spec = WANTED.spec.model_copy(update={"suite": WANTED.spec.suite.model_copy(update={"procs": 32})})
    assert state_of(host.processors(DESK, (replace(WANTED, spec=spec),))) == "warning"


# -- the engine


@pytest.mark.parametrize(
    ("seen", "found", "private", "used", "state"),
    [
        (HERE, ("runc",), True, "", "ok"),
        (replace(HERE, runc=False), ("crun",), True, "", "failure"),
        (PLAIN, ("crun",), True, "", "ok"),
        (PLAIN, (), True, "", "failure"),
        (PLAIN, (), False, "", "ok"),
        (HERE, ("runc",), False, "crun", "failure"),
        (HERE, ("runc",), False, "runc", "warning"),
        (replace(HERE, low_limits={}), ("runc",), False, "runc", "ok"),
    ],
)
def test_the_runtime_fits_the_host(
    seen: HostFacts, found: tuple[str, ...], private: bool, used: str, state: str
) -> None:
    assert state_of(host.runtime(seen, found, private=private, used=used)) == state


@pytest.mark.parametrize(("told", "state"), [("4.3.1", "ok"), ("5.4.2", "ok"), ("3.4.4", "failure"), ("5.0-rc1", "ok")])
def test_the_oldest_version_is_4_3(told: str, state: str) -> None:
    said = engine.version(told)
    assert state_of(said) == state
    assert told in said.seen


@pytest.mark.parametrize(
    ("rootless", "version", "state", "word"),
    [
        (None, (4, 3, 1), "ok", "root"),
        (LAPTOP, (4, 3, 1), "ok", "slirp4netns"),
        (LAPTOP, (5, 4, 2), "failure", "pasta is missing"),
        (replace(LAPTOP, pasta=True), (5, 4, 2), "ok", "pasta"),
        (replace(LAPTOP, tun=False), (4, 3), "failure", "/dev/net/tun is missing"),
        (replace(LAPTOP, subgids=0), (4, 3), "failure", "0 group ids"),
        (replace(LAPTOP, mappers=False), (4, 3), "failure", "newuidmap"),
        (replace(LAPTOP, shared=False), (4, 3), "warning", "shared"),
    ],
)
def test_what_podman_needs_without_root(
    rootless: Rootless | None, version: tuple[int, ...], state: str, word: str
) -> None:
    said = host.rootless(rootless, version)
    assert state_of(said) == state
    assert word in said.seen


def test_several_faults_of_a_rootless_set_up_are_all_named_with_all_their_commands() -> None:
    said = host.rootless(replace(LAPTOP, tun=False, subuids=10), (4, 3))
    assert "10 subordinate user ids" in said.seen
    assert "/dev/net/tun" in said.seen
    assert said.fix.startswith("sudo usermod --add-subuids")
    assert said.fix.endswith("&& sudo modprobe tun")


def test_subordinate_ids_are_counted_by_name_and_by_number() -> None:
    lines = ["# people", "ann:100000:65536", "bob:165536:65536", "1000:300000:10", "ann:x", ""]
    assert facts.granted(lines, "ann", 1000) == 65546
    assert facts.granted(lines, "eve", 1001) == 0


def test_this_host_has_all_the_facts_that_are_looked_at() -> None:
    here = facts.power()
    assert 0 < here.available_mb <= here.total_mb
    assert here.cpus == os.cpu_count()
    assert facts.rootless().user
    assert all(disk.total >= disk.free > 0 for disk in (disks.temporary(), disks.storage()))
    assert facts.go_version("false") == ()
    assert facts.has_pytest(sys.executable)


# -- proxies, trust, tools


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "ok"),
        ({"NO_PROXY": "example.com"}, "ok"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "warning"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "example.com, localhost"}, "warning"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,127.0.0.1"}, "ok"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,127.0.0.0/8"}, "ok"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "ok"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1", "no_proxy": "a"}, "warning"),
    ],
)
def test_a_proxy_must_leave_127_0_0_1_alone(environ: dict[str, str], state: str) -> None:
    assert state_of(host.proxies(environ, facts.proxies(environ))) == state


def test_a_proxys_password_is_not_shown() -> None:
    environ = {"HTTP_PROXY": "http://ann:hush@proxy:3128"}
    assert "hush" not in host.proxies(environ, facts.proxies(environ)).seen
    assert "proxy:3128" in host.proxies(environ, facts.proxies(environ)).seen


@pytest.mark.parametrize("text", ["http://ann:hu@sh@proxy:3128", "ann:hush@proxy:3128", "http://ann:hu/sh@proxy:3128"])
def test_a_proxys_password_is_not_shown_however_it_is_written(text: str) -> None:
    shown = facts.proxies({"HTTP_PROXY": text})["HTTP_PROXY"]
    assert shown == ("http://proxy:3128" if "//" in text else "proxy:3128")


def test_trust_names_the_bundle_that_is_not_there(tmp_path: Path) -> None:
    there = tmp_path / "there.pem"
    there.touch()
    gone = str(tmp_path / "gone.pem")
    assert facts.absent_bundles({"SSL_CERT_FILE": str(there), "PIP_CERT": ""}) == {}
    absent = facts.absent_bundles({"SSL_CERT_FILE": gone, "PIP_CERT": str(there)})
    said = host.trust(absent, None, "/etc/ssl/certs/ca-certificates.crt")
    assert (state_of(said), said.fix) == ("warning", "unset SSL_CERT_FILE")
    assert gone in said.seen
    said = host.trust(facts.absent_bundles({"PIP_CERT": gone}), None, "")
    assert (state_of(said), said.fix) == ("failure", "unset PIP_CERT")


@pytest.mark.parametrize(
    ("own", "system", "state"), [(Path("/b"), "/b", "ok"), (None, "/b", "ok"), (None, "", "warning")]
)
def test_trust_without_a_fault_in_the_environment(own: Path | None, system: str, state: str) -> None:
    assert state_of(host.trust({}, own, system)) == state


def test_missing_tools_are_named_with_what_they_are_for() -> None:
    assert state_of(host.tool_chain(())) == "ok"
    git = next(one for one in TOOLS if one.name == "git")
    said = host.tool_chain((git,))
    assert state_of(said) == "warning"
    assert git.why in said.seen
    assert "install" in said.fix


@pytest.mark.parametrize(
    ("found", "version", "module", "state", "word"),
    [
        ("/usr/bin/go", (1, 26, 8), MODULE, "ok", "1.26.8"),
        ("", (), MODULE, "failure", "not installed"),
        ("/usr/bin/go", (1, 19), MODULE, "warning", "wants 1.24.0"),
        ("/usr/bin/go", (1, 26), replace(MODULE, module=""), "failure", "no Go module"),
        ("/usr/bin/go", (1, 26), replace(MODULE, required=False), "failure", "does not require"),
    ],
)
def test_go_and_the_runner_that_the_module_requires(
    found: str, version: tuple[int, ...], module: Go, state: str, word: str
) -> None:
    said = host.go(found, version, (module,))
    assert state_of(said) == state
    assert word in said.seen


def test_a_module_that_requires_the_runner_is_found_above_the_suites_folder(tmp_path: Path) -> None:
    inside = tmp_path / "test" / "integration"
    inside.mkdir(parents=True)
    tool = "github.com/onsi/ginkgo/v2/ginkgo"
    assert facts.go_module(inside, tmp_path, tool).module == ""
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.24.0\n\nrequire github.com/onsi/gomega v1.41.0\n")
    assert not facts.go_module(inside, tmp_path, tool).required
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.24.0\n\nrequire (\n\tgithub.com/onsi/ginkgo/v2 v2.28.1\n)\n")
    found = facts.go_module(inside, tmp_path, tool)
    assert (found.required, found.wants) == (True, (1, 24, 0))
    assert facts.go_module(tmp_path, tmp_path / "elsewhere", tool).module == ""


def test_python_without_pytest_is_a_failure() -> None:
    assert state_of(host.python("", pytest=False)) == "failure"
    assert state_of(host.python("/usr/bin/python3", pytest=False)) == "failure"
    assert state_of(host.python("/usr/bin/python3", pytest=True)) == "ok"


# -- ports, leftovers, images


def test_a_port_that_is_held_names_its_holder() -> None:
    port = wants.WantedPort(service="gateway", part="redis", number=16380)
    held = [(port, "process 4711 (nc -l 16380)", "kill 4711")]
    said = engine.judge_ports([port], held, 1, [], asked=True)
    assert (state_of(said), said.fix) == ("failure", "kill 4711")
    assert "16380 of gateway (redis) is taken by process 4711" in said.seen
    assert state_of(engine.judge_ports([port], held, 5, [], asked=False)) == "warning"
    assert "and 4 more" in engine.judge_ports([port], held, 5, [], asked=False).seen
    assert state_of(engine.judge_ports([port], [], 0, ["gateway integration is up"], asked=True)) == "ok"


def test_a_forwarding_of_the_machine_is_ended_by_its_own_command() -> None:
    port = wants.WantedPort(service="gateway", part="redis", number=16380)
    said = engine.judge_ports([port], [(port, "process 9 (gvproxy -mtu 1500)", "kill 9")], 1, [], asked=True)
    assert said.fix.startswith("podman machine stop; podman machine start")


def found_run(run: str, kept: str | None) -> FoundRun:
    return FoundRun(run=run, service="gateway", tier="integration", created="", owner=None, kept=kept)


def test_leftovers_are_named_and_what_is_kept_is_no_fault() -> None:
    kept = found_run("1884d074", "infra.up")
    assert state_of(engine.judge_leftovers((), (), ())) == "ok"
    said = engine.judge_leftovers((), (), (kept,))
    assert (state_of(said), "1884d074 of gateway is kept" in said.seen) == ("ok", True)
    said = engine.judge_leftovers(("0badcafe", "deadbeef"), ("abad1dea",), (found_run("0badcafe", None), kept))
    assert (state_of(said), said.fix) == ("warning", "invoke infra.gc")
    assert "of dead runs: 0badcafe of gateway, deadbeef; builds of runs that are gone: abad1dea" in said.seen


def test_forwardings_are_named() -> None:
    assert state_of(engine.judge_forwardings(())) == "ok"
    assert "forwarding of port 5" in engine.judge_forwardings(("forwarding of port 5",)).seen


def image(number: int, age_s: float) -> Image:
    name = f"localhost/redis:{number:012x}"
    return Image(
        id=str(number),
        tags=(name,),
        labels={labels.IMAGE: "redis"},
        created=int(time.time() - age_s),
        size=2 * GB,
    )


def test_images_beyond_the_caches_bounds_are_a_warning() -> None:
    fresh = Stored(images=(image(1, 60), image(2, 60)), bytes=3 * GB)
    assert engine.aged(None, fresh) == ()
    assert state_of(engine.judge_images((), fresh)) == "ok"
    old = replace(fresh, images=(*fresh.images, image(3, cache.MAX_AGE_S + 60)))
    gone = engine.aged(None, old)
    assert [one.id for one in gone] == ["3"]
    assert state_of(engine.judge_images(gone, old)) == "warning"
    many = Stored(images=tuple(image(number, number) for number in range(12)), bytes=24 * GB)
    assert len(engine.aged(None, many)) == 2


# -- the storage's own files


def storage_in(folder: Path) -> Path:
    """What containers/storage has written down of two images of ours on one base, and of somebody's."""
    layers = [
        {"id": "base", "diff-size": 100},
        {"id": "one", "parent": "base", "diff-size": 10},
        {"id": "two", "parent": "base"},
    ]
    rows = [("a" * 64, "one", "redis"), ("b" * 64, "two", "redis"), ("c" * 64, "base", "")]
    (folder / "overlay-layers").mkdir(parents=True)
    (folder / "overlay-layers" / "layers.json").write_text(json.dumps(layers))
    images = []
    for name, layer, ours in rows:
        own = folder / "overlay-images" / name
        own.mkdir(parents=True)
        config = {"config": {"Labels": {labels.IMAGE: ours} if ours else None}}
        file = base64.b64encode(f"sha256:{name}".encode()).decode()
        (own / f"={file}").write_text(json.dumps(config))
        images.append(
            {"id": name, "layer": layer, "created": "2026-11-21T23:58:32.061232811Z", "names": [f"localhost/x:{layer}"]}
        )
    (folder / "overlay-images" / "images.json").write_text(json.dumps(images))
    return folder


def test_the_storage_tells_which_images_are_ours_and_counts_shared_layers_once(tmp_path: Path) -> None:
    found = store.ours(storage_in(tmp_path / "storage"))
    assert found.bytes == 110
    assert [(one.tags, one.size) for one in found.images] == [(("localhost/x:one",), 110), (("localhost/x:two",), 100)]
    assert found.images[0].created == 1795305512


def test_a_storage_that_is_not_there_has_nothing_and_one_that_is_broken_says_so(tmp_path: Path) -> None:
    assert store.ours(tmp_path) == Stored(images=(), bytes=0)
    (tmp_path / "overlay-images").mkdir()
    (tmp_path / "overlay-images" / "images.json").write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        store.ours(tmp_path)


def test_a_storage_that_cannot_be_read_is_not_one_without_images(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        store.ours(tmp_path / "file")


def test_which_disk_is_full_is_looked_at_where_a_build_says_so_and_hides_no_error(serve: Serve) -> None:  # noqa: F811
    info = {"store": {"graphRoot": "/" + "x" * 5000, "graphDriverName": "vfs"}, "host": {}}
    server = serve({"/info": http(json.dumps(info).encode())})
    connection = Connection(url=server.url, origin="CONTAINER_HOST")
    held = Lease(
        run="1884d074",
        service="gateway",
        tier="integration",
        owner=labels.Owner.of(os.getpid()),
        connection=connection,
        engine=connection.client(),
        version="4.3.1",
    )
    assert build._disk(held, ("STEP 1/2: FROM x", "make: *** [all] Error 1")) == {}
    assert server.asked == []
    assert build._disk(held, ("write /x: no space left on device",)) == {}  # no such path can be looked at
    assert "GET /info" in server.asked


def test_where_the_storage_is_as_its_configuration_says(tmp_path: Path) -> None:
    conf = tmp_path / "storage.conf"
    conf.write_text('[storage]\ndriver = "overlay"\ngraphroot = "/srv/containers"\n')
    assert store.graph_root({"CONTAINERS_STORAGE_CONF": str(conf)}) == Path("/srv/containers")
    conf.write_text("[storage")
    usual = store.graph_root({"CONTAINERS_STORAGE_CONF": str(conf), "HOME": str(tmp_path)})
    rootless = tmp_path / ".local/share/containers/storage"
    assert usual == (rootless if os.geteuid() else Path("/var/lib/containers/storage"))


# -- the machine on macOS, as `podman machine list --format json` of 4.9 and 5.3 has it


def listed(**changed: object) -> str:
    row = {
        "Name": "podman-machine-default",
        "Default": True,
        "Created": "2026-01-02T03:04:05.000000006+01:00",
        "Running": True,
        "Starting": False,
        "LastUp": "0001-01-01T00:00:00Z",
        "Stream": "testing",
        "VMType": "applehv",
        "CPUs": 5,
        "Memory": "2147483648",
        "DiskSize": "107374182400",
        "Port": 52611,
        "RemoteUsername": "core",
        "IdentityPath": "/Users/ann/.local/share/containers/podman/machine/machine",
        "UserModeNetworking": True,
    }
    return json.dumps([{**row, **changed}])


@pytest.mark.parametrize(
    ("text", "answers", "state", "fix"),
    [
        (listed(), True, "ok", ""),
        (listed(), False, "failure", "podman machine stop podman-machine-default; podman machine start"),
        (listed(Running=False), False, "failure", "podman machine start podman-machine-default"),
        (listed(Running=False), True, "warning", "podman machine stop podman-machine-default;"),
        (listed(Running=False, Starting=True), False, "warning", "podman machine list"),
        (listed(Name="podman-machine-default*", Default=None), True, "ok", ""),
        ("[]", False, "failure", "podman machine init --now"),
        ("[]", True, "ok", ""),
        ("", True, "ok", ""),
    ],
)
def test_the_machine_on_macos_and_its_two_minds(text: str, answers: bool, state: str, fix: str) -> None:
    said = machine.judge(machine.read(text), answers=answers)
    assert state_of(said) == state
    assert said.fix.startswith(fix)


def test_a_machine_list_that_is_none_is_not_understood() -> None:
    with pytest.raises(ValueError, match="no list"):
        machine.read('{"Name": "x"}')


# -- what services want, and what a run looks at before it starts


def test_what_a_service_wants_is_what_its_catalogue_declares() -> None:
    assert WANTED.name == "notification integration"
    assert {port.part for port in WANTED.ports} >= {"postgres", "redis"}
    assert WANTED.processes >= 1
    every = wants.of(load(CATALOG), "", "integration")
    assert WANTED in every
    assert len(every) > 5


def test_a_suite_whose_first_command_is_missing_is_refused_before_anything_starts(tmp_path: Path) -> None:
    made = plan_of(tmp_path)
    with pytest.raises(Unavailable) as error:
        start.check_tools(made.suite, tmp_path, {"PATH": str(tmp_path)})
    assert (error.value.reference, error.value.step) == ("tool-missing", "suite")
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\n")
    go.chmod(0o755)
    start.check_tools(made.suite, tmp_path, {"PATH": str(go.parent)})
    start.check_tools(made.suite.model_copy(update={"path": ("bin",)}), tmp_path, {"PATH": "/nowhere"})
    start.check_tools(made.suite.model_copy(update={"env": {"PATH": "/other"}}), tmp_path, {"PATH": "/nowhere"})


def test_limits_beyond_the_hosts_memory_are_a_note(tmp_path: Path) -> None:
    made = plan_of(tmp_path)
    assert not any("memory" in note for note in start.notes(made, remote=False))
    large = replace(made, steps=(replace(made.steps[0], memory_mb=10**8),))
    assert any(note.startswith("the stack may take 100000000 MiB") for note in start.notes(large, remote=False))
