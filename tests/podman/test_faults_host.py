"""F28 to F34 and F40: the host and the engine. What another host would say, a proxy says."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import proxy
import psutil
import pytest
from faults import Fault, caused, is_told, small_catalog, small_workspace, written_down
from product import CATALOG, ROOT, Done, Podman, Project, new_run, without
from proxy import Rule, proxied
from serving import Service, served
from test_bad_input import old_podman
from test_doctor import aside, on_small_disks, small_tmp

from infra.engine import host

__all__ = ["aside"]
pytestmark = pytest.mark.usefixtures("warm")

SERVICE = "hosted"
FITS = 'runtime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


@pytest.fixture
def light(tmp_path: Path, make_project: Callable[..., Project]) -> Project:
    """Redis alone, and a suite of one test."""
    catalog = small_catalog(tmp_path / "catalog", {}, ["redis"], service=SERVICE)
    return make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace"))


@pytest.fixture(scope="module")
def real(podman: Podman) -> Iterator[Service]:
    with served(podman.env) as service:
        yield service


# -- F29, F30, F34: what an engine says


@dataclass(frozen=True)
class Said:
    """Words that were recorded, and the request at which the engine says them."""

    words: str
    reference: str
    message: str
    remedy: str
    method: str = "POST"
    path: str = r"/containers/[^/]*/start"
    step: str = "redis"


WORDS = {
    "F29": Said(
        "internal libpod error",
        "engine-internal",
        "Podman has an internal error: internal libpod error",
        "podman ps --all --external",
    ),
    "F30": Said(
        'unable to start "podman-machine-default": already running',
        "machine-in-two-minds",
        "podman-machine-default is said to run already, and so cannot be started",
        "podman machine stop podman-machine-default && podman machine start podman-machine-default",
    ),
    "F34 keyring": Said(
        "crun: join keyctl `7b4f`: Disk quota exceeded: OCI runtime error",
        "keyring-full",
        "the kernel's keyrings of this user are used up",
        "invoke infra.gc && cat /proc/key-users",
    ),
    "F34 keyring, runc": Said(
        "runc: runc create failed: unable to start container process: unable to join session keyring: unable to create "
        "session key: disk quota exceeded: OCI runtime error",
        "keyring-full",
        "the kernel's keyrings of this user are used up",
        "invoke infra.gc && cat /proc/key-users",
    ),
    "F34 networks": Said(
        "could not find free subnet from subnet pools",
        "too-many-networks",
        "the host has no room for another network",
        "invoke infra.gc && podman network ls",
        path="/networks/create",
        step="network",
    ),
}


@pytest.mark.parametrize("fault", WORDS)
def test_f29_f30_f34_what_is_told(fault: str, light: Project, real: Service) -> None:
    """(message)"""
    said = WORDS[fault]
    with proxied(real.folder / f"{secrets.token_hex(3)}.sock", real.folder / "podman.sock") as between:
        between.rule(Rule(proxy.refuse(words=said.words), said.method, f"{said.path}(\\?|$)"))
        told = caused(light, SERVICE, ports="auto", CONTAINER_HOST=between.url)
    is_told(
        told,
        reference=said.reference,
        blame="infrastructure",
        code=75,
        step=said.step,
        says=[said.message],
        remedy=said.remedy,
        shows=[said.words],
    )
    written_down(fault[:3], f"(message) {said.words}", told)


# -- F31, F32: no engine, or none that will do


def unavailable(told: Fault, reference: str, says: list[str], remedy: str, how: str, number: str = "F31") -> None:
    is_told(told, reference=reference, blame="user", code=69, step="engine", says=says, remedy=remedy)
    written_down(number, how, told)


def test_f31_what_is_told_without_podman(light: Project, tmp_path: Path) -> None:
    path = without(light.environment()["PATH"], "podman", tmp_path)
    told = caused(light, SERVICE, PATH=path, CONTAINER_HOST=None)
    unavailable(told, "podman-missing", ["podman is not installed"], "podman", "no podman on PATH")


def test_f31_what_is_told_without_a_service(light: Project, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock"
    told = caused(light, SERVICE, CONTAINER_HOST=url)
    says = [f"there is no socket {url}, which CONTAINER_HOST names: no Podman is served there"]
    unavailable(told, "engine-socket-missing", says, "unset CONTAINER_HOST  # ", "a socket that nobody has made")
    assert f"podman system service --time=0 {url} &" in told.cause["remedy"]


def test_f31_what_is_told_of_a_dead_socket(light: Project, podman: Podman) -> None:
    with served(podman.env) as service:
        service.stop()
        told = caused(light, SERVICE, CONTAINER_HOST=service.url)
    says = [f"nobody listens at {service.url}, which CONTAINER_HOST names: the Podman that was served there has ended"]
    unavailable(told, "engine-socket-dead", says, "unset CONTAINER_HOST  # ", "the socket of a service that was killed")


@pytest.mark.parametrize("url", ["/run/podman/podman.sock", "podman://here", "tcp://no.such.host.example:8080"])
def test_f31_what_is_told_of_a_wrong_address(url: str, light: Project) -> None:
    told = caused(light, SERVICE, CONTAINER_HOST=url)
    says = [f"CONTAINER_HOST names {url}, which is no address of a Podman: "]
    unavailable(told, "engine-address", says, "unset CONTAINER_HOST  # ", f"CONTAINER_HOST={url}")


def test_f31_what_is_told_of_an_unknown_connection(light: Project) -> None:
    told = caused(light, SERVICE, CONTAINER_HOST=None, CONTAINER_CONNECTION="nobody-made-this")
    says = ['CONTAINER_CONNECTION is "nobody-made-this"', "known: none"]
    unavailable(told, "no-connection", says, "unset CONTAINER_CONNECTION  # ", "CONTAINER_CONNECTION that is unknown")


def test_f31_what_is_told_where_the_socket_may_not_be_opened(account: Account, real: Service) -> None:
    """As a user who is not root, in a project of its own: the socket is root's."""
    real.folder.chmod(0o711)
    (real.folder / "podman.sock").chmod(0o600)
    told = account.caused(CONTAINER_HOST=real.url)
    says = [f"this user may not open the socket {real.url}, which CONTAINER_HOST names"]
    unavailable(told, "engine-permission", says, "unset CONTAINER_HOST  # ", "root's socket, as another user")


