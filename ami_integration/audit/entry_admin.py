"""The audit's pages: the list with its search and filters, one entry, and files of what was found.

Whoever may view audit entries sees all of them. A file holds what the list's address asks for; it is written
while it is sent, page after page by number, each a query of its own.
"""

import json
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from channels.db import database_sync_to_async
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from ami_integration.ami.printing import printable
from ami_integration.audit.admin import ABOUT, LIST, ReadOnlyAdmin, about_url
from ami_integration.audit.models import AuditEntry, AuditSeal
from ami_integration.audit.seals import entries_unsealed
from ami_integration.audit.services import LOGIN_USE, export_write
from ami_integration.keys import pk_of
from ami_integration.moments import MomentFilter
from ami_integration.spreadsheets import csv_lines

#: Entries of one query of an export.
PARTICULARS = "ami_integration/audit/particulars.html"
PAGE = 500
_COLUMNS = (
    *("Entry", "Time (UTC)", "Person", "Origin", "Address", "Verb", "Outcome"),
    *("Object type", "Object id", "Object", "Particulars", "Seal"),
)


class AboutFilter(admin.SimpleListFilter):
    """Everything about one object, which an address names; nothing is offered where none does."""

    title = "everything about"
    parameter_name = ABOUT

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = request.GET.get(ABOUT, "")
        kind, number = self._named(value)
        if not value:
            return []
        known = AuditEntry.objects.filter(object_type=kind, object_id=number).order_by("-pk")
        name = known.values_list("object_name", flat=True).first()
        return [(value, f"{kind} {name or number}")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        value = self.value()
        if not value:
            return queryset
        kind, number = self._named(value)
        itself = Q(object_type=kind, object_id=number)
        if kind == "server":
            return queryset.filter(server_id=number)
        return queryset.filter(itself | Q(actor_id=number) if kind == "user" else itself)

    def _named(self, value: str) -> tuple[str, str]:
        kind, _, number = value.partition(":")
        if kind in ("server", "user") and not pk_of(number):
            raise IncorrectLookupParameters(f"{value} names no {kind}.")
        return kind, number


class UsesFilter(admin.SimpleListFilter):
    """Uses of secrets: one for each login at a PBX, so many that the rest would drown among them.

    A list leaves them out until it is asked for them.
    """

    title = "uses of secrets"
    parameter_name = "uses"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("with", "With them"), ("only", "Only them")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Without them"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        match self.value():
            case "with":
                return queryset
            case "only":
                return queryset.filter(verb=LOGIN_USE)
        if request.GET.get("verb") == LOGIN_USE:
            return queryset
        return queryset.exclude(verb=LOGIN_USE)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Nobody writes here by hand."""

    change_list_template = "ami_integration/audit/entry_list.html"
    change_form_template = "ami_integration/audit/entry.html"
    list_display = ("moment", "who", "verb", "object_name", "outcome", "origin", "address")
    list_filter = (
        AboutFilter,
        ("at", MomentFilter),
        UsesFilter,
        "outcome",
        "origin",
        ("verb", admin.AllValuesFieldListFilter),
        ("actor_name", admin.AllValuesFieldListFilter),
    )
    search_fields = ("actor_name", "verb", "object_name", "address__startswith", "object_id__exact")
    search_help_text = "Person, verb, object or its number, or the beginning of an IP address"
    list_per_page = 50
    show_full_result_count = False
    fields = (
        *("moment", "who", "origin", "address", "verb", "outcome", "particulars"),
        *("object_type", "object_id", "object_name", "sealed", "more"),
    )
    readonly_fields = ("moment", "who", "particulars", "sealed", "more")

    def get_urls(self) -> list[URLPattern]:
        files = [
            path(
                f"export.{kind}",
                self.admin_site.admin_view(self.export_view),
                {"kind": kind},
                name=f"ami_integration_auditentry_export_{kind}",
            )
            for kind in ("csv", "json")
        ]
        return [*files, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "title": "Audit",
            "query": request.GET.urlencode(),
            "last_seal": AuditSeal.objects.defer("hashes").first(),
            "unsealed": entries_unsealed().count(),
            "without_uses": "uses" not in request.GET and request.GET.get("verb") != LOGIN_USE,
            "with_uses": urlencode({**request.GET.dict(), "uses": "with"}),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """All entries that the list's address asks for, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            entries = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            says = "The address asks for something that the audit doesn't know. Start from its list.\n"
            return HttpResponse(says, status=400, content_type="text/plain; charset=utf-8")
        export_write(
            request=request,
            verb="audit.export",
            what={"kind": kind, "query": request.GET.urlencode()[:500]},
            object_type="audit",
        )
        if kind == "csv":
            parts, content_type = csv_lines(_table(entries)), "text/csv; charset=utf-8"
        else:
            parts, content_type = _json(entries), "application/json"
        response = StreamingHttpResponse(streamed(parts), content_type=content_type)
        response["Content-Disposition"] = f'attachment; filename="audit.{kind}"'
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="time", ordering="at")
    def moment(self, entry: AuditEntry) -> str:
        return f"{timezone.localtime(entry.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="person", ordering="actor_name")
    def who(self, entry: AuditEntry) -> str:
        return entry.actor_name or "nobody (amiweb)"

    @admin.display(description="what")
    def particulars(self, entry: AuditEntry) -> SafeString:
        changes, others = [], {}
        for name, one in entry.what.items():
            if isinstance(one, dict) and one.keys() == {"from", "to"}:
                changes.append((printable(name), _shown(one["from"]), _shown(one["to"])))
            else:
                others[name] = one
        # A name may hold what turns or hides the rest of its line.
        lines = map(printable, json.dumps(others, ensure_ascii=False, indent=2).split("\n"))
        text = "\n".join(lines) if others or not changes else ""
        return render_to_string(PARTICULARS, {"changes": changes, "others": text})

    @admin.display(description="sealed")
    def sealed(self, entry: AuditEntry) -> str:
        return "not yet" if entry.seal_id is None else f"by seal {entry.seal_id}"

    @admin.display(description="more")
    def more(self, entry: AuditEntry) -> SafeString:
        """Ways on: to all that is about the same object, and to all that the same person did."""
        links = []
        if entry.object_type and entry.object_id:
            name = entry.object_name or entry.object_type
            links.append((about_url(entry.object_type, entry.object_id), f"Everything about {name}"))
        if entry.server_id is not None and entry.object_type != "server":
            links.append((about_url("server", entry.server_id), f"Everything about server {entry.server_id}"))
        if entry.actor_id is not None:
            links.append((about_url("user", entry.actor_id), f"Everything by and about {entry.actor_name}"))
        if entry.actor_name:  # kept when the person is gone, and borne by whoever has it next
            query = urlencode({"actor_name": entry.actor_name, "uses": "with"})
            links.append((f"{reverse(LIST)}?{query}", f"All by the name {entry.actor_name}"))
        rows = format_html_join(mark_safe("<br>"), '<a href="{}">{}</a>', links)  # noqa: S308
        return rows or mark_safe("-")  # noqa: S308


