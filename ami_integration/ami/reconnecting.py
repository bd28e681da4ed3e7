"""A session that comes back: events of one PBX for as long as somebody wants them.

It reconnects with capped exponential backoff and jitter, so that a fleet doesn't storm a PBX which has just
restarted, and it says what happened: the time without a session is a `Gap`, and never hidden. Whatever keeps
it out is told apart (`failure_kind`), since each needs another wait and another person. Each session gets the
EventMask and the filters of the one before it. It sends no action of its own accord and repeats none.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ami_integration.ami.aio import AsyncAMIClient
from ami_integration.ami.errors import (
    AMIError,
    ConnectionLost,
    LoginFailed,
    NoBanner,
    SSHFailed,
    TLSFailed,
)
from ami_integration.ami.filters import EventFilter
from ami_integration.ami.messages import Event
from ami_integration.ami.transports import Timeouts, Transport

#: What keeps a session from being: the network (or a PBX that is down or overloaded); the login (name, secret
#: or address not permitted, which Asterisk doesn't tell apart; or the account may not filter); a certificate
#: or host key that isn't trusted; an account whose only session is taken; or too many sessions on the PBX.
FailureKind: TypeAlias = Literal["network", "login", "trust", "in_use", "too_many_sessions"]


def failure_kind(error: AMIError) -> FailureKind:
    """Which kind of failure an error is, and so who can mend it."""
    if isinstance(error, LoginFailed):
        return "in_use" if error.reason == "in_use" else "login"
    if isinstance(error, NoBanner) and error.reason == "closed":
        return "too_many_sessions"
    if isinstance(error, SSHFailed) and error.reason in ("auth", "key"):
        return "login"
    if isinstance(error, SSHFailed) and error.reason == "host_key":
        return "trust"
    if isinstance(error, TLSFailed) and error.reason in ("unknown_ca", "name", "expired", "pin"):
        return "trust"
    return "network"


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next attempt, in seconds.

    Attributes:
        first: after the first failure; doubled after each further one.
        cap: never longer than this.
        login_failed: after a refused login (or filter, or an untrusted certificate or key), which only a
            person can mend: PBXs log these, and lock out who tries too often.
        in_use: where the account's only session is taken, maybe by one of ours that the PBX thinks alive.
        crowded: where the PBX seems to have too many sessions that haven't logged in, which more attempts
            make worse; doubled like `first`.
        stable: a session that held this long was a good one, and the next failure counts as the first.
    """

    first: float = 0.5
    cap: float = 30.0
    login_failed: float = 60.0
    in_use: float = 30.0
    crowded: float = 5.0
    stable: float = 10.0

    def delay(self, failures: int, error: AMIError, jitter: float) -> float:
        """Seconds to wait.

        Args:
            failures: how many attempts have failed in a row, this one included.
            error: why the last one did.
            jitter: 0 to 1; the wait is between half and the whole of the delay.
        """
        match failure_kind(error):
            case "login" | "trust":
                whole = self.login_failed
            case "in_use":
                whole = self.in_use
            case "too_many_sessions":
                whole = min(self.cap, self.crowded * 2.0 ** min(failures - 1, 30))
            case "network":
                whole = min(self.cap, self.first * 2.0 ** min(failures - 1, 30))
        return whole * (0.5 + jitter / 2)


@dataclass(frozen=True)
class Connected:
    """The first session is there."""

    at: float
    banner: str


@dataclass(frozen=True)
class ConnectFailed:
    """An attempt failed; the next one comes after `retry_in` seconds."""

    at: float
    error: AMIError
    retry_in: float

    @property
    def kind(self) -> FailureKind:
        return failure_kind(self.error)


@dataclass(frozen=True)
class Gap:
    """The session was lost: events from `since` (the last bytes that came) on are missing."""

    since: float
    error: AMIError

    @property
    def kind(self) -> FailureKind:
        return failure_kind(self.error)


@dataclass(frozen=True)
class Resumed:
    """A session is there again after `gap`."""

    at: float
    banner: str
    gap: Gap


Item: TypeAlias = "list[Event] | Connected | ConnectFailed | Gap | Resumed"


@dataclass
class ReconnectingClient:
    """Events of a PBX, over as many sessions as it takes.

    Args:
        transport, username, secret, events, timeouts: as for `AsyncAMIClient`.
        backoff: how long to wait between attempts.
        filters: as for `AsyncAMIClient`.
        maxsize: events that may wait for the reader before the oldest are dropped and counted.
        admission: called with the number of failures in a row; each attempt to connect and log in waits
            until it is let into what this returns. So a fleet bounds how many attempts go on at once.

    Iterate over `batches`; closing the iteration closes the session::

        client = ReconnectingClient(TCP("192.0.2.10"), username="admin", secret=secret)
        async with contextlib.aclosing(client.batches()) as items:
            async for item in items:
                match item:
                    case list(): handle(item)
                    case Gap(since=since): print("events are missing since", since)

    Attributes:
        client: the live session, or None.
        last_error: why there is none, or None.
        dropped: events dropped because the reader was slow, over all sessions.

    Times are seconds since the epoch (`time.time`).
    """

    transport: Transport
    username: str
    secret: str = field(repr=False)
    events: str = "on"
    timeouts: Timeouts = field(default_factory=Timeouts)
    backoff: Backoff = field(default_factory=Backoff)
    maxsize: int = 100_000
    filters: Sequence[EventFilter] = ()
    admission: Callable[[int], AbstractAsyncContextManager[object]] = field(default=nullcontext, repr=False)
    client: AsyncAMIClient | None = field(default=None, init=False)
    last_error: AMIError | None = field(default=None, init=False)
    dropped: int = field(default=0, init=False)

    async def batches(self) -> AsyncGenerator[Item]:
        """Lists of events, and between them what happened to the session. Ends only by being left."""
        gap: Gap | None = None
        failures = 0
        while True:
            client = AsyncAMIClient(
                self.transport,
                username=self.username,
                secret=self.secret,
                events=self.events,
                timeouts=self.timeouts,
                filters=self.filters,
            )
            # Before connecting: events may come in the same segment as the login's answer.
            subscription = client.subscribe(maxsize=self.maxsize)
            try:
                async with self.admission(failures):
                    await client.connect()
            except AMIError as error:
                failures += 1
                self.last_error = error
                delay = self.backoff.delay(failures, error, random.random())  # noqa: S311 - spreads load
                yield ConnectFailed(at=time.time(), error=error, retry_in=delay)
                await asyncio.sleep(delay)
                continue
            began = time.monotonic()
            self.client, self.last_error = client, None
            already_dropped = self.dropped
            try:
                now = time.time()
                yield Connected(now, client.banner) if gap is None else Resumed(now, client.banner, gap)
                async for batch in subscription.batches():
                    self.dropped = already_dropped + subscription.dropped
                    yield batch
                raise ConnectionLost("The session was closed on this side.")
            except AMIError as error:
                self.last_error = error
                age = time.monotonic() - client.last_received
                gap = Gap(since=time.time() - age, error=error)
            finally:
                self.client = None
                # What was changed during the session holds for the next one.
                self.events, self.filters = client.events_mask, tuple(client.filters)
                await client.close()
            failures = 1 if time.monotonic() - began >= self.backoff.stable else failures + 1
            yield gap
            await asyncio.sleep(self.backoff.delay(failures, gap.error, random.random()))  # noqa: S311
