"""The status page, and what it and the header of every page ask for again."""

from typing import Any

import redis
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from ami_integration.access.logins import login_left, watching
from ami_integration.audit.services import entry_write, request_address
from ami_integration.console.services import glance, process_forget, status_read

PERMISSION = "ami_integration.view_serverhealth"
FORGET_PERMISSION = "ami_integration.change_serverhealth"


@never_cache
@require_GET
def status(request: HttpRequest) -> HttpResponse:
    """How amiweb is; the page asks again every few seconds."""
    _require(request)
    context = {
        **admin.site.each_context(request),
        "title": "Status",
        "status": status_read().as_json(),
        "may_forget": request.user.has_perm(FORGET_PERMISSION),
    }
    return TemplateResponse(request, "ami_integration/console/status.html", context)


@watching
@never_cache
@require_GET
def status_data(request: HttpRequest) -> JsonResponse:
    """The same, for the page that is open."""
    _require(request)
    return JsonResponse(status_read().as_json())


@watching
@never_cache
@require_GET
def status_glance(request: HttpRequest) -> JsonResponse:
    """The number of faults, for the header of a page that is open."""
    _require(request)
    return JsonResponse({"faults": len(glance.faults())})


@require_POST
def status_forget(request: HttpRequest) -> JsonResponse:
    """Take a silent process off the list: somebody knows that it won't come back."""
    _require(request)
    if not request.user.has_perm(FORGET_PERMISSION):
        raise PermissionDenied(
            "To forget a process, you need the permission to change the health of servers."
        )
    kind, host, pid = (request.POST.get(name, "") for name in ("kind", "host", "pid"))
    try:
        gone = pid.isascii() and pid.isdigit() and process_forget(kind=kind, host=host, pid=int(pid))
    except redis.RedisError:
        gone = False
    if not gone:
        says = "Only a process that is silent can be forgotten, and while Valkey answers. Look again."
        return JsonResponse({"error": says}, status=409)
    entry_write(
        actor=request.user,
        origin="admin",
        address=request_address(request),
        verb="process.forget",
        object_type="process",
        object_name=f"{kind} {host} {pid}",
    )
    return JsonResponse(status_read().as_json())


def header(request: HttpRequest) -> dict[str, Any]:
    """Context of every page, looked up if used: faults for its header, and how long the login lasts."""
    return {
        "amiweb_faults": lambda: len(glance.faults()),
        "amiweb_login": lambda: (
            login_left(request=request) | {"hours": settings.AMIWEB_SESSION_LIMIT // 3600}
        ),
    }


def _require(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied("To see how amiweb is, you need the permission to view the health of servers.")
