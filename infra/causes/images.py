"""Images: names, registries, builds."""

from __future__ import annotations

from infra.causes.facts import Facts
from infra.causes.rules import Match, Rule, always, both, by_host, doing, either, logged, said, told

# What podman says of a step that has ended.
_PODMANS = ("Error: ", "error building at ", "time=")
_PULL = doing("pull")
_BUILD = doing("build")


def _step(facts: Facts) -> Match:
    """The build step that failed, as podman announced it, and the last that it said itself."""
    steps = [line for line in facts.log if line.startswith("STEP ") or "] STEP " in line]
    own = [line for line in facts.log if line.strip() and line not in steps and not line.startswith(_PODMANS)]
    errors = [line for line in facts.log if line.startswith("Error: ")]
    last = (own or errors or ["it has written nothing"])[-1].strip()
    return Match(values={"failing": steps[-1].strip() if steps else f"the build of {facts.image}", "words": last})


RULES = (
    Rule(
        reference="recipe-missing",
        blame="user",
        when=both(_PULL, said(r"^INFRA_IMAGES=local$")),
        message="nothing is pulled (INFRA_IMAGES=local), and the catalogue has no recipe for {image}",
        hint="unset INFRA_IMAGES  # or add a recipe to the catalogue: local/<name>.toml",
    ),
    Rule(
        reference="certificate-unknown",
        blame="infrastructure",
        when=by_host(
            r"certificate signed by unknown authority|unable to get local issuer certificate|certificate verify failed"
            r"|self[- ]signed certificate in certificate chain|[Cc]ertificate verification failed"
        ),
        message="TLS is refused: the certificate is signed by an authority that is not trusted there",
        hint="export SSL_CERT_FILE=/path/to/bundle.crt  # with your house's authority in it; then the run again",
    ),
    Rule(
        reference="rate-limited",
        blame="infrastructure",
        when=both(doing("pull", "build"), told(r"toomanyrequests|429 Too Many Requests")),
        message="the registry refuses for now: too many requests (429)",
        hint="podman login {registry}  # and again; or wait; or a recipe in the catalogue's local/, to build it here",
    ),
    Rule(
        reference="image-denied",
        blame="user",
        when=both(
            _PULL,
            told(r"(?<!permission )\bdenied\b|unauthorized|authentication required"),
        ),
        message="the registry does not let you have {image}: it is private, or there is none of that name ({said})",
        hint="podman login {registry} && podman pull {image}  # or mend the name in {component_file}",
    ),
    Rule(
        reference="image-unknown",
        blame="user",
        when=both(_PULL, told(r"(?P<why>manifest unknown|name unknown|manifest for \S+ not found)")),
        message='the registry has no image {image} ("{why}"): it is misspelt, or it was never published',
        hint="${{EDITOR:-vi}} {component_file}  # image; what there is: podman search --list-tags {repository}",
    ),
    Rule(
        reference="registry-broken",
        blame="infrastructure",
        when=both(_PULL, told(r"(?P<status>50[0234] (?:Internal|Bad|Service|Gateway)[\w ]*)")),
        message="the registry, or a proxy before it, answers {image} with an error of its own: {status}",
        hint="podman pull {image}  # when it is well again; or a recipe in the catalogue's local/, to build it here",
    ),
    Rule(
        reference="registry-unreachable",
        blame="infrastructure",
        when=both(
            _PULL,
            told(
                r"no such host|connection refused|i/o timeout|no route to host|network is unreachable|connection reset"
                r"|context deadline exceeded|server misbehaving|name resolution|: EOF|tls:|x509:|403 Forbidden"
            ),
        ),
        message="no registry answers for {image}: {said}",
        hint="podman pull {image}  # shows it; or add a recipe, local/<name>.toml, to the catalogue, to build it here",
    ),
    Rule(
        reference="pull-failed",
        blame="infrastructure",
        when=both(_PULL, always),
        message="{image} could not be pulled: {said}",
        hint="podman pull {image}",
    ),
    Rule(
        reference="base-image-missing",
        blame="user",
        when=both(_BUILD, logged(r"(?:manifest unknown|name unknown|requested access to the resource is denied)")),
        message="a base image could not be had: {line}",
        hint="${{EDITOR:-vi}} {containerfile}  # FROM; bases that the catalogue knows come in as build arguments",
    ),
    Rule(
        reference="short-name",
        blame="user",
        when=either(
            by_host(r"short-name (?:\"?(?P<name>[^\"\s]+)\"? )?(?:did not resolve|resolution enforced)"),
            by_host(r"repository name must be canonical"),
        ),
        message="an image has no registry in its name, so which one is meant depends on the host: {line}",
        hint="${{EDITOR:-vi}} {containerfile}  # docker.io/library/NAME:TAG",
    ),
    Rule(
        reference="build-file-missing",
        blame="user",
        when=both(
            _BUILD,
            logged(
                r"(?:COPY|ADD).*no such file or directory",
                r"copier: stat: \"(?P<path>[^\"]+)\": no such file or directory",
                r"no items matching glob .*\"(?P<path>[^\"]+)\"",
            ),
        ),
        message="the Containerfile copies what the build's context does not have: {line}",
        hint="git -C {workspace} status --short --ignored  # what git does not track is in no build",
    ),
    Rule(
        reference="build-wrong-architecture",
        blame="infrastructure",
        when=both(_BUILD, logged(r"[Ee]xec format error")),
        message="the build runs a program for another architecture than this host's: {line}",
        hint="${{EDITOR:-vi}} {containerfile}  # FROM, or what it downloads; this host: uname -m",
    ),
    Rule(
        reference="build-failed",
        blame="component",
        when=both(_BUILD, _step),
        message="{failing} failed ({said}): {words}",
        hint="less {log}",
    ),
    Rule(
        reference="image-vanished",
        blame="infrastructure",
        when=both(doing("start"), said(r"no such image|image not known|unable to find '[^']*' in local storage")),
        message="its image {image} was there, and is not any more: somebody has removed it while the run went on",
        hint="podman events --stream=false --since 10m --filter type=image  # who prunes here? Then the run again",
    ),
)
