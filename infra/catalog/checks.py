"""What one file of a catalogue alone cannot show to be wrong: names, ports, placeholders. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.catalog.declared import POSTGRES_TEXTS, Catalog, host_ports
from infra.catalog.names import wrong
from infra.devstack import DATA, DEV, FILE, DevStack
from infra.errors import Invalid
from infra.model import Component, PostgresProbe, Recipe, Service, TierSpec
from infra.placeholders import names, nearest, problem
from infra.workers import REDIS_NUMBERS

# Names of steps of every run, and of what suites know beside components.
STEPS = ("engine", "check", "template", "workers", "requirements", "suite", "teardown", "version", "worker")
# What the runner itself tells a suite, and knows its processes by.
_OURS = "INFRA_"
_WORKER = {"worker", "worker.offset", "worker.namespace"}


def problems(catalog: Catalog) -> Iterator[Invalid]:
    """Yield what is wrong with a catalogue whose files are each right."""
    for check in (_component_problems, _service_problems, _dev_problems, _port_collisions):
        yield from check(catalog)


def _known(components: Mapping[str, Component], stack: tuple[str, ...], *, ports: bool) -> set[str]:
    """Return the placeholders that may be used with this stack; only suites know the host's ports."""
    known = {"run", "service", "tier"} | ({"run_dir"} if ports else set())
    for name in stack:
        known |= {f"{name}.secrets.{secret}" for secret in components[name].secrets}
        known |= {f"{name}.values.{value}" for value in components[name].values}
        if ports:
            known |= {f"{name}.{port}" for port in components[name].ports}
    return known


def _component_problems(catalog: Catalog) -> Iterator[Invalid]:
    for name, component in catalog.components.items():
        path = catalog.origins[name].path
        job = component.kind == "job"
        if job != (component.ready.probe == "completed"):
            yield wrong(path, "ready.probe", 'a job is ready when "completed", and only a job is')
        port = getattr(component.ready, "port", None)
        if port is not None and port not in component.ports:
            yield wrong(path, "ready.port", f'no port "{port}" in [ports]{nearest(port, component.ports)}')
        if component.build and not component.image.startswith("localhost/"):
            yield wrong(path, "image", f'a built image is named "localhost/...", not "{component.image}"')
        if component.build is None and component.image.startswith("localhost/"):
            yield wrong(path, "image", f'"{component.image}" is local, but there is no [build] that makes it')


def recipe_problems(recipes: Mapping[Path, Recipe]) -> Iterator[Invalid]:
    """Yield what is wrong with recipes whose files are each right."""
    stands_for: dict[str, Path] = {}
    by_image = {recipe.image: (path, recipe) for path, recipe in recipes.items()}
    for path, recipe in recipes.items():
        folder = path.parent
        if bool(recipe.bootstrap) == bool(recipe.containerfile):
            yield wrong(path, "containerfile", "either bootstrap or containerfile, and not both")
        elif recipe.containerfile and not (folder / recipe.containerfile).is_file():
            what = f"no file at {folder / recipe.containerfile}"
            yield wrong(path, "containerfile", what, "build-files-missing")
        if path in _needs(recipe, by_image):
            yield wrong(path, "images", "it needs itself, directly or through another recipe")
        other = stands_for.setdefault(recipe.image, path)
        if other != path:
            yield wrong(path, "image", f"{other.name} stands for {recipe.image} already")


def _needs(recipe: Recipe, by_image: Mapping[str, tuple[Path, Recipe]]) -> set[Path]:
    """Return the files of all recipes that a recipe's images come from."""
    needed: set[Path] = set()
    waiting = [recipe]
    while waiting:
        for image in waiting.pop().images.values():
            path, other = by_image.get(image, (None, recipe))
            if path is not None and path not in needed:
                needed.add(path)
                waiting.append(other)
    return needed


def _component_texts(component: Component) -> Iterator[tuple[str, str]]:
    for key, value in component.env.items():
        yield f"env.{key}", value
    for index, word in enumerate(component.command):
        yield f"command.{index}", word
    for index, file in enumerate(component.files):
        yield f"files.{index}.content", file.content
    if isinstance(component.ready, PostgresProbe):
        for key in POSTGRES_TEXTS:
            yield f"ready.{key}", getattr(component.ready, key)


