"""A PBX that is gone without a word: nothing that waits for it waits for longer than the keepalive allows.

Packets are really lost here: a filter in the kernel drops whatever comes for the PBX's socket before TCP sees
it, so nothing is acknowledged any more, as if its host had lost power or a firewall had forgotten the
connection. It needs no privilege and no network but loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ami_integration.ami import (
    TCP,
    ActionTimeout,
    AMIClient,
    AMIError,
    AsyncAMIClient,
    ConnectionLost,
    Timeouts,
)
from tests.ami.conftest import Driven, Either, MakeClient
from tests.ami.scripted import Peer, scripted

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the options are Linux's")

#: Not in Python's socket module: include/uapi/asm-generic/socket.h.
_SO_ATTACH_FILTER = 26
#: One instruction of classic BPF: return 0, "keep no byte".
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)

#: Whole seconds, since the kernel counts its probes so.
KEEPALIVE = 3.0
#: What a loaded machine may add.
LATE = 3.0


def lose_everything(sock: socket.socket) -> None:
    """Have the kernel drop what comes for this socket, so that not even an acknowledgement is sent."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def socket_of(client: Either) -> socket.socket:
    inner = client.client
    found = inner._sock if isinstance(inner, AMIClient) else inner._socket()
    assert found is not None
    return found


@contextlib.contextmanager
def vanishing(*, after: int) -> Iterator[tuple[TCP, threading.Event]]:
    """A PBX that hears so many actions after the login and is gone then; the event says that it is."""
    gone, over = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.log_in()
        for _ in range(after):
            peer.hear()
        lose_everything(peer.sock)
        gone.set()
        over.wait(60)

    with scripted(script) as pbx:
        try:
            yield pbx, gone
        finally:
            over.set()


def failed_within(seconds: float, what: Callable[[], object]) -> AMIError:
    started = time.monotonic()
    with pytest.raises(ConnectionLost) as caught:
        what()
    took = time.monotonic() - started
    assert took < seconds, f"after {took:.1f} s: {caught.value}"
    return caught.value


@linux
def test_the_kernel_is_told_how_long_a_peer_may_be_gone(make_client: MakeClient) -> None:
    with vanishing(after=0) as (pbx, _):
        client = make_client(pbx, timeouts=Timeouts(keepalive=30))
        client.connect()
        sock = socket_of(client)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, interval, count, unacknowledged = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT
            )
        )  # fmt: skip
        assert idle + count * interval <= 30
        assert unacknowledged == 30_000


@linux
def test_packets_lost_while_a_slow_action_waits_end_it_though_no_ping_may_be_sent(
    make_client: MakeClient,
) -> None:
    """Asterisk answers nothing else meanwhile: only the kernel can tell a dead host from a slow action."""
    with vanishing(after=1) as (pbx, _):
        client = make_client(pbx, timeouts=Timeouts(keepalive=KEEPALIVE))
        client.connect()
        error = failed_within(
            KEEPALIVE + LATE, lambda: client.action("Command", {"Command": "core reload"}, timeout=60)
        )
        assert error.sent is True
        assert "timed out" in str(error)


@linux
def test_an_action_whose_packets_are_lost_fails_long_before_its_own_limit(make_client: MakeClient) -> None:
    with vanishing(after=0) as (pbx, gone):
        client = make_client(pbx, timeouts=Timeouts(keepalive=KEEPALIVE))
        client.connect()
        assert gone.wait(10)
        error = failed_within(KEEPALIVE + LATE, lambda: client.action("Originate", timeout=60))
        assert error.sent is True


@linux
def test_packets_lost_in_silence_end_the_wait_for_events(make_client: MakeClient) -> None:
    with vanishing(after=0) as (pbx, gone):
        client = make_client(pbx, events="on", timeouts=Timeouts(keepalive=KEEPALIVE))
        client.connect()
        assert gone.wait(10)
        error = failed_within(KEEPALIVE + LATE, lambda: wait_for_events(client))
        assert error.sent is False


def wait_for_events(client: Either) -> None:
    if isinstance(client, Driven):
        events = client._events
        assert events is not None
        client._runner.run(asyncio.wait_for(anext(events), 60))  # type: ignore[arg-type]
    else:
        for _ in client.client.events():
            pass


