"""The switch that keeps every schedule from starting anything."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import RunRefused
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import pausing, services
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import REMEMBERED, SchedulesPause
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_run, make_user
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

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
    switch = SchedulesPause.objects.get()
    assert switch.username == "bob"
    past = switch.at(pause.turned_at)
    assert past is not None
    assert (past.since, past.until) == (pause.turned_at, switch.turned_at)
    assert past.sentence == "Not run: all schedules were paused by ada: The trunk is down."
    assert switch.at(switch.turned_at) is None
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


def test_the_newest_hundred_pauses_are_remembered() -> None:
    switch = SchedulesPause()
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for number in range(2 * REMEMBERED + 2):
        switch.turn(paused=number % 2 == 0, username="ada", reason="", now=at + timedelta(minutes=number))
    assert len(switch.past) == REMEMBERED
    assert switch.at(at) is None
    assert switch.at(at + timedelta(minutes=1)) is None
    assert switch.at(at + timedelta(minutes=2)) is not None


def test_whoever_does_not_see_every_server_turns_nothing() -> None:
    eve = make_person("eve", "pause_schedules", "change_schedule", "view_schedule")
    grant(eve, on=make_server())
    for turn in (services.schedules_pause_all, services.schedules_resume_all):
        with pytest.raises(RunRefused, match="an access rule for every server"):
            turn(user=eve)
    assert services.schedules_paused() is None


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


def test_what_waited_is_audited_and_keeps_why_it_did() -> None:
    schedule = make_schedule()
    PlannedRun.objects.create(
        schedule=schedule,
        planned_at=timezone.now(),
        outcome=PlannedRun.Outcome.WAITING,
        reason="Waited for the one before.",
    )
    services.schedules_pause_all(user=make_planner("bob"), reason="Fire", address="192.0.2.7")
    planned = PlannedRun.objects.get()
    assert planned.outcome == PlannedRun.Outcome.SKIPPED
    assert planned.reason.startswith("Waited for the one before. Taken back: bob paused all schedules")
    entry = AuditEntry.objects.get(verb="schedule.leave_out")
    assert (entry.actor_name, entry.address, entry.what["outcomes"]) == ("bob", "192.0.2.7", {"skipped": 1})


def test_a_deadlock_with_one_keeps_no_other_and_pausing_again_finishes(
    monkeypatch: pytest.MonkeyPatch, rung: list[int]
) -> None:
    ada = make_planner()
    schedules = [
        make_schedule(name=name, owner=ada, server=make_server(name=f"PBX of {name}"), jitter_seconds=3600)
        for name in ("First", "Second", "Third")
    ]
    for schedule in schedules:
        services.schedule_run_now(user=ada, schedule=schedule)
    take_back, tries = pausing.planned_take_back, Counter[str]()

    def die_of(*deaths: tuple[str, int]) -> None:
        def victim(*, schedule: Schedule, **values: Any) -> int:
            tries[schedule.name] += 1
            if tries[schedule.name] <= dict(deaths).get(schedule.name, 0):
                raise OperationalError("deadlock detected")
            return take_back(schedule=schedule, **values)

        monkeypatch.setattr(pausing, "planned_take_back", victim)

    die_of(("First", pausing.ATTEMPTS), ("Second", 1))
    with pytest.raises(RunRefused, match="All schedules are paused, but .* what First had submitted"):
        services.schedules_pause_all(user=ada, reason="Fire")
    assert services.schedules_paused() is not None
    assert list(ActionRun.objects.queued().values_list("origin_detail", flat=True)) == ["First"]
    services.schedules_pause_all(user=ada, reason="Fire")
    assert not ActionRun.objects.queued().exists()


def test_nothing_is_run_by_hand_while_all_are_paused() -> None:
    schedule = make_schedule()
    services.schedules_pause_all(user=make_planner("bob"), reason="Fire")
    with pytest.raises(RunRefused, match=r"All schedules are paused, by bob since .* UTC \(Fire\)"):
        services.schedule_run_now(user=schedule.owner, schedule=schedule)
    assert not PlannedRun.objects.exists()
    services.schedules_resume_all(user=schedule.owner)
    assert services.schedule_run_now(user=schedule.owner, schedule=schedule).run is not None
