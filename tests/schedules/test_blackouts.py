"""When a blackout holds and for whom, through the nights in which the clocks change, too.

Berlin goes from 02:00 to 03:00 on 2026-03-29 and from 03:00 back to 02:00 on 2026-10-25, both Sundays.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ami_integration.schedules.blackouts import (
    Blackout,
    blackout_for,
    blackouts_between,
    blackouts_load,
    windows,
)
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server, Tag
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)  # a Saturday
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


def once(**values: Any) -> Blackout:
    return Blackout(**{"name": "Audit", "starts_at": NOON, "ends_at": NOON + HOUR} | values)


def weekly(days: str, at: str, minutes: int | None, zone: str = "Europe/Berlin", **values: Any) -> Blackout:
    return Blackout(
        **{
            "name": "Weekend",
            "kind": "weekly",
            "weekdays": days,
            "starts_time": time.fromisoformat(at),
            "minutes": minutes,
            "timezone": zone,
        }
        | values
    )


def told(blackout: Blackout, since: str, until: str) -> list[tuple[str, str]]:
    """Its windows in UTC."""
    span = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (since, until))
    return [
        (f"{window.starts_at:%d %H:%M}", f"{window.ends_at:%d %H:%M}") for window in windows(blackout, *span)
    ]


# -- when


def test_a_window_holds_from_its_first_moment_up_to_its_last() -> None:
    def holds(at: datetime) -> bool:
        return bool(windows(once(), at, at))

    moments = (NOON - MICROSECOND, NOON, NOON + HOUR - MICROSECOND, NOON + HOUR)
    assert [holds(at) for at in moments] == [False, True, True, False]


@pytest.mark.parametrize(
    ("blackout", "since", "until", "expected"),
    [
        # Over midnight, in the days' own order; Berlin is an hour ahead of UTC.
        (
            weekly("56", "22:00", 480),
            "2026-01-29 00:00",
            "2026-02-02 00:00",
            [("30 21:00", "31 05:00"), ("31 21:00", "01 05:00")],
        ),
        # A window that began before the span and still holds.
        (weekly("6", "22:00", 480), "2026-02-01 04:00", "2026-02-01 04:00", [("31 21:00", "01 05:00")]),
        (weekly("6", "22:00", 480), "2026-02-01 05:00", "2026-02-01 05:00", []),
        # A whole week, each week: without a gap.
        (
            weekly("1", "00:00", 7 * 24 * 60, "UTC"),
            "2026-02-02 00:00",
            "2026-02-09 00:00",
            [("02 00:00", "09 00:00"), ("09 00:00", "16 00:00")],
        ),
        # The night in which an hour is skipped is shorter, the one in which it comes twice longer: both end
        # when the clocks show 06:00.
        (weekly("6", "22:00", 480), "2026-03-29 00:00", "2026-03-29 00:00", [("28 21:00", "29 04:00")]),
        (weekly("6", "22:00", 480), "2026-10-25 00:00", "2026-10-25 00:00", [("24 20:00", "25 05:00")]),
        # It begins when its time comes first, and ends when its end comes the second time.
        (weekly("7", "02:15", 30), "2026-10-25 00:00", "2026-10-25 03:00", [("25 00:15", "25 01:45")]),
        # A beginning that is skipped is the next minute that exists, and its length stays.
        (weekly("7", "02:15", 30), "2026-03-29 00:00", "2026-03-29 03:00", [("29 01:00", "29 01:30")]),
        # An end that is skipped: what the calendar moves from 02:20 to 03:00 is inside as well.
        (weekly("7", "01:30", 60), "2026-03-29 00:00", "2026-03-29 03:00", [("29 00:30", "29 01:30")]),
        # Where half an hour comes twice.
        (
            weekly("7", "01:00", 45, "Australia/Lord_Howe"),
            "2026-04-04 12:00",
            "2026-04-04 16:00",
            [("04 14:00", "04 15:15")],
        ),
        # Where midnight is skipped.
        (
            weekly("7", "00:00", 120, "Asia/Beirut"),
            "2026-03-28 20:00",
            "2026-03-29 00:00",
            [("28 22:00", "29 00:00")],
        ),
    ],
)
def test_a_weekly_window_is_read_as_clocks_on_the_wall_show_it(
    blackout: Blackout, since: str, until: str, expected: list[tuple[str, str]]
) -> None:
    assert told(blackout, since, until) == expected


@pytest.mark.parametrize(
    ("blackout", "field"),
    [
        (once(starts_at=None), "starts_at"),
        (once(ends_at=None), "ends_at"),
        (once(ends_at=NOON), "ends_at"),
        (once(starts_at=NOON.replace(year=1900)), "starts_at"),
        (once(ends_at=NOON.replace(year=9999)), "ends_at"),
        (weekly("", "22:00", 60), "weekdays"),
        (weekly("08", "22:00", 60), "weekdays"),
        (weekly("1", "22:00", 60, starts_time=None), "starts_time"),
        (weekly("1", "22:00", None), "minutes"),
        (weekly("1", "22:00", 0), "minutes"),
        (weekly("1", "22:00", 7 * 24 * 60 + 1), "minutes"),
        (weekly("1", "22:00", 60, "Europe/Bonn"), "timezone"),
    ],
)
@pytest.mark.django_db
def test_what_is_no_window_is_refused_beside_its_field(blackout: Blackout, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        blackout.full_clean()
    assert list(refused.value.message_dict) == [field]


@pytest.mark.django_db
def test_what_the_other_kind_asks_for_is_dropped() -> None:
    blackout = weekly("7551", "22:00", 480, starts_at=NOON, ends_at=NOON + HOUR)
    blackout.full_clean()
    assert (blackout.weekdays, blackout.starts_at, blackout.ends_at) == ("157", None, None)
    blackout.kind = Blackout.Kind.ONCE
    blackout.starts_at, blackout.ends_at = NOON, NOON + HOUR
    blackout.full_clean()
    assert (blackout.weekdays, blackout.starts_time, blackout.minutes) == ("", None, None)


def test_a_window_is_told_in_words() -> None:
    assert once(timezone="Europe/Berlin").words == "2026-01-31 13:00 to 2026-01-31 14:00 (Europe/Berlin)"
    assert weekly("67", "22:00", 480).words == (
        "Saturday, Sunday, 22:00 to 06:00 the next day (Europe/Berlin)"
    )
    assert weekly("1234567", "12:00", 60).words == "every day, 12:00 to 13:00 (Europe/Berlin)"


# -- for whom


@pytest.fixture
def fleet(db: None) -> tuple[Schedule, Server, Server]:
    """A schedule on Berlin, which has the tag eu, and Boston."""
    berlin, boston = make_server(), make_server(name="Boston")
    berlin.tags.add(Tag.objects.create(name="eu"))
    return make_schedule(servers=[berlin, boston]), berlin, boston


def test_without_blackouts_nothing_is_held(fleet: tuple[Schedule, Server, Server]) -> None:
    schedule, *servers = fleet
    assert not blackout_for(schedule=schedule, at=NOON, servers=servers)
    once(enabled=False).save()
    assert not blackout_for(schedule=schedule, at=NOON, servers=servers)


def test_a_fleet_wide_one_holds_everything(fleet: tuple[Schedule, Server, Server]) -> None:
    schedule, *servers = fleet
    once().save()
    held = blackout_for(schedule=schedule, at=NOON, servers=servers)
    assert held.whole is not None
    assert held.whole.sentence == "The blackout “Audit” holds until 2026-01-31 13:00 (UTC)."
    assert blackout_for(schedule=schedule, at=NOON, servers=[]).whole is not None
    assert blackout_for(schedule=None, at=NOON, servers=servers).whole is not None
    assert not blackout_for(schedule=schedule, at=NOON + HOUR, servers=servers)


def test_one_of_some_schedules_holds_no_others(fleet: tuple[Schedule, Server, Server]) -> None:
    schedule, *servers = fleet
    other = make_schedule(name="Other", owner=make_planner("bob"), servers=servers)
    blackout = once(scope="some")
    blackout.save()
    blackout.schedules.add(other)
    assert blackout_for(schedule=other, at=NOON, servers=servers).whole is not None
    assert not blackout_for(schedule=schedule, at=NOON, servers=servers)
    assert not blackout_for(schedule=None, at=NOON, servers=servers)


def test_deleting_what_one_is_about_makes_it_nobodys_and_not_everybodys(
    fleet: tuple[Schedule, Server, Server],
) -> None:
    schedule, berlin, boston = fleet
    other = make_schedule(name="Other", owner=make_planner("bob"), servers=[berlin])
    blackout = once(scope="some")
    blackout.save()
    blackout.schedules.add(other)
    other.delete()
    assert not blackout_for(schedule=schedule, at=NOON, servers=[berlin, boston])
    tagged = once(name="Of a tag", tag=Tag.objects.get())
    tagged.save()
    Tag.objects.all().delete()
    assert not blackout_for(schedule=schedule, at=NOON, servers=[berlin, boston])


def test_one_of_a_tag_holds_its_servers_and_all_of_it_if_no_other_is_left(
    fleet: tuple[Schedule, Server, Server],
) -> None:
    schedule, berlin, boston = fleet
    once(tag=Tag.objects.get()).save()
    held = blackout_for(schedule=schedule, at=NOON, servers=[berlin, boston])
    assert (held.whole, list(held.servers)) == (None, [berlin.pk])
    assert blackout_for(schedule=schedule, at=NOON, servers=[berlin]).whole is not None
    assert not blackout_for(schedule=schedule, at=NOON, servers=[boston])
    assert not blackout_for(schedule=schedule, at=NOON, servers=[])


def test_one_of_a_tag_and_some_schedules_holds_where_both_are_met(
    fleet: tuple[Schedule, Server, Server],
) -> None:
    schedule, berlin, boston = fleet
    other = make_schedule(name="Other", owner=make_planner("bob"), servers=[berlin])
    blackout = once(tag=Tag.objects.get(), scope="some")
    blackout.save()
    blackout.schedules.add(other)
    assert not blackout_for(schedule=schedule, at=NOON, servers=[berlin, boston])
    assert blackout_for(schedule=other, at=NOON, servers=[berlin]).whole is not None


def test_of_several_the_one_that_ends_last_is_told(fleet: tuple[Schedule, Server, Server]) -> None:
    schedule, *servers = fleet
    once().save()
    once(name="Longer", ends_at=NOON + 2 * HOUR).save()
    once(name="Past", starts_at=NOON - 2 * HOUR, ends_at=NOON).save()
    held = blackout_for(schedule=schedule, at=NOON, servers=servers)
    assert held.whole is not None
    assert held.whole.blackout.name == "Longer"


def test_rules_that_were_read_once_answer_without_another_query(
    fleet: tuple[Schedule, Server, Server],
) -> None:
    schedule, *servers = fleet
    once(tag=Tag.objects.get()).save()
    rules = blackouts_load()
    with CaptureQueriesContext(connection) as asked:
        assert blackout_for(schedule=schedule, at=NOON, servers=servers, rules=rules)
    assert len(asked) == 0


@pytest.mark.django_db
def test_a_calendar_gets_every_window_that_touches_its_span_as_they_begin() -> None:
    weekly("6", "22:00", 480, "UTC").save()
    once().save()
    once(name="Off", enabled=False).save()
    once(name="Later", starts_at=NOON + timedelta(days=30), ends_at=NOON + timedelta(days=31)).save()
    found = blackouts_between(NOON - timedelta(days=1), NOON + timedelta(days=7, hours=12))
    assert [window.blackout.name for window in found] == ["Audit", "Weekend", "Weekend"]


def test_a_window_says_the_seconds_at_which_it_ends() -> None:
    since = datetime(2031, 7, 1, 19, 0, tzinfo=UTC)
    blackout = Blackout(name="Move", starts_at=since, ends_at=since + timedelta(seconds=2575))
    assert blackout.words == "2031-07-01 19:00 to 2031-07-01 19:42:55 (UTC)"
    (window,) = windows(blackout, since, since)
    assert window.sentence == "The blackout “Move” holds until 2031-07-01 19:42:55 (UTC)."
