"""The asyncio client: many actions in flight over one session, and events to many subscribers.

The reader only drains: it cuts messages out of what came and puts them where they belong, and never waits for
a subscriber. So a slow one can't make the PBX's `writetimeout` (100 ms) cut the session; what it can't hold
is dropped from its own queue, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Iterable
from types import TracebackType
from typing import Self, Unpack

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
from ami_integration.ami.filters import EventFilter
from ami_integration.ami.login import filter_steps, login_steps
from ami_integration.ami.messages import Action, Event, Headers, Reply
from ami_integration.ami.originate import Originated, OriginateOptions, Origination, Steps, T, as_sent
from ami_integration.ami.protocol import CLOSED, NEED_DATA, Anomalies, Banner, Protocol
from ami_integration.ami.session import (
    Lag,
    LagWarning,
    as_action,
    check_banner,
    lost,
    no_banner,
    no_login,
    peer_address,
    receive_buffer,
    silent,
    waiting_bytes,
    watch_peer,
)
from ami_integration.ami.subscriptions import (
    EventQueue,
    QueueOptions,
    mask_classes,
    mask_with_call,
    passes,
)
from ami_integration.ami.transports import (
    Timeouts,
    Transport,
    connect_async,
    handshake_async,
    is_private,
    resolve_async,
)

logger = logging.getLogger(__name__)

#: asyncio reads at most so many bytes at once: a full reading means that more may wait.
_FULL_READ = 256 * 1024
#: After a reading of so many bytes, it is worth asking whether as many wait.
_MUCH = 32 * 1024
#: Seconds between two looks at whether the event loop runs.
_BEAT = 0.25


class Subscription(EventQueue):
    """Events of one session, queued for one reader; see `EventQueue` for its arguments and counters.

    Iterate over it for single events, or over `batches` for all that wait at once, which is cheaper. The
    iteration ends when the client or the subscription is closed, and raises `ConnectionLost` when the
    connection ended by itself; events that came before are delivered first.
    """

    def __init__(
        self, client: AsyncAMIClient, names: Iterable[str] | None = None, **options: Unpack[QueueOptions]
    ) -> None:
        super().__init__(names, **options)
        self._client = client
        self._arrived = asyncio.Event()
        self._closed = False
        self._error: AMIError | None = None

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Lists of the events that arrived since the last one; never empty."""
        while True:
            if not self.waiting:
                if self._error is not None:
                    raise self._error
                if self._closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            yield self.take()

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for batch in self.batches():
            for event in batch:
                yield event

    def take(self) -> list[Event]:
        """All that waits, without waiting for more."""
        batch = super().take()
        self._client._resume_reading()
        return batch

    def close(self) -> None:
        """Stop receiving; what waits can still be read."""
        self._client._unsubscribe(self)
        self._end(None)

    async def _next(self, limit: float) -> list[Event]:
        """What waits or comes within so many seconds; empty when nothing does."""
        if not self.waiting and not self._closed:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._arrived.wait()
        if not self.waiting and self._error is not None:
            raise self._error
        return self.take()

    def _put(self, events: list[Event]) -> None:
        if self.put(events):
            self._arrived.set()

    def _end(self, error: AMIError | None) -> None:
        if not self._closed:
            self._closed = True
            self._error = error
            self._arrived.set()


