"""What the tick makes of what is due: runs, fan-outs, and the reasons why not."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.watch import runs_sweep
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import submission, taking, turn
from ami_integration.schedules import tick as tick_module
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.figures import figures_read
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.schedules.tick import schedules_tick
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS
from tests.processes import Valkey
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung")]
Outcome = PlannedRun.Outcome
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at_noon(**values: Any) -> Schedule:
    """Every day at noon, due at noon."""
    return make_schedule(kind="crontab", crontab="0 12 * * *", next_at=NOON, **values)


def fleet(number: int = 3) -> list[Server]:
    return [make_server(name=f"PBX {one}") for one in range(number)]


def only() -> PlannedRun:
    return PlannedRun.objects.get()


def test_what_is_due_becomes_a_run_of_its_owner_in_the_same_log(rung: list[int]) -> None:
    schedule = at_noon(headers=[("Queue", "sales")], action="QueueReset")
    assert schedules_tick(now=NOON) == 1
    planned, run = only(), ActionRun.objects.get()
    assert (planned.planned_at, planned.outcome, planned.run) == (NOON, Outcome.SUBMITTED, run)
    assert (run.action, run.server, run.headers_in_clear()) == (
        "QueueReset",
        server_of(schedule),
        [("Queue", "sales")],
    )
    assert (run.user, run.origin, run.origin_detail) == (schedule.owner, "schedule", "Nightly")
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.runs_counted) == (NOON + DAY, 1)
    assert rung == [run.pk]
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.origin, entry.actor_name, entry.object_id) == (
        "run.submit",
        "schedule",
        "ada",
        str(run.pk),
    )


def test_several_servers_become_a_fan_out_that_holds_the_rest_back(rung: list[int]) -> None:
    schedule = at_noon(servers=fleet(), mode="parallel", limit=2, stop_after=1)
    schedules_tick(now=NOON)
    fanout = FanOut.objects.get()
    assert (only().run, only().fanout) == (None, fanout)
    assert (fanout.mode, fanout.limit, fanout.stop_after, fanout.origin) == ("parallel", 2, 1, "schedule")
    runs = list(fanout.runs.order_by("pk"))
    assert [(run.server_name, run.held) for run in runs] == [
        ("PBX 0", False),
        ("PBX 1", False),
        ("PBX 2", True),
    ]
    assert rung == [run.pk for run in runs[:2]]
    verbs = list(AuditEntry.objects.order_by("pk").values_list("verb", flat=True))
    assert verbs == ["run.submit"] * 3 + ["fanout.submit"]
    assert schedule.runs_counted == 0


@pytest.mark.parametrize("mode", ["serial", "first_then_rest"])
def test_an_order_that_begins_with_one_rings_for_one(mode: str, rung: list[int]) -> None:
    at_noon(servers=fleet(), mode=mode)
    schedules_tick(now=NOON)
    assert rung == [ActionRun.objects.order_by("pk")[0].pk]
    assert ActionRun.objects.filter(held=True).count() == 2


def test_a_tag_means_the_servers_that_have_it_when_it_is_due() -> None:
    tag = Tag.objects.create(name="queues")
    first, second, off = fleet()
    for server in (first, off):
        server.tags.add(tag)
    at_noon(tag=tag)
    second.tags.add(tag)
    Server.objects.filter(pk=off.pk).update(enabled=False)
    schedules_tick(now=NOON)
    assert set(ActionRun.objects.values_list("server_name", flat=True)) == {"PBX 0", "PBX 1"}
    assert FanOut.objects.get().target == "queues"


def test_a_spread_gives_each_server_its_own_moment_the_same_each_time(rung: list[int]) -> None:
    at_noon(servers=fleet(5), jitter_seconds=3600, overlap="allow")
    schedules_tick(now=NOON)
    assert rung == []
    schedules_tick(now=NOON + DAY)
    runs = list(ActionRun.objects.order_by("pk"))
    offsets = [
        {run.server_name: run.start_at - due for run in some if run.start_at is not None}
        for some, due in ((runs[:5], NOON), (runs[5:], NOON + DAY))
    ]
    assert offsets[0] == offsets[1]
    assert len(set(offsets[0].values())) == 5
    assert all(timedelta(0) <= offset < timedelta(hours=1) for offset in offsets[0].values())
    starts = [run.start_at for run in runs[:5]]
    assert starts == sorted(starts)  # type: ignore[type-var]
    assert rung == [run.pk for run in runs[:5]]  # their moment has long come


def test_what_is_not_due_disabled_or_stopped_is_left_alone() -> None:
    schedule = at_noon()
    assert schedules_tick(now=NOON - SECOND) == 0
    Schedule.objects.update(enabled=False)
    assert schedules_tick(now=NOON) == 0
    schedule.refresh_from_db()
    assert schedule.next_at == NOON
    assert not ActionRun.objects.exists()


def test_a_second_tick_finds_nothing_to_do() -> None:
    at_noon(overlap="allow")
    assert schedules_tick(now=NOON) == 1
    assert schedules_tick(now=NOON) == 0
    assert ActionRun.objects.count() == 1


def test_a_planned_time_that_is_on_record_is_not_submitted_again() -> None:
    schedule = at_noon(overlap="allow")
    schedules_tick(now=NOON)
    Schedule.objects.update(next_at=NOON)  # as if an old copy of the row had been written back
    schedules_tick(now=NOON)
    assert ActionRun.objects.count() == PlannedRun.objects.count() == 1
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + DAY


def test_a_planned_time_whose_record_was_lost_is_still_not_sent_twice() -> None:
    schedule = at_noon(overlap="allow")
    schedules_tick(now=NOON)
    PlannedRun.objects.all().delete()
    Schedule.objects.update(next_at=NOON)
    schedules_tick(now=NOON)
    assert ActionRun.objects.count() == 1
    assert only().outcome == Outcome.REFUSED
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + DAY


def test_it_ends_after_as_many_runs_as_it_shall_have() -> None:
    schedule = make_schedule(interval_seconds=1, next_at=NOON, anchor_at=NOON, overlap="allow", max_runs=3)
    schedules_tick(now=NOON + 10 * SECOND)
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.runs_counted, ActionRun.objects.count()) == (None, 3, 3)


def test_what_did_not_run_does_not_count_as_a_run() -> None:
    SchedulesPause.objects.create(pk=1, paused=True, username="bob", reason="Storm")
    schedule = at_noon(max_runs=1)
    schedules_tick(now=NOON)
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.runs_counted) == (NOON + DAY, 0)


def test_a_one_off_runs_once_and_is_over() -> None:
    schedule = make_schedule(kind="once", once_at=NOON, next_at=NOON)
    assert schedules_tick(now=NOON + SECOND) == 1
    schedule.refresh_from_db()
    assert schedule.next_at is None
    assert only().outcome == Outcome.SUBMITTED


# -- what keeps it from running


def test_while_everything_is_paused_planned_times_are_recorded_and_do_not_run() -> None:
    SchedulesPause.objects.create(pk=1, paused=True, username="bob", reason="Storm")
    schedule = at_noon()
    schedules_tick(now=NOON)
    planned = only()
    assert planned.outcome == Outcome.PAUSED
    assert "paused by bob: Storm" in planned.reason
    schedule.refresh_from_db()
    assert (schedule.last_state, schedule.last_at) == ("paused", NOON)
    assert not ActionRun.objects.exists()


def blackout(**values: Any) -> Blackout:
    return Blackout.objects.create(
        **{"name": "Fair", "starts_at": NOON - 60 * SECOND, "ends_at": NOON + 60 * SECOND} | values
    )


def test_in_a_blackout_of_the_fleet_nothing_starts() -> None:
    blackout()
    at_noon()
    schedules_tick(now=NOON)
    assert only().outcome == Outcome.BLACKOUT
    assert "Fair" in only().reason
    assert not ActionRun.objects.exists()


def test_a_blackout_of_a_tag_leaves_its_servers_out_and_the_others_run() -> None:
    servers = fleet()
    tag = Tag.objects.create(name="shops")
    servers[0].tags.add(tag)
    blackout(tag=tag)
    at_noon(servers=servers)
    schedules_tick(now=NOON)
    assert only().outcome == Outcome.SUBMITTED
    assert "Not run on PBX 0: The blackout “Fair”" in only().reason
    assert set(ActionRun.objects.values_list("server_name", flat=True)) == {"PBX 1", "PBX 2"}


def test_a_blackout_of_all_its_servers_is_one_of_the_planned_time() -> None:
    servers = fleet(2)
    tag = Tag.objects.create(name="shops")
    for server in servers:
        server.tags.add(tag)
    blackout(tag=tag)
    schedule = at_noon(servers=servers)
    schedules_tick(now=NOON)
    assert only().outcome == Outcome.BLACKOUT
    schedule.refresh_from_db()
    assert schedule.failures == 0


def test_a_spread_start_inside_a_blackout_is_left_out() -> None:
    servers = fleet(5)
    schedule = at_noon(servers=servers, jitter_seconds=3600)
    starts = submission.planned_starts(schedule=schedule, servers=servers, since=NOON)
    middle = sorted(starts.values())[2]
    blackout(starts_at=middle, ends_at=middle + SECOND / 1000)
    schedules_tick(now=NOON)
    assert ActionRun.objects.count() == 4
    assert only().reason.count("Not run on") == 1


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (lambda owner: owner.user_permissions.clear(), "may not run actions"),
        (lambda owner: type(owner).objects.update(is_active=False), "is not active"),
        (lambda owner: owner.delete(), "was deleted"),
        (lambda owner: owner.groups.clear(), "may run Ping on none of its servers any more"),
    ],
    ids=["right withdrawn", "inactive", "gone", "no rule"],
)
def test_a_schedule_whose_owner_lost_the_right_stops_visibly(lose: Any, words: str) -> None:
    schedule = at_noon()
    lose(schedule.owner)
    assert schedules_tick(now=NOON) == 1
    planned = only()
    assert (planned.outcome, planned.run) == (Outcome.REFUSED, None)
    assert "ada" in planned.reason
    assert words in planned.reason
    assert not ActionRun.objects.exists()
    schedule.refresh_from_db()
    assert (schedule.stopped_at, schedule.next_at, schedule.enabled) == (NOON, None, True)
    assert words in schedule.stopped_why
    assert (schedule.last_state, schedule.failures) == ("refused", 1)
    verbs = set(AuditEntry.objects.filter(object_type="schedule").values_list("verb", "outcome"))
    assert verbs == {("schedule.stop", "refused"), ("schedule.leave_out", "refused")}


def test_a_stop_takes_back_what_of_it_has_not_begun() -> None:
    schedule = at_noon(jitter_seconds=3600, overlap="allow")
    schedules_tick(now=NOON)
    assert schedule.owner is not None
    schedule.owner.groups.clear()
    schedules_tick(now=NOON + DAY)
    run = ActionRun.objects.get()
    assert run.status == ActionRun.Status.CANCELLED
    assert "the schedule was stopped" in run.reason


def test_servers_on_which_the_owner_may_not_are_left_out_and_count_as_refused() -> None:
    mine, other = make_server(name="Mine"), make_server(name="Other")
    owner = make_planner()
    owner.groups.clear()
    grant(owner, on=mine)
    schedule = at_noon(servers=[mine, other], owner=owner)
    schedules_tick(now=NOON)
    planned = only()
    assert (planned.outcome, planned.refused) == (Outcome.SUBMITTED, 1)
    assert "on Other" in planned.reason
    assert ActionRun.objects.get().server == mine
    schedule.refresh_from_db()
    assert schedule.stopped_at is None


@pytest.mark.parametrize("switch", ["maintenance", "read_only"])
def test_a_switch_of_the_server_leaves_this_time_out_and_stops_nothing(switch: str) -> None:
    schedule = at_noon(action="QueueReset")
    Server.objects.update(**{switch: True})
    schedules_tick(now=NOON)
    assert only().outcome == Outcome.SKIPPED
    assert "Berlin is" in only().reason
    schedule.refresh_from_db()
    assert (schedule.stopped_at, schedule.next_at, schedule.failures) == (None, NOON + DAY, 0)


def test_a_disabled_server_refuses_the_planned_run() -> None:
    at_noon(server=make_server(enabled=False))
    schedules_tick(now=NOON)
    assert only().outcome == Outcome.REFUSED
    assert "Berlin is disabled" in only().reason


def test_all_that_is_left_out_by_one_tick_makes_one_entry_of_the_audit() -> None:
    schedule = make_schedule(interval_seconds=1, next_at=NOON, anchor_at=NOON - SECOND)
    schedules_tick(now=NOON + 5 * SECOND)
    assert PlannedRun.objects.filter(outcome=Outcome.SKIPPED).count() == 5
    entry = AuditEntry.objects.get(verb="schedule.leave_out")
    assert (entry.what["number"], entry.what["outcomes"]) == (5, {"skipped": 5})
    assert (entry.object_type, entry.object_id, entry.object_name) == (
        "schedule",
        str(schedule.pk),
        "Nightly",
    )


# -- when something goes wrong


def test_one_broken_schedule_stops_no_other_and_is_not_tried_every_second() -> None:
    server, owner = make_server(), make_planner()
    broken = at_noon(name="A broken one", server=server, owner=owner)
    Schedule.objects.filter(pk=broken.pk).update(crontab="nonsense")
    at_noon(name="B", server=server, owner=owner)
    schedules_tick(now=NOON)
    assert ActionRun.objects.get().origin_detail == "B"
    assert PlannedRun.objects.get(schedule=broken).outcome == Outcome.REFUSED
    broken.refresh_from_db()
    assert (broken.next_at, broken.stopped_at) == (None, NOON)
    assert "can't be read" in broken.stopped_why
    assert schedules_tick(now=NOON + SECOND) == 0


def test_a_mistake_of_amiweb_costs_one_planned_time_and_not_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mistaken(**_: Any) -> None:
        raise ZeroDivisionError

    schedule = at_noon()
    with monkeypatch.context() as broken:
        broken.setattr(taking, "planned_submit", mistaken)
        schedules_tick(now=NOON)
    assert "amiweb itself failed (ZeroDivisionError)" in only().reason
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.stopped_at) == (NOON + DAY, None)


def test_a_planned_time_outlives_a_deadlock_and_is_taken_by_the_next_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deadlock(**_: Any) -> None:
        raise OperationalError("deadlock detected")

    schedule = at_noon()
    other = make_schedule(name="Other", server=server_of(schedule), owner=schedule.owner, next_at=NOON)
    with monkeypatch.context() as broken:
        broken.setattr(taking, "planned_submit", deadlock)
        assert schedules_tick(now=NOON) == 0
    for one in (schedule, other):
        one.refresh_from_db()
        assert one.next_at == NOON
    assert not PlannedRun.objects.exists()
    assert schedules_tick(now=NOON + SECOND) == 2
    assert {planned.outcome for planned in PlannedRun.objects.all()} == {Outcome.SUBMITTED}
    assert ActionRun.objects.count() == 2


class KilledError(BaseException):
    """As by kill -9: nobody catches it."""


def planned_submit_and_die(**values: Any) -> None:
    submission.planned_submit(**values)
    raise KilledError


def die(*_: object, **__: object) -> None:
    raise KilledError


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("where", "name", "death"),
    [
        (taking, "schedule_servers", die),
        (taking, "planned_submit", planned_submit_and_die),
        (type(Schedule.objects.all()), "advance", die),
        (taking, "left_out_note", die),
    ],
    ids=["before its runs", "behind its runs", "before its next time", "before the audit"],
)
def test_wherever_the_process_dies_all_of_a_planned_time_is_there_or_nothing(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, death: Any, rung: list[int]
) -> None:
    at_noon(servers=fleet())
    with monkeypatch.context() as deadly:
        deadly.setattr(where, name, death)
        with pytest.raises(KilledError):
            schedules_tick(now=NOON)
    assert not PlannedRun.objects.exists()
    assert not ActionRun.objects.exists()
    assert not FanOut.objects.exists()
    assert not AuditEntry.objects.exists()
    assert rung == []
    assert schedules_tick(now=NOON + SECOND) == 1
    assert (PlannedRun.objects.count(), FanOut.objects.count(), ActionRun.objects.count()) == (1, 1, 3)


@pytest.mark.django_db(transaction=True)
def test_a_death_between_the_commit_and_the_ring_is_made_good_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch, rung: list[int]
) -> None:
    make_schedule()
    with monkeypatch.context() as deadly:
        deadly.setattr(turn, "runs_ring", die)
        with pytest.raises(KilledError):
            schedules_tick()
    run = ActionRun.objects.get()
    assert (only().run, rung) == (run, [])
    assert schedules_tick() == 0
    runs_sweep(now=run.created_at + 6 * SECOND)
    assert rung == [run.pk]


def test_an_edit_between_the_look_and_the_swap_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = at_noon()
    look = taking.next_times

    def edit_meanwhile(**values: Any) -> list[datetime]:
        Schedule.objects.filter(pk=schedule.pk).update(updated_at=timezone.now())
        return look(**values)

    monkeypatch.setattr(taking, "next_times", edit_meanwhile)
    assert schedules_tick(now=NOON) == 0
    assert not ActionRun.objects.exists()
    assert not PlannedRun.objects.exists()
    monkeypatch.undo()
    assert schedules_tick(now=NOON) == 1


@pytest.mark.django_db(transaction=True)
def test_a_locked_schedule_is_taken_by_a_later_tick() -> None:
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
            assert schedules_tick(now=NOON) == 0
        finally:
            connection.settings_dict = before
            connection.close()
            locker.close()
    else:
        other = connection.copy()
        try:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("SELECT 1 FROM ami_integration_schedule FOR UPDATE")
            assert schedules_tick(now=NOON) == 0
        finally:
            other.close()
    assert not PlannedRun.objects.exists()
    assert schedules_tick(now=NOON + SECOND) == 1
    assert only().outcome == Outcome.SUBMITTED
    schedule.refresh_from_db()
    assert schedule.next_at == NOON + DAY


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
            dealt.append(schedules_tick(now=NOON))
        finally:
            connection.close()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Who finds a schedule in other hands leaves it; a later tick would find it, if those had failed.
    dealt.append(schedules_tick(now=NOON))
    assert sum(dealt) == 10
    assert ActionRun.objects.count() == PlannedRun.objects.count() == 10


def test_a_planned_time_takes_few_queries(django_assert_max_num_queries: Any) -> None:
    server, owner = make_server(), make_planner()
    for number in range(5):
        at_noon(name=f"Number {number}", server=server, owner=owner)
    tick = turn.Tick.begin(NOON)
    schedules = list(Schedule.objects.order_by("pk"))
    taking.schedule_take(schedule_id=schedules[0].pk, tick=tick)
    with django_assert_max_num_queries(14):
        taking.schedule_take(schedule_id=schedules[1].pk, tick=tick)


def test_a_hundred_servers_take_few_queries_too(django_assert_max_num_queries: Any) -> None:
    at_noon(servers=fleet(100))
    tick = turn.Tick.begin(NOON)
    with django_assert_max_num_queries(20):
        taking.schedule_take(schedule_id=Schedule.objects.get().pk, tick=tick)
    assert ActionRun.objects.count() == 100


def test_a_failure_that_cannot_even_be_recorded_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad = at_noon(name="Bad")
    Schedule.objects.update(next_at=NOON - SECOND)
    at_noon(name="Good", owner=bad.owner, server=server_of(bad))
    look = taking.next_times

    def broken(*, timing: Schedule, **values: Any) -> list[datetime]:
        if timing.name == "Bad":
            raise OverflowError("date value out of range")
        return look(timing=timing, **values)

    monkeypatch.setattr(taking, "next_times", broken)
    schedules_tick(now=NOON)
    outcomes = dict(PlannedRun.objects.values_list("schedule__name", "outcome"))
    assert outcomes == {"Bad": "refused", "Good": "submitted"}
    bad.refresh_from_db()
    # Without a next time it would be due for ever.
    assert (bad.next_at, bad.stopped_why) == (None, "Its times can't be read: OverflowError")
    monkeypatch.setattr(taking, "_give_up", lambda *_: 1 / 0)
    Schedule.objects.update(next_at=NOON + SECOND)
    schedules_tick(now=NOON + SECOND)
    assert PlannedRun.objects.filter(schedule__name="Good").count() == 2
    assert "failed can't be recorded" in caplog.text


def test_a_server_that_was_refused_in_part_stands_in_the_audit() -> None:
    berlin, boston = make_server(name="Berlin"), make_server(name="Boston")
    eve = make_person("eve", *RUN_PERMISSIONS)
    grant(eve, on=berlin)
    at_noon(owner=eve, servers=[berlin, boston])
    schedules_tick(now=NOON)
    assert PlannedRun.objects.get().refused == 1
    refused = AuditEntry.objects.filter(outcome=AuditEntry.Outcome.REFUSED)
    assert [(entry.verb, entry.object_name) for entry in refused] == [("run.submit", "Boston")]


@pytest.mark.parametrize("gone", ["deleted", "disabled", "in maintenance"])
def test_where_every_server_is_gone_or_disabled_it_failed_and_a_maintenance_is_no_failure(gone: str) -> None:
    schedule = at_noon()
    if gone == "deleted":
        Server.objects.all().delete()
    elif gone == "disabled":
        Server.objects.update(enabled=False)
    else:
        Server.objects.update(maintenance=True)
    schedules_tick(now=NOON)
    schedule.refresh_from_db()
    # The history's figures count it alike: what was skipped neither failed nor succeeded.
    figures = figures_read(schedule=schedule, now=NOON)[0]
    if gone == "in maintenance":
        assert (only().outcome, schedule.failures, figures.ended) == (Outcome.SKIPPED, 0, 0)
    else:
        assert (only().outcome, schedule.failures, figures.bad) == (Outcome.REFUSED, 1, 1)


def test_alerts_have_their_turn_in_a_tick_that_has_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []
    monkeypatch.setattr(tick_module, "alerts_look", lambda *, now: looked.append(now) or 0)
    monkeypatch.setattr(tick_module, "_alerts_at", 0.0)
    monkeypatch.setattr(turn.Tick, "over", property(lambda _: True))
    schedules_tick(now=NOON)
    schedules_tick(now=NOON + SECOND)
    assert looked == [NOON]  # and not each second


def test_when_more_alerts_are_due_than_one_look_opens_the_next_tick_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = [tick_module.MOST_ALERTS, 5, 0]
    monkeypatch.setattr(tick_module, "alerts_look", lambda *, now: changes.pop(0))
    monkeypatch.setattr(tick_module, "_alerts_at", 0.0)
    for number in range(3):
        schedules_tick(now=NOON + number * SECOND)
    assert changes == [0]


def test_nothing_that_is_spread_begins_after_the_end() -> None:
    servers = fleet()
    at_noon(servers=servers, jitter_seconds=3600, ends_at=NOON + 10 * SECOND)
    schedules_tick(now=NOON)
    starts = list(ActionRun.objects.values_list("start_at", flat=True))
    assert len(starts) == len(servers)
    assert all(start is None or NOON <= start <= NOON + 10 * SECOND for start in starts)


def test_a_tick_goes_on_taking_in_the_time_that_its_other_steps_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = make_planner()
    for number in range(3):
        make_schedule(name=f"Schedule {number}", owner=ada, server=make_server(name=f"PBX {number}"))
    monkeypatch.setattr(tick_module, "TAKING", 0.0)
    monkeypatch.setattr(tick_module, "LONGEST", 60.0)
    assert schedules_tick() == 3
    assert ActionRun.objects.count() == 3


def test_a_tick_reads_the_rules_of_an_owner_once(django_assert_num_queries: Any) -> None:
    eve = make_person("eve", *RUN_PERMISSIONS)
    server = make_server()
    grant(eve, on=server)
    tick = turn.Tick.begin(timezone.now())
    with django_assert_num_queries(1):
        assert tick.rules_of(eve) == tick.rules_of(eve)
    with django_assert_num_queries(0):
        assert tick.rules_of(None) == []
