"""Images before clocks: every image of a plan is there, under the name its container will use, before a step starts.

Registry images are pulled where registries answer (asked once a run), else made from the catalogue's recipes; builds
happen only when the content's hash has no image yet. Pulls and builds overlap. An image that a run did not build is
never removed; what it built stays as a cache of ours, and only the run's own tag goes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from infra import build, cache, content, processes
from infra.build import BuildRequest
from infra.catalog.declared import Catalog
from infra.catalog.extending import BUILT_IN
from infra.engine import names
from infra.engine.client import Engine
from infra.engine.transport import EngineRefused
from infra.errors import InfraError, NoImage
from infra.lease import Lease
from infra.model import BuildSpec, Recipe
from infra.plan import Plan, PlannedImage
from infra.registry import Registries, no_pull
from infra.rundir import shown
from infra.settings import Settings
from infra.watch import Recorder, StepHandle

_LOOK_S = 0.02
_STOP_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Had:
    """An image that is there: its id, and the name to run it by."""

    id: str
    ref: str


class Images:
    """Obtains the images of one run, each once, however many components want it."""

    def __init__(
        self, lease: Lease, catalog: Catalog, settings: Settings, recorder: Recorder, *, consumer: str, logs: Path
    ) -> None:
        self._lease = lease
        self._catalog = catalog
        self._settings = settings
        self._recorder = recorder
        self._consumer = consumer
        self._logs = logs
        self._registries = Registries(lease)
        self._lock = threading.Lock()
        self._had: dict[str, Future[Had]] = {}
        self._places: dict[str, Mapping[str, str]] = {}
        self._stopped = threading.Event()

    def obtain(self, plan: Plan) -> Mapping[str, str]:
        """Have all images of a plan; return component to the name its container uses. Raises `NoImage`."""
        wanted = {step.image.ref: step.image for step in plan.steps}
        results: dict[str, Had | BaseException] = {}
        for step in plan.steps:
            bases = step.image.build.images.values() if step.image.build is not None else ()
            self._places |= dict.fromkeys([step.image.ref, *chain.from_iterable(bases)], step.places)

        def work(image: PlannedImage) -> None:
            try:
                results[image.ref] = self._planned(image)
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                results[image.ref] = error

        threads = [threading.Thread(target=work, args=(image,), daemon=True) for image in wanted.values()]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                threads[0].join(_LOOK_S) if threads[0].is_alive() else time.sleep(_LOOK_S)
                if any(isinstance(result, BaseException) for result in list(results.values())):
                    self._stop_builds()
        except BaseException:
            self._stop(threads)
            raise
        _raise_first(results.values())
        return {step.name: _had(results[step.image.ref]).ref for step in plan.steps}

    def _stop(self, threads: Iterable[threading.Thread]) -> None:
        """End all work: what a thread still made or tagged after the sweep would stay. A pull is not waited for."""
        deadline = time.monotonic() + _STOP_S
        self._stop_builds()
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            self._stop_builds()

    def _stop_builds(self) -> None:
        self._stopped.set()
        processes.kill(one.process for one in processes.working(self._lease.run) if one.role == "build")

    def _planned(self, image: PlannedImage) -> Had:
        spec = image.build
        if spec is None:
            return self._named(image.ref)
        return self._once(image.ref, lambda: self._built(image.name, spec))

    def _named(self, ref: str) -> Had:
        return self._once(ref, lambda: self._registry_image(ref))

    def _best(self, refs: tuple[str, ...]) -> str:
        """Return the first image that is here, or that its registry has, or that has a recipe."""
        engine = self._lease.engine.clone()
        local = self._settings.images == "local"

        def can_be_had(ref: str) -> bool:
            if ref in self._catalog.recipes and self._settings.images != "registry":
                return True
            return not local and (engine.image_id(ref) is not None or self._registries.has(ref))

        return next((ref for ref in refs[:-1] if can_be_had(ref)), refs[-1])

    def _once(self, ref: str, make: Callable[[], Had]) -> Had:
        """Make an image in the first thread that wants it; the others wait for that one."""
        with self._lock:
            future = self._had.get(ref)
            mine = future is None
            if future is None:
                future = self._had[ref] = Future()
        if not mine:
            return future.result()
        try:
            had = make()
        except BaseException as error:
            future.set_exception(error)
            raise
        future.set_result(had)
        return had

    def _step(self, ref: str) -> contextlib.AbstractContextManager[StepHandle]:
        """A step of the report, begun when an image's bases are there: waiting for them is not its time."""
        return self._recorder.step(f"image {names.short_name(ref)}")

    def _registry_image(self, ref: str) -> Had:
        engine = self._lease.engine.clone()
        mode = self._settings.images
        why_not: str | None = "INFRA_IMAGES=local"
        if mode != "local":
            if (known := engine.image_id(ref)) is not None:
                with self._step(ref) as handle:
                    handle.note = "registry image, already here"
                return Had(id=known, ref=ref)
            why_not = None if mode == "registry" else self._registries.unreachable(ref)
        if why_not is None:
            return self._pulled(engine, ref)
        recipe = self._catalog.recipes.get(ref)
        if recipe is not None:
            return self._from_recipe(recipe)
        with self._step(ref):
            raise no_pull(ref, why_not, self._where(ref))

    def _pulled(self, engine: Engine, ref: str) -> Had:
        name = f"image {names.short_name(ref)}"
        with self._step(ref) as handle:
            try:
                engine.pull(ref, lambda line: self._recorder.watch.step_progress(name, line))
                known = engine.image_id(ref)
            except EngineRefused as error:
                raise no_pull(ref, error.message, self._where(ref)) from error
            if known is None:
                raise no_pull(ref, "it is not there after the pull", self._where(ref))
            handle.note = "pulled from its registry"
        return Had(id=known, ref=ref)

    def _where(self, ref: str) -> Mapping[str, str]:
        """Return the file of the catalogue that names an image."""
        return {"component_file": shown(self._catalog.folder / "local"), **self._places.get(ref, {})}

    def _from_recipe(self, recipe: Recipe) -> Had:
        name = f"localhost/{names.short_name(recipe.image)}"
        folder = self._catalog.recipe_folders[recipe.image]
        if recipe.containerfile is None:
            release = recipe.bootstrap or ""
            what = content.of_text(bootstrap=release, packages=" ".join(recipe.packages))
            return self._cached(BuildRequest(name=name, content=what, bootstrap=release, packages=recipe.packages))
        stem = recipe.containerfile.split(".")[0]
        files = tuple(sorted(path.name for path in folder.glob(f"{stem}[.-]*") if path.suffix != ".toml"))
        containerfile = folder / recipe.containerfile
        images = {arg: (image,) for arg, image in recipe.images.items()}
        return self._from_containerfile(name, folder, files, containerfile, images, version=recipe.version)

    def _built(self, name: str, spec: BuildSpec) -> Had:
        folder = self._settings.workspace / spec.context
        if left_out := content.untracked_files(folder):
            some = ", ".join(left_out[:3]) + (" ..." if len(left_out) > 3 else "")
            self._recorder.note(f"{names.short_name(name)}: not in the build, because git does not track it: {some}")
        files = content.context_files(folder)
        if not files:
            with self._step(name):
                raise NoImage(
                    f"the build context {folder} has no files that git tracks",
                    reference="build-context-empty",
                    remedy=f"git -C {folder} add .",
                    blame="user",
                )
        containerfile = self._settings.workspace / spec.containerfile
        return self._from_containerfile(
            name, folder, files, containerfile, spec.images, args=spec.args, target=spec.target
        )

    def _from_containerfile(
        self,
        name: str,
        folder: Path,
        files: tuple[str, ...],
        containerfile: Path,
        images: Mapping[str, tuple[str, ...]],
        *,
        args: Mapping[str, str] | None = None,
        target: str | None = None,
        version: tuple[str, ...] = (),
    ) -> Had:
        bases = {arg: self._named(self._best(several)) for arg, several in images.items()}
        arguments = {**(args or {}), **({"--target": target} if target else {})}
        what = content.of(
            folder=folder,
            files=files,
            containerfile=containerfile.read_bytes(),
            bases={arg: had.id for arg, had in bases.items()},
            args=arguments,
        )
        request = BuildRequest(
            name=name,
            content=what,
            folder=folder,
            files=files,
            containerfile=containerfile,
            args={**(args or {}), **{arg: had.ref for arg, had in bases.items()}},
            target=target,
            version=version,
            theirs=folder.is_relative_to(self._settings.workspace) and not folder.is_relative_to(BUILT_IN),
            places={"containerfile": shown(containerfile), "workspace": shown(folder)},
        )
        return self._cached(request)

    def _cached(self, request: BuildRequest) -> Had:
        """Build where the content's hash has no image yet, and put the run's tag onto the result."""
        engine = self._lease.engine.clone()
        cache_ref = f"{request.name}:{request.content.key}"
        with self._step(request.name) as handle:
            ref = f"{request.name}:{self._consumer}-{self._lease.run}"
            with names.alone():
                self._go_on()
                found = cache.take(engine, cache_ref, ref)
            why = f"unchanged, content {request.content.key}"
            if found is None:
                why = cache.why_not(engine, request.name, request.content)
                found = self._make(engine, request, cache_ref, ref)
            known, marks = found
            handle.note = "; ".join(filter(None, (why, build.version_of(marks))))
        return Had(id=known, ref=ref)

    def _make(self, engine: Engine, request: BuildRequest, cache_ref: str, ref: str) -> tuple[str, Mapping[str, str]]:
        name = names.short_name(request.name)
        self._go_on()
        image = build.make(
            request,
            lease=self._lease,
            log=self._logs / f"build-{name}.log",
            on_line=lambda line: self._recorder.watch.step_progress(f"image {name}", line),
        )
        with names.alone():  # for which it may have waited: a run that is over names nothing
            self._go_on()
            found = cache.add(engine, image, cache_ref, ref)
        if found is None:
            raise NoImage(f"{cache_ref} was built but is not there", reference=build.STOPPED, remedy="podman images")
        return found

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise NoImage("stopped: another image failed", reference=build.STOPPED, remedy="less {folder}/diagnosis.md")


def _raise_first(results: Iterable[Had | BaseException]) -> None:
    """Raise the error that stopped the others, if there is one."""
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda one: isinstance(one, InfraError) and one.reference == build.STOPPED):
        raise error


def _had(result: Had | BaseException) -> Had:
    assert isinstance(result, Had)
    return result
