"""The live page in a real browser, with the real web process and events as a real Asterisk sent them."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session

from ami_integration.ami import NEED_DATA, Event, Protocol
from ami_integration.events.models import Gap
from ami_integration.events.stream import GapNote
from ami_integration.servers.models import Server
from ami_integration.servers.services import server_health_set
from tests.browser.chromium import Visitor, expect
from tests.browser.live import Send, is_open, rows
from tests.events.making import batch, ids, numbered, raw
from tests.processes import Stack
from tests.servers.factories import make_server

CAPTURE = Path(__file__).parent.parent / "captures" / "22" / "call_answered.ami"

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def captured() -> list[bytes]:
    protocol = Protocol("client")
    protocol.receive_data(CAPTURE.read_bytes())
    found = []
    while (message := protocol.next_message()) is not NEED_DATA:
        if isinstance(message, Event):
            found.append(message.raw)
    return found


def test_calls_of_a_real_asterisk_are_shown_as_they_come(
    server: Server, live: Any, send: Send, visitor: Visitor
) -> None:
    expect(live.locator("#live-empty")).to_contain_text("Events appear here as soon as a PBX sends them")
    visitor.picture(live, "live-empty")
    simulated = make_server(name="Demo office", simulated=True)
    server_health_set(server_id=simulated.pk, state="login_failed", error="Authentication failed.")
    expect(live.get_by_label("Server")).to_contain_text("Demo office (simulated)")
    now = int(time.time() * 1_000_000)
    sent = batch(server.pk, *captured())
    gap = GapNote(
        ids.next(), server.pk, Gap.Reason.DISCONNECTED, "pbx closed the connection.", now - 12_000_000,
        sent.last_id, now, ids.next(),
    )  # fmt: skip
    send(sent, gap)
    send(batch(simulated.pk, *captured()[-12:]))
    send(batch(server.pk, *captured()[:8], after=gap.last_id))
    expect(rows(live)).to_have_count(len(captured()) + 21)
    expect(live.locator(".aw-gap")).to_contain_text(
        re.compile("Connection lost no events from .* on, for 12 s")
    )
    expect(rows(live).filter(has_text="VarSet").first).to_contain_text("Variable")
    rows(live).filter(has_text="Newchannel").first.locator(".aw-event-line").click()
    expect(live.locator(".aw-event-headers")).to_contain_text("ChannelStateDesc")
    visitor.picture(live, "live-calls")
    live.locator(".aw-gap").scroll_into_view_if_needed()
    visitor.picture(live, "live-gap")
    times = live.locator("#live-rows .aw-event-line > time").evaluate_all(
        "all => all.map(one => one.dateTime)"
    )
    assert len(times) == len(captured()) + 21
    assert times == sorted(times, reverse=True)  # also of the gap, which is known later than it begins


def test_the_newest_row_is_on_top_and_rows_are_bounded(server: Server, live: Any, send: Send) -> None:
    last = 0
    for start in range(0, 600, 100):
        made = numbered(server.pk, range(start, start + 100), after=last)
        last = made.last_id
        send(made)
        expect(rows(live).first).to_have_attribute("data-id", str(last))
    expect(rows(live)).to_have_count(500)
    expect(live.locator("#live-count")).to_have_text("the newest 500 events")


def test_what_strangers_write_stays_text(server: Server, live: Any, send: Send) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    send(batch(server.pk, raw("Newchannel", CallerIDName=evil, **{"<b>Name</b>": evil}), raw(evil)))
    expect(rows(live)).to_have_count(2)
    rows(live).nth(1).locator(".aw-event-line").click()
    expect(live.locator(".aw-event-headers")).to_contain_text("<b>Name</b>")
    assert live.locator("#live-rows img, #live-rows script, #live-rows b").count() == 0
    assert "owned" not in live.title()


def test_the_filter_is_in_the_address_and_survives_a_reload(server: Server, live: Any, send: Send) -> None:
    sent = batch(
        server.pk, raw("Newchannel", Channel="PJSIP/100-1"), raw("Hangup", Channel="PJSIP/100-1"),
        raw("Hangup", Channel="PJSIP/200-1"),
    )  # fmt: skip
    send(sent)
    expect(rows(live)).to_have_count(3)
    live.get_by_label("Event names").fill("hang*")
    live.get_by_label("Text in any header").fill("pjsip/1*")
    expect(rows(live)).to_have_count(1)
    live.get_by_label("Server").select_option(label="Berlin")
    expect(rows(live)).to_have_count(1)
    live.wait_for_url(re.compile(rf"server={server.pk}&names=hang"))
    live.reload()
    is_open(live)
    expect(rows(live)).to_have_count(1)
    expect(live.get_by_label("Event names")).to_have_value("hang*")
    expect(live.get_by_label("Server")).to_have_value(f"server:{server.pk}")
    live.get_by_label("Text in any header").fill("no such thing")
    expect(live.locator("#live-empty")).to_contain_text("Nothing has matched the filter yet")
    live.get_by_role("button", name="Remove the filter").click()
    expect(rows(live)).to_have_count(3)


def test_pause_counts_what_waits_and_clear_empties_the_list(server: Server, live: Any, send: Send) -> None:
    first = numbered(server.pk, range(3))
    send(first)
    expect(rows(live)).to_have_count(3)
    live.get_by_role("button", name="Pause").click()
    send(numbered(server.pk, range(3, 10), after=first.last_id))
    expect(live.get_by_role("button", name="Resume (7 waiting)")).to_be_visible()
    expect(live.get_by_role("button", name="Jump to now")).to_be_hidden()  # nobody is elsewhere
    expect(rows(live)).to_have_count(3)
    live.get_by_role("button", name="Resume").click()
    expect(rows(live)).to_have_count(10)
    live.get_by_role("button", name="Clear list").click()
    expect(rows(live)).to_have_count(0)
    expect(live.locator("#live-empty")).to_be_visible()


def test_a_row_opens_by_keyboard(server: Server, live: Any, send: Send) -> None:
    send(batch(server.pk, raw("Newchannel", Channel="PJSIP/100-1")))
    expect(rows(live)).to_have_count(1)
    live.locator("#live-history").focus()
    live.keyboard.press("Tab")
    expect(live.get_by_role("button", name="Newchannel 1", exact=True)).to_be_focused()
    live.keyboard.press("Tab")
    live.keyboard.press("Enter")
    expect(live.locator(".aw-event-headers")).to_contain_text("PJSIP/100-1")
    live.keyboard.press("Enter")
    expect(live.locator(".aw-event-headers")).to_have_count(0)


def test_a_page_catches_up_after_the_web_process_was_killed(
    stack: Stack, server: Server, live: Any, send: Send, visitor: Visitor
) -> None:
    visitor.allow(r"WebSocket connection to .* failed|ERR_CONNECTION_REFUSED")
    last = 0
    for n in range(30):
        made = numbered(server.pk, range(n * 5, n * 5 + 5), after=last)
        last = made.last_id
        send(made)
        if n == 10:
            expect(rows(live)).to_have_count(55)
            stack.kill("web")
        if n == 20:
            stack.start("web")
    expect(rows(live)).to_have_count(150)
    is_open(live)
    shown = live.locator("#live-rows > li").evaluate_all("all => all.map(one => one.dataset.id)")
    assert len(set(shown)) == 150
    assert shown == sorted(shown, key=int, reverse=True)


def test_logging_out_elsewhere_ends_the_page_with_a_word(server: Server, live: Any) -> None:
    Session.objects.all().delete()
    expect(live.get_by_role("alert")).to_contain_text("You are logged out")
    expect(live.locator("#live-state")).to_have_attribute("data-state", "closed")
    back = live.get_by_role("link", name="Log in again to go on from here")
    expect(back).to_have_attribute("href", "/admin/login/?next=%2Fadmin%2Flive%2F")
    expect(live.locator("#aw-faults")).to_have_text(" logged out")  # and not that amiweb isn't reached


def test_a_page_that_is_connected_while_nobody_listens_is_not_live(
    stack: Stack, visitor: Visitor, server: Server, live: Any
) -> None:
    expect(live.locator("#live-state")).to_have_text("Stopped")
    expect(live.locator("#live-flow")).to_contain_text("No listener has given a sign of life")
    visitor.picture(live, "live-stopped")
    stack.start("listener")
    expect(live.locator("#live-state")).to_have_text("Live")
    expect(live.locator("#live-flow")).to_be_hidden()
    stack.kill("listener")
    expect(live.locator("#live-state")).to_have_text("Stopped", timeout=45_000)


def test_an_empty_amiweb_says_how_to_begin(stack: Stack, live: Any) -> None:
    expect(live.locator("#live-empty")).to_contain_text("There is no server yet.")
    expect(live.get_by_role("link", name="Add a server")).to_have_attribute(
        "href", "/admin/ami_integration/server/add/"
    )
    disabled = make_server(enabled=False)
    expect(live.locator("#live-empty")).to_contain_text("Nobody listens to a disabled server.")
    Server.objects.filter(pk=disabled.pk).update(enabled=True)
    expect(live.locator("#live-empty")).to_contain_text("Nobody is listening at the moment.")
