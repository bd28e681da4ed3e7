"""Schedules in the admin: the list with what comes next and what came last, and the page with its form."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, F, OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html

from ami_integration.access.services import servers_visible, user_may_run
from ami_integration.actions.plans import PLAN
from ami_integration.actions.templates import templates_usable
from ami_integration.audit.services import request_address
from ami_integration.keys import pk_of
from ami_integration.schedules import services
from ami_integration.schedules.alerts.models import Alert
from ami_integration.schedules.calendar import BadTiming
from ami_integration.schedules.coming import coming_read
from ami_integration.schedules.drafts import Draft, draft_of_copy, draft_of_template
from ami_integration.schedules.filters import FILTERS
from ami_integration.schedules.forms import ALERTS, RULES, ScheduleForm
from ami_integration.schedules.lost_servers import lost_words
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.offers import REFUSALS, offers
from ami_integration.schedules.outcomes import Links, state_words, where_words
from ami_integration.schedules.page_views import SchedulePages, pause_context
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.shown import ShownFields
from ami_integration.schedules.states import PLANNED_LABELS, State, state_of
from ami_integration.schedules.timing_forms import TIMING, moment_text, when_words
from ami_integration.schedules.whys import whys_shown
from ami_integration.zones import zone_names

#: Servers above which the picker offers a field to filter them.
FILTER_FROM = 8
#: Planned times that the page of a schedule shows.
LAST_TIMES = 5
#: Refusals of a bulk action that are told one by one.
_TOLD = 5


@admin.register(Schedule)
class ScheduleAdmin(ShownFields, SchedulePages):
    """Who saves a schedule becomes its owner, and it runs with their rights."""

    audit_hidden = ("headers", "kept")
    form = ScheduleForm
    change_form_template = "ami_integration/schedules/change_form.html"
    change_list_template = "ami_integration/schedules/change_list.html"
    list_display = (
        "name",
        "action",
        "where",
        "timing",
        "next_run",
        "last_outcome",
        "last_good",
        "owned_by",
        "state",
    )
    list_filter = FILTERS
    list_select_related = ("tag", "template")
    list_per_page = 50
    # The table is counted once: the number of all schedules, whatever the filter, isn't worth a second look.
    show_full_result_count = False
    actions = ("enable_selected", "disable_selected")
    search_fields = ("name", "action")
    ordering = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "action", "headers", "unchecked", "server", "tag", *PLAN, "timeout")}),
        ("When", {"fields": (*TIMING, "enabled")}),
        ("Rules", {"fields": RULES}),
        ("Alerts", {"fields": ALERTS}),
    )

    def audit_hides(self, name: str) -> bool:
        """What a template asks for as well: an answer may be what a secret header is filled with."""
        return name.startswith("var_") or super().audit_hides(name)

    # -- the form

    def get_urls(self) -> list[URLPattern]:
        return [*self.page_urls(), *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        """Who may only look gets the copy of the headers that is made for eyes."""
        editable = obj is None or self.has_change_permission(request, obj)
        return self.fieldsets if editable else self.shown_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        editable = obj is None or self.has_change_permission(request, obj)
        if editable:
            return ()
        return tuple(name for _, options in self.shown_fieldsets for name in options["fields"])

    def get_form(
        self, request: HttpRequest, obj: Schedule | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        ours: dict[str, Any] = {"user": request.user, "address": request_address(request), "draft": None}
        if request.method == "GET" and (obj is None or self.has_change_permission(request, obj)):
            ours["draft"] = self._draft(request)
        return type("ScheduleFormOfUser", (form,), ours)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What the address asks for is read by `_draft`: it is more than values of fields."""
        initial: dict[str, Any] = dict(super().get_changeform_initial_data(request))
        for name in ("template", "copy", "kept", "headers"):
            initial.pop(name, None)
        return initial

    def _draft(self, request: HttpRequest) -> Draft | None:
        """`?template=<id>` or `?copy=<id>`: what the form is filled with."""
        servers = servers_visible(user=request.user).filter(enabled=True)
        draft = None
        if asked := request.GET.get("template"):
            template = templates_usable(user=request.user).filter(pk=pk_of(asked)).first()
            if template is not None:
                draft = draft_of_template(user=request.user, template=template, servers=servers)
        elif asked := request.GET.get("copy"):
            # Whoever may change it may use what is hidden in it as it is; nobody else is lent it.
            schedule = self.get_queryset(request).filter(pk=pk_of(asked)).first()
            if schedule is not None and self.has_change_permission(request, schedule):
                draft = draft_of_copy(user=request.user, schedule=schedule, servers=servers)
        for note in draft.notes if draft is not None else ():
            messages.warning(request, note)
        return draft

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """What changed between the form's look and its saving (a right, a server) is told."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except REFUSALS as refused:
            messages.error(request, f"It was not saved. {refused}")
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        values = form.cleaned_data
        services.schedule_save(
            user=request.user,
            schedule=obj,
            headers=values["headers"],
            servers=[] if values["tag"] is not None else values["servers"],
            address=request_address(request),
            hidden_by=form.hidden_by,
            template=form.chosen_template,
            as_of=values["as_of"],
        )

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What the page asks about before it deletes: its history is counted and not listed, row by row."""
        chosen = {schedule.pk: schedule for schedule in objs}
        planned = dict(
            PlannedRun.objects.filter(schedule__in=chosen)
            .order_by()
            .values_list("schedule_id")
            .annotate(number=Count("pk"))
        )
        words = []
        for pk, schedule in chosen.items():
            number = planned.get(pk, 0)
            times = f"{number:,} planned time" + ("" if number == 1 else "s")
            words.append(f"{schedule.name}, with its history of {times}. The runs stay in the action log.")
        counts = {"schedules": len(chosen), "planned times": sum(planned.values())}
        allowed = all(self.has_delete_permission(request, schedule) for schedule in chosen.values())
        return words, counts, set() if allowed else {"schedule"}, []

    def delete_model(self, request: HttpRequest, obj: Schedule) -> None:
        services.schedule_delete(user=request.user, schedule=obj, address=request_address(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in queryset:
            self.delete_model(request, schedule)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        schedule: Schedule | None = kwargs.get("obj")
        form = context["adminform"].form
        editable = schedule is None or self.has_change_permission(request, schedule)
        context |= pause_context(request) | {
            "editable": editable,
            "form": form,
            "timezones": sorted(zone_names()),
            "show_save_and_add_another": False,
        }
        if editable:
            servers = form.servers_offered
            context |= {
                "servers": servers,
                "any_server": bool(servers),
                "filter_servers": len(servers) > FILTER_FROM,
                "show_unchecked": form.insistable or bool(form["unchecked"].value()),
                "templates": templates_usable(user=request.user).order_by("name")[:50]
                if form.chosen_template is None
                else (),
                "show_delete": schedule is not None,
            }
        if schedule is not None:
            context |= self._standing(request, schedule)
            if not editable:  # the form shows them while one types
                context["coming"] = coming_read(
                    user=request.user, schedule=context["schedule"], now=timezone.now()
                )
        return super().render_change_form(request, context, *args, **kwargs)

    def _standing(self, request: HttpRequest, schedule: Schedule) -> dict[str, Any]:
        """How a schedule stands, for the head of its page."""
        stored = self.get_queryset(request).get(pk=schedule.pk)  # the form may hold what isn't saved
        return {
            "schedule": stored,
            "schedule_state": state_of(stored),
            "schedule_where": self.where(stored),
            "schedule_when": _within(self.timing(stored)),
            "schedule_next": self._next(stored),
            "schedule_last": _outcome(stored),
            "schedule_good": self.last_good(stored),
            "schedule_times": self._last_times(request, stored),
            "schedule_lost": lost_words(stored, request.user),
            "schedule_alerts": Alert.objects.filter(schedule=stored, closed_at=None),
            "template_differs": services.template_differs(stored),
            "offers": offers(user=request.user, schedule=stored, now=timezone.now())
            if self.has_change_permission(request, stored) and user_may_run(user=request.user)
            else None,
            "may_copy": self.has_add_permission(request) and self.has_change_permission(request, stored),
        }

    @staticmethod
    def _last_times(request: HttpRequest, schedule: Schedule) -> list[tuple[Any, str, str]]:
        """The newest planned times, each with a way to its run and its reason, as far as this person may."""
        rows: list[Any] = list(schedule.planned_runs.all()[:LAST_TIMES])
        links = Links(request.user, rows)
        whys = whys_shown(request.user, rows)
        for row in rows:
            row.words = state_words(row.state)
        return [(row, links.run(row), whys.get(row.pk, "")) for row in rows]

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        servers = servers_visible(user=request.user).only("pk", "name", "simulated").order_by("name")
        named: QuerySet[Any] = Schedule.servers.through.objects.filter(schedule=OuterRef("pk")).order_by()
        return (
            Schedule.objects.visible_to(request.user)
            .select_related("tag", "template")
            .defer("payload", "template__payload", "template__headers_masked")
            .prefetch_related(
                Prefetch("servers", queryset=servers, to_attr="servers_seen"),
            )
            .annotate(
                servers_named=Subquery(
                    named.values("schedule").annotate(number=Count("pk")).values("number")
                ),
            )
            .order_by(*self.get_ordering(request))
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": "Schedules", **pause_context(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description="where")
    def where(self, schedule: Any) -> str:
        if schedule.tag is not None:
            return f"tag {schedule.tag}"
        names = [str(server) for server in schedule.servers_seen]  # a simulated one says so
        return where_words(names, (schedule.servers_named or 0) - len(names))

    @admin.display(description="when")
    def timing(self, schedule: Schedule) -> str:
        try:
            words = when_words(schedule)
        except BadTiming as error:
            return str(error)
        return words if schedule.kind == Schedule.Kind.INTERVAL else f"{words} ({schedule.timezone})"

    @admin.display(description="next run", ordering=F("next_at").asc(nulls_last=True))
    def next_run(self, schedule: Schedule) -> str:
        if schedule.next_at is None or state_of(schedule) != State.RUNS:
            return "–"
        text = moment_text(schedule.next_at, schedule.timezone)
        return _time(schedule.next_at, text.rsplit(" (", 1)[0])  # the distance to UTC stands on its page

    @staticmethod
    def _next(schedule: Schedule) -> str:
        if schedule.next_at is None or state_of(schedule) != State.RUNS:
            return "–"
        return _time(schedule.next_at, moment_text(schedule.next_at, schedule.timezone))

    @admin.display(description="last outcome", ordering="last_state")
    def last_outcome(self, schedule: Schedule) -> str:
        badge = _outcome(schedule)
        if schedule.failures > 1:
            # In words of its own: the last outcome may be another, like a blackout.
            return format_html(
                '{} <span class="aw-quiet">failed {} times in a row</span>', badge, schedule.failures
            )
        return badge

    @admin.display(description="last good run", ordering=F("last_good_at").asc(nulls_first=True))
    def last_good(self, schedule: Schedule) -> str:
        if schedule.last_good_at is None:
            return "–"
        ago = max(0, int((timezone.now() - schedule.last_good_at).total_seconds()))
        return _time(schedule.last_good_at, f"{_about(ago)} ago")

    @admin.display(description="owner", ordering="owner_name")
    def owned_by(self, schedule: Schedule) -> str:
        return schedule.owner_name or "–"

    @admin.display(description="state", ordering="enabled")
    def state(self, schedule: Schedule) -> str:
        state = state_of(schedule)
        badge = format_html('<span class="aw-state" data-state="{}">{}</span>', state.value, state.label)
        if services.template_differs(schedule):
            return format_html('{} <span class="aw-tag aw-switch">template changed</span>', badge)
        return badge

    # -- several at once

    @admin.action(description="Enable the selected schedules", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, services.schedule_resume, "enabled")

    @admin.action(description="Disable the selected schedules", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self._each(request, queryset, services.schedule_pause, "disabled")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Schedule], service: Callable[..., Any], done: str
    ) -> None:
        """Each by itself: one that is refused keeps no other back. Says what was refused, and why."""
        refused, count = [], 0
        for schedule in queryset:
            try:
                service(user=request.user, schedule=schedule, address=request_address(request))
            except REFUSALS as error:
                refused.append(f"{schedule}: {error}")
            else:
                count += 1
        if count:
            messages.success(request, f"{count} schedule{'s' if count > 1 else ''} {done}.")
        if refused:
            more = f" And {len(refused) - _TOLD} more." if len(refused) > _TOLD else ""
            messages.error(request, f"{len(refused)} not {done}. " + " ".join(refused[:_TOLD]) + more)


def _outcome(schedule: Schedule) -> str:
    """How the newest planned time ended, as a badge."""
    if not schedule.last_state:
        return "–"
    label = PLANNED_LABELS.get(schedule.last_state, schedule.last_state)
    return format_html('<span class="aw-state" data-state="{}">{}</span>', schedule.last_state, label)


def _within(words: str) -> str:
    """A sentence's words inside of another sentence."""
    return words[:1].lower() + words[1:]


def _time(moment: datetime, text: str) -> str:
    utc = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), utc, text)


def _about(seconds: int) -> str:
    """A length of time in its largest unit alone."""
    units = ((24 * 3600, "d"), (3600, "h"), (60, "min"), (1, "s"))
    size, unit = next((size, unit) for size, unit in units if seconds >= 2 * size or size == 1)
    return f"{seconds // size} {unit}"
