"""Causes that are raised where they are seen: what a run needs of its host, its engine and its stack."""

from __future__ import annotations

from infra.causes.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(reference="tool-missing", blame="user", hint="{nox} -s bootstrap  # installs it, or says how"),
    Rule(
        reference="install-failed",
        blame="infrastructure",
        hint="{nox} -s bootstrap  # again, when its own message above is dealt with",
    ),
    Rule(reference="venv", blame="infrastructure", hint="ls -ld .  # the folder of noxfile.py must be writable"),
    Rule(reference="podman-missing", blame="user", hint="{nox} -s bootstrap  # installs it, or says how"),
    Rule(reference="podman-too-old", blame="user", hint="podman version  # install a newer one where it is served"),
    Rule(reference="mmdebstrap-missing", blame="user", hint="{nox} -s bootstrap  # installs it, or says how"),
    Rule(
        reference="no-connection", blame="user", hint="podman system connection list  # or unset CONTAINER_CONNECTION"
    ),
    Rule(
        reference="engine-start",
        blame="infrastructure",
        hint="podman system service --time=5 unix:///tmp/podman-test.sock  # says why it does not start",
    ),
    Rule(
        reference="engine-error",
        blame="infrastructure",
        hint="podman info  # and the engine's own words, which are in the message",
    ),
    Rule(reference="engine-gone", blame="infrastructure", hint="podman info  # does it answer again?"),
    Rule(
        reference="engine-hangs", blame="infrastructure", hint="podman info  # is it stopped, or the host overloaded?"
    ),
    Rule(reference="engine-nonsense", blame="infrastructure", hint="podman info  # is it Podman that answers there?"),
    Rule(reference="engine-refuses", blame="infrastructure", hint="podman info  # its own words are in the message"),
    Rule(
        reference="build-context-empty",
        blame="user",
        hint="git -C {workspace} add .  # what git does not track is in no build",
    ),
    Rule(
        reference="build-stopped",
        blame="infrastructure",
        hint="less {{folder}}/diagnosis.md  # the cause of the image that failed first",
    ),
    Rule(
        reference="component-removed",
        blame="infrastructure",
        hint="podman events --stream=false --since 10m --filter event=remove  # who prunes here?",
    ),
    Rule(reference="run-directory", blame="user", hint="mkdir -p .infra/runs  # it must be writable"),
    Rule(reference="no-stack-up", blame="user", hint="invoke infra.up --service {service}"),
    Rule(
        reference="stack-not-usable",
        blame="user",
        hint="invoke infra.down --service {service} && invoke infra.up --service {service}",
    ),
    Rule(
        reference="no-dev-stack",
        blame="user",
        hint="${{EDITOR:-vi}} infra/catalog/dev.toml  # stack, [ports], and the data of each component, as above",
    ),
    Rule(
        reference="dev-stack-data-moved",
        blame="user",
        hint="invoke dev.cleanup && invoke dev.bootstrap  # starts afresh, without your data; or put data back",
    ),
    Rule(reference="dev-stack-missing", blame="user", hint="invoke dev.bootstrap"),
    Rule(
        reference="dev-stack-not-ready",
        blame="infrastructure",
        hint="invoke dev.bootstrap  # brings it back with its data",
    ),
    Rule(reference="dev-stack-stays", blame="user", hint="invoke dev.cleanup --run {run}  # removes it and its data"),
    Rule(
        reference="dev-stack-shared",
        blame="user",
        hint="invoke suite.run --service {service}  # its suite has a stack of its own, which it may take apart",
    ),
    Rule(reference="dev-stack-busy", blame="user", hint="kill {pid}  # ends the one that goes on; then again"),
    Rule(
        reference="dev-stack-unfit",
        blame="user",
        hint="invoke suite.run --service {service}  # beside the development stack",
    ),
    Rule(
        reference="migrations-unknown",
        blame="infrastructure",
        hint="invoke dev.bootstrap  # asks again; where it never can, dev.cleanup removes it with your data",
    ),
    Rule(
        reference="stack-made-otherwise",
        blame="user",
        hint="invoke infra.down --service {service} && invoke infra.up --service {service}",
    ),
    Rule(
        reference="stack-in-use", blame="user", hint="invoke infra.status  # wait until the run that uses it has ended"
    ),
    Rule(
        reference="reuse-reset-failed",
        blame="infrastructure",
        hint="invoke infra.down --service {service}  # or --fresh --ports auto",
    ),
    Rule(
        reference="database-in-use",
        blame="user",
        hint="invoke infra.status  # down, then up; in a stack, jobs come before services that use it",
    ),
    Rule(
        reference="databases-failed",
        blame="infrastructure",
        hint="ls {{folder}}/logs  # the database server's says more",
    ),
    Rule(
        reference="redis-numbers",
        blame="user",
        hint="invoke infra.status  # wait until one has ended; or suite.run --service {service} --fresh --ports auto",
    ),
    Rule(reference="redis-numbers-failed", blame="infrastructure", hint="invoke infra.status"),
    Rule(reference="run-is-alive", blame="user", hint="invoke infra.status  # end it where it runs"),
    Rule(reference="left-behind", blame="infrastructure", hint="invoke infra.gc --run {run}"),
    Rule(
        reference="internal",
        blame="infrastructure",
        hint="less {{folder}}/diagnosis.md  # report it with the run's folder",
    ),
    Rule(
        reference="interrupted",
        blame="user",
        hint="invoke infra.status  # what was kept, if anything; then run it again",
    ),
    Rule(
        reference="owner-killed",
        blame="infrastructure",
        hint="sudo dmesg | grep -i 'killed process'  # was it the kernel, for want of memory?",
    ),
    Rule(
        reference="component-taken-away",
        blame="raised",
        hint="invoke suite.run --fresh --ports auto  # a stack of its own, that nobody else takes apart",
    ),
    Rule(
        reference="component-not-running",
        blame="raised",
        hint="invoke infra.start --component {step} --run {run}",
    ),
    Rule(
        reference="signal-ignored",
        blame="raised",
        hint="invoke infra.kill --component {step} --run {run}  # with SIGKILL",
    ),
    Rule(
        reference="not-back-in-time",
        blame="raised",
        hint="invoke infra.start --component {step} --run {run}  # infra.wait itself starts nothing",
    ),
    Rule(
        reference="not-gone-in-time",
        blame="raised",
        hint="invoke infra.kill --component {step} --run {run}  # infra.wait itself ends nothing",
    ),
    Rule(reference="component-is-a-job", blame="user", hint="invoke infra.status --run {run}  # those that can be"),
    Rule(reference="unknown-signal", blame="user", hint="invoke infra.kill --help"),
    Rule(reference="run-not-ours", blame="user", hint="invoke infra.status"),
    Rule(
        reference="component-frozen",
        blame="infrastructure",
        hint="podman unpause {container}  # who freezes containers here?",
    ),
)
