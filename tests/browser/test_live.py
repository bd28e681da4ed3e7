"""The live page as a person uses it, with events that really flow from a PBX, and with events made for it."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User

from ami_integration.ami import TCP
from ami_integration.events.models import Event, Gap
from ami_integration.events.stream import GapNote, SnapshotNote
from ami_integration.servers.models import Server, Tag
from tests.browser.chromium import Visitor, expect
from tests.browser.live import Send, open_live, rows
from tests.browser.people import log_in
from tests.counting import Counting
from tests.events.making import batch, ids, numbered, raw
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def _happened(pbx: Counting, number: int) -> bool:
    return pbx.counts()["busy"] > number


def test_nothing_is_missing_and_nothing_twice_when_the_web_process_dies_while_events_flow(
    stack: Stack, visitor: Visitor
) -> None:
    visitor.allow("WebSocket|ERR_CONNECTION_REFUSED|Failed to load resource")
    with Counting(pace=20) as pbx:
        server = make_server(TCP("127.0.0.1", pbx.port), name="busy", username="busy")
        stack.start("web")
        stack.start("listener")
        page = log_in(visitor, stack)
        open_live(stack, page)
        expect(rows(page).nth(20)).to_be_attached()
        for _ in range(2):
            so_far = rows(page).count()
            stack.kill("web")
            until = pbx.counts()["busy"] + 30
            wait_until(partial(_happened, pbx, until), seconds=30, what="events happen meanwhile")
            stack.start("web")
            expect(rows(page).nth(so_far + 40)).to_be_attached()
        sent = pbx.stop()["busy"]

    def newest() -> tuple[str, int]:
        event = Event.objects.filter(server=server).exclude(name="FullyBooted").order_by("-id").first()
        return (str(event.pk), int(dict(event.headers)["Number"])) if event else ("", -1)

    def shown() -> str:
        return str(page.locator("#live-rows > li:not(.aw-gap)").first.get_attribute("data-id"))

    wait_until(
        lambda: newest() == (shown(), sent - 1),
        seconds=30,
        what=lambda: f"the last of {sent} is stored and shown: {newest()}, {shown()}",
    )
    ids_shown = page.locator("#live-rows > li:not(.aw-gap)").evaluate_all(
        "all => all.map(one => one.dataset.id)"
    )
    kept = Event.objects.filter(server=server).order_by("-id").values_list("id", flat=True)
    assert ids_shown == [str(pk) for pk in kept[: len(ids_shown)]]
    assert len(ids_shown) > 100


def test_a_flood_leaves_the_page_usable_and_says_what_it_left_out(stack: Stack, visitor: Visitor) -> None:
    with Counting(pace=1000) as pbx:
        make_server(TCP("127.0.0.1", pbx.port), name="busy", username="busy")
        stack.start("web")
        stack.start("listener")
        page = log_in(visitor, stack)
        open_live(stack, page)
        expect(page.locator("#live-shed")).to_contain_text("left out because they came too fast")
        for _ in range(5):
            page.get_by_role("button", name="Pause").click()
            expect(page.get_by_role("button", name="Resume")).to_contain_text(re.compile(r"\d+ waiting"))
            page.get_by_role("button", name="Resume").click()
        page.locator("#live-shed").get_by_role("link", name="search those that are kept").click()
        page.wait_for_url(re.compile(r"/history/\?.*since=\d{4}-.*&until=\d{4}-"))


def test_chips_count_and_choose(server: Server, live: Any, send: Send, visitor: Visitor) -> None:
    sent = batch(server.pk, *(raw(name) for name in ("Hangup", "VarSet", "Hangup", "Newchannel")))
    send(sent)
    chip = live.get_by_role("button", name=re.compile("^Hangup 2"))
    chip.click()
    expect(rows(live)).to_have_count(2)
    live.wait_for_url(re.compile("names=Hangup"))
    send(batch(server.pk, *(raw(name) for name in ("Newchannel", "Hangup")), after=sent.last_id, count=4))
    expect(rows(live)).to_have_count(3)
    # What isn't shown is counted all the same, so that it can be chosen.
    expect(live.get_by_role("button", name=re.compile("^Newchannel 2"))).to_have_attribute(
        "aria-pressed", "false"
    )
    chip = live.get_by_role("button", name=re.compile("^Hangup 3"))
    expect(chip).to_have_attribute("aria-pressed", "true")
    chip.press("Enter")
    expect(rows(live)).to_have_count(6)
    live.wait_for_url(re.compile("/admin/live/$"))


def test_one_click_shows_a_call_alone_and_the_address_keeps_it(
    server: Server, stack: Stack, live: Any, send: Send, visitor: Visitor
) -> None:
    calls = [raw(name, Linkedid=call) for call in ("17.1", "17.2") for name in ("Newchannel", "Hangup")]
    send(batch(server.pk, *calls))
    expect(rows(live)).to_have_count(4)
    live.get_by_label("Event names").fill("Hangup")
    expect(rows(live)).to_have_count(2)
    live.get_by_title("Show this call alone (linkedid 17.1)").first.click()
    expect(live.get_by_label("Event names")).to_have_value("")  # the whole call
    expect(rows(live)).to_have_count(2)
    live.go_back()
    expect(live.get_by_label("Event names")).to_have_value("Hangup")
    expect(live.locator("#live-call")).to_be_hidden()
    live.get_by_title("Show this call alone (linkedid 17.1)").first.click()
    live.reload()
    expect(rows(live)).to_have_count(2)
    expect(live.locator("#live-call")).to_contain_text("Only the call 17.1")
    visitor.picture(live, "live-one-call")
    live.get_by_role("button", name="Show all calls").click()
    expect(live.get_by_label("Event names")).to_have_value("Hangup")  # what was there before the call
    live.get_by_label("Event names").fill("")
    expect(rows(live)).to_have_count(4)
    # By keyboard: from the opened row.
    rows(live).first.locator(".aw-event-line").press("Enter")
    live.get_by_role("button", name="This call alone").press("Enter")
    expect(rows(live)).to_have_count(2)


def test_a_row_is_copied_as_json(server: Server, live: Any, send: Send) -> None:
    send(batch(server.pk, raw("Newchannel", Channel="PJSIP/100-1", Variable="a", CallerIDName="Jürgen")))
    rows(live).first.locator(".aw-event-line").click()
    live.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    live.get_by_role("button", name="Copy as JSON").click()
    expect(live.get_by_role("button", name="Copied")).to_be_visible()
    copied = json.loads(live.evaluate("window.copied"))
    assert (copied["server"], copied["name"]) == ("Berlin", "Newchannel")
    assert ["CallerIDName", "Jürgen"] in copied["headers"]
    assert copied["received"].endswith("Z")


def test_a_tag_is_chosen_and_one_header_is_asked_for(
    server: Server, stack: Stack, live: Any, send: Send
) -> None:
    other = make_server(name="Oslo")
    for one in (server, make_server(name="Bonn")):
        one.tags.add(Tag.objects.get_or_create(name="germany")[0])
    send(
        batch(
            server.pk, raw("A", Channel="PJSIP/100-1", Exten="1"), raw("B", Channel="SIP/1", Exten="PJSIP/1")
        )
    )
    send(batch(other.pk, raw("C", Channel="PJSIP/100-2")))
    expect(rows(live)).to_have_count(3)
    expect(live.get_by_label("Server").locator("option", has_text="germany")).to_be_attached()
    live.get_by_label("Server").select_option(label="germany")
    expect(rows(live)).to_have_count(2)
    live.get_by_label("Text in any header").fill("Channel:PJSIP/1*")
    expect(rows(live)).to_have_count(1)
    live.reload()
    expect(rows(live)).to_have_count(1)
    expect(rows(live).first).to_contain_text("PJSIP/100-1")
    live.get_by_label("Text in any header").fill("Channel:PJSIP")
    expect(live.locator("#live-empty")).to_contain_text("the whole value of the header Channel")


def test_a_gap_says_what_it_cost_and_what_the_pbx_said_after_it(
    server: Server, live: Any, send: Send, visitor: Visitor
) -> None:
    first = batch(server.pk, raw("Hangup"))
    now = int(time.time() * 1_000_000)
    before = ids.next()
    gap = GapNote(
        ids.next(), server.pk, Gap.Reason.OVERLOAD, "The PBX sent more than the listener could take.",
        now - 3_000_000, first.last_id, now, before, 1234, "exact", 1, 1234,
    )  # fmt: skip
    send(first, gap)
    expect(live.locator(".aw-gap")).to_contain_text("1,234 events lost")
    channels = [
        [("Event", "CoreShowChannel"), ("Channel", f"PJSIP/10{n}-0000000{n}"), ("CallerIDNum", f"10{n}")]
        for n in range(3)
    ]
    said = SnapshotNote(ids.next(), server.pk, gap.last_id, now, first.last_id, "CoreShowChannels", channels)
    refused = SnapshotNote(
        ids.next(), server.pk, gap.last_id, now, first.last_id, "QueueStatus", (), "Permission denied"
    )
    send(said, refused)
    expect(live.locator(".aw-gap")).to_contain_text(
        "Asked after it: CoreShowChannels: 3, QueueStatus: no answer"
    )
    live.locator(".aw-gap button").click()
    expect(live.locator(".aw-gap")).to_contain_text("PJSIP/102-00000002")
    expect(live.locator(".aw-gap")).to_contain_text("QueueStatus at")
    visitor.picture(live, "live-gap-snapshots")
    live.reload()
    expect(live.locator(".aw-gap")).to_contain_text("CoreShowChannels: 3")
    expect(live.locator("#live-count")).to_have_text("1 event and 1 gap")
    live.get_by_label("Event names").fill("NoSuchEvent")  # a gap passes every filter, and is no event
    expect(live.locator("#live-empty")).to_contain_text("Nothing has matched the filter yet.")
    expect(live.locator("#live-count")).to_have_text("1 gap")
    expect(live.locator(".aw-gap")).to_be_visible()
    visitor.picture(live, "live-gap-alone")
    # The same in the history.
    live.get_by_role("button", name="Remove the filter").click()
    expect(rows(live)).to_have_count(2)
    live.locator("#live-history").click()
    live.locator(".aw-gap button").click()
    expect(live.locator(".aw-gap")).to_contain_text("QueueStatus: no answer")
    expect(live.locator(".aw-gap")).to_contain_text("PJSIP/102-00000002")
    visitor.picture(live, "history-gap-snapshots")
    live.get_by_label("Event names").fill("NoSuchEvent")
    live.get_by_role("button", name="Search", exact=True).click()
    expect(live.locator("#history-empty")).to_contain_text("Nothing of this was kept.")
    expect(live.locator(".aw-gap")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [("?server=abc", "There is no such server"), (f"?linkedid={'1' * 200}", "A linkedid has at most")],
    ids=["no server's number", "too long a linkedid"],
)
def test_an_address_that_cannot_be_is_answered_with_a_sentence(
    stack: Stack, server: Server, live: Any, query: str, sentence: str
) -> None:
    open_live(stack, live, query)
    expect(live.get_by_role("alert")).to_contain_text(sentence)
    expect(live.locator("#live-empty")).to_have_text("No events are shown until this is put right.")


def test_whoever_reads_further_down_is_not_disturbed(server: Server, live: Any, send: Send) -> None:
    first = numbered(server.pk, range(100))
    send(first)
    expect(rows(live)).to_have_count(100)
    rows(live).last.scroll_into_view_if_needed()
    jump = live.get_by_role("button", name="Jump to now")
    expect(jump).to_be_visible()
    send(numbered(server.pk, range(100, 110), after=first.last_id))
    expect(jump).to_have_text("Jump to now (10 waiting)")
    expect(rows(live)).to_have_count(100)
    jump.click()
    expect(rows(live)).to_have_count(110)
    expect(jump).to_be_hidden()
    expect(rows(live).first).to_be_in_viewport()


def test_arrows_go_from_row_to_row(server: Server, live: Any, send: Send) -> None:
    send(numbered(server.pk, range(3)))
    expect(rows(live)).to_have_count(3)
    rows(live).first.locator(".aw-event-line").focus()
    live.keyboard.press("ArrowDown")
    expect(rows(live).nth(1).locator(".aw-event-line")).to_be_focused()
    live.keyboard.press("ArrowUp")
    expect(rows(live).first.locator(".aw-event-line")).to_be_focused()


def test_a_withdrawn_right_ends_the_page_with_a_word(server: Server, live: Any, visitor: Visitor) -> None:
    visitor.allow("403 .*status/glance")  # the header asks meanwhile, and mayn't any more
    User.objects.update(is_superuser=False)
    expect(live.get_by_role("alert")).to_contain_text("may not watch events any more")
    expect(live.locator("#live-state")).to_have_attribute("data-state", "closed")
