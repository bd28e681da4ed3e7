"""The catalogue in the admin: actions and events to search and to read, and which server has which catalogue.

Whoever may run actions may read what they are, of the servers that he may see. To have a server read takes
the permission to change it, as the connection test does: amiweb logs in with a stored secret.
"""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from ami_integration.access.danger import DANGER_MEANS, Danger, danger_of, request_assess
from ami_integration.access.services import servers_visible, user_may_run
from ami_integration.actions.catalogue import services
from ami_integration.actions.catalogue.models import (
    Catalogue,
    CatalogueAction,
    CatalogueEvent,
    ServerCatalogue,
)
from ami_integration.actions.catalogue.overview import action_overview, catalogues_compare, event_overview
from ami_integration.audit.admin import ReadOnlyAdmin
from ami_integration.keys import pk_of, pks_of
from ami_integration.servers.admin import ServerAdmin
from ami_integration.servers.models import Server

#: Servers whose state of reading the page of catalogues lists.
LISTED = 200


class CatalogueView(ReadOnlyAdmin):
    """Pages to read only: what is in the catalogue was said by PBXs."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or user_may_run(user=request.user)

    def servers(self, request: HttpRequest) -> QuerySet[Server]:
        """The servers of which this person is told; one of them if the address names it."""
        servers: QuerySet[Server] = servers_visible(user=request.user)
        chosen = request.GET.get("server", "")
        return servers.filter(pk=pk) if (pk := pk_of(chosen)) else servers

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        common = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "all_servers": servers_visible(user=request.user).order_by("name"),
            "chosen_server": request.GET.get("server", ""),
            "query": request.GET.get("q", "")[:100],
            "may_run": user_may_run(user=request.user),
            "any_read": ServerCatalogue.objects.filter(
                server__in=self.servers(request), catalogue__isnull=False
            ).exists(),
        }
        template = f"ami_integration/actions/catalogue/{template}.html"
        return TemplateResponse(request, template, common | context)


@admin.register(CatalogueAction)
class CatalogueActionAdmin(CatalogueView):
    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.list_view), name="ami_integration_catalogueaction_changelist"),
            path("<str:name>/", wrap(self.entry_view), name="ami_integration_catalogueaction_entry"),
        ]

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """All actions that fit the search, on one page: there are a hundred and some."""
        found = services.actions_search(
            query=request.GET.get("q", "")[:100], servers=self.servers(request), limit=None
        )
        danger = request.GET.get("danger", "")
        rows = [(action, Danger(danger_of(action.name, (), action.privileges))) for action in found]
        if danger in Danger.values:
            rows = [row for row in rows if row[1] == danger]
        return self.page(
            request,
            "actions",
            "Actions",
            rows=rows,
            dangers=Danger,
            chosen_danger=danger,
            filtered=any(request.GET.get(name) for name in ("q", "server", "danger")),
        )

    def entry_view(self, request: HttpRequest, name: str) -> HttpResponse:
        overview = action_overview(name=name, servers=self.servers(request))
        if overview is None:
            raise Http404(f"No server that you may see has an action {name}.")
        assessment = request_assess(overview.description.name, (), overview.description.privileges_text)
        return self.page(
            request,
            "action",
            overview.description.name,
            overview=overview,
            action=overview.description,
            assessment=assessment,
            danger=Danger(assessment.danger),
            means=DANGER_MEANS[assessment.danger],
            see_also=_links_of(overview.description.see_also),
        )


@admin.register(CatalogueEvent)
class CatalogueEventAdmin(CatalogueView):
    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.list_view), name="ami_integration_catalogueevent_changelist"),
            path("<str:name>/", wrap(self.entry_view), name="ami_integration_catalogueevent_entry"),
        ]

    def list_view(self, request: HttpRequest) -> HttpResponse:
        words = request.GET.get("q", "")[:100].lower().split()
        catalogues = ServerCatalogue.objects.filter(server__in=self.servers(request)).values("catalogue")
        rows = CatalogueEvent.objects.filter(catalogue__in=catalogues)
        for word in words:
            rows = rows.filter(search__contains=word)
        found: dict[str, str] = {}
        for name, synopsis in rows.order_by("-catalogue_id").values_list("name", "synopsis"):
            found[name] = found.get(name) or synopsis
        return self.page(
            request,
            "events",
            "Events",
            rows=sorted(found.items(), key=lambda each: each[0].lower()),
            filtered=bool(words or request.GET.get("server")),
        )

    def entry_view(self, request: HttpRequest, name: str) -> HttpResponse:
        overview = event_overview(name=name, servers=self.servers(request))
        if overview is None:
            raise Http404(f"No server that you may see describes an event {name}.")
        event = overview.description
        return self.page(
            request,
            "event",
            event.name,
            overview=overview,
            events=[event, *event.others],
            see_also=_links_of(event.see_also),
        )


@admin.register(Catalogue)
class CatalogueAdmin(CatalogueView):
    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.list_view), name="ami_integration_catalogue_changelist"),
            path("read/", wrap(require_POST(self.read_view)), name="ami_integration_catalogue_read"),
            path("compare/", wrap(self.compare_view), name="ami_integration_catalogue_compare"),
        ]

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """Which catalogues there are, and what came of reading each server."""
        servers = self.servers(request)
        return self.page(
            request,
            "catalogues",
            "Catalogues",
            catalogues=_catalogues_of(servers),
            servers=servers.select_related("catalogue__catalogue", "abilities", "health").order_by("name")[
                :LISTED
            ],
            listed=LISTED,
            may_read=request.user.has_perm("ami_integration.change_server"),
        )

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """What differs between two catalogues."""
        known = {str(catalogue.pk): catalogue for catalogue in _catalogues_of(self.servers(request))}
        old, new = known.get(request.GET.get("old", "")), known.get(request.GET.get("new", ""))
        if old is None or new is None:
            raise Http404("One of these catalogues is gone, or no server that you may see has it.")
        comparison = catalogues_compare(old=old, new=new)
        return self.page(
            request, "compare", "Compare catalogues", comparison=comparison, catalogues=known.values()
        )

    def read_view(self, request: HttpRequest) -> HttpResponse:
        """The button."""
        if not request.user.has_perm("ami_integration.change_server"):
            raise PermissionDenied
        ids = pks_of(request.POST.getlist("server"))
        have_read(request, servers_visible(user=request.user).filter(pk__in=ids))
        back = request.POST.get("next", "")
        if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
            back = reverse("admin:ami_integration_catalogue_changelist")
        return HttpResponseRedirect(back)


def _catalogues_of(servers: QuerySet[Server]) -> list[Any]:
    """The catalogues of these servers, the newest first, with their counts."""
    links = ServerCatalogue.objects.filter(server__in=servers, catalogue=OuterRef("pk"))
    count = links.order_by().values("catalogue").annotate(count=Count("pk")).values("count")
    found = (
        Catalogue.objects.filter(Exists(links))
        .annotate(actions_count=Count("catalogueactions", distinct=True))
        .annotate(events_count=Count("catalogueevents", distinct=True))
        .annotate(servers_count=Subquery(count))
    )
    return sorted(found, key=lambda each: each.age_key, reverse=True)


def _links_of(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names of a See Also, each with its page in the catalogue if there is one."""
    actions = set(CatalogueAction.objects.filter(name__in=names).values_list("name", flat=True))
    events = set(CatalogueEvent.objects.filter(name__in=names).values_list("name", flat=True))
    found = []
    for name in names:
        kind = "action" if name in actions else "event" if name in events else ""
        link = reverse(f"admin:ami_integration_catalogue{kind}_entry", args=[name]) if kind else ""
        found.append((name, link))
    return found


def have_read(request: HttpRequest, servers: QuerySet[Server]) -> None:
    """Have the workers read these servers, and say so."""
    asked = list(servers.filter(enabled=True, maintenance=False).values_list("pk", flat=True))
    left_out = servers.count() - len(asked)
    rung = services.catalogues_ring(server_ids=asked)
    if rung:
        what = "1 server" if len(rung) == 1 else f"{len(rung)} servers"
        messages.success(request, f"The catalogue of {what} is being read; it takes a moment.")
    if len(rung) < len(asked):
        messages.error(
            request,
            "The task queue can't be reached, so nothing could be read. It is tried by itself once the queue "
            "is back and the server is online.",
        )
    if left_out:
        messages.warning(
            request, "Servers that are disabled or in maintenance aren't read. Take the switch back first."
        )


@admin.action(description="Read catalogue", permissions=["change"])
def read_catalogue(modeladmin: ServerAdmin, request: HttpRequest, servers: QuerySet[Server]) -> None:
    """The bulk action of the list of servers."""
    have_read(request, servers)


# The room of servers knows nothing of ours, so we bring our action along.
ServerAdmin.actions = [*(ServerAdmin.actions or ()), read_catalogue]