class AsyncAMIClient:
    """One AMI session.

    Args:
        transport: `TCP` or `TLS`.
        username: an account in manager.conf.
        secret: its secret; never part of a repr, a log or an error.
        events: the EventMask of the login: ``off``, ``on``, or classes as in ``call,system``.
        timeouts: time limits in seconds.
        filters: what the PBX is to filter events by, set at each login before any event comes.

    Use it as a context manager, or call `connect` and `close`::

        async with AsyncAMIClient(TCP("192.0.2.10"), username="admin", secret=secret, events="on") as client:
            async for event in client.events():
                print(event.name)

    Attributes:
        peer: the PBX's address, once connected.
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
        filters: Iterable[EventFilter] = (),
    ) -> None:
        self.transport = transport
        self.username = username
        self.timeouts = timeouts or Timeouts()
        self.peer = ""
        self.last_received = time.monotonic()
        self._secret = secret
        self.events_mask = events
        self.filters = list(filters)
        self._banner: Banner | None = None
        self._protocol = Protocol("client")
        self._exchanges = Exchanges(self._protocol.anomalies)
        self._futures: dict[str, asyncio.Future[Reply]] = {}
        self._subscriptions: tuple[Subscription, ...] = ()
        # Those that follow a call: they see what a mask that was widened for them lets through.
        self._followers: tuple[Subscription, ...] = ()
        self._widened = 0
        self._widening = asyncio.Lock()
        self._gate: frozenset[str] | None = None
        self._hangups: set[asyncio.Task[bool]] = set()
        # Set while the kernel takes what is written.
        self._writable = asyncio.Event()
        self._reading_paused = False
        self._drained_at = self.last_received
        self._lag = LagWarning(transport)
        self._pulse: _Pulse | None = None
        # The wire in use; callbacks of an earlier one, which may come late, mean nothing any more.
        self._wire: asyncio.Transport | None = None
        self._current: _Wire | None = None
        self._error: AMIError | None = None
        self._keepalive: asyncio.Task[None] | None = None

    # -- opening and closing

    async def connect(self) -> None:
        """Connect and log in.

        Raises:
            ConnectError: no AMI session could be opened.
            LoginError: the PBX let nobody in.
        """
        if self.connected:
            raise RuntimeError("The client is connected already.")
        limits = self.timeouts
        addresses = await resolve_async(self.transport, limits.connect)
        sock = await connect_async(self.transport, addresses, limits.connect)
        self.peer = peer_address(sock)
        watch_peer(sock, limits.keepalive)
        self._protocol = Protocol("client")
        self._exchanges = Exchanges(self._protocol.anomalies)
        self._error = None
        self._gate, self._widened = None, 0
        self._reading_paused = False
        loop = asyncio.get_running_loop()
        greeting: asyncio.Future[Banner] = loop.create_future()
        try:
            self._wire = await handshake_async(
                self.transport, sock, lambda: self._begin(greeting), self.timeouts.tls
            )
            await self._read_banner(greeting)
            await self._login()
        except BaseException:
            self._finish(ConnectionLost("The client isn't connected."), wanted=True)
            raise
        self._pulse = _Pulse.of(loop)
        self._pulse.clients.add(self)
        self._keepalive = loop.create_task(self._watch())

    def _begin(self, greeting: asyncio.Future[Banner]) -> _Wire:
        self._current = _Wire(self, greeting)
        return self._current

    async def _read_banner(self, greeting: asyncio.Future[Banner]) -> None:
        try:
            async with asyncio.timeout(self.timeouts.banner):
                self._banner = await greeting
        except TimeoutError:
            if self._protocol.unread:
                check_banner(self.transport, Banner.from_raw(self._protocol.unread))
            raise silent(self.transport, self.timeouts.banner) from None

    async def _login(self) -> None:
        steps = login_steps(
            username=self.username,
            secret=self._secret,
            events=self.events_mask,
            private=is_private(self.transport, self.peer),
            filters=self.filters,
        )
        try:
            async with asyncio.timeout(self.timeouts.login):
                action = next(steps)
                while True:
                    action = steps.send(await self._run(action))
        except StopIteration:
            return
        except TimeoutError:
            raise LoginTimeout(
                f"{self.transport} didn't answer the login within {seconds(self.timeouts.login)}."
            ) from None
        except ConnectionLost:
            raise no_login(self.transport) from None

    async def close(self) -> None:
        """Log off and close; never raises, and does nothing on a closed client."""
        if self._wire is not None and not self._wire.is_closing():
            # A courtesy: the PBX needn't wait for its keepalive to see that we left.
            self._wire.write(Action("Logoff").encode())
        self._finish(ConnectionLost("The client was closed."), wanted=True)
        keepalive, self._keepalive = self._keepalive, None
        if keepalive is not None:
            keepalive.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keepalive

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
        return self._wire is not None

    @property
    def anomalies(self) -> Anomalies:
        """What the PBX sent that was odd, counted by kind."""
        return self._protocol.anomalies

    @property
    def lag(self) -> Lag:
        """How far behind the PBX this client is: bytes that wait in the kernel, and how old they may be."""
        return self._lag_with(0)

    def _lag_with(self, just_read: int) -> Lag:
        waiting = waiting_bytes(self._socket()) + just_read
        if not waiting:
            return Lag(0, 0.0)
        # What came before the loop's last beat was read then, unless more came than one reading takes.
        beat = self._pulse.beat if self._pulse is not None and not self._reading_paused else 0.0
        return Lag(waiting, max(0.0, time.monotonic() - max(self._drained_at, beat)))

    @property
    def lag_warnings(self) -> int:
        """How many times the reader fell so far behind that Asterisk was about to cut the session."""
        return self._lag.count

    # -- using it

    async def action(
        self, action: str | Action, headers: Headers = (), *, timeout: float | None = None
    ) -> Reply:
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
        made = as_action(action, headers)
        exchange, data = self._expect(made)
        try:
            async with asyncio.timeout(limit) as scope:
                return await self._exchange(exchange, data)
        except TimeoutError:
            if not scope.expired():
                raise
            raise ActionTimeout(
                f"{self.transport} didn't answer {made.name} within {seconds(limit)}.",
                sent=exchange.sent,
                reply=exchange.partial,
            ) from None

    def command(self, command: str, *, timeout: float | None = None) -> Awaitable[Reply]:
        """Run a CLI command; the lines are in the reply's `output`."""
        return self.action("Command", {"Command": command}, timeout=timeout)

    async def originate(self, call: str | Origination, **options: Unpack[OriginateOptions]) -> Originated:
        """Make a call, and follow it to its outcome.

        Args:
            call: whom to call (``PJSIP/100``), with options as for `Origination`; or one made before.

        Returns:
            the outcome; a call that wasn't answered is one, too. Where this login is shown no events of the
            call, the PBX is asked about it; where it may not ask, the outcome is `Outcome.UNOBSERVABLE`.

        Raises:
            AMIError: as `action` does. The call may go on; it is never tried again.

        Cancelling it hangs up, and takes up to 3 s. Where the EventMask lets no ``call`` through, it is
        widened for the length of the call; subscribers see none of that.
        """
        made = Origination(call, **options) if isinstance(call, str) else call
        follower = Subscription(self, predicate=made.concerns)
        self._followers = (*self._followers, follower)
        try:
            async with self._widened_mask():
                try:
                    return await self._walk(made.steps(), follower, extra=made.ring if made.wait else 0.0)
                except asyncio.CancelledError:
                    await self._hang_up(made, follower)
                    raise
        finally:
            self._unsubscribe(follower)

    async def _walk(self, steps: Steps[T], follower: Subscription, *, extra: float = 0.0) -> T:
        """Take the steps of a call.

        Args:
            extra: seconds that an answer may take beyond its usual time limit.
        """
        answered = False
        try:
            step = next(steps)
            while True:
                if isinstance(step, Action):
                    reply = await self.action(step, timeout=self.timeouts.action + extra)
                    answered = True
                    step = steps.send(reply)
                else:
                    step = steps.send(await follower._next(step.seconds))
        except StopIteration as stop:
            result: T = stop.value
            return result
        except AMIError as error:
            if answered and not error.sent:
                raise as_sent(error) from None
            raise

    async def _hang_up(self, call: Origination, follower: Subscription) -> None:
        task = asyncio.create_task(self._walk(call.hangup_steps(), follower))
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)
        try:
            # A second cancellation doesn't stop it.
            gone = await asyncio.shield(task)
        except AMIError as error:
            logger.warning("%s: a cancelled call could not be hung up: %s", self.transport, error)
        else:
            if not gone:
                logger.warning("%s: this login may not hang up the call that it cancelled", self.transport)

    @contextlib.asynccontextmanager
    async def _widened_mask(self) -> AsyncIterator[None]:
        """See that events of calls come, and have none of them reach who didn't ask for them."""
        mask = mask_with_call(self.events_mask)
        if mask is None:
            yield
            return
        async with self._widening:
            if not self._widened:
                self._gate = mask_classes(self.events_mask)
                await self.action("Events", {"EventMask": mask})
            self._widened += 1
        try:
            yield
        finally:
            async with self._widening:
                self._widened = max(0, self._widened - 1)
                if not self._widened:
                    with contextlib.suppress(AMIError):
                        if (await self.action("Events", {"EventMask": self.events_mask or "off"})).success:
                            self._gate = None

    async def set_events_mask(self, mask: str) -> Reply:
        """Set the EventMask now and at every later login: ``off``, ``on``, or classes (``call,system``)."""
        async with self._widening:
            wider = mask_with_call(mask) if self._widened else None
            reply = await self.action("Events", {"EventMask": wider or mask})
            if reply.success:
                self.events_mask = mask
                self._gate = mask_classes(mask) if wider else None
            return reply

    async def add_filter(self, wanted: EventFilter) -> None:
        """Have the PBX filter events, now and after every later login; see `EventFilter`.

        Raises:
            LoginFailed: it refused the filter, with ``reason`` ``filter``.
            AMIError: as `action` does.
        """
        steps = filter_steps([wanted])
        try:
            step = next(steps)
            while True:
                step = steps.send(await self.action(step))
        except StopIteration:
            self.filters.append(wanted)

    def subscribe(self, names: Iterable[str] | None = None, **options: Unpack[QueueOptions]) -> Subscription:
        """Receive events from now on; subscribe before `connect` to see even those that come with the login.

        Args:
            names: only events of these names; all when None.
            options: ``pattern``, ``predicate``, ``maxsize``, ``policy``, ``callback``; see `EventQueue`.
        """
        subscription = Subscription(self, names, **options)
        if self._error is not None:
            subscription._end(self._error)
        else:
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def events(self) -> AsyncIterator[Event]:
        """Events from this call on; see `Subscription`."""
        return self._iterate(self.subscribe())

    async def _iterate(self, subscription: Subscription) -> AsyncIterator[Event]:
        try:
            async for event in subscription:
                yield event
        finally:
            subscription.close()

    # -- inside

    async def _run(self, action: Action) -> Reply:
        return await self._exchange(*self._expect(action))

    def _expect(self, action: Action) -> tuple[Exchange, bytes]:
        data = self._protocol.send(action)
        if self._wire is None or self._wire.is_closing():
            raise ConnectionLost(str(self._error or "The client isn't connected."), sent=False)
        try:
            exchange = self._exchanges.begin(action)
        except ValueError as error:
            raise InvalidAction(str(error)) from None
        self._futures[action.action_id] = asyncio.get_running_loop().create_future()
        return exchange, data

    async def _exchange(self, exchange: Exchange, data: bytes) -> Reply:
        future = self._futures[exchange.action_id]
        try:
            # What waits here has not left: the kernel takes nothing more until the PBX reads.
            while not self._writable.is_set() and not future.done():
                await self._writable.wait()
            if not future.done():
                assert self._wire is not None
                exchange.sent = True
                self._wire.write(data)
                self._resume_reading()
            return await future
        finally:
            self._futures.pop(exchange.action_id, None)
            if not exchange.done:
                self._exchanges.abandon(exchange)

    def _socket(self) -> socket.socket | None:
        found: socket.socket | None = None if self._wire is None else self._wire.get_extra_info("socket")
        return found

    def _received(self, data: bytes, greeting: asyncio.Future[Banner]) -> None:
        self.last_received = time.monotonic()
        if len(data) >= _MUCH:
            self._check_lag(len(data))
        if len(data) < _FULL_READ:
            self._drained_at = self.last_received
        protocol, exchanges = self._protocol, self._exchanges
        protocol.receive_data(data)
        next_message, dispatch, listing = protocol.next_message, exchanges.dispatch, exchanges.listing
        events: list[Event] = []
        greeted = greeting.done()
        try:
            while (message := next_message()) is not NEED_DATA:
                if isinstance(message, Event) and greeted and not listing:
                    events.append(message)
                    continue
                if message is CLOSED:
                    break
                if not greeted:
                    greeted = True
                    try:
                        greeting.set_result(check_banner(self.transport, message))
                    except AMIError as error:
                        greeting.set_exception(error)
                    continue
                taken = dispatch(message)
                if isinstance(taken, Event):
                    events.append(taken)
                elif isinstance(taken, Exchange) and taken.reply is not None:
                    future = self._futures.get(taken.action_id)
                    if future is not None and not future.done():
                        future.set_result(taken.reply)
        except MessageTooLarge as error:
            self._deliver(events)
            self._finish(error, wanted=False)
        else:
            if events:
                self._deliver(events)

    def _deliver(self, events: list[Event]) -> None:
        for follower in self._followers:
            follower._put(events)
        if self._gate is not None:
            gate = self._gate
            events = [event for event in events if passes(event, gate)]
        for subscription in self._subscriptions:
            subscription._put(events)
        if (
            any(subscription.full for subscription in self._subscriptions)
            and not len(self._exchanges)
            and not self._reading_paused
            and self._wire is not None
        ):
            # Somebody chose to have the PBX wait rather than lose events; but never for an answer.
            self._reading_paused = True
            self._wire.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and (
            len(self._exchanges) or not any(subscription.full for subscription in self._subscriptions)
        ):
            self._reading_paused = False
            if self._wire is not None and not self._wire.is_closing():
                self._wire.resume_reading()

    def _check_lag(self, just_read: int = 0) -> None:
        sock = self._socket()
        if sock is not None:
            self._lag.check(self._lag_with(just_read), receive_buffer(sock))

    def _ended(self, error: BaseException | None, greeting: asyncio.Future[Banner]) -> None:
        self._protocol.receive_data(b"")
        if not greeting.done():
            greeting.set_exception(no_banner(self.transport))
            # Whoever was cancelled while waiting for it doesn't look at it any more.
            greeting.exception()
        self._finish(lost(self.transport, error, sent=False), wanted=False)

    def _finish(self, error: AMIError, *, wanted: bool) -> None:
        """The session is over: tell all that wait.

        Args:
            error: why.
            wanted: whether this side ended it; then readers of events see an ordinary end.
        """
        wire, self._wire, self._current = self._wire, None, None
        self._error = error
        for exchange in self._exchanges.fail_all():
            future = self._futures.get(exchange.action_id)
            if future is not None and not future.done():
                future.set_exception(ConnectionLost(str(error), sent=exchange.sent, reply=exchange.partial))
        for subscription in (*self._subscriptions, *self._followers):
            subscription._end(None if wanted else error)
        self._subscriptions = ()
        # Whoever waits to write looks again, and finds the end.
        self._writable.set()
        if self._pulse is not None:
            self._pulse.clients.discard(self)
        if wire is not None:
            if wanted:
                wire.close()
            else:
                wire.abort()

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)
        self._followers = tuple(one for one in self._followers if one is not subscription)
        self._resume_reading()

    async def _watch(self) -> None:
        """Ask a silent PBX whether it still lives; a half-open connection would stay silent for ever."""
        limit = self.timeouts.keepalive
        while self.connected:
            await asyncio.sleep(max(0.01, self.last_received + limit - time.monotonic()))
            silent_for = time.monotonic() - self.last_received
            if silent_for < limit or self._exchanges.slow or self._reading_paused:
                # Asterisk runs one action at a time, and gets to no Ping before the end of a slow one, which
                # has a time limit of its own; and a host that is gone is noticed by the kernel.
                await asyncio.sleep(min(1.0, limit))
                continue
            try:
                await self.action("Ping", timeout=limit)
            except ActionTimeout:
                silence = f"{self.transport} has been silent, and didn't answer a Ping in {seconds(limit)}."
                self._finish(ConnectionLost(silence), wanted=False)
            except ConnectionLost:
                return

    def __repr__(self) -> str:
        return (
            f"<AsyncAMIClient {self.username}@{self.transport} {'connected' if self.connected else 'closed'}>"
        )


