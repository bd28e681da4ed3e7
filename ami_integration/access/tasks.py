"""What becomes of logins that have ended, as Celery calls it."""

from importlib import import_module

from celery import shared_task
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import transaction
from django.utils import timezone

from ami_integration.audit.logins import login_over


@shared_task(name="access.sessions_clear")
def sessions_clear() -> None:
    """Remove the sessions that have expired, and tell of those that were logins. A second call is harmless.

    Nobody's access depends on it: whoever reads a session looks at its expiry.
    """
    store = import_module(settings.SESSION_ENGINE).SessionStore
    sessions = store.get_model_class().objects.filter(expire_date__lt=timezone.now())
    for session in sessions.iterator(chunk_size=500):
        with transaction.atomic():
            removed, _ = sessions.filter(pk=session.pk).delete()
            user_id = session.get_decoded().get(SESSION_KEY)
            if removed and user_id is not None:
                login_over(user_id=str(user_id), until=session.expire_date.isoformat())
