"""The listener: one event session for each enabled server, for as long as the process lives.

It follows the list of servers in the database, without a restart and without depending on it: while the
database is away, the sessions go on. One listener owns all servers by a lease; others stand by and take over
when it ends. (The lease is per fleet for now. Everything that a share of the fleet needs is here already:
sessions know only their own server, each listener has its own slot in the ids, and writes to the stream are
fenced.)
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import redis
from django.db import Error, close_old_connections

from ami_integration.events.health import HealthReporter
from ami_integration.events.ids import IdSource, id_milliseconds
from ami_integration.events.leases import Lease, Slot
from ami_integration.events.models import Gap
from ami_integration.events.outbox import Outbox
from ami_integration.events.session import Session, Target
from ami_integration.events.stream import START, Mark, StreamWriter, valkey_client
from ami_integration.outage import Outage
from ami_integration.servers.models import Server, ServerHealth

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SECONDS = 2.0
LEASE_SECONDS = 10.0
FLUSH_SECONDS = 2.0
#: Ids start behind the last one that was written, unless that is so far ahead that a clock must have been
#: wrong.
_FLOOR_AHEAD = 60.0
_STANDBY_SECONDS = 1.0


def load_targets() -> dict[int, Target]:
    """The enabled servers by id."""
    return {
        server.pk: Target(server.pk, server.name, server.ami_transport(), server.username, server.secret)
        for server in Server.objects.enabled()
    }


class Listener:
    """All sessions of this process.

    Args:
        url: of Valkey.
        maxlen: about how many entries the stream keeps.
        clock: seconds since 1970.
        lease_seconds: how long the fleet stays ours without a sign of life.
    """

    def __init__(
        self,
        *,
        url: str,
        maxlen: int,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._valkey = valkey_client(url)
        self._maxlen = maxlen
        self._clock = clock
        self._lease = Lease(self._valkey, "listener", ttl=lease_seconds)
        self._stop = asyncio.Event()
        self._lost = asyncio.Event()
        self._sessions: dict[int, tuple[Session, asyncio.Task[None]]] = {}
        self._away: dict[int, Gap.Reason] = {}  # why servers that have no session now have none
        self._database_thread = ThreadPoolExecutor(1, thread_name_prefix="listener-database")
        self._valkey_thread = ThreadPoolExecutor(1, thread_name_prefix="listener-leases")
        self._database = Outage(logger, "the database is away; the servers known so far are listened to")
        self._waiting = Outage(logger, "Valkey is away or refuses; the listener waits for it")
        self._leases = Outage(logger, "Valkey is away; the listener's lease can't be renewed")
        self._health = HealthReporter(self._in_database_thread)

    def stop(self) -> None:
        """Ask for a graceful end; `run` returns within a few seconds."""
        self._stop.set()

    @property
    def owns(self) -> bool:
        """Whether this listener, and not another one, listens now."""
        return bool(self._lease.epoch) and not self._lost.is_set()

    async def run(self) -> None:
        """Stand by, listen, and stand by again if another listener took over, until `stop`.

        Raises:
            NoSlotFree: see there.
        """
        try:
            while not self._stop.is_set():
                if await self._claim():
                    await self._own()
        finally:
            self._database_thread.shutdown(wait=False, cancel_futures=True)
            self._valkey_thread.shutdown(wait=False, cancel_futures=True)
            self._valkey.close()

    # Ownership

    async def _claim(self) -> bool:
        told = False
        while not self._stop.is_set():
            try:
                if await self._in_valkey_thread(self._lease.claim):
                    return True
                self._waiting.ended()
                if not told:
                    told = True
                    logger.info("another listener is at work; this one stands by")
            except redis.RedisError as error:
                self._waiting.failed(error)
            await self._wait(_STANDBY_SECONDS)
        return False

    async def _own(self) -> None:
        """Listen until `stop`, or until the lease is lost."""
        self._lost.clear()
        loop = asyncio.get_running_loop()
        try:
            written = await self._in_valkey_thread(StreamWriter(self._valkey, self._lease, maxlen=1).marks)
            slot = await self._in_valkey_thread(lambda: Slot.claim(self._valkey, clock=self._clock))
        except redis.RedisError as error:
            self._waiting.failed(error)
            await self._wait(_STANDBY_SECONDS)  # the lease may be claimed at once, and this fail for ever
            return
        self._waiting.ended()
        outbox = Outbox(
            StreamWriter(self._valkey, self._lease, maxlen=self._maxlen),
            on_lease_lost=lambda: loop.call_soon_threadsafe(self._lost.set),
        )
        ids = IdSource(
            slot.number, clock=self._clock, floor=self._floor(mark.id for mark in written.values())
        )
        outbox.start()
        logger.info("listening begins (slot %d)", slot.number)
        tasks = [
            asyncio.create_task(self._keep(slot, ids)),
            asyncio.create_task(self._follow(ids, outbox, written)),
            asyncio.create_task(self._health.run()),
        ]
        ends = [asyncio.create_task(self._stop.wait()), asyncio.create_task(self._lost.wait())]
        try:
            await asyncio.wait([*tasks, *ends], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # a mistake of ours: let it be seen
        finally:
            await _cancel([*tasks, *ends])
            await self._end(slot, outbox, ids)

    def _floor(self, written: Iterable[int]) -> int:
        newest = max(written, default=0)
        ahead = id_milliseconds(newest) / 1000 - self._clock()
        if ahead > _FLOOR_AHEAD:
            logger.error(
                "the newest event is %.0f s ahead of this machine's clock: one clock is or was wrong. "
                "New events get ids by this machine's clock and sort before it.",
                ahead,
            )
            return 0
        return newest

    async def _keep(self, slot: Slot, ids: IdSource) -> None:
        """Renew the leases."""
        while True:
            await asyncio.sleep(self._lease.ttl / 4)
            try:
                kept = await self._in_valkey_thread(
                    lambda: self._lease.renew() and slot.renew(used_until=ids.milliseconds)
                )
            except redis.RedisError as error:
                self._leases.failed(error)
                continue
            self._leases.ended()
            if not kept:
                logger.error("another listener has taken over; this one stands by")
                self._lost.set()

    async def _end(self, slot: Slot, outbox: Outbox, ids: IdSource) -> None:
        lost = self._lost.is_set()
        sessions, self._sessions = self._sessions, {}
        await _cancel([task for _, task in sessions.values()])
        if not lost:
            for server_id, (session, _) in sessions.items():
                session.close(Gap.Reason.LISTENER_STOPPED)
                self._health.note(server_id, state=ServerHealth.State.UNKNOWN)
        left = await asyncio.to_thread(outbox.stop, seconds=0.0 if lost else FLUSH_SECONDS)
        if left:
            logger.error("%d events could not be written to the stream and are lost", left)
        try:
            await self._in_valkey_thread(lambda: slot.renew(used_until=ids.milliseconds))
            await self._in_valkey_thread(slot.release)
            await self._in_valkey_thread(self._lease.release)
        except redis.RedisError:
            pass  # they end by themselves
        if not lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._health.flush()
        logger.info("listening ended")

    # Servers

    async def _follow(self, ids: IdSource, outbox: Outbox, written: dict[int, Mark]) -> None:
        """Keep the sessions in step with the servers in the database."""
        while True:
            try:
                targets = await self._in_database_thread(load_targets)
                known = await self._in_database_thread(_disabled_ids)
            except Error as error:
                self._database.failed(error)
            else:
                self._database.ended()
                await self._apply(targets, known, ids, outbox, written)
            for session, _ in self._sessions.values():
                session.report_seen()
            await asyncio.sleep(LOOK_SECONDS)

    async def _apply(
        self,
        targets: dict[int, Target],
        disabled: set[int],
        ids: IdSource,
        outbox: Outbox,
        written: dict[int, Mark],
    ) -> None:
        for server_id, (session, task) in list(self._sessions.items()):
            target = targets.get(server_id)
            if task.done():
                reason = Gap.Reason.LISTENER_STOPPED
                logger.error(
                    "%s: the session ended by a mistake of ours and starts again",
                    session.target.name,
                    exc_info=None if task.cancelled() else task.exception(),
                )
            elif target is None:
                reason = Gap.Reason.DISABLED
            elif target != session.target:
                reason = Gap.Reason.RECONFIGURED
            else:
                session.target = target  # its name may have changed
                continue
            del self._sessions[server_id]
            await _cancel([task])
            if target is None and server_id not in disabled:
                self._health.forget(server_id)
                continue  # deleted: nobody will ask what is missing
            session.close(reason)
            written[server_id] = session.mark
            self._away[server_id] = reason
            if target is None:
                logger.info("%s: disabled, no longer listened to", session.target.name)
                self._health.note(server_id, state=ServerHealth.State.DISABLED)
        for server_id, target in targets.items():
            if server_id not in self._sessions:
                session = Session(
                    target, ids=ids, outbox=outbox, health=self._health, clock=self._clock,
                    mark=written.get(server_id, START),
                    gap=self._away.pop(server_id, Gap.Reason.LISTENER_STOPPED),
                )  # fmt: skip
                self._sessions[server_id] = (session, asyncio.create_task(session.run()))

    # Threads

    async def _in_database_thread(self, call: Callable[[], T]) -> T:
        # Not asgiref's wrapper: that one waits for the thread even when it is cancelled, and a database that
        # hangs must not keep the listener from stopping.
        return await asyncio.get_running_loop().run_in_executor(self._database_thread, _with_database, call)

    async def _in_valkey_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._valkey_thread, call)

    async def _wait(self, seconds: float) -> None:
        """Sleep, but not beyond `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _disabled_ids() -> set[int]:
    return set(Server.objects.filter(enabled=False).values_list("pk", flat=True))


def _with_database(call: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel and wait; how they end is of no interest any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else asyncio complains that nobody looked
