"""Logins, logouts and failed logins, as Django tells of them, and locked ones, as django-axes does.

Of a failed login the name is kept only if somebody has it: people type their password into the wrong field.
"""

from collections.abc import Mapping
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from ami_integration.audit.bounded import Bounded, told_with
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write, request_address

#: Failed logins of one address: what a program tries is told by its number.
tries = Bounded(burst=10)


def login_end(*, request: HttpRequest, why: str) -> None:
    """Log somebody out who didn't ask for it.

    Args:
        why: a word for the audit, as in `idle`.
    """
    request.amiweb_why = why  # type: ignore[attr-defined]
    logout(request)


def login_over(*, user_id: str, until: str) -> None:
    """Tell that a login reached its limit.

    Args:
        user_id: whose it was, as the session had it.
        until: when that was.
    """
    user = User.objects.filter(pk=user_id).first() if user_id.isdecimal() else None
    entry_write(
        actor=user,
        origin="worker",
        verb="login.end",
        what={"why": "limit", "until": until},
        object_type="user",
        object_id=user_id,
        object_name=user.get_username() if user is not None else "",
    )


@receiver(user_logged_in)
def user_logged_in_note(*, request: HttpRequest, user: User, **_: Any) -> None:
    """Somebody logged in."""
    _note(request, "login.done", user.get_username(), AuditEntry.Outcome.DONE)


@receiver(user_logged_out)
def user_logged_out_note(*, request: HttpRequest, user: User | None, **_: Any) -> None:
    """Somebody logged out, or was logged out; a session without a person is nobody's."""
    if user is not None:
        what = {"why": getattr(request, "amiweb_why", "asked")}
        _note(request, "login.end", user.get_username(), AuditEntry.Outcome.DONE, what)


@receiver(user_login_failed)
def user_login_failed_note(
    *, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """A wrong name or password, or one that was locked out before."""
    _note_try(request, "login.failed", str(credentials.get("username") or ""), AuditEntry.Outcome.REFUSED)


@receiver(user_locked_out)
def user_locked_out_note(*, request: HttpRequest | None, username: str | None, **_: Any) -> None:
    """Too many failed in a row."""
    _note_try(request, "login.locked", username or "", AuditEntry.Outcome.REFUSED)


def _note_try(request: HttpRequest | None, verb: str, name: str, outcome: AuditEntry.Outcome) -> None:
    left = tries.take((verb, request_address(request) if request is not None else ""))
    if left is not None:
        _note(request, verb, name, outcome, told_with(left))


def _note(
    request: HttpRequest | None,
    verb: str,
    name: str,
    outcome: AuditEntry.Outcome,
    what: Mapping[str, Any] | None = None,
) -> None:
    user = User.objects.filter(username=name).first() if name and "\0" not in name else None
    entry_write(
        actor=user,
        origin="admin" if request is not None else "command",
        address=request_address(request) if request is not None else "",
        verb=verb,
        what={**(what or {}), **({} if user is not None else {"name": "nobody has it"})},
        object_type="user",
        object_id=user.pk if user is not None else "",
        object_name=user.get_username() if user is not None else "",
        outcome=outcome,
    )
