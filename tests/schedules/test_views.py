"""The pages of the calendar and of a schedule's history, as they are asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.schedules.views import AT_ONCE
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.actions.factories import make_run, make_user
from tests.schedules.factories import make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db, pytest.mark.database]
CALENDAR = "/admin/schedules/calendar/"
HOUR = f"{CALENDAR}hour/"


def runs_url(schedule: Schedule) -> str:
    return f"/admin/schedules/{schedule.pk}/runs/"


@pytest.fixture
def ada(client: Client) -> User:
    person = make_planner()
    client.force_login(person)
    return person


def ran(schedule: Schedule, **values: Any) -> PlannedRun:
    usual = {"planned_at": timezone.now() - timedelta(hours=1), "outcome": "submitted", "result": "succeeded"}
    return PlannedRun.objects.create(schedule=schedule, **usual | values)


def text(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, response.content
    return response.content.decode()


def test_an_empty_calendar_says_what_to_do(client: Client, ada: User) -> None:
    page = text(client, CALENDAR)
    assert "There is no schedule yet." in page
    assert "/admin/ami_integration/schedule/add/" in page


def test_a_filter_that_fits_nothing_leads_back_to_everything(client: Client, ada: User) -> None:
    make_schedule(owner=ada)
    other = make_server(name="Other")
    page = text(client, f"{CALENDAR}?server={other.pk}&tz=UTC")
    assert "No schedule is about this." in page
    assert 'href="?day=' in page


def test_what_cannot_be_read_is_told_and_shown_as_text(client: Client, ada: User) -> None:
    page = text(client, f"{CALENDAR}?tz=%3Cscript%3E&day=%3Cb%3E")
    assert "knows no time zone “&lt;script&gt;”" in page
    assert "“&lt;b&gt;” is no day" in page
    assert "<script>" not in page


def test_the_links_of_a_week_keep_zone_and_filters(client: Client, ada: User) -> None:
    schedule = make_schedule(owner=ada)
    server = schedule.servers.get()
    page = text(client, f"{CALENDAR}?day=2026-10-21&tz=Asia/Tokyo&server={server.pk}&outcome=bad")
    kept = f"tz=Asia%2FTokyo&amp;server={server.pk}&amp;outcome=bad"
    for day in ("2026-10-14", "2026-10-28", "2026-10-19", "2026-10-25"):
        assert f'href="?day={day}&amp;{kept}"' in page


def test_the_switch_that_pauses_all_schedules_is_told_on_every_page(client: Client, ada: User) -> None:
    schedule = make_schedule(owner=ada)
    SchedulesPause.objects.create(pk=1, paused=True, reason="The trunk is down.", username="grace")
    hour = f"{HOUR}?at={timezone.now():%Y-%m-%dT%H:%M:%SZ}"
    for url in (CALENDAR, hour, runs_url(schedule)):
        assert "The trunk is down." in text(client, url), url


def test_an_hour_lists_all_of_it_with_where_and_why(client: Client, ada: User) -> None:
    at = datetime(2026, 10, 20, 9, 30, tzinfo=UTC)
    schedule = make_schedule(owner=ada)
    ran(schedule, planned_at=at, outcome="skipped", result="", reason="The run of 09:00 still goes on.")
    page = text(client, f"{HOUR}?at=2026-10-20T09:10:00Z&tz=Europe/Berlin")
    assert "Tuesday 2026-10-20, 11:00–12:00" in page
    assert "The run of 09:00 still goes on." in page
    assert "Berlin" in page
    assert "Nothing ran and nothing is planned" in text(client, f"{HOUR}?at=2026-10-20T04:00:00Z")


@pytest.mark.parametrize("at", ["", "now", "2026-10-20", "2026-10-20T09:00:00", "9999-01-01T00:00:00Z"])
def test_an_hour_that_is_none_is_not_found(client: Client, ada: User, at: str) -> None:
    text(client, f"{HOUR}?at={at}", 404)


def test_a_history_has_its_figures_and_pages_and_filters(client: Client, ada: User) -> None:
    schedule = make_schedule(owner=ada)
    now = timezone.now()
    for number in range(AT_ONCE + 1):
        ran(schedule, planned_at=now - timedelta(hours=number + 1))
    failed = make_run(server=schedule.servers.get(), status="failed")
    ran(schedule, planned_at=now - timedelta(hours=80), result="failed", run=failed)
    first = text(client, runs_url(schedule))
    assert f"1–{AT_ONCE} of {AT_ONCE + 2}" in first
    assert "98.1 %" in first
    assert f"actionrun/{failed.pk}/change/" not in first
    second = text(client, f"{runs_url(schedule)}?page=2")
    assert f"actionrun/{failed.pk}/change/" in second
    bad = text(client, f"{runs_url(schedule)}?outcome=bad")
    assert bad.count("<time") == 0
    assert "Failed" in bad
    assert "None of its times ended like this." in text(client, f"{runs_url(schedule)}?outcome=left_out")


def test_a_schedule_that_was_never_due_says_so(client: Client, ada: User) -> None:
    assert "It has not been due yet." in text(client, runs_url(make_schedule(owner=ada)))


def test_a_schedule_that_was_stopped_says_why(client: Client, ada: User) -> None:
    schedule = make_schedule(
        owner=ada, stopped_at=timezone.now(), stopped_why="Its owner was deleted.", next_at=None
    )
    assert "Its owner was deleted." in text(client, runs_url(schedule))
    assert "amiweb stopped a schedule" in text(client, CALENDAR)


def test_a_stranger_finds_neither_a_schedule_nor_its_history(client: Client) -> None:
    berlin, lisbon = make_server(name="Berlin"), make_server(name="Lisbon")
    daily = {"kind": "interval", "interval_seconds": 86_400}
    hidden = make_schedule(name="Hidden", server=berlin, **daily)
    shared = make_schedule(name="Shared", servers=[berlin, lisbon], owner=hidden.owner, **daily)
    for schedule in (hidden, shared):
        last = ran(schedule, run=make_run(server=berlin), reason="Berlin was left out: it is read-only.")
    stranger = make_person("grace")
    grant(stranger, on=lisbon)
    client.force_login(stranger)
    text(client, runs_url(hidden), 404)
    page = text(client, runs_url(shared))
    assert "Lisbon, 1 that you don&#x27;t see" in page
    assert "servers that you may not see" in page
    hour = text(client, f"{HOUR}?at={last.planned_at:%Y-%m-%dT%H:%M:%SZ}")
    assert "Shared" in hour
    for shown in (text(client, CALENDAR), page, hour):
        assert "Hidden" not in shown
        assert "Berlin" not in shown
        assert "actionrun/1" not in shown


def test_who_may_not_view_schedules_sees_no_page_of_them(client: Client) -> None:
    schedule = make_schedule()
    client.force_login(make_user("heidi", "view_server"))
    for url in (CALENDAR, f"{HOUR}?at=2026-10-20T09:00:00Z", runs_url(schedule)):
        text(client, url, 403)
    client.logout()
    assert client.get(CALENDAR).status_code == 302
    assert Server.objects.count() == 1


def test_the_pages_are_for_looking_only(client: Client, ada: User) -> None:
    for url in (CALENDAR, HOUR, runs_url(make_schedule(owner=ada))):
        assert client.post(url).status_code == 405
