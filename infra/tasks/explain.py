"""`invoke infra.explain`: what a cause is, whose it is, and what to do."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from infra.tasks import common


@task(help={"reference": "a report's cause.reference, or all", "json": "print JSON"})
def explain(_: Context, reference: str, json: bool = False) -> None:
    """Print what a cause means, how it comes about, and what to do."""
    from infra.causes import table
    from infra.errors import Invalid
    from infra.placeholders import nearest

    with common.told():
        if reference == "all":
            known = {rule.reference: rule.blame for rule in table.RULES}
            common.show(known) if json else print("\n".join(known))
            return
        rule = table.BY_REFERENCE.get(reference)
        if rule is None:
            what = f'there is no cause "{reference}"{nearest(reference, table.BY_REFERENCE)}'
            raise Invalid(what, reference="unknown-cause", remedy="invoke infra.explain all  # lists them")
        text = table.page(reference) or ""
        if json:
            common.show({"reference": reference, "blame": rule.blame, "hint": rule.shown_hint, "page": text})
            return
        print(f"{reference} (blame: {_BLAMES.get(rule.blame, rule.blame)})\n\n{text}\n\nto do: {rule.shown_hint}")


_BLAMES = {
    "component": "product, where its image is built from the workspace or it is a job; else infrastructure",
}