def _tier_texts(tier: str, spec: TierSpec) -> Iterator[tuple[str, str]]:
    for key, value in spec.env.items():
        yield f"tiers.{tier}.env.{key}", value
    for index, arg in enumerate(spec.suite.args):
        yield f"tiers.{tier}.suite.args.{index}", arg
    for index, step in enumerate(spec.before):
        for position, word in enumerate(step.command):
            yield f"tiers.{tier}.before.{index}.command.{position}", word


def _service_problems(catalog: Catalog) -> Iterator[Invalid]:
    for name, service in catalog.services.items():
        path = catalog.folder / "services" / f"{name}.toml"
        stacks = {"stack": service.stack}
        stacks |= {f"tiers.{t}.stack": s.stack for t, s in service.tiers.items() if s.stack is not None}
        for key, stack in stacks.items():
            yield from _stack_problems(path, key, stack, catalog)
        every = tuple(dict.fromkeys(part for stack in stacks.values() for part in stack))
        yield from _service_ports(path, catalog, service, every)
        for tier, spec in service.tiers.items():
            stack = service.stack_of(tier)
            listens = {f"suite.{port}" for port in service.suite_ports_of(tier)}
            known = _known(catalog.components, stack, ports=True) | listens
            yield from _placeholder_problems(path, _tier_texts(tier, spec), known)
            yield from _step_problems(path, tier, spec, stack)
            for key in spec.env:
                if key.startswith(_OURS):
                    yield wrong(path, f"tiers.{tier}.env.{key}", f"names that begin with {_OURS} are the runner's own")
            if spec.workers is not None:
                yield from _worker_problems(path, f"tiers.{tier}", spec, catalog, stack, known)


def _dev_problems(catalog: Catalog) -> Iterator[Invalid]:
    dev, path = catalog.dev, catalog.folder / FILE
    if dev is None:
        return
    if DEV in catalog.services:
        yield wrong(catalog.folder / "services" / f"{DEV}.toml", "", f'"{DEV}" is the development stack ({FILE})')
    yield from _stack_problems(path, "stack", dev.stack, catalog)
    yield from _service_ports(path, catalog, dev, dev.stack)
    known = _known(catalog.components, dev.stack, ports=False)
    for name, one in dev.components.items():
        if name not in dev.stack:
            yield wrong(path, f"components.{name}", f'"{name}" is not in the stack{nearest(name, dev.stack)}')
        if one.data is not None and catalog.components[name].kind == "job":
            yield wrong(path, f"components.{name}.data", "a job has no data that last")
        texts = ((f"components.{name}.command.{index}", word) for index, word in enumerate(one.command or ()))
        yield from _placeholder_problems(path, texts, known)
    for name in dev.stack:
        place = DATA.get(catalog.components[name].ready.probe)
        if place is not None and (name not in dev.components or dev.components[name].data is None):
            what = f'missing: the folder of its data, which are lost without it; for most images data = "{place}"'
            yield wrong(path, f"components.{name}.data", what)


def _step_problems(path: Path, tier: str, spec: TierSpec, stack: tuple[str, ...]) -> Iterator[Invalid]:
    taken = {*STEPS, *stack}
    for index, step in enumerate(spec.before):
        if step.name in taken:
            yield wrong(path, f"tiers.{tier}.before.{index}.name", f'there is a step "{step.name}" already')
        taken.add(step.name)


def _worker_problems(
    path: Path, key: str, spec: TierSpec, catalog: Catalog, stack: tuple[str, ...], known: set[str]
) -> Iterator[Invalid]:
    workers = spec.workers
    assert workers is not None
    for word, component in (("postgres", workers.postgres), ("redis", workers.redis)):
        if component is None:
            continue
        here = f"{key}.workers.{word}"
        if component not in stack:
            yield wrong(path, here, f'"{component}" is not in the stack{nearest(component, stack)}')
        elif (probe := catalog.components[component].ready.probe) != word:
            yield wrong(path, here, f'"{component}" is no {word}: its probe is "{probe}"')
    known = known | _WORKER | ({"worker.database"} if workers.postgres else set())
    known |= {"worker.redis"} if workers.redis else set()
    texts = ((f"{key}.workers.env.{name}", text) for name, text in workers.env.items())
    yield from _placeholder_problems(path, texts, known)
    count = spec.worker_count
    if count < spec.suite.procs:
        yield wrong(path, f"{key}.workers.count", f"the suite has {spec.suite.procs} processes, and not {count}")
    if workers.redis and count > REDIS_NUMBERS:
        yield wrong(path, f"{key}.workers.redis", f"Redis has {REDIS_NUMBERS} database numbers, not {count}")
    for name in workers.env:
        if name.startswith(_OURS):
            yield wrong(path, f"{key}.workers.env.{name}", f"names that begin with {_OURS} are the runner's own")
        if clash := [f"{name}_{n}" for n in range(1, count + 1) if f"{name}_{n}" in spec.env]:
            yield wrong(path, f"{key}.workers.env.{name}", f"{key}.env.{clash[0]} is the same name")


