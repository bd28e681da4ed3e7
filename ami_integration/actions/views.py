"""What runs now, the log's size, and what a run's page fetches or offers beside itself: the result, the
result in clear, and files of it.

Each looks the run up among those that the person may see, so that a run of somebody else's server is as
absent as one that never was. Results are never kept by a browser or a proxy.
"""

import zlib
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from ami_integration.access.logins import watching
from ami_integration.access.services import user_may_view_runs, user_may_view_secrets
from ami_integration.actions.catalogue.services import action_describe
from ami_integration.actions.exports import result_json, rows_csv
from ami_integration.actions.models import ActionRun, RunResult
from ami_integration.actions.results import Result
from ami_integration.actions.retention import log_holdings
from ami_integration.actions.snapshots import running_snapshot
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write, export_write, request_address
from ami_integration.secrets.encryption import SecretUnreadable


def run_visible(request: HttpRequest, run_id: int) -> ActionRun:
    """The run, if this person may see it. Raises `Http404`."""
    runs = ActionRun.objects.visible_to(request.user)
    run = runs.select_related("server").filter(pk=run_id).first()
    if run is None:
        raise Http404(f"There is no run {run_id}, or you may not see it.")
    return run


@never_cache
@require_GET
def running(request: HttpRequest) -> HttpResponse:
    """What runs now, as it goes."""
    _require_log(request)
    context = {"title": "What runs now", "snapshot": running_snapshot(request.user)}
    return _page(request, "ami_integration/actions/running.html", context)


@never_cache
@require_GET
def size(request: HttpRequest) -> HttpResponse:
    """How large the log is, and how long it keeps what, counted over the runs that this person may see."""
    _require_log(request)
    holdings = log_holdings(runs=ActionRun.objects.visible_to(request.user))
    context = {
        "title": "Size of the action log",
        "holdings": holdings,
        "runs": sum(holding.runs for holding in holdings),
        "results": sum(holding.results for holding in holdings),
        "bytes": sum(holding.bytes for holding in holdings),
    }
    return _page(request, "ami_integration/actions/size.html", context)


def _require_log(request: HttpRequest) -> None:
    if not user_may_view_runs(user=request.user):
        raise PermissionDenied("You may not see the action log: ask for “Can view run”.")


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    site = {**admin.site.each_context(request), "opts": ActionRun._meta}
    return TemplateResponse(request, template, {**site, **context})


@watching  # a page of a run fetches it when the run has ended
@never_cache
@require_GET
def result(request: HttpRequest, run_id: int) -> HttpResponse:
    """The masked result as JSON, as it is stored: what it is compressed by, browsers can open."""
    row = _result_row(run_visible(request, run_id))
    data = bytes(row.data)
    if "deflate" in request.headers.get("Accept-Encoding", ""):
        response = HttpResponse(data, content_type="application/json")
        response["Content-Encoding"] = "deflate"
        return response
    return HttpResponse(zlib.decompress(data), content_type="application/json")


@never_cache
@require_POST
def result_in_clear(request: HttpRequest, run_id: int) -> HttpResponse:
    """The result with its secrets, for those who may see them. A POST, because it leaves an audit entry."""
    run = run_visible(request, run_id)
    try:
        return JsonResponse(_in_clear(request, run, "on its page").data())
    except SecretUnreadable as error:
        return JsonResponse({"error": str(error)}, status=HTTPStatus.CONFLICT)


@never_cache
@require_http_methods(["GET", "POST"])
def export(request: HttpRequest, run_id: int, kind: str) -> HttpResponseBase:
    """The result as a file. By POST with `secrets`, in clear, for those who may see it so."""
    run = run_visible(request, run_id)
    if request.method == "POST" and "secrets" in request.POST:
        try:
            content = _in_clear(request, run, f"as {kind.upper()}")
        except SecretUnreadable as error:
            return HttpResponse(str(error), status=HTTPStatus.CONFLICT, content_type="text/plain")
    else:
        content = _result_row(run).masked()
        export_write(
            request=request,
            verb="run.export",
            what={"kind": kind, "action": run.action, "server": run.server_name},
            object_type="run",
            object_id=run.pk,
            object_name=str(run),
            server_id=run.server_id,
        )
    response: HttpResponseBase
    if kind == "csv":
        response = StreamingHttpResponse(
            rows_csv(content, columns_preferred(run)), content_type="text/csv; charset=utf-8"
        )
    else:
        response = HttpResponse(result_json(run, content), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.{kind}"'
    return response


def columns_preferred(run: ActionRun) -> list[str]:
    """The columns of this run's list in the catalogue's order; empty where it knows none."""
    described = action_describe(action=run.action, server=run.server)
    if described is None:
        return []
    names = [name for event in described.list_responses for name in event.headers]
    # An ActionID is the same on each row.
    return [name for name in dict.fromkeys(["Event", *names]) if name != "ActionID"] if names else []


def _result_row(run: ActionRun) -> RunResult:
    row = RunResult.objects.filter(run=run).defer("hidden").first()
    if row is None:
        raise Http404(f"Nothing is kept of what came back for run {run.pk}.")
    return row


def _in_clear(request: HttpRequest, run: ActionRun, how: str) -> Result:
    """The result with its secrets. Raises `PermissionDenied`, `Http404`, `SecretUnreadable`."""

    def note(outcome: AuditEntry.Outcome) -> None:
        entry_write(
            actor=request.user,
            origin=ActionRun.Origin.ADMIN,
            address=request_address(request),
            verb="run.secrets",
            what={"action": run.action, "server": run.server_name, "how": how},
            object_type="run",
            object_id=run.pk,
            object_name=str(run),
            server_id=run.server_id,
            outcome=outcome,
        )

    if not user_may_view_secrets(user=request.user):
        note(AuditEntry.Outcome.REFUSED)
        raise PermissionDenied(
            "Secrets in results are hidden from you: ask for “Can see secrets in results”."
        )
    content = _result_row(run).in_clear()
    note(AuditEntry.Outcome.DONE)
    return content
