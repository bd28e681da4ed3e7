"""What runs now, a call that rings, and the log's own pages, in a real browser."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import run_ring
from tests.actions.factories import make_run
from tests.ami.scripted import Peer, scripted
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.browser.test_runs import RUNS
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_what_runs_now_shows_up_and_goes_without_a_reload(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{RUNS}")
    page.get_by_role("link", name="What runs now").click()
    expect(page.get_by_text("Nothing runs now.")).to_be_visible()
    visitor.picture(page, "running-none")
    server, now = make_server(), timezone.now()
    waits = make_run(server=server, action="QueueStatus", rung_at=None, username="ada")
    rings = make_run(
        server=server,
        action="Originate",
        status="running",
        started_at=now - timedelta(seconds=30),
        username="zoe",
        call_steps=[["ringing", now.isoformat(), "PJSIP/1"]],
    )
    row = page.get_by_role("row").filter(has_text=str(rings.pk))
    expect(row).to_contain_text("Ringing")
    expect(row).to_contain_text("zoe")
    expect(page.get_by_role("row").filter(has_text="QueueStatus")).to_contain_text("task queue unreachable")
    expect(page.get_by_text("1 in progress, 1 waiting")).to_be_visible()
    visitor.picture(page, "running")
    ActionRun.objects.cancel(waits.pk, "Cancelled by <b>bob</b>.")
    expect(page.get_by_text("1 in progress, 0 waiting")).to_be_visible()
    expect(page.locator("#running-ended")).to_contain_text("Cancelled by <b>bob</b>.")
    page.get_by_role("link", name=str(rings.pk), exact=True).click()
    expect(page).to_have_url(f"{stack.url}{RUNS}{rings.pk}/change/")


def test_a_call_is_followed_while_it_rings_and_hung_up(stack: Stack, visitor: Visitor) -> None:
    hung_up = threading.Event()

    def rings(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        while action.name != "Originate":
            peer.answer(action)
            action = peer.hear()
        uniqueid = action.get("ChannelId")
        peer.answer(action, "Message: Originate successfully queued")
        event = (
            "Event: {0}\r\nPrivilege: call,all\r\nChannel: PJSIP/100-1\r\nChannelState: {1}\r\n"
            "Uniqueid: {2}\r\n\r\n"
        )
        peer.say((event.format("Newchannel", 0, uniqueid) + event.format("Newstate", 5, uniqueid)).encode())
        other = peer.hear()
        while other.name != "Hangup":
            peer.answer(other)
            other = peer.hear()
        assert other.get("Channel") == uniqueid
        peer.answer(other, "Message: Channel Hungup")
        hung_up.set()
        response = (
            "Event: OriginateResponse\r\nPrivilege: call,all\r\nActionID: {0}\r\nResponse: Failure\r\n"
            "Channel: PJSIP/100\r\nReason: 0\r\nUniqueid: <unknown>\r\n\r\n"
        )
        peer.say(response.format(action.action_id).encode())
        while True:
            peer.answer(peer.hear())

    stack.start("web")
    stack.start("worker")
    page = log_in(visitor, stack)
    with scripted(rings) as transport:
        run = make_run(
            server=make_server(transport),
            action="Originate",
            headers=[("Channel", "PJSIP/100"), ("Async", "true"), ("ChannelId", "amiweb-one")],
            rung_at=None,
        )
        page.goto(f"{stack.url}{RUNS}{run.pk}/change/")
        wait_for_ring(run)
        expect(page.locator("#run-steps")).to_contain_text("Ringing PJSIP/100-1")
        visitor.picture(page, "run-ringing")
        page.get_by_role("button", name="Hang up").click()
        expect(page.locator("#run-status")).to_have_text("Cancelled")
        assert hung_up.is_set()
    expect(page.locator("#run-reason")).to_have_text("Hung up by ada before anybody answered.")
    expect(page.locator("#run-steps")).to_contain_text("Call failed")
    visitor.picture(page, "run-hung-up")


def wait_for_ring(run: ActionRun) -> None:
    """Ring for it as the sweep does, and wait for the call."""
    run_ring(run_id=run.pk)
    wait_until(
        lambda: "ringing" in [step[0] for step in ActionRun.objects.get(pk=run.pk).call_steps],
        seconds=30,
        what="the call rings",
    )


def test_the_log_and_its_size_can_be_read(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    server, now = make_server(), timezone.now()
    for number, status in enumerate(("succeeded", "failed", "unknown", "cancelled", "expired", "errored")):
        began = now - timedelta(hours=number * 20)
        make_run(
            server=server,
            status=status,
            action="Originate",
            username="ada",
            address="192.0.2.7",
            attempt=1 + number % 2,
            headers_masked=[["Channel", "PJSIP/100"], ["Context", "office"], ["Exten", "2001"]],
            created_at=began,
            started_at=began,
            finished_at=began + timedelta(seconds=1),
            reason="What happened, in a sentence that says what to do.",
            response=[("Response", "Success")],
        )
    page.goto(f"{stack.url}{RUNS}")
    expect(page.locator("#result_list tbody tr")).to_have_count(6)
    visitor.picture(page, "log")
    page.get_by_label("From").fill(f"{now - timedelta(hours=50):%Y-%m-%dT%H:%M}")
    page.get_by_label("Before").fill(f"{now - timedelta(hours=10):%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    page.get_by_role("link", name="Size and retention").click()
    expect(page.get_by_text("Today it holds 6 runs;")).to_be_visible()
    visitor.picture(page, "size")
