"""The WebSocket of a live page.

The channel layer's queue never ends and never drops, so this consumer reads it without ever waiting for its
browser: what the page wants goes into a bounded ring, what the ring can't hold is counted as shed, and one
task of its own sends. Another one looks every few seconds whether the person may still watch and which
servers there are, begins subscriptions, and fills holes: each batch names the last id before it, and the
recorder's own account of what it has recorded tells of batches that were never heard of.

A subscription joins the groups, then reads the store, then sends; so nothing falls between. What comes twice
is dropped by the page, which knows the ids that it has.
"""

import asyncio
import json
import logging
import time
from collections import deque
from typing import Any, cast

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error

from ami_integration.access.consumers import PageConsumer, PageGone
from ami_integration.access.pushes import VALKEY_ERRORS, valkey
from ami_integration.access.services import session_user, user_may_watch
from ami_integration.events.filters import InvalidSubscription, Subscription, parse_subscription
from ami_integration.events.pushes import JSON
from ami_integration.events.services import (
    Item,
    events_between,
    events_stored,
    group_name,
    live_servers,
)
from ami_integration.events.stream import recorded_ids

logger = logging.getLogger(__name__)

#: Characters of a message from the page: a cursor for each of some thousand servers fits.
MAX_MESSAGE = 256 * 1024
#: Seconds between two looks at permission, servers and holes.
LOOK_SECONDS = 3.0
FLUSH_SECONDS = 0.1
#: Rows a second that a page gets, and how many may wait for it (also the longest burst).
ROWS_A_SECOND = 300
RING = 300
CHUNK = 100

CLOSE_INVALID = 4400
CLOSE_FORBIDDEN = 4403


