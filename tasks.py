"""The invoke tasks of this repository: the namespaces of `infra.tasks`, and nothing else."""

from invoke.collection import Collection

from infra.tasks import dev, images, infra, suite

namespace = Collection(dev.namespace, infra.namespace, images.namespace, suite.namespace)
