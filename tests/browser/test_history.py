"""The history of events in a real browser: found, narrowed, kept as a filter, taken as a file."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server, Tag
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
NAMES = ("Newchannel", "Newstate", "DialBegin", "DialEnd", "Hangup")


def fill(server: Server, count: int, *, seconds: float) -> None:
    """So many events, evenly over the last so many seconds."""
    now = time.time()
    rows = []
    for number in range(count):
        at = datetime.fromtimestamp(now - seconds * (1 - number / count), UTC)
        call = f"1790000000.{number // 5}"
        headers = [
            ["Event", NAMES[number % 5]], ["Channel", f"PJSIP/{100 + number % 7}-{number:08x}"],
            ["CallerIDNum", str(100 + number % 7)], ["Exten", "200"], ["Linkedid", call],
        ]  # fmt: skip
        rows.append(
            Event(
                id=first_id_at(at) + number % 4000,
                server=server,
                at=at,
                name=NAMES[number % 5],
                channel=headers[1][1],
                linkedid=call,
                tokens=f"{headers[2][1]} 200",
                headers=headers,
            )  # fmt: skip
        )
    Event.objects.bulk_create(rows)


def test_a_person_finds_what_happened(stack: Stack, visitor: Visitor, tmp_path: Path) -> None:
    berlin, paris = make_server(name="Berlin"), make_server(name="Paris")
    paris.tags.add(Tag.objects.create(name="france"))
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/event/history/")
    expect(page.get_by_text("Nothing of this was kept.")).to_be_visible()
    visitor.picture(page, "history-empty")

    fill(berlin, 450, seconds=1800)
    fill(paris, 100, seconds=600)
    started = datetime.fromtimestamp(time.time() - 300, UTC)
    Gap.objects.create(
        id=first_id_at(started), server=berlin, reason=Gap.Reason.DISCONNECTED, started_at=started,
        ended_at=datetime.fromtimestamp(time.time() - 290, UTC), after_id=first_id_at(started) - 1,
        before_id=first_id_at(started) + 1, detail="The connection was lost.",
    )  # fmt: skip
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("550 events, ")).to_be_visible()
    rows = page.locator("#history-rows > .aw-event:not(.aw-gap)")
    expect(rows).to_have_count(200)
    expect(page.locator("#history-rows > .aw-gap")).to_contain_text("Connection lost")
    page.locator("#history-rows .aw-event-line").first.click()
    expect(page.get_by_role("button", name="Copy as JSON")).to_be_visible()
    visitor.picture(page, "history")
    page.get_by_role("button", name="Show older events").click()
    expect(rows).to_have_count(400)
    page.get_by_role("button", name="Show older events").click()
    expect(rows).to_have_count(550)
    expect(page.get_by_role("button", name="Show older events")).to_be_hidden()

    # Narrow it, by what stands in the address too.
    page.get_by_label("Server").select_option("france")
    page.get_by_label("Event names").fill("Hang*")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows).to_have_count(20)
    expect(page).to_have_url(
        f"{stack.url}/admin/ami_integration/event/history/?tag={Tag.objects.get().pk}&names=Hang*&range=3600"
    )
    page.reload()
    expect(rows).to_have_count(20)
    page.get_by_label("Words").fill("101")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("3 events, ")).to_be_visible()

    page.get_by_role("button", name="Save this filter").click()
    page.get_by_label("Name of the filter").fill("Hangups of 101")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Saved filters")).to_have_value("Hangups of 101")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    kept = tmp_path / "events.json"
    download.value.save_as(str(kept))
    assert [event["name"] for event in json.loads(kept.read_text())] == ["Hangup"] * 3

    # One call, by a click on its row; then the saved filter again.
    page.locator("#history-rows .aw-event-line").first.click()
    page.get_by_role("button", name="This call alone").click()
    expect(rows).to_have_count(5)
    visitor.picture(page, "history-call")
    page.get_by_label("Saved filters").select_option("Hangups of 101")
    expect(rows).to_have_count(3)

    # The headers are searched where no index helps.
    page.get_by_text("More conditions").click()
    page.get_by_label("Words").fill("")
    page.get_by_label("Text in any header").fill("Channel:PJSIP/101-*")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("Looked into the headers of 20 events")).to_be_visible()
    visitor.picture(page, "history-headers")

    # A bar of the histogram is a time of its own.
    page.get_by_label("Text in any header").fill("")
    page.get_by_label("Event names").fill("")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("100 events, ")).to_be_visible()
    page.locator(".history-bar").last.click()
    expect(page.get_by_label("From", exact=True)).to_be_visible()
    expect(page.get_by_text("100 events, ")).to_be_hidden()
    page.get_by_label("To", exact=True).fill("2020-01-01T00:00:00")
    page.get_by_role("button", name="Search", exact=True).click()
    visitor.allow("400 \\(Bad Request\\)")
    expect(page.get_by_text("The time range ends before it begins.")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("The time range ends before it begins.")).to_be_hidden()
