from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ami_integration.ami import (
    TCP,
    AMIError,
    Backoff,
    Connected,
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    EventFilter,
    Gap,
    LoginError,
    LoginFailed,
    LoginTimeout,
    NoBanner,
    ReconnectingClient,
    Resumed,
    SSHFailed,
    TLSFailed,
    failure_kind,
)
from ami_integration.ami.reconnecting import Item
from tests.ami.conftest import QUICK
from tests.ami.scripted import BANNER, Peer, scripted
from tests.ami.test_clients import free_port

SOON = Backoff(first=0.01, cap=0.05, login_failed=0.02, stable=60)


def session(*events: str) -> object:
    def script(peer: Peer) -> None:
        peer.log_in()
        for name in events:
            peer.say(f"Event: {name}\r\n\r\n".encode())

    return script


async def take(items: AsyncIterator[Item], count: int) -> list[Item]:
    async with asyncio.timeout(10):
        return [await anext(items) for _ in range(count)]


async def test_a_lost_session_is_a_gap_and_the_next_one_resumes() -> None:
    with scripted(session("A"), session("B")) as pbx:  # type: ignore[arg-type]
        client = ReconnectingClient(pbx, "u", "s", timeouts=QUICK, backoff=SOON)
        async with contextlib.aclosing(client.batches()) as items:
            connected, first, gap, resumed, second, _ = await take(items, 6)
    assert isinstance(connected, Connected) and connected.banner.startswith("Asterisk Call Manager")
    assert isinstance(first, list) and [event.name for event in first] == ["A"]
    assert isinstance(gap, Gap) and isinstance(gap.error, ConnectionLost)
    assert isinstance(resumed, Resumed) and resumed.gap is gap and resumed.at >= gap.since
    assert isinstance(second, list) and [event.name for event in second] == ["B"]


async def test_failed_attempts_are_told_with_their_reason_and_the_wait() -> None:
    client = ReconnectingClient(TCP("127.0.0.1", free_port()), "u", "s", timeouts=QUICK, backoff=SOON)
    async with contextlib.aclosing(client.batches()) as items:
        failures = await take(items, 2)
    for failure in failures:
        assert isinstance(failure, ConnectFailed)
        assert isinstance(failure.error, ConnectRefused)
        assert 0 < failure.retry_in <= SOON.cap
    assert isinstance(client.last_error, ConnectRefused)


async def test_each_attempt_waits_until_it_is_admitted_and_says_how_many_failed_before() -> None:
    asked: list[int] = []
    place = asyncio.Semaphore(1)

    def admit(failures: int) -> asyncio.Semaphore:
        asked.append(failures)
        return place

    nowhere = TCP("127.0.0.1", free_port())
    client = ReconnectingClient(nowhere, "u", "s", timeouts=QUICK, backoff=SOON, admission=admit)
    async with contextlib.aclosing(client.batches()) as items:
        await take(items, 2)
        await place.acquire()
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        place.release()
        assert isinstance(await waiting, ConnectFailed)
    assert asked == [0, 1, 2]


async def test_leaving_the_iteration_closes_the_session() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        assert peer.hear().name == "Logoff"

    with scripted(script) as pbx:
        client = ReconnectingClient(pbx, "u", "s", timeouts=QUICK, backoff=SOON)
        async with contextlib.aclosing(client.batches()) as items:
            await take(items, 1)
            assert client.client is not None
        assert client.client is None


async def test_a_refused_login_is_told_as_one() -> None:
    def refuse(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(refuse, session("A")) as pbx:  # type: ignore[arg-type]
        client = ReconnectingClient(pbx, "u", "hunter2", timeouts=QUICK, backoff=SOON)
        async with contextlib.aclosing(client.batches()) as items:
            failed, connected = await take(items, 2)
    assert isinstance(failed, ConnectFailed) and isinstance(failed.error, LoginFailed)
    assert isinstance(connected, Connected)
    assert "hunter2" not in repr(client) + repr(failed)


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (5000, 30.0)])
def test_the_wait_doubles_up_to_its_cap_with_jitter(failures: int, longest: float) -> None:
    backoff = Backoff()
    error = ConnectionLost("gone")
    assert backoff.delay(failures, error, 1.0) == longest
    assert backoff.delay(failures, error, 0.0) == longest / 2


