"""The asyncio client: many actions in flight over one session, and events to many subscribers.

The reader only drains: it cuts messages out of what came and puts them where they belong, and never waits for
a subscriber. So a slow one can't make the PBX's `writetimeout` (100 ms) cut the session; what it can't hold
is dropped from its own queue, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable
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
from ami_integration.ami.messages import Action, Event, Headers, Reply
from ami_integration.ami.protocol import CLOSED, NEED_DATA, Anomalies, Banner, Protocol
from ami_integration.ami.session import as_action, check_banner, lost, no_banner, no_login, silent
from ami_integration.ami.transports import (
    Timeouts,
    Transport,
    connect_async,
    handshake_async,
    is_private,
    resolve_async,
)


class Subscription:
    """Events of one session, queued for one reader.

    Iterate over it for single events, or over `batches` for all that wait at once, which is cheaper. The
    iteration ends when the client or the subscription is closed, and raises `ConnectionLost` when the
    connection ended by itself; events that came before are delivered first.

    Attributes:
        dropped: events dropped because the queue was full.
    """

    def __init__(self, client: AsyncAMIClient, names: Iterable[str] | None, maxsize: int) -> None:
        self.dropped = 0
        self._client = client
        self._names = None if names is None else frozenset(names)
        self._queue: deque[Event] = deque()
        self._maxsize = maxsize
        self._arrived = asyncio.Event()
        self._closed = False
        self._error: AMIError | None = None

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Lists of the events that arrived since the last one; never empty."""
        while True:
            if not self._queue:
                if self._error is not None:
                    raise self._error
                if self._closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = list(self._queue)
            self._queue.clear()
            yield batch

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for batch in self.batches():
            for event in batch:
                yield event

    def close(self) -> None:
        """Stop receiving; what waits can still be read."""
        self._client._unsubscribe(self)
        self._end(None)

    def _put(self, event: Event) -> None:
        if self._names is not None and event.name not in self._names:
            return
        if len(self._queue) >= self._maxsize:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(event)
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

    Use it as a context manager, or call `connect` and `close`::

        async with AsyncAMIClient(TCP("192.0.2.10"), username="admin", secret=secret, events="on") as client:
            async for event in client.events():
                print(event.name)

    Attributes:
        peer: the PBX's address, once connected.
        last_received: when the last bytes came (`time.monotonic`).
    """

    def __init__(
        self,
        transport: Transport,
        *,
        username: str,
        secret: str,
        events: str = "off",
        timeouts: Timeouts | None = None,
    ) -> None:
        self.transport = transport
        self.username = username
        self.timeouts = timeouts or Timeouts()
        self.peer = ""
        self.last_received = time.monotonic()
        self._secret = secret
        self._mask = events
        self._banner: Banner | None = None
        self._protocol = Protocol("client")
        self._exchanges = Exchanges(self._protocol.anomalies)
        self._futures: dict[str, asyncio.Future[Reply]] = {}
        self._subscriptions: tuple[Subscription, ...] = ()
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
        self.peer = sock.getpeername()[0]
        self._protocol = Protocol("client")
        self._exchanges = Exchanges(self._protocol.anomalies)
        self._error = None
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
                check_banner(self.transport, Banner(self._protocol.unread))
            raise silent(self.transport, self.timeouts.banner) from None

    async def _login(self) -> None:
        steps = login_steps(
            username=self.username,
            secret=self._secret,
            events=self._mask,
            private=is_private(self.transport, self.peer),
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
            ActionTimeout: it was sent, and the answer didn't come in time.
            ConnectionLost: the connection ended; `sent` says whether the action could have left.
        """
        limit = self.timeouts.action if timeout is None else timeout
        made = as_action(action, headers)
        try:
            async with asyncio.timeout(limit) as scope:
                return await self._run(made)
        except TimeoutError:
            if not scope.expired():
                raise
            raise ActionTimeout(
                f"{self.transport} didn't answer {made.name} within {seconds(limit)}.", sent=True
            ) from None

    def command(self, command: str, *, timeout: float | None = None) -> Awaitable[Reply]:
        """Run a CLI command; the lines are in the reply's `output`."""
        return self.action("Command", {"Command": command}, timeout=timeout)

    def subscribe(self, names: Iterable[str] | None = None, *, maxsize: int = 10_000) -> Subscription:
        """Receive events from now on; subscribe before `connect` to see even those that come with the login.

        Args:
            names: only events of these names; all when None.
            maxsize: how many may wait; beyond it the oldest are dropped and counted.
        """
        subscription = Subscription(self, names, maxsize)
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
        data = self._protocol.send(action)
        wire = self._wire
        if wire is None or wire.is_closing():
            raise ConnectionLost(str(self._error or "The client isn't connected."), sent=False)
        try:
            exchange = self._exchanges.begin(action)
        except ValueError as error:
            raise InvalidAction(str(error)) from None
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._futures[action.action_id] = future
        exchange.sent = True
        wire.write(data)
        try:
            return await future
        finally:
            self._futures.pop(action.action_id, None)
            if not exchange.done:
                self._exchanges.abandon(exchange)

    def _received(self, data: bytes, greeting: asyncio.Future[Banner]) -> None:
        self.last_received = time.monotonic()
        protocol = self._protocol
        protocol.receive_data(data)
        dispatch = self._exchanges.dispatch
        try:
            while (message := protocol.next_message()) is not NEED_DATA:
                if message is CLOSED:
                    break
                if not greeting.done():
                    try:
                        greeting.set_result(check_banner(self.transport, message))
                    except AMIError as error:
                        greeting.set_exception(error)
                    continue
                taken = dispatch(message)
                if isinstance(taken, Event):
                    for subscription in self._subscriptions:
                        subscription._put(taken)
                elif isinstance(taken, Exchange) and taken.reply is not None:
                    future = self._futures.get(taken.action_id)
                    if future is not None and not future.done():
                        future.set_result(taken.reply)
        except MessageTooLarge as error:
            self._finish(error, wanted=False)

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
                future.set_exception(ConnectionLost(str(error), sent=exchange.sent))
        for subscription in self._subscriptions:
            subscription._end(None if wanted else error)
        self._subscriptions = ()
        if wire is not None:
            if wanted:
                wire.close()
            else:
                wire.abort()

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)

    async def _watch(self) -> None:
        """Ask a silent PBX whether it still lives; a half-open connection would stay silent for ever."""
        limit = self.timeouts.keepalive
        while self.connected:
            await asyncio.sleep(max(0.01, self.last_received + limit - time.monotonic()))
            if time.monotonic() - self.last_received < limit or len(self._exchanges):
                # An action that runs answers for the session: Asterisk runs one at a time and would not get
                # to a Ping before its end; the action has a time limit of its own.
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


class _Wire(asyncio.Protocol):
    """asyncio's callbacks, handed to the client. StreamReader would cost a third more per message."""

    def __init__(self, client: AsyncAMIClient, greeting: asyncio.Future[Banner]) -> None:
        self._client = client
        self._greeting = greeting

    def data_received(self, data: bytes) -> None:
        if self._client._current is self:
            self._client._received(data, self._greeting)

    def connection_lost(self, error: Exception | None) -> None:
        if self._client._current is self:
            self._client._ended(error, self._greeting)
