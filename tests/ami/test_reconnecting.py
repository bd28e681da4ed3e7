from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ami_integration.ami import (
    TCP,
    Backoff,
    Connected,
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    Gap,
    LoginError,
    LoginFailed,
    LoginTimeout,
    ReconnectingClient,
    Resumed,
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


@pytest.mark.parametrize("error", [LoginTimeout("slow"), LoginError("cut")])
def test_a_login_that_was_not_refused_is_tried_again_soon(error: LoginError) -> None:
    # A PBX that starts or is overloaded answers late or not at all; that is no wrong secret.
    assert Backoff().delay(1, error, 1.0) == 0.5