def test_f32_what_is_told(light: Project, tmp_path: Path) -> None:
    with old_podman(tmp_path / "podman.sock", "3.4.0"):
        told = caused(light, SERVICE, CONTAINER_HOST=f"unix://{tmp_path}/podman.sock")
    says = ["is 3.4.0; 4.3 is the oldest supported"]
    unavailable(told, "podman-too-old", says, f"podman --url unix://{tmp_path}/podman.sock version", "says 3.4", "F32")


# -- F33: the runtime, and limits, that do not fit


def configured(podman: Podman, folder: Path, text: str) -> dict[str, str]:
    conf = folder / "containers.conf"
    conf.write_text(text, encoding="utf-8")
    return {**podman.env, "CONTAINERS_CONF": str(conf)}


def crun(folder: Path, words: str) -> Path:
    """The host's own crun, else a stand-in that says what crun 1.8.1 was recorded to say here.

    conmon reads an error from the file that `--log` names, a JSON document a line.
    """
    real = shutil.which("crun")
    if real and "hybrid" in words and host.facts().hybrid_cgroups:
        return Path(real)
    path = folder / "crun"
    path.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && { echo "crun version 1.8.1"; exit 0; }\n'
        'for one in "$@"; do case $one in --log=*) log=${one#--log=};; esac; done\n'
        f"""[ -z "$log" ] || echo '{{"msg":"{words}","level":"error","time":""}}' >>"$log"\n"""
        f"echo '{words}' >&2\nexit 1\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "words", ["cgroups in hybrid mode not supported, drop all controllers from cgroupv2", "unknown version specified"]
)
def test_f33_what_is_told_of_a_runtime_that_does_not_fit(
    words: str, light: Project, podman: Podman, tmp_path: Path
) -> None:
    runtime = crun(tmp_path, words)
    text = f'[engine]\n{FITS.replace("runc", "crun")}[engine.runtimes]\ncrun = ["{runtime}"]\n{LIMITS}'
    with served(configured(podman, tmp_path, text)) as service:
        told = caused(light, SERVICE, ports="auto", CONTAINER_HOST=service.url)
    is_told(
        told,
        reference="runtime-unfit",
        blame="user",
        code=75,
        step="redis",
        says=["the OCI runtime does not fit this host: "],
        remedy="python3 noxfile.py -s bootstrap && unset CONTAINER_HOST",
    )
    written_down("F33", f"a service with {'crun' if runtime.parent != tmp_path else 'a stand-in for crun'}", told)


