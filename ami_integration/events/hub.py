"""One subscription for each web process and server, whatever the number of pages.

The channel layer would bring each batch to each page's own channel, to be decoded once for each, over a
queue without an end. Instead a hub, one for each event loop, holds one channel, joins a server's group while
any page watches it, and hands what comes to the tabs (see `ami_integration.events.tabs`) without waiting for
any of them. Equal filters are applied once.

The hub also sees to it that nothing is missing: each batch names the last id before it, and the recorder's
own account of what it has recorded tells of batches that were never heard of. Such holes are filled from the
store, once for all tabs. What comes twice is dropped by the page, which knows the ids that it has.

A hub lives while there are tabs. If it ends by itself, by a mistake of ours, its pages end too, and come
back by themselves.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import Error

from ami_integration.access.consumers import database
from ami_integration.access.pushes import VALKEY_ERRORS, valkey
from ami_integration.events.catchup import OVERLAP_SECONDS, Tail, rows_between, tail_read
from ami_integration.events.filters import EventFilter
from ami_integration.events.ids import id_earlier
from ami_integration.events.pushes import ID, NAME, Row
from ami_integration.events.services import group_name
from ami_integration.events.stream import recorded_ids
from ami_integration.events.tabs import Tab

logger = logging.getLogger(__name__)

#: Seconds between two looks for holes.
LOOK_SECONDS = 3.0
#: The latest events, of all servers, that a hub knows to have handed out.
MOST_RECENT = 50_000


@dataclass
class _Watched:
    """A server that some tab watches.

    `seen` is where its chain stands, None until that is known, and `early` what came until then; `behind`
    what the recorder had recorded at the last look, `stood` what `seen` was then. A clock that is set right
    lets the chain go on with lower ids.
    """

    tabs: set[Tab] = field(default_factory=set)
    seen: int | None = None
    behind: int = 0
    stood: int | None = None
    early: list[Mapping[str, Any]] = field(default_factory=list)
    plan: list[tuple[EventFilter, list[Tab]]] | None = None

    def by_filter(self) -> list[tuple[EventFilter, list[Tab]]]:
        if self.plan is None:
            found: dict[EventFilter, list[Tab]] = {}
            for tab in self.tabs:
                found.setdefault(tab.filter, []).append(tab)
            self.plan = list(found.items())
        return self.plan


class Hub:
    """The hub of the running event loop; get it by `Hub.current()`.

    Attributes:
        batches: how many messages it has decoded.
    """

    _hubs: ClassVar["WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]"] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.batches = 0
        self._layer = get_channel_layer()
        self._channel = ""
        self._tabs: set[Tab] = set()
        self._watched: dict[int, _Watched] = {}
        self._holes: deque[tuple[int, int, int | None]] = deque()
        self._wake = asyncio.Event()
        self._joining = asyncio.Lock()
        self._tails = _Shared(tail_read)
        self._recent: dict[int, None] = {}
        self._work: asyncio.Task[None] | None = None
        self._ended = False

    @classmethod
    def current(cls) -> "Hub":
        loop = asyncio.get_running_loop()
        hub = cls._hubs.get(loop)
        if hub is None:
            hub = cls._hubs[loop] = cls()
        return hub

    # What tabs ask for

    async def watch(self, tab: Tab, servers: Collection[int]) -> None:
        """Give the tab what these servers send from now on, and of others nothing any more.

        What was recorded before this returns is in the store. Raises one of VALKEY_ERRORS.
        """
        self._tabs.add(tab)
        while self._missing(servers):
            async with self._joining:
                await self._join(self._missing(servers))
        if tab in self._tabs:  # else it has gone meanwhile
            self._place(tab, frozenset(servers))

    def _missing(self, servers: Collection[int]) -> list[int]:
        return [one for one in servers if one not in self._watched or self._watched[one].seen is None]

    async def _join(self, servers: Collection[int]) -> None:
        if not self._channel:
            self._channel = await self._layer.new_channel()
            self._work = asyncio.create_task(self._run())
        try:
            for server_id in servers:
                self._watched[server_id] = _Watched()
                await self._layer.group_add(group_name(server_id), self._channel)
            # Their batches come from here on; what was recorded by now is in the store.
            recorded = await _recorded() if servers else {}
        except BaseException:
            for server_id in servers:
                self._watched.pop(server_id, None)
            raise
        for server_id in servers:
            watched = self._watched[server_id]
            watched.seen = watched.behind = recorded.get(server_id, 0)
            for message in watched.early:
                self._hand_out(message)
            watched.early.clear()

    def _place(self, tab: Tab, servers: frozenset[int]) -> None:
        for server_id in tab.servers ^ servers:
            watched = self._watched.get(server_id)
            if watched is not None:
                watched.plan = None
                (watched.tabs.add if server_id in servers else watched.tabs.discard)(tab)
        tab.servers = servers

    async def leave(self, tab: Tab) -> None:
        """The tab has gone; with the last one the hub ends, and this waits until it has."""
        self._place(tab, frozenset())
        self._tabs.discard(tab)
        if not self._tabs:
            self._retire()
            self._ended = True
            self._wake.set()
            if self._work is not None:
                self._work.cancel()
                await asyncio.wait([self._work])

    def _retire(self) -> None:
        """Whoever comes next gets another hub."""
        for loop, hub in list(self._hubs.items()):
            if hub is self:
                del self._hubs[loop]

    async def alive(self) -> None:
        """Wait for the hub's end, which comes by a mistake of ours alone while there are tabs."""
        if self._work is not None:
            await asyncio.shield(self._work)

    def through(self, server_id: int) -> int:
        """The last id of a server up to which its tabs have been handed everything; 0 if that isn't known."""
        watched = self._watched.get(server_id)
        if watched is None or any(server == server_id for server, _, _ in self._holes):
            return 0
        return watched.seen or 0

    async def tail(self, servers: Collection[int], *, lowest_id: int) -> Tail:
        """What the stream still holds of these servers and isn't kept; one read for tabs that ask at once."""
        return await self._tails.get(frozenset(servers), lowest_id)

    # Work

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._control())
        finally:
            self._retire()
            for server_id in self._watched:
                with contextlib.suppress(*VALKEY_ERRORS):  # with Valkey's end the membership has ended too
                    await self._layer.group_discard(group_name(server_id), self._channel)

    async def _receive(self) -> None:
        while True:
            message = await self._layer.receive(self._channel)
            self.batches += 1
            self._hand_out(message)

    def _hand_out(self, message: Mapping[str, Any]) -> None:
        server_id, rows = message["server"], message["items"]
        watched = self._watched.get(server_id)
        if watched is None:
            return
        if watched.seen is None:
            watched.early.append(message)
            return
        if message["after"] == watched.seen:
            # The chain goes on, also to ids that a clock set right has made lower.
            watched.seen = message["last"]
        else:
            # A publication was lost, or a recorder that took up another one's work says some of it again.
            events = [row for row in rows if row[NAME] is not None]
            rows = [row for row in rows if row[NAME] is None or row[ID] not in self._recent]
            if events and all(row[NAME] is None for row in rows):
                self._give(watched, rows)  # all of it: the chain stands beyond it, wherever its ids are
                return
            if message["after"] > watched.seen:
                self._holes.append((server_id, watched.seen, message["after"] + 1))
                self._wake.set()
            watched.seen = max(watched.seen, message["last"])
        self._remember(rows)
        self._give(watched, rows)

    def _remember(self, rows: Sequence[Row]) -> None:
        self._recent.update({row[ID]: None for row in rows if row[NAME] is not None})
        if len(self._recent) > MOST_RECENT:
            for event_id in list(islice(self._recent, len(self._recent) // 2)):  # the older half
                del self._recent[event_id]

    def _give(self, watched: _Watched, rows: Sequence[Row]) -> None:
        for event_filter, tabs in watched.by_filter():
            matching, counts = event_filter.sift(rows)
            for tab in tabs:
                tab.offer(matching, counts)

    async def _control(self) -> None:
        while not self._ended:  # asked too, since a client of Valkey may swallow the cancellation
            try:
                await self._turn()
            except Error as error:
                database.failed(error)
            except VALKEY_ERRORS as error:
                valkey.failed(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    async def _turn(self) -> None:
        """Fill holes, look for batches that were lost, leave servers that nobody watches."""
        while self._holes:
            await self._fill(*self._holes[0])
            self._holes.popleft()  # not before: while there is a hole, no cursor goes beyond it
        for server_id in [server_id for server_id, watched in self._watched.items() if not watched.tabs]:
            async with self._joining:
                if not self._watched[server_id].tabs:
                    del self._watched[server_id]
                    await self._layer.group_discard(group_name(server_id), self._channel)
        if not self._watched:
            return
        recorded = await _recorded()
        valkey.ended()
        for server_id, watched in list(self._watched.items()):
            now, seen = recorded.get(server_id, 0), watched.seen
            # Behind for a whole turn: the batch isn't under way any more, it was lost.
            if seen is not None and seen < watched.behind <= now:
                await self._fill(server_id, seen, None)
                watched.seen = max(watched.seen or 0, watched.behind)
            elif seen is not None and 0 < watched.behind <= now < seen == watched.stood:
                # The same where ids went back: what was lost came shortly before the last look.
                earlier = id_earlier(watched.behind, seconds=OVERLAP_SECONDS + 2 * LOOK_SECONDS)
                await self._fill(server_id, earlier, now + 1)
                if watched.seen == seen:
                    watched.seen = now
            watched.behind, watched.stood = now, seen

    async def _fill(self, server_id: int, after_id: int, before_id: int | None) -> None:
        rows = await database_sync_to_async(rows_between, thread_sensitive=False)(
            server_id=server_id, after_id=after_id, before_id=before_id
        )
        tail = await self._tails.get(frozenset({server_id}), after_id + 1)
        rows = sorted(
            [*rows, *(row for row in tail.of(server_id, after_id, before_id))], key=lambda row: int(row[ID])
        )
        rows = [row for row in rows if row[ID] not in self._recent]
        watched = self._watched.get(server_id)
        if watched is not None:
            self._remember(rows)
            self._give(watched, rows)


async def _recorded() -> dict[int, int]:
    # In a thread: an asyncio client that is cancelled while it closes leaves its connection open.
    return await asyncio.to_thread(recorded_ids, settings.AMIWEB_REDIS_URL)


class _Shared:
    """Reads of the stream's tail, shared by whoever asks while another one is under way.

    A hundred pages that come back after a restart cost two or three reads.
    """

    def __init__(self, read: Callable[..., Tail]) -> None:
        self._read = read
        self._asked: dict[frozenset[int], int] = {}
        self._next: asyncio.Future[Tail] | None = None
        self._reading = asyncio.Lock()

    async def get(self, servers: frozenset[int], lowest_id: int) -> Tail:
        self._asked[servers] = min(lowest_id, self._asked.get(servers, lowest_id))
        if self._next is None:
            self._next = asyncio.ensure_future(self._serve())
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _serve(self) -> Tail:
        async with self._reading:
            asked, self._asked = self._asked, {}
            self._next = None  # who asks from now on gets the read after this one
            work: Awaitable[Tail] = database_sync_to_async(self._read, thread_sensitive=False)(
                url=settings.AMIWEB_REDIS_URL,
                servers=frozenset().union(*asked),
                lowest_id=min(asked.values(), default=0),
            )
            return await work
