"""The blocking client: no event loop, no thread of its own, one session at a time.

It is a thin shell round `Protocol` and `Exchanges`: next message, else read and feed. It reads only while it
is asked for something; threads take turns, and a process that was forked off can't spoil the session of its
parent.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, Unpack

from ami_integration.ami.action import Action, Headers
from ami_integration.ami.calls import make_call
from ami_integration.ami.certificate import Certificate
from ami_integration.ami.errors import (
    ActionTimeout,
    AMIError,
    ConnectionLost,
    InvalidAction,
    LoginTimeout,
    MessageTooLarge,
    seconds,
)
from ami_integration.ami.exchange import Exchange
from ami_integration.ami.filters import EventFilter
from ami_integration.ami.lag import Lag, receive_buffer, waiting_bytes
from ami_integration.ami.link import READ, Link
from ami_integration.ami.login import filter_steps, login_steps
from ami_integration.ami.messages import Event, Reply
from ami_integration.ami.originate import Originated, OriginateOptions, Origination
from ami_integration.ami.protocol import CLOSED, DEFAULT_MAX_MESSAGE, NEED_DATA, Banner
from ami_integration.ami.session import (
    MUCH,
    Session,
    as_action,
    check_banner,
    lost,
    no_banner,
    no_login,
    peer_address,
    silent,
    watch_peer,
)
from ami_integration.ami.subscriptions import (
    EventQueue,
    Predicate,
    QueueOptions,
    mask_classes,
    mask_with_call,
)
from ami_integration.ami.transports import (
    Address,
    Timeouts,
    Transport,
    connect,
    handshake,
    is_private,
    resolve,
)

#: Before an action is sent, what came meanwhile is read, at most so often, lest events keep it from leaving.
_READS_BEFORE_SENDING = 16
#: Who waits for events looks this often (seconds) for another thread's turn, or a call's cancellation.
_SLICE = 0.1


class BlockingSubscription(EventQueue):
    """Events of one `AMIClient`, queued for one reader; see `EventQueue` for its arguments and counters."""

    def __init__(
        self, client: AMIClient, names: Iterable[str] | None = None, **options: Unpack[QueueOptions]
    ) -> None:
        super().__init__(names, **options)
        self._client = client

    def batches(self, timeout: float | None = None) -> Iterator[list[Event]]:
        """Lists of the events that arrived since the last one; never empty.

        Args:
            timeout: seconds of silence after which the iteration ends; None waits for ever.

        Raises:
            ConnectionLost: the connection ended; events that came before are delivered first.
        """
        while self._client._wait_for(self, timeout):
            yield self.take()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """The same as single events."""
        for batch in self.batches(timeout):
            yield from batch

    def close(self) -> None:
        """Stop receiving; what waits can still be taken."""
        self._client._unsubscribe(self)


class _Turns:
    """A re-entrant lock that tells whether somebody waits for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counting = threading.Lock()
        self.waiting = 0

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        with self._counting:
            self.waiting += 1
        try:
            self._lock.acquire()
        finally:
            with self._counting:
                self.waiting -= 1

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class AMIClient(Session):
    """One AMI session, used by one thread at a time (a lock makes others wait).

    Args:
        transport: `TCP` or `TLS`.
        username: an account in manager.conf.
        secret: its secret; never part of a repr, a log or an error.
        events: the EventMask of the login: ``off``, ``on``, or classes as in ``call,system``.
        timeouts: time limits in seconds.
        max_events: events kept for `events` while nobody reads them; older ones are dropped and counted in
            `dropped`. With 0 none are kept, for who uses `subscribe`.
        filters: what the PBX is to filter events by, set at each login before any event comes.
        max_message: bytes that one message of the PBX may have before the session is given up.
        cut_answers: of a longer answer take the beginning; `Reply.missing` says how much was left out.

    Use it as a context manager, or call `connect` and `close`::

        with AMIClient(TCP("192.0.2.10"), username="admin", secret=secret) as client:
            for line in client.command("core show version").output:
                print(line)

    Attributes:
        peer: the PBX's address, once connected.
        anomalies: what the PBX sent that was odd, counted by kind.
        last_received: when the last bytes came (`time.monotonic`).
        events_mask: the EventMask, set again at each login.
        filters: the filters, set again at each login.
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
        filters: Iterable[EventFilter] = (),
        max_message: int = DEFAULT_MAX_MESSAGE,
        cut_answers: bool = False,
    ) -> None:
        super().__init__(
            transport,
            username=username,
            secret=secret,
            events=events,
            timeouts=timeouts,
            filters=filters,
            max_message=max_message,
            cut_answers=cut_answers,
        )
        self._addresses: list[Address] = []
        self._sock: socket.socket | None = None
        self._lost: ConnectionLost | MessageTooLarge | None = None
        self._unread = EventQueue(maxsize=max(1, max_events))
        if max_events:
            self._subscriptions = (self._unread,)
        self._ping: tuple[Exchange, float] | None = None
        self._link: Link | None = None
        self._lock = _Turns()
        _clients.add(self)

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
        self._start_over()
        self._lost = self._ping = None
        self._sock = connect(self.transport, self._addresses, self.timeouts.connect)
        self.peer = peer_address(self._sock)
        watch_peer(self._sock, self.timeouts.keepalive)
        return self.peer

    def open_tls(self) -> str | None:
        """The second step of `open`: the TLS handshake. Returns its version, or None on a clear transport.

        `read_banner` takes it where it was left out.
        """
        if self._sock is None:
            raise self._not_connected()
        sock, self._sock = self._sock, None
        self._sock = handshake(self.transport, sock, self.timeouts.tls)
        self._link = Link(self._sock)
        self.last_received = self._drained_at = time.monotonic()
        return self._link.tls.version() if self._link.tls else None

    def read_banner(self) -> Banner:
        """The third step of `open`: the greeting line.

        Raises:
            NoBanner: silence, or the connection was closed.
            NotAMI: the port speaks something else.
        """
        if self._link is None:
            self.open_tls()
        deadline = time.monotonic() + self.timeouts.banner
        try:
            while (message := self._protocol.next_message()) is NEED_DATA:
                if self._receive(deadline) is None:
                    if self._protocol.unread:
                        check_banner(self.transport, Banner.from_raw(self._protocol.unread))
                    raise silent(self.transport, self.timeouts.banner)
            if message is CLOSED:
                raise no_banner(self.transport)
            self._banner = check_banner(self.transport, message)
        except ConnectionLost:
            raise no_banner(self.transport) from None
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
                events=self.events_mask,
                private=is_private(self.transport, self.peer),
                filters=self.filters,
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
            # A courtesy: the PBX needn't wait for its keepalive to see that we left.
            self._drop(Action("Logoff").encode())

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what the session says of itself

    @property
    def connected(self) -> bool:
        return self._sock is not None

    @property
    def certificate(self) -> Certificate | None:
        """What the PBX showed, by the rules of the transport accepted; None without TLS or a connection."""
        if self._link is None or self._link.tls is None:
            return None
        return Certificate.from_der(self._link.tls.getpeercert(binary_form=True) or b"")

    def alive(self) -> bool:
        """Whether the session is open, by all that has arrived; it sends nothing and doesn't wait.

        False is certain. True may be late: a peer that vanished without a word is noticed by asking it.
        """
        with self._lock:
            if self._sock is None:
                return False
            try:
                self._catch_up()
            except AMIError:
                return False
            return self._sock is not None

    @property
    def dropped(self) -> int:
        """Events dropped because nobody read `events`."""
        return self._unread.dropped

    @property
    def lag(self) -> Lag:
        """What waits in the kernel, and for how long at most: this client reads only while it is used."""
        waiting = waiting_bytes(self._sock)
        return Lag(waiting, time.monotonic() - self._drained_at if waiting else 0.0)

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
            ActionTimeout: the answer didn't come in time, or a list didn't end; `reply` has what came.
            ConnectionLost: the connection ended; `sent` says whether the action could have left.
        """
        limit = self.timeouts.action if timeout is None else timeout
        with self._lock:
            return self._run(as_action(action, headers), time.monotonic() + limit)

    def command(self, command: str, *, timeout: float | None = None) -> Reply:
        """Run a CLI command; the lines are in the reply's `output`."""
        return self.action("Command", {"Command": command}, timeout=timeout)

    def originate(
        self,
        call: str | Origination,
        *,
        cancel: threading.Event | None = None,
        **options: Unpack[OriginateOptions],
    ) -> Originated:
        """Make a call, and follow it to its outcome.

        Args:
            call: whom to call (``PJSIP/100``), with options as for `Origination`; or one made before.
            cancel: set it from another thread to hang up; the outcome is then `Outcome.CANCELLED`.

        Returns:
            the outcome; a call that wasn't answered is one, too. Where this login is shown no events of the
            call, the PBX is asked about it; where it may not ask, the outcome is `Outcome.UNOBSERVABLE`.

        Raises:
            AMIError: as `action` does. The call may go on; it is never tried again.

        An interruption (KeyboardInterrupt) hangs up, too. Where the EventMask lets no ``call`` through, it is
        widened for the length of the call; other readers of events see none of that.
        """
        made = Origination(call, **options) if isinstance(call, str) else call
        with self._lock:
            return make_call(self, made, cancel=cancel)

    @contextmanager
    def _following(self, concerns: Predicate) -> Iterator[BlockingSubscription]:
        """Events of a call, for as long as it is followed."""
        follower = BlockingSubscription(self, predicate=concerns)
        self._followers = (*self._followers, follower)
        try:
            with self._widened_mask():
                yield follower
        finally:
            self._unsubscribe(follower)

    @contextmanager
    def _widened_mask(self) -> Iterator[None]:
        """See that events of calls come, and have none of them reach who didn't ask for them."""
        mask = mask_with_call(self.events_mask)
        if mask is None:
            yield
            return
        self._gate = mask_classes(self.events_mask)
        self.action("Events", {"EventMask": mask})
        try:
            yield
        finally:
            with suppress(AMIError):
                if self.action("Events", {"EventMask": self.events_mask or "off"}).success:
                    self._gate = None

    def set_events_mask(self, mask: str) -> Reply:
        """Set the EventMask now and at every later login: ``off``, ``on``, or classes (``call,system``)."""
        with self._lock:
            reply = self.action("Events", {"EventMask": mask})
            if reply.success:
                self.events_mask = mask
            return reply

    def add_filter(self, wanted: EventFilter) -> None:
        """Have the PBX filter events, now and after every later login; see `EventFilter`.

        Raises:
            LoginFailed: it refused the filter, with ``reason`` ``filter``.
            AMIError: as `action` does.
        """
        steps = filter_steps([wanted])
        with self._lock:
            try:
                step = next(steps)
                while True:
                    step = steps.send(self.action(step))
            except StopIteration:
                self.filters.append(wanted)

    def subscribe(
        self, names: Iterable[str] | None = None, **options: Unpack[QueueOptions]
    ) -> BlockingSubscription:
        """Receive events from now on, beside `events`; they are read while this client is used for anything.

        Args:
            names: only events of these names; all when None.
            options: ``pattern``, ``predicate``, ``maxsize``, ``policy``, ``callback``; see `EventQueue`. A
                callback is called by the thread that reads.
        """
        subscription = BlockingSubscription(self, names, **options)
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def listen(self, timeout: float | None = None) -> None:
        """Read until the connection ends or nothing has come for so many seconds: for callbacks.

        Raises:
            ConnectionLost: the connection ended.
        """
        heard = EventQueue(maxsize=1)
        self._subscriptions = (*self._subscriptions, heard)
        try:
            while self._wait_for(heard, timeout):
                heard.take()
        finally:
            self._unsubscribe(heard)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events as they come, those that came during actions first.

        Other threads may send actions meanwhile.

        Args:
            timeout: seconds of silence after which the iteration ends; None waits for ever.

        Raises:
            ConnectionLost: the connection ended, or it was silent and a Ping wasn't answered
                (`Timeouts.keepalive`).
        """
        while self._wait_for(self._unread, timeout):
            with self._lock:
                batch = self._unread.take()
            taken = 0
            try:
                for event in batch:
                    taken += 1
                    yield event
            finally:
                if taken < len(batch):
                    self._unread.put_back(batch[taken:])

    # -- inside

    def _wait_for(self, queue: EventQueue, timeout: float | None) -> bool:
        """Read until the queue holds something; False when so many seconds pass without."""
        since = time.monotonic()
        deadline = math.inf if timeout is None else since + timeout
        while True:
            while self._lock.waiting:
                time.sleep(0.001)
            with self._lock:
                if queue.waiting:
                    return True
                now = time.monotonic()
                if now >= deadline:
                    return False
                if not self._read(min(deadline, now + _SLICE)):
                    self._keep_alive(since)

    def _keep_alive(self, since: float) -> None:
        """Nothing waits to be read. Ask a silent PBX whether it lives, without waiting for the answer.

        Half of the keepalive is silence, and half of it is what the answer may take.

        Args:
            since: when this client began to wait.

        Raises:
            ConnectionLost: it doesn't live.
        """
        now = time.monotonic()
        if self._ping is not None:
            exchange, deadline = self._ping
            if exchange.done or self.last_received > deadline - self.timeouts.keepalive / 2:
                self._ping = None
                self._abandon(exchange)
            elif now >= deadline:
                raise self._silent()
        elif now >= self._quiet_until(since):
            action = Action("Ping")
            exchange = self._exchanges.begin(action)
            deadline = now + self.timeouts.keepalive / 2
            self._ping = (exchange, deadline)
            try:
                self._send(exchange, action.encode(), deadline)
            except ActionTimeout:
                # A PBX that reads nothing answers nothing.
                raise self._silent() from None

    def _silent(self) -> ConnectionLost:
        """Give the session up."""
        self._ping = None
        error = ConnectionLost(
            f"{self.transport} has been silent for {seconds(self.timeouts.keepalive)}, "
            "and didn't answer a Ping."
        )
        self._fail(error)
        return error

    def _quiet_until(self, since: float) -> float:
        """When the keepalive is to be looked after again."""
        if self._ping is not None:
            return self._ping[1]
        if self._exchanges.slow:
            # Asterisk runs one action at a time, and gets to no Ping before the end of a slow one, which has
            # a time limit of its own; and a host that is gone is noticed by the kernel.
            return math.inf
        return max(self.last_received, since) + self.timeouts.keepalive / 2

    def _connected(self) -> Link:
        if self._link is None:
            raise self._not_connected()
        return self._link

    def _not_connected(self) -> ConnectionLost:
        return ConnectionLost(
            "The client isn't connected." if self._lost is None else str(self._lost), sent=False
        )

    def _run(self, action: Action, deadline: float) -> Reply:
        data = action.encode()
        self._catch_up()
        try:
            exchange = self._exchanges.begin(action)
        except ValueError as error:
            raise InvalidAction(str(error)) from None
        try:
            self._send(exchange, data + self._exchanges.tail(exchange), deadline)
            since = time.monotonic()
            until = min(deadline, since + self.timeouts.keepalive / 2)
            while exchange.reply is None:
                if self._read(until):
                    continue
                if time.monotonic() >= deadline:
                    raise ActionTimeout(
                        f"{self.transport} didn't answer {action.name} in time.",
                        sent=True,
                        reply=exchange.partial,
                    )
                self._keep_alive(since)
                until = min(deadline, self._quiet_until(since))
            return exchange.reply
        except ConnectionLost as error:
            raise ConnectionLost(str(error), sent=exchange.sent, reply=exchange.partial) from None
        finally:
            self._abandon(exchange)

    def _catch_up(self) -> None:
        """Read what came while nobody did: above all the end of the connection, before an action is lost."""
        for _ in range(_READS_BEFORE_SENDING):
            if not self._read(0.0):
                return

    def _send(self, exchange: Exchange, data: bytes, deadline: float) -> None:
        """Write an action; `Exchange.sent` says whether any of it left.

        Raises:
            ActionTimeout, ConnectionLost: it couldn't be written whole; if a part was, the socket is closed.
        """
        link = self._connected()
        try:
            while data:
                written = link.send(data, deadline)
                if not written:
                    if exchange.sent or link.tls:
                        # The rest can't follow, and the next action would be read as a part of this one.
                        self._drop()
                    raise ActionTimeout(
                        f"{exchange.action_name} could not be written to {self.transport} in time.",
                        sent=exchange.sent,
                    )
                exchange.sent = True
                data = data[written:]
        except OSError as error:
            self._fail(lost(self.transport, error, sent=False))
            raise lost(self.transport, error, sent=exchange.sent) from None

    def _abandon(self, exchange: Exchange) -> None:
        if not exchange.done:
            self._exchanges.abandon(exchange)

    def _read(self, deadline: float) -> bool:
        """Read once, and put what came where it belongs; False when the deadline passes first.

        Raises:
            ConnectionLost, MessageTooLarge: nothing more comes, and the socket is closed.
        """
        data = self._receive(deadline)
        if data is None:
            return False
        try:
            self._sort()
        except MessageTooLarge as error:
            self._fail(error)
            raise
        if not data:
            ended = lost(self.transport, None, sent=False)
            self._fail(ended)
            raise ended
        return True

    def _receive(self, deadline: float) -> bytes | None:
        """Read once and feed what came, which is nothing at the end of input; None when the deadline passes.

        Raises:
            ConnectionLost: and the socket is closed.
        """
        link = self._connected()
        try:
            data = link.receive(deadline)
        except OSError as error:
            ended = lost(self.transport, error, sent=False)
            self._fail(ended)
            raise ended from None
        if data is None:
            self._drained_at = time.monotonic()
            return None
        self.last_received = time.monotonic()
        if len(data) >= MUCH:
            lag = Lag(len(data) + waiting_bytes(link.sock), self.last_received - self._drained_at)
            self._lag.check(lag, receive_buffer(link.sock))
        else:
            self._lag.caught_up()
        if len(data) < READ:
            self._drained_at = self.last_received
        self._protocol.receive_data(data)
        return data

    def _fail(self, error: ConnectionLost | MessageTooLarge) -> None:
        """The connection ended, and this is why."""
        self._lost = error
        self._drop()

    def _drop(self, last_words: bytes = b"") -> None:
        (sock, self._sock), (link, self._link) = (self._sock, None), (self._link, None)
        if link is not None:
            link.close(last_words)
        elif sock is not None:
            sock.close()

    def _forked(self) -> None:
        """In a process that was forked off: the connection is the parent's, and another thread may have held
        the lock.
        """
        self._lock = _Turns()
        if self._sock is not None:
            self._lost = ConnectionLost("The connection belongs to the parent process: connect again.")
            self._drop()


_clients: weakref.WeakSet[AMIClient] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
