"""Tabs whose TCP window is shut, at the real web process: nobody waits for them, and they cost no memory."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ami_integration.ami import TCP
from ami_integration.events.models import Event
from tests.bench.processes import resident_mb
from tests.counting import Counting
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

#: A minute at least; `make soak` takes longer.
SECONDS = max(60.0, float(os.environ.get("AMIWEB_SOAK_SECONDS", "60")))
#: Events a second: more than a page is given, and few enough to leave the machine to others.
PACE = 250
STALLED = 10
#: Seconds after which as many more come. uvicorn ends those that answer none of its pings, after 40 s.
AGAIN = 20.0
#: MB. Without a bound, the tabs of 40 s would have some 180 MB waiting for them.
GROWTH = 60


@pytest.fixture
def pbx(stack: Stack) -> Iterator[Counting]:
    """A PBX that sends, and what brings its events to pages."""
    with Counting(pace=PACE) as pbx:
        make_server(TCP("127.0.0.1", pbx.port), name="busy", username="busy")
        stack.start("web")
        stack.start("listener")
        wait_until(lambda: Event.objects.exists(), seconds=60, what=lambda: stack.log("listener"))
        yield pbx


class Tab:
    """What a tab that reads has been told."""

    def __init__(self) -> None:
        self.rows = 0
        self.newest = 0
        self.left_out = 0

    def take(self, text: str | bytes) -> None:
        message: dict[str, Any] = json.loads(text)
        for item in message.get("items", ()):
            self.rows += 1
            self.newest = max(self.newest, int(dict(item["headers"]).get("Number", 0)))
        self.left_out = message.get("left_out", {}).get("count", self.left_out)


async def opened(stack: Stack, cookie: str, **options: Any) -> ClientConnection:
    tab = await connect(
        f"ws://127.0.0.1:{stack.port}/ws/live/",
        additional_headers={"Cookie": cookie},
        origin=stack.url,  # type: ignore[arg-type]
        max_size=None,
        **options,
    )
    await tab.send(json.dumps({"type": "subscribe", "seq": 1}))
    return tab


async def stalled(stack: Stack, cookie: str) -> ClientConnection:
    """A tab that takes next to nothing: when little has come it reads no further, and its window shuts."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", stack.port))
    return await opened(stack, cookie, sock=narrow, max_queue=1, compression=None, ping_interval=None)


async def test_tabs_that_take_nothing_cost_no_memory_and_nobody_waits_for_them(
    stack: Stack, pbx: Counting
) -> None:
    def log_in() -> str:
        client = Client()
        client.force_login(User.objects.create_superuser("ada"))
        connection.close()  # this thread's own
        return f"amiweb-session-{stack.port}={client.cookies[settings.SESSION_COOKIE_NAME].value}"

    cookie = await asyncio.to_thread(log_in)
    web = stack.processes["web"].pid
    shut: list[ClientConnection] = []
    reader, tab = await opened(stack, cookie), Tab()
    began, grown, behind, before = time.monotonic(), 0.0, [], 0.0
    while (passed := time.monotonic() - began) < SECONDS:
        if passed >= AGAIN * len(shut) / STALLED:
            shut += [await stalled(stack, cookie) for _ in range(STALLED)]
        tab.take(await asyncio.wait_for(reader.recv(), 15))
        if passed > 3 and not before:
            before = resident_mb(web)  # everything has been set up
        if before:
            grown = max(grown, resident_mb(web) - before)
            happened = (await asyncio.to_thread(pbx.counts))["busy"]
            behind.append(happened - tab.newest)
    assert grown < GROWTH, f"the web process has grown by {grown:.0f} MB"
    # It follows: what it sees is seconds old, not as old as what the others have not taken.
    assert min(behind[len(behind) // 2 :]) < 10 * PACE
    assert tab.rows > 100 and tab.left_out > 0
    # Who comes back is told what it has missed, unless the web process has given it up meanwhile.
    back = Tab()
    try:
        async with asyncio.timeout(30):
            while back.left_out < tab.left_out / 4:
                back.take(await shut[-1].recv())
    except ConnectionClosed:
        pass
    for one in (reader, *shut):
        one.transport.abort()
