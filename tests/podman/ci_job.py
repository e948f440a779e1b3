"""Jobs of a workflow, run here as GitHub's runner runs them: the `run:` steps, in order, in a fresh clone.

Standard library only, as it is also what runs in a machine that has nothing:

    python3 tests/podman/ci_job.py WORKFLOW.json REPOSITORY FOLDER integration-gateway

runs `plan`, `images` and that entry of the matrix one after another, each in a clone of its own, with a storage of
containers of its own. `uses:` steps are stood in for: a checkout is the clone, artifacts are copied to and from
FOLDER/artifacts, caches are the host's own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_WORD = re.compile(r"'[^']*'|\b[a-zA-Z_][\w-]*(?:\.[\w-]+)*\b(?!\s*\()")
_STATUS = re.compile(r"\b(always|failure|cancelled|success)\(\)")
_SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"], None: ["bash", "-e"]}


@dataclass
class Job:
    """One job on one machine: `machine` has its clone (`src`), its storage and the files that GitHub gives a step."""

    name: str
    definition: Mapping[str, Any]
    workflow: Mapping[str, Any]
    repository: Path
    machine: Path
    artifacts: Path
    needs: Mapping[str, Any] = field(default_factory=dict)
    matrix: Mapping[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    result: str = "success"
    cancel: Callable[[Mapping[str, Any]], Callable[[], bool] | None] = lambda _: None
    """Whether a step is to be cancelled, and when: a question that is asked until it is answered with yes."""

    @property
    def runner(self) -> dict[str, str]:
        return {"os": "Linux", "temp": str(self.machine / "temp")}

    @property
    def source(self) -> Path:
        return self.machine / "src"

    def run(self) -> None:
        """Run all steps; `result` is the job's."""
        self.set_up()
        for step in self.definition["steps"]:
            self.step(step)
        self.outputs = {key: self.filled(text) for key, text in self.definition.get("outputs", {}).items()}

    def set_up(self) -> None:
        storage = self.machine / "containers"
        storage.mkdir(parents=True, exist_ok=True)
        (self.machine / "temp").mkdir(exist_ok=True)
        (storage / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}/graph"\nrunroot = "{storage}/run"\n'
        )
        subprocess.run(["git", "clone", "-q", str(self.repository), str(self.source)], check=True)
        self.env = {key: self.filled(text) for key, text in self.definition.get("env", {}).items()}

    def step(self, step: Mapping[str, Any]) -> None:
        name = str(step.get("name") or step.get("uses", "")).partition("@")[0]
        if not self.holds(step.get("if", "")):
            print(f"--- {self.name}: {name}: skipped", flush=True)
            return
        print(f"--- {self.name}: {name}", flush=True)
        started = time.monotonic()
        code = self._uses(step) if "uses" in step else self._runs(name, step)
        self.codes[name] = code
        outcome = "success" if code == 0 else "failure"
        self.steps.setdefault(step.get("id", name), {})["outcome"] = outcome
        if code and self.result == "success":
            self.result = "failure"
        print(f"--- {self.name}: {name}: {outcome} ({code}), {time.monotonic() - started:.1f} s", flush=True)

    def _runs(self, name: str, step: Mapping[str, Any]) -> int:
        runner = self.machine / "runner"
        runner.mkdir(exist_ok=True)
        script = runner / "step.sh"
        script.write_text(self.filled(step["run"]))
        files = {f"GITHUB_{kind}": runner / kind.lower() for kind in ("OUTPUT", "ENV", "STEP_SUMMARY")}
        for kind in ("GITHUB_OUTPUT", "GITHUB_ENV"):
            files[kind].write_text("")
        files["GITHUB_STEP_SUMMARY"].touch()
        shell = step.get("shell") or self.workflow.get("defaults", {}).get("run", {}).get("shell")
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "INFRA_"))}
        environ |= {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.source),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "somebody/something",
            "GITHUB_RUN_ID": "1",
            "RUNNER_TEMP": self.runner["temp"],
            "RUNNER_TRACKING_ID": f"github_{self.name}",
            "CONTAINERS_STORAGE_CONF": str(self.machine / "containers" / "storage.conf"),
            **{key: str(path) for key, path in files.items()},
            **self.env,
            **{key: self.filled(text) for key, text in step.get("env", {}).items()},
        }
        with (runner / "output").open("wb") as out:
            child = subprocess.Popen(
                [*_SHELLS[shell], str(script)],
                cwd=self.source,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A test that runs in the background has SIGINT ignored, and would hand that down.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )
            code = self._waited(child, self.cancel(step))
        self.told[name] = (runner / "output").read_text(encoding="utf-8", errors="replace")
        print(self.told[name], flush=True)
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines() if "=" in line)
        self.steps.setdefault(step.get("id", name), {})["outputs"] = outputs
        self.env |= dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines() if "=" in line)
        return code

    def _waited(self, child: subprocess.Popen[bytes], when: Callable[[], bool] | None) -> int:
        """Wait for a step's end. Cancelled, its first process gets SIGINT, SIGTERM 7.5 s later, SIGKILL after 2.5 s."""
        while when is not None and child.poll() is None:
            if when():
                self.result = "cancelled"
                for signum, seconds in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)):
                    child.send_signal(signum)
                    try:
                        return child.wait(seconds)
                    except subprocess.TimeoutExpired:
                        continue
                child.kill()
                break
            time.sleep(0.05)
        return child.wait()

    def _uses(self, step: Mapping[str, Any]) -> int:
        action = str(step["uses"]).partition("@")[0]
        words = {key: self.filled(str(value)) for key, value in step.get("with", {}).items()}
        if action == "actions/upload-artifact":
            folder = self.artifacts / words["name"]
            for pattern in (line for line in words["path"].splitlines() if not line.startswith("!")):
                # What is uploaded is named from the checkout on, what is elsewhere by its last part.
                base = self.source if not pattern.startswith("/") else Path(pattern).parent
                for path in sorted(base.glob(pattern.removeprefix(f"{base}/"))):
                    target = folder / path.relative_to(base)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if path.is_dir():
                        shutil.copytree(path, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("latest"))
                    else:
                        shutil.copy(path, target)
        elif action == "actions/download-artifact":
            if not (self.artifacts / words["name"]).is_dir():
                return 1
            shutil.copytree(self.artifacts / words["name"], self.source / words["path"], dirs_exist_ok=True)
        elif action not in ("actions/checkout", "actions/cache"):
            raise AssertionError(f"no stand-in for {action}")
        return 0

    def filled(self, text: str) -> str:
        """Return a text with its expressions replaced."""
        return _EXPRESSION.sub(lambda found: str(self.value(found[1].strip())), text)

    def holds(self, condition: str) -> bool:
        """Whether a step's or a job's condition holds; one that asks for no status wants success."""
        found = _EXPRESSION.fullmatch(condition.strip())
        text = (found[1] if found else condition).strip()
        if not _STATUS.search(text) and self.result != "success":
            return False
        return bool(self.value(text)) if text else True

    def value(self, text: str) -> Any:  # noqa: ANN401 - an expression may be worth anything
        """Return what an expression is worth; of GitHub's language what our workflow uses."""
        words: list[Any] = []

        def named(found: re.Match[str]) -> str:
            word = found[0]
            words.append(word[1:-1] if word.startswith("'") else self._looked_up(word))
            return f"words[{len(words) - 1}]"

        python = _WORD.sub(named, text)
        python = re.sub(r"!(?!=)", " not ", python.replace("&&", " and ").replace("||", " or "))
        functions = {
            "always": lambda: True,
            "failure": lambda: self.result == "failure",
            "cancelled": lambda: self.result == "cancelled",
            "success": lambda: self.result == "success",
            "contains": lambda whole, part: part in whole,
            "fromJson": json.loads,
            "hashFiles": lambda *_: "hash",
        }
        return eval(python.strip(), {"__builtins__": {}, "words": words, **functions})

    def _looked_up(self, word: str) -> Any:  # noqa: ANN401
        found: Any = {
            "matrix": self.matrix,
            "needs": self.needs,
            "steps": self.steps,
            "env": self.env,
            "runner": self.runner,
        }
        for part in word.split("."):
            found = found.get(part, "") if isinstance(found, Mapping) else ""
        return found


