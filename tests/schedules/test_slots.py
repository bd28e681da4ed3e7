"""Weeks on the clocks of a zone: each hour once, on days of 23, 24 and 25 hours."""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime

import pytest

from ami_integration.schedules.slots import week_of

CHANGES = [
    # zone, day, seconds of the day, hours that it shows, what it shows twice
    ("Europe/Berlin", date(2026, 3, 29), 23 * 3600, 23, []),
    ("Europe/Berlin", date(2026, 10, 25), 25 * 3600, 25, [2]),
    ("America/New_York", date(2026, 11, 1), 25 * 3600, 25, [1]),
    ("Australia/Lord_Howe", date(2026, 10, 4), 84_600, 24, []),
    ("Australia/Lord_Howe", date(2026, 4, 5), 88_200, 25, [1]),
    ("America/Santiago", date(2026, 9, 6), 23 * 3600, 23, []),
    ("America/Santiago", date(2026, 4, 4), 25 * 3600, 25, [23]),
    ("Asia/Kathmandu", date(2026, 10, 25), 24 * 3600, 24, []),
    ("UTC", date(2026, 10, 25), 24 * 3600, 24, []),
]


@pytest.mark.parametrize(("zone", "day", "seconds", "hours", "twice"), CHANGES)
def test_a_day_has_the_hours_that_its_clocks_show(
    zone: str, day: date, seconds: int, hours: int, twice: list[int]
) -> None:
    week = week_of(zone, day)
    shown = week.days[day.weekday()]
    assert shown.date == day
    assert shown.until - shown.since == seconds
    assert len(shown.slots) == hours
    assert [slot.hour for slot in shown.slots if slot.again] == twice
    assert bool(shown.note) == (seconds != 24 * 3600)
    assert len(week.rows) == 24 + len(twice)


@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, day, *_ in CHANGES])
def test_the_hours_of_a_week_follow_each_other_from_monday_to_monday(zone: str, day: date) -> None:
    week = week_of(zone, day)
    assert week.monday.weekday() == 0
    ends = [slot.until for slot in week.slots]
    assert [slot.since for slot in week.slots] == [week.days[0].since, *ends[:-1]]
    assert ends[-1] == week.days[-1].until
    for number, slot in enumerate(week.slots):
        for moment in (slot.since, slot.until - 1):
            assert week.slot_at(moment) == number
            assert datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone)).hour == slot.hour


def test_a_day_that_begins_without_a_midnight_begins_when_the_clocks_have_jumped() -> None:
    day = week_of("America/Santiago", date(2026, 9, 6)).days[6]
    assert (day.slots[0].hour, day.slots[0].since) == (1, day.since)
    assert day.note == "23 hours: the clocks go forward"
