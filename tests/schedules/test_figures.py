"""The figures of a schedule: success rate and durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.schedules.figures import Figures, figures_read
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from tests.schedules.factories import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.database]
NOW = timezone.now()


def ran(schedule: Schedule, minutes: int, result: str = "succeeded", seconds: float | None = 1.0) -> None:
    at = NOW - timedelta(minutes=minutes)
    finished = None if seconds is None else at + timedelta(seconds=seconds)
    PlannedRun.objects.create(
        schedule=schedule,
        planned_at=at,
        outcome="submitted",
        result=result,
        started_at=at,
        finished_at=finished,
    )


def read(schedule: Schedule) -> tuple[Figures, Figures]:
    days, times = figures_read(schedule=schedule, now=NOW)
    return days, times


def test_nothing_that_ran_has_no_rate_and_no_duration() -> None:
    days, times = read(make_schedule())
    assert (days.rate, days.median, days.p95) == (times.rate, times.median, times.p95) == ("–", None, None)


def test_the_rate_is_of_what_ended_or_was_refused_and_the_rest_is_counted_beside() -> None:
    schedule = make_schedule()
    for minutes, result in enumerate(
        ("succeeded", "succeeded", "failed", "partly", "unknown", "cancelled", "")
    ):
        ran(schedule, minutes, result)
    for minutes, outcome in enumerate(("skipped", "misfired", "paused", "blackout", "refused"), 100):
        at = NOW - timedelta(minutes=minutes)
        PlannedRun.objects.create(schedule=schedule, planned_at=at, outcome=outcome)
    days, times = read(schedule)
    assert (days.ended, days.good, days.bad, days.left_out) == (6, 2, 4, 5)
    assert days.rate == times.rate == "33.3 %"
    assert times.left_out == 0


def test_median_and_95th_percentile_are_durations_that_happened() -> None:
    schedule = make_schedule()
    for number in range(1, 101):
        ran(schedule, number, seconds=float(number))
    ran(schedule, 200, result="", seconds=None)
    days, times = read(schedule)
    assert (days.median, days.p95) == (times.median, times.p95) == (50.0, 95.0)


def test_one_span_ends_after_30_days_and_the_other_after_100_times() -> None:
    schedule = make_schedule()
    ran(schedule, 31 * 24 * 60, "failed", seconds=500)
    for number in range(99):
        ran(schedule, number)
    days, times = read(schedule)
    assert (days.ended, days.rate) == (99, "100 %")
    assert (times.ended, times.rate) == (100, "99 %")
    ran(schedule, 99)
    assert read(schedule)[1].rate == "100 %"


@pytest.mark.parametrize(
    ("good", "ended", "rate"),
    [(99_999, 100_000, "99.9 %"), (1, 100_000, "0.1 %"), (0, 5, "0 %"), (5, 5, "100 %")],
)
def test_a_rate_is_not_rounded_to_all_or_nothing(good: int, ended: int, rate: str) -> None:
    assert Figures("", ended, good, 0, None, None).rate == rate
