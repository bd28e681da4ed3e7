"""A listener whose Valkey or whose clock fails: what was sent is stored or counted, exactly."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async

from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.recorder import Recorder
from ami_integration.events.stream import STREAM
from ami_integration.servers.models import Server, ServerHealth
from tests.events.listening import PBX, SECRET, Running
from tests.processes import Valkey
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """The time of day, as far off as the test says."""

    offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@pytest.fixture
async def server(pbx: PBX, url: str) -> Server:
    return await sync_to_async(make_server)(host="127.0.0.1", port=pbx.port, secret=SECRET)


def numbers() -> list[int]:
    events = Event.objects.filter(name="Counted").order_by("id").values_list("headers", flat=True)
    return [int(dict(headers)["Number"]) for headers in events]


async def online(running: Running) -> None:
    await running.until(lambda: ServerHealth.objects.filter(state="online").exists(), what="it is online")


async def until_with_retries(running: Running, found: Callable[[], Any], what: str) -> None:
    """As `Running.until`, while Valkey may still be coming back."""
    deadline = time.monotonic() + 45
    while True:
        with contextlib.suppress(redis.RedisError):
            if await running.look(found):
                return
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


async def test_what_does_not_fit_while_valkey_is_away_is_counted_exactly_and_the_session_stays(
    running: Running, server: Server, pbx: PBX, valkey: Valkey
) -> None:
    listener = running.start()
    await online(running)
    assert listener._work is not None
    listener._work.outbox._max_events = 300
    [before] = pbx.sessions
    valkey.kill()
    for _ in range(100):
        pbx.say(10)
        await asyncio.sleep(0.01)  # so that they make many batches
    deadline = time.monotonic() + 15
    while not listener.status()["dropped"]:
        assert time.monotonic() < deadline, "the buffer is full"
        await asyncio.sleep(0.05)
    valkey.start()  # in this thread: the kernel would end it with the thread that started it
    await until_with_retries(running, Gap.objects.exists, "it says what was dropped")
    pbx.say(5)
    await until_with_retries(running, lambda: 1004 in numbers(), "the last events are stored")
    stored = await running.look(numbers)
    assert stored == sorted(set(stored))
    gaps = await running.look(lambda: list(Gap.objects.all()))
    assert {(gap.reason, gap.lost_kind) for gap in gaps} == {(Gap.Reason.OVERLOAD, "exact")}
    assert len(stored) + sum(gap.lost for gap in gaps) == 1005
    for gap in gaps:
        inside = await running.look(
            lambda gap=gap: Event.objects.filter(id__gt=gap.after_id, id__lt=gap.before_id).exists()
        )
        assert not inside
        for bound in (gap.after_id, gap.before_id):
            assert await running.look(lambda bound=bound: Event.objects.filter(pk=bound).exists())
    assert listener.status()["dropped"] == 1005 - len(stored)
    assert pbx.sessions >= {before}
    await running.until(Snapshot.objects.exists, what="the PBX was asked for its state", seconds=30)


async def test_what_the_bound_of_the_stream_cuts_is_counted_exactly(
    running: Running, server: Server, pbx: PBX, redis_client: redis.Redis
) -> None:
    listener = running.start(max_bytes=30_000)
    await online(running)
    pbx.say(10)
    await running.until(lambda: len(numbers()) == 10, what="the first events are stored")
    for _ in range(200):  # nobody records meanwhile: as if the database were away
        pbx.say(10)
        await asyncio.sleep(0.005)
    await until_with_retries(running, lambda: 2009 in numbers(), "the last events are stored")
    stored = await running.look(numbers)
    gap = await running.look(lambda: Gap.objects.get(reason=Gap.Reason.OVERLOAD))
    assert (gap.lost, gap.lost_kind) == (2010 - len(stored), "exact")
    assert gap.lost > 0
    assert listener.status()["dropped"] == 0
    assert redis_client.memory_usage(STREAM) < 200_000
    await running.until(
        lambda: Snapshot.objects.filter(after_id=gap.after_id).exists(),
        what="the PBX was asked for its state after a gap that only the recorder knew of",
        seconds=30,
    )


async def test_a_valkey_that_lost_its_data_while_all_was_restarted_leaves_a_gap_that_says_so(
    running: Running, server: Server, pbx: PBX, valkey: Valkey
) -> None:
    running.start()
    await online(running)
    pbx.say(5)
    await running.until(lambda: len(numbers()) == 5, what="the first events are stored")
    await running.kill()
    await asyncio.to_thread(running.recorder.close)
    await asyncio.to_thread(valkey.flush)
    pbx.say(5)  # nobody hears these
    running.recorder = Recorder(url=running.url)
    running.start()
    await running.until(
        lambda: Event.objects.filter(name="FullyBooted").count() == 2, what="it listens again"
    )
    pbx.say(5)
    await running.until(lambda: len(numbers()) == 10, what="events are stored again")
    assert await running.look(numbers) == [*range(5), *range(10, 15)]
    gap = await running.look(Gap.objects.get)
    assert (gap.reason, gap.lost_kind) == (Gap.Reason.LOST, Gap.LostKind.UNKNOWN)
    first = await running.look(lambda: Event.objects.filter(id__gt=gap.after_id).earliest("id").pk)
    last = await running.look(lambda: Event.objects.filter(id__lt=first).latest("id").pk)
    assert (gap.after_id, gap.before_id) == (last, first)
    await running.until(
        Snapshot.objects.filter(after_id=gap.after_id).exists, what="the PBX is asked", seconds=30
    )


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_clock_that_jumps_changes_neither_the_order_nor_the_number(
    jump: float, running: Running, server: Server, pbx: PBX
) -> None:
    clock = Clock()
    running.start(clock=clock)
    await online(running)
    for offset in (0.0, jump, 0.0):
        clock.offset = offset
        pbx.say(10)
        until = pbx.number
        await running.until(lambda until=until: len(numbers()) == until, what="its events are stored")
    assert await running.look(numbers) == list(range(30))
    assert not await running.look(Gap.objects.exists)


async def test_after_a_clock_that_was_far_ahead_events_go_on_by_the_right_time(
    running: Running, server: Server, pbx: PBX, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    clock.offset = 3600.0
    running.start(clock=clock)
    await online(running)
    pbx.say(10)
    await running.until(lambda: len(numbers()) == 10, what="its events are stored")
    await running.stop()
    running.start()
    await running.until(lambda: pbx.sessions, what="it listens again")
    await running.until(lambda: not Gap.objects.open().exists(), what="the gap has ended")
    assert "one clock is or was wrong" in caplog.text
    pbx.say(10)
    await running.until(lambda: len(numbers()) == 20, what="events are stored again")
    assert sorted(await running.look(numbers)) == list(range(20))
    assert await running.look(lambda: Gap.objects.count()) == 1


async def test_what_comes_faster_than_it_can_be_taken_is_counted_exactly(
    running: Running, server: Server, pbx: PBX
) -> None:
    listener = running.start()
    await online(running)
    assert listener._work is not None
    [session] = listener._work.sessions()
    assert session._client is not None
    session._client.maxsize = 10  # of the next connection
    pbx.kick()
    await running.until(lambda: Gap.objects.filter(ended_at__isnull=False).exists(), what="it is back")
    pbx.say(500)
    pbx.say(1)
    await running.until(lambda: 500 in numbers(), what="the last event is stored")
    gaps = await running.look(lambda: list(Gap.objects.filter(reason=Gap.Reason.OVERLOAD)))
    stored = await running.look(numbers)
    assert sum(gap.lost for gap in gaps) == 501 - len(stored) == listener.status()["dropped"] > 0
    assert {gap.lost_kind for gap in gaps} == {"exact"}
    for gap in gaps:
        first = await running.look(lambda gap=gap: Event.objects.filter(id__gt=gap.after_id).earliest("id"))
        assert gap.after_id < gap.pk < gap.before_id == first.pk
