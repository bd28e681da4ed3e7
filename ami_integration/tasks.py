"""Every Celery task of every room, collected for Celery."""

__all__: list[str] = []
