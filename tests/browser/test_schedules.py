"""Schedules in a real browser: made, looked at before, run by hand and by themselves, paused."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionTemplate
from ami_integration.ami import TCP
from ami_integration.schedules.alerts.models import Alert, AlertChannel
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.servers.models import Server, ServerHealth, Tag
from tests.access.factories import grant
from tests.actions.catalogue.making import MUTE, ORIGINATE, PING, make_catalogue
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.people import log_in, log_in_as, make_member
from tests.pbx.asterisk import Asterisk
from tests.processes import Stack
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
LIST = "/admin/ami_integration/schedule/"
BLACKOUTS = "/admin/ami_integration/blackout/"


def shown_servers() -> list[Server]:
    """Three servers as a person has them: with states, tags, zones, and a catalogue."""
    servers = [
        make_server(name=name, timezone=zone)
        for name, zone in (
            ("Berlin", "Europe/Berlin"),
            ("Bonn", "Europe/Berlin"),
            ("Lisbon", "Europe/Lisbon"),
        )
    ]
    rhine = Tag.objects.create(name="rhine")
    for server in servers:
        ServerHealth.objects.create(server=server, state="online", last_seen_at=timezone.now())
    servers[1].tags.add(rhine)
    make_catalogue(actions=[PING, ORIGINATE, MUTE], servers=servers)
    return servers


def rows(page: Handle) -> Handle:
    return page.locator("#preview-table tbody tr")


@pytest.mark.pbx
def test_a_schedule_is_made_looked_at_run_by_hand_and_by_itself_and_paused(
    asterisk22: Asterisk, stack: Stack, visitor: Visitor
) -> None:
    username, secret = asterisk22.users["admin"]
    make_server(TCP(asterisk22.host, asterisk22.port), name="Head office", username=username, secret=secret)
    for process in ("web", "worker", "ticker", "beat"):
        stack.start(process)
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{LIST}")
    page.locator(".aw-empty").get_by_role("link", name="Add a schedule").click()

    page.get_by_label("Name:", exact=True).fill("Is it there?")
    page.get_by_label("Action:", exact=True).fill("Ping")
    page.locator(".request-picker").get_by_label("Head office").check()
    page.get_by_label("Kind:").select_option("Interval")
    page.get_by_label("Every:").fill("a while")
    expect(page.locator(".field-interval_seconds .schedule-error")).to_contain_text("Write a time like 45 s")
    page.get_by_label("Every:").fill("2 s")
    expect(rows(page)).to_have_count(10)
    expect(page.locator("#preview-words")).to_contain_text("Every 2 s")
    visitor.picture(page, "schedule-form")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.locator(".messagelist .success")).to_contain_text("added successfully")

    page.get_by_role("link", name="Run now").click()
    expect(page.get_by_label("The action as it is sent, secrets hidden")).to_contain_text("Action: Ping")
    expect(page.locator(".schedule-where")).to_contain_text("Head office")
    visitor.picture(page, "schedule-run-now")
    page.get_by_role("button", name="Run it now").click()
    expect(page.locator(".messagelist .success")).to_contain_text("runs now")

    by_itself = page.locator(".schedule-last tbody tr").filter(has_not_text="by hand")
    for _ in range(40):
        if by_itself.locator('[data-state="succeeded"]').count() >= 2:
            break
        page.wait_for_timeout(500)
        page.reload()
    assert by_itself.locator('[data-state="succeeded"]').count() >= 2, stack.log("worker")
    expect(page.locator(".schedule-facts")).to_contain_text("Succeeded")
    visitor.picture(page, "schedule-ran")

    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".messagelist .success")).to_contain_text("is paused")
    expect(page.locator("#standing-title")).to_contain_text("Paused")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert not Schedule.objects.get().enabled
    submitted = PlannedRun.objects.filter(outcome="submitted", by_hand="").count()
    page.wait_for_timeout(4000)  # twice the interval: nothing may come
    assert PlannedRun.objects.filter(outcome="submitted", by_hand="").count() == submitted
    assert PlannedRun.objects.get(by_hand="ada").result == "succeeded"


def test_the_form_says_when_it_will_run_and_what_is_wrong(stack: Stack, visitor: Visitor) -> None:
    shown_servers()
    ActionTemplate.objects.create(
        name="Mute one",
        description="Mutes somebody in a conference.",
        action="MuteAudio",
        payload='[["Channel", "PJSIP/{{exten}}"], ["Direction", "in"], ["State", "on"]]',
        headers_masked=[["Channel", "PJSIP/{{exten}}"], ["Direction", "in"], ["State", "on"]],
    )
    AlertChannel.objects.create(name="The people on duty", addresses="duty@example.com")
    Blackout.objects.create(
        name="The night of the move",
        kind="weekly",
        weekdays="1234567",
        starts_time="02:00",
        minutes=120,
        timezone="Europe/Berlin",
    )
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{LIST}add/")
    expect(page.get_by_label("Name:", exact=True)).to_be_focused()
    visitor.picture(page, "schedule-empty")
    page.get_by_role("link", name="Mute one").click()
    page.get_by_label("Name:", exact=True).fill("Mute the lobby")
    visitor.picture(page, "schedule-template")
    page.locator(".request-picker").get_by_label("Berlin").check()
    page.get_by_role("button", name="daily 02:30").click()
    expect(page.get_by_label("Crontab:")).to_have_value("30 2 * * *")
    expect(rows(page)).to_have_count(10)
    expect(page.locator("#preview-words")).to_contain_text("Time zone: Europe/Berlin")
    expect(rows(page).first).to_contain_text("Will not run: “The night of the move”")
    visitor.picture(page, "schedule-blackout")
    page.locator(".request-picker").get_by_label("Lisbon").check()
    expect(page.locator(".field-timezone .schedule-error")).to_contain_text("different time zones")
    page.get_by_label("Crontab:").fill("61 2 * * *")
    page.get_by_label("Time zone:").fill("UTC")
    expect(page.locator(".field-crontab .schedule-error")).to_contain_text("The minute '61' can't be read")
    visitor.picture(page, "schedule-refused-live")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".field-crontab .errorlist")).to_contain_text("The minute '61' can't be read")
    expect(page.locator(".request-template .errorlist")).to_contain_text("The template asks for exten")
    visitor.picture(page, "schedule-refused")
    page.get_by_label("Kind:").select_option("Once")
    page.get_by_label("At:", exact=True).fill("2031-07-01T09:00")
    expect(rows(page)).to_have_count(1)
    visitor.picture(page, "schedule-once")
    page.get_by_label("Kind:").select_option("Crontab")
    page.get_by_label("Crontab:").fill("0 8 * * 1-5")
    page.get_by_label("exten:").fill("100")
    page.get_by_text("Rules:").click()
    page.get_by_text("Alerts:").click()
    page.get_by_label("The people on duty").check()
    visitor.picture(page, "schedule-whole")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist .success")).to_contain_text("added successfully")
    made = Schedule.objects.get()
    assert made.headers_in_clear()[0] == ("Channel", "PJSIP/100")
    assert made.template is not None
    assert made.alert_channels.get().name == "The people on duty"


def test_schedules_in_every_state_look_right(stack: Stack, visitor: Visitor) -> None:
    berlin, bonn, lisbon = shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    ada = User.objects.get()
    now = timezone.now()
    well = make_schedule(
        name="Reset the statistics of the night", owner=ada, servers=[berlin, bonn], kind="crontab",
        crontab="30 2 * * *", timezone="Europe/Berlin", next_at=now + timedelta(hours=5),
        last_state="succeeded", last_at=now, last_good_at=now - timedelta(minutes=3), action="QueueReset",
    )  # fmt: skip
    tag = Tag.objects.get()
    stopped = make_schedule(
        name="Of somebody who left", owner=None, owner_name="eve", tag=tag, next_at=None, stopped_at=now,
        stopped_why="This schedule runs with the rights of eve, who is not active. Somebody who may run "
        "this must take it over.", last_state="refused", last_at=now, failures=3,
    )  # fmt: skip
    make_schedule(name="Paused", owner=ada, server=lisbon, enabled=False, next_at=None)
    make_schedule(name="Done with", owner=ada, server=lisbon, kind="once", once_at=now, next_at=None)
    Alert.objects.create(schedule=stopped, kind="failing", text="It failed 3 times in a row.")
    for number, state in enumerate(("succeeded", "misfired", "failed")):
        PlannedRun.objects.create(
            schedule=well, planned_at=now - timedelta(days=number), result=state if number != 1 else "",
            outcome="misfired" if number == 1 else "submitted",
            reason="Not run: amiweb was down." if number == 1 else "",
        )  # fmt: skip
    page.goto(f"{stack.url}{LIST}")
    visitor.picture(page, "schedules-list")
    page.goto(f"{stack.url}{LIST}{well.pk}/change/")
    visitor.picture(page, "schedule-well")
    page.get_by_role("link", name="Duplicate").click()
    expect(page.get_by_label("Name:", exact=True)).to_have_value(f"{well.name} (copy)")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist .success")).to_contain_text("added successfully")
    page.goto(f"{stack.url}{LIST}{stopped.pk}/change/")
    visitor.picture(page, "schedule-stopped")
    page.get_by_role("link", name="Take it over").click()
    visitor.picture(page, "schedule-take-over")
    page.get_by_role("button", name="Take it over").click()
    expect(page.locator(".messagelist .success")).to_contain_text("runs with your rights")
    page.goto(f"{stack.url}{LIST}")
    page.get_by_role("link", name="Pause all").click()
    visitor.picture(page, "schedules-pause-all")
    page.get_by_label("Why").fill("The trunk provider is down")
    page.get_by_role("button", name="Pause all schedules").click()
    expect(page.locator(".schedule-paused")).to_contain_text("The trunk provider is down")
    visitor.picture(page, "schedules-all-paused")
    page.goto(f"{stack.url}{LIST}{well.pk}/change/")
    expect(page.locator(".schedule-paused")).to_be_visible()
    page.get_by_role("button", name="Let schedules run again").click()
    expect(page.locator(".schedule-paused")).to_have_count(0)
    assert not SchedulesPause.objects.get().paused


def test_a_blackout_is_made(stack: Stack, visitor: Visitor) -> None:
    berlin, *_ = shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    make_schedule(owner=User.objects.get(), server=berlin)
    page.goto(f"{stack.url}{BLACKOUTS}")
    visitor.picture(page, "blackouts-empty")
    page.locator(".aw-empty").get_by_role("link", name="Add one").click()
    page.get_by_label("Name:", exact=True).fill("Business hours")
    expect(page.get_by_label("From:")).to_be_visible()
    page.get_by_label("Kind:").select_option("Every week")
    expect(page.get_by_label("From:")).to_be_hidden()
    for day in ("Monday", "Tuesday"):
        page.get_by_label(day).check()
    page.get_by_label("At:", exact=True).fill("08:00")
    page.get_by_label("For:", exact=True).fill("10 h")
    page.get_by_label("Time zone:").fill("Europe/Berlin")
    # Schedules are asked for only where some are chosen, and are found by the keyboard alone.
    chosen = page.locator(".form-row.field-schedules")
    expect(chosen).to_be_hidden()
    page.get_by_label("Holds for:").select_option("The chosen schedules")
    expect(chosen).to_be_visible()
    expect(page.get_by_label("Tag:")).to_be_visible()
    page.get_by_label("Holds for:").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("night")
    expect(page.locator(".select2-results__option--highlighted")).to_have_text("Nightly")
    page.keyboard.press("Enter")
    expect(chosen.locator(".select2-selection__choice")).to_contain_text("Nightly")
    visitor.picture(page, "blackout-chosen")
    page.get_by_label("Holds for:").select_option("Every schedule")
    expect(chosen).to_be_hidden()
    visitor.picture(page, "blackout-form")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist .success")).to_contain_text("added successfully")
    expect(page.locator("#result_list")).to_contain_text(re.compile("Monday, Tuesday.*08:00 to 18:00"))
    visitor.picture(page, "blackouts")


def test_pages_that_ask_and_pages_for_who_may_only_look(stack: Stack, visitor: Visitor) -> None:
    berlin, *_ = shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    schedule = make_schedule(
        name="Every ten minutes", owner=User.objects.get(), server=berlin, interval_seconds=600,
        next_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip
    now = timezone.now()
    blackout = Blackout.objects.create(name="Release freeze", starts_at=now, ends_at=now + timedelta(hours=1))
    page.goto(f"{stack.url}{LIST}{schedule.pk}/change/")
    run_now = page.get_by_text("Run now", exact=True)
    expect(run_now).to_have_attribute("aria-disabled", "true")
    visitor.picture(page, "schedule-in-a-blackout")
    page.goto(f"{stack.url}{BLACKOUTS}{blackout.pk}/delete/")
    visitor.picture(page, "blackout-delete")
    page.get_by_role("button", name="Yes, I’m sure").click()
    page.goto(f"{stack.url}{LIST}{schedule.pk}/change/")
    page.get_by_role("link", name="Run now").click()
    visitor.picture(page, "schedule-run-now")

    viewer = make_member("vera")
    viewer.user_permissions.set(Permission.objects.filter(codename="view_schedule"))
    grant(viewer, Danger.READ, on=berlin)
    log_in_as(page, stack, "vera")
    page.goto(f"{stack.url}{LIST}{schedule.pk}/change/")
    expect(page.locator("#content")).to_contain_text("every 10 min")
    expect(rows(page)).to_have_count(10)
    visitor.picture(page, "schedule-only-looked-at")
