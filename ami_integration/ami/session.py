"""What the blocking and the asyncio client keep of a session, and do and say alike. No I/O."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable

from ami_integration.ami.action import Action, Headers
from ami_integration.ami.errors import ConnectionLost, LoginError, NoBanner, NotAMI, seconds
from ami_integration.ami.exchange import Exchange, Exchanges
from ami_integration.ami.filters import EventFilter
from ami_integration.ami.lag import LagWarning
from ami_integration.ami.messages import Event, Message
from ami_integration.ami.protocol import DEFAULT_MAX_MESSAGE, Anomalies, Banner, Protocol
from ami_integration.ami.subscriptions import EventQueue, passes
from ami_integration.ami.transports import TLS, Timeouts, Transport

#: After a reading of so many bytes, it is worth asking whether as many wait.
MUCH = 32 * 1024


class Session:
    """One connection with a login, without its socket, which `AMIClient` and `AsyncAMIClient` add."""

    def __init__(
        self,
        transport: Transport,
        *,
        username: str,
        secret: str,
        events: str,
        timeouts: Timeouts | None,
        filters: Iterable[EventFilter],
        max_message: int = DEFAULT_MAX_MESSAGE,
        cut_answers: bool = False,
    ) -> None:
        self._max_message = max_message
        self._cut_answers = cut_answers
        self.transport = transport
        self.username = username
        self.timeouts = timeouts or Timeouts()
        self.peer = ""
        self.last_received = time.monotonic()
        self.events_mask = events
        self.filters = list(filters)
        self._secret = secret
        self._banner: Banner | None = None
        self._subscriptions: tuple[EventQueue, ...] = ()
        # Those that follow a call: they see what a mask that was widened for them lets through.
        self._followers: tuple[EventQueue, ...] = ()
        self._drained_at = self.last_received
        self._lag = LagWarning(transport)
        self._start_over()

    def _start_over(self) -> None:
        """A new connection is to be made."""
        self._protocol = Protocol("client", max_message=self._max_message, cut_answers=self._cut_answers)
        self._exchanges = Exchanges(self._protocol.anomalies)
        self.behind_at: float | None = None
        #: The classes that others than followers see while the EventMask is wider for those; None: all.
        self._gate: frozenset[str] | None = None

    @property
    def banner(self) -> str:
        """The greeting line, for example ``Asterisk Call Manager/11.0.0``."""
        return self._banner.text if self._banner else ""

    @property
    def ami_version(self) -> str:
        """The AMI version of the banner (not Asterisk's own)."""
        return (self._banner.ami_version if self._banner else None) or ""

    @property
    def anomalies(self) -> Anomalies:
        """What the PBX sent that was odd, counted by kind."""
        return self._protocol.anomalies

    @property
    def lag_warnings(self) -> int:
        """How many times the reader fell so far behind that Asterisk was about to cut the session."""
        return self._lag.count

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        raise NotImplementedError

    def _sort(self) -> None:
        """Put every message that is whole where it belongs.

        Raises:
            MessageTooLarge: nothing that comes after it can be read; what came before is delivered.
        """
        protocol, exchanges = self._protocol, self._exchanges
        events: list[Event] = []
        try:
            while isinstance(message := protocol.next_message(), Message):
                taken = exchanges.dispatch(message)
                if taken is message:
                    events.append(taken)
                    if not exchanges.listing:
                        events += protocol.next_events()
                elif isinstance(taken, Exchange) and taken.reply is not None:
                    self._answered(taken)
        finally:
            if events:
                self._deliver(events)

    def _answered(self, exchange: Exchange) -> None:
        """An action has its answer; or, if it had it before, more of it."""

    def _deliver(self, events: list[Event]) -> None:
        for follower in self._followers:
            follower.put(events)
        if self._gate is not None:
            gate = self._gate
            events = [event for event in events if passes(event, gate)]
        for subscription in self._subscriptions:
            subscription.put(events)

    def _unsubscribe(self, subscription: EventQueue) -> None:
        self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)
        self._followers = tuple(one for one in self._followers if one is not subscription)

    def __repr__(self) -> str:
        state = "connected" if self.connected else "closed"
        return f"<{type(self).__name__} {self.username}@{self.transport} {state}>"


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
