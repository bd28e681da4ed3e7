"""The list of schedules, the head of a schedule's page, and what is done to several at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.alerts.models import Alert
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_run, make_user
from tests.schedules.asking import LIST, change, signed_in
from tests.schedules.factories import make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def names(client: Any, query: str = "") -> set[str]:
    """The schedules that the list shows."""
    return {schedule.name for schedule in client.get(f"{LIST}?{query}").context["cl"].result_list}


# -- the list


def test_the_list_says_what_where_when_and_how_it_went() -> None:
    now = timezone.now()
    make_schedule(
        kind="crontab",
        crontab="30 2 * * *",
        timezone="Europe/Berlin",
        next_at=datetime(2027, 1, 31, 1, 30, tzinfo=UTC),
        last_state="failed",
        last_at=now,
        failures=4,
        last_good_at=now - timedelta(hours=3),
    )
    page = signed_in(make_planner("bob")).get(LIST).content.decode()
    for words in (
        "Berlin",
        "At 02:30 every day (Europe/Berlin)",
        "Sun 2027-01-31 02:30:00 CET",
        'data-state="failed">Failed',
        "failed 4 times in a row",
        "3 h ago",
        "ada",
        'data-state="active">Runs',
    ):
        assert words in page, words


def test_the_list_can_be_filtered() -> None:
    now, bob = timezone.now(), make_planner("bob")
    oslo, tag = make_server(name="Oslo"), Tag.objects.create(name="north")
    oslo.tags.add(tag)
    ada = make_planner()
    berlin = make_server()
    make_schedule(name="runs", owner=ada, server=berlin)
    make_schedule(name="paused", owner=ada, server=berlin, enabled=False, next_at=None)
    make_schedule(name="stopped", owner=ada, server=oslo, stopped_at=now, next_at=None, last_state="refused")
    make_schedule(name="ended", owner=bob, tag=tag, kind="once", once_at=now, next_at=None)
    client = signed_in(bob)
    assert names(client) == {"runs", "paused", "stopped", "ended"}
    assert names(client, "state=active") == {"runs"}
    assert names(client, "state=paused") == {"paused"}
    assert names(client, "state=halted") == {"stopped"}
    assert names(client, "state=ended") == {"ended"}
    # Named, or by a tag that it has.
    assert names(client, f"server={oslo.pk}") == {"stopped", "ended"}
    assert names(client, f"tag={tag.pk}") == {"ended"}
    assert names(client, "owner=bob") == {"ended"}
    assert names(client, "kind=once") == {"ended"}
    assert names(client, "outcome=refused") == {"stopped"}
    assert names(client, "outcome=none") == {"runs", "paused", "ended"}
    assert names(client, "server=99999999999999999999") == set()


def test_filters_name_nothing_that_a_person_does_not_see() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    narvik.tags.add(Tag.objects.create(name="north"))
    make_schedule(name="Mine", servers=[berlin, narvik], owner=make_planner())
    make_schedule(name="Hidden", server=narvik, owner=make_planner("bob"))
    eve = make_person("eve", "view_schedule")
    grant(eve, Danger.READ, on=berlin)
    client = signed_in(eve)
    assert names(client) == {"Mine"}
    page = client.get(LIST).content.decode()
    for word in ("Narvik", "north", "bob"):
        assert word not in page
    assert "1 that you don&#x27;t see" in page


def test_the_list_costs_the_same_with_many_schedules() -> None:
    server, owner = make_server(), make_planner()
    client = signed_in(owner)

    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get(LIST).status_code == 200
        return len(asked)

    make_schedule(name="The first", server=server, owner=owner)
    cost()  # what is remembered from then on
    before = cost()
    for number in range(30):
        make_schedule(name=f"Number {number}", servers=[server, make_server(name=f"S{number}")], owner=owner)
    assert cost() == before


def test_an_empty_list_says_what_to_do() -> None:
    assert "Add a schedule" in signed_in(make_planner()).get(LIST).content.decode()


# -- the head of a page


def test_the_page_of_a_schedule_tells_how_it_stands() -> None:
    schedule = make_schedule(last_state="failed", failures=3)
    run = make_run(server=server_of(schedule), status="failed")
    now = timezone.now()
    PlannedRun.objects.create(
        schedule=schedule, planned_at=now, outcome="submitted", result="failed", run=run, by_hand="bob"
    )
    PlannedRun.objects.create(
        schedule=schedule, planned_at=now - timedelta(days=1), outcome="refused", reason="Berlin is disabled."
    )
    Alert.objects.create(schedule=schedule, kind="failing", text="It failed 3 times in a row.")
    Alert.objects.create(schedule=schedule, kind="late", text="It was late.", closed_at=now)
    answer = signed_in(schedule.owner).get(change(schedule))
    page = answer.content.decode()
    for words in ("Berlin is disabled.", "It failed 3 times in a row.", "by hand: bob", "Run now"):
        assert words in page, words
    assert "It was late." not in page
    assert f"/actionrun/{run.pk}/change/" in page
    assert answer.context["schedule_state"].label == "Runs"


def test_reasons_are_for_those_who_see_every_server() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    schedule = make_schedule(servers=[berlin, narvik])
    PlannedRun.objects.create(
        schedule=schedule, planned_at=timezone.now(), outcome="refused", reason="Narvik is disabled."
    )
    eve = make_person("eve", "view_schedule")
    grant(eve, Danger.READ, on=berlin)
    page = signed_in(eve).get(change(schedule)).content.decode()
    assert "Refused" in page
    assert "Narvik" not in page


def test_a_stopped_schedule_says_why_and_offers_to_take_it_over() -> None:
    schedule = make_schedule(stopped_at=timezone.now(), stopped_why="eve was deleted.", next_at=None)
    page = signed_in(make_planner("bob")).get(change(schedule)).content.decode()
    assert "eve was deleted." in page and "Take it over" in page
    assert 'data-state="halted">Stopped' in page


# -- several at once


def bulk(client: Any, action: str, *schedules: Schedule) -> str:
    """Do it to these; what the page says then."""
    data = {"action": action, "_selected_action": [schedule.pk for schedule in schedules]}
    page: str = client.post(LIST, data, follow=True).content.decode()
    return page


def test_several_are_disabled_and_enabled_at_once() -> None:
    ada, berlin = make_planner(), make_server()
    one, two = (make_schedule(name=name, owner=ada, server=berlin) for name in ("One", "Two"))
    client = signed_in(ada)
    assert "2 schedules disabled." in bulk(client, "disable_selected", one, two)
    assert not Schedule.objects.filter(enabled=True).exists()
    assert not Schedule.objects.exclude(next_at=None).exists()
    assert "2 schedules enabled." in bulk(client, "enable_selected", one, two)
    assert not Schedule.objects.filter(next_at=None).exists()
    verbs = AuditEntry.objects.order_by("pk").values_list("verb", "object_name")
    assert list(verbs) == [
        ("schedule.pause", "One"),
        ("schedule.pause", "Two"),
        ("schedule.resume", "One"),
        ("schedule.resume", "Two"),
    ]


def test_what_is_refused_of_several_is_told_with_the_reason_and_keeps_no_other_back() -> None:
    ada, berlin = make_planner(), make_server()
    past = timezone.now() - timedelta(days=1)
    off: dict[str, Any] = {"owner": ada, "server": berlin, "enabled": False, "next_at": None}
    fine = make_schedule(name="Fine", **off)
    over = make_schedule(name="Over", kind="once", once_at=past, **off)
    page = bulk(signed_in(ada), "enable_selected", over, fine)
    assert "1 schedule enabled." in page
    assert "1 not enabled. Over: " in page
    assert set(Schedule.objects.filter(enabled=True)) == {fine}


def test_who_may_only_look_is_offered_nothing_to_do() -> None:
    schedule = make_schedule()
    client = signed_in(make_user("eve", "view_schedule", *RUN_PERMISSIONS))
    bulk(client, "disable_selected", schedule)
    assert "disable_selected" not in client.get(LIST).content.decode()
    assert Schedule.objects.get().enabled


def test_several_are_deleted_at_once_and_audited() -> None:
    ada, berlin = make_planner(), make_server()
    one, two = (make_schedule(name=name, owner=ada, server=berlin) for name in ("One", "Two"))
    PlannedRun.objects.create(schedule=one, planned_at=timezone.now(), outcome="misfired")
    data = {"action": "delete_selected", "_selected_action": [one.pk, two.pk], "post": "yes"}
    assert signed_in(ada).post(LIST, data).status_code == 302
    assert not Schedule.objects.exists()
    assert AuditEntry.objects.filter(verb="schedule.delete").count() == 2


def test_the_pages_that_delete_count_the_history_and_do_not_list_it() -> None:
    client = signed_in(make_planner("bob"))
    schedule = make_schedule()
    now = timezone.now()
    PlannedRun.objects.bulk_create(
        PlannedRun(schedule=schedule, planned_at=now - timedelta(minutes=number), outcome="skipped")
        for number in range(1200)
    )
    chosen = {"action": "delete_selected", "_selected_action": [schedule.pk]}
    delete = change(schedule).replace("/change/", "/delete/")
    for answer in (client.get(delete), client.post(LIST, chosen)):
        page = answer.content.decode()
        assert "Nightly, with its history of 1,200 planned times. The runs stay in the action log." in page
        assert f"{schedule.pk} at " not in page  # no planned time is named
    with CaptureQueriesContext(connection) as queries:
        assert client.post(LIST, chosen | {"post": "yes"}).status_code == 302
    assert not Schedule.objects.exists() and not PlannedRun.objects.exists()
    deletions = [one for one in queries if 'DELETE FROM "ami_integration_plannedrun"' in one["sql"]]
    assert len(deletions) == 1  # in the database, however many there are
