"""Servers that come and change several at a time: from manager.conf, from CSV, by an edit of many.

Each of them goes through the form of a single server, so that one rule holds for all ways in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.utils.datastructures import MultiValueDict

from ami_integration.audit.admin import HIDDEN, form_changes
from ami_integration.audit.services import entry_write
from ami_integration.servers.forms import SECRETS, ServerForm
from ami_integration.servers.models import Server


@dataclass(frozen=True)
class Change:
    """A setting before and after, as people read it; "" before, where there was no server."""

    label: str
    before: str
    after: str


def server_form(
    *, user: Any, server: Server | None = None, values: Mapping[str, Any] | QueryDict
) -> ServerForm:
    """The form of a server, filled in with what is stored, or with what a new one begins with, and `values`.

    Args:
        user: who does it; sees the tags and sites that they see, and chooses sources of secrets if they may.
        server: the stored one; None: a new one.
        values: by the names of the form's fields; tags and site as primary keys, secrets as plain text.

    Raises:
        ValueError: the form has no field of such a name.
    """
    kind = form_of(user)
    unbound = kind(instance=server)
    if unknown := set(values) - set(unbound.fields):
        raise ValueError(f"a server has no {', '.join(sorted(unknown))}")
    data: MultiValueDict[str, Any] = MultiValueDict()
    for name in unbound.fields:
        value = values[name] if name in values else None if name in SECRETS else unbound[name].value()
        data.setlist(
            name, list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
        )
    return kind(data, instance=server)


def form_of(user: Any) -> type[ServerForm]:
    """The form of a server as this person fills it in."""
    return type("ServerFormOfUser", (ServerForm,), {"viewer": user})


def server_saved(*, form: ServerForm, user: Any, origin: str, address: str, way: str) -> Server | None:
    """Save a valid form and tell the audit what it changed. Call it in a transaction.

    Args:
        user: who does it; whether they may is the caller's to ask.
        origin, address: by which way, and from where.
        way: what brought it, as in `manager.conf`; the entry names it.

    Returns:
        the server; None where nothing was changed.
    """
    added = form.instance.pk is None
    changes = form_changes(form, SECRETS.__contains__)
    if not added and not changes:
        return None
    server: Server = form.save()
    entry_write(
        actor=user,
        origin=origin,
        address=address,
        verb="server.add" if added else "server.change",
        what=changes | {"way": way},
        object_type="server",
        object_id=server.pk,
        object_name=str(server),
    )
    return server


def changes_told(form: ServerForm) -> list[Change]:
    """What a valid form changes, before it is saved; secrets by the word that they do."""
    new = form.instance.pk is None
    changes = []
    for name, pair in form_changes(form, SECRETS.__contains__).items():
        before, after = _told(pair["from"]), _told(pair["to"])
        if after == HIDDEN:
            before, after = "", "a new one"
        changes.append(Change(str(form.fields[name].label or name), "" if new else before, after))
    return changes


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
