"""One subscription for each web process and server: the hub between the real channel layer and its tabs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from channels.layers import get_channel_layer
from django.db import connection

from ami_integration.events import hub as hub_module
from ami_integration.events.filters import EventFilter, parse_filter
from ami_integration.events.hub import Hub
from ami_integration.events.ids import first_id_at
from ami_integration.events.recorder import Recorder
from ami_integration.events.services import group_name
from ami_integration.events.stream import EventBatch
from ami_integration.events.tabs import RING, Tab
from ami_integration.events.writer import StreamWriter
from tests.events.making import batch, numbered, raw
from tests.polling import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Awaitable[None]]
HOUR = datetime(1970, 1, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "LOOK_SECONDS", 0.2)


@pytest.fixture
async def hub(url: str) -> AsyncIterator[Hub]:
    hub = Hub.current()
    yield hub
    for tab in list(hub._tabs):
        await hub.leave(tab)
    await get_channel_layer().flush()


@pytest.fixture
def send(writer: StreamWriter, recorder: Recorder) -> Send:
    """Write batches and let the recorder store and publish them."""

    def record(batches: tuple[EventBatch, ...]) -> None:
        try:
            writer.append(batches)
            recorder.step()
        finally:
            connection.close()

    async def send(*batches: EventBatch) -> None:
        await asyncio.to_thread(record, batches)

    return send


def subscribers(client: redis.Redis, server_id: int) -> int:
    """How many connections get what a server's group is sent."""
    [(_, number)] = client.pubsub_numsub(f"amiweb__group__{group_name(server_id)}")
    return int(number)


async def watching(hub: Hub, *servers: int, event_filter: EventFilter | None = None) -> Tab:
    tab = Tab(event_filter or EventFilter())
    await hub.watch(tab, servers)
    tab.begin(())
    return tab


async def until(condition: Callable[[], Any], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, seconds=15, what=what)


def numbers(tab: Tab) -> list[int]:
    return [int(dict(json.loads(text)["headers"])["Number"]) for text in tab.take()]


async def test_a_hundred_tabs_are_one_subscription_and_one_decoding_of_each_batch(
    hub: Hub, send: Send, redis_client: redis.Redis
) -> None:
    tabs = [await watching(hub, 1) for _ in range(100)]
    assert await asyncio.to_thread(subscribers, redis_client, 1) == 1
    first = numbered(1, range(5))
    await send(first)
    await send(numbered(1, range(5, 10), after=first.last_id))
    await until(lambda: all(tab.waiting == 10 for tab in tabs), "every tab has all events")
    assert hub.batches == 2
    assert {tuple(numbers(tab)) for tab in tabs} == {tuple(range(10))}


async def test_equal_filters_are_applied_once(hub: Hub, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[EventFilter] = []
    sift = EventFilter.sift
    monkeypatch.setattr(EventFilter, "sift", lambda self, rows: applied.append(self) or sift(self, rows))
    for text in ("number", "NUMBER", "other"):
        for _ in range(10):
            await watching(hub, 1, event_filter=parse_filter(names=[], text=text, linkedid=""))
    await send(numbered(1, range(5)))
    await until(lambda: applied, "the batch is handed out")
    assert len(applied) == 2


async def test_a_tab_gets_its_servers_and_its_events_only(hub: Hub, send: Send) -> None:
    both = await watching(hub, 1, 2)
    one = await watching(hub, 1)
    calls = await watching(hub, 2, event_filter=parse_filter(names=["New*"], text="", linkedid="7.1"))
    await send(batch(1, raw("Newchannel", Linkedid="7.1")))
    wanted = raw("Newstate", Linkedid="7.1")
    await send(batch(2, wanted, raw("Newstate", Linkedid="7.2"), raw("Hangup", Linkedid="7.1")))
    await until(lambda: both.waiting == 4, "both servers' events came")
    assert (one.waiting, calls.waiting) == (1, 1)
    assert calls.take_counts() == {"Newstate": 1, "Hangup": 1}


async def test_a_server_is_left_when_nobody_watches_it_and_joined_again(
    hub: Hub, send: Send, redis_client: redis.Redis
) -> None:
    tab, other = await watching(hub, 1, 2), await watching(hub, 2)
    await hub.watch(tab, [2])
    await until(lambda: subscribers(redis_client, 1) == 0, "server 1 is left")
    assert await asyncio.to_thread(subscribers, redis_client, 2) == 1
    await hub.watch(other, [1])
    await send(numbered(1, range(3)))
    await until(lambda: other.waiting == 3, "what server 1 sends comes again")
    assert tab.waiting == 0


async def test_the_last_tab_ends_the_hub_and_the_next_one_begins_another(
    hub: Hub, send: Send, redis_client: redis.Redis
) -> None:
    tab = await watching(hub, 1)
    await hub.leave(tab)
    assert await asyncio.to_thread(subscribers, redis_client, 1) == 0
    assert asyncio.all_tasks() == {asyncio.current_task()} | {
        task
        for task in asyncio.all_tasks()
        if "_do_receiving" in repr(task)  # the channel layer's own
    }
    successor = Hub.current()
    assert successor is not hub
    again = await watching(successor, 1)
    await send(numbered(1, range(3)))
    await until(lambda: again.waiting == 3, "events come")
    await successor.leave(again)


async def test_a_tab_that_takes_nothing_holds_a_bounded_number_and_nobody_else_waits(
    hub: Hub, send: Send
) -> None:
    stuck, quick = await watching(hub, 1), await watching(hub, 1)
    last, taken = 0, 0
    for n in range(20):
        made = numbered(1, range(n * 200, n * 200 + 200), after=last)
        last = made.last_id
        await send(made)
        taken += len(quick.take())
        assert stuck.waiting <= RING
    await until(lambda: stuck.left_out.count == 4000 - RING, "all are counted")
    assert taken + quick.waiting + quick.left_out.count == 4000


async def test_what_a_recorder_says_again_is_handed_out_once(
    hub: Hub, send: Send, recorder: Recorder
) -> None:
    tab = await watching(hub, 1)
    messages: list[Any] = []
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group_name(1), channel)
    made = numbered(1, range(5))
    await send(made)
    messages.append(await layer.receive(channel))
    await layer.group_send(group_name(1), messages[0])
    await send(numbered(1, range(5, 7), after=made.last_id))
    await until(lambda: hub.batches == 3, "the batch came again")
    assert numbers(tab) == list(range(7))


