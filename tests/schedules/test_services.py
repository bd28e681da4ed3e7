"""What the tick makes of schedules, and what a saved edit means."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import RunRefused
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import services
from ami_integration.schedules.models import PlannedRun, Schedule
from ami_integration.servers.models import Server, Tag
from tests.actions.factories import make_user
from tests.processes import Valkey
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
Outcome = PlannedRun.Outcome
SECOND = timedelta(seconds=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at_noon(**values: Any) -> Schedule:
    """Every day at noon, due at noon."""
    return make_schedule(kind="crontab", crontab="0 12 * * *", next_at=NOON, **values)


# -- the tick


def test_what_is_due_becomes_a_run_of_its_owner_in_the_same_log() -> None:
    schedule = at_noon(headers=[("Queue", "sales")], action="QueueReset")
    assert services.schedules_tick(now=NOON) == 1
    planned = PlannedRun.objects.get()
    assert (planned.planned_at, planned.outcome) == (NOON, Outcome.SUBMITTED)
    run = ActionRun.objects.get()
    assert planned.run == run
    assert (run.action, run.server, run.headers_in_clear()) == (
        "QueueReset",
        server_of(schedule),
        [("Queue", "sales")],
    )
    assert (run.user, run.origin, run.origin_detail) == (schedule.owner, "schedule", "Nightly")
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + timedelta(days=1)


def test_what_is_not_due_or_disabled_is_left_alone() -> None:
    schedule = at_noon()
    assert services.schedules_tick(now=NOON - SECOND) == 0
    Schedule.objects.update(enabled=False)
    assert services.schedules_tick(now=NOON) == 0
    schedule.refresh_from_db()
    assert schedule.next_at == NOON
    assert not ActionRun.objects.exists()


def test_a_second_tick_finds_nothing_to_do() -> None:
    at_noon()
    assert services.schedules_tick(now=NOON) == 1
    assert services.schedules_tick(now=NOON) == 0
    assert ActionRun.objects.count() == 1


def test_a_planned_time_that_is_on_record_is_not_submitted_again() -> None:
    schedule = at_noon()
    services.schedules_tick(now=NOON)
    Schedule.objects.update(next_at=NOON)  # as if an old copy of the row had been written back
    services.schedules_tick(now=NOON)
    assert ActionRun.objects.count() == PlannedRun.objects.count() == 1
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + timedelta(days=1)


def test_a_late_tick_within_the_grace_still_runs() -> None:
    at_noon()
    services.schedules_tick(now=NOON + 60 * SECOND)
    assert PlannedRun.objects.get().outcome == Outcome.SUBMITTED


def test_a_tick_later_than_the_grace_records_a_misfire_with_its_reason() -> None:
    schedule = at_noon()
    services.schedules_tick(now=NOON + 61 * SECOND)
    planned = PlannedRun.objects.get()
    assert (planned.outcome, planned.run) == (Outcome.MISFIRED, None)
    assert "due more than 60 s before" in planned.reason
    assert not ActionRun.objects.exists()
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + timedelta(days=1)


def test_after_an_outage_every_missed_time_is_recorded_and_the_one_within_the_grace_runs() -> None:
    make_schedule(kind="crontab", crontab="*/5 * * * *", next_at=NOON)
    services.schedules_tick(now=NOON + timedelta(minutes=20, seconds=30))
    outcomes = PlannedRun.objects.order_by("planned_at").values_list("planned_at", "outcome")
    assert list(outcomes) == [
        (NOON, Outcome.MISFIRED),
        (NOON + timedelta(minutes=5), Outcome.MISFIRED),
        (NOON + timedelta(minutes=10), Outcome.MISFIRED),
        (NOON + timedelta(minutes=15), Outcome.MISFIRED),
        (NOON + timedelta(minutes=20), Outcome.SUBMITTED),
    ]


def test_after_a_long_outage_the_missed_times_are_told_and_not_listed_for_ever() -> None:
    schedule = make_schedule(interval_seconds=1, next_at=NOON, anchor_at=NOON)
    now = NOON + timedelta(hours=3)
    dealt = services.schedules_tick(now=now)
    missed = PlannedRun.objects.filter(outcome=Outcome.MISFIRED)
    assert missed.count() == services.MISFIRES_LISTED
    assert "not listed one by one" in missed.order_by("planned_at").last().reason  # type: ignore[union-attr]
    schedule.refresh_from_db()
    assert schedule.next_at is not None
    assert schedule.next_at >= now - 60 * SECOND
    assert dealt >= services.MISFIRES_LISTED


def test_a_fast_schedule_catches_up_within_the_grace() -> None:
    schedule = make_schedule(interval_seconds=1, next_at=NOON, anchor_at=NOON)
    assert services.schedules_tick(now=NOON + 3 * SECOND) == 4
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + 4 * SECOND
    assert ActionRun.objects.count() == 4


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (lambda owner: owner.user_permissions.clear(), "may not run actions"),
        (lambda owner: type(owner).objects.update(is_active=False), "is not active"),
        (lambda owner: owner.delete(), "was deleted"),
    ],
    ids=["right withdrawn", "inactive", "gone"],
)
def test_a_schedule_whose_owner_lost_the_right_is_refused_visibly(lose: Any, words: str) -> None:
    schedule = at_noon()
    lose(schedule.owner)
    assert services.schedules_tick(now=NOON) == 1
    planned = PlannedRun.objects.get()
    assert (planned.outcome, planned.run) == (Outcome.REFUSED, None)
    assert "ada" in planned.reason
    assert words in planned.reason
    assert not ActionRun.objects.exists()


def test_a_disabled_server_refuses_the_planned_run() -> None:
    at_noon(server=make_server(enabled=False))
    services.schedules_tick(now=NOON)
    planned = PlannedRun.objects.get()
    assert planned.outcome == Outcome.REFUSED
    assert "Berlin is disabled" in planned.reason


def test_one_broken_schedule_stops_no_other_and_is_not_tried_every_second() -> None:
    server = make_server()
    owner = make_planner()
    broken = at_noon(name="A broken one", server=server, owner=owner)
    Schedule.objects.filter(pk=broken.pk).update(crontab="nonsense")
    at_noon(name="B", server=server, owner=owner)
    services.schedules_tick(now=NOON)
    assert ActionRun.objects.get().origin_detail == "B"
    assert PlannedRun.objects.get(schedule=broken).outcome == Outcome.REFUSED
    broken.refresh_from_db()
    assert broken.next_at is None
    assert services.schedules_tick(now=NOON + SECOND) == 0


def test_a_planned_time_outlives_a_deadlock_and_is_taken_by_the_next_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deadlock(**_: Any) -> ActionRun:
        raise OperationalError("deadlock detected")

    schedule = at_noon()
    other = make_schedule(name="Other", server=server_of(schedule), owner=schedule.owner, next_at=NOON)
    with monkeypatch.context() as broken:
        broken.setattr(services, "run_submit", deadlock)
        assert services.schedules_tick(now=NOON) == 0
    for one in (schedule, other):
        one.refresh_from_db()
        assert one.next_at == NOON
    assert not PlannedRun.objects.exists()
    assert services.schedules_tick(now=NOON + SECOND) == 2
    assert {planned.outcome for planned in PlannedRun.objects.all()} == {Outcome.SUBMITTED}
    assert ActionRun.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_locked_schedule_is_taken_by_a_later_tick(valkey: Valkey) -> None:
    """A real lock of a real database, held by another connection."""
    schedule = at_noon()
    if connection.vendor == "sqlite":
        options = connection.settings_dict["OPTIONS"] | {"timeout": 0.1}
        locker = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        connection.close()
        before = connection.settings_dict
        connection.settings_dict = before | {"OPTIONS": options}
        try:
            assert services.schedules_tick(now=NOON) == 0
        finally:
            connection.settings_dict = before
            connection.close()
            locker.close()
    else:
        locker = connection.copy()
        try:
            locker.set_autocommit(False)
            with locker.cursor() as cursor, connection.cursor() as impatient:
                cursor.execute("SELECT 1 FROM ami_integration_schedule FOR UPDATE")
                impatient.execute("SET lock_timeout = '100ms'")
            assert services.schedules_tick(now=NOON) == 0
        finally:
            locker.close()
            connection.close()
    assert not PlannedRun.objects.exists()
    assert services.schedules_tick(now=NOON + SECOND) == 1
    assert PlannedRun.objects.get().outcome == Outcome.SUBMITTED
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + timedelta(days=1)


def test_an_edit_between_the_look_and_the_swap_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = at_noon()
    look = services.next_times

    def edit_meanwhile(**values: Any) -> list[datetime]:
        Schedule.objects.filter(pk=schedule.pk).update(updated_at=timezone.now())
        return look(**values)

    monkeypatch.setattr(services, "next_times", edit_meanwhile)
    assert services.schedules_tick(now=NOON) == 0
    assert not ActionRun.objects.exists()
    monkeypatch.undo()
    assert services.schedules_tick(now=NOON) == 1


@pytest.mark.django_db(transaction=True)
def test_ticks_at_the_same_time_share_the_work(valkey: Valkey) -> None:
    server, owner = make_server(), make_planner()
    for number in range(10):
        at_noon(name=f"Number {number}", server=server, owner=owner)
    together = threading.Barrier(4)
    dealt: list[int] = []

    def tick() -> None:
        together.wait()
        try:
            dealt.append(services.schedules_tick(now=NOON))
        finally:
            connection.close()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(dealt) == 10
    assert ActionRun.objects.count() == PlannedRun.objects.count() == 10
    valkey.flush()


# -- saving


def unsaved(**values: Any) -> Schedule:
    values = {"name": "Nightly", "action": "Ping", "kind": "crontab", "crontab": "0 12 * * *"} | values
    return Schedule(**values)


def test_a_new_schedule_knows_its_next_time_and_its_owner() -> None:
    ada = make_planner()
    schedule = services.schedule_save(
        user=ada, schedule=unsaved(), headers=[("Secret", "hunter2")], now=NOON - SECOND
    )
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.owner, schedule.owner_name) == (NOON, ada, "ada")
    assert "hunter2" not in str(schedule.headers_masked)
    assert schedule.headers_in_clear() == [("Secret", "hunter2")]


def test_a_new_time_holds_at_once() -> None:
    schedule = at_noon()
    schedule.crontab = "0 18 * * *"
    services.schedule_save(user=schedule.owner, schedule=schedule, headers=[], now=NOON - SECOND)
    assert services.schedules_tick(now=NOON) == 0
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + timedelta(hours=6)


def test_a_new_name_does_not_lose_a_planned_time_that_is_due_this_second() -> None:
    schedule = at_noon()
    schedule.name = "Daily"
    services.schedule_save(user=schedule.owner, schedule=schedule, headers=[], now=NOON + SECOND)
    assert services.schedules_tick(now=NOON + SECOND) == 1
    assert ActionRun.objects.get().origin_detail == "Daily"


def test_a_disabled_schedule_has_no_next_time_and_an_enabled_one_gets_it_back() -> None:
    schedule = at_noon()
    schedule.enabled = False
    services.schedule_save(user=schedule.owner, schedule=schedule, headers=[], now=NOON)
    assert schedule.next_at is None
    schedule.enabled = True
    services.schedule_save(user=schedule.owner, schedule=schedule, headers=[], now=NOON)
    assert schedule.next_at == NOON + timedelta(days=1)


def test_who_saves_a_schedule_takes_it_over() -> None:
    schedule = at_noon()
    bob = make_planner("bob")
    services.schedule_save(user=bob, schedule=schedule, headers=[])
    schedule.refresh_from_db()
    assert (schedule.owner, schedule.owner_name) == (bob, "bob")


def test_who_may_not_run_actions_saves_no_schedule() -> None:
    schedule = at_noon()
    eve = make_user("eve", "change_schedule", "add_schedule", "view_schedule", "view_actionrun")
    schedule.action = "Originate"
    with pytest.raises(RunRefused, match="eve may not run actions"):
        services.schedule_save(user=eve, schedule=schedule, headers=[])
    schedule.refresh_from_db()
    assert (schedule.action, schedule.owner_name) == ("Ping", "ada")


@pytest.mark.parametrize("switch", ["maintenance", "read_only"])
def test_a_planned_run_on_a_server_that_is_switched_off_is_refused_and_audited(switch: str) -> None:
    schedule = make_schedule(action="QueueReset")
    Server.objects.update(**{switch: True})
    services.schedules_tick()
    planned = PlannedRun.objects.get()
    assert planned.outcome == PlannedRun.Outcome.REFUSED and "Berlin is" in planned.reason
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.outcome, entry.origin) == ("run.submit", "refused", "schedule")
    assert entry.what["rule"] == switch.replace("_", "-")


def test_a_schedule_runs_no_longer_once_its_owner_has_lost_the_rule() -> None:
    schedule = make_schedule()
    assert schedule.owner is not None
    schedule.owner.groups.clear()
    services.schedules_tick()
    assert "No access rule lets ada run Ping" in PlannedRun.objects.get().reason


@pytest.mark.parametrize(
    ("values", "headers", "error"),
    [
        ({"crontab": "61 * * * *"}, [], services.BadTiming),
        ({"crontab": "0 0 31 2 *"}, [], services.BadTiming),
        ({"action": ""}, [], RunRefused),
        ({}, [("Data", "a\nAction: Originate")], RunRefused),
    ],
)
def test_what_could_never_run_is_not_saved(
    values: dict[str, str], headers: list[tuple[str, str]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        services.schedule_save(user=make_planner(), schedule=unsaved(**values), headers=headers)
    assert not Schedule.objects.exists()