def _stack_problems(path: Path, key: str, stack: tuple[str, ...], catalog: Catalog) -> Iterator[Invalid]:
    for component in stack:
        if component not in catalog.components:
            what = f'unknown component "{component}"{nearest(component, catalog.components)}'
            yield wrong(path, key, what, "unknown-component")
        if stack.count(component) > 1:
            yield wrong(path, key, f'names "{component}" twice', "unknown-component")
    known = _known(catalog.components, stack, ports=False)
    for component in stack:
        for inside, text in _component_texts(catalog.components[component]):
            if said := problem(text, known):
                at = catalog.origins[component].file_of(inside)
                if at.parent != catalog.folder / "components":
                    # Nobody changes the package's own file: the stack lacks what it uses.
                    at, inside, said = path, key, f'of the built-in "{at.stem}", {inside}: {said}'
                yield wrong(at, inside, said, "unknown-placeholder")
    for index, component in enumerate(stack):
        if late := sorted(_needed(component, catalog.components[component]) & {*stack[index + 1 :]}):
            what = f'the job "{component}" needs {", ".join(late)}, which would be started after it'
            yield wrong(path, key, what, "started-before-dependency")


def _needed(name: str, component: Component) -> set[str]:
    """Return whom a job needs before it: those of whom its texts have placeholders. A service may wait for others."""
    if component.kind != "job":
        return set()
    used = (used for _, text in _component_texts(component) for used in names(text))
    return {used.partition(".")[0] for used in used} - {name}


def _placeholder_problems(path: Path, texts: Iterator[tuple[str, str]], known: set[str]) -> Iterator[Invalid]:
    for key, text in texts:
        if what := problem(text, known):
            yield wrong(path, key, what, "unknown-placeholder")


def _service_ports(
    path: Path, catalog: Catalog, service: Service | DevStack, stack: tuple[str, ...]
) -> Iterator[Invalid]:
    for component, given in service.ports.items():
        if component not in stack:
            what = f'"{component}" is not in the stack{nearest(component, stack)}'
            yield wrong(path, f"ports.{component}", what)
            continue
        declared = catalog.components[component].ports
        if isinstance(given, int):
            if len(declared) != 1:
                what = f"the component has {len(declared)} ports: a table with {', '.join(sorted(declared))}"
                yield wrong(path, f"ports.{component}", what)
            continue
        for port in given:
            if port not in declared:
                what = f'the component has no port "{port}"{nearest(port, declared)}'
                yield wrong(path, f"ports.{component}.{port}", what)
    for component in stack:
        declared = catalog.components[component].ports
        for port in declared.keys() - host_ports(service, component, declared).keys():
            yield wrong(path, f"ports.{component}", f'no host port for "{port}" of this component')


def _port_collisions(catalog: Catalog) -> Iterator[Invalid]:
    taken: dict[int, tuple[str, str]] = {}
    every: list[tuple[str, str, Service | DevStack]] = [
        (f'service "{name}"', f"services/{name}.toml", one) for name, one in catalog.services.items()
    ]
    if catalog.dev is not None:
        every.append(("the development stack", FILE, catalog.dev))
    for who, file, service in every:
        for key, number in _ports_of(catalog, service):
            if number in taken:
                other, there = taken[number]
                yield wrong(catalog.folder / file, key, f"port {number} is also {there} of {other}", "port-collision")
            taken[number] = (who, key)


def _ports_of(catalog: Catalog, service: Service | DevStack) -> Iterator[tuple[str, int]]:
    for component in service.ports:
        declared = catalog.components[component].ports
        for port, number in host_ports(service, component, declared).items():
            yield f"ports.{component}.{port}", number
    for port, number in (service.suite_ports if isinstance(service, Service) else {}).items():
        yield f"suite_ports.{port}", number
