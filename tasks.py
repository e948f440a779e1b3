"""The invoke tasks of this repository: those of `infra.tasks`, as in a repository that adopts it."""

from infra.tasks import namespace

__all__ = ["namespace"]
