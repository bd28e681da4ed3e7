"""The calendar, all of one of its hours, and the history of one schedule."""

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from ami_integration.access.services import (
    servers_visible,
    tags_visible,
    user_may_plan,
    user_may_view_schedules,
)
from ami_integration.keys import pk_of
from ami_integration.schedules.calendar import BadTiming
from ami_integration.schedules.durations import duration_text
from ami_integration.schedules.figures import figures_read
from ami_integration.schedules.hours import hour_read
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.outcomes import (
    COLUMNS,
    Group,
    Links,
    group_is,
    places_words,
    reasons_shown,
)
from ami_integration.schedules.page_views import pause_context
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.questions import PLANNED, Question, moment_read, question_read
from ami_integration.schedules.states import State, state_of
from ami_integration.schedules.timing_forms import when_words
from ami_integration.schedules.week import past_entry, week_read
from ami_integration.schedules.whys import whys_shown
from ami_integration.servers.models import server_label

#: Planned times on one page of a schedule's history.
AT_ONCE = 50
#: Seconds late from which its history tells so.
WORTH_A_WORD = 5
_WEEK = 7


@never_cache
@require_GET
def calendar(request: HttpRequest) -> HttpResponse:
    """A week of all schedules that the person may see."""
    question = _question(request)
    week = week_read(user=request.user, question=question, page=_page(request, "bands"))
    days = question.week.days
    context = {
        **_context(request, question),
        "title": "Calendar of schedules",
        "week": week,
        "span": f"{days[0].date:%d %B} – {days[-1].date:%d %B %Y}",
        "number": days[0].date.isocalendar().week,
        "columns": [(column, question.query(day=column.day.date.isoformat())) for column in week.columns],
        "previous": question.query(day=_other(question, -_WEEK)),
        "following": question.query(day=_other(question, _WEEK)),
        "this_week": question.query(day=None),
        "unfiltered": question.query(server=None, tag=None, outcome=None),
        "hour_query": question.query(day=None).replace("?", "&", 1).rstrip("&"),
        "bands_query": question.query().replace("?", "&", 1),
        "servers": [
            (pk, server_label(name, simulated=simulated))
            for pk, name, simulated in servers_visible(user=request.user)
            .order_by("name")
            .values_list("pk", "name", "simulated")
        ],
        "tags": tags_visible(user=request.user).order_by("name"),
        "outcomes": [*Group.choices, (PLANNED, "Planned")],
        "may_add": user_may_plan(user=request.user, what="add"),
    }
    return TemplateResponse(request, "ami_integration/schedules/calendar.html", context)


@never_cache
@require_GET
def calendar_hour(request: HttpRequest) -> HttpResponse:
    """All of one hour of the calendar; `at` is a moment within it."""
    at = moment_read(request.GET.get("at", ""))
    question = _question(request, at)
    if at is None:
        raise Http404("There is no such hour in the calendar. Choose one there.")
    slot = question.week.slots[question.week.slot_at(int(at.timestamp()))]
    begins, ends = question.local(slot.since), question.local(slot.until)
    address = request.GET.copy()
    address.pop("page", None)
    context = {
        **_context(request, question),
        "title": f"{begins:%A %Y-%m-%d, %H:%M}–{ends:%H:%M}",
        "lines": hour_read(user=request.user, question=question, slot=slot, page=_page(request, "page")),
        "again": slot.again,
        "back": question.query(),
        "page_query": f"&{address.urlencode()}",
    }
    return TemplateResponse(request, "ami_integration/schedules/hour.html", context)


