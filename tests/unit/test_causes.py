"""Causes are data: each reference that is raised has one rule and one page, and each rule a recorded case it wins."""

import ast
import json
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from given import ROOT
from pydantic import TypeAdapter
from remedies import COMMAND

from infra import errors
from infra.build import STOPPED
from infra.causes import table
from infra.causes.facts import ContainerFacts, Doing, Facts, MemoryFacts
from infra.causes.rules import COMMANDS, Rule
from infra.engine.transport import EngineRefused, NoAnswer
from infra.errors import Blame, Ended

PRODUCT = ROOT / "infra"
CASES = Path(__file__).with_name("causes")
# Where a remedy is a value that was made elsewhere: each is a command by its making, or a test of its own says so.
MADE_ELSEWHERE = {
    "infra.ports:found.remedy",
    "infra.build:tools.tool('mmdebstrap').install_command",
    "infra.engine.discover:tools.tool('podman').install_command",
    "infra.tools:known.install_command if known else f'{nox_command()} -s bootstrap'",
    "infra.bootstrap:f'{nox_command()} -l'",
    "infra.bootstrap:str(needed)",
    "infra.bootstrap:shlex.join(argv)",
    "infra.verdict:check",
    "infra.disks:disk.frees",
    "infra.catalog.names:upgrade()",
}
BY_NAME: dict[str, type[Ended]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Ended)
} | {"NoAnswer": NoAnswer, "EngineRefused": EngineRefused}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place that raises a cause: which, with whose blame, and the remedy as it is written there."""

    where: str
    module: str
    reference: str
    blame: Blame | Literal["raised"]
    remedy: ast.expr | None


@cache
def trees() -> dict[str, ast.Module]:
    """The modules of the product by name, less the rules themselves."""
    paths = (path for path in sorted(PRODUCT.rglob("*.py")) if path.parent.name != "causes")
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
    }


@cache
def sites() -> tuple[Site, ...]:
    return tuple(site for module, tree in trees().items() for site in _sites_in(module, tree))


def _sites_in(module: str, tree: ast.Module) -> Iterator[Site]:
    inside = {node: kind.name for kind in ast.walk(tree) if isinstance(kind, ast.ClassDef) for node in ast.walk(kind)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        name = ast.unparse(node.func).rpartition(".")[2]
        name = inside.get(node, "") if ast.unparse(node.func) == "super().__init__" else name
        where = f"{module}:{node.lineno}"
        if name == "wrong":  # the catalogue's: by its place
            reference = _literal(module, node.args[3]) if len(node.args) > 3 else ("catalogue",)
            yield from (Site(where=where, module=module, reference=one, blame="user", remedy=None) for one in reference)
        elif name in BY_NAME and "reference" in given:
            blame = given.get("blame")
            told: Any = ast.literal_eval(blame) if isinstance(blame, ast.Constant) else "raised" if blame else None
            for one in _literal(module, given["reference"]):
                yield Site(
                    where=where,
                    module=module,
                    reference=one,
                    blame=told or BY_NAME[name].blame,
                    remedy=given.get("remedy"),
                )


def _literal(module: str, value: ast.expr) -> tuple[str, ...]:
    """The references that an expression can be; none where it is one that a rule has found, or a parameter's."""
    match value:
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.IfExp(body=first, orelse=second):
            return (*_literal(module, first), *_literal(module, second))
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, default]):
            return (*_values(module, name), *_literal(module, default))
        case ast.Name(id="STOPPED") | ast.Attribute(attr="STOPPED"):
            return (STOPPED,)
        case ast.Attribute(attr="reference") | ast.Name(id="reference"):
            return ()
    raise AssertionError(f"{module}:{value.lineno}: {ast.unparse(value)}: write the reference where it is raised")


def _values(module: str, name: str) -> tuple[str, ...]:
    """The values of a table of references."""
    for node in trees()[module].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(node.value, ast.Dict):
            return tuple(text for value in node.value.values for text in _literal(module, value))
    raise AssertionError(f"{module} has no table {name}")


RAISED = {site.reference for site in sites()}
FOUND = {rule.reference for rule in table.RULES if rule.when is not None}


def test_what_is_raised_has_a_rule_and_each_rule_is_raised_or_found() -> None:
    assert {site.where: site.reference for site in sites() if site.reference not in table.BY_REFERENCE} == {}
    assert set(table.BY_REFERENCE) - FOUND - RAISED == {"owner-killed"}, (
        "nobody raises these; that one the reaper writes"
    )


def test_nobody_else_takes_a_reference_by_another_way() -> None:
    takers = {
        f"{module}.{node.name}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and "reference" in [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
    }
    assert takers == {
        "infra.catalog.names.wrong",
        "infra.engine.client.images",
        "infra.errors.__init__",
        "infra.tasks.explain.explain",
    }


def test_each_is_blamed_where_it_is_raised_as_its_rule_says() -> None:
    assert {
        site.where: (site.reference, site.blame)
        for site in sites()
        if table.BY_REFERENCE[site.reference].blame != site.blame
    } == {}


