"""An edit of several servers at once: shown before it is done, and each of them told to the audit."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db import transaction

from ami_integration.access.services import servers_visible, sites_visible, tags_visible
from ami_integration.keys import pk_of
from ami_integration.servers.intake import Change, changes_told, server_form, server_saved
from ami_integration.servers.models import Server, Tag
from ami_integration.zones import validate_zone

#: Servers of one edit.
MOST = 1000
#: The switches, with what people read.
SWITCHES = (("enabled", "Enabled"), ("read_only", "Read-only"), ("maintenance", "Maintenance"))
AS_IT_IS = ("", "as it is")
NO_SITE = "none"
OF_SITE = "site"


class SeveralForm(forms.Form):
    """What to change. Each field begins with changing nothing.

    Args:
        user: sees and gives the tags and sites that they see.
    """

    add_tags: "forms.ModelMultipleChoiceField[Tag]" = forms.ModelMultipleChoiceField(
        None, required=False, label="Give tags", widget=forms.CheckboxSelectMultiple
    )
    remove_tags: "forms.ModelMultipleChoiceField[Tag]" = forms.ModelMultipleChoiceField(
        None, required=False, label="Take tags away", widget=forms.CheckboxSelectMultiple
    )
    site = forms.ChoiceField(required=False)
    zone = forms.ChoiceField(
        required=False,
        label="Time zone",
        choices=[AS_IT_IS, (OF_SITE, "that of its site"), ("named", "this one:")],
    )
    timezone = forms.CharField(
        required=False,
        max_length=64,
        label="Zone by name",
        validators=[validate_zone],
        help_text="For “this one”: for example Europe/Berlin.",
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tags = tags_visible(user=user).order_by("name")
        for name in ("add_tags", "remove_tags"):
            self.fields[name].queryset = tags  # type: ignore[attr-defined]
        sites = [(str(site.pk), site.name) for site in sites_visible(user=user).order_by("name")]
        self.fields["site"].choices = [AS_IT_IS, (NO_SITE, "no site"), *sites]  # type: ignore[attr-defined]
        for name, label in SWITCHES:
            self.fields[name] = forms.ChoiceField(
                required=False, label=label, choices=[AS_IT_IS, ("on", "on"), ("off", "off")]
            )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        both = set(values.get("add_tags", ())) & set(values.get("remove_tags", ()))
        if both:
            names = ", ".join(sorted(str(tag) for tag in both))
            self.add_error("remove_tags", f"Give or take away, not both: {names}.")
        named, zone = values.get("zone") == "named", values.get("timezone")
        if named and not zone and "timezone" not in self.errors:
            self.add_error("timezone", "Write the zone, for example Europe/Berlin.")
        if zone and not named:
            self.add_error("zone", "Choose “this one” for the zone below to count, or empty that field.")
        if not self.errors and not any(values.values()):
            raise forms.ValidationError("Choose something to change.")
        return values


@dataclass(frozen=True)
class Edited:
    """One server of the edit: what changes, or what is wrong."""

    server: Server
    changes: Sequence[Change] = ()
    errors: Sequence[str] = ()


@dataclass
class SeveralOutcome:
    """What an edit does, or would do. With an error in it, nothing."""

    edited: list[Edited] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        return any(one.errors for one in self.edited)

    @property
    def changed(self) -> list[Server]:
        return [one.server for one in self.edited if one.changes]

    @property
    def mark(self) -> str:
        """Stands for exactly this: another one tells that something happened since the preview."""
        told = [
            [one.server.pk, one.server.name, [[c.label, c.before, c.after] for c in one.changes]]
            for one in self.edited
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def several_servers(*, user: User, ids: Iterable[str]) -> list[Server]:
    """The servers with these primary keys that this person sees, by name; at most MOST of them."""
    keys = {pk_of(text) for text in list(ids)[:MOST]}
    found = servers_visible(user=user).filter(pk__in=keys - {None})
    return list(found.select_related("site").prefetch_related("tags").order_by("name"))


def several_edit(
    *, user: User, servers: Sequence[Server], values: dict[str, Any], address: str, mark: str | None
) -> SeveralOutcome:
    """Change several servers, all or none.

    Args:
        user: who does it; whether they may is the caller's to ask.
        values: of a valid SeveralForm.
        address: where the person is.
        mark: of the outcome that they saw. None, or another one than it is now: find out what would happen,
            and keep nothing.
    """
    outcome = SeveralOutcome()
    with transaction.atomic():
        for server in servers:
            form = server_form(user=user, server=server, values=_values(server, values))
            if form.is_valid():
                told = changes_told(form)
                server_saved(form=form, user=user, origin="admin", address=address, way="edit of several")
                outcome.edited.append(Edited(server, changes=told))
            else:
                wrong = [
                    f"{form.fields[name].label or name}: {message}" if name in form.fields else str(message)
                    for name, messages in form.errors.items()
                    for message in messages
                ]
                outcome.edited.append(Edited(server, errors=wrong))
        if outcome.wrong or mark != outcome.mark:
            transaction.set_rollback(True)
    return outcome


def _values(server: Server, asked: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if asked["add_tags"] or asked["remove_tags"]:
        kept = {tag.pk for tag in server.tags.all()} | {tag.pk for tag in asked["add_tags"]}
        values["tags"] = sorted(kept - {tag.pk for tag in asked["remove_tags"]})
    if asked["site"]:
        values["site"] = None if asked["site"] == NO_SITE else int(asked["site"])
    if asked["zone"]:
        values["timezone"] = asked["timezone"] if asked["zone"] == "named" else ""
    values |= {name: asked[name] == "on" for name, _ in SWITCHES if asked[name]}
    return values
