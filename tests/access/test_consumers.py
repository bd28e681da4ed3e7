"""Open pages while Valkey is away: real sockets on the real web process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ami_integration.access.consumers import PageConsumer
from ami_integration.actions.models import ActionRun
from ami_integration.audit.models import AuditEntry
from tests.actions.factories import make_run
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
WAIT = 20.0  # seconds


class Page:
    """One page's end of a socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def subscribe(self, server: int | None) -> None:
        wish = {"type": "subscribe", "seq": 1, "server": None if server is None else str(server)}
        await self.connection.send(json.dumps(wish))

    async def until(self, **wanted: Any) -> None:
        """Read on until a message that says this."""
        async with asyncio.timeout(WAIT):
            while not wanted.items() <= json.loads(await self.connection.recv()).items():
                pass

    async def close_code(self) -> int:
        with pytest.raises(ConnectionClosed) as closed:
            await self.until(type="nothing that exists")
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code


class Browser:
    """Somebody who may see everything, logged in at the web process."""

    def __init__(self, stack: Stack) -> None:
        client = Client()
        client.force_login(User.objects.create_superuser("ada"))
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        self.headers = {"Cookie": f"amiweb-session-{stack.port}={cookie}"}
        self.url = stack.url

    async def open(self, path: str) -> Page:
        address = self.url.replace("http://", "ws://") + path
        origin: Any = self.url
        return Page(await connect(address, additional_headers=self.headers, origin=origin, close_timeout=1))

    async def open_run(self, run: ActionRun) -> Page:
        page = await self.open(f"/ws/runs/{run.pk}/")
        await page.until(id=str(run.pk))
        return page

    async def open_live(self, server: int) -> Page:
        page = await self.open("/ws/live/")
        await page.subscribe(server)
        await page.until(type="begin")
        return page


async def test_valkey_may_go_and_come_while_pages_are_open(stack: Stack) -> None:
    browser = await sync_to_async(Browser)(stack)
    server = await sync_to_async(make_server)(name="one", enabled=False)
    await sync_to_async(make_server)(name="two", enabled=False)
    run = await sync_to_async(make_run)(server=server)
    stack.start("web")  # not in a thread: a child ends with the thread that started it
    stays, goes = await browser.open_run(run), await browser.open_run(run)
    watches, leaves = await browser.open_live(server.pk), await browser.open_live(server.pk)
    asks_late = await browser.open("/ws/live/")
    await asks_late.until(type="servers")

    stack.valkey.kill()
    await asyncio.to_thread(
        wait_until, lambda: "Valkey is away" in stack.log("web"), seconds=WAIT, what="the outage is logged"
    )
    for path in (f"/ws/runs/{run.pk}/", "/ws/live/"):
        with pytest.raises(InvalidStatus):  # a handshake that fails: the page tries again
            await browser.open(path)
    await asks_late.subscribe(None)  # to a group that nobody has joined yet
    assert await asks_late.close_code() == 1013
    for page in (goes, leaves):
        await page.connection.close()
    await sync_to_async(ActionRun.objects.cancel)(run.pk, "Cancelled by bob.")
    await stays.until(status="cancelled")

    stack.valkey.start()
    async with asyncio.timeout(WAIT):
        while True:  # as a page does, until the web process has noticed, too
            with contextlib.suppress(InvalidStatus):
                await browser.open_run(run)
                break
            await asyncio.sleep(0.2)
    await browser.open_live(server.pk)
    await stays.connection.ping()
    await watches.connection.ping()
    stack.stop("web")
    log = stack.log("web")
    assert "Traceback" not in log
    assert log.count("Valkey is away") == 2, log  # its beginning and its end


class Deaf(PageConsumer):
    """Its work misses the first cancellation, as `asyncio.wait_for` of Python 3.11 may."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        await self.accept()
        self.start(self.deaf())

    async def deaf(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)


async def test_what_misses_its_cancellation_ends_with_its_page_all_the_same() -> None:
    scope = {"type": "websocket", "path": "/", "session": SessionStore()}
    page = ApplicationCommunicator(Deaf.as_asgi(), scope)
    await page.send_input({"type": "websocket.connect"})
    assert (await page.receive_output(timeout=WAIT))["type"] == "websocket.accept"
    await page.send_input({"type": "websocket.disconnect", "code": 1000})
    await page.wait(timeout=WAIT)
    assert not page.future.cancelled(), "it ended by itself"


async def test_a_refused_socket_is_told_once_a_minute_for_each_reason(stack: Stack) -> None:
    stack.start("web")
    server = await sync_to_async(make_server)()
    browser = await sync_to_async(Browser)(stack)
    run = await sync_to_async(make_run)(server=server)
    for _ in range(3):
        page = await browser.open(f"/ws/runs/{run.pk}/")
        await page.connection.send("nothing that a page says")
        await page.close_code()
    ada = await User.objects.aget(username="ada")
    ada.is_superuser = False
    await ada.asave()
    for _ in range(3):
        with pytest.raises(InvalidStatus):
            await browser.open(f"/ws/runs/{run.pk}/")
    told = [
        (entry.verb, entry.actor_name, entry.address, entry.outcome)
        async for entry in AuditEntry.objects.filter(verb__startswith="socket.").order_by("pk")
    ]
    assert told == [
        ("socket.send", "ada", "127.0.0.1", "refused"),
        ("socket.open", "ada", "127.0.0.1", "refused"),
    ]
