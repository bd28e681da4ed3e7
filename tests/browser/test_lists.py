"""Lists on a phone, full and empty: rows are cards, nothing scrolls sideways, and nobody is left stuck."""

from __future__ import annotations

from datetime import time

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from ami_integration.access.starters import starter_groups_make
from ami_integration.actions.models import ActionTemplate, FanOut
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.models import Schedule
from ami_integration.servers.models import Server, ServerHealth, Tag
from tests.actions.catalogue.making import MUTE, ORIGINATE, PING, make_catalogue
from tests.actions.factories import make_run
from tests.browser.chromium import PHONE, Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.schedules.alerts.factories import make_alert, make_webhook
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
ADMIN = "/admin/ami_integration/"
LISTS = (
    "server",
    "tag",
    "actionrun",
    "actionrun/running",
    "actionrun/size",
    "fanout",
    "catalogueaction",
    "catalogueevent",
    "catalogue",
    "actiontemplate",
    "accessrule",
    "schedule",
    "blackout",
    "alertchannel",
    "alert",
    "alertdelivery",
)
#: What is wider than its box, though a person can't see so by the page's own width.
SCROLLS = """() => [...document.querySelectorAll("#content *")]
    .filter(one => ["auto", "scroll"].includes(getComputedStyle(one).overflowX))
    .filter(one => one.scrollWidth > one.clientWidth + 1)
    .map(one => one.id || one.className)"""


def fill() -> None:
    """Something for every list, with words as long as people make them."""
    tag = Tag.objects.create(name="production-eu-west-1")
    berlin, lisbon = (
        make_server(name=name) for name in ("Berlin", "Lisbon, the exchange below the old telephone tower")
    )
    lisbon.tags.add(tag)
    Server.objects.filter(pk=lisbon.pk).update(
        host="pbx-lisbon-1.voice.internal.example.com", maintenance=True
    )
    ServerHealth.objects.create(
        server=lisbon,
        state="offline",
        last_error="Nothing listens on pbx-lisbon-1.voice.internal.example.com port 5038.",
        last_error_at=timezone.now(),
    )
    make_catalogue(actions=[PING, ORIGINATE, MUTE], servers=[berlin, lisbon])
    ada = User.objects.get()
    fanout = FanOut.objects.create(
        key="one", action="QueuePause", user=ada, username="ada", payload="[]", limit=20
    )
    make_run(server=berlin, fanout=fanout, username="ada", status="running", started_at=timezone.now())
    make_run(
        server=lisbon,
        action="QueueChangePriorityCaller",
        username="ada",
        address="2001:db8:85a3:8d3:1319:8a2e:370:7348",
        status="failed",
        headers_masked=[
            ["Queue", "support"],
            ["Caller", "Local/2001@the-context-of-the-support-team-00000042;2"],
        ],
        reason="The PBX refused: there is no such caller in this queue, or somebody took the call meanwhile.",
    )
    ActionTemplate.objects.create(
        name="Pause an agent", action="QueuePause", owner=ada, tag=tag, payload="[]", headers_masked=[]
    )
    schedule = Schedule.objects.create(
        name="Every hour, on the hour", action="Ping", payload="[]", kind="interval", timezone="UTC",
        interval_seconds=3600, owner=ada, owner_name="ada", last_state="failed", failures=12,
    )  # fmt: skip
    schedule.servers.add(berlin, lisbon)
    Blackout.objects.create(
        name="While the calls of the support team are counted", kind="weekly", weekdays="12345",
        starts_time=time(22), minutes=600, timezone="Europe/Lisbon", tag=tag,
    )  # fmt: skip
    chat = make_webhook(
        "https://chat.example.com/hook", name="Chat of the night shift at the operations centre",
        url_shown="https://chat.voice.internal.example.com:8443",
    )  # fmt: skip
    make_alert(
        chat, schedule=Schedule.objects.get(),
        text="What was planned for 2026-01-30 02:30:00 UTC began only at 2026-01-30 02:41:12 UTC.",
    )  # fmt: skip
    starter_groups_make()


def test_the_rows_of_every_list_are_cards_on_a_phone(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    fill()
    for name in LISTS:
        page.goto(f"{stack.url}{ADMIN}{name}/")
        page.set_viewport_size(PHONE)
        assert page.evaluate(SCROLLS) == [], name
        rows = page.locator("#result_list tbody tr, .aw-stack tbody tr")
        if name != "catalogueevent":  # these PBXs describe none
            expect(rows.first).to_be_visible()
            labels = rows.first.locator("td[data-label]")
            assert labels.count(), f"the cells of {name} don't say what they are"
        visitor.picture(page, f"list-{name.replace('/', '-')}")
    # The box to tick, the ways to sort and the filter are still there.
    page.goto(f"{stack.url}{ADMIN}server/")
    page.set_viewport_size(PHONE)
    page.locator("#result_list tbody tr", has_text="Berlin").get_by_role("checkbox").check()
    expect(page.get_by_text("1 of 2 selected")).to_be_visible()
    page.locator("#result_list thead").get_by_role("link", name="State").click()
    page.get_by_role("link", name="Filter the list").click()
    page.get_by_role("link", name="Offline").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="Filtered: change the filter")).to_be_visible()


def test_every_empty_list_says_what_to_do(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    for name in LISTS:
        if name != "actionrun/size":
            page.goto(f"{stack.url}{ADMIN}{name}/")
            expect(page.locator(".aw-empty").first).to_be_visible()
            visitor.picture(page, f"empty-{name.replace('/', '-')}")
