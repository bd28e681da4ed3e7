"""The page that edits several servers: what to change, what that would do, and doing it."""

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from ami_integration.access.services import user_may_keep_servers
from ami_integration.audit.services import request_address
from ami_integration.servers.admin import ServerAdmin
from ami_integration.servers.several import MOST, SeveralForm, several_edit, several_servers


@never_cache
@require_http_methods(["GET", "POST"])
def several(request: HttpRequest) -> HttpResponse:
    """One address for all three steps; what was chosen travels from each to the next."""
    user = request.user
    if not isinstance(user, User) or not user_may_keep_servers(user=user, what="change"):
        raise PermissionDenied
    posted = request.method == "POST"
    ids = (request.POST if posted else request.GET).get("servers", "").split(",")
    servers = several_servers(user=user, ids=ids)
    listed = reverse("admin:ami_integration_server_changelist")
    if not servers:
        messages.warning(request, "Tick the servers in this list, and choose “Edit several” below them.")
        return HttpResponseRedirect(listed)
    if len(ids) > MOST:
        messages.warning(request, f"These are the first {MOST:,}: one edit takes no more.")
    form = SeveralForm(request.POST if posted else None, user=user)
    outcome = None
    if posted and "back" not in request.POST and form.is_valid():
        seen = request.POST.get("mark") or None
        outcome = several_edit(
            user=user,
            servers=servers,
            values=form.cleaned_data,
            address=request_address(request),
            mark=seen,
        )
        if seen == outcome.mark and not outcome.wrong:
            names = [server.name for server in outcome.changed]
            more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
            messages.success(request, f"Changed {', '.join(names[:20]) or 'nothing'}{more}.")
            return HttpResponseRedirect(listed)
        if seen and not outcome.wrong:
            messages.warning(request, "Somebody changed these servers meanwhile. Look again before you save.")
    chosen = [(name, value) for name in form.fields for value in request.POST.getlist(name) if value]
    context = {
        **admin.site.each_context(request),
        "title": f"Edit {len(servers):,} servers" if len(servers) > 1 else f"Edit {servers[0].name}",
        "servers": servers,
        "ids": ",".join(str(server.pk) for server in servers),
        "form": form,
        "outcome": outcome,
        "chosen": chosen,
    }
    return TemplateResponse(request, "ami_integration/servers/several.html", context)


ServerAdmin.pages = [
    *ServerAdmin.pages,
    path("several/", admin.site.admin_view(several), name="ami_integration_server_several"),
]
