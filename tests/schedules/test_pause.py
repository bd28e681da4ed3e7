"""The switch that keeps every schedule from starting anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import RunRefused
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import services
from ami_integration.schedules.models import PlannedRun, SchedulesPause
from tests.actions.factories import RUN_PERMISSIONS, make_run, make_user
from tests.schedules.factories import make_planner, make_schedule, server_of

pytestmark = pytest.mark.django_db


def test_at_first_nothing_is_paused() -> None:
    assert services.schedules_paused() is None


def test_the_switch_says_who_turned_it_when_and_why_until_it_is_turned_back() -> None:
    ada = make_planner()
    before = timezone.now()
    services.schedules_pause_all(user=ada, reason="The trunk is down", address="192.0.2.7")
    pause = services.schedules_paused()
    assert pause is not None
    assert (pause.username, pause.reason) == ("ada", "The trunk is down")
    assert before <= pause.turned_at <= timezone.now()
    services.schedules_resume_all(user=make_planner("bob"))
    assert services.schedules_paused() is None
    assert SchedulesPause.objects.get().username == "bob"
    told = AuditEntry.objects.order_by("pk").values_list("verb", "actor_name", "address", "what")
    assert list(told) == [
        ("schedules.pause", "ada", "192.0.2.7", {"reason": "The trunk is down"}),
        ("schedules.resume", "bob", None, {"reason": ""}),
    ]


def test_a_second_pause_keeps_whose_the_first_was() -> None:
    services.schedules_pause_all(user=make_planner(), reason="First")
    services.schedules_pause_all(user=make_planner("bob"), reason="Second")
    pause = services.schedules_paused()
    assert pause is not None
    assert (pause.username, pause.reason) == ("ada", "First")
    assert AuditEntry.objects.count() == 1


def test_a_stranger_turns_nothing() -> None:
    eve = make_user("eve", *RUN_PERMISSIONS, "view_schedule", "change_schedule")
    with pytest.raises(RunRefused, match="Can pause all schedules"):
        services.schedules_pause_all(user=eve)
    services.schedules_pause_all(user=make_planner())
    with pytest.raises(RunRefused, match="Can pause all schedules"):
        services.schedules_resume_all(user=eve)
    assert services.schedules_paused() is not None


def test_what_had_not_begun_is_taken_back_and_what_has_goes_on() -> None:
    ada = make_planner()
    schedule = make_schedule(owner=ada)
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    runs = []
    for number, status in enumerate((ActionRun.Status.QUEUED, ActionRun.Status.RUNNING)):
        run = make_run(server=server_of(schedule), status=status)
        PlannedRun.objects.create(
            schedule=schedule,
            planned_at=noon + timedelta(seconds=number),
            outcome=PlannedRun.Outcome.SUBMITTED,
            run=run,
        )
        runs.append(run)
    by_hand = make_run(server=server_of(schedule))  # nobody's schedule
    services.schedules_pause_all(user=ada)
    for run in (*runs, by_hand):
        run.refresh_from_db()
    assert [run.status for run in (*runs, by_hand)] == ["cancelled", "running", "queued"]
    assert "ada paused all schedules" in runs[0].reason


def test_nothing_is_run_by_hand_while_all_are_paused() -> None:
    schedule = make_schedule()
    services.schedules_pause_all(user=make_planner("bob"), reason="Fire")
    with pytest.raises(RunRefused, match=r"All schedules are paused, by bob since .* UTC \(Fire\)"):
        services.schedule_run_now(user=schedule.owner, schedule=schedule)
    assert not PlannedRun.objects.exists()
    services.schedules_resume_all(user=schedule.owner)
    assert services.schedule_run_now(user=schedule.owner, schedule=schedule).run is not None
