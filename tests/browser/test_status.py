"""The status page in a real browser: what is missing, silent and well, and the header of every other page."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def test_a_person_sees_what_is_missing_come_and_fall_silent(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    stack.start("worker")
    page = log_in(visitor, stack)
    expect(page.get_by_role("link", name="Status")).to_contain_text("4 faults")
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_text("There is no listener. No events are heard.")).to_be_visible()
    expect(page.get_by_role("row", name="worker Well")).to_be_visible()
    visitor.picture(page, "status-faults")

    for name in ("listener", "ticker", "beat"):
        stack.start(name, wait=False)
    expect(page.get_by_text("All of amiweb is well")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("link", name="Status")).not_to_contain_text("fault", timeout=30_000)
    visitor.picture(page, "status-well")

    elsewhere = visitor.tab()
    elsewhere.goto(f"{stack.url}/admin/ami_integration/server/")
    stack.kill("beat")
    expect(page.get_by_role("row", name="beat Silent")).to_be_visible(timeout=45_000)
    expect(page.get_by_text("It was killed", exact=False)).to_be_visible()
    visitor.picture(page, "status-silent")
    elsewhere.bring_to_front()
    expect(elsewhere.get_by_role("link", name="Status")).to_contain_text("1 fault", timeout=45_000)
    visitor.picture(elsewhere, "status-header")

    page.bring_to_front()
    page.get_by_role("button", name="Forget the beat").click()
    expect(page.get_by_text("There is no beat.", exact=False)).to_be_visible()
