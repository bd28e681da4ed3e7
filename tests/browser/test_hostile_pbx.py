"""A PBX that attacks: through the real processes into a real browser, files, logs and a terminal."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.actions.services import run_submit
from ami_integration.actions.submission import request_submit
from ami_integration.ami import Timeouts, fetch_certificate
from ami_integration.events.models import Event
from ami_integration.servers.models import Server
from tests.actions.asking import look_at
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.everything import CANARY, fill
from tests.browser.live import open_live
from tests.browser.people import log_in
from tests.browser.steering import STEERED
from tests.hostile_pbx import LARGE, hostile_pbx, hostile_ssh, hostile_tls_pbx
from tests.polling import wait_until
from tests.processes import ROOT, Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.browser, pytest.mark.processes]

PROCESSES = ("web", "worker", "listener", "recorder")
#: How a line of a log may begin: a record, or a part of a traceback.
RECORD = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) \d+ [\w.]+: |\| "
)
FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def nothing_ran(page: Handle) -> None:
    """No script of the PBX's ran, and none of its words became an element."""
    assert not page.evaluate("name => name in window", CANARY), page.url
    made = page.locator(
        "img[src='x'], svg[onload], #content script:not([src]):not([type='application/json'])"
    )
    assert made.count() == 0, page.url
    assert page.evaluate(STEERED, False) == [], page.url


def is_harmless(text: str, *, what: str) -> None:
    """What a terminal shows: lines, and nothing that steers it."""
    for line in text.split("\n"):
        assert line.isprintable(), f"{what}: {line!r}"