@linux
async def test_every_action_that_waits_fails_at_once_when_the_host_is_given_up() -> None:
    with vanishing(after=8) as (pbx, _):
        client = AsyncAMIClient(pbx, username="u", secret="s", timeouts=Timeouts(keepalive=KEEPALIVE))
        await client.connect()
        started = time.monotonic()
        outcomes = await asyncio.gather(
            *(client.action("Command", {"Command": "core reload"}, timeout=60) for _ in range(8)),
            return_exceptions=True,
        )
        assert time.monotonic() - started < KEEPALIVE + LATE
        assert all(isinstance(one, ConnectionLost) and one.sent for one in outcomes), outcomes
        await client.close()


# A PBX that stands still: its kernel acknowledges, and it says nothing


@contextlib.contextmanager
def frozen(*answered: str) -> Iterator[tuple[TCP, list[str]]]:
    """A PBX that answers only these actions after the login; the list is what it hears."""
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            heard.append(action.name)
            if action.name in answered:
                peer.answer(action)

    with scripted(script) as pbx:
        yield pbx, heard


def test_a_frozen_pbx_fails_an_action_within_the_keepalive(make_client: MakeClient) -> None:
    with frozen() as (pbx, heard):
        client = make_client(pbx, timeouts=Timeouts(keepalive=1.0))
        client.connect()
        error = failed_within(1.0 + LATE, lambda: client.action("Status", timeout=60))
        assert error.sent is True
    assert heard == ["Status", "Ping"]


def test_a_frozen_pbx_fails_a_call_that_was_accepted_within_the_keepalive(make_client: MakeClient) -> None:
    with frozen("Originate") as (pbx, heard):
        client = make_client(pbx, events="on", timeouts=Timeouts(keepalive=1.0))
        client.connect()
        error = failed_within(1.0 + LATE, lambda: client.originate("PJSIP/1", application="Wait", ring=60))
        assert error.sent is True
    assert heard == ["Originate", "Ping"]


def test_an_asynchronous_originate_that_is_not_answered_is_no_slow_action(make_client: MakeClient) -> None:
    with frozen() as (pbx, heard):
        client = make_client(pbx, timeouts=Timeouts(keepalive=1.0))
        client.connect()
        failed_within(1.0 + LATE, lambda: client.action("Originate", {"Async": "true"}, timeout=60))
    assert heard == ["Originate", "Ping"]


def test_a_slow_action_that_was_given_up_costs_nobody_the_session(make_client: MakeClient) -> None:
    """The PBX still works on it, and answers no Ping until it is done."""
    released = threading.Event()

    def script(peer: Peer) -> None:
        peer.log_in()
        command = peer.hear()
        released.wait(30)
        peer.answer(command)
        while True:
            peer.answer(peer.hear())

    with scripted(script) as pbx:
        client = make_client(pbx, timeouts=Timeouts(keepalive=0.4))
        client.connect()
        with pytest.raises(ActionTimeout):
            client.action("Command", {"Command": "core reload"}, timeout=0.1)
        timer = threading.Timer(1.5, released.set)
        timer.start()
        try:
            assert client.action("Status", timeout=30).success
        finally:
            timer.cancel()
            released.set()
        assert not client.client.anomalies


def test_a_pbx_that_speaks_is_not_given_up_for_an_answer_that_takes_long(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        for _ in range(15):
            peer.say(b"Event: E\r\n\r\n")
            time.sleep(0.1)
        peer.answer(action)
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on", timeouts=Timeouts(keepalive=0.8))
        client.connect()
        assert client.action("Status", timeout=30).success


async def test_an_event_loop_that_was_held_up_does_not_give_up_a_pbx_that_answered() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            peer.answer(peer.hear())

    with scripted(script) as pbx:
        client = AsyncAMIClient(pbx, username="u", secret="s", timeouts=Timeouts(keepalive=0.4))
        async with client:
            await asyncio.sleep(0.15)
            for _ in range(5):
                # Whatever the client is at just then, also between its Ping and the answer.
                time.sleep(0.23)  # noqa: ASYNC251 - it is the fault that is tested
                await asyncio.sleep(0.01)
                time.sleep(0.3)  # noqa: ASYNC251
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert client.connected
            assert (await client.action("Ping")).success