def test_f33_what_is_told_of_limits_that_are_too_low(light: Project, podman: Podman, tmp_path: Path) -> None:
    """The service asks for more than its hard limit, and may not raise that."""
    env = configured(podman, tmp_path, f'[engine]\n{FITS}[containers]\ndefault_ulimits = ["nofile=2000000:2000000"]\n')
    with served(env) as service:
        told = caused(light, SERVICE, ports="auto", CONTAINER_HOST=service.url)
    is_told(
        told,
        reference="limits-too-low",
        blame="infrastructure",
        code=75,
        step="redis",
        says=["this host does not allow the open files or processes that the engine asks for", "rlimit"],
        remedy="ulimit -Hn; ulimit -Hu",
    )
    written_down("F33", "a service without the workaround for low hard limits", told)


# -- F28: no room


TINY = "docker.io/library/tiny:1"


def tiny(folder: Path) -> Path:
    """An image's layer with one program, which nothing here ever runs."""
    path = folder / "tiny.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(shutil.which("true") or "/bin/true", "bin/true", filter=_roots)
    return path


def _roots(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    return entry


def tiny_catalog(folder: Path) -> Path:
    text = f'image = "{TINY}"\nkind = "job"\ncommand = ["/bin/true"]\n[ready]\nprobe = "completed"\n'
    return small_catalog(folder, {"job": text}, ["job"], service=SERVICE)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    folder = Path(f"/tmp/sd-{secrets.token_hex(3)}")  # short: Podman refuses a runroot of more than 50 characters
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)), check=True)
    yield folder
    # An engine may have mounted below it what it has not let go yet.
    subprocess.run(("umount", "--recursive", "--lazy", str(folder)), check=True)
    folder.rmdir()


