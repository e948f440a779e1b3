"""What is ended of a run's own processes, and how."""

import os
import subprocess
import sys
import time
from pathlib import Path

from infra import processes
from infra.labels import Owner

RUN = "5e5f1ce5"
SERVICE = """
import signal, sys, time
def end(*_):
    open(sys.argv[1], "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


def test_an_orphaned_service_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    """Killed while it creates something, Podman's service leaks a lock."""
    asked = tmp_path / "asked"
    argv = [sys.executable, "-c", SERVICE, str(asked), "system", "service", f"unix:///tmp/infra-0-{RUN}/podman.sock"]
    environ = {**os.environ, "INFRA_OWNER": str(Owner.of(os.getpid()))}
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        began = time.monotonic()
        processes.end_helpers(RUN, 0.0)
        assert (service.wait(5), asked.exists()) == (0, True)
        assert time.monotonic() - began < 3.0
