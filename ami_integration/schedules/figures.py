"""How well a schedule has run: its history page in numbers.

The success rate counts what ran and ended, and what was refused; what the rules left out (skipped, paused, in
a blackout …) is counted beside it. Where some of several servers failed, it failed. A duration is from the
beginning of its first run to the end of its last.
"""

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F, QuerySet

from ami_integration.schedules.models import Schedule
from ami_integration.schedules.outcomes import Group, group_is, group_of
from ami_integration.schedules.planned import PlannedRun

DAYS = 30
RUNS = 100


@dataclass(frozen=True)
class Figures:
    """Of one span.

    Attributes:
        title: which span.
        ended, good: how many ended, and how many of them succeeded.
        left_out: how many did not run, or were taken back.
        median, p95: seconds; None where nothing has a duration.
    """

    title: str
    ended: int
    good: int
    left_out: int
    median: float | None
    p95: float | None

    @property
    def bad(self) -> int:
        return self.ended - self.good

    @property
    def rate(self) -> str:
        """The success rate for people: 100 % only where nothing failed, 0 % only where all did."""
        if not self.ended:
            return "–"
        percent = 100 * self.good / self.ended
        if self.good < self.ended:
            percent = min(percent, 99.9)
        if self.good:
            percent = max(percent, 0.1)
        return f"{percent:.1f} %".replace(".0 %", " %")


def figures_read(*, schedule: Schedule, now: datetime) -> list[Figures]:
    """The last 30 days, and the last 100 times that it ran."""
    runs = PlannedRun.objects.filter(schedule=schedule)
    recent = runs.filter(planned_at__gt=now - timedelta(days=DAYS))
    ended = runs.filter(group_is(Group.GOOD) | group_is(Group.BAD))
    newest = list(ended.order_by("-planned_at").values_list("pk", flat=True)[:RUNS])
    return [
        _figures(f"Last {DAYS} days", recent),
        _figures(f"Last {RUNS} times that ran", PlannedRun.objects.filter(pk__in=newest)),
    ]


def _figures(title: str, runs: QuerySet[PlannedRun]) -> Figures:
    counts: Counter[Group] = Counter()
    for outcome, result, number in (
        runs.order_by().values_list("outcome", "result").annotate(number=Count("pk"))
    ):
        counts[group_of(result or outcome)] += number
    lasted = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
    timed: QuerySet[Any] = runs.filter(started_at__isnull=False, finished_at__isnull=False)
    durations = timed.annotate(lasted=lasted).order_by("lasted").values_list("lasted", flat=True)
    number = durations.count()
    return Figures(
        title,
        ended=counts[Group.GOOD] + counts[Group.BAD],
        good=counts[Group.GOOD],
        left_out=counts[Group.LEFT_OUT],
        median=_ranked(durations, number, 0.5),
        p95=_ranked(durations, number, 0.95),
    )


def _ranked(durations: QuerySet[Any], number: int, share: float) -> float | None:
    """The smallest duration that at least this share of them doesn't exceed."""
    if not number:
        return None
    lasted: timedelta = durations[max(0, math.ceil(share * number) - 1)]
    return max(0.0, lasted.total_seconds())
