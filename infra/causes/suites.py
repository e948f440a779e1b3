"""Suites: what the tool chain, the compiler and the suite itself say."""

from __future__ import annotations

from infra.causes.rules import Rule, both, doing, told

RULES: tuple[Rule, ...] = (
    Rule(
        reference="ginkgo-version",
        blame="user",
        when=both(doing("suite"), told(r"Ginkgo detected a version mismatch|ginkgo.*version mismatch")),
        message="the ginkgo command is of another version than the suite's library",
        hint="cd {suite_dir} && go get -tool github.com/onsi/ginkgo/v2/ginkgo && go mod tidy",
    ),
)
