"""The catalogue in a real browser: two real PBXs are read by the workers, searched, looked at, compared."""

from __future__ import annotations

import re

import pytest

from ami_integration.actions.catalogue.models import ServerCatalogue
from ami_integration.ami import TCP
from ami_integration.servers.models import Server
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.pbx.asterisk import Asterisk
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.pbx]
CATALOGUES = "/admin/ami_integration/catalogue/"


def test_two_pbxs_are_read_searched_and_compared(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk, asterisk16: Asterisk
) -> None:
    for name, pbx, role in (
        ("Berlin", asterisk22, "admin"),
        ("Paris", asterisk16, "admin"),
        ("Rome", asterisk16, "originate"),
    ):
        username, secret = pbx.users[role]
        make_server(TCP(pbx.host, pbx.port), name=name, username=username, secret=secret)
    stack.start("web")
    stack.start("worker")
    page = log_in(visitor, stack)

    # Before anything was read, the page says what to do, and the buttons do it.
    page.get_by_role("link", name="Catalogue", exact=True).click()
    expect(page.get_by_text("No server was read yet.")).to_be_visible()
    page.get_by_role("link", name="See what came of it").click()
    visitor.picture(page, "catalogues-empty")
    for name in ("Berlin", "Paris", "Rome"):
        page.get_by_role("button", name=f"Read {name}").click()
        expect(page.get_by_text("The catalogue of 1 server is being read")).to_be_visible()
    read = ServerCatalogue.objects.filter(catalogue__isnull=False)
    wait_until(lambda: read.count() == 3, seconds=30, what=lambda: stack.log("worker"))
    page.reload()
    expect(page.get_by_text("amiweb's own, for logins that may not run Command")).to_be_visible()
    visitor.picture(page, "catalogues")

    # The same from a server's own page.
    page.get_by_role("link", name="Servers", exact=True).click()
    page.get_by_role("link", name="Berlin").first.click()
    page.get_by_role("link", name="Change", exact=True).click()
    page.get_by_role("button", name="Read catalogue").click()
    expect(page.get_by_text("The catalogue of 1 server is being read")).to_be_visible()
    visitor.picture(page, "catalogue-server")
    page.get_by_role("link", name="Catalogue", exact=True).last.click()
    expect(page.get_by_label("Server")).to_have_value(str(Server.objects.get(name="Berlin").pk))

    # Search by the name of a header.
    page.goto(f"{stack.url}{CATALOGUES}")
    page.get_by_role("link", name="Actions", exact=True).click()
    visitor.picture(page, "catalogue-actions")
    page.get_by_label("Search").fill("OtherChannelId")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="Originate").click()
    expect(page.get_by_role("cell", name=re.compile("^Channel name "))).to_be_visible()
    expect(page.get_by_text("new header: PreDialGoSub")).to_have_count(0)
    expect(page.get_by_text("header no more: PreDialGoSub").first).to_be_visible()
    expect(page.get_by_text("its login may not run it")).to_have_count(0)
    visitor.picture(page, "catalogue-action")

    page.goto(f"{stack.url}/admin/ami_integration/catalogueaction/CoreShowChannels/")
    page.get_by_text("CoreShowChannel: ").click()
    visitor.picture(page, "catalogue-list-action")

    page.get_by_role("link", name="Events", exact=True).click()
    page.get_by_label("Search").fill("newchannel")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Newchannel", exact=True).click()
    expect(page.get_by_role("cell", name="Dialing Offhook")).to_be_visible()
    visitor.picture(page, "catalogue-event")

    page.goto(f"{stack.url}{CATALOGUES}")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Different")).to_be_visible()
    visitor.picture(page, "catalogue-compare")