def _all(entries: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    """The entries from the newest to the oldest, by pages: parts of a file are made in several threads."""
    entries = entries.order_by("-pk")
    page = list(entries[:PAGE])
    while page:
        yield from page
        page = list(entries.filter(pk__lt=page[-1].pk)[:PAGE])


def _table(entries: QuerySet[AuditEntry]) -> Iterator[tuple[str, ...]]:
    yield _COLUMNS
    for entry in _all(entries):
        yield tuple(str("" if value is None else value) for value in _row(entry).values())


def _json(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    before = "[\n"
    for entry in _all(entries):
        yield before + json.dumps({**_row(entry), "what": entry.what}, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": str(entry.pk),
        "at": entry.at.isoformat(),
        "person": entry.actor_name,
        "origin": entry.origin,
        "address": entry.address,
        "verb": entry.verb,
        "outcome": entry.outcome,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "object": entry.object_name,
        "what": json.dumps(entry.what, ensure_ascii=False),
        "seal": None if entry.seal_id is None else str(entry.seal_id),
    }


async def streamed(parts: Iterator[str]) -> AsyncIterator[str]:
    take = database_sync_to_async(lambda: "".join(islice(parts, PAGE)), thread_sensitive=False)
    while text := await take():
        yield text


def _shown(value: Any) -> str:
    """A value as it is read: texts as they are, everything else as JSON."""
    if value in ("", None, []):
        return "–"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
