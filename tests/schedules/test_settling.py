"""How planned runs ended, and what their schedule keeps of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.settling import planned_settle, result_of
from tests.actions.factories import make_run
from tests.schedules.factories import make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
Result = PlannedRun.Result
MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def ended(schedule: Schedule, status: str = "succeeded", *, at: datetime = NOON, **values: Any) -> PlannedRun:
    """A planned time whose run began at once and took a minute."""
    run = make_run(
        server=server_of(schedule), status=status, started_at=at, finished_at=at + MINUTE, username="ada"
    )
    return PlannedRun.objects.create(
        **{"schedule": schedule, "planned_at": at, "outcome": "submitted", "run": run} | values
    )


def of_fanout(schedule: Schedule, *statuses: str, **values: Any) -> PlannedRun:
    fanout = FanOut.objects.create(key=f"key {FanOut.objects.count()}", action="Ping", payload="[]")
    for number, status in enumerate(statuses):
        over = status not in ("queued", "running")
        make_run(
            server=make_server(name=f"PBX {number}"),
            fanout=fanout,
            status=status,
            username="ada",
            started_at=NOON + number * MINUTE,
            finished_at=NOON + (number + 1) * MINUTE if over else None,
        )
    return PlannedRun.objects.create(
        **{"schedule": schedule, "planned_at": NOON, "outcome": "submitted", "fanout": fanout} | values
    )


@pytest.mark.parametrize(
    ("statuses", "refused", "result"),
    [
        (["succeeded"], 0, "succeeded"),
        (["succeeded"], 1, "partly"),
        (["succeeded", "failed"], 0, "partly"),
        (["succeeded", "cancelled"], 0, "cancelled"),
        (["succeeded", "cancelled", "failed"], 0, "partly"),
        (["succeeded", "cancelled"], 1, "partly"),
        (["unknown"], 0, "unknown"),
        (["unknown", "failed"], 0, "failed"),
        (["cancelled", "expired"], 0, "expired"),
        (["cancelled"], 0, "cancelled"),
        (["errored", "failed"], 0, "errored"),
        ([], 0, "unknown"),
    ],
)
def test_the_ends_of_its_runs_make_its_result(statuses: list[str], refused: int, result: str) -> None:
    assert result_of(statuses, refused=refused) == result


def test_the_end_of_its_run_is_kept_with_a_planned_time_and_its_schedule() -> None:
    schedule = make_schedule(failures=2)
    planned = ended(schedule)
    assert planned_settle(now=NOON + 2 * MINUTE) == 1
    planned.refresh_from_db()
    schedule.refresh_from_db()
    assert (planned.result, planned.started_at, planned.finished_at) == ("succeeded", NOON, NOON + MINUTE)
    assert (schedule.last_state, schedule.last_at) == ("succeeded", NOON)
    assert (schedule.last_good_at, schedule.failures) == (NOON + MINUTE, 0)
    assert planned_settle(now=NOON + 3 * MINUTE) == 0


def test_what_still_runs_is_left_alone() -> None:
    schedule = make_schedule()
    ended(schedule, "running")
    of_fanout(schedule, "succeeded", "queued", planned_at=NOON + MINUTE)
    assert planned_settle(now=NOON) == 0


def test_a_fan_out_lasts_from_its_first_beginning_to_its_last_end() -> None:
    schedule = make_schedule()
    planned = of_fanout(schedule, "succeeded", "failed", "succeeded")
    planned_settle(now=NOON)
    planned.refresh_from_db()
    schedule.refresh_from_db()
    assert (planned.result, planned.started_at, planned.finished_at) == ("partly", NOON, NOON + 3 * MINUTE)
    assert (schedule.failures, schedule.last_good_at, schedule.last_state) == (1, None, "partly")


def test_failures_count_until_the_next_success_and_what_people_took_back_is_none() -> None:
    schedule = make_schedule()
    for number, status in enumerate(("failed", "unknown", "cancelled", "expired")):
        ended(schedule, status, at=NOON + number * MINUTE)
    planned_settle(now=NOON)
    schedule.refresh_from_db()
    assert (schedule.failures, schedule.last_state) == (3, "expired")
    ended(schedule, at=NOON + 9 * MINUTE)
    planned_settle(now=NOON)
    schedule.refresh_from_db()
    assert schedule.failures == 0


def test_a_late_end_of_an_earlier_one_does_not_hide_the_newest() -> None:
    schedule = make_schedule(last_at=NOON + MINUTE, last_state="failed")
    ended(schedule)
    planned_settle(now=NOON)
    schedule.refresh_from_db()
    assert (schedule.last_state, schedule.last_at) == ("failed", NOON + MINUTE)
    assert schedule.last_good_at == NOON + MINUTE


def test_what_has_left_the_log_is_unknown_and_says_so() -> None:
    planned = ended(make_schedule(), run=None)
    planned_settle(now=NOON)
    planned.refresh_from_db()
    assert (planned.result, planned.finished_at) == ("unknown", NOON)
    assert "has left the action log" in planned.reason


def test_an_edit_is_told_by_nothing_that_settling_writes() -> None:
    schedule = make_schedule()
    before = schedule.updated_at
    ended(schedule)
    planned_settle(now=NOON)
    schedule.refresh_from_db()
    assert schedule.updated_at == before


def test_many_are_settled_by_few_queries(django_assert_max_num_queries: Any) -> None:
    schedule = make_schedule()
    for number in range(50):
        ended(schedule, at=NOON + number * MINUTE)
    with django_assert_max_num_queries(9):
        assert planned_settle(now=NOON) == 50
    assert not ActionRun.objects.filter(status="queued").exists()


def test_what_was_taken_back_halfway_is_no_failure() -> None:
    schedule = make_schedule(failures=2)
    of_fanout(schedule, "succeeded", "cancelled")
    planned_settle(now=NOON)
    schedule.refresh_from_db()
    assert (schedule.failures, schedule.last_good_at, schedule.last_state) == (2, None, "cancelled")
