"""The blocking client: no event loop, no thread of its own, one session at a time.

It is a thin shell round `Protocol` and `Exchanges`: next message, else read and feed.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from ami_integration.ami.errors import (
    ActionTimeout,
    AMIError,
    ConnectionLost,
    InvalidAction,
    LoginTimeout,
    MessageTooLarge,
    seconds,
)
from ami_integration.ami.exchange import Exchange, Exchanges
from ami_integration.ami.login import login_steps
from ami_integration.ami.messages import Action, Event, Headers, Message, Reply
from ami_integration.ami.protocol import CLOSED, NEED_DATA, Anomalies, Banner, Protocol
from ami_integration.ami.session import as_action, check_banner, lost, no_banner, no_login, silent
from ami_integration.ami.transports import (
    Address,
    Timeouts,
    Transport,
    connect,
    handshake,
    is_private,
    resolve,
)

_READ = 256 * 1024


class AMIClient:
    """One AMI session, used by one thread at a time (a lock makes others wait).

    Args:
        transport: `TCP` or `TLS`.
        username: an account in manager.conf.
        secret: its secret; never part of a repr, a log or an error.
        events: the EventMask of the login: ``off``, ``on``, or classes as in ``call,system``.
        timeouts: time limits in seconds.
        max_events: events kept while nobody reads them; older ones are dropped and counted in `dropped`.

    Use it as a context manager, or call `connect` and `close`::

        with AMIClient(TCP("192.0.2.10"), username="admin", secret=secret) as client:
            for line in client.command("core show version").output:
                print(line)

    Attributes:
        peer: the PBX's address, once connected.
        anomalies: what the PBX sent that was odd, counted by kind.
        dropped: events dropped because nobody read them.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        username: str,
        secret: str,
        events: str = "off",
        timeouts: Timeouts | None = None,
        max_events: int = 10_000,
    ) -> None:
        self.transport = transport
        self.username = username
        self.timeouts = timeouts or Timeouts()
        self.peer = ""
        self.dropped = 0
        self._secret = secret
        self._mask = events
        self._banner: Banner | None = None
        self._addresses: list[Address] = []
        self._sock: socket.socket | None = None
        self._lost: ConnectionLost | MessageTooLarge | None = None
        self._protocol = Protocol("client")
        self._exchanges = Exchanges(self._protocol.anomalies)
        self._events: deque[Event] = deque()
        self._max_events = max_events
        self._lock = threading.RLock()

    # -- opening and closing

    def connect(self) -> None:
        """Connect and log in: `resolve`, `open` and `login` in one.

        Raises:
            ConnectError: no AMI session could be opened.
            LoginError: the PBX let nobody in.
        """
        self.resolve()
        self.open()
        self.login()

    def resolve(self) -> list[str]:
        """Look up the host's addresses, and return them.

        Raises:
            NameNotResolved, ConnectTimeout: there are none, or no answer came.
        """
        self._addresses = resolve(self.transport, self.timeouts.connect)
        return [address[0] for _, address in self._addresses]

    def open(self) -> Banner:
        """Connect, shake hands where the transport is TLS, and read the banner.

        Raises:
            ConnectError: named by its phase.
        """
        with self._lock:
            self.open_tcp()
            self.open_tls()
            return self.read_banner()

    def open_tcp(self) -> str:
        """The first step of `open`: a TCP connection. Returns the address that answered."""
        if not self._addresses:
            self.resolve()
        self._drop()
        self._protocol = Protocol("client")
        self._exchanges = Exchanges(self._protocol.anomalies)
        self._lost = None
        self._sock = connect(self.transport, self._addresses, self.timeouts.connect)
        self.peer = self._sock.getpeername()[0]
        return self.peer

    def open_tls(self) -> str | None:
        """The second step of `open`: the TLS handshake. Returns its version, or None on a clear transport."""
        sock, self._sock = self._connected(), None
        self._sock = handshake(self.transport, sock, self.timeouts.tls)
        return self._sock.version() if isinstance(self._sock, ssl.SSLSocket) else None

    def read_banner(self) -> Banner:
        """The third step of `open`: the greeting line.

        Raises:
            NoBanner: silence, or the connection was closed.
            NotAMI: the port speaks something else.
        """
        try:
            message = self._next(time.monotonic() + self.timeouts.banner)
        except ConnectionLost:
            self._drop()
            raise no_banner(self.transport) from None
        if message is None:
            greeting = self._protocol.unread
            self._drop()
            if greeting:
                check_banner(self.transport, Banner(greeting))
            raise silent(self.transport, self.timeouts.banner)
        try:
            self._banner = check_banner(self.transport, message)
        except AMIError:
            self._drop()
            raise
        return self._banner

    def login(self) -> Reply:
        """Log in on the open connection.

        Raises:
            LoginFailed: the PBX refused, in its own words.
            LoginTimeout: no answer in time.
        """
        with self._lock:
            deadline = time.monotonic() + self.timeouts.login
            steps = login_steps(
                username=self.username,
                secret=self._secret,
                events=self._mask,
                private=is_private(self.transport, self.peer),
            )
            try:
                action = next(steps)
                while True:
                    try:
                        reply = self._run(action, deadline)
                    except ActionTimeout:
                        raise LoginTimeout(
                            f"{self.transport} didn't answer the login within {seconds(self.timeouts.login)}."
                        ) from None
                    except ConnectionLost:
                        raise no_login(self.transport) from None
                    action = steps.send(reply)
            except StopIteration as stop:
                done: Reply = stop.value
                return done
            except BaseException:
                self._drop()
                raise

    def close(self) -> None:
        """Log off and close; never raises, and does nothing on a closed client."""
        with self._lock:
            if self._sock is None:
                return
            try:
                # A courtesy: the PBX needn't wait for its keepalive to see that we left.
                self._sock.settimeout(1.0)
                self._sock.sendall(Action("Logoff").encode())
            except OSError:
                pass  # the connection was gone already, which is what close() is for
            finally:
                self._drop()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what the session says of itself

    @property
    def banner(self) -> str:
        """The greeting line, for example ``Asterisk Call Manager/11.0.0``."""
        return self._banner.text if self._banner else ""

    @property
    def ami_version(self) -> str:
        """The AMI version of the banner (not Asterisk's own)."""
        return (self._banner.ami_version if self._banner else None) or ""

    @property
    def connected(self) -> bool:
        return self._sock is not None

    @property
    def anomalies(self) -> Anomalies:
        return self._protocol.anomalies

    # -- using it

    def action(self, action: str | Action, headers: Headers = (), *, timeout: float | None = None) -> Reply:
        """Run an action and wait for its whole answer, list items included.

        Args:
            action: a name, or an `Action` made before.
            headers: as for `Action`, where a name was given.
            timeout: seconds; `Timeouts.action` by default.

        Returns:
            the reply; an error of the PBX is a reply too (`Reply.success`).

        Raises:
            InvalidAction: it can't be sent; nothing was.
            ActionTimeout: it was sent, and the answer didn't come in time.
            ConnectionLost: the connection ended; `sent` says whether the action could have left.
        """
        limit = self.timeouts.action if timeout is None else timeout
        with self._lock:
            return self._run(as_action(action, headers), time.monotonic() + limit)

    def command(self, command: str, *, timeout: float | None = None) -> Reply:
        """Run a CLI command; the lines are in the reply's `output`."""
        return self.action("Command", {"Command": command}, timeout=timeout)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events as they come, those that came during actions first.

        Args:
            timeout: seconds of silence after which the iteration ends; None waits for ever.

        Raises:
            ConnectionLost: the connection ended.
        """
        while True:
            with self._lock:
                if not self._events:
                    deadline = None if timeout is None else time.monotonic() + timeout
                    while not self._events:
                        message = self._next(deadline)
                        if message is None:
                            return
                        self._dispatch(message)
                event = self._events.popleft()
            yield event

    # -- inside

    def _connected(self) -> socket.socket:
        if self._sock is None:
            raise ConnectionLost(
                "The client isn't connected." if self._lost is None else str(self._lost), sent=False
            )
        return self._sock

    def _run(self, action: Action, deadline: float) -> Reply:
        data = self._protocol.send(action)
        sock = self._connected()
        try:
            exchange = self._exchanges.begin(action)
        except ValueError as error:
            raise InvalidAction(str(error)) from None
        try:
            exchange.sent = True
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.sendall(data)
            while exchange.reply is None:
                message = self._next(deadline)
                if message is None:
                    raise ActionTimeout(f"{self.transport} didn't answer {action.name} in time.", sent=True)
                self._dispatch(message)
            return exchange.reply
        except TimeoutError:
            # Part of the action may have left, and the rest can't follow: the session is of no use any more.
            self._drop()
            raise ActionTimeout(
                f"{action.name} could not be written to {self.transport} in time.", sent=True
            ) from None
        except OSError as error:
            self._drop()
            raise lost(self.transport, error, sent=True) from None
        except ConnectionLost as error:
            raise ConnectionLost(str(error), sent=True) from None
        finally:
            self._abandon(exchange)

    def _abandon(self, exchange: Exchange) -> None:
        if not exchange.done:
            self._exchanges.abandon(exchange)

    def _dispatch(self, message: Message) -> None:
        taken = self._exchanges.dispatch(message)
        if isinstance(taken, Event):
            if len(self._events) >= self._max_events:
                self._events.popleft()
                self.dropped += 1
            self._events.append(taken)

    def _next(self, deadline: float | None) -> Message | None:
        """The next message, or None when the deadline passes first.

        Raises:
            ConnectionLost, MessageTooLarge: and the socket is closed.
        """
        while True:
            try:
                message = self._protocol.next_message()
            except MessageTooLarge as error:
                self._lost = error
                self._drop()
                raise
            if message is CLOSED:
                self._lost = lost(self.transport, None, sent=False)
                self._drop()
                raise self._lost
            if message is not NEED_DATA:
                return message
            sock = self._connected()
            if deadline is not None and time.monotonic() >= deadline:
                return None
            try:
                sock.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
                data = sock.recv(_READ)
            except TimeoutError:
                return None
            except OSError as error:
                self._lost = lost(self.transport, error, sent=False)
                self._drop()
                raise self._lost from None
            self._protocol.receive_data(data)

    def _drop(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def __repr__(self) -> str:
        return f"<AMIClient {self.username}@{self.transport} {'connected' if self.connected else 'closed'}>"
