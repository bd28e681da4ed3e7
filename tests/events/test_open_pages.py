"""What open pages cost the PBXs that they show: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer

from ami_integration.ami import TCP
from ami_integration.events.models import Event
from ami_integration.events.services import group_name
from tests.counting import Counting
from tests.events.listening import Running
from tests.events.page import Page, watcher
from tests.polling import wait_until
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = 100
NAMES = ("busy", "busier")


@pytest.fixture
def counting() -> Iterator[Counting]:
    """PBXs that send events, and note what they are asked."""
    with Counting(pace=20) as counting:
        yield counting


@pytest.fixture(autouse=True)
async def clean_layer(url: str) -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()


async def test_a_hundred_open_pages_cost_a_pbx_no_session_no_action_and_a_web_process_one_subscription(
    counting: Counting, running: Running, redis_client: redis.Redis
) -> None:
    address = TCP("127.0.0.1", counting.port)
    servers = [await sync_to_async(make_server)(address, name=name, username=name) for name in NAMES]

    def subscribers() -> list[int]:
        groups = (f"amiweb__group__{group_name(server.pk)}" for server in servers)
        return [int(number) for _, number in redis_client.pubsub_numsub(*groups)]

    running.start()
    await running.until(
        lambda: Event.objects.values("server").distinct().count() == len(NAMES), what="both are heard"
    )
    await asyncio.to_thread(
        wait_until,
        lambda: counting.heard().get("coresettings") == len(NAMES),
        seconds=15,
        what=lambda: f"both have been asked for their version: {counting.heard()}",
    )
    before = await asyncio.to_thread(counting.heard)
    assert before["sessions"] == before["accepted"] == before["login"] == len(NAMES)
    assert await asyncio.to_thread(subscribers) == [0, 0]

    people = [await sync_to_async(watcher)(f"watcher{number}") for number in range(5)]
    pages = [Page(people[number % len(people)]) for number in range(PAGES)]
    for page in pages:
        assert await page.connect()
        await page.subscribe()
    try:
        there = await running.look(lambda: Event.objects.latest("id").pk)

        def all_follow() -> bool:
            return all(
                len(page.cursor) == len(NAMES) and min(map(int, page.cursor.values())) > there
                for page in pages
            )

        async with asyncio.timeout(60):
            while not all_follow():
                await running.look(lambda: True)  # the recorder goes on
                await asyncio.gather(*(page.read(0.05) for page in pages))
        assert await asyncio.to_thread(counting.heard) == before
        assert await asyncio.to_thread(subscribers) == [1, 1]
    finally:
        for page in pages:
            await page.disconnect()
    assert await asyncio.to_thread(counting.heard) == before
