"""The pages that take servers from CSV, and the file that has them."""

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from ami_integration.access.services import user_may_keep_servers
from ami_integration.audit.entry_admin import streamed
from ami_integration.audit.services import export_write, request_address
from ami_integration.servers.admin import ServerAdmin
from ami_integration.servers.carried import CarriedLost, brought_back, carried
from ami_integration.servers.forms import SECRETS
from ami_integration.servers.models import Server
from ami_integration.servers.pasted import PastedOrChosen
from ami_integration.servers.table import COLUMNS, EMPTIABLE, Outcome, has_secrets, table_apply, table_rows
from ami_integration.spreadsheets import csv_lines

KIND = "servers.csv"
LIST = "admin:ami_integration_server_changelist"


class TableForm(PastedOrChosen):
    """A file with servers, and what to do with those that exist."""

    existing = forms.ChoiceField(
        label="Servers that exist already",
        choices=[("update", "Change them to what the file says"), ("leave", "Leave them as they are")],
    )


@never_cache
@require_http_methods(["GET", "POST"])
def import_csv(request: HttpRequest) -> HttpResponse:
    """Take a file, show what it would do, and do it when it comes back."""
    user = _person(request)
    if request.method == "POST" and "carried" in request.POST:
        return _apply(request, user)
    form = TableForm(request.POST or None, request.FILES or None)
    outcome = None
    if request.method == "POST" and form.is_valid():
        text, update = form.cleaned_data["text"], form.cleaned_data["existing"] == "update"
        outcome = table_apply(
            user=user, text=text, update=update, address=request_address(request), save=False
        )
        if outcome.does_something:
            sent = carried({"text": text, "update": update}, kind=KIND, user=user)
            return _page(request, outcome=outcome, sent=sent)
        # What they pasted stays with them, unless a page would show secrets.
        kept = "" if has_secrets(text) or request.FILES else text
        form = TableForm(initial={"text": kept, "existing": form.cleaned_data["existing"]})
    elif request.method == "POST" and has_secrets(str(form.data.get("text", ""))):
        posted = request.POST.copy()
        posted["text"] = ""
        form.data = posted
    return _page(request, form=form, outcome=outcome)


def _apply(request: HttpRequest, user: User) -> HttpResponse:
    try:
        data = brought_back(request.POST["carried"], kind=KIND, user=user)
    except CarriedLost as lost:
        messages.error(request, str(lost))
        return HttpResponseRedirect(reverse("admin:ami_integration_server_import_csv"))
    outcome = table_apply(
        user=user,
        text=data["text"],
        update=data["update"],
        address=request_address(request),
        save=True,
    )
    if outcome.problems:
        return _page(request, form=TableForm(), outcome=outcome)
    added, changed = ([row.name for row in outcome.rows if row.verb == verb] for verb in ("add", "change"))
    for verb, names in (("Added", added), ("Changed", changed)):
        if names:
            more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
            messages.success(request, f"{verb} {', '.join(names[:20])}{more}.")
    if not added and not changed:
        messages.info(request, "Nothing to do: all servers of the file are as it says.")
    return HttpResponseRedirect(reverse(LIST))


def _person(request: HttpRequest) -> User:
    user = request.user
    if not isinstance(user, User) or not any(
        user_may_keep_servers(user=user, what=what) for what in ("add", "change")
    ):
        raise PermissionDenied
    return user


def _page(
    request: HttpRequest, *, form: TableForm | None = None, outcome: Outcome | None = None, sent: str = ""
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Import servers from CSV",
        "form": form,
        "outcome": outcome,
        "carried": sent,
        "columns": COLUMNS,
        "secrets": SECRETS,
        "emptiable": [name for name in COLUMNS if name in EMPTIABLE],
    }
    return TemplateResponse(request, "ami_integration/servers/import_csv.html", context)


@never_cache
@require_GET
def export_csv(request: HttpRequest) -> HttpResponseBase:
    """All servers that the list's address asks for, without secrets."""
    pages = admin.site.get_model_admin(Server)
    if not pages.has_view_permission(request):
        raise PermissionDenied
    # The list's own filters, search and bounds: who sees a server there has it here.
    try:
        servers = pages.get_changelist_instance(request).get_queryset(request).prefetch_related("tags")
    except IncorrectLookupParameters:
        says = "The address asks for something that the list of servers doesn't know. Start from the list.\n"
        return HttpResponse(says, status=400, content_type="text/plain; charset=utf-8")
    export_write(
        request=request,
        verb="server.export",
        what={"kind": "csv", "query": request.GET.urlencode()[:500]},
        object_type="server",
    )
    parts = csv_lines(table_rows(servers.iterator(chunk_size=500)))
    response = StreamingHttpResponse(streamed(parts), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="servers.csv"'
    return response


ServerAdmin.pages = [
    *ServerAdmin.pages,
    path("import/csv/", admin.site.admin_view(import_csv), name="ami_integration_server_import_csv"),
    path("export.csv", admin.site.admin_view(export_csv), name="ami_integration_server_export"),
]
