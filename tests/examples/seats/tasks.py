from infra.tasks import namespace

__all__ = ["namespace"]
