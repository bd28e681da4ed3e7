"""The composition root: settings, addresses, the processes and the trial that runs them. No domain code.

The Celery application is loaded with the package, so that `task.delay()` finds its broker in every process,
the web process included.
"""

from amiweb.celery import app as celery_app

__all__ = ["celery_app"]