def test_a_refused_login_waits_long_from_the_first_time() -> None:
    assert Backoff().delay(1, LoginFailed("no"), 1.0) == 60


@pytest.mark.parametrize(
    ("error", "kind", "first"),
    [
        (LoginFailed("no"), "login", 60.0),
        (LoginFailed("no", reason="filter"), "login", 60.0),
        (LoginFailed("no", reason="in_use"), "in_use", 30.0),
        (LoginError("cut"), "network", 0.5),
        (LoginTimeout("slow"), "network", 0.5),
        (NoBanner("closed"), "too_many_sessions", 5.0),
        (NoBanner("silent", reason="silent"), "network", 0.5),
        (TLSFailed("no", reason="expired"), "trust", 60.0),
        (TLSFailed("no"), "network", 0.5),
        (SSHFailed("no", reason="host_key"), "trust", 60.0),
        (SSHFailed("no", reason="auth"), "login", 60.0),
        (ConnectRefused("no"), "network", 0.5),
        (ConnectionLost("gone"), "network", 0.5),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.reason}" if hasattr(value, "reason") else None,
)
def test_each_kind_of_failure_has_its_own_wait(error: AMIError, kind: str, first: float) -> None:
    assert failure_kind(error) == kind
    assert Backoff().delay(1, error, 1.0) == first


def test_a_pbx_with_too_many_sessions_is_left_alone_for_longer_and_longer() -> None:
    waits = [Backoff().delay(failures, NoBanner("closed"), 1.0) for failures in (1, 2, 3, 4, 9)]
    assert waits == [5.0, 10.0, 20.0, 30.0, 30.0]


async def test_the_kinds_are_told_as_they_happen() -> None:
    def in_use(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Login Already In Use", response="Error")

    with scripted(lambda peer: None, in_use, session("A")) as pbx:  # type: ignore[arg-type]
        soon = Backoff(first=0.01, cap=0.02, login_failed=0.01, in_use=0.01, crowded=0.01)
        client = ReconnectingClient(pbx, "u", "s", timeouts=QUICK, backoff=soon)
        async with contextlib.aclosing(client.batches()) as items:
            crowded, taken, connected, _, gap = await take(items, 5)
    assert isinstance(crowded, ConnectFailed) and crowded.kind == "too_many_sessions"
    assert isinstance(taken, ConnectFailed) and taken.kind == "in_use"
    assert isinstance(connected, Connected)
    assert isinstance(gap, Gap) and gap.kind == "network"


async def test_what_a_session_was_asked_for_holds_for_the_next_one() -> None:
    heard: list[tuple[str, str | None]] = []

    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        while True:
            action = peer.hear()
            if action.name == "Ping":
                return
            heard.append((action.name, action.get("EventMask") or action.get("Filter")))
            peer.answer(action)

    with scripted(script, script) as pbx:
        client = ReconnectingClient(pbx, "u", "s", events="on", timeouts=QUICK, backoff=SOON)
        async with contextlib.aclosing(client.batches()) as items:
            await take(items, 1)
            assert client.client is not None
            await client.client.set_events_mask("call")
            await client.client.add_filter(EventFilter("Event: Hangup"))
            heard.clear()
            with pytest.raises(ConnectionLost):
                await client.client.action("Ping")
            gap, resumed = await take(items, 2)
    assert isinstance(gap, Gap) and isinstance(resumed, Resumed)
    assert heard[:3] == [("Login", None), ("Filter", "Event: Hangup"), ("Events", "call")]
