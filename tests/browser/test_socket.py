"""A page's WebSocket comes back by itself when the web process does."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

from tests.browser.chromium import Visitor, expect
from tests.polling import wait_until
from tests.processes import Stack

LISTEN = """async () => {
    const { connect } = await import("/static/ami_integration/socket.js");
    window.seen = [];
    window.socket = connect("/ws/live/", {
        onState: (state) => window.seen.push(state),
        onOpen: (send) => window.seen.push(`onOpen ${typeof send}`),
    });
}"""


@pytest.fixture
def administrator(stack: Stack, visitor: Visitor) -> Visitor:
    """Somebody at the browser who may do everything; the web process runs."""
    # A hash that the web process knows; the tests' own settings use a faster one.
    password = make_password("chief-w0rd", hasher="pbkdf2_sha256")
    User.objects.create(username="boss", password=password, is_staff=True, is_superuser=True)
    stack.start("web")
    return visitor


def test_a_page_comes_back_by_itself_after_the_web_process(stack: Stack, administrator: Visitor) -> None:
    administrator.allow("ERR_CONNECTION_REFUSED|WebSocket connection to .* failed")
    page = administrator.tab()
    page.goto(f"{stack.url}/admin/")
    page.get_by_label("Username:", exact=True).fill("boss")
    page.get_by_label("Password:", exact=True).fill("chief-w0rd")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("navigation", name="amiweb")).to_be_visible()

    page.evaluate(LISTEN)
    opened = ["connecting", "open", "onOpen function"]
    wait_until(lambda: page.evaluate("seen") == opened, seconds=15, what=lambda: str(page.evaluate("seen")))

    stack.kill("web")
    away = [*opened, "connecting"]
    wait_until(lambda: page.evaluate("seen") == away, seconds=15, what=lambda: str(page.evaluate("seen")))
    assert page.evaluate("socket.send({})") is False  # nobody there to take it

    stack.start("web")
    back = [*away, "open", "onOpen function"]
    wait_until(lambda: page.evaluate("seen") == back, seconds=45, what=lambda: str(page.evaluate("seen")))

    page.evaluate("socket.close()")
    assert page.evaluate("seen") == [*back, "closed"]


def test_the_policy_lets_a_page_talk_to_its_own_host_alone(stack: Stack, administrator: Visitor) -> None:
    administrator.allow("Content Security Policy")
    page = administrator.tab()
    page.goto(f"{stack.url}/admin/login/")
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
            new WebSocket("ws://127.0.0.2:9/");
        })"""
    )
    assert refused == "connect-src"
