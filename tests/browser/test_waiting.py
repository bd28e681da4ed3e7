"""A server's limits, and a run that waits for them, in a real browser."""

from __future__ import annotations

import pytest

from ami_integration.actions.models import ActionRun
from ami_integration.servers import slots
from tests.actions.factories import make_run
from tests.ami.scripted import Peer, served
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.browser.test_runs import RUNS
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def pings(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.answer(peer.hear(), "Ping: Pong")


def test_a_run_says_what_it_waits_for_and_begins_by_itself(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    stack.start("listener")
    page = log_in(visitor, stack)
    with served(pings) as transport:
        server = make_server(transport, max_sessions=1)
        assert slots.slot_take(server_id=server.pk, token="another worker's", limit=1)
        run = make_run(server=server, rung_at=None)
        page.goto(f"{stack.url}{RUNS}{run.pk}/change/")
        stack.start("worker")
        expect(
            page.get_by_text("All action sessions of Berlin are in use: it may have 1 at once.")
        ).to_be_visible(timeout=30_000)
        visitor.picture(page, "run-waits")
        slots.slot_release(server_id=server.pk, token="another worker's")
        expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=60_000)
    assert ActionRun.objects.get().status == ActionRun.Status.SUCCEEDED


def test_the_limits_and_the_second_account_are_set_on_the_servers_page(
    stack: Stack, visitor: Visitor
) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    server = make_server()
    page.goto(f"{stack.url}/admin/ami_integration/server/{server.pk}/change/")
    page.get_by_label("Sessions at most").fill("4")
    page.get_by_label("Actions a minute at most").fill("120")
    page.get_by_label("Username for actions").fill("acting")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("Enter the second account's secret.")).to_be_visible()
    page.get_by_label("Secret for actions").scroll_into_view_if_needed()
    visitor.picture(page, "server-limits")
    page.get_by_label("Secret for actions").fill("another-word")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    server.refresh_from_db()
    assert (server.max_sessions, server.rate_per_minute) == (4, 120)
    assert (server.action_account[0], server.action_account[1].reveal()) == ("acting", "another-word")
