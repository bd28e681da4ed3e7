"""The history of events in a real browser: found, narrowed, kept as a filter, taken as a file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server, Tag
from tests.browser.chromium import Chromium, Visitor, expect
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
    expect(page.get_by_role("button", name="Delete it")).to_be_visible()
    visitor.picture(page, "history-saved")  # five buttons in a row, on a phone too
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
    expect(page.locator("#history-call")).to_contain_text("Only the call 1790000000.")
    page.get_by_role("button", name="Show all calls").click()
    expect(page.get_by_label("Words")).to_have_value("101")  # as it was before the call
    expect(rows).to_have_count(3)
    page.go_back()
    expect(rows).to_have_count(5)
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


@pytest.fixture
def in_berlin(chromium: Chromium) -> Iterator[Visitor]:
    person = chromium.visitor(timezone_id="Europe/Berlin")
    yield person
    complaints = person.complaints
    person.close()
    assert not complaints, "\n".join(complaints)


def test_a_moment_stays_what_it_is_when_the_clocks_are_set(stack: Stack, in_berlin: Visitor) -> None:
    make_server()
    stack.start("web")
    page = log_in(in_berlin, stack)
    history = f"{stack.url}/admin/ami_integration/event/history/"
    page.goto(f"{history}?since=2026-10-25T01:10:00.250Z&until=2026-10-25T01:50:00Z")
    asked = re.compile("since=2026-10-25T01%3A10%3A00.250Z&until=2026-10-25T01%3A50%3A00Z")
    for name in ("CSV", "JSON"):
        expect(page.get_by_role("link", name=name)).to_have_attribute("href", asked)
    expect(page.get_by_label("From", exact=True)).to_have_value(re.compile("^2026-10-25T02:10"))
    note = page.locator("#history-clock")
    expect(note).to_contain_text(re.compile("From: 02:10.* comes twice .* The second is meant .01:10:00 UTC"))
    expect(note).to_contain_text(re.compile("To: 02:50.* comes twice .* The second is meant .01:50:00 UTC"))
    in_berlin.picture(page, "history-clock")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(asked)  # to look is not to change
    page.get_by_role("button", name="Take the first").first.click()
    expect(page.get_by_role("button", name="Take the second")).to_be_focused()
    expect(note).to_contain_text("The first is meant (00:10:00 UTC)")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(re.compile("since=2026-10-25T00%3A10%3A00.000Z&until=2026-10-25T01%3A50"))

    page.get_by_label("From", exact=True).fill("2026-03-29T02:30:00")
    page.get_by_label("To", exact=True).fill("2026-03-29T12:00:00")
    expect(note).to_have_text(re.compile("From: 02:30.* does not exist .* 03:30:00 is meant .01:30:00 UTC"))
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(re.compile("since=2026-03-29T01%3A30%3A00.000Z&until=2026-03-29T10%3A00"))


def test_an_address_may_ask_for_any_range(stack: Stack, visitor: Visitor) -> None:
    fill(make_server(), 60, seconds=7000)
    stack.start("web")
    page = log_in(visitor, stack)
    history = f"{stack.url}/admin/ami_integration/event/history/"
    page.goto(f"{history}?range=7200")
    expect(page.locator("select[name=range] option:checked")).to_have_text("Last 2 hours")
    expect(page.get_by_text("60 events, ")).to_be_visible()
    expect(page.locator("#history-total time").first).to_have_attribute("title", re.compile(r"Z \(UTC\)$"))
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(f"{history}?range=7200")
    page.goto(f"{history}?range=900&until=2026-10-25T01:50:00Z")
    expect(page.get_by_role("link", name="CSV")).to_have_attribute(
        "href", re.compile("since=2026-10-25T01%3A35%3A00.000Z&until=2026-10-25T01%3A50%3A00Z")
    )
    visitor.allow("400 \\(Bad Request\\)")
    page.goto(f"{history}?range=soon")
    expect(page.get_by_role("alert")).to_contain_text("The range is a number of seconds")
