"""Causes that are raised where they are seen: arguments, catalogues, workspaces, and what is ours."""

from __future__ import annotations

from infra.causes.rules import Rule

RULES: tuple[Rule, ...] = ()
