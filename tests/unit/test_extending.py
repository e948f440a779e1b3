"""A catalogue of another repository: what it takes from the package's own, and what it changes of that."""

import json
from pathlib import Path

import pytest
from given import ROOT

from infra import plan, settings
from infra.catalog.declared import Catalog
from infra.catalog.extending import BUILT_IN
from infra.catalog.loading import load
from infra.catalog.names import names
from infra.errors import Invalid
from infra.plan import Plan

SERVICE = """
language = "go"
stack = [{stack}]

[ports]
{ports}

[tiers.integration]
suite = {{ runner = "gotestsum", packages = ["./..."] }}

[tiers.integration.env]
{env}
"""


class Adopter:
    """A repository with a catalogue of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.components = root / "catalog" / "components"
        self.services = root / "catalog" / "services"
        for folder in (self.components, self.services, root / "catalog" / "local", root / "migrations"):
            folder.mkdir(parents=True)
        (root / "pyproject.toml").write_text('[tool.infra]\ncatalog = "catalog"\n')
        (root / "migrations" / "001_first.sql").write_text("CREATE TABLE first ();\n")
        self.service("postgres", "migrations", "redis")

    def service(self, *stack: str, env: str = "") -> None:
        numbers = range(15470, 15480)
        ports = "\n".join(
            f"{name} = {port}" for name, port in zip(stack, numbers, strict=False) if name != "migrations"
        )
        text = SERVICE.format(stack=json.dumps(stack)[1:-1], ports=ports, env=env)
        (self.services / "shop.toml").write_text(text)

    def component(self, name: str, text: str) -> Path:
        path = self.components / f"{name}.toml"
        path.write_text(text)
        return path

    def load(self) -> Catalog:
        return load(self.root / "catalog")

    def plan(self) -> Plan:
        return plan.make(self.load(), settings.read(self.root, {}), service="shop", run="1884d074")


@pytest.fixture
def adopter(tmp_path: Path) -> Adopter:
    return Adopter(tmp_path / "shop")


def test_a_stack_may_name_built_ins_that_the_catalogue_does_not_declare(adopter: Adopter) -> None:
    steps = {step.name: step for step in adopter.plan().steps}
    assert list(steps) == ["postgres", "migrations", "redis"]
    assert steps["redis"].image.ref == load(BUILT_IN).components["redis"].image
    assert adopter.load().recipes == load(BUILT_IN).recipes


def test_what_an_extension_says_replaces_and_what_it_does_not_say_stays(adopter: Adopter) -> None:
    adopter.component(
        "postgres",
        'extends = "postgres"\nmemory_mb = 512\ncommand = ["postgres", "-c", "jit=off"]\n'
        '[env]\nPOSTGRES_INITDB_ARGS = "--no-sync --locale=C"\nTZ = "UTC"\n[ready]\ntimeout = "90s"\n',
    )
    built_in, mine = load(BUILT_IN).components["postgres"], adopter.load().components["postgres"]
    assert (mine.memory_mb, mine.command, mine.ready.timeout) == (512, ("postgres", "-c", "jit=off"), 90.0)
    assert mine.env == {**built_in.env, "POSTGRES_INITDB_ARGS": "--no-sync --locale=C", "TZ": "UTC"}
    assert mine.ready == built_in.ready.model_copy(update={"timeout": 90.0})
    changed = {"memory_mb", "command", "env", "ready"}
    assert mine.model_dump(exclude=changed) == built_in.model_dump(exclude=changed)


def test_one_line_changes_a_value_wherever_it_is_used(adopter: Adopter) -> None:
    adopter.component("postgres", 'extends = "postgres"\nvalues = { database = "shop" }\n')
    adopter.service("postgres", "migrations", env='URL = "{postgres.values.user}/{postgres.values.database}"')
    made = adopter.plan()
    postgres, migrations = made.steps
    assert (postgres.env["POSTGRES_DB"], migrations.env["PGDATABASE"]) == ("shop", "shop")
    assert postgres.ready.model_dump()["database"] == "shop"
    user = load(BUILT_IN).components["postgres"].values["user"]
    assert postgres.env["POSTGRES_USER"] == migrations.env["PGUSER"] == postgres.ready.model_dump()["user"] == user
    assert made.suite_env({}, "/run") == {"URL": f"{user}/shop"}


def test_values_are_no_secrets_and_passwords_are(adopter: Adopter) -> None:
    adopter.component("postgres", 'extends = "postgres"\nvalues = { database = "shopfloor" }\n')
    made = adopter.plan()
    password = load(BUILT_IN).components["postgres"].secrets["password"]
    assert made.mask(f"{password} shopfloor") == "******** shopfloor"


def test_a_built_in_under_another_name_speaks_of_itself_by_that_name(adopter: Adopter) -> None:
    adopter.component("orders", 'extends = "postgres"\nvalues = { database = "orders" }\n')
    adopter.component("stock", 'extends = "postgres"\nvalues = { database = "stock" }\n')
    adopter.service("orders", "stock")
    assert [step.env["POSTGRES_DB"] for step in adopter.plan().steps] == ["orders", "stock"]


def test_a_probe_of_another_kind_replaces_the_built_ins(adopter: Adopter) -> None:
    adopter.component("redis", 'extends = "redis"\n[ready]\nprobe = "http"\nport = "redis"\npath = "/ping"\n')
    ready = adopter.load().components["redis"].ready.model_dump()
    assert (ready["probe"], ready["path"]) == ("http", "/ping")


def test_a_component_that_does_not_extend_stands_alone(adopter: Adopter) -> None:
    adopter.component(
        "redis",
        'image = "docker.io/library/valkey:8"\nports = { redis = 6379 }\nready = { probe = "redis", port = "redis" }\n',
    )
    mine = adopter.load().components["redis"]
    assert (mine.image, mine.command, mine.on_reuse) == ("docker.io/library/valkey:8", (), None)


def test_a_recipe_of_the_catalogues_own_wins_and_the_packages_serve_the_rest(adopter: Adopter) -> None:
    folder = adopter.root / "catalog" / "local"
    image = load(BUILT_IN).components["redis"].image
    (folder / "mine.toml").write_text(f'image = "{image}"\ncontainerfile = "mine.Containerfile"\n')
    (folder / "mine.Containerfile").write_text("FROM scratch\n")
    catalog = adopter.load()
    assert catalog.recipes[image].containerfile == "mine.Containerfile"
    assert catalog.recipe_folders[image] == folder
    others = {one: at for one, at in catalog.recipe_folders.items() if one != image}
    assert others == dict.fromkeys(load(BUILT_IN).recipes.keys() - {image}, BUILT_IN / "local")


def test_recipes_that_need_each_other_by_way_of_the_packages_own_are_refused(adopter: Adopter) -> None:
    folder = adopter.root / "catalog" / "local"
    pgvector = load(BUILT_IN).components["postgres"].image
    base = next(iter(load(BUILT_IN).recipes[pgvector].images.values()))
    (folder / "base.toml").write_text(
        f'image = "{base}"\ncontainerfile = "base.Containerfile"\nimages = {{ FROM_IMAGE = "{pgvector}" }}\n'
    )
    (folder / "base.Containerfile").write_text("FROM scratch\n")
    with pytest.raises(Invalid) as raised:
        adopter.load()
    assert (
        raised.value.message == f"{folder / 'base.toml'}: images: it needs itself, directly or through another recipe"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('extends = "postgers"', 'extends: no built-in component "postgers"; did you mean "postgres"?'),
        ('extends = "mongodb"', "(known: datastorage, holmesgpt-api, migrations, postgres, redis)"),
        ("extends = 3", "extends: has to be the name of a built-in"),
        ('extends = "postgres"\nvalues = { databse = "x" }', "values.databse: the built-in has no such name, and"),
        ('extends = "postgres"\nvalues = { databse = "x" }', 'did you mean "database"?'),
        ('extends = "redis"\nvalues = { database = "x" }', "values.database: the built-in has no such name"),
        ('extends = "postgres"\nsecrets = { pasword = "x" }', 'did you mean "password"?'),
        ('extends = "postgres"\nready = { timout = "9s" }', 'ready.timout: unknown key; did you mean "timeout"?'),
        ('extends = "postgres"\nimagee = "x"', 'imagee: unknown key; did you mean "image"?'),
        ('extends = "postgres"\nvalues = 3', "values: must be a table, not 3"),
        ('extends = "postgres"\nready = { probe = "http" }', "ready.port: is missing"),
        (
            'extends = "postgres"\nenv = { X = "{postgres.values.nmae}" }',
            'env.X: unknown placeholder "{postgres.values',
        ),
        ("memory_mb = 512", 'image: is missing (and 1 more); or extends = "postgres", to take it from the built-in'),
    ],
)
def test_what_cannot_be_is_one_message_with_the_adopters_file(text: str, says: str, adopter: Adopter) -> None:
    path = adopter.component("postgres", f"{text}\n")
    with pytest.raises(Invalid) as raised:
        adopter.load()
    assert raised.value.message.startswith(f"{path}: ")
    assert says in raised.value.message
    assert str(path) in raised.value.remedy


def test_a_value_of_ones_own_may_be_added_where_it_is_used(adopter: Adopter) -> None:
    adopter.component("redis", 'extends = "redis"\nvalues = { db = "3" }\nenv = { DB = "{redis.values.db}" }\n')
    adopter.service("redis")
    assert adopter.plan().steps[0].env == {"DB": "3"}


def test_a_built_in_that_misses_something_is_the_stacks_fault(adopter: Adopter) -> None:
    adopter.service("migrations", "redis")
    with pytest.raises(Invalid) as raised:
        adopter.load()
    assert raised.value.message.startswith(f"{adopter.services / 'shop.toml'}: stack: ")
    assert 'of the built-in "migrations", env.PGDATABASE: unknown placeholder' in raised.value.message
    assert str(BUILT_IN) not in raised.value.remedy


def test_a_text_that_an_extension_inherits_is_not_said_to_be_in_its_file(adopter: Adopter) -> None:
    adopter.component("migrations", 'extends = "migrations"\n[ready]\ntimeout = "9s"\n')
    adopter.service("migrations")
    with pytest.raises(Invalid) as raised:
        adopter.load()
    assert raised.value.message.startswith(f"{adopter.services / 'shop.toml'}: stack: ")


def test_a_folder_that_a_built_in_names_is_said_of_it_and_mended_in_a_file_of_ones_own(adopter: Adopter) -> None:
    (adopter.root / "migrations").rename(adopter.root / "sql")
    with pytest.raises(Invalid) as raised:
        adopter.plan()
    assert raised.value.message.startswith(f"{BUILT_IN / 'components' / 'migrations.toml'}: migrations.folder: ")
    own = adopter.components / "migrations.toml"
    assert f'{own}  # extends = "migrations", and migrations.folder: ' in raised.value.remedy
    own.write_text('extends = "migrations"\nmigrations = { folder = "sql" }\n')
    assert [file.path for file in adopter.plan().steps[1].files if file.path.endswith(".sql")] == [
        "/migrations/001_first.sql"
    ]


def test_a_built_in_extends_nothing() -> None:
    found = [path.name for path in (BUILT_IN / "components").glob("*.toml") if "extends" in path.read_text().split()]
    assert found == []
    assert BUILT_IN == ROOT / "infra" / "catalog"


@pytest.mark.parametrize("kind", ["components", "services", "local"])
def test_a_file_of_a_newer_schema_is_refused_before_anything_else_of_it_is_read(kind: str, adopter: Adopter) -> None:
    path = adopter.root / "catalog" / kind / "later.toml"
    path.write_text('schema = 2\nwords_of_later = "unknown"\n')
    with pytest.raises(Invalid) as raised:
        adopter.load()
    says = "made for a newer version of this tool: its schema is 2, and this one knows 1"
    assert raised.value.message == f"{path}: {says}"
    assert (raised.value.reference, raised.value.exit_code) == ("newer-schema", 78)
    assert raised.value.remedy == f"git -C {ROOT} pull"


def test_a_list_of_sessions_says_that_a_file_is_newer(adopter: Adopter) -> None:
    path = adopter.services / "later.toml"
    path.write_text('schema = 2\nlanguage = "go"\n[tiers.of-later]\n')
    found = names(adopter.root, {})
    assert [suite.session for suite in found.suites] == ["integration-shop"]
    (problem,) = found.problems
    assert problem.message == f"{path}: made for a newer version of this tool: its schema is 2, and this one knows 1"
    assert problem.remedy == f"git -C {ROOT} pull"


@pytest.mark.parametrize("number", ["0", "-1", "true", '"1"', "1.0"])
def test_a_schema_that_is_no_number_of_one_is_refused(number: str, adopter: Adopter) -> None:
    path = adopter.component("redis", f'schema = {number}\nextends = "redis"\n')
    with pytest.raises(Invalid) as raised:
        adopter.load()
    assert raised.value.message == f"{path}: schema: must be 1, the number of the catalogue's language"


def test_the_schema_that_is_known_may_be_said(adopter: Adopter) -> None:
    adopter.component("redis", 'schema = 1\nextends = "redis"\n')
    assert adopter.load().components["redis"] == load(BUILT_IN).components["redis"]