class LiveConsumer(PageConsumer):
    """One live page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wake = asyncio.Event()
        self._wanted: Subscription | None = None
        self._current: Subscription | None = None
        self._servers: list[Item] = []
        self._joined: set[int] = set()
        # What goes to the page: words of which only the latest counts, rows of the store, live rows.
        self._words: dict[str, Item] = {}
        self._stored: deque[Item] = deque()
        self._ring: deque[Item] = deque()
        self._shed = 0
        self._shed_sent = 0
        self._closing: tuple[int, str] | None = None
        # Where each server's chain of batches stands.
        self._holding = False  # a subscription begins: the store's rows go first
        self._seen: dict[int, int] = {}
        self._first: dict[int, int] = {}  # while holding: what came before the first live batch
        self._holes: deque[tuple[int, int, int | None]] = deque()
        self._behind: dict[int, int] = {}
        self._cursor_sent: dict[int, int] = {}

    async def connect(self) -> None:
        try:
            allowed, self._servers = await self._look()
        except Error as error:
            logger.warning("a live page could not be opened: %s", error)
            allowed = False
        if not allowed:
            await self.close()  # before accepting: the handshake is refused
            return
        await self.accept()
        self._words["servers"] = {"type": "servers", "servers": self._servers}
        self.start(self._control())
        self.start(self._pump())

    async def dispatch(self, message: dict[str, Any]) -> None:
        # The hot path: channels' own would go through a thread for each message.
        if message["type"] == "events.batch":
            self._take(message)
        else:
            await super().dispatch(message)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data) > MAX_MESSAGE:
            self._close(CLOSE_INVALID, "The page sent something that amiweb doesn't understand. Reload it.")
            return
        try:
            data = json.loads(text_data)
            if not isinstance(data, dict) or data.get("type") != "subscribe":
                raise InvalidSubscription("The page asked for something that amiweb doesn't know. Reload it.")
            self._wanted = parse_subscription(data)
        except InvalidSubscription as error:
            self._words["error"] = {"type": "error", "message": str(error)}
        except (ValueError, RecursionError):
            self._close(CLOSE_INVALID, "The page sent something that amiweb doesn't understand. Reload it.")
        else:
            self._wake.set()

    # What comes from the channel layer

    def _take(self, message: dict[str, Any]) -> None:
        server_id, after = message["server"], message["after"]
        current = self._current
        if current is None or server_id not in self._joined:
            return
        seen = self._seen.get(server_id)
        if self._holding:
            self._first.setdefault(server_id, after)
        elif seen is not None and after > seen:
            self._holes.append((server_id, seen, after + 1))
            self._wake.set()
        self._seen[server_id] = max(seen or 0, message["last"])
        for row in message["items"]:
            item = json.loads(row[JSON])
            if current.filter.matches_item(item):
                if len(self._ring) >= RING:
                    self._ring.popleft()
                    self._shed += 1
                self._ring.append(item)

    # Control

    async def _control(self) -> None:
        while self._closing is None:
            try:
                await self._turn()
                self._words.pop("away", None)
            except Error as error:
                logger.warning("a live page can't read the database: %s", error)
                self._words["away"] = {
                    "type": "error",
                    "message": "The database can't be reached; events appear again when it is back.",
                }
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _turn(self) -> None:
        allowed, servers = await self._look()
        if not allowed:
            self._close(CLOSE_FORBIDDEN, "You are logged out, or may not watch events any more.")
            return
        if servers != self._servers:
            self._servers = servers
            self._words["servers"] = {"type": "servers", "servers": servers}
        wanted = self._wanted
        if wanted is not self._current and wanted is not None:
            await self._begin(wanted)
        elif self._current is not None:
            await self._follow(self._current)

    async def _begin(self, wanted: Subscription) -> None:
        """Join the groups, then read the store, then let the rows go."""
        recorded = await self._recorded()
        self._holding = True
        self._current = wanted
        self._shed = self._shed_sent = 0
        for gone in (
            self._ring,
            self._stored,
            self._holes,
            self._seen,
            self._first,
            self._behind,
            self._cursor_sent,
        ):
            gone.clear()
        self._words.pop("error", None)
        try:
            await self._join(self._chosen(wanted))
            stored = await database_sync_to_async(events_stored, thread_sensitive=False)(
                server_ids=self._joined, since=wanted.since, event_filter=wanted.filter
            )
        except Error:
            self._current = None  # the next turn tries again
            raise
        for server_id in self._joined:
            known = max(recorded.get(server_id, 0), stored.newest.get(server_id, 0))
            first = self._first.get(server_id)
            if first is not None and first > known:
                self._holes.append((server_id, known, first + 1))
                self._wake.set()
            self._seen[server_id] = max(known, self._seen.get(server_id, 0))
        self._words["begin"] = {"type": "begin", "seq": wanted.seq, "cut": stored.cut}
        self._stored.extend(stored.items)
        self._holding = False

    async def _follow(self, current: Subscription) -> None:
        chosen = self._chosen(current)
        for server_id in chosen - self._joined:
            self._seen[server_id] = 0  # added just now: whatever it has sent so far is news
        await self._join(chosen)
        while self._holes:
            await self._fill(current, *self._holes[0])
            self._holes.popleft()  # not before: while there is a hole, no cursor goes beyond it
        recorded = await self._recorded()
        for server_id in self._joined:
            seen = self._seen[server_id]
            # Behind for a whole turn: the batch isn't under way any more, it was lost.
            if seen < self._behind.get(server_id, 0):
                await self._fill(current, server_id, seen, None)
                self._seen[server_id] = max(self._seen[server_id], self._behind[server_id])
            self._behind[server_id] = recorded.get(server_id, 0)

    async def _fill(self, current: Subscription, server_id: int, after: int, before: int | None) -> None:
        found = await database_sync_to_async(events_between, thread_sensitive=False)(
            server_id=server_id, after_id=after, before_id=before
        )
        wanted = [item for item in found if current.filter.matches_item(item)]
        if current is self._current:
            self._shed += max(0, len(wanted) - RING)
            self._stored.extend(wanted[-RING:])

    def _chosen(self, wanted: Subscription) -> set[int]:
        visible = {int(server["id"]) for server in self._servers}
        if wanted.server_id is None:
            return visible
        if wanted.server_id not in visible:
            self._words["error"] = {
                "type": "error",
                "message": "This server does not exist any more, or is not yours to watch. Choose another.",
            }
        return visible & {wanted.server_id}

    async def _join(self, servers: set[int]) -> None:
        for server_id in servers - self._joined:
            await self.join(group_name(server_id))
            self._joined.add(server_id)
        for server_id in self._joined - servers:
            await self.leave(group_name(server_id))
            self._joined.discard(server_id)

    async def _look(self) -> tuple[bool, list[Item]]:
        """Whether the person may watch, and the servers."""
        result = await database_sync_to_async(_look, thread_sensitive=False)(
            self.scope["session"].session_key
        )
        return cast(tuple[bool, list[Item]], result)

    async def _recorded(self) -> dict[int, int]:
        try:
            recorded = await recorded_ids(settings.AMIWEB_REDIS_URL)
        except VALKEY_ERRORS as error:
            valkey.failed(error)
            return {}  # no live events can come either; the next turn asks again
        valkey.ended()
        return recorded

    # Sending

    async def _pump(self) -> None:
        allowance, then = float(ROWS_A_SECOND), time.monotonic()
        told = 0.0
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            while self._words:
                await self._send(self._words.pop(next(iter(self._words))))
            if self._closing is not None:
                code, message = self._closing
                await self._send({"type": "closed", "message": message})
                await self.close(code=code)
                return
            current = self._current
            now = time.monotonic()
            allowance, then = min(ROWS_A_SECOND, allowance + (now - then) * ROWS_A_SECOND), now
            if current is None or self._holding or "begin" in self._words:
                continue
            while self._stored and current is self._current:
                await self._send_rows(current, _taken(self._stored, CHUNK))
            if current is not self._current:
                continue
            rows = _taken(self._ring, min(CHUNK, int(allowance)))
            allowance -= len(rows)
            if (
                rows
                or now - told >= 1.0
                and (self._shed != self._shed_sent or self._cursor_sent != self._seen)
            ):
                told = now
                await self._send_rows(current, rows)

    async def _send_rows(self, current: Subscription, rows: list[Item]) -> None:
        message: Item = {"type": "items", "seq": current.seq, "items": rows}
        if self._shed != self._shed_sent:
            self._shed_sent = message["shed"] = self._shed
        if not self._ring and not self._stored and not self._holes:
            # Up to here the page has everything.
            news = {
                str(key): str(seen) for key, seen in self._seen.items() if self._cursor_sent.get(key) != seen
            }
            if news:
                message["cursor"] = news
                self._cursor_sent = dict(self._seen)
        await self._send(message)

    async def _send(self, message: Item) -> None:
        await self.send(text_data=json.dumps(message, separators=(",", ":")))

    def _close(self, code: int, message: str) -> None:
        """Let the pump close the socket; if the page doesn't take that, end without it."""
        if self._closing is None:
            self._closing = (code, message)
            self._wake.set()
            self.start(self._stop_later())

    async def _stop_later(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        raise PageGone


def _taken(rows: deque[Item], number: int) -> list[Item]:
    return [rows.popleft() for _ in range(min(number, len(rows)))]


def _look(session_key: str | None) -> tuple[bool, list[Item]]:
    user = session_user(session_key=session_key)
    allowed = user_may_watch(user=user)
    return allowed, live_servers(user=user) if allowed else []
