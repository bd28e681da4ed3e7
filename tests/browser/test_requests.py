"""Form, preview, fan-out and template, in a real browser: by keyboard, at 390 px, and in the dark."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.utils import timezone

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument
from ami_integration.actions.catalogue.services import action_describe, catalogue_sync
from ami_integration.actions.models import ActionRun, ActionTemplate, FanOut
from ami_integration.ami import TCP, quote_variable
from ami_integration.servers.models import Server, ServerHealth, Tag
from tests.actions.catalogue.making import MUTE, ORIGINATE, PING, make_catalogue
from tests.ami.scripted import Peer, scripted
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.people import log_in
from tests.pbx.asterisk import Asterisk
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]
ADD = "/admin/ami_integration/actionrun/add/"


def shown_servers() -> list[Server]:
    """Three servers as a person has them: with states, tags, and a catalogue."""
    servers = [make_server(name=name) for name in ("Berlin", "Bonn", "Köln am Rhein")]
    rhine = Tag.objects.create(name="rhine")
    for server in servers:
        ServerHealth.objects.create(server=server, state="online", last_seen_at=timezone.now())
    for server in servers[1:]:
        server.tags.add(rhine)
    make_catalogue(actions=[PING, ORIGINATE, MUTE], servers=servers)
    return servers


def field(page: Handle, name: str) -> Handle:
    return page.locator(f'.request-field[data-name="{name}"]')


def test_the_form_is_made_of_what_the_pbx_says_and_raw_mode_loses_nothing(
    stack: Stack, visitor: Visitor
) -> None:
    servers = shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?server={servers[0].pk}")
    visitor.picture(page, "request-empty")
    # The action, by keyboard alone.
    action = page.get_by_label("Action:", exact=True)
    expect(action).to_be_focused()
    page.keyboard.type("zzz")
    expect(page.get_by_text("No action of these servers fits.")).to_be_visible()
    visitor.picture(page, "request-nothing")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("chan")
    expect(page.get_by_role("option")).to_have_count(2)
    expect(page.get_by_text("No action of these servers fits.")).to_have_count(0)
    visitor.picture(page, "request-typeahead")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(action).to_have_value("Originate")
    expect(page.locator("#request-known")).to_contain_text("Make a call.")
    expect(page.locator("#request-class")).to_contain_text("Class originate")
    field(page, "channel").get_by_role("textbox").fill("PJSIP/100")
    field(page, "async").get_by_role("combobox").select_option("true")
    field(page, "variable").get_by_role("button", name="Add", exact=True).click()
    page.keyboard.type("GREETING")
    page.keyboard.press("Tab")
    greeting = 'Hello, "w\\o(r)[ld]'
    page.keyboard.type(greeting)
    field(page, "").get_by_role("button", name="Add a header").click()
    page.keyboard.type("X-Mine")
    page.keyboard.press("Tab")
    page.keyboard.type("a: b")
    visitor.picture(page, "request-form")
    # A value without a name can't be written, so it is asked for instead of being lost.
    field(page, "").get_by_role("button", name="Add a header").click()
    page.get_by_label("Value of the header").last.fill("whose?")
    page.get_by_role("button", name="Raw").click()
    expect(page.get_by_text("Name the header whose value is “whose?”, or remove it.")).to_be_visible()
    expect(page.get_by_label("Name of the header").last).to_be_focused()
    page.get_by_role("button", name="Remove this header").last.click()
    page.get_by_role("button", name="Raw").click()
    quoted = quote_variable(greeting)
    raw = f"Channel: PJSIP/100\nAsync: true\nVariable: GREETING={quoted}\nX-Mine: a: b"
    headers = page.get_by_label("Headers:", exact=True)
    expect(headers).to_have_value(raw)
    visitor.picture(page, "request-raw")
    # What the fields can't take apart stays as it is.
    odd = f"{raw}\nvariable: a=1,b=2\nExten: one\nExten: two\nEmpty:"
    headers.fill(odd)
    page.get_by_role("button", name="Form").click()
    expect(field(page, "variable").get_by_label("Name of the variable")).to_have_value("GREETING")
    expect(field(page, "variable").get_by_label("Value of the variable")).to_have_value(greeting)
    expect(field(page, "exten").get_by_role("textbox")).to_have_count(2)
    page.get_by_role("button", name="Raw").click()
    expect(headers).to_have_value(odd)
    headers.fill("no header")
    page.get_by_role("button", name="Form").click()
    expect(page.locator("#mode-said")).to_contain_text("Line 1 is not a header")
    expect(headers).to_have_value("no header")


def test_mistakes_stand_beside_their_fields_before_anything_is_sent(stack: Stack, visitor: Visitor) -> None:
    servers = shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?server={servers[0].pk}&action=MuteAudio&headers=Direction:%20sideways")
    expect(field(page, "direction")).to_be_visible()
    page.get_by_role("button", name="Preview and confirm").click()
    expect(field(page, "channel").locator(".request-error")).to_have_text("Channel is required.")
    expect(field(page, "direction").locator(".request-error")).to_contain_text("It lists: in, out")
    expect(field(page, "channel").get_by_role("textbox")).to_be_focused()
    visitor.picture(page, "request-mistakes")
    color = "one => getComputedStyle(one).borderTopColor"
    wrong = field(page, "direction").get_by_role("combobox").evaluate(color)
    plain = page.locator("#id_action").evaluate(color)
    assert wrong != plain
    # What isn't wrong doesn't look so.
    page.get_by_role("button", name="Add a header").click()
    assert page.get_by_label("Value of the header").evaluate(color) == plain
    page.get_by_role("button", name="Remove this header").click()
    field(page, "channel").get_by_role("textbox").fill("PJSIP/1")
    page.get_by_label("Send it all the same").check()
    page.get_by_role("button", name="Preview and confirm").click()
    expect(page.locator(".request-lead")).to_contain_text("Nothing has been sent yet")
    assert not ActionRun.objects.exists()
    # What no insisting helps against, of a header that the PBX doesn't describe.
    page.goto(f"{stack.url}{ADD}?server={servers[0].pk}&action=Originate&headers=Channel:%20x%0ATimeout:%200")
    page.get_by_role("button", name="Preview and confirm").click()
    expect(field(page, "").locator(".request-error")).to_contain_text("no whole number above 0")
    expect(page.get_by_label("Name of the header")).to_be_focused()


def described(name: str, *arguments: str, required: tuple[str, ...] = ()) -> ActionDescription:
    """An action with these headers, `!` behind those that are either true or false."""
    return ActionDescription(
        name,
        synopsis="Do it.",
        arguments=tuple(
            Argument(
                each.strip("!"),
                required=each.strip("!") in required,
                boolean=("true", "false") if each.endswith("!") else None,
            )
            for each in arguments
        ),
        privileges=("call", "all"),
    )


CALL = described(
    "Originate",
    *("Channel", "Exten", "Context", "Priority", "Application", "Data", "Timeout", "CallerID", "Variable"),
    *("Account", "EarlyMedia!", "Async!", "Codecs", "ChannelId"),
    required=("Channel",),
)
REDIRECT = described(
    "Redirect",
    *("Channel", "ExtraChannel", "Exten", "ExtraExten", "Context", "ExtraContext", "Priority"),
    "ExtraPriority",
    required=("Channel", "Exten", "Context", "Priority"),
)
PAUSE = described("QueuePause", "Interface", "Paused!", "Penalty", "Sure!", required=("Interface", "Paused"))


def names_of(fields: Handle) -> list[str]:
    names: list[str] = fields.evaluate_all("all => all.map(one => one.dataset.name)")
    return names


def test_what_belongs_together_stands_together_and_what_is_rare_is_folded_away(
    stack: Stack, visitor: Visitor
) -> None:
    server = make_server()
    make_catalogue(actions=[CALL, REDIRECT, PAUSE], servers=[server])
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?server={server.pk}&action=originate&headers=Codecs:%20ulaw")
    group = page.get_by_role("group", name="Then it goes to an extension …")
    expect(group).to_be_visible()
    assert names_of(group.locator(".request-field")) == ["exten", "context", "priority"]
    expect(group.get_by_label("Priority:", exact=True)).to_have_attribute("placeholder", "1")
    shown = page.locator("#request-fields .request-field:visible")
    assert names_of(shown) == [
        *("channel", "callerid", "exten", "context", "priority", "application", "data", "timeout"),
        *("variable", "async", "codecs", ""),  # Codecs because it is given
    ]
    expect(page.get_by_text("3 more headers")).to_be_visible()
    visitor.picture(page, "request-originate")
    # A header is written where the PBX has it, wherever its field stands.
    for name, value in (("CallerID", "100"), ("Exten", "200")):
        page.get_by_label(f"{name}:", exact=True).fill(value)
    expect(page.locator("#id_headers")).to_have_value("Exten: 200\nCallerID: 100\nCodecs: ulaw")
    page.goto(f"{stack.url}{ADD}?server={server.pk}&action=Redirect")
    expect(page.get_by_text("A second channel")).to_be_visible()
    expect(field(page, "extrachannel")).to_be_hidden()
    visitor.picture(page, "request-redirect")
    page.get_by_text("A second channel").click()
    shown = page.locator("details .request-field:visible")
    assert names_of(shown) == ["extrachannel", "extraexten", "extracontext", "extrapriority"]
    page.goto(f"{stack.url}{ADD}?server={server.pk}&action=Redirect&headers=ExtraChannel:%20PJSIP/1")
    expect(field(page, "extraexten")).to_be_visible()
    page.goto(f"{stack.url}{ADD}?server={server.pk}&action=QueuePause")
    for name, nothing in (("paused", "– choose –"), ("sure", "– not sent –")):
        expect(field(page, name).locator("option").first).to_have_text(nothing)
    visitor.picture(page, "request-pause")


def test_the_first_button_says_whether_it_runs_or_asks(stack: Stack, visitor: Visitor) -> None:
    server = make_server()
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?server={server.pk}&action=Command&headers=Command:%20core%20show%20uptime")
    run, preview = (page.locator(f"#request input[name={name}]") for name in ("_run", "_preview"))
    said = page.locator("#request-class")
    expect(said).to_contain_text("It runs at once.")
    expect(run).to_have_value("Run")
    expect(preview).to_be_visible()
    page.get_by_label("Headers:", exact=True).fill("Command: core stop now")
    expect(run).to_have_value("Preview and confirm")
    expect(preview).to_be_hidden()
    page.get_by_label("Headers:", exact=True).fill("no header")
    expect(run).to_have_value("Run")
    expect(said).to_contain_text("anything else shows exactly what would be sent")
    # A header that a button takes away counts too.
    page.get_by_label("Headers:", exact=True).fill("Command: core stop now")
    page.get_by_role("button", name="Form", exact=True).click()
    expect(run).to_have_value("Preview and confirm")
    page.get_by_role("button", name="Remove this header").click()
    expect(page.locator("#request-class .aw-danger")).to_have_text("Command")


def test_a_grave_request_wants_the_tag_typed(stack: Stack, visitor: Visitor) -> None:
    shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?tag=rhine&action=Reload")
    expect(page.locator("#request-count")).to_have_text("2 chosen")
    visitor.picture(page, "request-tag")
    page.get_by_role("button", name="Preview and confirm").click()
    button = page.get_by_role("button", name="Run on 2 servers")
    expect(button).to_be_disabled()
    visitor.picture(page, "request-preview-typed")
    page.keyboard.type("Rhine")  # its field has the focus
    expect(button).to_be_enabled()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/fanout/\d+/change/"))
    assert FanOut.objects.get().target == "rhine"


def test_a_refused_preview_says_which_server_and_what_changed(stack: Stack, visitor: Visitor) -> None:
    servers = shown_servers()
    Server.objects.filter(pk=servers[0].pk).update(maintenance=True)
    stack.start("web")
    page = log_in(visitor, stack)
    query = "&".join(f"server={server.pk}" for server in servers)
    page.goto(f"{stack.url}{ADD}?{query}&action=Reload")
    page.get_by_role("button", name="Preview and confirm").click()
    expect(page.get_by_role("alert")).to_contain_text("you may not run this on 1 of the 3 servers")
    expect(page.get_by_role("row").filter(has_text="Berlin")).to_contain_text("in maintenance")
    visitor.picture(page, "request-preview-refused")
    page.get_by_role("button", name="Leave them out, look again").click()
    expect(page.locator(".request-lead")).to_contain_text("Nothing has been sent yet")
    Server.objects.filter(pk=servers[1].pk).update(host="192.0.2.77")
    expect(page.locator("#id_typed")).to_be_focused()
    page.keyboard.type(page.locator("#phrase").inner_text())
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("it is not what you looked at")
    expect(page.get_by_role("alert")).to_contain_text("Bonn")
    visitor.picture(page, "request-preview-changed")
    assert not ActionRun.objects.exists()


def test_many_servers_are_filtered_and_ticked_by_what_is_shown(stack: Stack, visitor: Visitor) -> None:
    berlin = Tag.objects.create(name="berlin")
    for number in range(30):
        server = make_server(name=f"Branch {number:02}")
        if number % 3 == 0:
            server.tags.add(berlin)
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?action=Ping")
    page.get_by_label("Filter").fill("berlin 1")
    expect(page.locator(".request-picker li:visible")).to_have_count(4)  # 12, 15, 18, 21
    page.keyboard.press("Enter")  # sends nothing
    page.get_by_role("button", name="Tick all shown").click()
    expect(page.locator("#request-count")).to_have_text("4 chosen")
    page.get_by_label("Filter").fill("")
    visitor.picture(page, "request-many")
    page.get_by_role("button", name="Untick all").click()
    expect(page.locator("#request-count")).to_have_text("none chosen")
    page.get_by_label("Tag:", exact=True).select_option("berlin")
    expect(page.locator("#request-count")).to_have_text("10 chosen")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="10 servers with the tag berlin")).to_be_visible()


def test_several_lines_pasted_into_a_field_are_refused_beside_it(stack: Stack, visitor: Visitor) -> None:
    servers = shown_servers()
    stack.start("web")
    page = log_in(visitor, stack)
    page.goto(f"{stack.url}{ADD}?server={servers[0].pk}&action=Originate")
    box = field(page, "channel").get_by_role("textbox")
    paste = """(input, text) => {
        const data = new DataTransfer();
        data.setData("text", text);
        const how = {clipboardData: data, bubbles: true, cancelable: true};
        input.dispatchEvent(new ClipboardEvent("paste", how));
    }"""
    box.evaluate(paste, "PJSIP/1\r\nAction: Logoff")
    expect(field(page, "channel").locator(".request-error")).to_contain_text("AMI can't carry line ends")
    expect(box).to_have_value("")


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else will: it is bound, and refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@contextmanager
def fleet(*refusing: int, count: int = 3) -> Iterator[list[Server]]:
    """Scripted PBXs; those of these numbers refuse what they are asked."""

    def script(refuses: bool):  # type: ignore[no-untyped-def]
        def play(peer: Peer) -> None:
            peer.log_in()
            while True:
                action = peer.hear()
                if refuses:
                    peer.answer(action, "Message: No such <b>queue</b>", response="Error")
                else:
                    peer.answer(action, "Message: Interface paused successfully")

        return play

    with ExitStack() as stack:
        yield [
            make_server(stack.enter_context(scripted(script(number in refusing))), name=f"PBX {number}")
            for number in range(count)
        ]


def test_a_fan_out_shows_each_server_live_and_retries_only_the_failed(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    stack.start("worker")
    page = log_in(visitor, stack)
    with fleet(1) as servers:
        query = "&".join(f"server={server.pk}" for server in servers)
        page.goto(f"{stack.url}{ADD}?{query}&action=QueuePause&headers=Interface:%20PJSIP/1%0APaused:%20true")
        page.get_by_label("Order:", exact=True).select_option("serial")
        page.get_by_role("button", name="Preview and confirm").click()
        expect(page.locator(".aw-pre")).to_contain_text("Interface: PJSIP/1")
        visitor.picture(page, "request-preview")
        page.get_by_role("button", name="Run on 3 servers").click()
        expect(page.locator("#fanout-status")).to_have_text("Finished")
        expect(page.locator("#fanout-words")).to_have_text("3 of 3 done: 2 succeeded, 1 failed.")
        row = page.locator("#fanout-rows tr", has_text="PBX 1")
        expect(row).to_contain_text("No such <b>queue</b>")
        expect(page.locator("#fanout-rows b")).to_have_count(0)
        row.get_by_text("Result").click()
        expect(row.locator("pre")).to_contain_text("Response: Error")
        visitor.picture(page, "fanout")
        page.get_by_role("button", name="Failed (1)", exact=True).click()
        expect(page.locator("#fanout-rows tr:visible")).to_have_count(1)
        page.get_by_role("button", name="Retry only the failed (1)").click()
        page.get_by_role("button", name="Run on PBX 1").click()
        page.wait_for_url(re.compile(r"/actionrun/\d+/change/"))
        expect(page.locator("#run-status")).to_have_text("Failed")
    page.goto(f"{stack.url}/admin/ami_integration/fanout/")
    visitor.picture(page, "fanouts")
    first = FanOut.objects.get()
    page.get_by_role("link", name=str(first.pk), exact=True).click()
    expect(page.locator("#fanout-retry")).to_be_hidden()


def test_what_is_queued_is_cancelled_and_a_template_is_kept_and_run(stack: Stack, visitor: Visitor) -> None:
    servers = shown_servers()
    stack.start("web")  # and no worker: everything stays queued
    page = log_in(visitor, stack)
    query = "&".join(f"server={server.pk}" for server in servers[:2])
    page.goto(f"{stack.url}{ADD}?{query}&action=Originate&headers=Channel:%20PJSIP/100%0ASecret:%20hunter2")
    page.get_by_role("button", name="Preview and confirm").click()
    page.get_by_role("button", name="Run on 2 servers").click()
    expect(page.locator("#fanout-words")).to_have_text("0 of 2 done: 2 queued.")
    visitor.picture(page, "fanout-live")
    page.get_by_role("button", name="Cancel what is queued").click()
    expect(page.locator("#fanout-status")).to_have_text("Cancelled")
    visitor.picture(page, "fanout-cancelled")
    page.get_by_role("link", name="Keep as a template").click()
    page.get_by_label("Name:", exact=True).fill("Call somebody")
    headers = page.get_by_label("Headers:", exact=True)
    expect(headers).to_have_value("Channel: PJSIP/100\nSecret: ********\nAsync: true")
    headers.fill("Channel: PJSIP/{{exten}}\nSecret: ********\nAsync: true")
    visitor.picture(page, "template-add")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("added successfully")
    visitor.picture(page, "templates")
    template = ActionTemplate.objects.get()
    assert template.headers_in_clear()[:2] == [("Channel", "PJSIP/{{exten}}"), ("Secret", "hunter2")]
    page.get_by_role("link", name="Run", exact=True).click()
    expect(page.locator("#request-count")).to_have_text("2 chosen")
    page.get_by_label("exten:", exact=True).fill("200")
    visitor.picture(page, "request-template")
    page.get_by_role("button", name="Preview and confirm").click()
    expect(page.locator(".aw-pre")).to_contain_text("Channel: PJSIP/200")
    expect(page.locator(".aw-pre")).to_contain_text("Secret: ********")


@pytest.mark.pbx
def test_the_form_and_a_fan_out_on_a_real_asterisk_beside_a_dead_server(
    asterisk22: Asterisk, stack: Stack, visitor: Visitor
) -> None:
    account, secret = asterisk22.users["admin"]
    where = TCP(asterisk22.host, asterisk22.port)
    alive = make_server(where, name="Head office", username=account, secret=secret)
    with closed_port() as port:
        dead = make_server(TCP("127.0.0.1", port), name="Branch")
        catalogue_sync(server=alive)
        stack.start("web")
        stack.start("worker")
        page = log_in(visitor, stack)
        for action in ("Originate", "UpdateConfig", "QueuePause"):
            page.goto(f"{stack.url}{ADD}?server={alive.pk}&action={action}")
            described = action_describe(server=alive, action=action)
            assert described is not None
            # Every argument that the PBX names has its field, and one is left for other headers.
            expect(page.locator(".request-field")).to_have_count(len(described.arguments) + 1)
            required = [each.name.lower() for each in described.arguments if each.required]
            shown = page.locator(".request-field[data-required]")
            assert shown.evaluate_all("all => all.map(one => one.dataset.name)") == required
            visitor.picture(page, f"request-real-{action.lower()}")
        page.goto(f"{stack.url}{ADD}?server={alive.pk}&server={dead.pk}&action=CoreStatus")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#fanout-words")).to_have_text("2 of 2 done: 1 succeeded, 1 failed.")
        row = page.locator("#fanout-rows tr", has_text="Head office")
        row.get_by_text("Result").click()
        expect(row.locator("pre")).to_contain_text("CoreStartupTime")
        expect(page.locator("#fanout-rows tr", has_text="Branch")).to_contain_text("Not sent")
        visitor.picture(page, "fanout-real")