def test_f28_what_is_told_of_storage(
    small_disk: Path, podman: Podman, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project(catalog=tiny_catalog(tmp_path / "c"), workspace=small_workspace(tmp_path / "workspace"))
    options = ("--root", f"{small_disk}/root", "--runroot", f"{small_disk}/run", "--storage-driver", "vfs")
    with served(podman.env, *options) as service:
        Podman(podman.env)("--url", service.url, "import", str(tiny(tmp_path)), TINY)
        subprocess.run(("dd", "if=/dev/zero", f"of={small_disk}/filled", "bs=4k"), capture_output=True, check=False)
        told = caused(project, SERVICE, CONTAINER_HOST=service.url)
        (small_disk / "filled").unlink()
    is_told(
        told,
        reference="disk-full",
        blame="infrastructure",
        code=75,
        step="job",
        says=["the disk is full (container storage, ", f"{small_disk}/root: 0.0 GB free of 0.1 GB, 0.0 GB are images"],
        remedy="podman system df",
        shows=["no space left on device"],
    )
    written_down("F28", "storage on a small disk that is full", told)


def test_f28_what_is_told_of_the_builds_folder(
    make_project: Callable[..., Project], tmp_path: Path, aside: Path
) -> None:
    """Builds have their temporary files below /tmp."""
    text = (CATALOG / "components" / "redis.toml").read_text(encoding="utf-8")
    catalog = small_catalog(tmp_path / "catalog", {"redis": text}, ["redis"], service=SERVICE)
    containerfile = catalog / "local" / "redis.Containerfile"
    containerfile.write_text(f"# {new_run()}\n{containerfile.read_text(encoding='utf-8')}", encoding="utf-8")
    project, run = make_project(catalog=catalog, workspace=small_workspace(tmp_path / "workspace")), new_run()
    words = ("suite.run", "--service", SERVICE, "--run", run, "--ports", "auto")
    done = on_small_disks(project, small_tmp(aside), *words, INFRA_IMAGES="local")
    told = Fault(done, project.report(run), project.runs / run)
    is_told(
        told,
        reference="disk-full",
        blame="infrastructure",
        code=74,
        step="image redis",
        says=["the disk of temporary files (/tmp) has too little room: 0.1 GB free of 0.1 GB"],
        remedy="du -xhd1 /tmp",
    )
    written_down("F28", "a small disk as the builds' folder of temporary files", told)


# -- F40: rootless


@dataclass(frozen=True)
class Account:
    """A user of the host that is not root, with a project of its own."""

    name: str
    project: Project
    python: str = "/usr/bin/python3"  # that of the tests may be root's own

    @property
    def folder(self) -> Path:
        return self.project.folder.parent

    def does(self, argv: tuple[str, ...], *, mounts: str = ":", **more: str) -> Done:
        """Run a command as this user; `mounts` is a script that root runs before, in a mount namespace of its own."""
        known = {"HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder / "run"), "TMPDIR": "/tmp"}
        libraries = f"{ROOT}{os.pathsep}{Path(pytest.__file__).parents[1]}"
        env = self.project.environment(CONTAINERS_CONF=None, PYTHONPATH=libraries, **{**known, **more})
        unshare = ("unshare", "--mount", "--propagation", "slave", "sh", "-ec", f'{mounts}\nexec "$@"', "sh")
        user = ("setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups")
        done = subprocess.run(
            (*unshare, *user, *argv),
            cwd=self.project.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Done(argv, done.returncode, done.stdout, done.stderr)

    def caused(self, *, mounts: str = ":", **more: str) -> Fault:
        run = new_run()
        words = ("suite.run", "--service", SERVICE, "--run", run, "--ports", "auto")
        done = self.does((self.python, "-m", "invoke", *words), mounts=mounts, **more)
        return Fault(done, self.project.report(run), self.project.runs / run)


@pytest.fixture
def account() -> Iterator[Account]:
    """Made for these tests, with a range of subordinate ids; removed with all that it has."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("useradd", "userdel", "setpriv", "unshare"))):
        pytest.skip("only root makes users")
    name, folder = f"infra{secrets.token_hex(3)}", Path(f"/tmp/ac-{secrets.token_hex(3)}")
    folder.mkdir(mode=0o755)
    subprocess.run(("useradd", "--no-create-home", "--home-dir", str(folder), name), check=True)
    try:
        (folder / "run").mkdir(mode=0o700)
        workspace = small_workspace(folder / "workspace")
        project = Project.make(folder / "project", catalog=tiny_catalog(folder / "catalog"), workspace=workspace)
        tiny(folder)
        known = pwd.getpwnam(name)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, known.pw_uid, known.pw_gid)
        made = Account(name, project)
        found = made.does((made.python, "-c", "import infra, invoke, podman, pydantic_core"))
        if found.code != 0:
            pytest.skip(f"another user cannot run what is tested here: {found.err[-200:]}")
        yield made
    finally:
        for process in psutil.process_iter(["username"]):
            if process.info["username"] == name:
                process.kill()
        subprocess.run(("userdel", name), check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rootless(account: Account) -> Account:
    """The same, with an image."""
    done = account.does(("podman", "import", str(account.folder / "tiny.tar"), TINY))
    if done.code != 0:  # what it says then is in a recorded case
        pytest.skip(f"this host lets no user have an image: {done.text[-300:]}")
    return account


def test_f40_what_is_told_without_a_tun_device(rootless: Account) -> None:
    told = rootless.caused(mounts="mount -t tmpfs tmpfs /dev/net")
    is_told(
        told,
        reference="tun-missing",
        blame="infrastructure",
        code=75,
        step="job",
        says=["rootless networks need /dev/net/tun, and this account cannot open it"],
        remedy="sudo modprobe tun && sudo chmod 0666 /dev/net/tun",
        shows=["/dev/net/tun"],
    )
    written_down("F40", "an account without /dev/net/tun", told)


def test_f40_what_is_told_without_the_network_program(rootless: Account) -> None:
    path = without(rootless.project.environment()["PATH"], "slirp4netns", rootless.folder)
    told = rootless.caused(PATH=path)
    is_told(
        told,
        reference="rootless-network-missing",
        blame="user",
        code=75,
        step="job",
        says=["rootless networks need slirp4netns, which is not installed"],
        remedy="python3 noxfile.py -s bootstrap",
        shows=["slirp4netns"],
    )
    written_down("F40", "an account on whose PATH no slirp4netns is", told)
