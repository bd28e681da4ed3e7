"""When a schedule is due, the days of a clock change included.

The dates are real changes of real zones: Berlin goes from 02:00 to 03:00 on 2026-03-29 and from 03:00 back
to 02:00 on 2026-10-25; New York from 02:00 to 03:00 on 2026-03-08 and back on 2026-11-01; Lord Howe moves
by half an hour, on 2026-04-05 back from 02:00 to 01:30; Beirut springs forward at midnight, on 2026-03-29.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.schedules.calendar import BadTiming, next_times, timing_check, timing_words
from ami_integration.zones import zone_names


def crontab(text: str, zone: str = "UTC") -> SimpleNamespace:
    return timing(crontab=text, timezone=zone)


def interval(seconds: int | None, anchor: datetime, **bounds: datetime) -> SimpleNamespace:
    return timing(kind="interval", interval_seconds=seconds, anchor_at=anchor, **bounds)


def timing(**values: Any) -> SimpleNamespace:
    nothing = dict.fromkeys(("interval_seconds", "anchor_at", "once_at", "starts_at", "ends_at"))
    return SimpleNamespace(**({"kind": "crontab", "crontab": "", "timezone": "UTC"} | nothing | values))


def local(text: str, zone: str, after: str, count: int) -> list[str]:
    """The next times on the clocks of the zone, with their distance to UTC in hours."""
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    times = next_times(timing=crontab(text, zone), after=start, count=count)
    assert all(time.tzinfo is UTC for time in times)
    return [f"{time.astimezone(ZoneInfo(zone)):%d %H:%M %z}" for time in times]


@pytest.mark.parametrize(
    ("text", "zone", "after", "times"),
    [
        # A time that the clocks skip runs at the next minute that exists, and is back to normal the day
        # after.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:30 +0200"]),
        ("30 2 * * *", "America/New_York", "2026-03-07 12:00", ["08 03:00 -0400", "09 02:30 -0400"]),
        # However many times were skipped, that minute is one run; and a time of its own there is the same
        # one.
        ("0,15,30 2,3 29 3 *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +0200", "29 03:15 +0200"]),
        ("*/15 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        # Midnight is skipped where clocks change at midnight.
        ("0 0 * * *", "Asia/Beirut", "2026-03-28 12:00", ["29 01:00 +0300", "30 00:00 +0300"]),
        # A time that happens twice runs the first time only.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", ["25 02:30 +0200", "26 02:30 +0100"]),
        ("30 1 * * *", "America/New_York", "2026-10-31 12:00", ["01 01:30 -0400", "02 01:30 -0500"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-25 01:00",
            ["25 02:00 +0200", "25 02:30 +0200", "26 02:00 +0100"],
        ),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", ["05 01:45 +1100", "06 01:45 +1030"]),
        # Hours given by a star are a rhythm: the repeated hour is served twice, the skipped one not at all.
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-10-25 01:00",
            ["25 01:30 +0200", "25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100"],
        ),
        ("30 * * * *", "Europe/Berlin", "2026-03-29 01:00", ["29 01:30 +0100", "29 03:30 +0200"]),
        # Where nothing changes, nothing changes.
        ("30 2 * * *", "UTC", "2026-03-28 12:00", ["29 02:30 +0000", "30 02:30 +0000"]),
        ("30 2 * * 1-5", "Asia/Tokyo", "2026-03-27 12:00", ["30 02:30 +0900", "31 02:30 +0900"]),
    ],
)
def test_a_crontab_around_a_change_of_the_clocks(text: str, zone: str, after: str, times: list[str]) -> None:
    assert local(text, zone, after, len(times)) == times


def test_in_the_repeated_hour_a_time_that_was_served_does_not_come_again() -> None:
    # 02:10 for the second time; 02:30 was served 40 minutes ago.
    after = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    (time,) = next_times(timing=crontab("30 2 * * *", "Europe/Berlin"), after=after, count=1)
    assert time == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_the_answer_comes_strictly_later() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    timing = crontab("0 12 * * *")
    assert next_times(timing=timing, after=noon, count=1) == [noon + timedelta(days=1)]
    assert next_times(timing=timing, after=noon - timedelta(microseconds=1), count=1) == [noon]
    assert next_times(timing=timing, after=noon + timedelta(microseconds=1), count=1) == [
        noon + timedelta(days=1)
    ]


def test_an_interval_is_counted_from_its_anchor_without_drift() -> None:
    anchor = datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)
    timing = interval(90, anchor)
    assert next_times(timing=timing, after=anchor, count=2) == [
        anchor + timedelta(seconds=90),
        anchor + timedelta(seconds=180),
    ]
    late = anchor + timedelta(seconds=181)
    assert next_times(timing=timing, after=late, count=1) == [anchor + timedelta(seconds=270)]
    assert next_times(timing=timing, after=anchor - timedelta(days=1), count=1) == [
        anchor + timedelta(seconds=90)
    ]


@pytest.mark.parametrize(
    ("timing", "field", "words"),
    [
        (crontab(""), "crontab", "has five fields"),
        (crontab("* * * *"), "crontab", "this has 4"),
        (crontab("0 * * * * *"), "crontab", "this has 6"),
        (crontab("61 * * * *"), "crontab", "The minute '61'"),
        (crontab("0 24 * * *"), "crontab", "The hour '24'"),
        (crontab("0 0 0 * *"), "crontab", "The day of month '0'"),
        (crontab("0 0 * 13 *"), "crontab", "The month '13'"),
        (crontab("0 0 * * MOO"), "crontab", "The day of week 'MOO'"),
        (crontab("0 0 31 2 *"), "crontab", "No day of the calendar"),
        (crontab("0 0 * * *", "Europe/Bonn"), "timezone", "no time zone 'Europe/Bonn'"),
        (crontab("0 0 * * *", "../etc/passwd"), "timezone", "no time zone"),
        (interval(None, datetime.now(UTC)), "interval_seconds", "Give the interval"),
        (interval(0, datetime.now(UTC)), "interval_seconds", "Give the interval"),
        (interval(10**9, datetime.now(UTC)), "interval_seconds", "Give the interval"),
    ],
)
def test_a_bad_timing_is_refused_with_its_field_and_what_to_write(
    timing: Any, field: str, words: str
) -> None:
    with pytest.raises(BadTiming) as refused:
        timing_check(timing=timing)
    assert refused.value.field == field
    assert words in str(refused.value)
    with pytest.raises(BadTiming):
        next_times(timing=timing, after=datetime.now(UTC), count=1)


def test_timings_are_told_in_words() -> None:
    assert timing_words(timing=crontab("30 2 * * 1-5")) == "At 02:30 on Monday through Friday"
    assert timing_words(timing=interval(90, datetime.now(UTC))) == "Every 90 seconds"


field = st.text("0123456789*/-,L#WMONJAN", min_size=1, max_size=8)


@given(st.lists(field, min_size=5, max_size=5))
def test_no_text_makes_the_calendar_fail_in_another_way_than_its_own(fields: list[str]) -> None:
    timing = crontab(" ".join(fields), "Europe/Berlin")
    try:
        times = next_times(timing=timing, after=datetime(2026, 3, 28, tzinfo=UTC), count=3)
        timing_words(timing=timing)
    except BadTiming:
        return
    assert times == sorted(set(times))


@given(
    zone=st.sampled_from(sorted(zone_names())),
    after=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    text=st.sampled_from(
        [
            "30 2 * * *",
            "*/20 1,2,3 * * *",
            "0 0 * * *",
            "15 * * * *",
            "0 */2 * * *",
            "59 23 L * *",
            "0 0 29 2 *",
        ]
    ),
)
def test_times_ascend_lie_after_the_start_and_follow_from_each_other(
    zone: str, after: datetime, text: str
) -> None:
    timing = crontab(text, zone)
    times = next_times(timing=timing, after=after, count=8)
    assert len(times) == 8
    assert all(one < two for one, two in zip([after, *times], times, strict=False))
    # The tick walks from each planned time to the next, the preview counts on: both must say the same.
    walked, at = [], after
    for _ in times:
        (at,) = next_times(timing=timing, after=at, count=1)
        walked.append(at)
    assert walked == times
