"""The calendar in a real browser: days of the person's own zone, by mouse, by keyboard and on a phone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.servers.models import Tag
from tests.actions.factories import make_run
from tests.browser.chromium import PHONE, Chromium, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def fill(ada: User) -> Schedule:
    """Something of everything, in the week in which the clocks go back; returns what runs at night."""
    now = timezone.now()
    tag = Tag.objects.create(name="queues")
    berlin, lisbon = (
        make_server(name=name) for name in ("Berlin", "Lisbon, the exchange below the old telephone tower")
    )
    lisbon.tags.add(tag)
    night = make_schedule(
        name="Reset the statistics of every queue", servers=[berlin, lisbon], owner=ada, kind="crontab",
        crontab="30 2 * * *", timezone="Europe/Berlin", next_at=now + timedelta(hours=1),
    )  # fmt: skip
    make_schedule(
        name="Keep the trunk awake", tag=tag, owner=ada, interval_seconds=300,
        anchor_at=datetime(2026, 10, 1, tzinfo=UTC), next_at=now + timedelta(seconds=60),
    )  # fmt: skip
    make_schedule(
        name="Old one", server=berlin, owner=ada, next_at=None, stopped_at=now, stopped_why="Its owner left."
    )
    states = [("submitted", "succeeded"), ("submitted", "failed"), ("skipped", ""), ("submitted", "partly")]
    for number, (outcome, result) in enumerate(states):
        at = datetime(2026, 10, 22 + number, 0, 30, tzinfo=UTC)
        PlannedRun.objects.create(
            schedule=night, planned_at=at, outcome=outcome, result=result, started_at=at,
            finished_at=at + timedelta(seconds=number), run=make_run(server=berlin, status="succeeded"),
            reason="The one before still ran." if outcome == "skipped" else "",
        )  # fmt: skip
    for number in range(5):
        again = datetime(2026, 10, 25, 1, 5 + number, tzinfo=UTC)
        PlannedRun.objects.create(schedule=night, planned_at=again, outcome="submitted", result="succeeded")
    Blackout.objects.create(
        name="Release freeze",
        kind="weekly",
        timezone="Europe/Berlin",
        weekdays="25",
        starts_time=time(22),
        minutes=300,
    )
    return night


def test_a_person_walks_through_the_weeks_of_their_own_zone(stack: Stack, chromium: Chromium) -> None:
    visitor = chromium.visitor(timezone_id="Europe/Berlin")
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/schedule/")
    page.locator(".object-tools").get_by_role("link", name="Calendar").click()
    page.wait_for_url("**tz=Europe**")  # it asks again, in the browser's zone
    expect(page.get_by_text("There is no schedule yet.")).to_be_visible()
    visitor.picture(page, "calendar-empty")
    night = fill(User.objects.get())

    page.goto(f"{stack.url}/admin/schedules/calendar/")
    page.wait_for_url("**tz=Europe**")
    expect(page.locator("#cal-zone")).to_have_text("Europe/Berlin")
    expect(page.get_by_text("amiweb stopped a schedule")).to_be_visible()
    expect(page.locator("td .cal-now")).to_be_visible()
    expect(page.get_by_role("columnheader", name=re.compile("today"))).to_have_count(1)
    frequent = page.get_by_role("row", name=re.compile(r"Keep the trunk awake Every 5 min: [\d,]+ times?"))
    expect(frequent).to_be_visible()  # how often it will still run this week depends on the hour
    visitor.picture(page, "calendar-week")
    page.get_by_role("link", name="Now", exact=True).click()
    expect(page.locator("td .cal-now")).to_be_in_viewport()
    page.get_by_role("link", name="Next week").click()
    expect(page.locator('.cal-entry[data-state="planned"]').first).to_contain_text("02:30 Planned")
    # Of 168 hours, or one less or more where the clocks change in it.
    expect(frequent).to_contain_text(re.compile("2,0(16|04|28) times"))
    visitor.picture(page, "calendar-planned")

    # The week in which the clocks go back, by a link that names it.
    page.goto(f"{stack.url}/admin/schedules/calendar/?day=2026-10-25&tz=Europe/Berlin")
    expect(page.get_by_text("25 hours: the clocks go back")).to_be_visible()
    for words in ("02:30 Succeeded", "02:30 Failed", "02:30 Skipped", "02:30 Partly"):
        expect(page.get_by_role("link", name=re.compile(words))).to_be_visible()
    visitor.picture(page, "calendar-change")
    more = page.get_by_role("row", name=re.compile("02:00 again")).get_by_role(
        "link", name=re.compile("2 more")
    )
    more.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("the clocks show this hour twice")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(5)
    visitor.picture(page, "calendar-hour")
    page.get_by_role("link", name="Back to the week").click()

    # Filters stand in the address.
    page.get_by_label("Outcome").select_option("bad")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**outcome=bad**")
    expect(page.locator(".cal-entry")).to_have_count(2)
    page.get_by_role("link", name="Show everything").click()
    page.get_by_role("link", name=re.compile("02:30 Failed")).click()
    page.wait_for_url("**/actionrun/**")

    page.goto(f"{stack.url}/admin/schedules/{night.pk}/runs/?tz=Asia/Tokyo")
    expect(page.get_by_role("row", name=re.compile("Last 30 days|Last 100 times"))).to_have_count(2)
    visitor.picture(page, "schedule-history")
    page.get_by_role("link", name="show them in your own time zone").click()
    expect(page.locator("#cal-zone")).to_have_text("Europe/Berlin")
    complaints = visitor.complaints
    visitor.close()
    assert not complaints, "\n".join(complaints)


def test_on_a_phone_the_calendar_is_a_day_and_the_days_are_links(stack: Stack, chromium: Chromium) -> None:
    visitor = chromium.visitor(timezone_id="Europe/Berlin", viewport=PHONE)
    stack.start("web")
    page = log_in(visitor, stack)
    fill(User.objects.get())
    page.goto(f"{stack.url}/admin/schedules/calendar/?day=2026-10-23&tz=Europe/Berlin")
    shown = page.locator(".cal-entry:visible")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("Failed")
    page.get_by_role("navigation", name="Days").get_by_role("link", name="Sat 24").click()
    page.wait_for_url("**day=2026-10-24**")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("Skipped")
    expect(page.locator(".cal-shade:visible")).to_have_text(["00:00–03:00 Release freeze everything"])
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    complaints = visitor.complaints
    visitor.close()
    assert not complaints, "\n".join(complaints)


def test_a_zone_that_the_server_does_not_know_is_told_and_asked_for_once(
    stack: Stack, chromium: Chromium
) -> None:
    visitor = chromium.visitor(timezone_id="Europe/Berlin")
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/schedules/calendar/?tz=Moon/Base")
    expect(page.get_by_text("knows no time zone “Moon/Base”")).to_be_visible()
    expect(page.locator("#cal-zone")).to_have_text("UTC")
    complaints = visitor.complaints
    visitor.close()
    assert not complaints, "\n".join(complaints)
