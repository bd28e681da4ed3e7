"""How far behind the PBX a reader is, and the warning before Asterisk cuts it off. Both clients share it.

Asterisk cuts a session whose socket stays full for its `writetimeout` (100 ms by default).
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import struct
import time
import weakref
from dataclasses import dataclass
from typing import Protocol

from ami_integration.ami.transports import Transport

try:
    import fcntl
    import termios
except ImportError:  # not a Unix: there the kernel can't be asked
    fcntl = termios = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

#: A reader that is behind for so long (seconds) is told of.
_BEHIND = 0.5
#: Seconds between two looks at whether the event loop runs.
BEAT = 0.25
#: A PBX that waits for so long (seconds) may cut the session: the shortest usual `writetimeout`.
STALL = 0.1


@dataclass(frozen=True)
class Lag:
    """How far behind the PBX the reader is.

    Attributes:
        bytes: waiting in the kernel to be read; 0 where the system can't tell.
        seconds: they are at most so old.
    """

    bytes: int
    seconds: float


def waiting_bytes(sock: socket.socket | None) -> int:
    """The bytes that wait in the kernel to be read from this socket."""
    if sock is None or fcntl is None:
        return 0
    answer = bytearray(4)
    try:
        fcntl.ioctl(sock.fileno(), termios.FIONREAD, answer)
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])


def receive_buffer(sock: socket.socket) -> int:
    """How many bytes the kernel would hold for this socket."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    except OSError:
        return 0


class LagWarning:
    """Warns once when the reader falls behind, and again only after it has caught up.

    A quarter of the kernel's buffer is much: what it counts of it, overhead included, is about half.
    """

    def __init__(self, transport: Transport) -> None:
        self.count = 0
        self._transport = transport
        self._warned = False
        self._behind_since: float | None = None

    def caught_up(self) -> None:
        """A reading took little: nothing waits any more."""
        self._behind_since = None

    def check(self, lag: Lag, held: int) -> None:
        """Look at a lag.

        Args:
            held: how many bytes the kernel would hold.
        """
        if lag.bytes * 4 >= held > 0:
            now = time.monotonic()
            if self._behind_since is None:
                self._behind_since = now - lag.seconds
            # A long list arrives in a burst, too, and is read in a moment.
            if not self._warned and now - self._behind_since >= _BEHIND:
                self._warned = True
                self.count += 1
                logger.warning(
                    "%s sends faster than this process reads: %d bytes wait, up to %.1f s old. "
                    "Asterisk closes the session soon (writetimeout)",
                    self._transport,
                    lag.bytes,
                    lag.seconds,
                )
        else:
            self._behind_since = None
            if lag.bytes * 16 < held:
                self._warned = False


class Lagging(Protocol):
    """A client that looks whether it fell behind."""

    def _check_lag(self) -> None: ...


class Pulse:
    """A beat per event loop: what a socket held before the last one, its reader has seen since.

    A late beat means that something held the loop up, and then the clients look whether they fell behind.
    """

    _all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pulse] = weakref.WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat = time.monotonic()
        self.stalled_at = -math.inf  # when the loop last went on after it had stood still
        self.clients: weakref.WeakSet[Lagging] = weakref.WeakSet()
        self._beating = False
        self._loop = weakref.ref(loop)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Pulse:
        """The pulse of a loop, beating as long as there is a client."""
        pulse = cls._all.get(loop)
        if pulse is None:
            pulse = cls._all[loop] = cls(loop)
        if not pulse._beating:
            pulse._beating = True
            pulse.beat = time.monotonic()
            loop.call_later(BEAT, pulse._tick)
        return pulse

    def _tick(self) -> None:
        loop = self._loop()
        if not self.clients or loop is None:
            self._beating = False
            return
        late = time.monotonic() - self.beat - BEAT
        if late >= STALL:
            self.stalled_at = time.monotonic()
        if late > BEAT:
            for client in list(self.clients):
                client._check_lag()
        self.beat = time.monotonic()
        loop.call_later(BEAT, self._tick)
