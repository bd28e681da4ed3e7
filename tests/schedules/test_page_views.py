"""The preview of a schedule's form, and the buttons of its page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.pausing import schedules_pause_all, schedules_paused
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.schedules.timing_forms import moment_text
from ami_integration.servers.models import Tag
from tests.access.factories import grant, make_person
from tests.actions.factories import RUN_PERMISSIONS, make_user
from tests.schedules.asking import LIST, PREVIEW, button, change, form, signed_in
from tests.schedules.factories import SCHEDULE_PERMISSIONS, make_planner, make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
PAUSE_ALL = reverse("admin:ami_integration_schedule_pause_all")
RESUME_ALL = reverse("admin:ami_integration_schedule_resume_all")


# -- the preview


def test_the_preview_shows_ten_runs_in_words_the_zone_and_utc() -> None:
    answer = signed_in(make_planner()).post(PREVIEW, form()).json()
    assert answer["errors"] == {}
    assert (answer["words"], answer["zone"]) == ("At 02:30 every day", "Europe/Berlin")
    assert len(answer["times"]) == 10
    first = answer["times"][0]
    at = datetime.fromisoformat(first["at"])
    assert first["utc"] == moment_text(at, "UTC")
    assert first["zone"] == moment_text(at, "Europe/Berlin")


@time_machine.travel(datetime(2027, 3, 26, 12, tzinfo=UTC), tick=False)
def test_the_preview_notes_the_days_on_which_the_clocks_change() -> None:
    times = signed_in(make_planner()).post(PREVIEW, form()).json()["times"]
    assert [(time["utc"], bool(time["note"])) for time in times[:3]] == [
        ("Sat 2027-03-27 01:30:00 UTC", False),
        ("Sun 2027-03-28 01:00:00 UTC", True),
        ("Mon 2027-03-29 00:30:00 UTC", False),
    ]
    assert "02:30" in times[1]["note"]


def test_the_preview_marks_what_a_blackout_keeps_from_running() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn")
    tag = Tag.objects.create(name="rhine")
    bonn.tags.add(tag)
    Blackout.objects.create(
        name="The move",
        kind="weekly",
        weekdays="1234567",
        starts_time="02:00",
        minutes=60,
        timezone="Europe/Berlin",
        tag=tag,
    )
    client = signed_in(make_planner())
    one, both = (
        client.post(PREVIEW, form(server=servers)).json()["times"][0]["blackout"]
        for servers in ([bonn.pk], [berlin.pk, bonn.pk])
    )
    assert "Will not run: “The move”" in one
    assert "Without Bonn: “The move”" in both


def test_the_preview_of_a_stored_schedule_counts_from_where_it_began() -> None:
    anchor = timezone.now() - timedelta(minutes=7)
    schedule = make_schedule(interval_seconds=600, anchor_at=anchor, max_runs=12, runs_counted=10)
    values = form(kind="interval", interval_seconds="10 min", timezone="UTC", crontab="", max_runs="12") | {
        "schedule": schedule.pk
    }
    times = signed_in(schedule.owner).post(PREVIEW, values).json()["times"]
    assert [time["at"] for time in times] == [
        (anchor + timedelta(minutes=10 * number)).isoformat() for number in (1, 2)
    ]


def test_the_preview_tells_a_mistake_with_its_field() -> None:
    answer = signed_in(make_planner()).post(PREVIEW, form(crontab="* * * *")).json()
    assert list(answer["errors"]) == ["crontab"]


@pytest.mark.parametrize("permissions", [(), ("view_actionrun",)])
def test_a_stranger_gets_no_preview(permissions: tuple[str, ...]) -> None:
    assert signed_in(make_user("eve", *permissions)).post(PREVIEW, form()).status_code == 403


def test_a_moment_shows_its_distance_to_utc() -> None:
    winter = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert moment_text(winter - timedelta(hours=1), "Europe/Berlin") == "Sun 2026-10-25 02:30:00 CEST (+0200)"
    assert moment_text(winter, "Europe/Berlin") == "Sun 2026-10-25 02:30:00 CET (+0100)"
    assert moment_text(winter, "UTC") == "Sun 2026-10-25 01:30:00 UTC"
    assert moment_text(winter, "America/Sao_Paulo") == "Sat 2026-10-24 22:30:00 -0300"


# -- run now


def test_run_now_shows_what_and_where_and_then_runs_it_once() -> None:
    berlin, bonn = make_server(), make_server(name="Bonn", enabled=False)
    schedule = make_schedule(servers=[berlin, bonn], headers=[("Mark", "me")])
    client = signed_in(schedule.owner)
    page = client.get(button("run_now", schedule)).content.decode()
    assert "Mark: me" in page and "Bonn is disabled." in page
    assert not PlannedRun.objects.exists()
    next_at = schedule.next_at
    answer = client.post(button("run_now", schedule), confirmed(page))
    assert answer.headers["Location"] == change(schedule)
    planned = PlannedRun.objects.get()
    assert (planned.by_hand, planned.outcome) == ("ada", "submitted")
    assert planned.run is not None
    assert (planned.run.server, planned.run.origin) == (berlin, ActionRun.Origin.SCHEDULE)
    schedule.refresh_from_db()
    assert schedule.next_at == next_at


def confirmed(page: str) -> dict[str, str]:
    """What the button of a confirmation sends."""
    return {"as_of": as_of(page), "asked": page.split('name="asked" value="')[1].split('"')[0]}


def as_of(page: str) -> str:
    return page.split('name="as_of" value="')[1].split('"')[0].replace("&#x2B;", "+")


def test_run_now_on_several_servers_is_one_fan_out() -> None:
    tag = Tag.objects.create(name="rhine")
    for name in ("Berlin", "Bonn"):
        make_server(name=name).tags.add(tag)
    schedule = make_schedule(tag=tag)
    client = signed_in(schedule.owner)
    client.post(
        button("run_now", schedule), confirmed(client.get(button("run_now", schedule)).content.decode())
    )
    assert PlannedRun.objects.get().fanout == FanOut.objects.get()


def test_what_was_edited_meanwhile_is_not_run() -> None:
    schedule = make_schedule()
    client = signed_in(schedule.owner)
    seen = confirmed(client.get(button("run_now", schedule)).content.decode())
    schedule.action = "QueueReset"
    schedule.save()
    said = client.post(button("run_now", schedule), seen, follow=True).content.decode()
    assert "Nothing was run." in said
    assert not PlannedRun.objects.exists()


def test_what_is_grave_is_run_by_hand_once_its_name_was_typed() -> None:
    schedule = make_schedule(name="Reload all", action="Reload")
    client = signed_in(schedule.owner)
    page = client.get(button("run_now", schedule)).content.decode()
    assert "To confirm, type" in page
    said = client.post(button("run_now", schedule), {"typed": "Reload"}, follow=True).content.decode()
    assert "Nothing was run. Type “Reload all”" in said
    assert not PlannedRun.objects.exists()
    client.post(button("run_now", schedule), confirmed(page) | {"typed": " reload  ALL "})
    assert PlannedRun.objects.get().by_hand == "ada"


@pytest.mark.parametrize("name", ["run_now", "take_over", "pause", "resume"])
def test_buttons_are_for_those_who_may_change_schedules_and_run_actions(name: str) -> None:
    schedule = make_schedule()
    for who, permissions, status in (
        ("eve", ("view_schedule", *RUN_PERMISSIONS), 403),
        ("mallory", SCHEDULE_PERMISSIONS, 403),
    ):
        client = signed_in(make_user(who, *permissions))
        assert client.post(button(name, schedule)).status_code == status
        assert "Run now" not in client.get(change(schedule)).content.decode()
    stranger = make_person("stranger", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    assert signed_in(stranger).post(button(name, schedule)).status_code == 404
    assert signed_in(stranger).get(button("run_now", schedule)).status_code == 404
    schedule.refresh_from_db()
    assert schedule.enabled and schedule.owner_name == "ada"
    assert not PlannedRun.objects.exists()


def test_run_now_says_why_it_can_not() -> None:
    berlin = make_server()
    schedule = make_schedule(server=berlin, action="QueueReset")
    viewer = make_person("viewer", *RUN_PERMISSIONS, *SCHEDULE_PERMISSIONS)
    grant(viewer, Danger.READ, on=berlin)
    client = signed_in(viewer)
    page = client.get(button("run_now", schedule)).content.decode()
    assert "It can't: " in page and "No access rule lets viewer run QueueReset" in page
    assert 'id="confirm-run"' not in page
    said = client.post(button("run_now", schedule), confirmed(page), follow=True).content.decode()
    assert "Nothing was run." in said and "No access rule lets viewer" in said
    assert AuditEntry.objects.filter(verb="schedule.run_now", outcome="refused").exists()


# -- pause, resume, take over


def test_a_schedule_is_paused_and_resumed() -> None:
    schedule = make_schedule()
    client = signed_in(schedule.owner)
    assert client.get(button("pause", schedule)).status_code == 405
    said = client.post(button("pause", schedule), follow=True).content.decode()
    assert "is paused" in said and "Resume" in said
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_at) == (False, None)
    said = client.post(button("resume", schedule), follow=True).content.decode()
    assert "runs again" in said
    schedule.refresh_from_db()
    assert schedule.enabled and schedule.next_at is not None


def test_a_stopped_schedule_is_taken_over_after_a_look() -> None:
    schedule = make_schedule(
        owner=None, owner_name="eve", stopped_at=timezone.now(), stopped_why="eve left.", next_at=None
    )
    bob = make_planner("bob")
    client = signed_in(bob)
    page = client.get(button("take_over", schedule)).content.decode()
    assert "ran with the rights of eve" in page and "Action: Ping" in page
    assert Schedule.objects.get().owner is None
    client.post(button("take_over", schedule), {"as_of": as_of(page)})
    schedule.refresh_from_db()
    assert (schedule.owner, schedule.stopped_at) == (bob, None)
    assert schedule.next_at is not None


# -- all of them


def test_all_schedules_are_paused_with_a_reason_which_every_page_shows() -> None:
    schedule = make_schedule()
    client = signed_in(schedule.owner)
    assert "Say why" in client.post(PAUSE_ALL, {"reason": " "}).content.decode()
    assert schedules_paused() is None
    client.post(PAUSE_ALL, {"reason": "The trunk is down"})
    assert SchedulesPause.objects.get().reason == "The trunk is down"
    blackouts = reverse("admin:ami_integration_blackout_changelist")
    eve = signed_in(make_user("eve", "view_schedule", "view_blackout"))
    for page in (LIST, change(schedule), blackouts):
        text = eve.get(page).content.decode()
        assert "All schedules are paused." in text and "The trunk is down" in text
        assert "Let schedules run again" not in text
    client.post(RESUME_ALL)
    assert schedules_paused() is None
    assert "All schedules are paused." not in client.get(LIST).content.decode()


@pytest.mark.parametrize("address", [PAUSE_ALL, RESUME_ALL])
def test_only_who_may_pauses_or_resumes_all(address: str) -> None:
    schedules_pause_all(user=make_planner(), reason="Because")
    eve: Any = make_user("eve", "view_schedule", "change_schedule", *RUN_PERMISSIONS)
    assert signed_in(eve).post(address, {"reason": "x"}).status_code == 403
    assert schedules_paused() is not None
