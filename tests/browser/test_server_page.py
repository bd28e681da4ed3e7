"""The page of one server in a real browser, with a real Asterisk behind it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ami_integration.ami import TLS
from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server, ServerAbilities
from tests.actions.factories import make_run
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.pbx.asterisk import Asterisk
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.pbx]


def stored_past(server: Server) -> None:
    """An hour of events with a gap, some runs, and what the login may do."""
    now = timezone.now()
    events = []
    for minute in range(2, 58):
        if 20 <= minute < 26:
            continue
        at = now - timedelta(minutes=minute)
        first = first_id_at(at)
        events += [
            Event(id=first + count, server=server, at=at, name="Hangup", headers=[])
            for count in range(minute * 7 % 13)
        ]
    Event.objects.bulk_create(events)
    Gap.objects.create(
        id=first_id_at(now - timedelta(minutes=26)),
        server=server,
        reason=Gap.Reason.DISCONNECTED,
        started_at=now - timedelta(minutes=26),
        ended_at=now - timedelta(minutes=20),
        after_id=1,
    )
    for status in ("succeeded", "failed", "unknown"):
        make_run(server=server, action="CoreStatus", status=status, username="ada")
    actions = {"Ping": "<none>", "Originate": "originate,all", "CoreStatus": "system,reporting,all"}
    ServerAbilities.objects.create(server=server, actions=actions, read_at=now)


def test_a_server_is_viewed_by_its_name_and_goes_on_telling_how_it_is(
    stack: Stack, visitor: Visitor, private_asterisk: Asterisk
) -> None:
    username, secret = private_asterisk.users["admin"]
    way = TLS("localhost", private_asterisk.tls_port)
    ca = private_asterisk.ca_file.read_text()
    server = make_server(way, name="Lisbon", username=username, secret=secret, tls_ca=ca)
    stored_past(server)
    stack.start("web")
    stack.start("listener")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/server/")
    page.locator(".field-shown_name a", has_text="Lisbon").click()
    expect(page.locator("#server-health")).to_contain_text("Online", timeout=30_000)
    expect(page.locator("#server-part")).to_contain_text(private_asterisk.version, timeout=30_000)
    expect(page.locator("#server-part")).to_contain_text("Last reload", timeout=30_000)
    expect(page.locator("#server-trust")).to_contain_text("expires in")
    expect(page.locator("#server-events + p")).to_contain_text("minutes nobody heard all of them")
    visitor.picture(page, "server-page")
    page.locator("#server-rights").evaluate("title => title.scrollIntoView()")
    visitor.picture(page, "server-page-rights")
    page.locator("#server-table summary").click()
    page.get_by_role("heading", name="Health").click()
    private_asterisk.stop()
    expect(page.locator("#server-health")).to_contain_text("Offline", timeout=45_000)
    expect(page.locator("#server-table")).to_have_attribute("open", "")
    page.get_by_role("link", name="Change", exact=True).click()
    expect(page.get_by_role("heading", name="Connection test")).to_be_visible()
