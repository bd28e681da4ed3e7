"""Who may do what: Django's model permissions, asked in one place for every way in.

A rule per server, tag and action belongs here too, once there is one.
"""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

AnyUser = User | AnonymousUser | None


def user_may_run(*, user: AnyUser) -> bool:
    """Whether this person may run actions (None: nobody, who may not)."""
    return user is not None and user.is_active and user.has_perm("ami_integration.add_actionrun")


def user_may_view_runs(*, user: AnyUser) -> bool:
    """Whether this person may see the action log and the results in it."""
    return _staff_with(user, "ami_integration.view_actionrun")


def user_may_view_secrets(*, user: AnyUser) -> bool:
    """Whether this person may see in clear what is masked in the results that they may see."""
    return _staff_with(user, "ami_integration.view_result_secrets")


def user_may_watch(*, user: AnyUser) -> bool:
    """Whether this person may watch events."""
    return _staff_with(user, "ami_integration.view_event")


def _staff_with(user: AnyUser, permission: str) -> bool:
    return user is not None and user.is_active and user.is_staff and user.has_perm(permission)


def session_user(*, session_key: str | None) -> User | AnonymousUser:
    """Who a session belongs to now, asked of the database each time.

    For sockets that stay open: a session ends, a password changes, rights are withdrawn.
    """
    request = HttpRequest()
    # A new object each time: a session remembers what it has read.
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return get_user(request)
