"""The invoke namespaces: thin. A task reads the words, calls, prints, and leaves with the outcome's exit code.

`from infra.tasks import namespace` is all that a repository's tasks.py has to say.
"""

from invoke.collection import Collection

from infra.tasks import images, infra, suite

namespace = Collection(infra.namespace, images.namespace, suite.namespace)
