"""The bar that says ahead that a login ends."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone

from ami_integration.access.logins import SEEN
from tests.browser.chromium import Visitor, expect
from tests.browser.people import log_in
from tests.processes import Stack

pytestmark = [pytest.mark.browser, pytest.mark.processes]


def change(**values: float) -> None:
    """Let the only login be older than it is: `seen`, seconds ago; `ends`, seconds ahead."""
    session = SessionStore(Session.objects.get().session_key)
    if "seen" in values:
        session[SEEN] = int(time.time() - values["seen"])
    else:
        session.set_expiry(timezone.now() + timedelta(seconds=values["ends"]))
    session.save()


def test_every_page_says_ahead_that_the_login_ends_and_how_to_stay(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    page.clock.install()
    page.goto(f"{stack.url}/admin/")
    bar = page.locator("#aw-session")
    expect(bar).to_be_hidden()
    change(seen=26 * 60)
    page.clock.fast_forward("26:00")
    expect(bar).to_contain_text("since nothing is being done here")
    visitor.picture(page, "session-idle")
    bar.get_by_role("button", name="Stay logged in").press("Enter")
    expect(bar).to_be_hidden()

    change(ends=240)
    page.reload()
    expect(bar).to_contain_text("Save what you are doing")
    visitor.picture(page, "session-limit")

    change(ends=-1)
    page.clock.fast_forward("05:00")
    expect(bar).to_contain_text("You are logged out")
    visitor.picture(page, "session-ended")
    bar.get_by_role("link", name="Log in again").click()
    expect(page.get_by_label("Username:", exact=True)).to_be_visible()