def main(workflow: Path, repository: Path, folder: Path, session: str) -> int:
    """Run the jobs that lead to a session, and it. Return 1 where one of them has failed."""
    document = json.loads(workflow.read_text())
    needs: dict[str, Any] = {}
    for name in ("plan", "images", session.partition("-")[0]):
        definition = document["jobs"][name]
        job = Job(
            name=name,
            definition=definition,
            workflow=document,
            repository=repository,
            machine=folder / name,
            artifacts=folder / "artifacts",
            needs=needs,
        )
        assert job.holds(definition.get("if", "")), f"{name} would be skipped"
        if strategy := definition.get("strategy"):
            matrix = job.value(_EXPRESSION.fullmatch(strategy["matrix"])[1].strip())  # type: ignore[index]
            job.matrix = next(one for one in matrix["include"] if one["session"] == session)
        started = time.monotonic()
        job.run()
        needs[name] = {"result": job.result, "outputs": job.outputs}
        print(f"=== {name}: {job.result}, {time.monotonic() - started:.1f} s", flush=True)
        for path in sorted(job.artifacts.rglob("*.tar")):
            print(f"=== {path.relative_to(job.artifacts)}: {path.stat().st_size / 1e6:.0f} MB", flush=True)
    summary = folder / session.partition("-")[0] / "runner" / "step_summary"
    print(summary.read_text() if summary.exists() else "no summary", flush=True)
    return int(any(one["result"] != "success" for one in needs.values()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
