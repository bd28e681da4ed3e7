"""What becomes of a planned time while the one before it still runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.schedules import taking
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.rules import Before, overlap_decide
from ami_integration.schedules.submission import planned_take_back
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.schedules.tick import schedules_tick
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung")]
Outcome = PlannedRun.Outcome
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def each_minute(**values: Any) -> Schedule:
    """Every minute, due at noon."""
    return make_schedule(next_at=NOON, anchor_at=NOON - MINUTE, **values)


def outcomes() -> list[str]:
    return list(PlannedRun.objects.order_by("planned_at").values_list("outcome", flat=True))


def end_runs(status: str = ActionRun.Status.SUCCEEDED, *, at: datetime = NOON) -> None:
    """End everything that was submitted, as workers do."""
    ActionRun.objects.filter(finished_at=None).update(status=status, finished_at=at)
    FanOut.objects.filter(finished_at=None).update(status=FanOut.Status.FINISHED, finished_at=at)


@pytest.mark.parametrize(
    ("overlap", "before", "outcome"),
    [
        ("skip", Before(), "submitted"),
        ("queue", Before(), "submitted"),
        ("allow", Before(NOON), "submitted"),
        ("allow", Before(NOON, (NOON + MINUTE,)), "waiting"),  # it was missed, and begins first
        ("skip", Before(NOON), "skipped"),
        ("skip", Before(None, (NOON,)), "skipped"),
        ("queue", Before(NOON), "waiting"),
        ("queue", Before(NOON, (NOON + MINUTE,)), "skipped"),
        ("queue", Before(None, (NOON,)), "skipped"),
    ],
)
def test_the_one_before_decides_as_the_schedule_says(overlap: str, before: Before, outcome: str) -> None:
    assert overlap_decide(overlap=overlap, before=before)[0] == outcome


def test_a_planned_time_is_left_out_while_the_one_before_runs_and_says_which() -> None:
    each_minute(overlap="skip")
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + MINUTE)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SKIPPED]
    reason = PlannedRun.objects.get(outcome=Outcome.SKIPPED).reason
    assert reason == "Left out: the one planned for 2026-01-31 12:00:00 UTC had not ended."


def test_an_end_that_is_not_on_record_yet_stands_in_nobodys_way() -> None:
    each_minute(overlap="skip")
    schedules_tick(now=NOON)
    end_runs()
    schedules_tick(now=NOON + MINUTE)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SUBMITTED]


def test_one_waits_and_begins_when_the_one_before_has_ended(rung: list[int]) -> None:
    each_minute(overlap="queue")
    for minutes in range(3):
        schedules_tick(now=NOON + minutes * MINUTE)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.WAITING, Outcome.SKIPPED]
    end_runs()
    schedules_tick(now=NOON + 2 * MINUTE + SECOND)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SUBMITTED, Outcome.SKIPPED]
    second = PlannedRun.objects.get(planned_at=NOON + MINUTE)
    assert second.reason == "Waited for the one planned for 2026-01-31 12:00:00 UTC, which had not ended."
    assert rung == list(ActionRun.objects.order_by("pk").values_list("pk", flat=True))
    assert len(rung) == 2


def test_a_fan_out_has_ended_when_its_last_run_has() -> None:
    each_minute(overlap="skip", servers=[make_server(name="One"), make_server(name="Two")])
    schedules_tick(now=NOON)
    first, last = ActionRun.objects.order_by("pk")
    ActionRun.objects.filter(pk=first.pk).update(status="succeeded", finished_at=NOON)
    FanOut.objects.update(status=FanOut.Status.STOPPED)
    schedules_tick(now=NOON + MINUTE)
    ActionRun.objects.filter(pk=last.pk).update(status="failed", finished_at=NOON)
    schedules_tick(now=NOON + 2 * MINUTE)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SKIPPED, Outcome.SUBMITTED]


def test_all_run_beside_each_other_where_that_is_allowed() -> None:
    each_minute(overlap="allow")
    for minutes in range(3):
        schedules_tick(now=NOON + minutes * MINUTE)
    assert outcomes() == [Outcome.SUBMITTED] * 3


def test_what_somebody_runs_by_hand_holds_nothing_up() -> None:
    schedule = each_minute(overlap="skip")
    schedules_tick(now=NOON)
    PlannedRun.objects.update(by_hand="bob")
    schedules_tick(now=NOON + MINUTE)
    assert PlannedRun.objects.get(planned_at=NOON + MINUTE).outcome == Outcome.SUBMITTED
    assert schedule.pk


def test_one_that_waited_too_long_is_misfired() -> None:
    each_minute(overlap="queue", grace_seconds=300)
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + MINUTE)
    Schedule.objects.update(next_at=None)
    schedules_tick(now=NOON + 6 * MINUTE)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.WAITING]
    schedules_tick(now=NOON + 6 * MINUTE + SECOND)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.MISFIRED]
    assert "could not begin within 300 s" in PlannedRun.objects.get(outcome=Outcome.MISFIRED).reason


def test_one_that_waits_begins_in_no_blackout_and_not_while_all_are_paused() -> None:
    each_minute(overlap="queue")
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + MINUTE)
    Schedule.objects.update(next_at=None)
    end_runs()
    pause = SchedulesPause.objects.create(pk=1, paused=True, username="bob")
    schedules_tick(now=NOON + 2 * MINUTE)
    assert outcomes()[1] == Outcome.WAITING
    pause.delete()
    Blackout.objects.create(name="Fair", starts_at=NOON, ends_at=NOON + 9 * MINUTE)
    schedules_tick(now=NOON + 3 * MINUTE)
    assert outcomes()[1] == Outcome.BLACKOUT


def test_one_that_waits_is_not_submitted_once_the_schedule_is_off() -> None:
    each_minute(overlap="queue")
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + MINUTE)
    Schedule.objects.update(enabled=False)
    end_runs()
    schedules_tick(now=NOON + 2 * MINUTE)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SKIPPED]


def test_one_that_waits_counts_as_a_run_and_may_be_the_last() -> None:
    schedule = each_minute(overlap="queue", max_runs=2)
    for minutes in range(2):
        schedules_tick(now=NOON + minutes * MINUTE)
    end_runs()
    schedules_tick(now=NOON + MINUTE + SECOND)
    schedule.refresh_from_db()
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SUBMITTED]
    assert (schedule.runs_counted, schedule.next_at) == (2, None)


def test_a_mistake_of_amiweb_costs_the_one_that_waits_and_is_not_tried_every_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken(**_: Any) -> None:
        raise ZeroDivisionError

    schedule = each_minute(overlap="queue")
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + MINUTE)
    end_runs()
    monkeypatch.setattr(taking, "planned_submit", mistaken)
    schedules_tick(now=NOON + MINUTE + SECOND)
    assert outcomes() == [Outcome.SUBMITTED, Outcome.REFUSED]
    assert "failed (ZeroDivisionError)" in PlannedRun.objects.get(outcome=Outcome.REFUSED).reason
    schedule.refresh_from_db()
    assert schedule.failures == 1


# -- taken back


def test_what_waits_or_is_spread_is_taken_back_and_what_has_begun_goes_on() -> None:
    servers = [make_server(name=f"PBX {number}") for number in range(3)]
    schedule = each_minute(overlap="queue", servers=servers, jitter_seconds=600)
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + MINUTE)
    begun = ActionRun.objects.order_by("pk")[0]
    ActionRun.objects.filter(pk=begun.pk).update(status="running")
    taken = planned_take_back(schedule=schedule, reason="Taken back: it was edited.", now=NOON + MINUTE)
    assert taken == 3
    assert outcomes() == [Outcome.SUBMITTED, Outcome.SKIPPED]
    statuses = dict(ActionRun.objects.values_list("pk", "status"))
    assert statuses.pop(begun.pk) == "running"
    assert set(statuses.values()) == {"cancelled"}
    assert set(ActionRun.objects.exclude(pk=begun.pk).values_list("reason", flat=True)) == {
        "Taken back: it was edited."
    }
    fanout = FanOut.objects.get()
    assert (fanout.status, fanout.reason) == (
        FanOut.Status.CANCELLED,
        "Taken back: it was edited. What had begun went on.",
    )
    assert planned_take_back(schedule=schedule, reason="Again.") == 0


def test_another_schedules_runs_are_left_alone() -> None:
    mine = each_minute(jitter_seconds=600)
    each_minute(name="Other", owner=mine.owner, server=mine.servers.get(), jitter_seconds=600)
    schedules_tick(now=NOON)
    assert planned_take_back(schedule=mine, reason="Taken back.") == 1
    assert sorted(ActionRun.objects.values_list("origin_detail", "status")) == [
        ("Nightly", "cancelled"),
        ("Other", "queued"),
    ]
