"""Look-up of stored events, gaps and snapshots, and the store's size. Nothing can be changed here: they are
what a PBX sent.

The tables are large, so these pages never count their rows, and page through them by the order of the ids.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html

from ami_integration.access.masking import lines_visible
from ami_integration.access.services import rows_watchable, servers_watchable, user_may_watch
from ami_integration.audit.admin import ReadOnlyAdmin
from ami_integration.events import history_views
from ami_integration.events.ids import first_id_at
from ami_integration.events.keeping import NOISE
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.retention import store_holding
from ami_integration.servers.models import server_label

_PAGES = 100
_PER_PAGE = 100


def moment_shown(moment: datetime) -> str:
    """A moment to the second with its zone, and in UTC to the millisecond in its tooltip."""
    local, utc = timezone.localtime(moment), moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        utc.isoformat(),
        f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d}",
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
    )


class UncountedPaginator(Paginator):
    """Offers a bounded number of pages and asks the database only whether they are there."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: self.per_page * _PAGES].count()


class ServerFilter(admin.SimpleListFilter):
    """By server, the servers' names without a query on the events."""

    title = "server"
    parameter_name = "server"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        servers = servers_watchable(user=request.user).order_by("name").values_list("pk", "name", "simulated")
        return [(str(pk), server_label(name, simulated=simulated)) for pk, name, simulated in servers]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(server_id=int(value)) if value and value.isdigit() else queryset


class TimeFilter(admin.SimpleListFilter):
    """By age, on the id, which carries the time."""

    title = "time"
    parameter_name = "time"
    _MINUTES = {"5": "Last 5 minutes", "60": "Last hour", "1440": "Last day"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self._MINUTES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value not in self._MINUTES:
            return queryset
        return queryset.filter(id__gte=first_id_at(timezone.now() - timedelta(minutes=int(value))))


class Uncounted(ChangeList):
    """A list that offers to show all only where something is filtered; Django does always, without counts."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class EventsView(ReadOnlyAdmin):
    """What is the same for all of what comes from servers whose events one may see."""

    paginator = UncountedPaginator
    show_full_result_count = False
    list_per_page = _PER_PAGE
    list_max_show_all = _PER_PAGE

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Uncounted

    @admin.display(description="time")
    def time(self, row: Any) -> str:
        return moment_shown(row.at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return rows_watchable(user=request.user, rows=super().get_queryset(request))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})


@admin.register(Event)
class EventAdmin(EventsView):
    list_display = ("time", "server", "name", "channel", "linkedid")
    list_filter = (ServerFilter, TimeFilter)
    # An inner join: rows of a deleted server are shown nowhere.
    list_select_related = ("server",)
    change_list_template = "ami_integration/events/change_list.html"
    search_fields = ("name__exact", "channel__exact", "linkedid__exact", "uniqueid__exact")
    search_help_text = "A whole event name, channel, linkedid or uniqueid."
    ordering = ("-id",)
    sortable_by = ()
    fields = ("id", "server", "time", "name", "channel", "uniqueid", "linkedid", "all_headers")

    def size(self, request: HttpRequest) -> HttpResponse:
        """What the store takes today, and how long it keeps what."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Size and retention of the events",
            "holding": store_holding(),
            "noise": ", ".join(NOISE),
        }
        return TemplateResponse(request, "ami_integration/events/size.html", context)

    def get_urls(self) -> list[URLPattern]:
        def page(address: str, view: Callable[..., HttpResponseBase], name: str, **given: str) -> URLPattern:
            return path(f"history/{address}", self.admin_site.admin_view(view), given, name=f"event_{name}")

        pages = [
            page("", history_views.history, "history"),
            page("data/", history_views.history_data, "history_data"),
            page("events.csv", history_views.history_export, "history_csv", kind="csv"),
            page("events.json", history_views.history_export, "history_json", kind="json"),
            page("save/", history_views.filter_save, "filter_save"),
            page("forget/", history_views.filter_delete, "filter_delete"),
        ]
        size = path("size/", self.admin_site.admin_view(self.size), name="event_size")
        return [size, *pages, *super().get_urls()]

    @admin.display(description="headers")
    def all_headers(self, event: Event) -> str:
        return format_html("<pre>{}</pre>", lines_visible(event.headers))


@admin.register(Gap)
class GapAdmin(EventsView):
    change_list_template = "ami_integration/events/note_list.html"
    list_display = ("started", "ended", "server", "reason", "lost", "known", "detail")
    list_filter = (ServerFilter, TimeFilter, "reason")
    list_select_related = ("server",)
    ordering = ("-id",)
    sortable_by = ()

    fields = (
        "id",
        "server",
        "reason",
        "detail",
        "started",
        "ended",
        "after_id",
        "before_id",
        "lost",
        "known",
    )

    @admin.display(description="started")
    def started(self, gap: Gap) -> str:
        return moment_shown(gap.started_at)

    @admin.display(description="ended")
    def ended(self, gap: Gap) -> str:
        return "" if gap.ended_at is None else moment_shown(gap.ended_at)

    @admin.display(description="known")
    def known(self, gap: Gap) -> str:
        return gap.get_lost_kind_display()


@admin.register(Snapshot)
class SnapshotAdmin(EventsView):
    """What PBXs said of their state after gaps."""

    change_list_template = "ami_integration/events/note_list.html"
    list_display = ("time", "server", "action", "items_count", "error")
    list_filter = (ServerFilter, TimeFilter)
    list_select_related = ("server",)
    ordering = ("-id",)
    sortable_by = ()
    fields = ("id", "server", "time", "action", "error", "all_items")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of whoever may watch events; a right of its own would only be forgotten."""
        return user_may_watch(user=request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return user_may_watch(user=request.user)

    @admin.display(description="items")
    def items_count(self, snapshot: Snapshot) -> int:
        return len(snapshot.items)

    @admin.display(description="items")
    def all_items(self, snapshot: Snapshot) -> str:
        blocks = (lines_visible(item) for item in snapshot.items)
        return format_html("<pre>{}</pre>", "\n\n".join(blocks))
