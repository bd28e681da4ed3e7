"""What only the asyncio client can do: many actions in flight, many subscribers, a keepalive."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ami_integration.ami import TCP, ActionTimeout, AsyncAMIClient, ConnectionLost, Timeouts
from tests.ami.conftest import QUICK
from tests.ami.scripted import Peer, scripted
from tests.polling import wait_until


def client_of(pbx: TCP, **options: object) -> AsyncAMIClient:
    return AsyncAMIClient(pbx, **{"username": "u", "secret": "s", "timeouts": QUICK, **options})  # type: ignore[arg-type]


async def test_answers_in_any_order_find_their_actions() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        actions = [peer.hear() for _ in range(20)]
        for action in reversed(actions):
            peer.answer(action, f"Echo: {action.get('N')}")
        peer.hear()

    with scripted(script) as pbx:
        async with client_of(pbx) as client:
            replies = await asyncio.gather(*(client.action("Echo", {"N": n}) for n in range(20)))
    assert [reply.response.get("Echo") for reply in replies] == [str(n) for n in range(20)]


async def loop_has_turned_twice() -> None:
    """A task has run up to its first wait, and what it wants to have written is written."""
    for _ in range(2):
        await asyncio.sleep(0)


async def test_what_is_cancelled_or_ends_before_it_is_written_never_leaves() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "N: 1")
        peer.hear()

    with scripted(script) as pbx:
        async with client_of(pbx) as client:
            cancelled = asyncio.create_task(client.action("A"))
            await asyncio.sleep(0)
            cancelled.cancel()
            assert (await client.action("B")).response.get("N") == "1"
            late = asyncio.create_task(client.action("C"))
            await asyncio.sleep(0)
            await client.close()
            with pytest.raises(ConnectionLost) as caught:
                await late
            assert caught.value.sent is False


async def test_cancelling_one_action_harms_no_other() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        first, second = peer.hear(), peer.hear()
        peer.answer(first, "N: 1")
        peer.answer(second, "N: 2")
        peer.hear()

    with scripted(script) as pbx:
        async with client_of(pbx) as client:
            first = asyncio.create_task(client.action("A"))
            await loop_has_turned_twice()
            first.cancel()
            assert (await client.action("B")).response.get("N") == "2"
            with pytest.raises(asyncio.CancelledError):
                await first
            assert not client.anomalies


async def test_each_subscriber_has_its_own_queue_and_loses_only_its_own_oldest() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"".join(b"Event: %s\r\nN: %d\r\n\r\n" % (b"AB"[n % 2 : n % 2 + 1], n) for n in range(10)))
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = client_of(pbx, events="on")
        everything, small, named = client.subscribe(), client.subscribe(maxsize=3), client.subscribe(["B"])
        await client.connect()
        await client.action("Ping")
        await client.close()
        assert [event.get("N") async for event in everything] == [str(n) for n in range(10)]
        assert [event.get("N") async for event in small] == ["7", "8", "9"]
        assert [event.get("N") async for event in named] == ["1", "3", "5", "7", "9"]
        assert (everything.dropped, small.dropped, named.dropped) == (0, 7, 0)


async def test_a_closed_subscription_receives_nothing_more() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()

    with scripted(script) as pbx:
        async with client_of(pbx) as client:
            subscription = client.subscribe()
            subscription.close()
            assert [event async for event in subscription] == []


async def test_closing_the_client_fails_what_waits() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()
        peer.hear()

    with scripted(script) as pbx:
        client = client_of(pbx)
        await client.connect()
        waiting = asyncio.create_task(client.action("Slow"))
        await loop_has_turned_twice()
        await client.close()
        with pytest.raises(ConnectionLost) as caught:
            await waiting
        assert caught.value.sent is True


async def test_a_silent_pbx_is_asked_and_given_up() -> None:
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            heard.append(peer.hear().name)

    with scripted(script) as pbx:
        client = client_of(pbx, timeouts=Timeouts(keepalive=0.2))
        events = client.events()
        await client.connect()
        with pytest.raises(ConnectionLost, match="silent"):
            await asyncio.wait_for(anext(events), 10)  # type: ignore[arg-type]
    assert heard == ["Ping"]


async def test_a_silent_pbx_that_answers_keeps_its_session() -> None:
    pings = asyncio.Event()
    loop = asyncio.get_running_loop()

    def script(peer: Peer) -> None:
        peer.log_in()
        for _ in range(3):
            peer.answer(peer.hear(), "Ping: Pong")
        loop.call_soon_threadsafe(pings.set)
        peer.hear()

    with scripted(script) as pbx:
        async with client_of(pbx, timeouts=Timeouts(keepalive=0.1)) as client:
            await asyncio.wait_for(pings.wait(), 10)
            assert client.connected


async def test_a_frozen_pbx_fails_an_action_within_the_keepalive_unless_it_may_take_long() -> None:
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            heard.append(peer.hear().name)

    with scripted(script, script) as pbx:
        limits = Timeouts(keepalive=0.2, action=60)
        async with client_of(pbx, timeouts=limits) as client, asyncio.timeout(10):
            with pytest.raises(ConnectionLost, match="silent") as caught:
                await client.action("Status")
        assert caught.value.sent is True
        assert heard == ["Status", "Ping"]
        heard.clear()
        async with client_of(pbx, timeouts=limits) as client:
            # Asterisk answers no Ping before the end of a CLI command.
            with pytest.raises(ActionTimeout):
                await client.action("Command", {"Command": "module reload"}, timeout=1)
            assert client.connected
            assert heard == ["Command"]


async def test_a_blocking_subscriber_makes_the_pbx_wait_and_loses_nothing() -> None:
    total = 200_000
    written = 0
    done = threading.Event()

    def script(peer: Peer) -> None:
        nonlocal written
        peer.log_in()
        for number in range(0, total, 1000):
            peer.say(b"".join(b"Event: E\r\nN: %d\r\nPad: %s\r\n\r\n" % (n, b"x" * 100)
                              for n in range(number, number + 1000)))  # fmt: skip
            written = number + 1000
        done.set()
        peer.hear()

    with scripted(script) as pbx:
        client = client_of(pbx, events="on")
        heard = client.subscribe(maxsize=100, policy="block")
        await client.connect()
        await asyncio.to_thread(
            wait_until, lambda: client.lag.bytes > 10_000, seconds=10, what="bytes waiting"
        )
        # It waits: neither all in this process, nor anything lost.
        assert not done.is_set() and written < total
        assert heard.waiting < total
        numbers = []
        async with asyncio.timeout(30):
            async for batch in heard.batches():
                numbers += [event.get("N") for event in batch]
                if len(numbers) == total:
                    break
        assert numbers == [str(number) for number in range(total)]
        assert heard.dropped == 0
        await client.close()


async def test_a_reader_that_falls_behind_is_warned_before_it_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    full = threading.Event()

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.sock.settimeout(0.5)
        try:
            while True:
                peer.say(b"Event: E\r\nPad: " + b"x" * 1000 + b"\r\n\r\n")
        except TimeoutError:
            full.set()
        peer.sock.settimeout(None)
        peer.hear()

    with scripted(script) as pbx, caplog.at_level("WARNING", logger="ami_integration.ami"):
        client = client_of(pbx, events="on")
        client.subscribe(maxsize=10)
        await client.connect()
        assert full.wait(20)  # what a slow handler does: the loop stands still, and the kernel fills up
        assert client.lag.bytes > 0
        assert client.lag.seconds > 0.1
        await asyncio.to_thread(wait_until, lambda: client.lag_warnings, seconds=10, what="the warning")
        await client.close()
    assert client.lag_warnings == 1
    assert client.behind_at is not None
    (record,) = [one for one in caplog.records if "writetimeout" in one.getMessage()]
    assert "faster than this process reads" in record.getMessage()
