"""Schedules in the admin: the list with what comes next and what came last, and the form with its preview."""

import zoneinfo
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from ami_integration.access.services import servers_visible
from ami_integration.actions.models import ActionRun
from ami_integration.audit.admin import AuditedAdmin
from ami_integration.audit.services import request_address
from ami_integration.schedules import services
from ami_integration.schedules.forms import PREVIEW, ScheduleForm, TimingForm
from ami_integration.schedules.models import PlannedRun, Schedule
from ami_integration.zones import zone_names

#: Planned times that the page of a schedule shows.
HISTORY = 20


@admin.register(Schedule)
class ScheduleAdmin(AuditedAdmin):
    """Who saves a schedule becomes its owner, and it runs with their rights."""

    audit_hidden = ("headers",)
    form = ScheduleForm
    change_form_template = "ami_integration/schedules/change_form.html"
    change_list_template = "ami_integration/schedules/change_list.html"
    list_display = ("name", "action", "timing", "next_run", "last_outcome", "owner_name", "enabled")
    list_filter = ("enabled", ("servers", admin.RelatedOnlyFieldListFilter), "kind")

    search_fields = ("name", "action")
    fieldsets = (
        (None, {"fields": ("name", "servers", "tag", "action", "headers", "enabled")}),
        ("When", {"fields": ("kind", "crontab", "interval_seconds", "timezone")}),
    )

    readonly_fields = ("headers_shown",)

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        """Who may only look gets the copy of the headers that is made for eyes."""
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        (_, what), when = self.fieldsets
        shown = tuple("headers_shown" if name == "headers" else name for name in what["fields"])
        return ((None, {"fields": shown}), when)

    @admin.display(description="headers")
    def headers_shown(self, schedule: Schedule) -> str:
        return schedule.text_for_eyes() or "none"

    def get_form(
        self, request: HttpRequest, obj: Schedule | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        return type(
            "ScheduleFormOfUser", (form,), {"user": request.user, "address": request_address(request)}
        )

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        services.schedule_save(
            user=request.user,
            schedule=obj,
            headers=form.cleaned_data["headers"],
            hidden_by=form.hidden_by,
        )

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        newest = PlannedRun.objects.filter(schedule=OuterRef("pk")).order_by("-planned_at")
        return (
            super()
            .get_queryset(request)
            .filter(server__in=servers_visible(user=request.user).values("pk"))
            .annotate(
                last_outcome_code=Subquery(newest.values("outcome")[:1]),
                last_run_pk=Subquery(newest.values("run")[:1]),
                last_run_status=Subquery(newest.values("run__status")[:1]),
            )
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Schedules", **(extra_context or {})})

    @admin.display(description="when")
    def timing(self, schedule: Schedule) -> str:
        if schedule.kind == Schedule.Kind.INTERVAL:
            return f"every {schedule.interval_seconds} s"
        return f"{schedule.crontab} ({schedule.timezone})"

    @admin.display(description="next run", ordering=F("next_at").asc(nulls_last=True))
    def next_run(self, schedule: Schedule) -> str:
        if schedule.next_at is None:
            return "–"
        return moment_text(schedule.next_at, schedule.timezone)

    @admin.display(description="last outcome")
    def last_outcome(self, schedule: Any) -> str:
        if schedule.last_outcome_code is None:
            return "not yet run"
        if schedule.last_run_pk is None:
            outcome = PlannedRun.Outcome(schedule.last_outcome_code)
            return format_html(
                '<span class="aw-state" data-state="{}">{}</span>', outcome.value, outcome.label
            )
        status = ActionRun.Status(schedule.last_run_status)
        url = reverse("admin:ami_integration_actionrun_change", args=(schedule.last_run_pk,))
        return format_html(
            '<a href="{}"><span class="aw-state" data-state="{}">{}</span></a>',
            url,
            status.value,
            status.label,
        )

    # -- one schedule

    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(require_POST(self.preview_view))
        return [path("preview/", preview, name="ami_integration_schedule_preview"), *super().get_urls()]

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """What the fields that say when would do: the next runs, or each field's error."""
        if not self.has_view_or_change_permission(request) and not self.has_add_permission(request):
            raise PermissionDenied
        form = TimingForm(request.POST)
        if not form.is_valid():
            return JsonResponse({"errors": {name: list(errors) for name, errors in form.errors.items()}})
        zone = form.cleaned_data["timezone"]
        times = [
            {"zone": moment_text(time, zone), "utc": moment_text(time, "UTC")}
            for time in form.next_times(count=PREVIEW)
        ]
        return JsonResponse({"errors": {}, "words": form.words(), "zone": zone, "times": times})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        schedule: Schedule | None = kwargs.get("obj")
        context["timezones"] = sorted(zone_names())
        if schedule is not None:
            planned = schedule.planned_runs.select_related("run").defer("run__payload", "run__traceback")
            context["history"] = planned[:HISTORY]
        return super().render_change_form(request, context, *args, **kwargs)


def moment_text(moment: datetime, zone: str) -> str:
    """A moment on the clocks of a zone, with its distance to UTC, so that a change of the clocks shows."""
    local = moment.astimezone(zoneinfo.ZoneInfo(zone) if zone in zone_names() else UTC)
    return (
        f"{local:%a %Y-%m-%d %H:%M:%S %Z} ({local:%z})"
        if zone != "UTC"
        else f"{local:%a %Y-%m-%d %H:%M:%S} UTC"
    )