def test_references_are_unique_and_kebab_case() -> None:
    assert len(table.BY_REFERENCE) == len(table.RULES)
    assert [name for name in table.BY_REFERENCE if re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name) is None] == []


def test_every_rule_has_a_page_of_some_sentences_and_every_page_a_rule() -> None:
    text = (PRODUCT / "causes" / "pages.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sorted(headings) == sorted(table.BY_REFERENCE)
    assert [name for name in headings if len((table.page(name) or "").split()) < 10] == []
    assert [line for line in text.splitlines()[4:] if len(line) > 120] == []


def parses(line: str) -> bool:
    return subprocess.run(("bash", "-n", "-c", line), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("rule", table.RULES, ids=lambda rule: rule.reference)
def test_every_hint_is_a_line_for_a_shell(rule: Rule) -> None:
    names = re.findall(r"(?<![{$])\{(\w+)\}", rule.hint)
    values = {name: "podman info" if name in COMMANDS else "value" for name in names}
    hint = rule.hint.format_map(values)
    assert "\n" not in hint
    assert COMMAND.match(hint), hint
    assert parses(hint), hint


# Remedies where causes are raised


def beginning(value: ast.expr) -> Iterator[str]:
    """The constant beginnings that a remedy can have."""
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[ast.Constant(), *_] as parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "podman" for part in parts)
        case ast.IfExp(body=first, orelse=second):
            yield from beginning(first)
            yield from beginning(second)
        case ast.Call(func=ast.Name(id="again")):
            yield "invoke "
        case ast.Call(func=ast.Name(id="edit" | "edit_key")):
            yield "${EDITOR:-vi} "
        case _:
            yield ""


def assigned(module: str, remedy: ast.Name | ast.JoinedStr) -> ast.expr | None:
    """What a name that is a remedy, or begins one, was last given above it, in the same module."""
    first = remedy.values[0] if isinstance(remedy, ast.JoinedStr) else remedy
    name = ast.unparse(first.value) if isinstance(first, ast.FormattedValue) else ast.unparse(first)
    found = [
        node
        for node in ast.walk(trees()[module])
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and node.lineno < remedy.lineno
    ]
    return max(found, key=lambda node: node.lineno).value if found else None


def test_every_remedy_that_is_written_where_a_cause_is_raised_is_a_line_for_a_shell() -> None:
    wrong = {}
    for site in sites():
        remedy = site.remedy
        if remedy is None or f"{site.module}:{ast.unparse(remedy)}" in MADE_ELSEWHERE:
            continue
        begins = list(beginning(remedy))
        if begins == [""] and isinstance(remedy, ast.Name | ast.JoinedStr):
            value = assigned(site.module, remedy)
            begins = list(beginning(value)) if value is not None else [""]
        if begins == [""] and isinstance(remedy, ast.JoinedStr | ast.Call):
            text = ast.unparse(remedy)
            # Made by functions whose results other tests look at.
            begins = ["ls"] if text.startswith(("f'{remedy}", "f'{needed}", "f'{installation(", "_at(")) else [""]
        if not all(COMMAND.match(one) for one in begins):
            wrong[site.where] = ast.unparse(remedy)
    assert wrong == {}


def test_every_cause_that_is_raised_says_what_to_do() -> None:
    # `wrong` makes one of the file and the key.
    silent = {site.where.partition(":")[0] for site in sites() if site.remedy is None}
    catalog = ("checks", "extending", "loading", "names")
    assert silent <= {f"infra.catalog.{module}" for module in catalog}


@pytest.mark.parametrize(
    ("remedy", "line"),
    [
        (errors.edit("/w/a b.toml", "ports.redis"), "${EDITOR:-vi} '/w/a b.toml'  # ports.redis"),
        (errors.edit("a.toml", "two\nlines"), "${EDITOR:-vi} a.toml  # two\\nlines"),
        (errors.edit("$(date).toml"), "${EDITOR:-vi} '$(date).toml'"),
        (errors.edit_key("/c/a.toml: x.y", "right"), "${EDITOR:-vi} /c/a.toml  # x.y: right"),
        (errors.edit_key("x.y", "right"), "${EDITOR:-vi} infra/catalog  # x.y: right"),
    ],
)
def test_a_file_is_edited_whatever_it_is_called(remedy: str, line: str) -> None:
    assert remedy == line
    assert parses(remedy)


# Recorded cases


@dataclass(frozen=True, kw_only=True)
class Case:
    """Facts that were recorded, and the cause that they show; no reference where none is to be claimed."""

    name: str
    facts: Facts
    reference: str
    blame: str = ""
    says: tuple[str, ...] = ()
    remedy: str = ""


FACTS = TypeAdapter(Facts)


def case(path: Path) -> Case:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    expect = document.pop("expect")
    _known(path, document, Facts)
    _known(path, document.get("container", {}), ContainerFacts)
    _known(path, document.get("container", {}).get("memory", {}), MemoryFacts)
    assert expect.keys() <= {"reference", "blame", "says", "remedy"}, path
    return Case(name=path.stem, facts=FACTS.validate_python(document), **expect)


def _known(path: Path, data: dict[str, Any], kind: type[Any]) -> None:
    assert data.keys() <= {field.name for field in fields(kind)}, f"{path}: {sorted(data)}"


RECORDED = tuple(case(path) for path in sorted(CASES.glob("*.toml")))
NAMES = {one.name: one for one in RECORDED}


def found(facts: Facts) -> table.Found | None:
    """The cause, asked for as `diagnose` does: the words of red tests show few causes."""
    return table.find(facts, table.OF_SUITES) if facts.doing == "suite" else table.find(facts)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)
