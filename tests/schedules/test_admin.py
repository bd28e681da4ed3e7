"""Schedules in the admin: the form, its preview, the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.masking import MASK
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.admin import moment_text
from ami_integration.schedules.models import PlannedRun, Schedule
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_run, make_user
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_schedule_changelist")
ADD = reverse("admin:ami_integration_schedule_add")
PREVIEW = reverse("admin:ami_integration_schedule_preview")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def form(**values: Any) -> dict[str, Any]:
    return {
        "name": "Nightly",
        "action": "QueueReset",
        "headers": "Queue: sales",
        "enabled": "on",
        "kind": "crontab",
        "crontab": "30 2 * * *",
        "interval_seconds": "",
        "timezone": "Europe/Berlin",
        "mode": "parallel",
        "limit": "20",
        "overlap": "skip",
        "misfire": "skip",
        "misfire_limit": "10",
        "grace_seconds": "1 h",
    } | values


def change(schedule: Schedule) -> str:
    return reverse("admin:ami_integration_schedule_change", args=(schedule.pk,))


def test_a_schedule_is_made_in_the_admin() -> None:
    ada = make_planner()
    client = signed_in(ada)
    response = client.post(ADD, form(server=make_server().pk))
    assert response.status_code == 302, response.context["errors"]
    schedule = Schedule.objects.get()
    assert (schedule.owner, schedule.headers_in_clear()) == (ada, [("Queue", "sales")])
    assert schedule.next_at is not None
    assert schedule.next_at > timezone.now()


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"crontab": "61 * * * *"}, "crontab", "The minute"),
        ({"crontab": ""}, "crontab", "five fields"),
        ({"crontab": "0 0 31 2 *"}, "crontab", "No day of the calendar"),
        ({"timezone": "Europe/Bonn"}, "timezone", "no time zone"),
        ({"kind": "interval"}, "interval_seconds", "Give the interval"),
        ({"headers": "nonsense"}, "headers", "not a header"),
        ({"action": "A\rB"}, "action", "line end"),
        ({"headers": "Secret: " + MASK}, "headers", "stand for a hidden value"),
    ],
)
def test_a_mistake_is_told_beside_its_field(values: dict[str, str], field: str, words: str) -> None:
    client = signed_in(make_planner())
    response = client.post(ADD, form(server=make_server().pk, **values))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == [field]
    assert words in errors[field][0]
    assert not Schedule.objects.exists()


def test_who_may_not_run_actions_makes_no_schedule() -> None:
    eve = make_user("eve", "view_schedule", "add_schedule")
    response = signed_in(eve).post(ADD, form(server=make_server().pk))
    page = response.content.decode()
    assert "runs with the rights of whoever saves it" in page and "eve may not run actions" in page
    assert not Schedule.objects.exists()


def test_people_see_and_make_schedules_for_their_servers_only() -> None:
    berlin, oslo = make_server(), make_server(name="Oslo")
    permissions = (*RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    stranger, viewer, neighbour, operator = (
        make_person(name, *permissions) for name in ("stranger", "viewer", "neighbour", "operator")
    )
    grant(viewer, Danger.READ, on=berlin)
    grant(neighbour, on=oslo)
    grant(operator, Danger.READ, Danger.OPERATE, on=berlin)
    for user in (stranger, viewer, neighbour):
        answer = signed_in(user).post(ADD, form(server=berlin.pk))
        assert answer.status_code == 200, user
        errors = str(answer.context["errors"])
        assert (
            "No access rule lets viewer run QueueReset" if user is viewer else "Select a valid choice"
        ) in errors
    refused = AuditEntry.objects.get()
    assert (refused.verb, refused.actor_name, refused.outcome) == ("schedule.save", "viewer", "refused")
    assert signed_in(operator).post(ADD, form(server=berlin.pk)).status_code == 302
    made = AuditEntry.objects.latest("pk")
    assert (made.verb, made.object_name) == ("schedule.add", "Nightly")
    assert made.what["headers"]["to"] == MASK
    schedule = Schedule.objects.get()
    for user, seen in ((stranger, False), (neighbour, False), (viewer, True), (operator, True)):
        assert ("Nightly" in signed_in(user).get(LIST).content.decode()) is seen
        assert (signed_in(user).get(change(schedule)).status_code == 200) is seen
    # Not even a higher class by an edit.
    answer = signed_in(operator).post(change(schedule), form(server=berlin.pk, action="Reload", headers=""))
    assert "No access rule lets operator run Reload" in str(answer.context["errors"])


def test_a_schedule_may_be_saved_while_its_server_is_switched_off() -> None:
    server = make_server(maintenance=True, read_only=True)
    assert signed_in(make_planner()).post(ADD, form(server=server.pk)).status_code == 302


def test_a_hidden_value_stays_when_its_stars_are_left_alone() -> None:
    headers = [("Interface", "a"), ("Secret", "one"), ("Secret", "two")]
    schedule = make_schedule(action="QueueReset", headers=headers)
    shown = [["Interface", "a"], ["Secret", MASK], ["Secret", MASK]]
    Schedule.objects.update(headers_masked=shown, hidden_by=schedule.owner)
    client = signed_in(schedule.owner)  # type: ignore[arg-type]
    page = client.get(change(schedule)).content.decode()
    assert MASK in page
    assert "two" not in page
    text = f"Interface: b\nSecret: {MASK}\nSecret: new"
    response = client.post(change(schedule), form(server=schedule.server.pk, headers=text))
    assert response.status_code == 302
    schedule.refresh_from_db()
    assert schedule.headers_in_clear() == [("Interface", "b"), ("Secret", "one"), ("Secret", "new")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"server": "Oslo"}, "The server was Berlin and is Oslo now"),
        ({"action": "UserEvent"}, "The action was QueueReset and is UserEvent now"),
    ],
)
def test_a_hidden_value_does_not_go_with_its_schedule_to_another_server_or_action(
    changed: dict[str, str], words: str
) -> None:
    schedule = make_schedule(action="QueueReset", headers=[("Queue", "sales"), ("Secret", "hunter2")])
    oslo = make_server(name="Oslo")
    client = signed_in(schedule.owner)  # type: ignore[arg-type]
    values = {"server": oslo.pk if "server" in changed else schedule.server.pk} | (
        {"action": changed["action"]} if "action" in changed else {}
    )
    answer = client.post(change(schedule), form(headers=f"Queue: sales\nSecret: {MASK}", **values))
    assert answer.status_code == 200
    [error] = answer.context["adminform"].form.errors["headers"]
    assert words in error and "hidden value of Secret" in error and "Type it again." in error
    assert "hunter2" not in answer.content.decode()
    before = Schedule.objects.get()
    assert (before.server, before.action) == (schedule.server, "QueueReset")
    # Typed again, it goes there; and what holds no hidden value moves freely.
    assert client.post(change(schedule), form(headers="Secret: mine", **values)).status_code == 302
    assert Schedule.objects.get().headers_in_clear() == [("Secret", "mine")]


def test_a_hidden_value_stays_when_the_action_is_written_in_other_letters() -> None:
    schedule = make_schedule(action="QueueReset", headers=[("Secret", "hunter2")])
    client = signed_in(schedule.owner)  # type: ignore[arg-type]
    values = form(server=schedule.server.pk, action="queuereset", headers=f"Secret: {MASK}")
    assert client.post(change(schedule), values).status_code == 302
    assert Schedule.objects.get().headers_in_clear() == [("Secret", "hunter2")]


def test_who_may_only_look_sees_no_secret() -> None:
    schedule = make_schedule(headers=[("Secret", "hunter2")], headers_masked=[["Secret", MASK]])
    page = signed_in(make_user("eve", "view_schedule")).get(change(schedule))
    assert page.status_code == 200
    assert MASK in page.content.decode()
    assert "hunter2" not in page.content.decode()


def test_the_preview_shows_ten_runs_across_a_change_of_the_clocks_as_the_tick_will_run_them() -> None:
    client = signed_in(make_planner())
    answer = client.post(PREVIEW, form()).json()
    assert answer["errors"] == {}
    assert answer["words"] == "At 02:30 every day"
    assert len(answer["times"]) == 10
    assert all(set(time) == {"zone", "utc"} for time in answer["times"])


def test_the_preview_tells_a_mistake_with_its_field() -> None:
    answer = signed_in(make_planner()).post(PREVIEW, form(crontab="* * * *")).json()
    assert list(answer["errors"]) == ["crontab"]


@pytest.mark.parametrize("user", [lambda: make_user("eve"), lambda: make_user("eve", "view_actionrun")])
def test_a_stranger_gets_no_preview(user: Any) -> None:
    assert signed_in(user()).post(PREVIEW, form()).status_code == 403


def test_a_moment_shows_its_distance_to_utc() -> None:
    winter = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert moment_text(winter - timedelta(hours=1), "Europe/Berlin") == "Sun 2026-10-25 02:30:00 CEST (+0200)"
    assert moment_text(winter, "Europe/Berlin") == "Sun 2026-10-25 02:30:00 CET (+0100)"
    assert moment_text(winter, "UTC") == "Sun 2026-10-25 01:30:00 UTC"


def test_the_list_shows_what_comes_next_and_what_came_last() -> None:
    schedule = make_schedule(next_at=datetime(2027, 1, 31, 12, tzinfo=UTC))
    planned = timezone.now()
    run = make_run(server=schedule.server, status="failed")
    PlannedRun.objects.create(schedule=schedule, planned_at=planned - timedelta(days=1), outcome="misfired")
    PlannedRun.objects.create(schedule=schedule, planned_at=planned, outcome="submitted", run=run)
    page = signed_in(make_planner("bob")).get(LIST).content.decode()
    assert "Sun 2027-01-31 12:00:00 UTC" in page
    assert 'data-state="failed"' in page
    assert 'data-state="misfired"' not in page


def test_the_list_costs_the_same_with_many_schedules(django_assert_max_num_queries: Any) -> None:
    server, owner = make_server(), make_planner()
    for number in range(30):
        make_schedule(name=f"Number {number}", server=server, owner=owner)
    client = signed_in(owner)
    with django_assert_max_num_queries(10):
        client.get(LIST)


def test_an_empty_list_says_what_to_do() -> None:
    assert "Add a schedule" in signed_in(make_planner()).get(LIST).content.decode()


def test_the_page_of_a_schedule_tells_why_a_planned_time_did_not_run() -> None:
    schedule = make_schedule()
    PlannedRun.objects.create(
        schedule=schedule, planned_at=timezone.now(), outcome="refused", reason="Berlin is disabled."
    )
    page = signed_in(schedule.owner).get(change(schedule)).content.decode()  # type: ignore[arg-type]
    assert "Berlin is disabled." in page
    assert "rights of <strong>ada</strong>" in page
