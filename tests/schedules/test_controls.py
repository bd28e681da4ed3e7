"""Taking over, pausing, resuming, deleting and running by hand: who may, and what happens at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import RunRefused
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import services
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.calendar import BadTiming
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_run, make_user
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAILY = {"kind": "crontab", "crontab": "0 12 * * *", "next_at": NOON}


def planner_of(*servers: Server, username: str = "bob") -> User:
    """Somebody who may plan, and run anything, on these servers alone."""
    person = make_person(username, *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    for server in servers:
        grant(person, on=server)
    return person


def submitted(schedule: Schedule, **values: Any) -> tuple[PlannedRun, ActionRun]:
    """A planned time whose run waits for its moment."""
    run = make_run(server=schedule.servers.first(), action=schedule.action, **values)
    planned = PlannedRun.objects.create(
        schedule=schedule, planned_at=NOON, outcome=PlannedRun.Outcome.SUBMITTED, run=run
    )
    return planned, run


def audited(verb: str) -> AuditEntry:
    return AuditEntry.objects.get(verb=verb)


# -- taking over


def test_who_takes_a_schedule_over_lends_it_their_rights_and_nothing_else_of_it_changes() -> None:
    ada, bob = make_planner(), make_planner("bob")
    schedule = make_schedule(
        **DAILY,
        owner=ada,
        action="DBPut",
        headers=[("Secret", "hunter2")],
        hidden_by=ada,
        stopped_at=NOON,
        stopped_why="ada may not run actions.",
    )
    Schedule.objects.update(next_at=None)
    services.schedule_take_over(user=bob, schedule=schedule, address="192.0.2.7", now=NOON)
    schedule.refresh_from_db()
    assert (schedule.owner, schedule.owner_name) == (bob, "bob")
    assert (schedule.stopped_at, schedule.stopped_why) == (None, "")
    assert schedule.next_at == NOON + timedelta(days=1)
    assert schedule.headers_in_clear() == [("Secret", "hunter2")]
    assert schedule.hidden_by == ada  # still hers: bob may repeat it, and not look into it
    entry = audited("schedule.take_over")
    assert (entry.actor, entry.address, entry.object_id) == (bob, "192.0.2.7", str(schedule.pk))
    assert entry.what == {"from": "ada", "stopped": "ada may not run actions."}


def test_a_disabled_schedule_that_is_taken_over_stays_disabled() -> None:
    schedule = make_schedule(**DAILY | {"next_at": None}, enabled=False)
    services.schedule_take_over(user=make_planner("bob"), schedule=schedule)
    schedule.refresh_from_db()
    assert (schedule.owner_name, schedule.enabled, schedule.next_at) == ("bob", False, None)


def test_nobody_takes_over_what_they_may_not_run_on_every_server() -> None:
    berlin, paris = make_server(), make_server(name="Paris")
    schedule = make_schedule(servers=[berlin, paris])
    bob = planner_of(berlin)
    with pytest.raises(RunRefused, match="also runs on servers that you don't see") as refused:
        services.schedule_take_over(user=bob, schedule=schedule)
    assert "Paris" not in str(refused.value)
    grant(bob, Danger.READ, on=paris)
    schedule.action = "Originate"
    schedule.save()
    with pytest.raises(RunRefused, match="No access rule lets bob run Originate"):
        services.schedule_take_over(user=bob, schedule=schedule)
    schedule.refresh_from_db()
    assert schedule.owner_name == "ada"
    assert AuditEntry.objects.filter(verb="schedule.take_over", outcome="refused").count() == 2


def test_what_was_edited_since_somebody_looked_at_it_is_neither_taken_over_nor_run() -> None:
    schedule = make_schedule()
    looked_at = schedule.updated_at
    ada, bob = schedule.owner, make_planner("bob")
    schedule.action = "QueueReset"
    services.schedule_save(user=ada, schedule=schedule, headers=[])
    for control in (services.schedule_take_over, services.schedule_run_now):
        with pytest.raises(RunRefused, match="Somebody changed Nightly meanwhile"):
            control(user=bob, schedule=schedule, as_of=looked_at)
    assert not ActionRun.objects.exists()
    schedule.refresh_from_db()
    assert schedule.owner == ada


# -- pausing and resuming


def test_a_pause_holds_at_once_and_takes_back_what_had_not_begun() -> None:
    schedule = make_schedule(**DAILY)
    _, run = submitted(schedule)
    waiting = PlannedRun.objects.create(
        schedule=schedule, planned_at=NOON + SECOND, outcome=PlannedRun.Outcome.WAITING
    )
    services.schedule_pause(user=make_planner("bob"), schedule=schedule)
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_at, schedule.owner_name) == (False, None, "ada")
    run.refresh_from_db()
    assert run.status == ActionRun.Status.CANCELLED
    assert "bob paused the schedule" in run.reason
    waiting.refresh_from_db()
    assert (waiting.outcome, "bob" in waiting.reason) == (PlannedRun.Outcome.SKIPPED, True)
    assert audited("schedule.pause").what == {"taken_back": 2}


def test_what_has_begun_goes_on_through_a_pause() -> None:
    schedule = make_schedule()
    _, run = submitted(schedule, status=ActionRun.Status.RUNNING)
    services.schedule_pause(user=schedule.owner, schedule=schedule)
    run.refresh_from_db()
    assert run.status == ActionRun.Status.RUNNING


def test_a_resumed_schedule_goes_on_with_the_first_time_after_now_and_counts_anew() -> None:
    schedule = make_schedule(**DAILY | {"next_at": None}, enabled=False, max_runs=3, runs_counted=3)
    services.schedule_resume(user=schedule.owner, schedule=schedule, now=NOON)
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_at) == (True, NOON + timedelta(days=1))
    assert (schedule.runs_counted, schedule.owner_name) == (0, "ada")
    assert audited("schedule.resume").actor == schedule.owner


def test_resuming_what_runs_and_pausing_what_doesnt_changes_nothing() -> None:
    schedule = make_schedule(**DAILY)
    services.schedule_resume(user=schedule.owner, schedule=schedule, now=NOON - SECOND)
    schedule.refresh_from_db()
    assert schedule.next_at == NOON
    Schedule.objects.update(enabled=False)
    services.schedule_pause(user=schedule.owner, schedule=schedule)
    assert not AuditEntry.objects.exists()


def test_nobody_resumes_with_the_owners_rights_what_they_may_not_run() -> None:
    schedule = make_schedule(action="Originate", enabled=False)
    bob = make_person("bob", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    grant(bob, Danger.READ)
    with pytest.raises(RunRefused, match="No access rule lets bob run Originate"):
        services.schedule_resume(user=bob, schedule=schedule)
    schedule.refresh_from_db()
    assert not schedule.enabled
    assert audited("schedule.resume").outcome == "refused"


def test_a_stopped_schedule_is_resumed_by_its_owner_alone_and_taken_over_by_others() -> None:
    schedule = make_schedule(**DAILY | {"next_at": None}, stopped_at=NOON, stopped_why="ada lost her right.")
    with pytest.raises(RunRefused, match=r"ada lost her right\. Take it over"):
        services.schedule_resume(user=make_planner("bob"), schedule=schedule)
    services.schedule_resume(user=schedule.owner, schedule=schedule, now=NOON)
    schedule.refresh_from_db()
    assert (schedule.stopped_at, schedule.next_at) == (None, NOON + timedelta(days=1))


def test_what_has_no_time_left_is_not_resumed() -> None:
    schedule = make_schedule(kind="once", once_at=NOON, enabled=False, next_at=None)
    with pytest.raises(BadTiming, match="passed already") as refused:
        services.schedule_resume(user=schedule.owner, schedule=schedule, now=NOON + SECOND)
    assert refused.value.field == "once_at"
    schedule.refresh_from_db()
    assert not schedule.enabled


# -- deleting


def test_a_deleted_schedule_takes_back_what_had_not_begun_and_its_runs_stay_in_the_log() -> None:
    schedule = make_schedule()
    _, run = submitted(schedule)
    services.schedule_delete(user=schedule.owner, schedule=schedule, address="192.0.2.7")
    assert not Schedule.objects.exists()
    run.refresh_from_db()
    assert (run.status, "deleted the schedule" in run.reason) == (ActionRun.Status.CANCELLED, True)
    entry = audited("schedule.delete")
    assert (entry.object_name, entry.what) == ("Nightly", {"taken_back": 1})


def test_what_was_deleted_meanwhile_is_told() -> None:
    schedule = make_schedule()
    ghost = Schedule.objects.get(pk=schedule.pk)
    services.schedule_delete(user=schedule.owner, schedule=schedule)
    with pytest.raises(RunRefused, match="don't see|deleted meanwhile"):
        services.schedule_pause(user=make_planner("bob"), schedule=ghost)


# -- running by hand


def test_a_run_by_hand_runs_once_with_the_rights_of_who_asks_and_leaves_the_plan_alone() -> None:
    ada, bob = make_planner(), make_planner("bob")
    schedule = make_schedule(
        **DAILY, owner=ada, action="DBPut", headers=[("Secret", "hunter2")], hidden_by=ada, enabled=False
    )
    planned = services.schedule_run_now(user=bob, schedule=schedule, address="192.0.2.7", now=NOON)
    planned.refresh_from_db()
    assert (planned.by_hand, planned.planned_at) == ("bob", NOON)
    assert planned.outcome == PlannedRun.Outcome.SUBMITTED
    run = ActionRun.objects.get()
    assert planned.run == run
    assert (run.user, run.origin, run.origin_detail) == (bob, "schedule", "Nightly")
    assert (run.server, run.address) == (server_of(schedule), "192.0.2.7")
    assert run.headers_in_clear() == [("Secret", "hunter2")]
    assert run.hidden_by == ada
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.owner, schedule.enabled) == (NOON, ada, False)
    assert audited("schedule.run_now").what["servers"] == ["Berlin"]


def test_a_run_by_hand_on_several_servers_is_one_fan_out() -> None:
    berlin, paris = make_server(), make_server(name="Paris")
    off = make_server(name="Rome", enabled=False)
    schedule = make_schedule(servers=[berlin, paris, off])
    planned = services.schedule_run_now(user=schedule.owner, schedule=schedule)
    assert planned.fanout is not None
    assert set(planned.fanout.runs.values_list("server_name", flat=True)) == {"Berlin", "Paris"}
    assert planned.reason == "Rome is disabled."


@pytest.mark.parametrize("switch", ["enabled", "maintenance"])
def test_a_run_by_hand_is_refused_where_no_server_is_left(switch: str) -> None:
    schedule = make_schedule()
    Server.objects.update(**{switch: switch != "enabled"})
    with pytest.raises(RunRefused, match="Berlin is"):
        services.schedule_run_now(user=schedule.owner, schedule=schedule)
    assert not PlannedRun.objects.exists()


def test_nobody_runs_by_hand_what_they_may_not_run_on_every_named_server() -> None:
    berlin, paris = make_server(), make_server(name="Paris")
    schedule = make_schedule(servers=[berlin, paris])
    with pytest.raises(RunRefused, match="servers that you don't see"):
        services.schedule_run_now(user=planner_of(berlin), schedule=schedule)
    assert not ActionRun.objects.exists()
    assert audited("schedule.run_now").outcome == "refused"


def test_a_run_by_hand_is_refused_in_a_blackout_with_its_name_and_end() -> None:
    schedule = make_schedule()
    Blackout.objects.create(name="Audit", starts_at=NOON - SECOND, ends_at=NOON + timedelta(hours=1))
    with pytest.raises(RunRefused, match=r"“Audit” holds until 2026-01-31 13:00 \(UTC\)"):
        services.schedule_run_now(user=schedule.owner, schedule=schedule, now=NOON)
    assert not PlannedRun.objects.exists()


def test_a_blackout_of_one_of_its_servers_refuses_a_run_by_hand_too() -> None:
    tag = Tag.objects.create(name="eu")
    berlin, boston = make_server(), make_server(name="Boston")
    berlin.tags.add(tag)
    schedule = make_schedule(servers=[berlin, boston])
    Blackout.objects.create(name="EU", tag=tag, starts_at=NOON, ends_at=NOON + SECOND)
    with pytest.raises(RunRefused, match="“EU” holds"):
        services.schedule_run_now(user=schedule.owner, schedule=schedule, now=NOON)


# -- who may at all


@pytest.mark.parametrize(
    ("control", "permission"),
    [
        (services.schedule_take_over, "change"),
        (services.schedule_pause, "change"),
        (services.schedule_resume, "change"),
        (services.schedule_run_now, "change"),
        (services.schedule_delete, "delete"),
    ],
)
def test_a_stranger_controls_nothing(control: Any, permission: str) -> None:
    schedule = make_schedule()
    others = [name for name in SCHEDULE_PERMISSIONS if name != f"{permission}_schedule"]
    eve = make_user("eve", *RUN_PERMISSIONS, *others)
    with pytest.raises(RunRefused, match=f"You may not {permission} schedules"):
        control(user=eve, schedule=schedule)
    mallory = planner_of(make_server(name="Elsewhere"), username="mallory")
    with pytest.raises(RunRefused, match="servers that you don't see"):
        control(user=mallory, schedule=schedule)
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.owner_name) == (True, "ada")
    assert not ActionRun.objects.exists()
