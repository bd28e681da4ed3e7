"""What the blocking and the asyncio client say and check alike."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import time
from dataclasses import dataclass

from ami_integration.ami.errors import ConnectionLost, LoginError, NoBanner, NotAMI, seconds
from ami_integration.ami.messages import Action, Headers, Message
from ami_integration.ami.protocol import Banner
from ami_integration.ami.transports import TLS, Transport

try:
    import fcntl
    import termios
except ImportError:  # not a Unix: there the kernel can't be asked
    fcntl = termios = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

#: A reader that is behind for so long (seconds) is told of.
_BEHIND = 0.5


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

    Asterisk cuts a session whose socket stays full for its `writetimeout` (100 ms by default).
    """

    def __init__(self, transport: Transport) -> None:
        self.count = 0
        self._transport = transport
        self._warned = False
        self._behind_since: float | None = None

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


def peer_address(sock: socket.socket) -> str:
    """The address of the other end; empty where it has none (a tunnel)."""
    name = sock.getpeername()
    return str(name[0]) if isinstance(name, tuple) and name else ""


def watch_peer(sock: socket.socket, keepalive: float) -> None:
    """Have the kernel give up a peer that is gone within about so many seconds.

    Two cases: nothing is under way (keepalive probes), and what was sent is never acknowledged.
    """
    options = [
        ("TCP_KEEPIDLE", max(1, round(keepalive / 2))),
        ("TCP_KEEPINTVL", max(1, round(keepalive / 6))),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", max(1000, round(keepalive * 1000))),
    ]
    for name, value in options:
        # A tunnel's socket isn't TCP, and other systems know fewer options.
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def as_action(action: str | Action, headers: Headers) -> Action:
    """An action from a name and headers, or the one that was given."""
    return action if isinstance(action, Action) else Action(action, headers)


def check_banner(transport: Transport, message: Message) -> Banner:
    """The first message of a session, if it is an AMI banner.

    Raises:
        NotAMI: it isn't; the error shows what came.
    """
    if isinstance(message, Banner) and message.ami_version:
        return message
    seen = message.raw[:60]
    what = (
        "an SSH server" if seen.startswith(b"SSH-") else "a web server" if seen.startswith(b"HTTP/") else None
    )
    guess = f", which looks like {what}" if what else ""
    raise NotAMI(f"{transport} doesn't speak AMI: it greeted with {seen!r}{guess}.")


def no_banner(transport: Transport) -> NoBanner:
    """The connection was closed before the banner."""
    return NoBanner(
        f"{transport} closed the connection before any greeting: it may have too many sessions that haven't "
        f"logged in (authlimit in manager.conf), or the port isn't AMI's."
    )


def silent(transport: Transport, timeout: float) -> NoBanner:
    """Connected, and nothing was said."""
    hint = "" if isinstance(transport, TLS) else " It may expect TLS, or speak another protocol."
    return NoBanner(
        f"{transport} accepted the connection and said nothing for {seconds(timeout)}.{hint}", reason="silent"
    )


def no_login(transport: Transport) -> LoginError:
    """The connection was closed in the middle of the login: no refusal, so it may be tried again soon."""
    return LoginError(f"{transport} closed the connection during the login without a reason.")


def lost(transport: Transport, error: BaseException | None, *, sent: bool) -> ConnectionLost:
    """The connection ended.

    Args:
        error: what the system said, or None where the PBX closed it.
        sent: whether the action that waited could have been seen.
    """
    if error is None:
        return ConnectionLost(f"{transport} closed the connection.", sent=sent)
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ConnectionLost(f"The connection to {transport} was lost: {said}.", sent=sent)
