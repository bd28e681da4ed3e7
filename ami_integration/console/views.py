"""The status page, and what it and the header of every page ask for again."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from ami_integration.console.services import glance, status_read

PERMISSION = "ami_integration.view_serverhealth"


@never_cache
@require_GET
def status(request: HttpRequest) -> HttpResponse:
    """How amiweb is; the page asks again every few seconds."""
    _require(request)
    context = {
        **admin.site.each_context(request),
        "title": "Status",
        "status": status_read().as_json(),
    }
    return TemplateResponse(request, "ami_integration/console/status.html", context)


@never_cache
@require_GET
def status_data(request: HttpRequest) -> JsonResponse:
    """The same, for the page that is open."""
    _require(request)
    return JsonResponse(status_read().as_json())


@never_cache
@require_GET
def status_glance(request: HttpRequest) -> JsonResponse:
    """The number of faults, for the header of a page that is open."""
    _require(request)
    return JsonResponse({"faults": len(glance.faults())})


def header(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: how many faults its header shows, looked up only if it does."""
    return {"amiweb_faults": lambda: len(glance.faults())}


def _require(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied("To see how amiweb is, you need the permission to view the health of servers.")
