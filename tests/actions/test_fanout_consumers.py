"""The WebSocket of a fan-out's page, through the whole of ASGI and over the real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from ami_integration.access.models import AccessRule
from ami_integration.actions import services
from ami_integration.actions.consumers import CLOSE_FORBIDDEN, CLOSE_GONE
from ami_integration.actions.models import ActionRun, FanOut
from amiweb.asgi import application
from tests.access.factories import make_person
from tests.actions.asking import make_servers, person_on
from tests.actions.test_consumers import cookie_of, in_thread
from tests.actions.test_fanout_admin import make_fanout
from tests.websocket import WebSocket

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]
WAIT = 15  # seconds: three times what the page promises


def socket(fanout: FanOut, cookie: str) -> WebSocket:
    cookies = {settings.SESSION_COOKIE_NAME: cookie}
    return WebSocket(application, f"/ws/fanouts/{fanout.pk}/", cookies=cookies)


@asynccontextmanager
async def watching(fanout: FanOut, person: User) -> AsyncIterator[WebSocket]:
    page = socket(fanout, await in_thread(cookie_of, person))
    assert await page.connect(WAIT)
    yield page
    await page.disconnect(WAIT)


def boss() -> User:
    return User.objects.create_superuser("boss")


async def test_the_first_message_has_all_rows_and_the_next_only_what_changed() -> None:
    fanout = await in_thread(make_fanout, "queued", "queued", "failed")
    async with watching(fanout, await in_thread(boss)) as page:
        first = await page.receive(WAIT)
        assert [row["status"] for row in first["rows"]] == ["queued", "queued", "failed"]
        run_id = int(first["rows"][1]["id"])
        assert await in_thread(ActionRun.objects.claim, run_id, "w")
        await in_thread(services.doorbell.push_fanout, fanout.pk)
        second = await page.receive(WAIT)
    assert [(row["id"], row["status"]) for row in second["rows"]] == [(str(run_id), "running")]
    assert second["summary"]["total"] == 3


async def test_a_change_without_a_push_is_found_all_the_same() -> None:
    fanout = await in_thread(make_fanout, "queued")
    async with watching(fanout, await in_thread(boss)) as page:
        await page.receive(WAIT)
        run = await in_thread(fanout.runs.get)
        await in_thread(ActionRun.objects.cancel, run.pk, "Taken back.")
        assert (await page.receive(WAIT))["rows"][0]["reason"] == "Taken back."


async def test_a_stranger_and_somebody_elsewhere_are_refused() -> None:
    servers = await in_thread(make_servers, 2)
    fanout = await in_thread(lambda: make_fanout("failed", servers=servers[:1]))
    for person in (
        await in_thread(make_person, "stranger"),
        await in_thread(lambda: person_on(servers[1], username="elsewhere")),
    ):
        page = socket(fanout, await in_thread(cookie_of, person))
        assert not await page.connect(WAIT)
    viewer = await in_thread(lambda: person_on(servers[0], dangers=("read",), username="viewer"))
    async with watching(fanout, viewer) as page:
        assert len((await page.receive(WAIT))["rows"]) == 1


async def test_who_loses_the_right_while_looking_is_sent_away() -> None:
    servers = await in_thread(make_servers, 1)
    fanout = await in_thread(lambda: make_fanout("failed", servers=servers))
    viewer = await in_thread(lambda: person_on(servers[0], dangers=("read",), username="viewer"))
    page = socket(fanout, await in_thread(cookie_of, viewer))
    assert await page.connect(WAIT)
    await page.receive(WAIT)
    await in_thread(AccessRule.objects.all().delete)
    assert await page.close_code(WAIT) == CLOSE_FORBIDDEN


async def test_a_fan_out_that_is_gone_closes_its_page() -> None:
    fanout = await in_thread(make_fanout, "failed")
    page = socket(fanout, await in_thread(cookie_of, await in_thread(boss)))
    assert await page.connect(WAIT)
    await page.receive(WAIT)
    await in_thread(FanOut.objects.filter(pk=fanout.pk).delete)
    assert await page.close_code(WAIT) == CLOSE_GONE