class _Pulse:
    """A beat per event loop: what a socket held before the last one, its reader has seen since.

    A late beat means that something held the loop up, and then the clients look whether they fell behind.
    """

    _all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pulse] = weakref.WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beat = time.monotonic()
        self.clients: weakref.WeakSet[AsyncAMIClient] = weakref.WeakSet()
        self._beating = False
        self._loop = weakref.ref(loop)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Pulse:
        """The pulse of a loop, beating as long as there is a client."""
        pulse = cls._all.get(loop)
        if pulse is None:
            pulse = cls._all[loop] = cls(loop)
        if not pulse._beating:
            pulse._beating = True
            pulse.beat = time.monotonic()
            loop.call_later(_BEAT, pulse._tick)
        return pulse

    def _tick(self) -> None:
        loop = self._loop()
        if not self.clients or loop is None:
            self._beating = False
            return
        late = time.monotonic() - self.beat - _BEAT
        if late > _BEAT:
            for client in list(self.clients):
                client._check_lag()
        self.beat = time.monotonic()
        loop.call_later(_BEAT, self._tick)


class _Wire(asyncio.Protocol):
    """asyncio's callbacks, handed to the client. StreamReader would cost a third more per message."""

    def __init__(self, client: AsyncAMIClient, greeting: asyncio.Future[Banner]) -> None:
        self._client = client
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        # Nothing is kept in this process: so it is known of each action whether it could have left.
        # Of TLS, a limit of 0 would mean "always full".
        transport.set_write_buffer_limits(high=1, low=0)
        self._client._writable.set()

    def pause_writing(self) -> None:
        if self._client._current is self:
            self._client._writable.clear()

    def resume_writing(self) -> None:
        if self._client._current is self:
            self._client._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._client._current is self:
            self._client._received(data, self._greeting)

    def connection_lost(self, error: Exception | None) -> None:
        if self._client._current is self:
            self._client._ended(error, self._greeting)
