"""The action log in the admin: the list, the form that runs an action, and the page of one run."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.views.decorators.http import require_POST

from ami_integration.access.masking import visible
from ami_integration.access.services import user_may_run, user_may_view_runs, user_may_view_secrets
from ami_integration.actions import retries, services, views
from ami_integration.actions.filters import PersonFilter, ServerFilter
from ami_integration.actions.models import ActionRun
from ami_integration.actions.preview import Confirm
from ami_integration.actions.request_views import RequestViews
from ami_integration.actions.retention import result_days, result_is_gone
from ami_integration.actions.snapshots import run_snapshot
from ami_integration.audit.admin import about_url
from ami_integration.audit.services import entry_write, request_address
from ami_integration.keys import pk_of
from ami_integration.moments import MomentFilter
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import server_label


@admin.register(ActionRun)
class ActionRunAdmin(RequestViews):
    """Nobody writes in the log by hand: a run is added by running something, and never changed."""

    change_list_template = "ami_integration/actions/change_list.html"
    list_display = (
        "id",
        "state",
        "asked",
        "on_server",
        "by_whom",
        "submitted",
        "took",
        "in_short",
    )
    list_display_links = ("asked",)  # a number of two digits is hard to hit
    list_select_related = ("server",)
    list_filter = (
        "status",
        ("created_at", MomentFilter),
        ("server", ServerFilter),
        ("action", admin.AllValuesFieldListFilter),
        ("username", PersonFilter),
        "origin",
    )
    # Whole ActionIDs, and beginnings of addresses: each more that may hold the words anywhere costs a look.
    search_fields = (
        *("action", "server_name", "username", "origin_detail"),
        *("address__startswith", "action_id__exact"),
    )
    search_help_text = "Action, server, person, schedule, beginning of an IP address, or a whole ActionID"
    actions = None  # an "Action:" menu beside a list of actions would only confuse
    list_per_page = 50
    show_full_result_count = False

    # -- who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        return user_may_run(user=request.user)

    def has_view_permission(self, request: HttpRequest, obj: ActionRun | None = None) -> bool:
        return user_may_view_runs(user=request.user)

    def has_change_permission(self, request: HttpRequest, obj: ActionRun | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ActionRun | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def delete_model(self, request: HttpRequest, obj: ActionRun) -> None:
        """A superuser may take a run out of the log, and the audit keeps that it was there."""
        entry_write(
            actor=request.user,
            origin=ActionRun.Origin.ADMIN,
            address=request_address(request),
            verb="run.delete",
            what={
                "action": obj.action,
                "headers": obj.headers_masked,
                "status": obj.status,
                "created_at": obj.created_at.isoformat(),
                "username": obj.username,
            },
            object_type="run",
            object_id=obj.pk,
            object_name=str(obj),
            server_id=obj.server_id,
        )
        super().delete_model(request, obj)  # in the transaction of the admin's delete view

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[ActionRun]:
        return ActionRun.objects.visible_to(request.user).order_by("-pk").defer("payload", "traceback")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Action log", **(extra_context or {})})

    @admin.display(description="status", ordering="status")
    def state(self, run: ActionRun) -> str:
        return format_html(
            '<span class="aw-state" data-state="{}">{}</span>', run.status, run.get_status_display()
        )

    @admin.display(description="action", ordering="action")
    def asked(self, run: ActionRun) -> str:
        """The action and its first headers, masked; all of them are on the run's page."""
        words = ", ".join(visible(f"{name}: {value}") for name, value in run.headers_masked[:4])
        attempt = f"attempt {run.attempt}" if run.attempt > 1 else ""
        return format_html(
            '<div class="run-short">{}<br><span class="aw-quiet">{}{}{}</span></div>',
            run.action,
            Truncator(words).chars(90),
            "; " if words and attempt else "",
            attempt,
        )

    @admin.display(description="server", ordering="server_name")
    def on_server(self, run: ActionRun) -> str:
        return server_label(run.server_name, simulated=run.server is not None and run.server.simulated)

    @admin.display(description="by", ordering="username")
    def by_whom(self, run: ActionRun) -> str:
        origin = (
            f"{run.get_origin_display()}: {run.origin_detail}"
            if run.origin_detail
            else run.get_origin_display()
        )
        if run.address:
            origin = f"{origin}, {run.address}"
        words = f"{run.username} ({origin})" if run.username else origin
        return format_html('<div class="run-origin">{}</div>', words)

    @admin.display(description="submitted", ordering="created_at")
    def submitted(self, run: ActionRun) -> str:
        moment = timezone.localtime(run.created_at)
        return format_html('<time datetime="{}">{}</time>', moment.isoformat(), f"{moment:%Y-%m-%d %H:%M:%S}")

    @admin.display(description="took")
    def took(self, run: ActionRun) -> str:
        if run.started_at is None or run.finished_at is None:
            return "–"
        return f"{(run.finished_at - run.started_at).total_seconds():.2f}\N{NO-BREAK SPACE}s"

    @admin.display(description="in short")
    def in_short(self, run: ActionRun) -> str:
        return format_html('<div class="run-short">{}</div>', Truncator(run.reason).chars(90))

    # -- running something

    def get_urls(self) -> list[URLPattern]:
        def name(view: str) -> str:
            return f"ami_integration_actionrun_{view}"

        wrap = self.admin_site.admin_view
        own = [
            path("running/", wrap(views.running), name=name("running")),
            path("size/", wrap(views.size), name=name("size")),
            path("<int:run_id>/cancel/", wrap(require_POST(self.cancel_view)), name=name("cancel")),
            path("<int:run_id>/hangup/", wrap(require_POST(self.hangup_view)), name=name("hangup")),
            path("<int:run_id>/retry/", wrap(require_POST(self.retry_view)), name=name("retry")),
            path("<int:run_id>/result/", wrap(views.result), name=name("result")),
            path("<int:run_id>/result/clear/", wrap(views.result_in_clear), name=name("result_in_clear")),
            path("<int:run_id>/export.csv", wrap(views.export), {"kind": "csv"}, name=name("export_csv")),
            path("<int:run_id>/export.json", wrap(views.export), {"kind": "json"}, name=name("export_json")),
        ]
        return own + self.request_urls() + super().get_urls()

    def cancel_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        run = self._run_to_stop(request, run_id)
        try:
            if services.run_cancel(user=request.user, run=run, address=request_address(request)):
                messages.success(request, "The run is cancelled; nothing was sent.")
            else:
                messages.warning(request, "Too late: a worker had begun, or the run was over.")
        except services.RunRefused as refused:
            raise PermissionDenied(str(refused)) from None
        return HttpResponseRedirect(self._url_behind(request, run))

    def hangup_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        run = self._run_to_stop(request, run_id)
        try:
            if services.call_hang_up(user=request.user, run=run, address=request_address(request)):
                messages.success(request, "The call is being hung up.")
            else:
                messages.warning(request, "There is nothing to hang up: the call was answered, or is over.")
        except services.RunRefused as refused:
            raise PermissionDenied(str(refused)) from None
        return HttpResponseRedirect(self._url_behind(request, run))

    def retry_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Look at what a repetition would do; what only looks goes at once."""
        run = self._run(request, run_id)
        try:
            preview = retries.run_retry_preview(user=request.user, run=run)
            self.note_refused(request, preview)
            if preview.confirm != Confirm.NONE or preview.refused:
                return self.preview_page(request, preview)
            return self.to_result(request, self.submit_token(request, preview.token))
        except (services.RunRefused, SecretUnreadable) as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(_run_url(run))

    def _run(self, request: HttpRequest, run_id: int) -> ActionRun:
        if not self.has_view_permission(request) or not self.has_add_permission(request):
            raise PermissionDenied
        return views.run_visible(request, run_id)

    def _run_to_stop(self, request: HttpRequest, run_id: int) -> ActionRun:
        """As `_run`, and one's own in any case: what one has begun one may stop, whatever was withdrawn."""
        mine = ActionRun.objects.filter(pk=run_id, user=request.user.pk or 0).select_related("server").first()
        return mine if mine is not None else self._run(request, run_id)

    def _url_behind(self, request: HttpRequest, run: ActionRun) -> str:
        """The run's page; for who stopped what he may not see any more, the nearest that he may."""
        if not self.has_view_permission(request):
            return reverse("admin:index")
        if ActionRun.objects.visible_to(request.user).filter(pk=run.pk).exists():
            return _run_url(run)
        return reverse("admin:ami_integration_actionrun_changelist")

    # -- one run

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a run, which keeps itself up to date."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        runs = ActionRun.objects.visible_to(request.user).select_related("server", "retry_of")
        run = runs.filter(pk=pk_of(object_id)).first()
        if run is None:
            messages.warning(request, f"There is no run {object_id}; it may have been deleted.")
            return HttpResponseRedirect(reverse("admin:ami_integration_actionrun_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{run.action} on {run.server_name}",
            "run": run,
            "snapshot": run_snapshot(run),
            "retries": run.retries.order_by("pk"),
            "may_run": self.has_add_permission(request),
            "may_see_secrets": user_may_view_secrets(user=request.user),
            "columns": views.columns_preferred(run),
            "export_kinds": [
                {"name": kind.upper(), "url": _run_url(run, f"export_{kind}")} for kind in ("csv", "json")
            ],
            "audit_url": (
                about_url("run", run.pk) if request.user.has_perm("ami_integration.view_auditentry") else ""
            ),
            "result_days": result_days(run.status),
            "result_is_gone": result_is_gone(run),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "ami_integration/actions/run.html", context)


def _run_url(run: ActionRun, view: str = "change") -> str:
    return reverse(f"admin:ami_integration_actionrun_{view}", args=(run.pk,))
