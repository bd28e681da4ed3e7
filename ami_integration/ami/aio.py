"""The asyncio client: many actions in flight over one session, and events to many subscribers.

The reader only drains: it cuts messages out of what came and puts them where they belong, and never waits for
a subscriber. So a slow one can't make the PBX's `writetimeout` (100 ms) cut the session; what it can't hold
is dropped from its own queue, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, Unpack

from ami_integration.ami.action import Action, Headers
from ami_integration.ami.calls import make_call_async
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
from ami_integration.ami.lag import BEAT, STALL, Lag, Pulse, receive_buffer, waiting_bytes
from ami_integration.ami.login import filter_steps, login_steps
from ami_integration.ami.messages import Event, Message, Reply
from ami_integration.ami.originate import Originated, OriginateOptions, Origination
from ami_integration.ami.protocol import Banner
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
    Timeouts,
    Transport,
    connect_async,
    handshake_async,
    is_private,
    resolve_async,
)

#: asyncio reads at most so many bytes at once: a full reading means that more may wait.
_FULL_READ = 256 * 1024
#: Events of more bytes than this are too many for the processor's cache, which costs a third of the speed.
_SLICE = 64 * 1024
#: Much that comes so soon (seconds) after the loop stood still has waited for it.
_AFTER_STALL = 1.0
#: Seconds that a connection may take to end before it is cut.
_FAREWELL = 1.0
#: At most so many bytes of several actions are written at once.
_MOST_WRITTEN = 16 * 1024


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
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._arrived.wait()
        if not self.waiting and self._error is not None:
            raise self._error
        return self.take()

    def put(self, events: list[Event]) -> bool:
        """Take what is wanted of these events, and wake the reader."""
        some = super().put(events)
        if some:
            self._arrived.set()
        return some

    def _end(self, error: AMIError | None) -> None:
        if not self._closed:
            self._closed = True
            self._error = error
            self._arrived.set()


@dataclass(slots=True, eq=False)
class _Pending:
    """An action that waits to be written, or for its answer."""

    exchange: Exchange
    data: bytes
    answer: asyncio.Future[Reply]
    limit: float
    deadline: float


class AsyncAMIClient(Session):
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
        behind_at: when this side was last found to have left the PBX waiting for longer than its
            `writetimeout` may bear (`time.monotonic`), or None: a connection that ended right after was
            probably cut for it.
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
        super().__init__(
            transport, username=username, secret=secret, events=events, timeouts=timeouts, filters=filters
        )
        self._pending: dict[str, _Pending] = {}
        # Not written yet, oldest first. They are written together, when the loop has run what made them.
        self._outbox: deque[_Pending] = deque()
        self._flushing = False
        self._writable = False
        self._alarm: asyncio.TimerHandle | None = None
        self._widened = 0
        self._widening = asyncio.Lock()
        self._reading_paused = False
        self._pulse: Pulse | None = None
        self._burst = 0  # bytes of full reads, one after the other
        self._after_stall = 0  # bytes that came since the loop went on after it had stood still
        # The wire in use; callbacks of an earlier one, which may come late, mean nothing any more.
        self._wire: asyncio.Transport | None = None
        self._current: _Wire | None = None
        self._error: AMIError | None = None
        self._full_since: float | None = None  # since when every reading was a full one
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
        self._start_over()
        self._error = None
        self._widened = 0
        self._reading_paused = False
        self._full_since = None
        loop = asyncio.get_running_loop()
        greeting: asyncio.Future[Banner] = loop.create_future()
        try:
            self._wire = await handshake_async(
                self.transport, sock, lambda: self._begin(greeting), self.timeouts.tls
            )
            await self._read_banner(greeting)
            await self._login()
        except BaseException:
            wire, current = self._wire, self._current
            self._finish(ConnectionLost("The client isn't connected."), wanted=True)
            await _gone(wire, current)
            raise
        self._pulse = Pulse.of(loop)
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
                    action = steps.send(await self.action(action, timeout=math.inf))
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
        wire, current = self._wire, self._current
        self._finish(ConnectionLost("The client was closed."), wanted=True)
        await _gone(wire, current)
        keepalive, self._keepalive = self._keepalive, None
        if keepalive is not None:
            keepalive.cancel()
            with suppress(asyncio.CancelledError):
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
    def connected(self) -> bool:
        return self._wire is not None

    @property
    def certificate(self) -> Certificate | None:
        """What the PBX showed, by the rules of the transport accepted; None without TLS or a connection."""
        tls = None if self._wire is None else self._wire.get_extra_info("ssl_object")
        return None if tls is None else Certificate.from_der(tls.getpeercert(binary_form=True) or b"")

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
        pending = self._post(as_action(action, headers), self.timeouts.action if timeout is None else timeout)
        exchange = pending.exchange
        try:
            return await pending.answer
        finally:
            del self._pending[exchange.action_id]
            if not exchange.done:
                self._exchanges.abandon(exchange)

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
        return await make_call_async(self, made)

    @asynccontextmanager
    async def _following(self, concerns: Predicate) -> AsyncIterator[Subscription]:
        """Events of a call, for as long as it is followed."""
        follower = Subscription(self, predicate=concerns)
        self._followers = (*self._followers, follower)
        try:
            async with self._widened_mask():
                yield follower
        finally:
            self._unsubscribe(follower)

    @asynccontextmanager
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
                    with suppress(AMIError):
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

    def _post(self, action: Action, limit: float) -> _Pending:
        """Have an action written, and its answer awaited for so many seconds."""
        data = action.encode()
        if self._wire is None or self._wire.is_closing():
            raise ConnectionLost(str(self._error or "The client isn't connected."), sent=False)
        try:
            exchange = self._exchanges.begin(action)
        except ValueError as error:
            raise InvalidAction(str(error)) from None
        loop = asyncio.get_running_loop()
        data += self._exchanges.tail(exchange)
        pending = _Pending(exchange, data, loop.create_future(), limit, loop.time() + limit)
        self._pending[action.action_id] = pending
        self._outbox.append(pending)
        if self._writable and not self._flushing:
            self._flushing = True
            loop.call_soon(self._flush)
        self._set_alarm(pending.deadline)
        return pending

    def _flush(self) -> None:
        """Write what waits. What still waits then has not left: the kernel takes nothing more."""
        self._flushing = False
        while self._outbox and self._writable and self._wire is not None and not self._wire.is_closing():
            chunks, size = [], 0
            while self._outbox and size < _MOST_WRITTEN:
                pending = self._outbox.popleft()
                if not pending.answer.done():  # given up meanwhile
                    pending.exchange.sent = True
                    chunks.append(pending.data)
                    size += len(pending.data)
            self._wire.write(b"".join(chunks))
            self._resume_reading()

    def _set_alarm(self, deadline: float) -> None:
        """One timer for all that waits: it is set for the first deadline, and looks for the next one then."""
        if deadline == math.inf or (self._alarm is not None and self._alarm.when() <= deadline):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._alarm = None
        now = asyncio.get_running_loop().time()
        for pending in self._pending.values():
            if pending.answer.done():
                continue
            if pending.deadline > now:
                self._set_alarm(pending.deadline)
                continue
            exchange = pending.exchange
            pending.answer.set_exception(
                ActionTimeout(
                    f"{self.transport} didn't answer {exchange.action_name} within {seconds(pending.limit)}.",
                    sent=exchange.sent,
                    reply=exchange.partial,
                )
            )

    def _socket(self) -> socket.socket | None:
        found: socket.socket | None = None if self._wire is None else self._wire.get_extra_info("socket")
        return found

    def _received(self, data: bytes, greeting: asyncio.Future[Banner]) -> None:
        self.last_received = time.monotonic()
        if len(data) >= MUCH:
            self._check_lag(len(data))
        else:
            self._lag.caught_up()
        if len(data) < _FULL_READ:
            self._drained_at = self.last_received
            self._full_since = None
            self._burst = 0
        else:
            self._full_since = self._full_since or self.last_received
            self._burst += len(data)
            # The kernel held as much as it takes (half of the buffer is its own overhead), or it goes on so.
            if self.last_received - self._full_since >= STALL or self._burst * 2 >= self._held_at_most():
                self.behind_at = self.last_received
        self._after_stall = self._after_stall + len(data) if self._stalled() else 0
        if self._after_stall >= MUCH:
            self.behind_at = self.last_received  # it had waited, however small the pieces in which it comes
        self._protocol.receive_data(data[:_SLICE])
        if not greeting.done():
            message = self._protocol.next_message()
            if not isinstance(message, Message):
                return
            try:
                greeting.set_result(check_banner(self.transport, message))
            except AMIError as error:
                greeting.set_exception(error)
        try:
            self._sort()
            for start in range(_SLICE, len(data), _SLICE):
                self._protocol.receive_data(data[start : start + _SLICE])
                self._sort()
        except MessageTooLarge as error:
            self._finish(error, wanted=False)

    def _answered(self, exchange: Exchange) -> None:
        pending = self._pending.get(exchange.action_id)
        if pending is not None and not pending.answer.done() and exchange.reply is not None:
            pending.answer.set_result(exchange.reply)

    def _deliver(self, events: list[Event]) -> None:
        super()._deliver(events)
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
            lag = self._lag_with(just_read)
            if lag.bytes >= MUCH and (lag.seconds >= BEAT + STALL or self._stalled()):
                self.behind_at = time.monotonic()
            self._lag.check(lag, receive_buffer(sock))

    def _held_at_most(self) -> int:
        sock = self._socket()
        return 0 if sock is None else receive_buffer(sock)

    def _stalled(self) -> bool:
        """Whether the loop goes on just now after it had stood still, noticed by the pulse or not yet."""
        pulse, now = self._pulse, time.monotonic()
        return pulse is not None and (
            now - pulse.stalled_at < _AFTER_STALL or now - pulse.beat >= BEAT + STALL
        )

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
        self._exchanges.fail_all()
        for pending in self._pending.values():
            if not pending.answer.done():
                exchange = pending.exchange
                pending.answer.set_exception(
                    ConnectionLost(str(error), sent=exchange.sent, reply=exchange.partial)
                )
        self._outbox.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for subscription in (*self._subscriptions, *self._followers):
            if isinstance(subscription, Subscription):
                subscription._end(None if wanted else error)
        self._subscriptions = ()
        if self._pulse is not None:
            self._pulse.clients.discard(self)
        if wire is not None:
            if wanted:
                wire.close()
            else:
                wire.abort()

    def _unsubscribe(self, subscription: EventQueue) -> None:
        super()._unsubscribe(subscription)
        self._resume_reading()

    async def _watch(self) -> None:
        """Ask a silent PBX whether it still lives; a half-open connection would stay silent for ever."""
        # Half of the keepalive is silence, and half of it is what the answer may take.
        limit = self.timeouts.keepalive / 2
        while self.connected:
            if (left := self.last_received + limit - time.monotonic()) > 0:
                await asyncio.sleep(left)
                continue
            if self._exchanges.slow or self._reading_paused:
                # Asterisk runs one action at a time, and gets to no Ping before the end of a slow one, which
                # has a time limit of its own; and a host that is gone is noticed by the kernel.
                await asyncio.sleep(min(1.0, limit))
                continue
            try:
                await self.action("Ping", timeout=limit)
            except ActionTimeout:
                if time.monotonic() - self.last_received < limit:
                    continue  # it speaks, if not of the Ping
                silence = (
                    f"{self.transport} has been silent for {seconds(self.timeouts.keepalive)}, "
                    "and didn't answer a Ping."
                )
                self._finish(ConnectionLost(silence), wanted=False)
            except ConnectionLost:
                return


async def _gone(wire: asyncio.Transport | None, current: _Wire | None) -> None:
    """Wait until a closed wire has left the kernel; one that lingers (TLS waits for its peer) is cut."""
    if wire is None or current is None:
        return
    await asyncio.wait([current.gone], timeout=_FAREWELL)
    if not current.gone.done():
        wire.abort()
        await asyncio.wait([current.gone], timeout=_FAREWELL)


class _Wire(asyncio.Protocol):
    """asyncio's callbacks, handed to the client. StreamReader would cost a third more per message."""

    def __init__(self, client: AsyncAMIClient, greeting: asyncio.Future[Banner]) -> None:
        self._client = client
        self._greeting = greeting
        self.gone = greeting.get_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        # Nothing is kept in this process: so it is known of each action whether it could have left.
        # Of TLS, a limit of 0 would mean "always full".
        transport.set_write_buffer_limits(high=1, low=0)
        self._client._writable = True

    def pause_writing(self) -> None:
        if self._client._current is self:
            self._client._writable = False

    def resume_writing(self) -> None:
        if self._client._current is self:
            self._client._writable = True
            self._client._flush()

    def data_received(self, data: bytes) -> None:
        if self._client._current is self:
            self._client._received(data, self._greeting)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        if self._client._current is self:
            self._client._ended(error, self._greeting)
