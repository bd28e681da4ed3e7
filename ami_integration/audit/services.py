"""Writing the audit. The caller sees to it that this happens in the transaction of what it tells of."""

import functools
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from ami_integration.audit.models import AuditEntry

_P = ParamSpec("_P")


def entries_write(entries: Iterable[AuditEntry]) -> None:
    """Add several, made by `entry_make`, by one statement."""
    AuditEntry.objects.bulk_create(entries)


def entry_make(
    *,
    actor: User | AnonymousUser | None,
    actor_name: str = "",
    origin: str,
    address: str | None = "",
    verb: str,
    what: Mapping[str, Any] | None = None,
    object_type: str = "",
    object_id: object = "",
    object_name: str = "",
    outcome: str = AuditEntry.Outcome.DONE,
) -> AuditEntry:
    """One entry that is not written yet.

    Args:
        actor: who did it; None: amiweb itself, or somebody at the command line.
        actor_name: kept when the person is gone; the actor's user name by default.
        origin: by which way: admin, api, schedule, command, worker.
        address: the person's IP address, if there is one.
        verb: what was done, as in `run.submit`.
        what: particulars ready for JSON, every secret in them masked by the caller.
        object_type, object_id, object_name: what it was done to; the name is kept when the object is gone.
        outcome: an `AuditEntry.Outcome`.
    """
    person = actor if isinstance(actor, User) and actor.pk is not None else None
    return AuditEntry(
        actor=person,
        actor_name=_short(actor_name or (person.get_username() if person else ""), 150),
        origin=origin,
        address=_address(address),
        verb=verb,
        what=dict(what or {}),
        object_type=object_type,
        object_id=str(object_id),
        object_name=_short(object_name, 200),
        outcome=outcome,
    )


def written(make: Callable[_P, AuditEntry]) -> Callable[_P, AuditEntry]:
    """`make`, which returns an entry, so that it saves that, too. The arguments are the same."""

    @functools.wraps(make)
    def write(*args: _P.args, **kwargs: _P.kwargs) -> AuditEntry:
        entry = make(*args, **kwargs)
        entry.save(force_insert=True)
        return entry

    return write


#: Add one entry; arguments as of `entry_make`.
entry_write = written(entry_make)


def request_address(request: HttpRequest) -> str:
    """The address that a request came from: of the last machine that speaks to amiweb, which may be a proxy.

    What a browser claims in X-Forwarded-For is not believed. Where a server in front may be believed,
    uvicorn's --forwarded-allow-ips puts the person's own address where this looks.
    """
    return _address(request.META.get("REMOTE_ADDR")) or ""


def _address(text: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address((text or "").strip().partition("%")[0]))
    except ValueError:
        return None  # a unix socket has none


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
