"""A PBX that attacks: through the real processes into a real browser, files, logs and a terminal."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from typing import Any

import pytest

from ami_integration.actions.models import ActionRun
from ami_integration.actions.services import run_submit
from ami_integration.events.models import Event
from tests.browser.chromium import Handle, Visitor, expect
from tests.browser.everything import CANARY
from tests.browser.live import open_live
from tests.browser.people import log_in
from tests.hostile_pbx import LARGE, hostile_pbx
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


def is_harmless(text: str, *, what: str) -> None:
    """What a terminal shows: lines, and nothing that steers it."""
    for line in text.split("\n"):
        assert line.isprintable(), f"{what}: {line!r}"


def command(stack: Stack, *words: str) -> str:
    """What a command of amiweb says in a terminal."""
    import os

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


def test_nothing_that_a_pbx_says_is_more_than_text(stack: Stack, visitor: Visitor) -> None:
    for name in PROCESSES:
        stack.start(name)
    page = log_in(visitor, stack)
    open_live(stack, page)
    with hostile_pbx() as transport:
        server = make_server(transport)
        runs = [
            run_submit(user=None, origin="command", server=server, action=action, headers=[])
            for action in ("Ping", "Evil", "CoreShowChannels", "CoreStatus")
        ]
        expect(page.locator("#live-rows > li").filter(has_text="Last").first).to_be_visible()
        page.locator("#live-rows > li .aw-event-line").first.click()
        nothing_ran(page)
        visitor.picture(page, "hostile-live")

        said = [command(stack, word, server.name) for word in ("ami_doctor", "sync_catalogue")]
        said.append(command(stack, "status"))
        for text in said:
            is_harmless(text, what="a command")
        ended = ActionRun.objects.filter(finished_at__isnull=False)
        wait_until(lambda: ended.count() == len(runs), seconds=60, what=lambda: stack.log("worker"))

        admin = f"{stack.url}/admin/ami_integration/"
        looks = ["event/history/", "server/", f"server/{server.pk}/change/", "catalogueaction/", "catalogue/"]
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
