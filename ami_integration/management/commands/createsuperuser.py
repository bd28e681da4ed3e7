"""Django's command, audited: whoever may do everything shall not appear from nowhere."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User
from django.db import transaction

from ami_integration.audit.passwords import system_user
from ami_integration.audit.services import entry_write


class Command(createsuperuser.Command):
    """Adds a superuser, and tells the audit which."""

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            before = set(User.objects.values_list("pk", flat=True))
            super().handle(*args, **options)
            for user in User.objects.exclude(pk__in=before):
                entry_write(
                    actor=None,
                    actor_name=system_user(),
                    origin="command",
                    verb="user.add",
                    what={"way": "createsuperuser"},
                    object_type="user",
                    object_id=user.pk,
                    object_name=user.get_username(),
                )
