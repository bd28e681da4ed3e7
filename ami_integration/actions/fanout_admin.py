"""Fan-outs in the admin: the list, and the page of one with its live results."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from ami_integration.access.services import user_may_run, user_may_view_runs
from ami_integration.actions import fanouts, retries, services, submission
from ami_integration.actions.admin import ActionRunAdmin
from ami_integration.actions.fanout_snapshots import fanout_snapshot
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.preview import Confirm
from ami_integration.audit.admin import ReadOnlyAdmin
from ami_integration.audit.services import request_address
from ami_integration.keys import pk_of
from ami_integration.moments import MomentFilter
from ami_integration.secrets.encryption import SecretUnreadable


@admin.register(FanOut)
class FanOutAdmin(ReadOnlyAdmin):
    """A fan-out is made by running something on several servers, and never changed by hand."""

    change_list_template = "ami_integration/actions/fanout_list.html"
    list_display = ("id", "state", "action", "on_servers", "done", "by_whom", "submitted")
    list_filter = ("status", ("created_at", MomentFilter), "mode")
    search_fields = ("action", "target", "username")
    list_per_page = 50
    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: FanOut | None = None) -> bool:
        return user_may_view_runs(user=request.user)

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[FanOut]:
        visible = ActionRun.objects.visible_to(request.user).filter(fanout=OuterRef("pk"))
        return (
            super()
            .get_queryset(request)
            .defer("payload", "headers_masked")
            .annotate(total=_count(visible), open=_count(visible.filter(status__in=fanouts.IN_PROGRESS)))
            .filter(Exists(visible))
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Fan-outs", **(extra_context or {})})

    @admin.display(description="status", ordering="status")
    def state(self, fanout: FanOut) -> str:
        return format_html(
            '<span class="aw-state" data-state="{}">{}</span>', fanout.status, fanout.get_status_display()
        )

    @admin.display(description="servers")
    def on_servers(self, fanout: Any) -> str:
        return f"{fanout.target}: {fanout.total}" if fanout.target else str(fanout.total)

    @admin.display(description="by", ordering="username")
    def by_whom(self, fanout: FanOut) -> str:
        return fanout.username or "–"

    @admin.display(description="submitted", ordering="created_at")
    def submitted(self, fanout: FanOut) -> str:
        moment = timezone.localtime(fanout.created_at)
        return format_html('<time datetime="{}">{}</time>', moment.isoformat(), f"{moment:%Y-%m-%d %H:%M:%S}")

    @admin.display(description="done")
    def done(self, fanout: Any) -> str:
        return f"{fanout.total - fanout.open} of {fanout.total}"

    # -- one of them

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path(f"<int:fanout_id>/{name}/", wrap(require_POST(view)), name=f"ami_integration_fanout_{name}")
            for name, view in (("cancel", self.cancel_view), ("retry", self.retry_view))
        ]
        return own + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a fan-out, which keeps itself up to date."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        fanout = FanOut.objects.filter(pk=pk_of(object_id)).first()
        snapshot = fanout_snapshot(fanout, user=request.user) if fanout is not None else None
        if fanout is None or snapshot is None or not snapshot["rows"]:
            messages.warning(request, f"There is no fan-out {object_id}, or you may not see it.")
            return HttpResponseRedirect(reverse("admin:ami_integration_fanout_changelist"))
        on = (
            f"with the tag {fanout.target}" if fanout.target else f"on {snapshot['summary']['total']} servers"
        )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{fanout.action} {on}",
            "fanout": fanout,
            "snapshot": snapshot,
            "retries": self.get_queryset(request).filter(retry_of=fanout).order_by("pk"),
            "may_run": user_may_run(user=request.user),
            "may_keep": request.user.has_perm("ami_integration.add_actiontemplate")
            and fanout.user_id == request.user.pk,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "ami_integration/actions/fanout.html", context)

    def cancel_view(self, request: HttpRequest, fanout_id: int) -> HttpResponse:
        fanout = self._fanout(request, fanout_id)
        try:
            taken = submission.fanout_cancel(
                user=request.user, fanout=fanout, address=request_address(request)
            )
        except services.RunRefused as refused:
            messages.error(request, str(refused))
        else:
            if taken:
                messages.success(request, f"{taken} queued run{'s' if taken > 1 else ''} taken back, unsent.")
            else:
                messages.warning(request, "Too late: nothing was queued any more.")
        return _to(fanout)

    def retry_view(self, request: HttpRequest, fanout_id: int) -> HttpResponse:
        """Look at what a retry of the failed ones would do; what only looks goes at once."""
        fanout = self._fanout(request, fanout_id)
        runs = self.admin_site.get_model_admin(ActionRun)
        assert isinstance(runs, ActionRunAdmin)
        try:
            preview = retries.fanout_retry_preview(user=request.user, fanout=fanout)
            runs.note_refused(request, preview)
            if preview.confirm != Confirm.NONE or preview.refused:
                return runs.preview_page(request, preview)
            return runs.to_result(request, runs.submit_token(request, preview.token))
        except (services.RunRefused, SecretUnreadable) as refused:
            messages.error(request, str(refused))
        return _to(fanout)

    def _fanout(self, request: HttpRequest, fanout_id: int) -> FanOut:
        if not self.has_view_permission(request) or not user_may_run(user=request.user):
            raise PermissionDenied
        visible = ActionRun.objects.visible_to(request.user).filter(fanout=fanout_id)
        fanout = FanOut.objects.filter(pk=fanout_id).first()
        if fanout is None or not visible.exists():
            raise Http404(f"There is no fan-out {fanout_id}, or you may not see it.")
        return fanout


def _count(runs: QuerySet[ActionRun]) -> Coalesce:
    """How many of these runs each fan-out has; `runs` refers to it by an OuterRef."""
    counted = runs.order_by().values("fanout").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted), 0)


def _to(fanout: FanOut) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:ami_integration_fanout_change", args=(fanout.pk,)))
