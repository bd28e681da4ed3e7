"""What becomes of planned times that passed while nothing ticked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ami_integration.actions.models import ActionRun
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import turn
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.clock import clock_tick
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import MISSED_LISTED, newest_times
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.schedules.tick import schedules_tick
from tests.schedules.factories import make_schedule, server_of
from tests.schedules.test_overlap import end_runs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung")]
Outcome = PlannedRun.Outcome
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def every_five_minutes(**values: Any) -> Schedule:
    """Due at noon, while nothing ticked."""
    return make_schedule(**{"kind": "crontab", "crontab": "*/5 * * * *", "next_at": NOON} | values)


def found() -> list[tuple[int, str]]:
    """Minutes after noon, and the outcome."""
    rows = PlannedRun.objects.order_by("planned_at").values_list("planned_at", "outcome")
    return [((planned_at - NOON) // MINUTE, outcome) for planned_at, outcome in rows]


def test_a_tick_up_to_a_minute_late_just_runs() -> None:
    every_five_minutes()
    schedules_tick(now=NOON + 60 * SECOND)
    assert found() == [(0, Outcome.SUBMITTED)]


def test_a_later_one_is_recorded_as_missed_with_the_reason() -> None:
    schedule = every_five_minutes()
    schedules_tick(now=NOON + 61 * SECOND)
    planned = PlannedRun.objects.get()
    assert (planned.outcome, planned.run) == (Outcome.MISFIRED, None)
    assert "due more than 60 s before" in planned.reason
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.last_state) == (NOON + 5 * MINUTE, "misfired")
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.what["outcomes"]) == ("schedule.leave_out", {"misfired": 1})


def test_every_missed_time_is_recorded_and_the_one_that_is_only_late_runs() -> None:
    every_five_minutes()
    schedules_tick(now=NOON + 20 * MINUTE + 30 * SECOND)
    assert found() == [(minutes, Outcome.MISFIRED) for minutes in (0, 5, 10, 15)] + [(20, Outcome.SUBMITTED)]
    assert AuditEntry.objects.get(verb="schedule.leave_out").what["number"] == 4


def test_one_runs_for_all_that_were_missed_and_the_others_say_so() -> None:
    every_five_minutes(misfire="once")
    schedules_tick(now=NOON + 17 * MINUTE)
    assert found() == [
        *((minutes, Outcome.MISFIRED) for minutes in (0, 5, 10)),
        (15, Outcome.SUBMITTED),
    ]
    missed = PlannedRun.objects.filter(outcome=Outcome.MISFIRED)
    assert all("12:15:00 UTC runs once for all of them" in planned.reason for planned in missed)
    assert "Missed at 2026-01-31 12:15:00 UTC, and run after all." in PlannedRun.objects.first().reason  # type: ignore[union-attr]


def test_none_runs_of_those_that_were_missed_too_long_ago() -> None:
    every_five_minutes(misfire="once", grace_seconds=60, crontab="0 * * * *")
    schedules_tick(now=NOON + 30 * MINUTE)
    assert found() == [(0, Outcome.MISFIRED)]


def test_the_newest_so_many_run_one_after_the_other_the_oldest_first() -> None:
    every_five_minutes(misfire="all", misfire_limit=3)
    now = NOON + 22 * MINUTE
    schedules_tick(now=now)
    rest = [(0, Outcome.MISFIRED), (5, Outcome.MISFIRED)]
    assert found() == [
        *rest,
        (10, Outcome.SUBMITTED),
        (15, Outcome.WAITING),
        (20, Outcome.WAITING),
    ]
    end_runs()
    schedules_tick(now=now + SECOND)
    assert [outcome for _, outcome in found()[2:]] == ["submitted", "submitted", "waiting"]
    end_runs()
    schedules_tick(now=now + 2 * SECOND)
    assert [outcome for _, outcome in found()[2:]] == ["submitted"] * 3
    assert ActionRun.objects.count() == 3


def test_they_run_together_where_runs_may_overlap() -> None:
    every_five_minutes(misfire="all", misfire_limit=3, overlap="allow")
    schedules_tick(now=NOON + 22 * MINUTE)
    assert [outcome for _, outcome in found()[2:]] == ["submitted"] * 3


def test_of_all_that_were_missed_only_those_within_the_grace_run() -> None:
    every_five_minutes(misfire="all", misfire_limit=10, overlap="allow", grace_seconds=600)
    schedules_tick(now=NOON + 22 * MINUTE)
    assert found() == [
        *((minutes, Outcome.MISFIRED) for minutes in (0, 5, 10)),
        *((minutes, Outcome.SUBMITTED) for minutes in (15, 20)),
    ]


def test_what_runs_late_is_spread_from_now_on() -> None:
    every_five_minutes(misfire="once", jitter_seconds=3600, crontab="0 * * * *")
    now = NOON + 50 * MINUTE
    schedules_tick(now=now)
    run = ActionRun.objects.get()
    assert run.start_at is not None
    assert run.start_at >= now


def test_a_run_limit_holds_for_what_was_missed_too() -> None:
    schedule = every_five_minutes(misfire="all", misfire_limit=5, overlap="allow", max_runs=2)
    schedules_tick(now=NOON + 22 * MINUTE)
    assert [outcome for _, outcome in found()] == ["submitted", "submitted", *["skipped"] * 3]
    schedule.refresh_from_db()
    assert schedule.next_at is None


def test_what_was_missed_does_not_run_while_all_are_paused() -> None:
    SchedulesPause.objects.create(pk=1, paused=True, username="bob", turned_at=NOON + 3 * MINUTE)
    every_five_minutes(misfire="once")
    schedules_tick(now=NOON + 7 * MINUTE)
    assert found() == [(0, Outcome.MISFIRED), (5, Outcome.PAUSED)]
    assert "all schedules are paused" in PlannedRun.objects.get(outcome=Outcome.MISFIRED).reason


def test_what_was_missed_within_a_blackout_does_not_run_after_it() -> None:
    Blackout.objects.create(name="Move", starts_at=NOON, ends_at=NOON + 16 * MINUTE)
    every_five_minutes(misfire="once")
    schedules_tick(now=NOON + 17 * MINUTE)
    assert found() == [(minutes, Outcome.BLACKOUT) for minutes in (0, 5, 10, 15)]
    assert all("“Move” holds until" in planned.reason for planned in PlannedRun.objects.all())
    assert not PlannedRun.objects.filter(reason__contains="runs once for all").exists()


def test_after_a_long_outage_the_missed_times_are_told_and_not_listed_for_ever() -> None:
    schedule = make_schedule(interval_seconds=1, next_at=NOON, anchor_at=NOON)
    now = NOON + timedelta(days=3)
    schedules_tick(now=now)
    missed = PlannedRun.objects.filter(outcome=Outcome.MISFIRED).order_by("planned_at")
    assert missed.count() == MISSED_LISTED
    last = missed.last()
    assert last is not None
    assert "up to 2026-02-03 11:58:59 UTC, did not run either" in last.reason
    schedule.refresh_from_db()
    assert schedule.next_at is not None
    assert schedule.next_at >= now - 60 * SECOND


def test_a_fast_schedule_catches_up_with_what_is_only_late() -> None:
    schedule = make_schedule(interval_seconds=1, next_at=NOON, anchor_at=NOON, overlap="allow")
    assert schedules_tick(now=NOON + 3 * SECOND) == 4
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + 4 * SECOND
    assert ActionRun.objects.count() == 4


def test_a_one_off_that_was_missed_is_over_and_may_run_late() -> None:
    values = {"kind": "once", "once_at": NOON, "next_at": NOON}
    first = make_schedule(name="skip", misfire="skip", **values)
    make_schedule(name="once", misfire="once", owner=first.owner, server=server_of(first), **values)
    schedules_tick(now=NOON + 10 * MINUTE)
    outcomes = dict(PlannedRun.objects.values_list("schedule__name", "outcome"))
    assert outcomes == {"skip": "misfired", "once": "submitted"}
    assert set(Schedule.objects.values_list("next_at", flat=True)) == {None}


@pytest.mark.parametrize("days", [0, 1, 40])
def test_the_newest_times_are_found_however_far_apart_they_are(days: int) -> None:
    schedule = make_schedule(kind="crontab", crontab="30 2 1 * *", next_at=NOON)
    before = datetime(2026, 6, 1, 2, 31, tzinfo=UTC) + timedelta(days=days)
    times = newest_times(timing=schedule, since=NOON, before=before, count=2)
    month = 7 if days == 40 else 6
    assert [time.month for time in times] == [month - 1, month]


def test_what_fell_due_while_ticks_were_running_is_only_late_and_runs() -> None:
    every_five_minutes()
    for minute in range(-1, 4):  # the ticks are kept busy by others, and don't get to it
        turn.Tick.begin(NOON + minute * MINUTE)
    schedules_tick(now=NOON + 4 * MINUTE)
    assert found() == [(0, Outcome.SUBMITTED)]


def test_what_is_late_behind_running_ticks_for_too_long_is_missed_for_a_true_reason() -> None:
    every_five_minutes()
    for minute in range(-1, 17):
        turn.Tick.begin(NOON + minute * MINUTE)
    schedules_tick(now=NOON + 16 * MINUTE)
    assert found()[0] == (0, Outcome.MISFIRED)
    assert found()[1] == (5, Outcome.SUBMITTED)
    reason = PlannedRun.objects.get(outcome=Outcome.MISFIRED).reason
    assert "more than 15 min" in reason and "The clock was running" in reason


def test_an_outage_breaks_the_row_of_ticks_and_a_clock_set_back_does_too() -> None:
    assert clock_tick(now=NOON) == NOON
    assert clock_tick(now=NOON + MINUTE) == NOON
    assert clock_tick(now=NOON + 2 * MINUTE) == NOON
    after = NOON + 3 * MINUTE + SECOND
    assert clock_tick(now=after) == after
    assert clock_tick(now=NOON) == NOON
    assert clock_tick(now=NOON + SECOND) == NOON


def test_one_that_was_missed_outside_blackouts_runs_for_all_whatever_was_newer() -> None:
    every_five_minutes(misfire="once")
    Blackout.objects.create(name="Long", starts_at=NOON + 4 * MINUTE, ends_at=NOON + 301 * MINUTE)
    schedules_tick(now=NOON + 302 * MINUTE)  # noon is too long ago
    assert not ActionRun.objects.exists()
    Schedule.objects.update(next_at=NOON, grace_seconds=24 * 3600)
    PlannedRun.objects.all().delete()
    schedules_tick(now=NOON + 302 * MINUTE + SECOND)
    rows = PlannedRun.objects.order_by("planned_at")
    assert rows[0].planned_at == NOON
    assert rows[0].outcome == Outcome.SUBMITTED
    assert {row.outcome for row in rows[1:]} == {Outcome.BLACKOUT}


# -- every minute, and an outage of ten minutes; the newest time is half a minute late

AFTER = NOON + 9 * MINUTE + 30 * SECOND


def every_minute(**values: Any) -> Schedule:
    return every_five_minutes(**{"crontab": "* * * * *"} | values)


def after_noon(outcome: str) -> list[int]:
    """At how many minutes after noon something ended so."""
    return [minutes for minutes, found_outcome in found() if found_outcome == outcome]


def in_their_order() -> list[int]:
    """The minutes after noon of what was submitted, as it was."""
    rows = (
        PlannedRun.objects.filter(run__isnull=False).order_by("run_id").values_list("planned_at", flat=True)
    )
    return [(planned_at - NOON) // MINUTE for planned_at in rows]


def test_where_missed_ones_are_left_out_the_newest_just_runs_within_the_tolerance() -> None:
    every_minute(misfire="skip")
    schedules_tick(now=AFTER)
    assert after_noon("misfired") == list(range(9))
    assert after_noon("submitted") == [9]


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_all_of_them_run_in_their_order_and_the_newest_is_the_last(overlap: str) -> None:
    every_minute(misfire="all", overlap=overlap)
    now = AFTER
    schedules_tick(now=now)
    assert (after_noon("submitted"), after_noon("waiting")) == ([0], list(range(1, 10)))
    for number in range(10):
        end_runs(at=now)
        now += SECOND
        schedules_tick(now=now)
        assert len(after_noon("submitted")) == min(10, number + 2)
    assert in_their_order() == list(range(10))
    schedules_tick(now=NOON + 10 * MINUTE)  # and all goes on as ever
    assert after_noon("submitted") == list(range(11))


def test_all_of_them_begin_in_their_order_where_they_may_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    every_minute(misfire="all", overlap="allow")
    # The tick's time is up before anything that waits has its turn, and another time falls due.
    with monkeypatch.context() as patch:
        patch.setattr("ami_integration.schedules.tick.waiting_schedules", lambda **_: [])
        schedules_tick(now=AFTER)
        schedules_tick(now=NOON + 10 * MINUTE)
    assert after_noon("waiting") == list(range(11))
    schedules_tick(now=NOON + 10 * MINUTE + SECOND)
    assert in_their_order() == list(range(11))


def test_one_runs_for_all_and_no_second_one_for_what_is_only_late() -> None:
    every_minute(misfire="once", overlap="allow")
    schedules_tick(now=AFTER)
    assert after_noon("misfired") == list(range(9))
    assert in_their_order() == [9]
    newest = PlannedRun.objects.get(planned_at=NOON + 9 * MINUTE)
    assert newest.reason == "Run once for those that were missed before it."
    missed = PlannedRun.objects.filter(outcome=Outcome.MISFIRED)
    assert all("12:09:00 UTC runs once for all of them" in planned.reason for planned in missed)


def test_what_a_blackout_held_back_does_not_count_as_one_of_so_many() -> None:
    every_minute(misfire="all", misfire_limit=3, overlap="allow")
    Blackout.objects.create(name="Move", starts_at=NOON + 4 * MINUTE, ends_at=NOON + 8 * MINUTE)
    schedules_tick(now=AFTER)
    assert in_their_order() == [3, 8, 9]
    assert after_noon("blackout") == [4, 5, 6, 7]
    assert after_noon("misfired") == [0, 1, 2]


def test_of_what_comes_every_few_seconds_no_more_run_than_so_many() -> None:
    make_schedule(
        interval_seconds=10,
        next_at=NOON,
        anchor_at=NOON - 10 * SECOND,
        misfire="all",
        misfire_limit=3,
        overlap="allow",
    )
    schedules_tick(now=NOON + 2 * MINUTE + SECOND)
    rows = PlannedRun.objects.order_by("planned_at")
    assert [row.outcome for row in rows] == ["misfired"] * 10 + ["submitted"] * 3
    assert "more than 60 s" in rows[5].reason
    assert "only newer ones run" in rows[9].reason


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
def test_what_was_due_while_all_were_paused_is_on_record_once_and_never_runs(misfire: str) -> None:
    every_minute(misfire=misfire, overlap="allow")
    schedules_tick(now=NOON)
    pause = SchedulesPause.objects.create(
        pk=1, paused=True, username="bob", turned_at=NOON + 30 * SECOND, reason="Fair"
    )
    for seconds in range(60, 5 * 60, 15):
        schedules_tick(now=NOON + seconds * SECOND)
    pause.turn(paused=False, username="bob", reason="", now=NOON + (4 * 60 + 50) * SECOND)
    pause.save()
    for seconds in range(5 * 60 - 15, 6 * 60 + 1, 15):
        schedules_tick(now=NOON + seconds * SECOND)
    assert after_noon("paused") == [1, 2, 3, 4]
    assert in_their_order() == [0, 5, 6]


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
def test_what_passed_while_the_clock_was_down_and_all_were_paused_counts_as_paused(misfire: str) -> None:
    every_minute(misfire=misfire)
    SchedulesPause.objects.create(pk=1, paused=True, username="bob", turned_at=NOON + 2 * MINUTE)
    schedules_tick(now=AFTER)
    assert (after_noon("misfired"), after_noon("paused")) == ([0, 1], list(range(2, 10)))
    assert not ActionRun.objects.exists()


@pytest.mark.parametrize("misfire", ["once", "all"])
def test_what_was_due_in_a_pause_that_was_lifted_while_the_clock_was_down_does_not_run(misfire: str) -> None:
    every_minute(misfire=misfire, misfire_limit=20, overlap="allow")
    switch = SchedulesPause.objects.create(
        pk=1, paused=True, username="bob", turned_at=NOON + 2 * MINUTE, reason="Fair"
    )
    for paused, minute in ((False, 4), (True, 6), (False, 8)):
        switch.turn(paused=paused, username="eve", reason="Storm", now=NOON + minute * MINUTE)
    switch.save()
    schedules_tick(now=NOON + 9 * MINUTE + 5 * SECOND)
    assert after_noon("paused") == [2, 3, 6, 7]
    reasons = (
        PlannedRun.objects.filter(outcome="paused").order_by("planned_at").values_list("reason", flat=True)
    )
    assert (
        list(reasons)
        == ["Not run: all schedules were paused by bob: Fair."] * 2
        + ["Not run: all schedules were paused by eve: Storm."] * 2
    )
    ran = PlannedRun.objects.filter(outcome="submitted").values_list("planned_at", flat=True)
    assert not {2, 3, 6, 7} & {(at - NOON) // MINUTE for at in ran}
    assert ran


def test_what_was_due_in_a_short_pause_does_not_run_a_moment_after_it() -> None:
    every_minute()
    switch = SchedulesPause.objects.create(pk=1, paused=True, username="bob", turned_at=NOON - 5 * SECOND)
    switch.turn(paused=False, username="bob", reason="", now=NOON + 5 * SECOND)
    switch.save()
    schedules_tick(now=NOON + 6 * SECOND)
    assert found() == [(0, Outcome.PAUSED)]
    assert not ActionRun.objects.exists()
