"""The page of a run, in a real browser: live without a reload, back after an outage, and text as text."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User

from ami_integration.actions import services
from ami_integration.actions.models import ActionRun
from tests.actions.factories import make_run
from tests.ami.scripted import Peer, scripted
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
RUNS = "/admin/ami_integration/actionrun/"


def test_a_run_is_followed_to_its_end_over_a_restart_of_the_web_process(
    stack: Stack, visitor: Visitor
) -> None:
    visitor.allow("WebSocket|ERR_CONNECTION_REFUSED")
    asked, answer = threading.Event(), threading.Event()

    def slow(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        asked.set()
        assert answer.wait(120)
        peer.answer(action, "EventList: start", "Message: Channels will follow")
        item = (
            "Event: CoreShowChannel\r\nActionID: {0}\r\nChannel: PJSIP/1\r\nCallerIDName: <b>Zoë</b>\r\n\r\n"
        )
        end = "Event: CoreShowChannelsComplete\r\nActionID: {0}\r\nEventList: Complete\r\n\r\n"
        peer.say((item + end).format(action.action_id).encode())
        peer.hear()

    stack.start("web")
    stack.start("worker")
    page = log_in(visitor, stack)
    with scripted(slow) as transport:
        server = make_server(transport)
        page.goto(f"{stack.url}{RUNS}add/?server={server.pk}&action=CoreShowChannels")
        visitor.picture(page, "run-form")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#run-status")).to_have_text("Running")
        assert asked.wait(30)
        visitor.picture(page, "run-running")
        page.evaluate("window.stillHere = true")
        stack.kill("web")
        expect(page.locator("#run-connection")).to_be_visible()
        answer.set()
        wait_until(
            lambda: ActionRun.objects.get().status == ActionRun.Status.SUCCEEDED,
            seconds=30,
            what="the answer",
        )
        stack.start("web")
        expect(page.locator("#run-status")).to_have_text("Succeeded")
    assert page.evaluate("window.stillHere") is True
    expect(page.locator("#run-result")).to_contain_text("<b>Zoë</b>")
    expect(page.locator("#run-result b")).to_have_count(0)
    visitor.picture(page, "run-list")


def test_a_run_that_waits_for_the_task_queue_says_so_and_can_be_cancelled(
    stack: Stack, visitor: Visitor
) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    run = make_run(rung_at=None)
    page.goto(f"{stack.url}{RUNS}{run.pk}/change/")
    expect(page.locator("#run-reason")).to_contain_text("waiting: task queue unreachable")
    visitor.picture(page, "run-waiting")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("#run-status")).to_have_text("Cancelled")
    expect(page.locator("#run-reason")).to_contain_text("Cancelled by ada")


def test_every_outcome_has_a_page_that_a_person_can_read(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    server = make_server()
    for status, action, repeatable in (
        ("failed", "Originate", True),
        ("expired", "Originate", True),
        ("errored", "Ping", False),
        ("unknown", "Ping", True),  # it does no harm if it was carried out before
        ("unknown", "Originate", False),
    ):
        reason = "What happened."
        run = make_run(server=server, status=status, action=action, reason=reason, traceback="Traceback: …")
        page.goto(f"{stack.url}{RUNS}{run.pk}/change/")
        expect(page.locator("#run-status")).to_have_attribute("data-state", status)
        expect(page.get_by_role("button", name="Run it again")).to_be_visible(visible=repeatable)
        visitor.picture(page, f"run-{status}")
    page.goto(f"{stack.url}{RUNS}")
    visitor.picture(page, "runs")


def test_a_page_hears_of_a_change_within_a_second_or_so(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    run = make_run()
    page.goto(f"{stack.url}{RUNS}{run.pk}/change/")
    expect(page.locator("#run-connection")).to_be_hidden()
    assert services.run_cancel(user=User.objects.get(username="ada"), run=run)
    expect(page.locator("#run-status")).to_have_text("Cancelled")
