"""The connection test on a server's form, in a real browser with a real Asterisk."""

from __future__ import annotations

import pytest

from ami_integration.servers.models import Server
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.people import log_in
from tests.pbx.asterisk import Asterisk
from tests.processes import Stack
from tests.servers.factories import make_server
from tests.sshd import Sshd

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.pbx]
SERVERS = "/admin/ami_integration/server/"


def fill(page: Handle, **fields: object) -> None:
    for name, value in fields.items():
        page.locator(f"#id_{name}").fill(str(value))


def press_test(page: Handle) -> None:
    page.locator("#doctor-start").click()


def step(page: Handle, name: str) -> Handle:
    return page.locator("#doctor-steps > li").filter(has=page.locator(".aw-step-name", has_text=name))


def new_form(visitor: Visitor, stack: Stack, asterisk: Asterisk) -> Handle:
    """The form of a new server, filled in but for its secret."""
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{SERVERS}add/")
    fill(page, name="Lisbon", host=asterisk.host, port=asterisk.port, username="admin")
    expect(page.locator("#doctor-start")).to_have_attribute("aria-disabled", "false")
    return page


def show(visitor: Visitor, page: Handle, name: str) -> None:
    """Take pictures of the test, wherever on the page it stands."""
    page.locator("#doctor-title").evaluate("title => title.scrollIntoView()")
    visitor.picture(page, name)


def works(page: Handle, *names: str) -> None:
    expect(page.locator("#doctor-badge")).to_have_text("Works")
    for name in names:
        expect(step(page, name)).to_have_attribute("data-state", "ok")
    expect(
        page.locator("#doctor-steps > li[data-state=failed], #doctor-steps > li[data-state=waiting]")
    ).to_have_count(0)


def test_a_new_server_is_mended_and_tested_before_its_first_save(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk
) -> None:
    page = new_form(visitor, stack, asterisk22)
    press_test(page)
    expect(page.locator("#doctor-complaints")).to_contain_text("Secret: Enter the secret.")
    page.locator("#doctor-complaints a").click()
    expect(page.locator("#id_secret")).to_be_focused()
    page.keyboard.type("wrong")
    press_test(page)
    expect(page.locator("#doctor-badge")).to_have_text("Does not work")
    login = step(page, "Login and ACL")
    expect(login).to_contain_text("Authentication failed")
    expect(login).to_contain_text("In manager.conf check that the section [admin] exists, its secret= line")
    expect(step(page, "FullyBooted")).to_contain_text("not reached")
    show(visitor, page, "doctor-wrong-secret")
    fill(page, secret=asterisk22.users["admin"][1])
    expect(page.locator("#doctor-badge")).to_have_text("Changed since this test")
    press_test(page)
    works(
        page, "Name", "TCP", "Banner", "Challenge", "Login and ACL", "FullyBooted", "Version", "First events"
    )
    show(visitor, page, "doctor-works")
    assert not Server.objects.exists()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    assert Server.objects.get().secret.reveal() == asterisk22.users["admin"][1]


def test_a_certificate_is_shown_trusted_and_pinned_before_the_first_save(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk
) -> None:
    page = new_form(visitor, stack, asterisk22)
    page.locator("#id_transport").select_option("tls")
    fill(page, port=asterisk22.tls_port, secret=asterisk22.users["admin"][1])
    press_test(page)
    expect(step(page, "TLS")).to_contain_text("tlscertfile=")
    expect(step(page, "TLS")).to_contain_text("SHA-256")
    show(visitor, page, "doctor-trust-certificate")
    page.get_by_role("button", name="Trust this certificate").click()
    works(page, "TLS", "Login and ACL")
    expect(step(page, "TLS")).to_contain_text("it is the pinned certificate")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    assert Server.objects.get().tls_pin


def test_a_host_key_is_shown_and_trusted_and_the_way_leads_through_ssh(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk, sshd: Sshd
) -> None:
    page = new_form(visitor, stack, asterisk22)
    page.locator("#id_transport").select_option("ssh")
    fill(page, secret=asterisk22.users["admin"][1])
    fill(page, ssh_host="127.0.0.1", ssh_port=sshd.port, ssh_username=sshd.username, ssh_key="no key")
    press_test(page)
    expect(step(page, "SSH tunnel")).to_contain_text("The SSH key can't be read")
    expect(step(page, "SSH tunnel")).to_contain_text("Give the whole text of a private key")
    fill(page, ssh_key=sshd.key)
    press_test(page)
    expect(step(page, "SSH tunnel")).to_contain_text("ssh-ed25519")
    show(visitor, page, "doctor-trust-host-key")
    page.get_by_role("button", name="Trust this host key").click()
    works(page, "SSH tunnel", "Login and ACL", "First events")


def test_a_stored_secret_is_asked_for_again_before_it_goes_to_another_address(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk
) -> None:
    username, secret = asterisk22.users["admin"]
    server = make_server(host=asterisk22.host, port=asterisk22.port, username=username, secret=secret)
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{SERVERS}{server.pk}/change/")
    expect(page.locator("#doctor-start")).to_have_attribute("aria-disabled", "false")
    page.locator("#doctor-stored button").click()  # the same test, on this page
    works(page, "Login and ACL", "First events")
    fill(page, host="localhost")
    press_test(page)
    expect(page.locator("#doctor-complaints")).to_contain_text("Secret: Host changed. Enter the secret again")
    expect(page.locator("#doctor-steps > li")).to_have_count(0)
    show(visitor, page, "doctor-complaint")


def test_without_a_live_connection_the_page_says_so_and_the_saved_server_is_tested(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk
) -> None:
    username, secret = asterisk22.users["admin"]
    server = make_server(host=asterisk22.host, port=asterisk22.port, username=username, secret=secret)
    stack.start("web")
    page = log_in(visitor, stack)
    page.route_web_socket("**/ws/doctor/**", lambda socket: socket.close(code=1011))
    page.goto(f"{stack.url}{SERVERS}{server.pk}/change/")
    expect(page.locator("#doctor-state")).to_contain_text("no live connection to amiweb")
    expect(page.locator("#doctor-start")).to_have_attribute("aria-disabled", "true")
    page.locator("#doctor-stored button").click()
    expect(page.get_by_role("heading", name="Connection test")).to_be_visible()
    expect(page.locator(".aw-steps > li[data-state=ok]").first).to_be_visible()
