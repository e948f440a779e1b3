"""Causes that are raised where they are seen: command lines, catalogues, settings, workspaces."""

from __future__ import annotations

from infra.causes.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(reference="arguments", blame="user", hint="invoke --help {task}  # what it takes"),
    Rule(
        reference="archive-missing",
        blame="user",
        hint="invoke images.save --file images.tar  # or download what another job has saved",
    ),
    Rule(
        reference="archive-unusable",
        blame="user",
        hint="invoke images.save --file images.tar  # write it again, or copy it again",
    ),
    Rule(reference="archive-not-written", blame="user", hint="df -h .; ls -ld .  # the folder of the archive"),
    Rule(
        reference="engine-elsewhere",
        blame="user",
        hint="unset CONTAINER_HOST CONTAINER_CONNECTION  # the engine of this host is wanted",
    ),
    Rule(reference="image-not-moved", blame="infrastructure", hint="df -h /tmp; podman info  # room, and the storage"),
    Rule(reference="unknown-service", blame="user", hint="ls infra/catalog/services  # a service is a file there"),
    Rule(
        reference="unknown-tier",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # [tiers.NAME] declares one; the tiers are unit, integration and e2e",
    ),
    Rule(
        reference="unknown-component",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # stack: names of infra/catalog/components, each once",
    ),
    Rule(
        reference="unknown-run", blame="user", hint="invoke infra.status  # the runs that have anything in the engine"
    ),
    Rule(reference="unknown-session", blame="user", hint="{nox} -l  # the sessions that there are"),
    Rule(reference="unknown-cause", blame="user", hint="invoke infra.explain all  # the references that there are"),
    Rule(
        reference="run-name", blame="user", hint="invoke infra.status  # leave --run out: a run finds a name for itself"
    ),
    Rule(
        reference="run-exists",
        blame="user",
        hint="invoke infra.status  # leave --run out: a run finds a name for itself",
    ),
    Rule(
        reference="too-many-workers",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # count, in the tier's workers; or fewer with pytest -n",
    ),
    Rule(reference="no-stack", blame="user", hint="invoke infra.up --service {service}  # the tier integration"),
    Rule(
        reference="no-such-target", blame="user", hint='${{EDITOR:-vi}} {service_file}  # target = "podman" in the tier'
    ),
    Rule(
        reference="no-catalogue",
        blame="user",
        hint="infra-init  # begins; or let [tool.infra] catalog, or INFRA_CATALOG, name the folder of services/",
    ),
    Rule(reference="catalogue", blame="user", hint="${{EDITOR:-vi}} {file}  # the key that the message names"),
    Rule(
        reference="newer-schema", blame="user", hint="python3 -m pip install -U {package}  # or git -C {checkout} pull"
    ),
    Rule(reference="not-begun", blame="user", hint="cd {workspace} && infra-init  # a folder that is writable"),
    Rule(
        reference="unknown-placeholder",
        blame="user",
        hint="${{EDITOR:-vi}} {file}  # the name in braces; two braces for the character itself",
    ),
    Rule(
        reference="port-collision",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # ports: a number that no other service has",
    ),
    Rule(
        reference="settings",
        blame="user",
        hint="${{EDITOR:-vi}} pyproject.toml  # [tool.infra]; or unset INFRA_CATALOG INFRA_WORKSPACE INFRA_IMAGES",
    ),
    Rule(reference="path-unusable", blame="user", hint="${{EDITOR:-vi}} {file}  # the path that the message names"),
    Rule(
        reference="outside-workspace",
        blame="user",
        hint="${{EDITOR:-vi}} {file}  # a path in the workspace; or point INFRA_WORKSPACE at a folder that holds both",
    ),
    Rule(
        reference="suite-folder-missing",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # cwd of the tier; or point INFRA_WORKSPACE at the right workspace",
    ),
    Rule(
        reference="requirements-missing",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # suite.requirements; or point INFRA_WORKSPACE at the right workspace",
    ),
    Rule(
        reference="build-files-missing",
        blame="user",
        hint="${{EDITOR:-vi}} {component_file}  # build.context and build.containerfile; is INFRA_WORKSPACE right?",
    ),
    Rule(
        reference="migrations-missing",
        blame="user",
        hint="${{EDITOR:-vi}} {component_file}  # migrations.folder; or point INFRA_WORKSPACE at the right workspace",
    ),
    Rule(
        reference="migration-name",
        blame="user",
        hint="ls {migrations}  # rename the file: its number first, as in 0001_name.sql",
    ),
    Rule(
        reference="migration-markers",
        blame="user",
        hint="${{EDITOR:-vi}} {migrations}  # -- +goose Up above what is to be applied",
    ),
    Rule(reference="duplicate-migration", blame="user", hint="ls -l {migrations}  # renumber the later one"),
    Rule(reference="migration-unreadable", blame="user", hint="ls -l {migrations}  # repair the file, or remove it"),
)
