"""Planned times of a week: those of the calendar that the tick follows, however they are counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.schedules.calendar import next_times
from ami_integration.schedules.planning import FREQUENT, Plan, last_time, planned_count, planned_times
from ami_integration.schedules.slots import week_of

WEEK = week_of("Europe/Berlin", date(2026, 10, 25))
ALL = (WEEK.days[0].since, WEEK.days[-1].until)


def make_plan(**values: Any) -> Plan:
    usual: dict[str, Any] = {
        "kind": "crontab",
        "crontab": "",
        "interval_seconds": None,
        "timezone": "Europe/Berlin",
        "anchor_at": datetime(2026, 1, 1, tzinfo=UTC),
        "once_at": None,
        "starts_at": None,
        "ends_at": None,
    }
    return Plan(**usual | values)


def times_of(plan: Plan, count: int = 12_000) -> list[int]:
    """By the function that the tick calls."""
    after = WEEK.since - timedelta(microseconds=1)
    times = next_times(timing=plan, after=after, count=count)
    return [int(time.timestamp()) for time in times if time < WEEK.until]


@pytest.mark.parametrize(
    "crontab", ["30 2 * * *", "0 */4 * * *", "15 1,2 * * 0", "0 0 1 1 *", "0 9-17/4 * * 1-5", "0 0 31 2,3 *"]
)
def test_the_times_of_a_week_are_those_of_the_calendar(crontab: str) -> None:
    plan = make_plan(crontab=crontab)
    expected = times_of(plan, FREQUENT * 2)
    assert list(planned_times(plan, WEEK) or []) == (expected if len(expected) <= FREQUENT else [])
    assert planned_count(plan, WEEK, *ALL) == len(expected)


@pytest.mark.parametrize(
    ("crontab", "number"),
    [("*/5 * * * *", 2016), ("0 * * * *", 168), ("* * * * *", 10_080), ("* 1 * * *", 420)],
)
def test_what_is_due_too_often_is_counted_and_the_hour_that_comes_twice_counts_once(
    crontab: str, number: int
) -> None:
    plan = make_plan(crontab=crontab)
    assert planned_times(plan, WEEK) is None
    assert planned_count(plan, WEEK, *ALL) == len(times_of(plan)) == number


def test_a_crontab_that_cannot_be_read_any_more_is_due_never() -> None:
    plan = make_plan(crontab="30 25 * * *")
    assert list(planned_times(plan, WEEK) or []) == []
    assert planned_count(plan, WEEK, *ALL) == 0


MOMENTS = st.datetimes(datetime(2026, 10, 10), datetime(2026, 11, 5), timezones=st.just(UTC))


@given(
    seconds=st.integers(60, 200_000),
    anchor=MOMENTS,
    starts=st.none() | MOMENTS,
    ends=st.none() | MOMENTS,
    cut=st.integers(*ALL),
)
def test_intervals_are_counted_by_arithmetic_as_the_calendar_counts_them(
    seconds: int, anchor: datetime, starts: datetime | None, ends: datetime | None, cut: int
) -> None:
    if starts is not None and ends is not None and ends <= starts:
        starts, ends = ends, starts
        if starts == ends:
            ends = None
    plan = make_plan(
        kind="interval", interval_seconds=seconds, anchor_at=anchor, starts_at=starts, ends_at=ends
    )
    after = WEEK.since - timedelta(microseconds=1)
    times = [time for time in next_times(timing=plan, after=after, count=11_000) if time < WEEK.until]
    assert planned_count(plan, WEEK, *ALL) == len(times)
    before = planned_count(plan, WEEK, ALL[0], cut)
    assert before == sum(time.timestamp() < cut for time in times)
    assert before + planned_count(plan, WEEK, cut, ALL[1]) == len(times)


def test_an_interval_of_a_second_is_counted_without_walking() -> None:
    plan = make_plan(kind="interval", interval_seconds=1)
    assert planned_count(plan, WEEK, *ALL) == 169 * 3600


def test_what_may_run_only_so_often_is_due_for_the_last_time() -> None:
    plan = make_plan(crontab="30 2 * * *", timezone="UTC")
    next_at = datetime(2026, 10, 19, 2, 30, tzinfo=UTC)
    assert last_time(plan, next_at, 3) == next_at + timedelta(days=2)
    assert last_time(plan, next_at, 100_000) is None
