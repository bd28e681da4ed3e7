"""Tells the audit of each changed password: by its person, an administrator, or a command."""

import getpass
from typing import Any

from django.contrib.auth.models import User

from ami_integration.audit.middleware import request_now
from ami_integration.audit.services import entry_write, request_address


class PasswordChangesNoted:
    """One of AUTH_PASSWORD_VALIDATORS, since Django tells these of each change. It refuses nothing.

    Django calls it behind the saving, in the same transaction where there is one.
    """

    def validate(self, password: str, user: Any = None) -> None:
        """Any password will do here; the others judge."""

    def get_help_text(self) -> str:
        return "Each change of a password stands in the audit."

    def password_changed(self, password: str, user: Any = None) -> None:
        """Somebody has another password now."""
        if not isinstance(user, User) or user.pk is None:
            return
        request = request_now()
        actor = getattr(request, "user", None)
        entry_write(
            actor=actor if isinstance(actor, User) else None,
            actor_name="" if request is not None else system_user(),
            origin="command" if request is None else "admin",
            address="" if request is None else request_address(request),
            verb="user.password",
            what={"own": isinstance(actor, User) and actor.pk == user.pk},
            object_type="user",
            object_id=user.pk,
            object_name=user.get_username(),
        )


def system_user() -> str:
    """Who works at the command line, as the operating system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return ""
