"""What a listener does while it has one slot: which servers are its own, and the sessions with them.

Two loops: one gives a sign of life every second, parts with servers that are too many for us and takes free
ones when there are too few; the other follows the list of servers in the database. What they change, they
change one at a time. A lease may be found lost at any moment, by whoever writes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection

import redis
from django.db import Error

from ami_integration.events.background import Threads, cancel
from ami_integration.events.entrance import Entrance
from ami_integration.events.fleet import Beat, Claimed, Fleet
from ami_integration.events.flusher import Flusher
from ami_integration.events.health import HealthReporter
from ami_integration.events.ids import IdSource, id_milliseconds
from ami_integration.events.leases import Slot
from ami_integration.events.models import Gap
from ami_integration.events.outbox import Outbox
from ami_integration.events.rate import Rate
from ami_integration.events.session import Means, Session, Target
from ami_integration.events.snapshots import Snapshots
from ami_integration.events.writer import StreamWriter
from ami_integration.outage import Outage
from ami_integration.servers.models import Server, ServerHealth

logger = logging.getLogger(__name__)

#: Seconds between two looks at the servers in the database, and between two signs of life.
LOOK_SECONDS = 2.0
BEAT_SECONDS = 1.0
FLUSH_SECONDS = 2.0
#: Ids are greater than the last one that was written, unless that is so far ahead (seconds) that a clock must
#: have been wrong.
_FLOOR_AHEAD = 60.0
#: After Valkey was away nothing is claimed for so long (seconds): whoever came back first would see nobody
#: else alive, and take what isn't theirs.
_PATIENCE = 3.0
#: Seconds over which the rate is reckoned, like the recorder's: calls come in bursts, and one second without
#: any says nothing. It is known after so many.
_RATE_SECONDS, _RATE_KNOWN_AFTER = 10.0, 0.5


def load_targets() -> dict[int, Target]:
    """The enabled servers by id."""
    return {
        server.pk: Target(
            server.pk,
            server.name,
            server.ami_way,
            *server.account,
            *server.ssh_secrets,
            server.secret_source,
        )  # fmt: skip
        for server in Server.objects.enabled()
    }


def _disabled_ids() -> set[int]:
    return set(Server.objects.filter(enabled=False).values_list("pk", flat=True))


class Work:
    """What a listener does while it has one slot.

    Args:
        valkey, slot, threads: of the listener.
        stop: set when it shall end.
        waiting: told of Valkey's failures while no server is ours yet.
        waited: whether Valkey was away just now.
        clock, lease_seconds, maxlen, max_bytes: as for `Listener`.
    """

    def __init__(
        self,
        valkey: "redis.Redis",
        slot: Slot,
        threads: Threads,
        *,
        stop: asyncio.Event,
        waiting: Outage,
        waited: bool,
        clock: Callable[[], float],
        lease_seconds: float,
        maxlen: int,
        max_bytes: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.slot = slot
        self.epochs: dict[int, int] = {}
        self.listeners = 1
        self.per_second = 0.0
        self.outbox = Outbox(
            StreamWriter(valkey, maxlen=maxlen, max_bytes=max_bytes, slot=slot),
            on_lease_lost=lambda lost: loop.call_soon_threadsafe(self._lease_lost, lost),
            on_dropped=lambda server_id, after_id: loop.call_soon_threadsafe(
                self._ask_state, server_id, after_id
            ),
            on_failure=lambda: loop.call_soon_threadsafe(self._lost.set),
        )
        self._fleet = Fleet(valkey, ttl=lease_seconds)
        self._threads = threads
        self._stop = stop
        self._waiting = waiting
        self._clock = clock
        self._lost = asyncio.Event()
        self._health = HealthReporter(threads.database)
        self._means = Means(
            IdSource(slot.number, clock=clock), self.outbox, Flusher(), self._health, Entrance(),
            Snapshots(threads.questions), clock,
        )  # fmt: skip
        self._targets: dict[int, Target] | None = None  # None until the database was read once
        self._sessions: dict[int, tuple[Session, asyncio.Task[None]]] = {}
        self._beating = asyncio.Lock()
        self._claims_from = time.monotonic() + (_PATIENCE if waited else 0.0)
        self._ending: set[asyncio.Task[None]] = set()
        self._rate = Rate(seconds=_RATE_SECONDS, known_after=_RATE_KNOWN_AFTER)
        self._gone = 0  # events of sessions that have ended
        self._database = Outage(logger, "the database is away; the servers known so far are listened to")
        self._leases = Outage(logger, "Valkey is away; the listener's leases can't be renewed")

    def sessions(self) -> list[Session]:
        """All of them; for any thread."""
        return [session for session, _ in list(self._sessions.values())]

    async def run(self) -> None:
        """Listen until `stop`, or until the slot is lost."""
        self.outbox.start()
        logger.info("listening begins (slot %d)", self.slot.number)
        tasks = [
            asyncio.create_task(self._beat()),
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._health.run()),
        ]
        ends = [asyncio.create_task(self._stop.wait()), asyncio.create_task(self._lost.wait())]
        try:
            await asyncio.wait([*tasks, *ends], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # a mistake of ours: let it be seen
        finally:
            await cancel([*tasks, *ends])
            await self._end()

    async def _end(self) -> None:
        lost = self._lost.is_set()
        await self._means.snapshots.stop()
        ended = list(self._sessions)
        sessions, self._sessions = self._sessions, {}
        with contextlib.suppress(redis.RedisError):  # else others find out by themselves
            # Without the slot nothing can be written any more, so nothing has to be waited for.
            leaving = dict(self.epochs) if lost else {}
            await self._threads.valkey(lambda: self._fleet.leave(leaving))
        await cancel([*(task for _, task in sessions.values()), *self._ending])
        for server_id, (session, _) in sessions.items():
            if not lost:
                session.close(Gap.Reason.LISTENER_STOPPED)
                if self.listeners == 1:
                    self._health.note(server_id, state=ServerHealth.State.UNKNOWN)
        for server_id in ended:
            self._give_up(server_id)
        left = await asyncio.to_thread(self.outbox.stop, seconds=0.0 if lost else FLUSH_SECONDS)
        if left:
            logger.error("%d events could not be written to the stream and are lost", left)
        with contextlib.suppress(redis.RedisError):  # they end by themselves
            used_until = self._means.ids.milliseconds
            await self._threads.valkey(lambda: self.slot.renew(used_until=used_until))
            await self._threads.valkey(self.slot.release)
        if not lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._health.flush()
        logger.info("listening ended")

    # Which servers are ours

    async def _beat(self) -> None:
        """Give a sign of life every second, and see that what belongs to us is ours."""
        while True:
            await self._take_part()
            self._count()
            await asyncio.sleep(min(BEAT_SECONDS, self._fleet.ttl / 4))

    async def _take_part(self) -> None:
        async with self._beating:
            epochs = dict(self.epochs)
            used_until = self._means.ids.milliseconds
            try:
                # The beat comes last: what it takes from Valkey can't be lost by a failure of the other.
                kept, beat = await self._threads.valkey(
                    lambda: (self.slot.renew(used_until=used_until), self._fleet.beat(epochs))
                )
            except redis.RedisError as error:
                self._leases.failed(error)
                self._claims_from = time.monotonic() + _PATIENCE
                return
            self._leases.ended()
            if not kept:
                logger.error("the slot %d was taken by another listener", self.slot.number)
                self._lost.set()
                return
            try:
                await self._settle(beat, epochs)
            except redis.RedisError as error:
                self._waiting.failed(error)
            else:
                self._waiting.ended()

    async def _settle(self, beat: Beat, epochs: dict[int, int]) -> None:
        """Part with what is too much for us, or take what is missing to our part."""
        self._lease_lost({(server_id, epochs[server_id]) for server_id in beat.lost})
        for server_id, after_id in beat.wishes.items():
            self._ask_state(server_id, after_id)
        if len(beat.listeners) != self.listeners:
            logger.info("%d listeners share the servers", len(beat.listeners))
        self.listeners = len(beat.listeners)
        if self._targets is None:
            return
        # Whoever isn't connected loses nothing by going first; of the others the youngest go.
        held = sorted(self.epochs, key=lambda server_id: (self._is_online(server_id), -server_id))
        share = self._fleet.share(beat.listeners, self._targets, held)
        await self._hand_over(share.surplus)
        if not share.wanted or not share.most or time.monotonic() < self._claims_from:
            return
        claimed = await self._threads.valkey(lambda: self._fleet.claim(share.wanted, most=share.most))
        for server_id, claim in claimed.items():
            self._begin(server_id, claim)

    def _begin(self, server_id: int, claim: Claimed) -> None:
        self.epochs[server_id] = claim.epoch
        self._raise_ids(claim.mark.id)
        target = (self._targets or {}).get(server_id)
        if target is None:
            self._give_up(server_id)  # gone meanwhile
        else:
            self._start(Session(target, self._means, epoch=claim.epoch, mark=claim.mark))

    def _raise_ids(self, newest: int) -> None:
        """Let ids go on behind the last one of a server that somebody else had."""
        ahead = id_milliseconds(newest) / 1000 - self._clock()
        if ahead <= _FLOOR_AHEAD:
            self._means.ids.raise_to(newest)
            return
        logger.error(
            "the newest event is %.0f s ahead of this machine's clock: one clock is or was wrong. "
            "New events get ids by this machine's clock and sort before it.",
            ahead,
        )

    async def _hand_over(self, server_ids: Collection[int]) -> None:
        """Have others listen to these, who are waiting for them."""
        parted = [self._sessions.pop(server_id) for server_id in server_ids if server_id in self._sessions]
        await cancel([task for _, task in parted])
        for session, _ in parted:
            logger.info("%s: handed over to another listener", session.target.name)
            session.close(Gap.Reason.HANDED_OVER)
            self._gone += session.received
            self._give_up(session.target.server_id)

    def _give_up(self, server_id: int) -> None:
        """Let others have a server, as soon as what we have of it is written."""
        epoch = self.epochs.pop(server_id, None)
        if epoch is not None:
            self.outbox.release(server_id, epoch=epoch)

    def _lease_lost(self, lost: Collection[tuple[int, int]]) -> None:
        """Another listener has these servers (named with our epochs): not a word of them any more."""
        for server_id, epoch in lost:
            if self.epochs.get(server_id) != epoch:
                continue
            del self.epochs[server_id]
            session, task = self._sessions.pop(server_id, (None, None))
            if session is not None and task is not None:
                logger.error("%s: another listener has taken over", session.target.name)
                self._gone += session.received
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    def _is_online(self, server_id: int) -> bool:
        return server_id in self._sessions and self._sessions[server_id][0].online

    def _ask_state(self, server_id: int, after_id: int) -> None:
        """Events are missing that came after this one: the state of that PBX is unknown."""
        if server_id in self._sessions:
            self._sessions[server_id][0].ask_state(after_id)

    # Servers

    async def _follow(self) -> None:
        """Keep the sessions in step with the servers in the database."""
        while True:
            try:
                targets = await self._threads.database(load_targets)
                disabled = await self._threads.database(_disabled_ids)
            except Error as error:
                self._database.failed(error)
            else:
                self._database.ended()
                async with self._beating:
                    added = targets.keys() - (self._targets or {}).keys()
                    self._targets = targets
                    await self._apply(targets, disabled)
                if added:
                    await self._take_part()
            for session in self.sessions():
                session.report_seen()
            await asyncio.sleep(LOOK_SECONDS)

    async def _apply(self, targets: dict[int, Target], disabled: Collection[int]) -> None:
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
            if self._sessions.pop(server_id, None) is None:
                continue  # lost meanwhile
            await cancel([task])
            self._gone += session.received
            if self.epochs.get(server_id) != session.epoch:
                continue  # lost in this moment
            if target is not None:
                session.close(reason)
                self._start(Session(target, self._means, epoch=session.epoch, mark=session.mark, gap=reason))
                continue
            if server_id in disabled:
                session.close(reason)
                logger.info("%s: disabled, no longer listened to", session.target.name)
                self._health.note(server_id, state=ServerHealth.State.DISABLED)
            else:
                self._health.forget(server_id)  # deleted: nobody will ask what is missing
            self._give_up(server_id)

    def _start(self, session: Session) -> None:
        self._sessions[session.target.server_id] = session, asyncio.create_task(session.run())

    def _count(self) -> None:
        self._rate.note(self._gone + sum(session.received for session in self.sessions()))
        self.per_second = max(0.0, self._rate.per_second or 0.0)
