"""What a saved schedule means: whose it is, what of it holds at once, and what is refused."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun, ActionTemplate
from ami_integration.actions.services import RunRefused
from ami_integration.actions.templates import template_save
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules import services
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.tick import schedules_tick
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_run, make_user
from tests.processes import Valkey
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at_noon(**values: Any) -> Schedule:
    """Every day at noon, due at noon."""
    return make_schedule(**{"kind": "crontab", "crontab": "0 12 * * *", "next_at": NOON} | values)


def unsaved(**values: Any) -> Schedule:
    return Schedule(
        **{"name": "Nightly", "action": "Ping", "crontab": "0 12 * * *", "timezone": "UTC"} | values
    )


def save(schedule: Schedule, **values: Any) -> Schedule:
    """Save it again as its owner does, a second before noon unless the values say otherwise."""
    headers = values.pop("headers", None)
    return services.schedule_save(
        schedule=schedule,
        headers=schedule.headers_in_clear() if headers is None else headers,
        **{"user": schedule.owner, "now": NOON - SECOND} | values,
    )


def create(**values: Any) -> Schedule:
    """Save a new one, on a new server unless the values say otherwise."""
    names = ("user", "headers", "servers", "now", "hidden_by", "template", "address")
    given = {name: values.pop(name) for name in names if name in values}
    if "servers" not in given and values.get("tag") is None:
        given["servers"] = [make_server()]
    user = given.pop("user", None) or make_planner()
    return services.schedule_save(
        schedule=unsaved(**values), **{"user": user, "headers": [], "now": NOON - SECOND} | given
    )


def planner_of(*servers: Server, username: str = "bob") -> User:
    """Somebody who may plan, and run anything, on these servers alone."""
    person = make_person(username, *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    for server in servers:
        grant(person, on=server)
    return person


# -- a new one


def test_a_new_schedule_knows_its_next_time_its_servers_and_its_owner() -> None:
    ada = make_planner()
    berlin, paris = make_server(), make_server(name="Paris")
    schedule = create(user=ada, headers=[("Secret", "hunter2")], servers=[paris, berlin], hidden_by=ada.pk)
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.owner, schedule.owner_name) == (NOON, ada, "ada")
    assert list(schedule.servers.all()) == [berlin, paris]
    assert "hunter2" not in str(schedule.headers_masked)
    assert schedule.headers_in_clear() == [("Secret", "hunter2")]
    assert schedule.hidden_by == ada


def test_without_a_zone_it_gets_the_one_that_its_servers_share() -> None:
    zone = {"timezone": "Europe/Berlin"}
    servers = [make_server(**zone), make_server(name="Bonn", **zone)]
    assert create(servers=servers, timezone="").timezone == "Europe/Berlin"
    Schedule.objects.all().delete()
    tag = Tag.objects.create(name="eu")
    servers[0].tags.add(tag)
    bob = make_planner("bob")
    assert create(user=bob, tag=tag, timezone="").timezone == "Europe/Berlin"
    servers.append(make_server(name="Boston", timezone="America/New_York"))
    with pytest.raises(services.BadTiming, match="different time zones: Europe/Berlin"):
        create(user=bob, name="Both", servers=servers, timezone="")


@pytest.mark.parametrize(
    ("values", "headers", "error", "field"),
    [
        ({"crontab": "61 * * * *"}, [], services.BadTiming, "crontab"),
        ({"crontab": "0 0 31 2 *"}, [], services.BadTiming, "crontab"),
        ({"timezone": "Europe/Bonn"}, [], services.BadTiming, "timezone"),
        ({"kind": "once", "once_at": NOON - DAY}, [], services.BadTiming, "once_at"),
        ({"ends_at": NOON - SECOND * 2}, [], services.BadTiming, "ends_at"),
        ({"action": ""}, [], RunRefused, "action"),
        ({}, [("Data", "a\nAction: Originate")], RunRefused, "headers"),
        ({}, [("Data", "{{number}}")], RunRefused, "headers"),
    ],
)
def test_what_could_never_run_is_not_saved(
    values: dict[str, Any], headers: list[tuple[str, str]], error: type[Exception], field: str
) -> None:
    with pytest.raises(error) as refused:
        create(headers=headers, **values)
    assert refused.value.field == field  # type: ignore[attr-defined]
    assert not Schedule.objects.exists()


def test_it_names_servers_or_a_tag_and_exactly_one_of_both() -> None:
    berlin, tag = make_server(), Tag.objects.create(name="eu")
    berlin.tags.add(tag)
    ada = make_planner()
    with pytest.raises(RunRefused, match="not both"):
        create(user=ada, servers=[berlin], tag=tag)
    with pytest.raises(RunRefused, match="Choose the servers"):
        create(user=ada, servers=[])
    assert not create(user=ada, tag=tag).servers.exists()


@pytest.mark.parametrize("mode", ["serial", "first_then_rest"])
def test_what_is_spread_over_several_servers_has_no_order(mode: str) -> None:
    ada, berlin, paris = make_planner(), make_server(), make_server(name="Paris")
    with pytest.raises(RunRefused, match="has no order") as refused:
        create(user=ada, servers=[berlin, paris], mode=mode, jitter_seconds=60)
    assert refused.value.field == "jitter_seconds"
    assert create(user=ada, servers=[berlin], mode=mode, jitter_seconds=60).pk


# -- an edit holds at once


def test_a_new_time_holds_at_once_and_is_counted_anew() -> None:
    schedule = at_noon(max_runs=3, runs_counted=2)
    schedule.crontab = "0 18 * * *"
    save(schedule)
    assert schedules_tick(now=NOON) == 0
    schedule.refresh_from_db()
    assert (schedule.next_at, schedule.runs_counted) == (NOON + timedelta(hours=6), 0)


def test_a_new_name_does_not_lose_a_planned_time_that_is_due_this_second(rung: list[int]) -> None:
    schedule = at_noon()
    schedule.name = "Daily"
    save(schedule, now=NOON + SECOND)
    assert schedules_tick(now=NOON + SECOND) == 1
    assert ActionRun.objects.get().origin_detail == "Daily"


def test_what_the_tick_noted_while_a_form_was_open_stays() -> None:
    schedule = at_noon()
    noted = {
        "next_at": NOON + DAY,
        "runs_counted": 7,
        "last_state": "failed",
        "last_at": NOON,
        "last_good_at": NOON - DAY,
        "failures": 2,
    }
    Schedule.objects.update(**noted)
    schedule.name = "Daily"
    save(schedule)
    assert Schedule.objects.values(*noted).get() == noted


def test_what_ended_by_its_own_calendar_stays_ended_through_a_new_name() -> None:
    schedule = at_noon(kind="once", once_at=NOON, next_at=None)
    schedule.name = "Then"
    save(schedule, now=NOON + DAY)
    used_up = at_noon(
        name="Thrice",
        owner=make_planner("bob"),
        server=server_of(schedule),
        max_runs=3,
        runs_counted=3,
        next_at=None,
    )
    used_up.action = "QueueReset"
    save(used_up)
    assert set(Schedule.objects.values_list("next_at", flat=True)) == {None}
    used_up.max_runs = 4
    save(used_up)
    used_up.refresh_from_db()
    assert (used_up.next_at, used_up.runs_counted) == (NOON, 0)


def test_a_disabled_schedule_has_no_next_time_and_an_enabled_one_gets_it_back() -> None:
    schedule = at_noon(runs_counted=2)
    schedule.enabled = False
    save(schedule, now=NOON)
    assert schedule.next_at is None
    schedule.enabled = True
    save(schedule, now=NOON)
    assert (schedule.next_at, schedule.runs_counted) == (NOON + DAY, 0)


@pytest.mark.parametrize(
    ("change", "headers", "words"),
    [
        ({"enabled": False}, None, "ada disabled the schedule"),
        ({"action": "QueueReset"}, None, "ada changed the schedule"),
        ({"timeout": 5.0}, None, "ada changed the schedule"),
        ({}, [("Queue", "sales")], "ada changed the schedule"),
        ({"name": "Daily", "crontab": "0 18 * * *", "overlap": "allow"}, None, ""),
    ],
)
def test_what_had_not_begun_is_taken_back_if_it_is_disabled_or_would_do_something_else(
    change: dict[str, Any], headers: list[tuple[str, str]] | None, words: str
) -> None:
    schedule = at_noon()
    run = make_run(server=server_of(schedule))
    PlannedRun.objects.create(schedule=schedule, planned_at=NOON - DAY, outcome="submitted", run=run)
    for name, value in change.items():
        setattr(schedule, name, value)
    save(schedule, headers=headers)
    run.refresh_from_db()
    assert run.status == ("cancelled" if words else "queued")
    assert words in run.reason


def test_other_servers_take_back_what_had_not_begun_on_the_old_ones() -> None:
    schedule = at_noon()
    run = make_run(server=server_of(schedule))
    PlannedRun.objects.create(schedule=schedule, planned_at=NOON - DAY, outcome="submitted", run=run)
    save(schedule, servers=[make_server(name="Paris")])
    run.refresh_from_db()
    assert run.status == "cancelled"
    assert [server.name for server in schedule.servers.all()] == ["Paris"]


# -- whose it is


def test_who_saves_a_schedule_takes_it_over_and_a_stopped_one_goes_on() -> None:
    schedule = at_noon(next_at=None, stopped_at=NOON, stopped_why="ada was deleted.")
    bob = make_planner("bob")
    save(schedule, user=bob)
    schedule.refresh_from_db()
    assert (schedule.owner, schedule.owner_name) == (bob, "bob")
    assert (schedule.stopped_at, schedule.stopped_why, schedule.next_at) == (None, "", NOON)


def test_who_may_not_run_actions_saves_no_schedule() -> None:
    schedule = at_noon()
    eve = make_user("eve", "change_schedule", "add_schedule", "view_schedule", "view_actionrun")
    schedule.action = "Originate"
    with pytest.raises(RunRefused, match="eve may not run actions"):
        save(schedule, user=eve)
    with pytest.raises(RunRefused, match="eve may not run actions"):
        create(user=eve, name="By tag", tag=Tag.objects.create(name="empty"))
    schedule.refresh_from_db()
    assert (schedule.action, schedule.owner_name) == ("Ping", "ada")


def test_who_may_not_run_it_on_every_named_server_saves_nothing() -> None:
    berlin, paris = make_server(), make_server(name="Paris")
    bob = planner_of(berlin)
    with pytest.raises(RunRefused, match="servers that you don't see") as refused:
        create(user=bob, servers=[berlin, paris])
    assert "Paris" not in str(refused.value)
    grant(bob, Danger.READ, on=paris)
    with pytest.raises(RunRefused, match="No access rule lets bob run Originate .* on Paris"):
        create(user=bob, servers=[berlin, paris], action="Originate")
    assert create(user=bob, servers=[berlin, paris]).pk
    entry = AuditEntry.objects.filter(verb="schedule.save", outcome="refused").latest("pk")
    assert (entry.object_name, entry.origin, entry.actor) == ("Paris", "schedule", bob)


def test_of_a_tag_it_is_enough_to_be_allowed_somewhere() -> None:
    eu = Tag.objects.create(name="eu")
    berlin, paris = make_server(), make_server(name="Paris")
    for server in (berlin, paris):
        server.tags.add(eu)
    bob = make_person("bob", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    with pytest.raises(RunRefused, match="no server with this tag"):
        create(user=bob, tag=eu)
    grant(bob, Danger.READ, on=paris)
    with pytest.raises(RunRefused, match="No access rule lets bob run Originate"):
        create(user=bob, tag=eu, action="Originate")
    grant(bob, on=berlin)
    assert create(user=bob, tag=eu, action="Originate").pk


@pytest.mark.parametrize("switch", ["maintenance", "read_only"])
def test_a_switch_of_the_server_keeps_nobody_from_saving(switch: str) -> None:
    assert create(servers=[make_server(**{switch: True})], action="QueueReset").pk


def test_an_edit_drops_no_server_that_the_person_does_not_see() -> None:
    berlin, paris = make_server(), make_server(name="Paris")
    schedule = at_noon(servers=[berlin, paris])
    with pytest.raises(RunRefused, match="they would be dropped"):
        save(schedule, user=planner_of(berlin), servers=[berlin])
    assert schedule.servers.count() == 2


def test_a_stranger_saves_nothing() -> None:
    schedule = at_noon()
    viewer = make_user("eve", *RUN_PERMISSIONS, "view_schedule")
    with pytest.raises(RunRefused, match="You may not change schedules"):
        save(schedule, user=viewer)
    with pytest.raises(RunRefused, match="You may not add schedules"):
        create(user=viewer, name="Other", servers=[server_of(schedule)])
    elsewhere = make_server(name="Elsewhere")
    with pytest.raises(RunRefused, match="servers that you don't see"):
        save(schedule, user=planner_of(elsewhere, username="mallory"), servers=[elsewhere])
    schedule.refresh_from_db()
    assert (schedule.owner_name, server_of(schedule).name) == ("ada", "Berlin")


def test_what_somebody_else_saved_meanwhile_is_not_overwritten() -> None:
    schedule = at_noon()
    stale = Schedule.objects.get(pk=schedule.pk)
    schedule.action = "QueueReset"
    save(schedule)
    with pytest.raises(RunRefused, match="Somebody changed Nightly meanwhile"):
        save(stale, user=make_planner("bob"))
    schedule.refresh_from_db()
    assert (schedule.action, schedule.owner_name) == ("QueueReset", "ada")


# -- templates


def make_template(owner: User, **values: Any) -> ActionTemplate:
    template = ActionTemplate(**{"name": "Reset", "action": "QueueReset"} | values)
    template_save(user=owner, template=template, headers=[("Queue", "sales")])
    return template


def reader(username: str = "ada") -> User:
    return make_user(username, *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS, "view_actiontemplate")


def test_a_later_change_of_its_template_is_told_until_somebody_takes_it_over() -> None:
    ada = reader()
    template = make_template(ada)
    schedule = create(user=ada, action="QueueReset", headers=[("Queue", "sales")], template=template)
    assert not services.template_differs(schedule)
    template.action = "QueuePause"
    template_save(user=ada, template=template, headers=[("Queue", "all")])
    schedule.refresh_from_db()
    assert services.template_differs(schedule)
    assert (schedule.action, schedule.headers_in_clear()) == ("QueueReset", [("Queue", "sales")])
    schedule.name = "Daily"
    save(schedule, user=ada)
    assert services.template_differs(schedule)
    schedule.action = "QueuePause"
    save(schedule, user=ada, headers=[("Queue", "all")], template=template)
    assert not services.template_differs(schedule)


def test_a_schedule_outlives_its_template() -> None:
    ada = reader()
    schedule = create(user=ada, template=make_template(ada))
    ActionTemplate.objects.all().delete()
    schedule.refresh_from_db()
    assert not services.template_differs(schedule)
    save(schedule)
    assert schedule.template_taken_at is None


def test_who_may_not_see_templates_takes_none_over() -> None:
    template = make_template(make_planner())
    with pytest.raises(RunRefused, match="may not use this template"):
        create(user=make_planner("bob"), template=template)


# -- at the same moment


def pause(schedule: Schedule) -> None:
    services.schedule_pause(user=schedule.owner, schedule=schedule)


def delete(schedule: Schedule) -> None:
    services.schedule_delete(user=schedule.owner, schedule=schedule)


def edit(schedule: Schedule) -> None:
    schedule.action = "CoreStatus"
    services.schedule_save(user=schedule.owner, schedule=schedule, headers=[])


def pause_all(schedule: Schedule) -> None:
    services.schedules_pause_all(user=schedule.owner)


def at_once(*acts: Callable[[], Any]) -> None:
    """Do these at the same moment, each on a connection of its own."""
    together = threading.Barrier(len(acts))
    failed: list[BaseException] = []

    def do(act: Callable[[], Any]) -> None:
        together.wait()
        try:
            act()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed


@pytest.mark.parametrize("change", [pause, delete, edit, pause_all])
@pytest.mark.django_db(transaction=True)
def test_of_a_change_and_a_tick_at_the_same_moment_nothing_old_is_left_to_run(
    change: Callable[[Schedule], None], valkey: Valkey
) -> None:
    ada, berlin = make_planner(), make_server()
    now = timezone.now()
    for number in range(5):
        # Spread, so that what is submitted doesn't begin by itself.
        made = at_noon(
            name=f"Number {number}",
            owner=ada,
            server=berlin,
            crontab="0 0 1 1 *",
            next_at=now,
            jitter_seconds=3600,
        )
        schedule = Schedule.objects.get(pk=made.pk)
        at_once(functools.partial(schedules_tick, now=now), functools.partial(change, schedule))
        old = ActionRun.objects.queued()
        assert not (old.filter(action="Ping") if change is edit else old).exists()
        # Whichever came first, the planned time is there at most once.
        assert PlannedRun.objects.filter(schedule_id=made.pk).count() <= 1
        if change is pause_all:
            services.schedules_resume_all(user=ada)
    valkey.flush()
