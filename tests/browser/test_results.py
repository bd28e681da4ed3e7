"""What came back for a run, in a real browser: ten thousand items, files, secrets, and nothing as HTML."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User

from ami_integration.access.masking import MASK
from ami_integration.actions.catalogue.services import action_describe
from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import run_ring, run_submit
from ami_integration.ami import TCP
from ami_integration.servers.models import ServerHealth
from tests.access.factories import grant
from tests.actions.factories import make_run
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.people import log_in
from tests.browser.test_runs import RUNS
from tests.pbx.asterisk import Asterisk
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]

#: Seconds until a list of ten thousand items is there.
PROMISED = 2
STATES = ("Down", "Ring", "Ringing", "Up")


def channels(number: int) -> list[list[tuple[str, str]]]:
    """Items as CoreShowChannels sends them; strangers chose the names."""
    return [
        [
            ("Event", "CoreShowChannel"),
            ("ActionID", "one"),
            ("Channel", f"PJSIP/{one:05}-{number - one:08x}"),
            ("ChannelState", str(one % 4)),
            ("ChannelStateDesc", STATES[one % 4]),
            ("CallerIDNum", f"+49301{one:05}"),
            ("CallerIDName", f"<b>Caller {one}</b>"),
            ("Language", "en"),
            ("AccountCode", ""),
            ("Context", "office"),
            ("Exten", str(2000 + one % 100)),
            ("Priority", "1"),
            ("Uniqueid", f"1795422835.{one}"),
            ("Linkedid", f"1795422835.{one}"),
            ("Application", "Dial"),
            ("ApplicationData", f"Local/{one:05}@phones/n,30,tT,and,whatever,else,there,is,to,say"),
            ("Duration", f"00:{one % 60:02}:{one % 59:02}"),
            ("BridgeId", "6e3e8a1c-86a1-4b6c-9f6a-4f0bd4a4c0e5"),
        ]
        for one in range(number)
    ]


def ended(**values: object) -> ActionRun:
    return make_run(status="succeeded", action="CoreShowChannels", **values)  # type: ignore[arg-type]


def open_run(page: Handle, stack: Stack, run: ActionRun) -> None:
    page.goto(f"{stack.url}{RUNS}{run.pk}/change/")


def test_ten_thousand_items_are_there_at_once_and_can_be_searched(
    stack: Stack, visitor: Visitor, record_property: pytest.RecordProperty
) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    run = ended(items=channels(10_000), response=[("Response", "Success"), ("EventList", "start")])
    began = time.monotonic()
    open_run(page, stack, run)
    table = page.get_by_role("table", name="Items of the list")
    expect(table.get_by_text("PJSIP/00000-00002710")).to_be_visible(timeout=3 * PROMISED * 1000)
    record_property("seconds", time.monotonic() - began)
    print(f"10,000 items opened in {time.monotonic() - began:.2f} s")
    assert table.locator("tbody tr").count() < 100, "what nobody sees is not in the page"
    expect(page.locator("#run-result b")).to_have_count(0)
    visitor.picture(page, "result-list")

    page.locator(".grid-scroll").evaluate("node => { node.scrollTop = node.scrollHeight }")
    expect(table.get_by_text("PJSIP/09999-00000001")).to_be_visible()

    page.get_by_role("button", name="Channel", exact=True).click()
    page.get_by_role("button", name="Channel", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Channel")
    expect(table.get_by_text("PJSIP/09999-00000001")).to_be_visible()

    search = page.get_by_label("Show rows with this text")
    search.fill("caller 77")
    expect(page.get_by_text("111 of 10,000 items")).to_be_visible()
    page.get_by_label("In which column").select_option(label="in Exten")
    search.fill("2042")
    expect(page.get_by_text("100 of 10,000 items")).to_be_visible()
    search.fill("no such thing")
    expect(page.get_by_text("No item holds this text.")).to_be_visible()
    search.fill("2042")
    page.get_by_role("button", name="Item 9943, whole").click()
    expect(page.locator(".grid-detail")).to_contain_text("<b>Caller 9942</b>")


@pytest.mark.pbx
def test_the_endpoints_of_a_real_asterisk_are_a_table_in_the_catalogues_order(
    stack: Stack, visitor: Visitor, asterisk22: Asterisk
) -> None:
    stack.start("web")
    stack.start("worker")
    page = log_in(visitor, stack)
    username, secret = asterisk22.users["admin"]
    server = make_server(TCP(asterisk22.host, asterisk22.port), username=username, secret=secret)
    ServerHealth.objects.update_or_create(server=server, defaults={"asterisk_version": asterisk22.version})
    run = run_submit(user=None, origin="command", server=server, action="PJSIPShowEndpoints", headers=[])
    open_run(page, stack, run)
    run_ring(run_id=run.pk)
    table = page.get_by_role("table", name="Items of the list")
    expect(page.get_by_text("2,0").first).to_be_visible()
    heads = table.locator("thead th").all_inner_texts()
    described = action_describe(server=server, action="PJSIPShowEndpoints")
    assert described is not None
    wanted = [name for event in described.list_responses for name in event.headers if name in heads]
    assert wanted
    assert [name for name in heads if name in wanted] == wanted
    search = page.get_by_label("Show rows with this text")
    page.get_by_label("In which column").select_option(label="in ObjectName")
    search.fill("2999")
    expect(table.locator("tbody tr:not(.grid-space)")).to_have_count(1)
    visitor.picture(page, "result-endpoints")


def test_a_result_is_taken_away_as_csv_and_as_json(stack: Stack, visitor: Visitor, tmp_path: Path) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    run = ended(items=channels(50))
    open_run(page, stack, run)
    paths = {}
    for kind in ("CSV", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("link", name=kind, exact=True).click()
        paths[kind] = tmp_path / f"list.{kind}"
        download.value.save_as(str(paths[kind]))
        assert download.value.suggested_filename == f"run-{run.pk}.{kind.lower()}"
    with paths["CSV"].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[7]["CallerIDName"]) == (50, "<b>Caller 7</b>")
    assert json.loads(paths["JSON"].read_text())["items"][7][2] == ["Channel", "PJSIP/00007-0000002b"]


def test_the_output_of_a_command_is_shown_and_copied(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    output = "\n".join(f"{one:5} <i>line</i>" for one in range(5_000))
    run = make_run(status="succeeded", action="Command", output=output, response=[("Response", "Success")])
    open_run(page, stack, run)
    expect(page.get_by_role("heading", name="Output (5000 lines)")).to_be_visible()
    expect(page.get_by_label("Output of the command")).to_contain_text(" 4999 <i>line</i>")
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_text("Raw text").click()
    expect(page.get_by_label("Everything that came back, as text")).to_contain_text("Response: Success")
    visitor.picture(page, "result-output")


SECRET = [[("Event", "AuthDetail"), ("Username", "bob"), ("Password", "hunter2")]]


def test_secrets_are_shown_to_those_who_may_see_them(stack: Stack, visitor: Visitor, tmp_path: Path) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    run = make_run(status="succeeded", action="PJSIPShowEndpoint", items=SECRET, note="Not whole: a test.")
    open_run(page, stack, run)
    table = page.get_by_role("table", name="Items of the list")
    expect(table).to_contain_text(MASK)
    expect(page.get_by_text("Not whole: a test.")).to_be_visible()
    visitor.picture(page, "result-masked")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV with secrets").click()
    download.value.save_as(str(tmp_path / "secrets.csv"))
    assert "hunter2" in (tmp_path / "secrets.csv").read_text()
    page.get_by_role("button", name="Show secrets").click()
    expect(table).to_contain_text("hunter2")
    expect(page.get_by_text("the audit has noted that you looked")).to_be_visible()
    page.reload()
    expect(table).to_contain_text(MASK)


def test_an_ordinary_operator_is_told_that_secrets_are_hidden(stack: Stack, visitor: Visitor) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    ada = User.objects.get()
    User.objects.update(is_superuser=False)
    grant(ada)
    ada.user_permissions.set(Permission.objects.filter(codename__in=("view_actionrun", "add_actionrun")))
    run = make_run(status="succeeded", items=SECRET)
    open_run(page, stack, run)
    expect(page.get_by_text("Secrets are hidden.")).to_be_visible()
    expect(page.get_by_role("button", name="Show secrets")).to_have_count(0)
