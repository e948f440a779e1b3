"""The invoke tasks of this repository: the namespaces of `infra.tasks`, and nothing else."""

from invoke.collection import Collection

from infra.tasks import ci, images, infra, suite

namespace = Collection(infra.namespace, images.namespace, suite.namespace, ci.namespace)
