"""What is kept of a server's events, and how large the store is, in a real browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Snapshot
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_a_person_chooses_what_is_kept_and_sees_what_it_takes(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    server = make_server(name="Berlin")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/event/")
    expect(page.get_by_text("No event is stored yet.")).to_be_visible()
    visitor.picture(page, "events-none")

    page.goto(f"{stack.url}/admin/ami_integration/server/{server.pk}/change/")
    page.get_by_label("Events to keep").select_option("Only these")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("Name the events to keep, one a line")).to_be_visible()
    page.get_by_label("Event names").fill("Hangup\nQueue*\n!QueueMemberPause")
    visitor.picture(page, "server-keeping")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    server.refresh_from_db()
    assert (server.event_keeping, len(server.event_names.split())) == ("chosen", 3)

    now = datetime.now(UTC)
    for moment in (now, now - timedelta(days=300)):
        Event.objects.create(
            id=first_id_at(moment), server=server, at=moment, name="Hangup", headers=[["Event", "Hangup"]]
        )
    items = [[["Event", "CoreShowChannel"], ["Channel", "PJSIP/100-00000001"]]] * 2
    Snapshot.objects.create(
        id=first_id_at(now) + 1, server=server, at=now, after_id=1, action="CoreShowChannels", items=items
    )
    page.goto(f"{stack.url}/admin/ami_integration/event/")
    page.get_by_role("link", name="Size and retention").click()
    expect(page.get_by_text("They leave after 7 days")).to_be_visible()
    visitor.picture(page, "events-size")
    page.goto(f"{stack.url}/admin/ami_integration/snapshot/")
    visitor.picture(page, "snapshots")
    page.locator("#result_list a").first.click()
    expect(page.get_by_text("Channel: PJSIP/100-00000001").first).to_be_visible()
    visitor.picture(page, "snapshot")
