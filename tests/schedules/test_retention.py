"""What leaves the record of planned times, and when."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.retention import planned_due, planned_prune
from tests.schedules.factories import make_schedule

pytestmark = [pytest.mark.django_db, pytest.mark.database]
Outcome, Result = PlannedRun.Outcome, PlannedRun.Result


def aged(schedule: Schedule, days: float, outcome: str = "submitted", result: str = "") -> PlannedRun:
    """What became of a time so many days ago."""
    at = timezone.now() - timedelta(days=days)
    ended = at + timedelta(seconds=2) if result else None
    return PlannedRun.objects.create(
        schedule=schedule, planned_at=at, outcome=outcome, result=result, finished_at=ended
    )


def test_planned_times_leave_with_the_days_of_the_log_and_open_ones_never() -> None:
    schedule = make_schedule()
    kept = {
        aged(schedule, 89, result="succeeded").pk,
        aged(schedule, 88, "skipped").pk,
        aged(schedule, 400).pk,
        aged(schedule, 401, "waiting").pk,
    }
    for number, outcome in enumerate(("skipped", "misfired", "blackout", "paused", "refused")):
        aged(schedule, 91 + number, outcome)
    for number, result in enumerate(value for value in Result.values if value):
        aged(schedule, 100 + number, result=result)
    assert planned_due() == planned_prune() == 12
    assert set(PlannedRun.objects.values_list("pk", flat=True)) == kept
    assert planned_due() == 0


def test_a_status_of_the_log_with_days_of_its_own_has_them_here_too(settings: Any) -> None:
    settings.AMIWEB_RUN_RETENTION_DAYS = {"": 10, "unknown": 365}
    schedule = make_schedule()
    unknown = aged(schedule, 100, result="unknown")
    aged(schedule, 11, result="partly")
    planned_prune()
    assert list(PlannedRun.objects.all()) == [unknown]


def test_what_ended_long_after_its_time_stays_as_long_after_its_end() -> None:
    late = aged(make_schedule(), 91, result="failed")
    PlannedRun.objects.filter(pk=late.pk).update(finished_at=timezone.now() - timedelta(days=89))
    assert planned_prune() == 0


def test_one_call_removes_a_few_batches_and_the_next_goes_on() -> None:
    schedule = make_schedule()
    for number in range(5):
        aged(schedule, 100 + number, result="succeeded")
    assert planned_prune(limit=1, batches=2) == 2
    assert planned_prune(limit=1) == 3


def test_the_command_counts_them_and_removes_them() -> None:
    aged(make_schedule(), 100, "misfired")
    told = io.StringIO()
    call_command("prune_runs", dry_run=True, stdout=told)
    assert "1 planned time of schedules" in told.getvalue()
    call_command("prune_runs", stdout=told)
    assert not PlannedRun.objects.exists()
