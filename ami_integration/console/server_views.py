"""The page of one server, and the part of it that an open page fetches again."""

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from ami_integration.access.logins import watching
from ami_integration.access.services import servers_visible
from ami_integration.console.server_page import ServerPage, server_page
from ami_integration.servers.admin import ServerAdmin


@never_cache
@require_GET
def page(request: HttpRequest, server_id: int) -> HttpResponse:
    """A server as it is now, to whoever may see it."""
    found = _page(request, server_id)
    context = {**admin.site.each_context(request), "title": str(found.server), "page": found}
    return TemplateResponse(request, "ami_integration/console/server.html", context)


@watching
@never_cache
@require_GET
def part(request: HttpRequest, server_id: int) -> HttpResponse:
    """What of it changes by itself, for the page that is open."""
    context = {"page": _page(request, server_id)}
    return TemplateResponse(request, "ami_integration/console/server_part.html", context)


def _page(request: HttpRequest, server_id: int) -> ServerPage:
    servers = servers_visible(user=request.user).select_related("health", "abilities", "site")
    server = servers.prefetch_related("tags").filter(pk=server_id).first()
    if server is None:
        raise Http404("There is no such server, or no access rule lets you see it.")
    return server_page(user=request.user, server=server)


ServerAdmin.pages = [
    *ServerAdmin.pages,
    path("<int:server_id>/", admin.site.admin_view(page), name="ami_integration_server_page"),
    path("<int:server_id>/part/", admin.site.admin_view(part), name="ami_integration_server_part"),
]
