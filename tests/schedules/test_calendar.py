"""When a schedule is due, the days of a clock change included.

The dates are real changes of real zones: Berlin goes from 02:00 to 03:00 on 2026-03-29 and from 03:00 back
to 02:00 on 2026-10-25; New York from 02:00 to 03:00 on 2026-03-08 and back on 2026-11-01; Lord Howe moves
by half an hour, on 2026-04-05 back from 02:00 to 01:30; Beirut springs forward at midnight, on 2026-03-29.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given
from hypothesis import strategies as st

from ami_integration.schedules.calendar import (
    BadTiming,
    clock_note,
    first_time,
    next_times,
    timing_check,
    timing_words,
    wall_moment,
)
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
        # That holds for frequent ones as well: what should go on through a repeated hour is an interval.
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25 02:00",
            ["25 02:30 +0200", "25 03:00 +0100", "25 03:30 +0100"],
        ),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-03-29 01:00",
            ["29 01:30 +0100", "29 03:00 +0200", "29 03:30 +0200"],
        ),
        ("*/30 * * * *", "America/New_York", "2026-11-01 01:00", ["01 01:30 -0400", "01 02:00 -0500"]),
        ("*/20 * * * *", "America/New_York", "2026-03-08 01:30", ["08 01:40 -0500", "08 03:00 -0400"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-04-05 01:30", ["05 01:45 +1100", "05 02:00 +1030"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-10-04 01:45", ["04 02:30 +1100", "04 02:45 +1100"]),
        ("0 */2 * * *", "Asia/Beirut", "2026-10-24 22:00", ["25 00:00 +0200", "25 02:00 +0200"]),
        ("0 */2 * * *", "America/Santiago", "2026-09-05 22:00", ["06 01:00 -0300", "06 02:00 -0300"]),
        # Where half an hour is skipped.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["04 02:30 +1100", "05 02:15 +1100"]),
        ("*/15 2 * * *", "Australia/Lord_Howe", "2026-10-04 00:00", ["04 02:30 +1100", "04 02:45 +1100"]),
        # The clocks change at midnight in Santiago: forward, and back to 23:00 of the day that just ended.
        ("0 0 * * *", "America/Santiago", "2026-09-05 12:00", ["06 01:00 -0300", "07 00:00 -0300"]),
        ("30 23 * * *", "America/Santiago", "2026-04-04 12:00", ["04 23:30 -0300", "05 23:30 -0400"]),
        # Casablanca goes back for the weeks of Ramadan.
        ("30 2 * * *", "Africa/Casablanca", "2026-02-14 12:00", ["15 02:30 +0100", "16 02:30 +0000"]),
        ("30 2 * * *", "Africa/Casablanca", "2026-03-21 12:00", ["22 03:00 +0100", "23 02:30 +0100"]),
        # Where nothing changes, nothing changes; Tehran has given it up.
        ("30 0 * * *", "Asia/Tehran", "2026-03-20 12:00", ["21 00:30 +0330", "22 00:30 +0330"]),
        ("30 2 * * *", "UTC", "2026-03-28 12:00", ["29 02:30 +0000", "30 02:30 +0000"]),
        ("30 2 * * 1-5", "Asia/Tokyo", "2026-03-27 12:00", ["30 02:30 +0900", "31 02:30 +0900"]),
    ],
)
def test_a_crontab_around_a_change_of_the_clocks(text: str, zone: str, after: str, times: list[str]) -> None:
    assert local(text, zone, after, len(times)) == times


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
TWICE = "comes twice that day and runs once; an interval goes on through both"


@pytest.mark.parametrize(
    ("text", "zone", "after", "notes"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["the clocks skip 02:30 that day", ""]),
        # Of several that are skipped, the first; and a time of its own there is not moved.
        ("*/15 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["the clocks skip 02:00 that day", ""]),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29 01:00", ["the clocks skip 02:00 that day", ""]),
        ("0 3 * * *", "Europe/Berlin", "2026-03-28 12:00", ["", ""]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["the clocks skip 02:15 that day", ""]),
        ("0 0 * * *", "America/Santiago", "2026-09-05 12:00", ["the clocks skip 00:00 that day", ""]),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24 12:00",
            [f"02:30 {TWICE}", ""],
        ),
        ("30 1-3 * * *", "Europe/Berlin", "2026-10-25 00:00", ["", f"02:30 {TWICE}", ""]),
        ("30 * * * *", "Europe/Berlin", "2026-10-25 02:00", [f"02:30 {TWICE}", "", ""]),
        ("30 * * * *", "Europe/Berlin", "2026-03-29 01:00", ["", "the clocks skip 02:30 that day", ""]),
        ("0 * * * *", "America/Santiago", "2026-09-05 22:30", ["", "the clocks skip 00:00 that day", ""]),
        ("30 2 * * *", "Asia/Tehran", "2026-03-20 12:00", ["", ""]),
        ("30 2 * * *", "UTC", "2026-03-28 12:00", ["", ""]),
    ],
)
def test_what_a_change_of_the_clocks_does_is_told(text: str, zone: str, after: str, notes: list[str]) -> None:
    when = crontab(text, zone)
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    times = next_times(timing=when, after=start, count=len(notes))
    assert [clock_note(timing=when, moment=time) for time in times] == notes


@pytest.mark.parametrize(
    ("wall", "zone", "moment"),
    [
        ("2026-03-29 02:30:15", "Europe/Berlin", "2026-03-29 01:00:00"),  # skipped: the next minute
        ("2026-10-25 02:30:15", "Europe/Berlin", "2026-10-25 00:30:15"),  # twice: the first
        ("2026-07-01 12:00:00", "Europe/Berlin", "2026-07-01 10:00:00"),
        ("2026-09-06 00:59:59", "America/Santiago", "2026-09-06 04:00:00"),
        ("2011-12-30 12:00:00", "Pacific/Apia", "2011-12-30 10:00:00"),  # Samoa left out a whole day
    ],
)
def test_a_time_on_the_wall_becomes_a_moment(wall: str, zone: str, moment: str) -> None:
    assert wall_moment(datetime.fromisoformat(wall), ZoneInfo(zone)) == datetime.fromisoformat(
        moment
    ).replace(tzinfo=UTC)


def test_a_one_off_is_due_once() -> None:
    once = timing(kind="once", once_at=NOON)
    assert next_times(timing=once, after=NOON - SECOND, count=10) == [NOON]
    assert next_times(timing=once, after=NOON, count=10) == []
    assert timing_words(timing=timing(kind="once", once_at=NOON, timezone="Asia/Tokyo")) == (
        "Once, on Saturday 31 January 2026 at 21:00:00"
    )
    # Whichever zone it comes in, it is that moment.
    tokyo = timing(kind="once", once_at=NOON.astimezone(ZoneInfo("Asia/Tokyo")))
    (moment,) = next_times(timing=tokyo, after=NOON - SECOND, count=1)
    assert (moment, moment.tzinfo) == (NOON, UTC)


@pytest.mark.parametrize("values", [{"crontab": "0 12 * * *"}, {"kind": "once", "once_at": NOON}])
def test_start_and_end_belong_to_the_span(values: dict[str, Any]) -> None:
    def times(**bounds: datetime) -> list[datetime]:
        return next_times(timing=timing(**values, **bounds), after=NOON - DAY, count=1)

    assert times(starts_at=NOON, ends_at=NOON + SECOND) == [NOON]
    assert times(starts_at=NOON - SECOND, ends_at=NOON) == [NOON]
    assert NOON not in times(starts_at=NOON + SECOND)
    assert times(ends_at=NOON - SECOND) == []


def test_a_crontab_between_two_dates_goes_from_the_first_to_the_last_time_in_it() -> None:
    when = timing(crontab="0 12 * * *", starts_at=NOON + DAY / 2, ends_at=NOON + 3 * DAY)
    assert next_times(timing=when, after=NOON - 9 * DAY, count=9) == [NOON + DAY * n for n in (1, 2, 3)]


def test_an_interval_that_starts_later_begins_with_its_start() -> None:
    when = interval(3600, NOON, starts_at=NOON + DAY, ends_at=NOON + DAY + timedelta(hours=2))
    assert next_times(timing=when, after=NOON, count=9) == [
        NOON + DAY + timedelta(hours=number) for number in (0, 1, 2)
    ]
    # A start that has passed changes nothing about what it is counted from.
    begun = interval(3600, NOON, starts_at=NOON - DAY)
    assert next_times(timing=begun, after=NOON, count=1) == [NOON + timedelta(hours=1)]


def test_the_first_time_is_the_next_one() -> None:
    assert first_time(timing=crontab("0 12 * * *"), now=NOON) == NOON + DAY


@pytest.mark.parametrize(
    ("when", "field", "words"),
    [
        (timing(kind="once", once_at=NOON), "once_at", "passed already"),
        (timing(kind="once", once_at=NOON + DAY, ends_at=NOON + SECOND), "ends_at", "none of its times"),
        (timing(kind="once", once_at=NOON + SECOND, starts_at=NOON + DAY), "starts_at", "none of its times"),
        (timing(crontab="0 12 * * *", ends_at=NOON), "ends_at", "end has passed already"),
        (timing(crontab="0 12 * * *", ends_at=NOON + SECOND), "ends_at", "none of its times"),
    ],
)
def test_what_would_never_run_is_refused_with_the_field_at_fault(when: Any, field: str, words: str) -> None:
    with pytest.raises(BadTiming, match=words) as refused:
        first_time(timing=when, now=NOON)
    assert refused.value.field == field


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
        (timing(kind="once"), "once_at", "Give the day and the time"),
        (timing(crontab="0 0 * * *", starts_at=NOON, ends_at=NOON), "ends_at", "ends before it starts"),
        (timing(kind="once", once_at=datetime.max.replace(tzinfo=UTC)), "once_at", "between 2000 and 2099"),
        (timing(crontab="0 0 * * *", starts_at=NOON.replace(year=1999)), "starts_at", "Write a year"),
        (timing(crontab="0 0 * * *", ends_at=NOON.replace(year=2100)), "ends_at", "Write a year"),
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


def listed(lowest: int, highest: int) -> st.SearchStrategy[str]:
    """A field of a crontab that names its values: single ones, ranges, steps."""
    value = st.integers(lowest, highest)
    pair = st.tuples(value, value).map(sorted)
    return st.lists(
        value.map(str)
        | pair.map(lambda both: f"{both[0]}-{both[1]}")
        | st.tuples(pair, st.integers(1, 7)).map(lambda both: f"{both[0][0]}-{both[0][1]}/{both[1]}"),
        min_size=1,
        max_size=3,
    ).map(",".join)


@given(
    minute=st.just("*") | listed(0, 59),
    hour=listed(0, 23),
    day=st.sampled_from(["*", "L", "*/9"]) | listed(1, 31),
    month=st.just("*") | listed(1, 12),
    weekday=st.sampled_from(["*", "5L", "1#3", "MON-FRI", "*/3"]) | listed(0, 7),
    after=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
)
def test_where_no_clock_changes_a_crontab_means_what_cronsim_says(
    minute: str, hour: str, day: str, month: str, weekday: str, after: datetime
) -> None:
    text = f"{minute} {hour} {day} {month} {weekday}"
    try:
        expected = list(islice(CronSim(text, after), 5))
    except CronSimError:
        assume(False)
    times = next_times(timing=crontab(text), after=after.replace(tzinfo=UTC), count=5)
    assert [time.replace(tzinfo=None) for time in times] == expected


#: Zones, and a day on which their clocks change; Tehran's don't any more.
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Santiago", "2026-04-04"),
    ("America/Santiago", "2026-09-06"),
    ("Asia/Beirut", "2026-03-29"),
    ("Asia/Beirut", "2026-10-24"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Asia/Tehran", "2026-03-21"),
]


@given(
    change=st.sampled_from(CHANGES),
    minute=st.sampled_from(["*", "*/15", "30", "0,59", "7"]),
    hour=st.sampled_from(["*", "*/2", "*/5", "0-3", "23", "0,1,2"]),
)
def test_each_time_that_clocks_show_comes_once_and_none_is_left_out(
    change: tuple[str, str], minute: str, hour: str
) -> None:
    """Against a walk through the minutes of three days, as somebody with a clock and a list would do it."""
    zone, day = ZoneInfo(change[0]), datetime.fromisoformat(change[1])
    fields = CronSim(f"{minute} {hour} * * *", day)
    since = (day - DAY).replace(tzinfo=zone).astimezone(UTC)
    expected, served, before = [], set(), since.astimezone(zone).replace(tzinfo=None)
    for number in range(1, 3 * 24 * 60):
        moment = since + timedelta(minutes=number)
        wall = moment.astimezone(zone).replace(tzinfo=None)
        shown = [
            before + timedelta(minutes=late) for late in range(1, (wall - before) // timedelta(minutes=1))
        ]
        wanted = {
            time for time in [*shown, wall] if time.minute in fields.minutes and time.hour in fields.hours
        }
        if wanted - served:
            expected.append(moment)
        served |= wanted
        before = wall
    times = next_times(timing=crontab(f"{minute} {hour} * * *", change[0]), after=since, count=5000)
    assert [time for time in times if time < since + timedelta(minutes=3 * 24 * 60)] == expected


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


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/30 * * * *", "Every 30 minutes"),
        ("*/15 8-17 * * 1-5", "Every 15 minutes from 08:00 through 17:59 on Monday through Friday"),
        ("*/7 * * * *", "Every seventh minute of every hour"),  # from :56 to :00 it isn't seven minutes
        ("0 */6 * * *", "At minute 0, every 6 hours"),
        ("5 */5 * * *", "At minute 5 past every fifth hour"),
        ("*/5 */2 * * *", "Every 5 minutes past every second hour"),
        ("* * * * *", "Every minute"),
    ],
)
def test_steps_that_come_evenly_are_told_by_their_distance(expression: str, words: str) -> None:
    assert timing_words(timing=crontab(expression)) == words


def test_what_comes_once_at_a_skipped_time_says_that_the_clocks_skip_it() -> None:
    moved = wall_moment(datetime(2027, 3, 28, 2, 30), ZoneInfo("Europe/Berlin"))
    once = timing(kind="once", once_at=moved, timezone="Europe/Berlin")
    assert clock_note(timing=once, moment=moved) == "the clocks skip 02:00 to 03:00 that day"
    other = timing(kind="once", once_at=NOON, timezone="Europe/Berlin")
    assert clock_note(timing=other, moment=NOON) == ""
