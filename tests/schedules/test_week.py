"""The calendar's week: what ran, what is planned, and who sees it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.hours import hour_read
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.outcomes import Group, group_of
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.questions import Question, question_read
from ami_integration.schedules.week import BANDS, SHOWN, Cell, WeekPage, week_read
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.database]
#: A Wednesday.
NOW = datetime(2026, 10, 21, 12, 34, tzinfo=UTC)
BERLIN = "Europe/Berlin"


@pytest.fixture
def ada() -> User:
    return make_planner()


def make_daily(owner: User, name: str = "Nightly", **values: Any) -> Schedule:
    """A schedule that runs every day at 02:30 of Berlin."""
    usual = {
        "kind": "crontab",
        "crontab": "30 2 * * *",
        "timezone": BERLIN,
        "next_at": datetime(2026, 10, 22, 0, 30, tzinfo=UTC),
    }
    if not values.keys() & {"server", "servers", "tag"}:
        values["server"] = make_server(name=f"PBX of {name}")
    return make_schedule(owner=owner, name=name, **usual | values)


def ran(schedule: Schedule, at: datetime, result: str = "succeeded", **values: Any) -> PlannedRun:
    return PlannedRun.objects.create(
        schedule=schedule, planned_at=at, **{"outcome": "submitted", "result": result} | values
    )


def asked(user: User, now: datetime = NOW, **address: str) -> Question:
    return question_read(user=user, address={"tz": BERLIN} | address, now=now)


def read(user: User, now: datetime = NOW, **address: str) -> WeekPage:
    return week_read(user=user, question=asked(user, now, **address))


def cell_at(week: WeekPage, day: int, hour: int, *, again: bool = False) -> Cell | None:
    (row,) = [row for row in week.rows if (row.hour, row.again) == (f"{hour:02}:00", again)]
    return row.cells[day][0]


def entries_at(week: WeekPage, day: int, hour: int, *, again: bool = False) -> list[tuple[str, str]]:
    cell = cell_at(week, day, hour, again=again)
    assert cell is not None
    return [(entry.name, entry.state) for entry in cell.entries]


def test_what_ran_and_what_is_planned_stand_at_their_hours_of_the_persons_zone(ada: User) -> None:
    nightly = make_daily(ada)
    ran(nightly, datetime(2026, 10, 21, 0, 30, tzinfo=UTC), "failed")
    week = read(ada)
    assert entries_at(week, 2, 2) == [("Nightly", "failed")]
    assert [entries_at(week, day, 2) for day in (0, 1, 3, 4, 5, 6)] == [
        [],
        [],
        *[[("Nightly", "planned")]] * 4,
    ]
    assert week.words == "1 went wrong, 4 planned"
    elsewhere = read(ada, tz="Asia/Tokyo")
    assert entries_at(elsewhere, 2, 9) == [("Nightly", "failed")]


def test_now_is_marked_in_its_own_hour_alone(ada: User) -> None:
    make_daily(ada)
    week = read(ada)
    marked = [
        (row.hour, day) for row in week.rows for day, (cell, _) in enumerate(row.cells) if cell and cell.now
    ]
    assert marked == [("14:00", 2)]
    assert [column.today for column in week.columns].index(True) == 2
    later = read(ada, day="2026-11-02")
    assert not any(row.now for row in later.rows)


def test_an_hour_that_comes_twice_has_two_rows_and_one_that_is_skipped_has_no_cell(ada: User) -> None:
    schedule = make_daily(ada, crontab="0 6 * * *")
    autumn = datetime(2026, 10, 26, 12, tzinfo=UTC)
    ran(schedule, datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "succeeded")  # 02:30, the first
    ran(schedule, datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "failed")  # 02:30, the second
    week = read(ada, now=autumn, day="2026-10-25")
    assert len(week.rows) == 25
    assert entries_at(week, 6, 2) == [("Nightly", "succeeded")]
    assert entries_at(week, 6, 2, again=True) == [("Nightly", "failed")]
    assert cell_at(week, 5, 2, again=True) is None
    assert week.columns[6].day.note == "25 hours: the clocks go back"
    spring = read(ada, day="2026-03-29")
    assert cell_at(spring, 6, 2) is None
    assert cell_at(spring, 5, 2) is not None


def test_a_full_hour_shows_a_few_those_that_went_wrong_first_and_says_how_many_more(ada: User) -> None:
    at = datetime(2026, 10, 20, 0, 0, tzinfo=UTC)
    server = make_server()
    for number in range(20):
        schedule = make_daily(ada, f"Schedule {number:02}", server=server)
        ran(schedule, at + timedelta(minutes=2 * number), "failed" if number in (3, 19) else "succeeded")
    week = read(ada)
    cell = cell_at(week, 1, 2)
    assert cell is not None
    assert [entry.name for entry in cell.entries] == ["Schedule 00", "Schedule 03", "Schedule 19"]
    assert (len(cell.entries), cell.more) == (SHOWN, 17)
    assert cell.words == "18 succeeded, 2 went wrong"
    tomorrow = cell_at(week, 3, 2)
    assert tomorrow is not None
    assert (len(tomorrow.entries), tomorrow.more, tomorrow.words) == (SHOWN, 17, "20 planned")
    question = asked(ada)
    slot = question.week.slots[question.week.slot_at(int(at.timestamp()))]
    lines = hour_read(user=ada, question=question, slot=slot)
    assert [line.entry.name for line in lines] == [f"Schedule {number:02}" for number in range(20)]


def test_a_frequent_schedule_is_a_band_with_its_numbers_and_not_thousands_of_entries(ada: User) -> None:
    schedule = make_daily(
        ada, "Keep awake", kind="interval", interval_seconds=300, anchor_at=NOW - timedelta(days=30),
        next_at=NOW + timedelta(seconds=300),
    )  # fmt: skip
    for number in range(1, 4):
        ran(schedule, NOW - timedelta(minutes=5 * number), "failed" if number == 1 else "succeeded")
    week = read(ada)
    (band,) = week.bands
    assert band.words == "Every 5 min: 1,280 times"  # what ran and what will come
    assert band.days[0].words == ""
    assert (band.days[2].words, band.days[2].group) == ("2 succeeded, 1 went wrong, 113 planned", "bad")
    assert [share.words for share in band.days[3:]] == ["288 planned"] * 3 + [
        "300 planned"
    ]  # Berlin goes back
    assert not any(cell.entries for row in week.rows for cell, _ in row.cells if cell)


def test_a_filter_by_outcome_shows_no_band_of_which_nothing_ended_so(ada: User) -> None:
    make_daily(ada, "Fine", crontab="*/10 * * * *")
    bad = make_daily(ada, "Bad", crontab="*/10 * * * *")
    ran(bad, NOW - timedelta(minutes=20), "failed")
    week = week_read(user=ada, question=asked(ada, outcome="bad"), page=1)
    assert [(band.name, band.words.partition(": ")[2]) for band in week.bands] == [("Bad", "1 time")]


def test_bands_come_a_page_at_a_time_those_that_fail_first(ada: User) -> None:
    server = make_server()
    for number in range(BANDS + 2):
        make_daily(ada, f"Often {number:02}", server=server, crontab="*/10 * * * *", failures=number == 13)
    daily = [make_daily(ada, f"Daily {number}", server=server) for number in range(BANDS + 3)]
    ran(daily[0], NOW - timedelta(hours=1))
    first, second = (week_read(user=ada, question=asked(ada), page=page) for page in (1, 2))
    assert [band.name for band in first.bands[:2]] == ["Often 13", "Often 00"]
    assert [band.name for band in second.bands] == ["Often 11", "Often 12"]
    assert first.bands_page.paginator.count == BANDS + 2
    assert first.words == second.words == f"1 succeeded, {4 * len(daily)} planned"


def test_what_is_disabled_or_stopped_is_not_planned_and_that_is_told(ada: User) -> None:
    make_daily(ada, "Disabled", enabled=False, next_at=None)
    make_daily(ada, "Stopped", next_at=None, stopped_at=NOW, stopped_why="Its owner left.")
    week = read(ada)
    assert week.words == ""
    assert (week.disabled, [name for name, _ in week.stopped]) == (1, ["Stopped"])


def test_start_end_and_number_of_runs_bound_what_is_planned(ada: User) -> None:
    make_daily(ada, "Ends", ends_at=datetime(2026, 10, 23, 12, tzinfo=UTC))
    make_daily(ada, "Once more", max_runs=5, runs_counted=4)
    week = read(ada)
    planned = [
        (entry.name, day) for row in week.rows for day, (cell, _) in enumerate(row.cells) if cell
        for entry in cell.entries
    ]  # fmt: skip
    assert sorted(planned) == [("Ends", 3), ("Ends", 4), ("Once more", 3)]
    assert read(ada, day="2026-11-02").words == ""


def test_a_time_that_nobody_took_is_told_to_be_late(ada: User) -> None:
    make_daily(ada, next_at=datetime(2026, 10, 21, 0, 30, tzinfo=UTC))
    assert entries_at(read(ada), 2, 2) == [("Nightly", "late")]


def test_a_time_in_a_blackout_says_so_and_the_blackout_is_a_band_of_its_days(ada: User) -> None:
    nightly = make_daily(ada)
    other = make_daily(ada, "Other")
    blackout = Blackout.objects.create(
        name="Freeze",
        kind="weekly",
        timezone=BERLIN,
        weekdays="4",
        starts_time=time(22),
        minutes=300,
        scope="some",
    )
    blackout.schedules.add(nightly)
    week = read(ada)
    assert sorted(entries_at(week, 4, 2)) == [("Nightly", "blackout"), ("Other", "planned")]
    shades = [
        [(shade.name, shade.times, shade.what) for shade in column.blackouts] for column in week.columns
    ]
    assert shades[3:5] == [
        [("Freeze", "22:00–24:00", "1 schedule")],
        [("Freeze", "00:00–03:00", "1 schedule")],
    ]
    night, morning = cell_at(week, 4, 2), cell_at(week, 4, 3)
    assert night is not None
    assert morning is not None
    assert (night.blackouts, morning.blackouts) == (["Freeze"], [])
    assert other.name == "Other"


def test_the_filters_choose_by_server_tag_and_outcome(ada: User) -> None:
    tag = Tag.objects.create(name="queues")
    berlin, lisbon = make_server(name="Berlin"), make_server(name="Lisbon")
    lisbon.tags.add(tag)
    by_name = make_daily(ada, "By name", server=berlin)
    by_tag = make_daily(ada, "By tag", tag=tag)
    ran(by_name, NOW - timedelta(hours=3), "failed")
    ran(by_tag, NOW - timedelta(hours=3), "succeeded")

    def names(**address: str) -> set[tuple[str, str]]:
        rows = read(ada, **address).rows
        return {(e.name, e.state) for row in rows for cell, _ in row.cells if cell for e in cell.entries}

    assert names(server=str(lisbon.pk)) == {("By tag", "succeeded"), ("By tag", "planned")}
    assert names(server=str(berlin.pk)) == {("By name", "failed"), ("By name", "planned")}
    assert names(tag=str(tag.pk)) == {("By tag", "succeeded"), ("By tag", "planned")}
    assert names(outcome="bad") == {("By name", "failed")}
    assert names(outcome="planned") == {("By name", "planned"), ("By tag", "planned")}


@pytest.mark.parametrize(
    "address",
    [
        {"tz": "Moon/Base"},
        {"day": "yesterday"},
        {"day": "9999-12-31"},
        {"server": "7"},
        {"tag": "x"},
        {"outcome": "1"},
    ],
)
def test_what_cannot_be_read_of_an_address_becomes_the_usual_and_is_told(
    ada: User, address: dict[str, str]
) -> None:
    question = question_read(user=ada, address=address, now=NOW)
    assert len(question.notes) == 1
    assert question.week.days[2].date == NOW.date()
    assert not question.filtered


def test_an_entry_leads_to_its_run_and_to_the_schedule_where_there_is_none(ada: User) -> None:
    schedule = make_daily(ada)
    server = make_server()
    run = make_run(server=server)
    ran(schedule, NOW - timedelta(hours=2), run=run)
    ran(schedule, NOW - timedelta(hours=3), result="", outcome="skipped")
    week = read(ada)
    urls = [cell_at(week, 2, hour).entries[0].url for hour in (12, 11)]  # type: ignore[union-attr]
    assert urls == [
        f"/admin/ami_integration/actionrun/{run.pk}/change/",
        f"/admin/schedules/{schedule.pk}/runs/",
    ]


def test_a_stranger_sees_nothing_of_servers_that_are_not_theirs(ada: User) -> None:
    berlin, lisbon = make_server(name="Berlin"), make_server(name="Lisbon")
    theirs = make_daily(ada, "Theirs", server=lisbon)
    shared = make_daily(ada, "Shared", servers=[berlin, lisbon])
    hidden = make_daily(ada, "Hidden", server=berlin)
    frequent = make_daily(ada, "Hidden and frequent", server=berlin, crontab="*/5 * * * *")
    for schedule in (theirs, shared, hidden, frequent):
        ran(schedule, NOW - timedelta(hours=2), run=make_run(server=berlin))
    blackout = Blackout.objects.create(
        name="Secret move", kind="once", scope="some", starts_at=NOW, ends_at=NOW + timedelta(days=1)
    )
    blackout.schedules.add(hidden)
    stranger = make_person("grace")
    grant(stranger, on=lisbon)
    week = read(stranger)
    entries = [entry for row in week.rows for cell, _ in row.cells if cell for entry in cell.entries]
    assert {entry.name for entry in entries} == {"Theirs", "Shared"}
    assert not any("actionrun" in entry.url for entry in entries)
    assert week.bands == []
    assert not week.shaded
    assert question_read(user=stranger, address={"server": str(berlin.pk)}, now=NOW).notes
    question = asked(stranger)
    slot = question.week.slots[question.week.slot_at(int((NOW - timedelta(hours=2)).timestamp()))]
    lines = list(hour_read(user=stranger, question=question, slot=slot))
    assert {line.entry.name for line in lines} == {"Theirs", "Shared"}
    assert {line.where for line in lines} == {"Lisbon", "Lisbon, 1 that you don't see"}
    nobody = make_person("heidi", "view_server")
    grant(nobody)
    assert read(nobody).number == 0


def test_the_page_takes_the_same_few_queries_however_many_schedules_there_are(ada: User) -> None:
    server = make_server()
    read(ada)  # a person's permissions are read once
    counts = []
    for many in (3, 40):
        for number in range(many):
            schedule = make_daily(ada, f"{many} {number}", server=server, crontab=f"{number} 2 * * *")
            ran(schedule, NOW - timedelta(hours=number % 48), run=make_run(server=server))
        with CaptureQueriesContext(connection) as queries:
            read(ada)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 14


def test_every_state_of_a_planned_run_has_a_group() -> None:
    states = {*PlannedRun.Outcome.values, *PlannedRun.Result.values} - {""}
    assert {group_of(state) for state in states} == set(Group)
