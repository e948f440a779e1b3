"""A plan: order, names, tags, ports, values. Nothing here has an engine."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from given import CATALOG, ROOT, WORKSPACE, catalog_copy, edited, plan_of, settings_with, workspace_in

from infra import plan
from infra.catalog.loading import load
from infra.errors import Invalid
from infra.masking import MASK
from infra.model import PostgresProbe
from infra.settings import ImagesMode

PORTS = {"postgres": {"sql": 40001}, "redis": {"redis": 40002}, "datastorage": {"http": 40003, "metrics": 40004}}


def test_steps_come_in_the_order_of_the_stack_with_names_that_hold_service_component_and_run(tmp_path: Path) -> None:
    made = plan_of(tmp_path)
    assert [(step.name, step.kind, step.container) for step in made.steps] == [
        ("postgres", "service", "notification-postgres-1884d074"),
        ("migrations", "job", "notification-migrations-1884d074"),
        ("redis", "service", "notification-redis-1884d074"),
        ("datastorage", "service", "notification-datastorage-1884d074"),
    ]
    assert made.network == "notification-1884d074"


def test_a_built_image_has_a_tag_of_the_run_and_a_registry_image_keeps_its_name(tmp_path: Path) -> None:
    images = {step.name: step.image for step in plan_of(tmp_path).steps}
    assert images["datastorage"].ref == "localhost/datastorage:notification-1884d074"
    assert images["datastorage"].source == "build"
    assert images["datastorage"].build is not None
    assert images["redis"].ref == images["redis"].name == "docker.io/library/redis:7-alpine"


@pytest.mark.parametrize(
    ("asked", "source"), [("auto", "registry|local"), ("registry", "registry"), ("local", "local")]
)
def test_the_source_is_what_was_asked_for(asked: ImagesMode, source: str, tmp_path: Path) -> None:
    sources = [step.image.source for step in plan_of(tmp_path, images=asked).steps]
    assert sources == [source, source, source, "build"]


def test_two_runs_have_no_name_in_common(tmp_path: Path) -> None:
    settings, catalog = settings_with(CATALOG, workspace_in(tmp_path)), load(CATALOG)
    one, two = (plan.make(catalog, settings, service="notification") for _ in range(2))
    assert one.run != two.run
    names = [{made.run, made.network, *(step.container for step in made.steps)} for made in (one, two)]
    assert not names[0] & names[1]
    assert one.steps[3].image.ref != two.steps[3].image.ref


def test_the_json_is_the_contract_and_nothing_else(tmp_path: Path) -> None:
    assert json.loads(json.dumps(plan_of(tmp_path).as_json())) == {
        "service": "notification",
        "tier": "integration",
        "suite_ports": {},
        "workers": 0,
        "run": "1884d074",
        "ports_mode": "fixed",
        "steps": [
            {
                "name": "postgres",
                "kind": "service",
                "image": {"ref": "docker.io/pgvector/pgvector:pg16", "source": "registry|local"},
                "ports": {"sql": {"host": 15453, "container": 5432}},
                "ready": {"probe": "postgres", "timeout_s": 30.0},
            },
            {
                "name": "migrations",
                "kind": "job",
                "image": {"ref": "docker.io/pgvector/pgvector:pg16", "source": "registry|local"},
                "ports": {},
                "ready": {"probe": "completed", "timeout_s": 120.0},
            },
            {
                "name": "redis",
                "kind": "service",
                "image": {"ref": "docker.io/library/redis:7-alpine", "source": "registry|local"},
                "ports": {"redis": {"host": 16399, "container": 6379}},
                "ready": {"probe": "redis", "timeout_s": 10.0},
            },
            {
                "name": "datastorage",
                "kind": "service",
                "image": {"ref": "localhost/datastorage:notification-1884d074", "source": "build"},
                "ports": {
                    "http": {"host": 18110, "container": 8080},
                    "metrics": {"host": 19110, "container": 9090},
                },
                "ready": {"probe": "http", "timeout_s": 30.0},
            },
        ],
    }


def test_with_auto_ports_no_host_port_is_known_yet(tmp_path: Path) -> None:
    said = plan_of(tmp_path, ports="auto").as_json()
    assert said["ports_mode"] == "auto"
    assert {port["host"] for step in said["steps"] for port in step["ports"].values()} == {None}
    assert said["steps"][3]["ports"]["http"]["container"] == 8080


def test_no_secret_is_in_the_json(tmp_path: Path) -> None:
    made = plan_of(tmp_path)
    assert made.secrets == {"test_password"}
    assert "test_password" not in json.dumps(made.as_json())


def test_secrets_are_filled_in_where_the_container_needs_them(tmp_path: Path) -> None:
    steps = {step.name: step for step in plan_of(tmp_path).steps}
    assert steps["postgres"].env["POSTGRES_PASSWORD"] == "test_password"
    assert steps["migrations"].env["PGPASSWORD"] == "test_password"
    ready = steps["postgres"].ready
    assert isinstance(ready, PostgresProbe)
    assert ready.password == "test_password"


def test_files_have_mode_owner_and_their_placeholders_filled_in(tmp_path: Path) -> None:
    datastorage = plan_of(tmp_path).steps[3]
    files = {file.path: file for file in datastorage.files}
    secret = files["/etc/datastorage/db-secrets.yaml"]
    assert (secret.content, secret.mode, secret.owner) == ("username: slm_user\npassword: test_password\n", 0o400, 1001)
    assert files["/etc/datastorage/config.yaml"].mode == 0o444


def test_doubled_braces_become_braces(tmp_path: Path) -> None:
    script = {file.path: file.content for file in plan_of(tmp_path).steps[1].files}["/migrations/apply.sh"]
    assert '-f "$file" </dev/null || {\n' in script
    assert "{{" not in script


def test_the_migrations_are_files_of_the_job_with_their_order_beside_them(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path)
    (workspace / "migrations" / "1000_last.sql").write_text("-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n")
    (workspace / "migrations" / "999_before.sql").write_text("SELECT 0;\n")
    made = plan.make(load(CATALOG), settings_with(CATALOG, workspace), service="notification")
    files = {file.path: file.content for file in made.steps[1].files}
    assert files["/migrations/order"] == "001_first.sql\n999_before.sql\n1000_last.sql\n"
    assert files["/migrations/1000_last.sql"] == "-- +goose Up\nSELECT 1;\n\n\n"


def test_the_suite_is_told_addresses_of_this_run(tmp_path: Path) -> None:
    made = plan_of(tmp_path, ports="auto")
    assert made.suite_env(PORTS, "/runs/1") == {
        "DATA_STORAGE_URL": "http://127.0.0.1:40003",
        "DATA_STORAGE_METRICS_URL": "http://127.0.0.1:40004/metrics",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": "40001",
        "POSTGRES_USER": "slm_user",
        "POSTGRES_PASSWORD": "test_password",
        "POSTGRES_DB": "action_history",
        "REDIS_ADDR": "127.0.0.1:40002",
    }


def test_a_suite_may_know_run_service_tier_and_the_runs_folder(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    wanted = 'OUT = "{run_dir}/{service}-{tier}-{run}"\nREDIS_ADDR'
    with edited(folder / "services" / "notification.toml", "REDIS_ADDR", wanted):
        catalog = load(folder)
    made = plan.make(catalog, settings_with(folder, workspace_in(tmp_path)), service="notification", run="0123abcd")
    assert made.suite_env(PORTS, "/runs/1")["OUT"] == "/runs/1/notification-integration-0123abcd"


def test_a_tiers_own_stack_takes_the_place_of_the_services(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    with edited(folder / "services" / "notification.toml", "[tiers.unit]", '[tiers.unit]\nstack = ["redis"]'):
        catalog = load(folder)
    settings = settings_with(folder, workspace_in(tmp_path))
    made = plan.make(catalog, settings, service="notification", tier="unit")
    assert (made.tier, [step.name for step in made.steps]) == ("unit", ["redis"])


def test_the_tier_unit_has_no_stack_unless_it_names_one(tmp_path: Path) -> None:
    settings = settings_with(CATALOG, workspace_in(tmp_path))
    made = plan.make(load(CATALOG), settings, service="notification", tier="unit")
    assert (made.tier, made.steps, made.secrets) == ("unit", (), frozenset())
    assert len(plan.make(load(CATALOG), settings, service="notification").steps) == 4


def test_a_tier_may_not_ask_for_what_its_own_stack_does_not_have(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    path = folder / "services" / "notification.toml"
    with edited(path, "[tiers.unit]", '[tiers.unit]\nenv = { A = "{redis.redis}" }'), pytest.raises(Invalid) as raised:
        load(folder)
    assert 'tiers.unit.env.A: unknown placeholder "{redis.redis}"' in raised.value.message


@pytest.mark.parametrize(
    "text",
    ["{secret}", "a {secret} and again {secret}", '{{"password": {json}}}', "<message>{xml}</message>"],
)
def test_a_secret_is_masked_as_it_is_and_as_json_and_xml_write_it(text: str, tmp_path: Path) -> None:
    secret = 'p"w & <ä>\\'
    made = replace(plan_of(tmp_path), secrets=frozenset({secret}))
    written = text.format(secret=secret, json=json.dumps(secret), xml='p"w &amp; &lt;ä&gt;\\')
    masked = made.mask(written)
    assert "p" + '"w' not in masked
    assert 'p\\"w' not in masked
    assert MASK in masked


def test_a_secret_is_masked_as_gos_json_writes_it(tmp_path: Path) -> None:
    made = replace(plan_of(tmp_path), secrets=frozenset({"p&ss<w>"}))
    assert made.mask(r'{"Output":"p\u0026ss\u003cw\u003e"}') == f'{{"Output":"{MASK}"}}'


def test_what_a_container_is_made_of_is_the_same_in_every_run_and_another_when_it_changes(tmp_path: Path) -> None:
    one, two = (plan_of(tmp_path / name, run=run) for name, run in (("a", "11111111"), ("b", "22222222")))
    assert [step.declared for step in one.steps] == [step.declared for step in two.steps]
    assert len({step.declared for step in one.steps}) == 4
    workspace = tmp_path / "a" / "workspace"
    (workspace / "migrations" / "002_second.sql").write_text("SELECT 1;\n")
    again = plan.make(load(CATALOG), settings_with(CATALOG, workspace), service="notification")
    changed = [new.name for new, old in zip(again.steps, one.steps, strict=True) if new.declared != old.declared]
    assert changed == ["migrations"]


def test_the_longer_of_two_secrets_is_masked_whole(tmp_path: Path) -> None:
    made = replace(plan_of(tmp_path), secrets=frozenset({"abc", "abcdef"}))
    assert made.mask("x abcdef y abc z") == f"x {MASK} y {MASK} z"


def test_an_empty_secret_masks_nothing(tmp_path: Path) -> None:
    folder = catalog_copy(tmp_path)
    with edited(folder / "components" / "postgres.toml", '"test_password"', '""'):
        catalog = load(folder)
    made = plan.make(catalog, settings_with(folder, workspace_in(tmp_path)), service="notification")
    assert made.mask("as it is") == "as it is"


def test_the_workspace_of_this_repository_has_a_plan() -> None:
    made = plan.make(load(CATALOG), settings_with(CATALOG, WORKSPACE), service="notification")
    assert len(made.steps[1].files) >= 10  # eight migrations, their order, the script


WITHOUT_PODMAN = """
import json, sys
from pathlib import Path

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("podman", "requests", "psycopg", "tenacity", "invoke", "nox"):
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Nothing())
sys.path.insert(0, sys.argv[1])
from infra import content, migrations, placeholders, plan, report, settings, verdict
from infra.catalog.loading import load
from infra.runners.ginkgo import Ginkgo
from infra.reporters import console, files

read = settings.read(Path(sys.argv[1]), {})
made = plan.make(load(read.catalog), read, service="notification", run="1884d074")
Path(sys.argv[2]).write_text('[{"SpecReports": [{"LeafNodeType": "It", "State": "passed", "LeafNodeText": "x"}]}]')
result = Ginkgo(spec=made.suite.suite).read(Path(sys.argv[2]))
print(json.dumps({"steps": [step["name"] for step in made.as_json()["steps"]], "passed": result.passed}))
"""


def test_catalogue_plan_and_results_need_no_podman_installed_and_no_engine(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WITHOUT_PODMAN, str(ROOT), str(tmp_path / "ginkgo.json")]
    environ = {"PATH": "/nowhere", "CONTAINER_HOST": "tcp://192.0.2.1:1"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, cwd=tmp_path, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"steps": ["postgres", "migrations", "redis", "datastorage"], "passed": 1}
