"""The audit in a real browser: the own login is the first thing that one finds, and a search leads on."""

from __future__ import annotations

import pytest

from ami_integration.audit.seals import entries_seal
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_a_person_finds_what_was_done_to_a_server(stack: Stack, visitor: Visitor) -> None:
    server = make_server()
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}/admin/ami_integration/server/{server.pk}/change/")
    page.get_by_label("Notes").fill("in the cellar")
    page.get_by_role("button", name="Save", exact=True).click()
    assert entries_seal() is not None
    page.goto(f"{stack.url}/admin/ami_integration/auditentry/")
    expect(page.get_by_text("login.done").first).to_be_visible()
    expect(page.get_by_text("Sealed up to seal 1")).to_be_visible()
    visitor.picture(page, "audit-list")
    page.get_by_role("row", name="server.change").get_by_role("link").first.click()
    expect(page.get_by_text("in the cellar")).to_be_visible()
    visitor.picture(page, "audit-entry")
    page.get_by_role("link", name="Everything about Berlin").click()
    expect(page.get_by_text("server.change").first).to_be_visible()
