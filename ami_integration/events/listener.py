"""The listener: one event session for each enabled server that is its own, for as long as the process lives.

It follows the list of servers in the database, without a restart and without depending on it: while the
database is away, the sessions go on. Several listeners share the servers by leases (`fleet.py`), as many for
each: everybody gives a sign of life every second, hands over what is more than its part, and takes free ones
up to it; the servers of one that died are free when its leases end. While Valkey is away everybody goes on
with what they have, and what the sessions bring waits in the outbox.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import redis

from ami_integration.events.background import Threads, wait
from ami_integration.events.leases import Slot
from ami_integration.events.outbox import Waiting
from ami_integration.events.session import Session
from ami_integration.events.stream import valkey_client
from ami_integration.events.work import Work
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which a listener's servers are free.
LEASE_SECONDS = 8.0
_RETRY_SECONDS = 1.0


class Listener:
    """All sessions of this process.

    Args:
        url: of Valkey.
        maxlen: about how many entries the stream keeps.
        max_bytes: about how many bytes of them.
        clock: seconds since 1970.
        lease_seconds: how long servers stay ours without a sign of life.
    """

    def __init__(
        self,
        *,
        url: str,
        maxlen: int,
        max_bytes: int = 2**40,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._valkey = valkey_client(url)
        self._maxlen = maxlen
        self._max_bytes = max_bytes
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._stop = asyncio.Event()
        self._work: Work | None = None
        self._threads = Threads()
        self._waiting = Outage(logger, "Valkey is away or refuses; the listener waits for it")

    def stop(self) -> None:
        """Ask for a graceful end; `run` returns within a few seconds."""
        self._stop.set()

    @property
    def owned(self) -> frozenset[int]:
        """The servers that are this listener's now."""
        return frozenset(self._work.epochs) if self._work is not None else frozenset()

    def status(self) -> dict[str, Any]:
        """What it is doing, in figures; for any thread.

        Keys: ``servers`` that are its own, ``online`` of them, ``listeners`` alive (this one included),
        ``slot`` (None while it waits for Valkey), ``events_per_second``, ``lag`` (seconds from a PBX's socket
        to the stream), ``waiting`` (events) and ``waiting_bytes`` in its buffer, ``dropped`` events so far.
        """
        work = self._work
        if work is None:
            nothing = Waiting(0, 0, 0.0, 0)
            return _status(slot=None, sessions=(), listeners=0, per_second=0.0, waiting=nothing)
        return _status(
            slot=work.slot.number,
            sessions=work.sessions(),
            listeners=work.listeners,
            per_second=work.per_second,
            waiting=work.outbox.waiting(),
        )

    async def run(self) -> None:
        """Listen until `stop`, and begin anew if the slot was lost.

        Raises:
            NoSlotFree: see there.
        """
        waited = False
        try:
            while not self._stop.is_set():
                try:
                    slot = await self._threads.valkey(lambda: Slot.claim(self._valkey, clock=self._clock))
                except redis.RedisError as error:
                    self._waiting.failed(error)
                    waited = True
                    await wait(self._stop, _RETRY_SECONDS)
                    continue
                await self._listen(slot, waited)
        finally:
            self._threads.shutdown()
            self._valkey.close()

    async def _listen(self, slot: Slot, waited: bool) -> None:
        self._work = Work(
            self._valkey, slot, self._threads, stop=self._stop, waiting=self._waiting, waited=waited,
            clock=self._clock, lease_seconds=self._lease_seconds, maxlen=self._maxlen,
            max_bytes=self._max_bytes,
        )  # fmt: skip
        try:
            await self._work.run()
        finally:
            self._work = None


def _status(
    *, slot: int | None, sessions: Iterable[Session], listeners: int, per_second: float, waiting: Waiting
) -> dict[str, Any]:
    known = list(sessions)
    return {
        "slot": slot,
        "servers": len(known),
        "online": sum(session.online for session in known),
        "listeners": listeners,
        "events_per_second": round(per_second, 1),
        "lag": round(waiting.seconds + max((session.lag for session in known), default=0.0), 2),
        "waiting": waiting.events,
        "waiting_bytes": waiting.bytes,
        "dropped": waiting.dropped + sum(session.dropped for session in known),
    }