async def test_events_go_on_when_a_clock_is_set_right_and_their_ids_go_back(hub: Hub, send: Send) -> None:
    tab = await watching(hub, 1)
    made = numbered(1, range(3))
    ahead = [event._replace(id=event.id + first_id_at(HOUR)) for event in made.events]
    await send(replace(made, events=ahead))
    back = numbered(1, range(3, 6), after=ahead[-1].id)
    await send(back)
    await send(numbered(1, range(6, 9), after=back.last_id))
    await until(lambda: tab.waiting == 9, "what came after it is handed out")
    assert numbers(tab) == list(range(9))
    assert hub.through(1) > back.last_id
    assert hub.through(1) < ahead[0].id


@pytest.mark.parametrize("lost", [False, True], ids=["all published", "the first one lost"])
async def test_a_look_for_holes_finds_where_the_ids_went_back(
    hub: Hub, send: Send, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    tab = await watching(hub, 1)
    made = numbered(1, range(3))
    ahead = [event._replace(id=event.id + first_id_at(HOUR)) for event in made.events]
    await send(replace(made, events=ahead))
    await until(lambda: hub._watched[1].behind == ahead[-1].id, "the hub has looked")
    back = numbered(1, range(3, 6), after=ahead[-1].id)
    with monkeypatch.context() as patch:
        if lost:
            patch.setattr(recorder, "_publish", lambda *_: None)
        await send(back)
    await until(lambda: hub._watched[1].behind == hub.through(1) == back.last_id, "the hub has looked again")
    await send(numbered(1, range(6, 9), after=back.last_id))
    await until(lambda: tab.waiting == 9, "what came after it is handed out")
    assert numbers(tab) == list(range(9))


async def test_what_is_said_again_is_handed_out_once_when_ids_have_gone_back(hub: Hub, send: Send) -> None:
    tab = await watching(hub, 1)
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group_name(1), channel)
    made = numbered(1, range(3))
    ahead = [event._replace(id=event.id + first_id_at(HOUR)) for event in made.events]
    await send(replace(made, events=ahead))
    back = numbered(1, range(3, 6), after=ahead[-1].id)
    await send(back)
    for message in [await layer.receive(channel), await layer.receive(channel)]:
        await layer.group_send(group_name(1), message)
    await until(lambda: hub.batches == 4, "both batches came again")
    await send(numbered(1, range(6, 9), after=back.last_id))
    await until(lambda: hub.batches == 5, "the next batch came")
    assert numbers(tab) == list(range(9))


async def test_a_hub_that_fails_ends_its_tabs_and_is_replaced(
    hub: Hub, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watching(hub, 1)
    alive = asyncio.create_task(hub.alive())
    await get_channel_layer().group_send(group_name(1), {"type": "events.batch", "nonsense": 1})
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(alive, 15)
    assert Hub.current() is not hub


async def test_tabs_that_ask_at_once_share_the_reading_of_the_tail(
    hub: Hub, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(batch(1, raw("VarSet"), raw("Hangup"), raw("VarSet")))
    reads = 0
    read = hub._tails._read

    def counted(**given: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(**given)

    monkeypatch.setattr(hub._tails, "_read", counted)
    tails = await asyncio.gather(*(hub.tail([1, n % 3], lowest_id=0) for n in range(50)))
    assert {len(list(tail.of(1, 0))) for tail in tails} == {2}
    assert reads <= 2
