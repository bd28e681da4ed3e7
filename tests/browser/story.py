"""The main job, as a person does it: the same steps on a real Asterisk and on the trial's simulator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.browser.chromium import Visitor, expect


@dataclass(frozen=True)
class Stage:
    """Where the story plays.

    Attributes:
        url: of the web process, without a slash at its end.
        username, password: of an administrator of amiweb.
        host, port, account, secret: of the PBX.
        version: what its `core show version` holds.
        channel: a channel that can be originated and makes events by itself.
    """

    url: str
    username: str
    password: str
    host: str
    port: int
    account: str
    secret: str
    version: str
    channel: str


class Administrator:
    """One administrator of amiweb at the browser."""

    def __init__(self, visitor: Visitor, stage: Stage, *, pictures: bool = True) -> None:
        self.visitor = visitor
        self.stage = stage
        self.page = visitor.tab()
        self._pictures = pictures

    def picture(self, name: str, page: Any = None) -> None:
        if self._pictures:
            self.visitor.picture(page or self.page, name)

    def log_in(self) -> None:
        self.page.goto(f"{self.stage.url}/")
        self.picture("login")
        self.page.get_by_label("Username:", exact=True).fill(self.stage.username)
        self.page.get_by_label("Password:", exact=True).fill(self.stage.password)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("navigation", name="amiweb")).to_be_visible()

    def add_server(self, name: str) -> None:
        self.page.goto(f"{self.stage.url}/admin/ami_integration/server/")
        self.picture("servers-before")
        self.page.goto(f"{self.stage.url}/admin/ami_integration/server/add/")
        self.page.get_by_label("Name:", exact=True).fill(name)
        self.page.get_by_label("Host:", exact=True).fill(self.stage.host)
        self.page.get_by_label("Port:", exact=True).fill(str(self.stage.port))
        self.page.get_by_label("Username:", exact=True).fill(self.stage.account)
        self.page.get_by_label("Secret:", exact=True).fill(self.stage.secret)
        self.picture("server-add")
        self.page.get_by_role("button", name="Save and continue editing").click()
        expect(self.page.locator(".messagelist .success")).to_contain_text("added successfully")
        assert self.stage.secret not in self.page.content()
        self.picture("server-change")

    def test_connection(self) -> None:
        self.page.locator("#doctor-start").click()
        expect(self.page.locator("#doctor-badge")).to_have_text("Works")
        steps = self.page.locator("#doctor-steps > li")
        assert steps.evaluate_all("items => items.map(one => one.dataset.state)") == ["ok"] * steps.count()
        expect(self.page.locator("#doctor-steps")).to_contain_text(self.stage.version)
        self.picture("connection-test")

    def wait_until_online(self, name: str) -> None:
        self.page.goto(f"{self.stage.url}/admin/ami_integration/server/")
        row = self.page.locator("#result_list tbody tr", has_text=name)
        for _ in range(40):
            if row.locator('[data-state="online"]').count() and self.stage.version in row.inner_text():
                break
            self.page.wait_for_timeout(500)
            self.page.reload()
        expect(row.locator(".aw-state")).to_have_text("Online")
        expect(row).to_contain_text(self.stage.version)
        self.picture("servers")

    def run(self, server: str, action: str, headers: str = "", *, picture: str = "") -> Any:
        """Run an action by its form, and wait on its page, without a reload, until it has succeeded."""
        self.page.goto(f"{self.stage.url}/admin/ami_integration/actionrun/add/")
        self.page.locator(".request-picker li", has_text=server).get_by_role("checkbox").check()
        self.page.get_by_label("Action:", exact=True).fill(action)
        self.page.get_by_role("button", name="Raw", exact=True).click()
        self.page.get_by_label("Headers:", exact=True).fill(headers)
        if picture:
            self.picture(f"{picture}-form")
        # "Run", or "Preview and confirm" as soon as the page knows that it is more than a look.
        self.page.locator("#request input[name=_run]").click()
        # What does more than look shows first what would be sent.
        confirm = self.page.locator("#confirm-run")
        expect(confirm.or_(self.page.locator("#run-status"))).to_be_visible()
        if confirm.count():
            self.picture(f"{picture or 'run'}-preview")
            confirm.click()
        self.page.wait_for_url(re.compile(r"/actionrun/\d+/change/"))
        expect(self.page.locator("#run-status")).to_have_attribute("data-state", "succeeded")
        if picture:
            self.picture(picture)
        return self.page

    def schedule(self, name: str, server: str) -> None:
        """Let a Ping run every few seconds, and wait until it has run by itself."""
        self.page.goto(f"{self.stage.url}/admin/ami_integration/schedule/")
        self.picture("schedules-before")
        self.page.goto(f"{self.stage.url}/admin/ami_integration/schedule/add/")
        self.page.get_by_label("Name:", exact=True).fill(name)
        self.page.locator(".request-picker li", has_text=server).get_by_role("checkbox").check()
        self.page.get_by_label("Action:", exact=True).fill("Ping")
        self.page.locator("#id_kind").select_option(value="interval")
        self.page.locator("#id_interval_seconds").fill("2 s")
        expect(self.page.locator("#preview-table tbody tr")).to_have_count(10)
        self.picture("schedule-add")
        self.page.get_by_role("button", name="Save", exact=True).click()
        expect(self.page.locator(".messagelist .success")).to_contain_text("added successfully")
        wanted = "origin__exact=schedule&status__exact=succeeded"
        log = f"{self.stage.url}/admin/ami_integration/actionrun/?{wanted}"
        row = self.page.locator("#result_list tbody tr", has_text=name)
        self.page.goto(log)
        for _ in range(40):
            if row.count() >= 2:
                break
            self.page.wait_for_timeout(500)
            self.page.goto(log)
        assert row.count() >= 2, "the schedule did not run by itself"
        self.picture("action-log")
        self.page.goto(f"{self.stage.url}/admin/ami_integration/schedule/")
        self.picture("schedules")
        self.page.get_by_role("link", name=name).click()
        expect(self.page.get_by_role("heading", name="Last times")).to_be_visible()
        self.picture("schedule-change")

    def read_the_version(self, server: str) -> None:
        """Run a CLI command and read its output."""
        page = self.run(server, "Command", "Command: core show version", picture="run-command")
        expect(page.locator("#run-result")).to_contain_text(self.stage.version)

    def watch_a_call(self, server: str) -> None:
        """See a call on the live page, which stands open in a second tab and is not reloaded."""
        live = self.visitor.tab()
        live.goto(f"{self.stage.url}/admin/live/")
        expect(live.locator("#live-state")).to_have_attribute("data-state", "open")
        live.evaluate("window.stillHere = true")
        self.run(
            server,
            "Originate",
            f"Channel: {self.stage.channel}\nApplication: Wait\nData: 1\nCallerID: Ada <1234>",
            picture="run-originate",
        )
        rows = live.locator("#live-rows > li")
        for name in ("Newchannel", "Hangup"):
            expect(rows.filter(has_text=name).first).to_be_visible()
        self.picture("live", live)
        live.get_by_label("Event names").fill("Hangup")
        expect(rows.filter(has_text="Newchannel")).to_have_count(0)
        expect(rows.filter(has_text="Hangup").first).to_be_visible()
        assert live.evaluate("window.stillHere") is True
        live.close()

    def see_calls_by_themselves(self) -> None:
        """What a newcomer sees first: calls on the live page, without doing anything."""
        self.page.goto(f"{self.stage.url}/admin/live/")
        rows = self.page.locator("#live-rows > li")
        expect(rows.filter(has_text="Newchannel").first).to_be_visible()
        seen = rows.count()
        self.page.wait_for_function(
            "seen => document.querySelectorAll('#live-rows > li').length > seen", arg=seen
        )
