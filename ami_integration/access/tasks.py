"""What becomes of logins that have ended, as Celery calls it."""

from importlib import import_module

from celery import shared_task
from django.conf import settings


@shared_task(name="access.sessions_clear")
def sessions_clear() -> None:
    """Remove the sessions that have expired. Called once a day; a second call is harmless.

    Nothing depends on it: whoever reads a session looks at its expiry. But every login leaves a row.
    """
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
