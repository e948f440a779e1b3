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
    Rule(reference="tests-failed", blame="test", hint="less {{folder}}/logs/suite.log"),
    Rule(reference="suite-setup-failed", blame="test", hint="less {{folder}}/logs/suite.log"),
    Rule(
        reference="suite-does-not-compile",
        blame="test",
        hint="less {{folder}}/logs/suite.log  # or the command of the remedy, which shows the compiler's words alone",
    ),
    Rule(reference="suite-broken", blame="test", hint="less {{folder}}/logs/suite.log"),
    Rule(
        reference="suite-hung",
        blame="test",
        hint="less {{folder}}/logs/suite.log  # the stacks of what hung are at its end",
    ),
    Rule(reference="suite-killed", blame="test", hint="less {{folder}}/logs/suite.log"),
    Rule(reference="suite-exit-code", blame="test", hint="less {{folder}}/logs/suite.log"),
    Rule(reference="no-report", blame="test", hint="less {{folder}}/logs/suite.log"),
    Rule(
        reference="no-suite-found",
        blame="user",
        hint="${{EDITOR:-vi}} {service_file}  # the suite's packages or paths; is INFRA_WORKSPACE right?",
    ),
    Rule(
        reference="no-test-ran",
        blame="test",
        hint="${{EDITOR:-vi}} {service_file}  # the suite's packages or paths; and what stands after --",
    ),
    Rule(
        reference="unexpected-skip",
        blame="test",
        hint="${{EDITOR:-vi}} {service_file}  # suite.allowed_skips: name it, or make it run",
    ),
    Rule(
        reference="suite-folder-busy",
        blame="user",
        hint="invoke infra.status  # wait, or give this run a workspace of its own (INFRA_WORKSPACE)",
    ),
    Rule(reference="before-suite-command-failed", blame="test", hint="less {{folder}}/logs/before-{step}.log"),
    Rule(reference="requirements-not-installed", blame="infrastructure", hint="less {{folder}}/logs/requirements.log"),
    Rule(
        reference="runner-build-failed",
        blame="user",
        hint="cd {suite_dir} && go get -tool github.com/onsi/ginkgo/v2/ginkgo && go mod tidy",
    ),
)