@never_cache
@require_GET
def runs(request: HttpRequest, schedule_id: int) -> HttpResponse:
    """What a schedule has done: figures, and every time that it was due."""
    question = _question(request)
    found = Schedule.objects.visible_to(request.user).select_related("tag")
    schedule = found.filter(pk=pk_of(str(schedule_id))).first()
    if schedule is None:
        raise Http404("There is no such schedule, or you may not see it.")
    group = question.group()
    planned = PlannedRun.objects.filter(schedule=schedule)
    number = planned.count()
    if group is not None:
        planned = planned.filter(group_is(group))
    columns = (*COLUMNS, "reason", "started_at", "finished_at")
    rows: Any = planned.order_by("-planned_at", "-pk").values_list(*columns, named=True)
    shown = Paginator(rows, AT_ONCE).get_page(_page(request, "page"))
    some = list(shown)
    links = Links(request.user, some)
    reasons, whys = reasons_shown(request.user, some), whys_shown(request.user, some)
    entries = [
        {
            "entry": past_entry(question, row, schedule.name, links),
            "url": links.run(row),
            "lasted": _lasted(row.started_at, row.finished_at),
            "begun": _begun(row.planned_at, row.started_at),
            "why": whys.get(row.pk, ""),
            "hidden": bool(row.reason) and row.pk not in reasons,
        }
        for row in some
    ]
    state = state_of(schedule)
    context = {
        **_context(request, question),
        "title": f"History of {schedule.name}",
        "schedule": schedule,
        "words": _words(schedule),
        "where": places_words(request.user, [schedule.pk])[schedule.pk],
        "state": state,
        "stopped": state == State.STOPPED,
        "stopped_at": _local(question, schedule.stopped_at),
        "stopped_why": schedule.stopped_why,
        "figures": [
            (figures, _seconds(figures.median), _seconds(figures.p95))
            for figures in figures_read(schedule=schedule, now=question.now)
        ],
        "last_good": _local(question, schedule.last_good_at),
        "next": _local(question, schedule.next_at) if state == State.RUNS else None,
        "number": number,
        "entries": entries,
        "shown": shown,
        "outcomes": [
            (value, label, question.query(outcome=value, day=None), value == question.outcome)
            for value, label in [("", "All"), *Group.choices]
        ],
        "page_query": question.query(day=None).replace("?", "&", 1),
    }
    return TemplateResponse(request, "ami_integration/schedules/runs.html", context)


def _question(request: HttpRequest, at: datetime | None = None) -> Question:
    if not user_may_view_schedules(user=request.user):
        raise PermissionDenied("To see schedules, you need the permission to view them.")
    address = request.GET.dict()
    question = question_read(user=request.user, address=address, now=timezone.now())
    if at is not None:
        day = at.astimezone(question.zone_info).date().isoformat()
        question = question_read(user=request.user, address=address | {"day": day}, now=question.now)
    for note in question.notes:
        messages.warning(request, note)
    return question


def _context(request: HttpRequest, question: Question) -> dict[str, Any]:
    return {
        **admin.site.each_context(request),
        **pause_context(request),
        "question": question,
        "schedules_url": reverse("admin:ami_integration_schedule_changelist"),
    }


def _page(request: HttpRequest, name: str) -> int:
    return max(1, pk_of(request.GET.get(name, "")))


def _other(question: Question, days: int) -> str:
    """The day so many days away, as far as the calendar goes."""
    return question.day_after(days).isoformat()


def _words(schedule: Schedule) -> str:
    try:
        words = when_words(schedule)
    except BadTiming as error:
        return str(error)
    zoned = schedule.kind != Schedule.Kind.INTERVAL
    words = words[:1].lower() + words[1:]
    return f"{words} ({schedule.timezone})" if zoned else words


def _local(question: Question, moment: datetime | None) -> datetime | None:
    return None if moment is None else question.local(moment.timestamp())


def _lasted(started: datetime | None, finished: datetime | None) -> str:
    if started is None or finished is None:
        return ""
    return _seconds((finished - started).total_seconds())


def _begun(planned: datetime, started: datetime | None) -> str:
    """How long after its time it began, where that is worth a word."""
    if started is None or (started - planned).total_seconds() < WORTH_A_WORD:
        return ""
    return f"It began {_seconds((started - planned).total_seconds())} after its time."


def _seconds(seconds: float | None) -> str:
    """A duration as people read it: to a hundredth below ten seconds."""
    if seconds is None:
        return "–"
    return f"{max(0.0, seconds):.2f} s" if seconds < 10 else duration_text(round(seconds))
