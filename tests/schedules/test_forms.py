"""The form of a schedule: what it refuses and where it says so, hidden values, templates, copies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.access.masking import MASK
from ami_integration.actions.models import ActionTemplate
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.catalogue.making import ORIGINATE, make_catalogue
from tests.actions.factories import RUN_PERMISSIONS, make_user
from tests.schedules.asking import ADD, LIST, change, errors_of, form, signed_in
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule, server_of
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def test_a_schedule_is_made_in_the_admin() -> None:
    ada, berlin = make_planner(), make_server()
    response = signed_in(ada).post(ADD, form(server=berlin.pk))
    assert response.status_code == 302, response.context["errors"]
    schedule = Schedule.objects.get()
    assert (schedule.owner, schedule.headers_in_clear()) == (ada, [("Queue", "sales")])
    assert list(schedule.servers.all()) == [berlin]
    assert schedule.next_at is not None
    assert schedule.next_at > timezone.now()


def test_a_schedule_runs_on_several_servers_or_on_a_tag() -> None:
    client = signed_in(make_planner())
    berlin, bonn = make_server(), make_server(name="Bonn")
    tag = Tag.objects.create(name="rhine")
    bonn.tags.add(tag)
    assert client.post(ADD, form(server=[berlin.pk, bonn.pk])).status_code == 302
    assert set(Schedule.objects.get().servers.all()) == {berlin, bonn}
    # The page ticks the servers of the tag, too; they are not what is meant.
    assert client.post(ADD, form(name="Tagged", tag="rhine", server=[bonn.pk])).status_code == 302
    tagged = Schedule.objects.get(name="Tagged")
    assert tagged.tag == tag
    assert not tagged.servers.exists()
    stray = errors_of(client.post(ADD, form(name="Stray", tag="rhine", server=[berlin.pk])))
    assert "Berlin doesn't have the tag rhine" in stray["server"][0]


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"crontab": "61 * * * *"}, "crontab", "The minute"),
        ({"crontab": ""}, "crontab", "five fields"),
        ({"crontab": "0 0 31 2 *"}, "crontab", "No day of the calendar"),
        ({"timezone": "Europe/Bonn"}, "timezone", "no time zone"),
        ({"kind": "interval"}, "interval_seconds", "Give the interval"),
        ({"kind": "interval", "interval_seconds": "often"}, "interval_seconds", "Write a time like"),
        ({"kind": "once"}, "once_at", "Give the day and the time"),
        ({"kind": "once", "once_at": "2020-01-01T00:00"}, "once_at", "has passed already"),
        ({"ends_at": "2020-01-01T00:00"}, "ends_at", "has passed already"),
        ({"starts_at": "2030-02-01T00:00", "ends_at": "2030-01-01T00:00"}, "ends_at", "ends before"),
        ({"starts_at": "tomorrow"}, "starts_at", "Write a day and a time"),
        ({"grace_seconds": ""}, "grace_seconds", "required"),
        ({"grace_seconds": "900 d"}, "grace_seconds", "less than or equal"),
        ({"jitter_seconds": "2 d"}, "jitter_seconds", "less than or equal"),
        ({"misfire_limit": "0"}, "misfire_limit", "greater than or equal"),
        ({"server": []}, "server", "Choose the servers"),
        ({"server": "99999999999999999999"}, "server", "no such server"),
        ({"headers": "nonsense"}, "headers", "not a header"),
        ({"headers": "Queue: {{queue}}"}, "headers", "Nobody is there to fill in {{queue}}"),
        ({"action": "A\rB"}, "action", "line end"),
        ({"headers": "Secret: " + MASK}, "headers", "stand for a hidden value"),
    ],
)
def test_a_mistake_is_told_beside_its_field(values: dict[str, str], field: str, words: str) -> None:
    answer = signed_in(make_planner()).post(ADD, form(**{"server": make_server().pk} | values))
    errors = errors_of(answer)
    assert list(errors) == [field]
    assert words in errors[field][0]
    assert not Schedule.objects.exists()


def test_what_is_spread_has_no_order() -> None:
    servers = [make_server(), make_server(name="Bonn")]
    values = form(server=[server.pk for server in servers], jitter_seconds="5 min", mode="serial")
    errors = errors_of(signed_in(make_planner()).post(ADD, values))
    assert "What is spread has no order" in errors["jitter_seconds"][0]


def test_what_the_pbx_describes_otherwise_is_told_and_may_be_insisted_on() -> None:
    server = make_server()
    make_catalogue(actions=[ORIGINATE], servers=[server])
    client = signed_in(make_planner())
    values = form(server=server.pk, action="Originate", headers="Exten: 100")
    answer = client.post(ADD, values)
    assert "Channel" in errors_of(answer)["headers"][0]
    assert "Save it all the same" in answer.content.decode()
    assert client.post(ADD, values | {"unchecked": "on"}).status_code == 302


# -- zones and moments


def test_an_empty_time_zone_is_the_one_that_all_servers_share() -> None:
    client = signed_in(make_planner())
    berlin = make_server(timezone="Europe/Berlin")
    lisbon = make_server(name="Lisbon", timezone="Europe/Lisbon")
    assert client.post(ADD, form(server=berlin.pk, timezone="")).status_code == 302
    assert Schedule.objects.get().timezone == "Europe/Berlin"
    both = form(name="Both", server=[berlin.pk, lisbon.pk], timezone="")
    [error] = errors_of(client.post(ADD, both))["timezone"]
    assert "Europe/Berlin (Berlin)" in error and "Europe/Lisbon (Lisbon)" in error
    # A length of time is the same everywhere.
    assert client.post(ADD, both | {"kind": "interval", "interval_seconds": "5 min"}).status_code == 302
    assert Schedule.objects.get(name="Both").interval_seconds == 300


def test_moments_are_typed_and_shown_on_the_clocks_of_the_schedule() -> None:
    client, server = signed_in(make_planner()), make_server()
    values = form(
        server=server.pk,
        kind="once",
        timezone="America/New_York",
        once_at="2031-07-01T09:00:00",
        starts_at="2031-01-01T00:00",
    )
    assert client.post(ADD, values).status_code == 302
    schedule = Schedule.objects.get()
    assert schedule.once_at == datetime(2031, 7, 1, 13, tzinfo=UTC)
    assert schedule.starts_at == datetime(2031, 1, 1, 5, tzinfo=UTC)
    assert 'value="2031-07-01T09:00:00"' in client.get(change(schedule)).content.decode()
    # Saved as it is shown, nothing has changed.
    values["starts_at"] = "2031-01-01T00:00:00"
    before = schedule.anchor_at
    assert client.post(change(schedule), values | {"name": "Renamed"}).status_code == 302
    schedule.refresh_from_db()
    assert (schedule.name, schedule.anchor_at) == ("Renamed", before)


def test_what_ran_its_course_can_still_be_renamed() -> None:
    past = timezone.now().replace(microsecond=0) - timedelta(days=1)
    schedule = make_schedule(kind="once", once_at=past, next_at=None, interval_seconds=None)
    values = form(
        server=server_of(schedule).pk,
        action="Ping",
        headers="",
        kind="once",
        crontab="",
        timezone="UTC",
        name="Done",
        once_at=f"{past:%Y-%m-%dT%H:%M:%S}",
    )
    assert signed_in(schedule.owner).post(change(schedule), values).status_code == 302
    assert Schedule.objects.get().name == "Done"


# -- whose it is


def test_who_may_not_run_actions_makes_no_schedule() -> None:
    eve = make_user("eve", "view_schedule", "add_schedule")
    page = signed_in(eve).post(ADD, form(server=make_server().pk)).content.decode()
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
        errors = str(errors_of(signed_in(user).post(ADD, form(server=berlin.pk))))
        said = "No access rule lets viewer run QueueReset" if user is viewer else "disabled or gone"
        assert said in errors, user
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
    assert "No access rule lets operator run Reload" in str(errors_of(answer))


def test_nobody_drops_a_server_that_they_do_not_see() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    schedule = make_schedule(servers=[berlin, narvik])
    operator = make_person("operator", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    grant(operator, Danger.READ, Danger.OPERATE, on=berlin)
    client = signed_in(operator)
    page = client.get(change(schedule)).content.decode()
    assert "1 that you don&#x27;t see" in page
    assert "Narvik" not in page
    errors = errors_of(client.post(change(schedule), form(server=berlin.pk)))
    assert "servers that you don't see" in errors["server"][0]
    assert schedule.servers.count() == 2


def test_a_disabled_server_stays_in_the_schedule_that_names_it() -> None:
    schedule = make_schedule(server=make_server(enabled=False))
    values = form(server=server_of(schedule).pk)
    assert signed_in(schedule.owner).post(change(schedule), values).status_code == 302
    assert signed_in(schedule.owner).post(ADD, values | {"name": "New"}).status_code == 200


def test_a_schedule_may_be_saved_while_its_server_is_switched_off() -> None:
    server = make_server(maintenance=True, read_only=True)
    assert signed_in(make_planner()).post(ADD, form(server=server.pk)).status_code == 302


# -- hidden values


def test_a_hidden_value_stays_when_its_stars_are_left_alone() -> None:
    headers = [("Interface", "a"), ("Secret", "one"), ("Secret", "two")]
    schedule = make_schedule(action="QueueReset", headers=headers)
    shown = [["Interface", "a"], ["Secret", MASK], ["Secret", MASK]]
    Schedule.objects.update(headers_masked=shown, hidden_by=schedule.owner)
    client = signed_in(schedule.owner)
    page = client.get(change(schedule)).content.decode()
    assert MASK in page
    assert "two" not in page
    text = f"Interface: b\nSecret: {MASK}\nSecret: new"
    response = client.post(change(schedule), form(server=server_of(schedule).pk, headers=text))
    assert response.status_code == 302
    schedule.refresh_from_db()
    assert schedule.headers_in_clear() == [("Interface", "b"), ("Secret", "one"), ("Secret", "new")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"server": "Oslo"}, "It did not run on Oslo before"),
        ({"action": "UserEvent"}, "The action was QueueReset and is UserEvent now"),
    ],
)
def test_a_hidden_value_does_not_go_with_its_schedule_to_another_server_or_action(
    changed: dict[str, str], words: str
) -> None:
    schedule = make_schedule(action="QueueReset", headers=[("Queue", "sales"), ("Secret", "hunter2")])
    berlin, oslo = server_of(schedule), make_server(name="Oslo")
    client = signed_in(schedule.owner)
    values = {"server": oslo.pk if "server" in changed else berlin.pk} | (
        {"action": changed["action"]} if "action" in changed else {}
    )
    answer = client.post(change(schedule), form(headers=f"Queue: sales\nSecret: {MASK}", **values))
    [error] = errors_of(answer)["headers"]
    assert words in error and "hidden value of Secret" in error and "Type it again." in error
    assert "hunter2" not in answer.content.decode()
    before = Schedule.objects.get()
    assert (server_of(before), before.action) == (berlin, "QueueReset")
    # Typed again, it goes there; and what holds no hidden value moves freely.
    assert client.post(change(schedule), form(headers="Secret: mine", **values)).status_code == 302
    assert Schedule.objects.get().headers_in_clear() == [("Secret", "mine")]


def test_a_hidden_value_stays_when_the_action_is_written_in_other_letters() -> None:
    schedule = make_schedule(action="QueueReset", headers=[("Secret", "hunter2")])
    Schedule.objects.update(hidden_by=schedule.owner)
    values = form(server=server_of(schedule).pk, action="queuereset", headers=f"Secret: {MASK}")
    assert signed_in(schedule.owner).post(change(schedule), values).status_code == 302
    assert Schedule.objects.get().headers_in_clear() == [("Secret", "hunter2")]


# -- templates and copies


def make_template(**values: Any) -> ActionTemplate:
    headers = values.pop("headers", [["Queue", "{{queue}}"], ["Secret", "hunter2"]])
    shown = [[name, MASK if name == "Secret" else value] for name, value in headers]
    return ActionTemplate.objects.create(
        name="Reset", action="QueueReset", payload=json.dumps(headers), headers_masked=shown, **values
    )


def template_fields(page: str) -> dict[str, str]:
    """What the hidden fields of a form carry."""
    return {name: page.split(f'name="{name}" value="')[1].split('"')[0] for name in ("kept", "template")}


def test_a_template_fills_the_form_and_what_it_asks_for_must_be_said() -> None:
    template, server = make_template(), make_server()
    client = signed_in(make_planner_with_templates())
    page = client.get(f"{ADD}?template={template.pk}").content.decode()
    assert "hunter2" not in page
    hidden = template_fields(page)
    values = form(server=server.pk, headers=f"Queue: {{{{queue}}}}\nSecret: {MASK}", **hidden)
    assert "asks for queue" in str(errors_of(client.post(ADD, values)))
    # It was written for no server in particular, but by somebody else: only as it is.
    template.hidden_by = make_user("eve")
    template.save()
    hidden = template_fields(client.get(f"{ADD}?template={template.pk}").content.decode())
    answer = client.post(ADD, values | hidden | {"var_queue": "sales"})
    assert answer.status_code == 302, errors_of(answer)
    schedule = Schedule.objects.get()
    assert schedule.headers_in_clear() == [("Queue", "sales"), ("Secret", "hunter2")]
    assert (schedule.template, schedule.template_taken_at) == (template, template.updated_at)
    assert schedule.hidden_by == template.hidden_by


def test_a_template_that_changed_is_shown_and_taken_over_by_a_look_and_a_save() -> None:
    template = make_template(headers=[["Queue", "support"]])
    ada = make_planner_with_templates()
    schedule = make_schedule(
        owner=ada,
        action="QueueReset",
        headers=[("Queue", "sales")],
        template=template,
        template_taken_at=template.updated_at - timedelta(days=1),
    )
    client = signed_in(ada)
    assert "template changed" in client.get(LIST).content.decode()
    page = client.get(change(schedule)).content.decode()
    assert "has changed since it was taken over" in page
    assert "Queue: sales" in page
    page = client.get(f"{change(schedule)}?template={template.pk}").content.decode()
    assert "Queue: support" in page
    values = form(server=server_of(schedule).pk, headers="Queue: support", **template_fields(page))
    assert client.post(change(schedule), values).status_code == 302
    schedule.refresh_from_db()
    assert schedule.headers_in_clear() == [("Queue", "support")]
    assert schedule.template_taken_at == template.updated_at
    assert "template changed" not in client.get(LIST).content.decode()


def make_planner_with_templates() -> Any:
    return make_user("ada", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS, "view_actiontemplate")


def copied(page: str) -> str:
    return page.split('name="kept" value="')[1].split('"')[0] if 'name="kept" value="' in page else ""


def test_a_copy_takes_hidden_values_along_for_the_same_servers_and_action_alone() -> None:
    schedule = make_schedule(
        action="QueueReset",
        headers=[("Queue", "sales"), ("Secret", "hunter2")],
        headers_masked=[["Queue", "sales"], ["Secret", MASK]],
        jitter_seconds=90,
    )
    Schedule.objects.update(hidden_by=schedule.owner)
    client, oslo = signed_in(schedule.owner), make_server(name="Oslo")
    page = client.get(f"{ADD}?copy={schedule.pk}").content.decode()
    assert "Nightly (copy)" in page and "1 min 30 s" in page
    assert "hunter2" not in page
    values = form(
        name="Copy", server=server_of(schedule).pk, headers=f"Queue: sales\nSecret: {MASK}", kept=copied(page)
    )
    errors = errors_of(client.post(ADD, values | {"server": oslo.pk}))
    assert "It did not run on Oslo before" in errors["headers"][0]
    assert client.post(ADD, values).status_code == 302
    copy = Schedule.objects.get(name="Copy")
    assert copy.headers_in_clear() == [("Queue", "sales"), ("Secret", "hunter2")]


def test_nobody_copies_what_they_may_not_change() -> None:
    schedule = make_schedule(headers=[("Secret", "hunter2")], headers_masked=[["Secret", MASK]])
    eve = make_user("eve", *RUN_PERMISSIONS, "view_schedule", "add_schedule")
    page = signed_in(eve).get(f"{ADD}?copy={schedule.pk}").content.decode()
    assert copied(page) == ""
    assert "(copy)" not in page
