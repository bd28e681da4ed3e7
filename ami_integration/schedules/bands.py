"""Schedules that are due too often to be drawn time by time: one band each, a few of them on a page."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import Case, Count, IntegerField, Value, When

from ami_integration.schedules.calendar import BadTiming
from ami_integration.schedules.outcomes import Group, Links, counts_words, group_is, group_of
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.planning import Plan, comes, end_of, planned_count
from ami_integration.schedules.questions import PLANNED, Question
from ami_integration.schedules.timing_forms import when_words


@dataclass(frozen=True)
class Share:
    """What a band comes to on one day: in words, and the group that it is coloured by."""

    words: str
    group: str
    chosen: bool


@dataclass(frozen=True)
class Band:
    """A schedule that is due too often to be drawn time by time.

    Attributes:
        words: for example “Every 5 minutes: 2,016 times”.
    """

    name: str
    url: str
    words: str
    days: list[Share]


def bands_asked(question: Question, frequent: list[tuple[Any, Plan]]) -> list[tuple[Any, Plan]]:
    """Those of them of which anything ended as the filter asks; all where it doesn't ask how they ended."""
    group = question.group()
    if group is None or not frequent:
        return frequent
    ended = PlannedRun.objects.filter(
        group_is(group),
        schedule__in=[row.pk for row, _ in frequent],
        planned_at__gte=question.week.since,
        planned_at__lt=question.week.until,
    )
    found = set(ended.order_by().values_list("schedule_id", flat=True).distinct())
    return [(row, plan) for row, plan in frequent if row.pk in found]


def bands_read(question: Question, some: list[tuple[Any, Plan]], links: Links) -> list[Band]:
    """The bands of some schedules with their plans."""
    week, now = question.week, question.now.timestamp()
    days = Case(
        *(
            When(planned_at__lt=datetime.fromtimestamp(day.until, UTC), then=Value(number))
            for number, day in enumerate(week.days)
        ),
        output_field=IntegerField(),
    )
    runs = PlannedRun.objects.filter(
        schedule__in=[row.pk for row, _ in some], planned_at__gte=week.since, planned_at__lt=week.until
    ).annotate(day=days)
    if (group := question.group()) is not None:
        runs = runs.filter(group_is(group))
    ran: dict[tuple[int, int], Counter[Group]] = {}
    if question.outcome != PLANNED:
        counted = runs.order_by().values_list("schedule_id", "day", "outcome", "result")
        for pk, number, outcome, result, count in counted.annotate(number=Count("pk")):
            ran.setdefault((pk, number), Counter())[group_of(result or outcome)] += count
    bands = []
    for row, plan in some:
        total = 0
        end = end_of(row, plan) if comes(row) else float("-inf")
        first = row.next_at.timestamp() if comes(row) else now
        of_days = []
        for number, day in enumerate(week.days):
            counts = ran.get((row.pk, number), Counter())
            coming = 0
            if question.outcome in ("", PLANNED):
                coming = planned_count(plan, week, max(day.since, first), min(day.until, end + 1))
            total += coming + sum(counts.values())
            of_days.append(
                Share(counts_words(counts, coming), _worst(counts, coming), number == question.day.weekday())
            )
        bands.append(
            Band(
                row.name,
                links.schedule(row.pk),
                f"{_words(plan)}: {total:,} time{'' if total == 1 else 's'}",
                of_days,
            )
        )
    return bands


def _worst(counts: Counter[Group], coming: int) -> str:
    """What a band is coloured by on a day; every number stands in words beside it."""
    order = (Group.BAD, Group.OPEN, Group.GOOD, Group.LEFT_OUT)
    return next((group.value for group in order if counts[group]), PLANNED if coming else "")


def _words(plan: Plan) -> str:
    try:
        return when_words(plan)
    except BadTiming:
        return "Its timing can't be read"
