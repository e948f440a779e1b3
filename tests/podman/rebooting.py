"""A Podman whose host can be switched off: a storage of its own, in a mount namespace whose /run is lost with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from product import eventually

from infra.engine import host

# What a boot finds empty. In /run are the state of netavark and of the OCI runtime.
_VOLATILE = ("/run", "{folder}/run", "{folder}/tmp")


@dataclass
class Host:
    """A Podman service that is switched on and off. `images` is the storage whose images it has, too."""

    folder: Path
    images: str
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    bridges: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/podman.sock"

    def prepare(self) -> None:
        for name in ("root", "run", "tmp", "networks"):
            (self.folder / name).mkdir()
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/root"\nrunroot = "{self.folder}/run"\n'
            f'[storage.options]\nadditionalimagestores = ["{self.images}"]\n',
            encoding="utf-8",
        )
        conf, _ = host.overrides(host.facts())
        conf.setdefault("engine", {})["tmp_dir"] = f"{self.folder}/tmp"
        conf["network"] = {"network_config_dir": f"{self.folder}/networks"}
        host.write_configuration(self.folder / "containers.conf", conf)

    def switch_on(self) -> None:
        (self.folder / "podman.sock").unlink(missing_ok=True)
        volatile = [path.format(folder=self.folder) for path in _VOLATILE]
        mounts = " && ".join(f"mount -t tmpfs none {path}" for path in volatile)
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                ("unshare", "--mount", "sh", "-c", f"{mounts} && exec podman system service --time=0 {self.url}"),
                env={
                    **os.environ,
                    "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
                    "CONTAINERS_CONF": str(self.folder / "containers.conf"),
                    **self.env,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually("the service", (self.folder / "podman.sock").exists, 30)

    def switch_off(self) -> None:
        """Take the power away: nothing that runs there hears of it, and what is not on a disk is gone."""
        assert self.process is not None
        running = set(self._processes())
        for one in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        psutil.wait_procs(running, 10)
        self.process.wait(10)
        for bridge in self.bridges:
            subprocess.run(("ip", "link", "delete", bridge), capture_output=True, check=False)

    def _processes(self) -> Iterator[psutil.Process]:
        """All in its mount namespace, and below those: its containers."""
        assert self.process is not None
        mine = Path(f"/proc/{self.process.pid}/ns/mnt").readlink()
        for one in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if Path(f"/proc/{one.pid}/ns/mnt").readlink() == mine:
                    yield one
                    yield from one.children(recursive=True)