def test_a_recorded_case_shows_its_cause_and_no_other(recorded: Case) -> None:
    cause = found(recorded.facts)
    assert (cause.reference if cause else "") == recorded.reference
    if cause is None:
        return
    assert cause.blame in ("infrastructure", "product", "test", "user")
    assert recorded.blame in ("", cause.blame)
    assert [words for words in recorded.says if words not in cause.message] == []
    assert recorded.remedy in cause.remedy
    assert "\n" not in cause.message + cause.remedy
    assert COMMAND.match(cause.remedy), cause.remedy
    assert parses(cause.remedy), cause.remedy


def test_every_rule_that_looks_at_facts_wins_a_recorded_case() -> None:
    assert FOUND - {one.reference for one in RECORDED} == set()


def test_every_cause_that_is_not_always_true_has_its_words_as_evidence() -> None:
    silent = [one.name for one in RECORDED if (cause := found(one.facts)) and not cause.evidence and one.facts.log]
    assert silent == []


def test_exit_code_137_has_a_cause_for_each_thing_that_the_evidence_shows() -> None:
    family = (
        "137-memory-flagged",
        "137-memory-unflagged",
        "137-at-the-limit",
        "137-stop-whose-grace-ran-out",
        "137-podman-kill",
        "137-kill-9",
        "137-nothing-readable",
    )
    told = {name: cause.reference for name in family if (cause := found(NAMES[name].facts))}
    assert {fact.container.exit_code for name in family if (fact := NAMES[name].facts).container} == {137}
    assert len(told) == len(set(told.values())) == len(family), told


def test_what_a_log_says_is_no_command_of_a_remedy() -> None:
    log = ("psql:$(touch${IFS}gone);.sql:2: ERROR:  no",)
    places = {"migrations": "my migrations"}
    cause = found(Facts(doing="gate", step="migrations", kind="job", log=log, places=places))
    assert cause is not None
    assert cause.reference == "migration-failed"
    assert cause.remedy == "${EDITOR:-vi} 'my migrations'/'$(touch${IFS}gone);.sql'  # line 2"


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)
def test_no_facts_whatever_make_an_error_of_ours(recorded: Case) -> None:
    less: tuple[dict[str, Any], ...] = (
        {},
        {"container": None},
        {"log": ()},
        {"places": {}},
        {"others": {}, "addresses": {}},
    )
    for doing in get_args(Doing):
        for left_out in less:
            cause = found(replace(recorded.facts, doing=doing, **left_out))
            assert cause is None or COMMAND.match(cause.remedy), cause


# infra.explain


def explained(*words: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "invoke", "infra.explain", *words)
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("reference", ["out-of-memory", "port-collision", "tests-failed"])
def test_a_reference_is_explained(reference: str) -> None:
    done = explained(reference)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{reference} (blame: ")
    assert (table.page(reference) or "no page") in done.stdout
    assert f"\nto do: {table.BY_REFERENCE[reference].shown_hint}\n" in done.stdout


def test_a_misspelt_reference_gets_the_nearest() -> None:
    done = explained("out-of-memry")
    assert done.returncode == 78
    assert 'there is no cause "out-of-memry"; did you mean "out-of-memory"?' in done.stderr
    assert "invoke infra.explain all" in done.stderr


def test_all_references_are_listed_and_each_can_be_explained() -> None:
    said = json.loads(explained("all", "--json").stdout)
    assert list(said) == list(table.BY_REFERENCE)
    assert [name for name in said if not table.page(name) or not table.BY_REFERENCE[name].shown_hint] == []
    one = json.loads(explained("port-taken", "--json").stdout)
    assert one == {
        "reference": "port-taken",
        "blame": "user",
        "hint": table.BY_REFERENCE["port-taken"].shown_hint,
        "page": table.page("port-taken"),
    }


def test_a_line_that_is_a_body_or_a_dump_takes_no_time_and_no_room() -> None:
    """40 kB of one word made a search of all rules take 20 s; a bound of seconds here is for slow machines."""
    dump = "x" * 40_000
    for doing in ("gate", "watch", "suite", "build"):
        facts = Facts(doing=doing, step="app", log=(dump,) * 60, container=ContainerFacts(status="exited", exit_code=1))
        began = time.process_time()
        cause = found(facts)
        assert time.process_time() - began < 5
        assert cause is None or max(map(len, cause.evidence)) <= 1000