def command(stack: Stack, *words: str) -> str:
    """What a command of amiweb says in a terminal."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=os.environ | stack.env, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout.decode()


def cells(text: str) -> list[str]:
    before = csv.field_size_limit(2 * LARGE)
    try:
        return [cell for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) for cell in row]
    finally:
        csv.field_size_limit(before)


def fan_out_everywhere(action: str) -> FanOut:
    """The same action on every server."""
    user = User.objects.get()
    preview = look_at(user, list(Server.objects.order_by("name")), action)
    fanout = request_submit(user=user, token=preview.token, confirmed=True, typed=preview.phrase).fanout
    assert fanout is not None
    return fanout


def test_nothing_that_a_pbx_says_is_more_than_text(stack: Stack, visitor: Visitor, tmp_path: Path) -> None:
    for name in PROCESSES:
        stack.start(name)
    page = log_in(visitor, stack)
    open_live(stack, page)
    with hostile_pbx() as transport, hostile_tls_pbx(tmp_path) as secured:
        server = make_server(transport)
        pin = fetch_certificate(secured, Timeouts()).fingerprint
        paris = make_server(secured, name="Paris", tls_pin=pin)
        runs = [
            run_submit(user=None, origin="command", server=server, action=action, headers=headers)
            for action, headers in (
                ("Ping", []), ("Evil", []), ("CoreShowChannels", []), ("CoreStatus", []),
                ("GetConfig", [("Filename", "pjsip.conf")]),
            )
        ]  # fmt: skip
        fanout = fan_out_everywhere("CoreShowChannels")
        expect(page.locator("#live-rows > li").filter(has_text="Last").first).to_be_visible()
        page.locator("#live-rows > li .aw-event-line").first.click()
        nothing_ran(page)
        visitor.picture(page, "hostile-live")

        said = [command(stack, word, server.name) for word in ("ami_doctor", "sync_catalogue")]
        said.append(command(stack, "status"))
        for text in said:
            is_harmless(text, what="a command")
        ended = ActionRun.objects.filter(finished_at__isnull=False)
        wait_until(lambda: ended.count() == len(runs) + 2, seconds=60, what=lambda: stack.log("worker"))
        assert ActionRun.objects.get(action="GetConfig").response

        admin = f"{stack.url}/admin/ami_integration/"
        looks = ["event/history/", "server/", f"server/{server.pk}/change/", "catalogueaction/", "catalogue/"]
        looks += [f"server/{server.pk}/", f"server/{paris.pk}/"]
        looks += [
            "actionrun/",
            *(f"actionrun/{run.pk}/change/" for run in runs),
            "gap/",
            "snapshot/",
            "event/",
        ]
        looks += ["catalogueaction/Evil/", "actionrun/add/?action=Evil", "auditentry/"]
        for look in looks:
            page.goto(admin + look)
            page.wait_for_load_state("load")
            nothing_ran(page)
        for row in Event.objects.order_by("pk")[:40]:
            assert "\0" not in str(row.headers)
        page.goto(f"{stack.url}/admin/status/")
        nothing_ran(page)
        page.goto(f"{admin}fanout/{fanout.pk}/change/")
        results = page.locator("#fanout-rows details")
        expect(results).to_have_count(2)
        for place in range(2):
            results.nth(place).locator("summary").click()
            expect(results.nth(place).locator("pre")).to_contain_text(CANARY)
        nothing_ran(page)
        visitor.picture(page, "hostile-fanout")
        page.goto(f"{admin}server/{paris.pk}/")
        expect(page.locator("#server-part")).to_contain_text(CANARY)  # its certificate's subject
        visitor.picture(page, "hostile-server")

        files = ["event/history/events.csv?range=3600", *(f"actionrun/{run.pk}/export.csv" for run in runs)]
        for file in files:
            answer: Any = page.request.get(admin + file)
            assert answer.status == 200, file
            name = answer.headers["content-disposition"]
            assert re.fullmatch(r'attachment; filename="[a-z0-9-]+\.csv"', name), name
            assert answer.headers["content-type"].startswith("text/csv")
            found = cells(answer.body().decode())
            assert len(found) > 5, file
            for cell in found:
                assert not FORMULA.match(cell) or re.fullmatch(r"[+-]?\d[\d.]*", cell), f"{file}: {cell!r}"
        answer = page.request.get(admin + "event/history/events.json?range=3600")
        assert CANARY in answer.text()
        assert answer.headers["content-type"].startswith("application/")
    for name in PROCESSES:
        stack.stop(name)
        log = stack.log(name)
        is_harmless(log, what=name)
        forged = [line for line in log.split("\n") if "forged" in line and not RECORD.match(line)]
        assert forged == [], f"{name}: {forged}"


def test_no_door_that_the_doctor_knocks_at_says_more_than_text(
    stack: Stack, visitor: Visitor, tmp_path: Path
) -> None:
    stack.start("web")
    page = log_in(visitor, stack)
    with hostile_pbx() as plain, hostile_tls_pbx(tmp_path) as secured, hostile_ssh() as ssh:
        account = {"ssh_username": "amiweb", "ssh_password": "word"}
        rome = make_server(plain, name="Rome", ssh_host=ssh.host, ssh_port=ssh.port, **account)
        rome.transport = Server.Transport.SSH
        rome.save()
        paris = make_server(secured, name="Paris")
        ways = {make_server(plain): "First events", paris: "TLS", rome: "SSH tunnel"}
        for server, last in ways.items():
            page.goto(f"{stack.url}/admin/ami_integration/server/{server.pk}/change/")
            expect(page.locator("#doctor-start")).to_have_attribute("aria-disabled", "false")
            page.locator("#doctor-start").click()
            expect(page.locator("#doctor-badge")).to_have_text(re.compile("Works|Does not work"))
            steps = page.locator("#doctor-steps > li:not([data-state=waiting])")
            expect(steps.last).to_contain_text(last)
            nothing_ran(page)
            for text in page.locator("#doctor-steps").all_inner_texts():
                is_harmless(text.replace("\xa0", " "), what=server.name)  # ours, between numbers and units
            page.locator("#doctor-title").evaluate("title => title.scrollIntoView()")
            visitor.picture(page, f"hostile-doctor-{server.name}")


def test_this_test_would_notice_a_page_that_escapes_nothing(stack: Stack, visitor: Visitor) -> None:
    stack.start("web", env={"DJANGO_SETTINGS_MODULE": "tests.browser.unescaped"})
    visitor.allow("")
    page = log_in(visitor, stack)
    fill()
    for look in ("catalogueaction/Evil/", f"server/{Server.objects.earliest('pk').pk}/"):
        page.goto(f"{stack.url}/admin/ami_integration/{look}")
        with pytest.raises(AssertionError):
            nothing_ran(page)
