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
from collections.abc import Iterator

import pytest

from ami_integration.ami import TCP, AMIClient, AsyncAMIClient, ConnectionLost, Timeouts
from tests.ami.conftest import Either, MakeClient
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
