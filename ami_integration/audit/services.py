"""Writing the audit. The caller sees to it that this happens in the transaction of what it tells of."""

import functools
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, ParamSpec

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest

from ami_integration.audit.models import AuditEntry

#: The verb of each login at a PBX with a server's secrets; there are very many of them.
LOGIN_USE = "secret.use"

_P = ParamSpec("_P")
_refusal_told: ContextVar[bool] = ContextVar("refusal_told", default=False)


def export_write(
    *,
    request: HttpRequest,
    verb: str,
    what: Mapping[str, Any],
    object_type: str = "",
    object_id: object = "",
    object_name: str = "",
    server_id: int | None = None,
) -> None:
    """Tell that somebody takes data away as a file. Written before the first byte leaves.

    Args:
        verb: as in `run.export`.
        what: the kind of file, and what was asked for.
    """
    entry_write(
        actor=request.user,
        origin="admin",
        address=request_address(request),
        verb=verb,
        what=what,
        object_type=object_type,
        object_id=object_id,
        object_name=object_name,
        server_id=server_id,
    )


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
    server_id: int | None = None,
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
        server_id: the server that it is about, where that isn't its object.
        outcome: an `AuditEntry.Outcome`.
    """
    if object_type == "server" and server_id is None and str(object_id).isdecimal():
        server_id = int(str(object_id))
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
        server_id=server_id,
        outcome=outcome,
    )


def written(make: Callable[_P, AuditEntry]) -> Callable[_P, AuditEntry]:
    """`make`, which returns an entry, so that it saves that, too. The arguments are the same."""

    @functools.wraps(make)
    def write(*args: _P.args, **kwargs: _P.kwargs) -> AuditEntry:
        entry = make(*args, **kwargs)
        entry.save(force_insert=True)
        if entry.outcome == AuditEntry.Outcome.REFUSED:
            _refusal_told.set(True)
        return entry

    return write


#: Add one entry; arguments as of `entry_make`.
entry_write = written(entry_make)


def refusal_watch() -> None:
    """From here on, `refusal_told` says whether an entry of a refusal was written in this request."""
    _refusal_told.set(False)


def refusal_told() -> bool:
    """Whether somebody who knew more has told of what was refused in this request."""
    return _refusal_told.get()


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
