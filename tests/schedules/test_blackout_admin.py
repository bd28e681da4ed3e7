"""Blackouts in the admin: windows are typed in their own zone, and nobody drops what they don't see."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import make_user
from tests.schedules.asking import errors_of, signed_in
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_blackout_changelist")
ADD = reverse("admin:ami_integration_blackout_add")
PERMISSIONS = (
    *("view_blackout", "add_blackout", "change_blackout", "delete_blackout"),
    *("view_schedule", "change_schedule", "pause_schedules"),
)


def weekly(**values: Any) -> dict[str, Any]:
    return {
        "name": "Business hours",
        "enabled": "on",
        "scope": "all",
        "kind": "weekly",
        "timezone": "Europe/Berlin",
        "weekdays": ["1", "5"],
        "starts_time": "08:00",
        "minutes": "10 h",
    } | values


def once(**values: Any) -> dict[str, Any]:
    return {
        "name": "The move",
        "enabled": "on",
        "scope": "all",
        "kind": "once",
        "timezone": "Europe/Berlin",
        "starts_at": "2031-07-01T22:00",
        "ends_at": "2031-07-02T06:00",
    } | values


def change(blackout: Blackout) -> str:
    return reverse("admin:ami_integration_blackout_change", args=(blackout.pk,))


def test_a_weekly_window_is_made_and_audited() -> None:
    client = signed_in(make_user("ada", *PERMISSIONS))
    answer = client.post(ADD, weekly())
    assert answer.status_code == 302, errors_of(answer)
    blackout = Blackout.objects.get()
    assert (blackout.weekdays, blackout.minutes) == ("15", 600)
    assert AuditEntry.objects.get().verb == "blackout.add"
    page = client.get(LIST).content.decode()
    assert "Monday, Friday, 08:00 to 18:00 (Europe/Berlin)" in page and "all schedules" in page
    text = client.get(change(blackout)).content.decode()
    assert 'value="10 h"' in text
    # Saved as it is shown, nothing has changed.
    assert client.post(change(blackout), weekly()).status_code == 302
    assert AuditEntry.objects.count() == 1


def test_a_window_that_comes_once_is_typed_in_its_own_zone() -> None:
    client = signed_in(make_user("ada", *PERMISSIONS))
    assert client.post(ADD, once()).status_code == 302
    blackout = Blackout.objects.get()
    assert blackout.starts_at == datetime(2031, 7, 1, 20, tzinfo=UTC)
    assert blackout.ends_at == datetime(2031, 7, 2, 4, tzinfo=UTC)
    assert 'value="2031-07-01T22:00:00"' in client.get(change(blackout)).content.decode()


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        (weekly(weekdays=[]), "weekdays", "at least one"),
        (weekly(starts_time=""), "starts_time", "Give the time"),
        (weekly(starts_time="late"), "starts_time", "Write a time"),
        (weekly(minutes=""), "minutes", "length"),
        (weekly(minutes="90 s"), "minutes", "whole minutes"),
        (weekly(minutes="8 d"), "minutes", "less than or equal"),
        (weekly(timezone="Europe/Bonn"), "timezone", "no time zone"),
        (once(starts_at=""), "starts_at", "Give the day"),
        (once(ends_at="2031-07-01T21:00"), "ends_at", "ends before"),
    ],
)
def test_a_mistake_is_told_beside_its_field(values: dict[str, Any], field: str, words: str) -> None:
    errors = errors_of(signed_in(make_user("ada", *PERMISSIONS)).post(ADD, values))
    assert list(errors) == [field]
    assert words in errors[field][0]


def test_the_list_tells_what_holds_now() -> None:
    now = timezone.now()
    hour = timedelta(hours=1)
    Blackout.objects.create(name="Now", starts_at=now - hour, ends_at=now + hour)
    Blackout.objects.create(name="Over", starts_at=now - 2 * hour, ends_at=now - hour)
    Blackout.objects.create(name="Soon", starts_at=now + hour, ends_at=now + 2 * hour)
    page = signed_in(make_user("ada", *PERMISSIONS)).get(LIST).content.decode()
    assert page.count("Holds</span> until") == 1
    assert "from " in page and ">over<" in page


def test_nobody_changes_or_deletes_one_of_a_schedule_that_they_do_not_see() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    narvik.tags.add(Tag.objects.create(name="north"))
    mine = make_schedule(name="Mine", server=berlin)
    hidden = make_schedule(name="Hidden", server=narvik, owner=mine.owner)
    blackout = Blackout.objects.create(
        name="Business hours",
        kind="weekly",
        weekdays="1",
        starts_time="08:00",
        minutes=60,
        timezone="Europe/Berlin",
        scope="some",
    )
    blackout.schedules.set([mine, hidden])
    eve = make_person("eve", *PERMISSIONS)
    grant(eve, Danger.READ, on=berlin)
    client = signed_in(eve)
    page = client.get(change(blackout)).content.decode()
    assert "Mine" in page
    assert "Hidden" not in page and "north" not in page
    assert "It also holds for schedules that you don&#x27;t see." in page and 'name="_save"' not in page
    assert client.post(change(blackout), weekly(scope="some")).status_code == 403
    delete = reverse("admin:ami_integration_blackout_delete", args=(blackout.pk,))
    assert client.post(delete, {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [blackout.pk], "post": "yes"}
    client.post(LIST, chosen)
    assert set(blackout.schedules.all()) == {mine, hidden}


def test_whoever_sees_one_server_stops_nothing_on_others_by_a_window() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    south, north = Tag.objects.create(name="south"), Tag.objects.create(name="north")
    berlin.tags.add(south, north)
    narvik.tags.add(north)
    mine = make_schedule(name="Mine", server=berlin)
    both = make_schedule(name="Both", servers=[berlin, narvik], owner=mine.owner)
    eve = make_person("eve", *PERMISSIONS)
    grant(eve, on=berlin)
    client = signed_in(eve)
    for values, words in (
        (weekly(), "an access rule for every server"),
        (weekly(tag=north.pk), "servers with this tag that you don't see"),
        (weekly(scope="some", schedules=[mine.pk, both.pk]), "Both also runs on servers"),
    ):
        assert words in errors_of(client.post(ADD, values))["__all__"][0]
    assert client.post(ADD, weekly(name="South", tag=south.pk)).status_code == 302
    assert client.post(ADD, weekly(name="Mine", scope="some", schedules=[mine.pk])).status_code == 302
    # What may be made may not be made larger.
    blackout = Blackout.objects.get(name="South")
    assert "__all__" in errors_of(client.post(change(blackout), weekly()))
    everybodys = Blackout.objects.create(name="All", kind="weekly", weekdays="1", minutes=60)
    assert client.post(change(everybodys), weekly()).status_code == 403


def test_a_window_of_schedules_asks_for_the_right_to_change_them() -> None:
    schedule = make_schedule()
    rights = [one for one in PERMISSIONS if one != "change_schedule"]
    client = signed_in(make_user("eve", *rights))
    answer = client.post(ADD, weekly(scope="some", schedules=[schedule.pk]))
    assert "you may not change schedules" in errors_of(answer)["__all__"][0]


def test_one_for_chosen_schedules_wants_one_chosen_and_says_when_none_is_left() -> None:
    client = signed_in(make_user("ada", *PERMISSIONS))
    schedule = make_schedule(name="Nightly", owner=make_planner("bob"))
    errors = errors_of(client.post(ADD, weekly(scope="some")))
    assert errors["schedules"] == ["Choose at least one, or let it hold for every schedule."]
    assert client.post(ADD, weekly(scope="some", schedules=[schedule.pk])).status_code == 302
    assert "1 schedule<" in client.get(LIST).content.decode()
    schedule.delete()
    assert "none: what it was about was deleted" in client.get(LIST).content.decode()


def test_who_may_only_look_changes_nothing() -> None:
    blackout = Blackout.objects.create(
        name="Now", kind="weekly", weekdays="1", starts_time="08:00", minutes=60
    )
    client = signed_in(make_user("eve", "view_blackout"))
    assert client.get(change(blackout)).status_code == 200
    assert client.post(change(blackout), weekly()).status_code == 403
    assert client.get(ADD).status_code == 403


def test_schedules_are_searched_for_and_only_the_chosen_ones_lie_in_the_page() -> None:
    berlin, narvik = make_server(), make_server(name="Narvik")
    mine = make_schedule(name="Nightly reset", server=berlin)
    make_schedule(name="Hidden reset", server=narvik, owner=mine.owner)
    Schedule.objects.bulk_create(Schedule(name=f"Number {number}", action="Ping") for number in range(200))
    Schedule.servers.through.objects.bulk_create(
        Schedule.servers.through(schedule=one, server=berlin)
        for one in Schedule.objects.filter(name__startswith="Number")
    )
    eve = make_person("eve", *PERMISSIONS)
    grant(eve, on=berlin)
    client = signed_in(eve)
    page = client.get(ADD).content.decode()
    assert "admin-autocomplete" in page and "Number 7" not in page
    asked = {"app_label": "ami_integration", "model_name": "blackout", "field_name": "schedules"}
    found = client.get(reverse("admin:autocomplete"), asked | {"term": "reset"}).json()["results"]
    assert [one["text"] for one in found] == ["Nightly reset"]
    first = client.get(reverse("admin:autocomplete"), asked | {"term": "Number"}).json()
    assert len(first["results"]) == 20 and first["pagination"] == {"more": True}
    answer = client.post(ADD, weekly(scope="some", schedules=[mine.pk]))
    assert answer.status_code == 302, errors_of(answer)
    blackout = Blackout.objects.get()
    assert list(blackout.schedules.all()) == [mine]
    assert (
        f'<option value="{mine.pk}" selected>Nightly reset</option>'
        in client.get(change(blackout)).content.decode()
    )
    stranger = signed_in(make_person("stranger", *PERMISSIONS))
    assert stranger.get(reverse("admin:autocomplete"), asked | {"term": "reset"}).json()["results"] == []


def test_the_time_of_day_is_asked_for_in_24_hours_whatever_the_browser_speaks(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:ami_integration_blackout_add")).content.decode()
    field = re.search(r'<input[^>]*name="starts_time"[^>]*>', page)
    assert field is not None
    assert 'type="text"' in field[0]
    pattern = re.search(r'pattern="([^"]*)"', field[0])
    assert pattern is not None
    for good in ("00:00", "8:00", "19:59", "23:59"):
        assert re.fullmatch(pattern[1], good)
    for bad in ("24:00", "8", "08:60", "8:00 PM"):
        assert not re.fullmatch(pattern[1], bad)
