"""The WebSocket of a live page.

What the page watches comes from the hub of this process into the page's tab: a bounded ring that never makes
the hub wait (see `ami_integration.events.hub` and `tabs`). One task sends, as fast as the browser takes it;
another one looks every few seconds whether the person may still watch and which servers there are, and
begins subscriptions.

A subscription lets the hub begin, then reads the store and the stream's tail, then sends; so nothing falls
between. What comes twice is dropped by the page, which knows the ids that it has.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeAlias, cast
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.db import Error

from ami_integration.access.consumers import CLOSE_INVALID, PageConsumer, PageGone, database
from ami_integration.access.services import session_user, user_may_watch
from ami_integration.events.catchup import CatchUp, bounds_of, catch_up
from ami_integration.events.filters import InvalidSubscription, Subscription, parse_subscription
from ami_integration.events.flow import Flow
from ami_integration.events.hub import Hub
from ami_integration.events.pushes import ID, JSON
from ami_integration.events.services import Item, live_servers
from ami_integration.events.tabs import LeftOut, Tab

#: Seconds between two looks at permission and servers.
LOOK_SECONDS = 3.0
#: Seconds for which a look counts for other tabs of the same session, too; not for one that subscribes.
LOOK_MAX_AGE = 1.0
#: Seconds from one message with rows to the next, and while rows are left out: then each has more of them.
FLUSH_SECONDS = 0.05
FLUSH_SECONDS_BUSY = 0.2
#: Seconds between two messages about counts and cursors alone.
NEWS_SECONDS = 1.0
#: Seconds from the beginning of a subscription to that of the next: somebody typing, or a page gone wild.
SUBSCRIBE_SECONDS = 0.2
#: Stored rows in one message.
CHUNK = 100

CLOSE_FORBIDDEN = 4403

#: Whether the person may watch, and the servers that are theirs to watch.
Look: TypeAlias = tuple[bool, list[Item]]

_MISSING_SERVER = "This server does not exist any more, or is not yours to watch. Choose another."
_MISSING_TAG = "No server that you may watch has this tag any more. Choose another."


class LiveConsumer(PageConsumer):
    """One live page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wake = asyncio.Event()
        self._wanted: Subscription | None = None
        self._current: Subscription | None = None
        self._servers: list[Item] = []
        self._tab: Tab | None = None
        self._hub: Hub | None = None
        # Words to the page of which only the latest counts, and the JSON of rows of the past.
        self._words: dict[str, Item] = {}
        self._past: deque[str] = deque()
        self._ready = asyncio.Event()
        self._left_out_sent = LeftOut()
        self._cursor_sent: dict[int, int] = {}
        self._begun = 0.0
        self._complained = ""
        self._stopped_by = ""
        self._closing: tuple[int, str] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave()

    async def connect(self) -> None:
        try:
            allowed, self._servers = await self._look()
        except Error as error:
            database.failed(error)
            allowed = False
        if not allowed:
            await self.close()  # before accepting: the handshake is refused
            return
        await self.accept()
        self._say("servers", {"type": "servers", "servers": self._servers})
        self.start(self._control())
        self.start(self._pump())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            data = json.loads(text_data or "")
            if not isinstance(data, dict) or data.get("type") != "subscribe":
                raise InvalidSubscription("The page asked for something that amiweb doesn't know. Reload it.")
            self._wanted = parse_subscription(data)
        except InvalidSubscription as error:
            self._say("error", {"type": "error", "message": str(error)})
        except (ValueError, RecursionError):
            await self.refused(CLOSE_INVALID)
        else:
            self._wake.set()

    async def refused(self, code: int) -> None:
        self._close(code, "The page sent something that amiweb doesn't understand. Reload it.")

    # Control

    async def _control(self) -> None:
        while self._closing is None:
            self._wake.clear()
            try:
                await self._turn()
                await self._tell_flow()
                self._words.pop("away", None)
            except Error as error:
                database.failed(error)
                message = "The database can't be reached; events appear again when it is back."
                self._say("away", {"type": "error", "message": message})
            else:
                database.ended()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _turn(self) -> None:
        begins = self._wanted is not None and self._wanted is not self._current
        allowed, servers = await self._look(max_age=0.0 if begins else LOOK_MAX_AGE)
        if not allowed:
            self._close(CLOSE_FORBIDDEN, "You are logged out, or may not watch events any more.")
            return
        if servers != self._servers:
            self._servers = servers
            self._say("servers", {"type": "servers", "servers": servers})
        if self._wanted is not None and self._wanted is not self._current:
            await asyncio.sleep(self._begun + SUBSCRIBE_SECONDS - time.monotonic())
            self._begun = time.monotonic()
            await self._begin(self._wanted)
        elif self._current is not None and self._tab is not None and self._hub is not None:
            chosen = self._chosen(self._current)
            if new := chosen - self._tab.servers:
                await self._hub.watch(self._tab, chosen | self._tab.servers)
                past = await self._past_of(self._hub, self._current, new, {}, {})
                self._tab.know({row[ID] for row in past.rows})
                self._past.extend(row[JSON] for row in past.rows)
                self._ready.set()
            if chosen != self._tab.servers:
                await self._hub.watch(self._tab, chosen)
        if self._current is not None:
            self._complain(self._current)

    async def _tell_flow(self) -> None:
        stopped_by = await Flow.of_loop().stopped_by()
        if stopped_by != self._stopped_by:
            self._stopped_by = stopped_by
            self._say("flow", {"type": "flow", "message": stopped_by})

    async def _begin(self, wanted: Subscription) -> None:
        """Let the hub begin, then read what there was, then let the rows go."""
        chosen = self._chosen(wanted)
        old_hub, old_tab = self._hub, self._tab
        self._current = None
        self._past.clear()
        hub, tab = Hub.current(), Tab(wanted.filter)
        self._hub, self._tab = hub, tab
        try:
            await hub.watch(tab, chosen)
        finally:
            if old_hub is not None and old_tab is not None:
                await old_hub.leave(old_tab)
        if hub is not old_hub:
            self.start(hub.alive())
        bounds = bounds_of(since=wanted.since, server_ids=chosen)
        past = await self._past_of(hub, wanted, chosen, wanted.since, bounds)
        self._current = wanted
        self._left_out_sent = LeftOut()
        self._cursor_sent = {}
        self._complained = ""
        self._words.pop("error", None)
        self._say("begin", {
            "type": "begin", "seq": wanted.seq, "cut": past.cut, "left_out": _left_out_item(past.left_out),
        })  # fmt: skip
        self._past.extend(row[JSON] for row in past.rows)
        tab.ready = self._ready
        tab.begin({row[ID] for row in past.rows})

    async def _past_of(
        self,
        hub: Hub,
        wanted: Subscription,
        servers: Collection[int],
        since: Mapping[int, int],
        bounds: Mapping[int, int],
    ) -> CatchUp:
        tail = await hub.tail(servers, lowest_id=min(bounds.values(), default=0))
        past = await database_sync_to_async(catch_up, thread_sensitive=False)(
            server_ids=servers, since=since, bounds=bounds, event_filter=wanted.filter, tail=tail
        )
        return cast(CatchUp, past)

    async def _leave(self) -> None:
        if self._hub is not None and self._tab is not None:
            await self._hub.leave(self._tab)
        self._hub = self._tab = None

    def _chosen(self, wanted: Subscription) -> set[int]:
        if wanted.tag_id is not None:
            tag = str(wanted.tag_id)
            return {
                int(server["id"]) for server in self._servers if any(tag == one for one, _ in server["tags"])
            }
        visible = {int(server["id"]) for server in self._servers}
        return visible if wanted.server_id is None else visible & {wanted.server_id}

    def _complain(self, current: Subscription) -> None:
        """Say, once, that what was chosen isn't there."""
        complaint = ""
        if not self._chosen(current):
            if current.tag_id is not None:
                complaint = _MISSING_TAG
            elif current.server_id is not None:
                complaint = _MISSING_SERVER
        if complaint != self._complained:
            self._complained = complaint
            self._say("error", {"type": "error", "message": complaint})

    async def _look(self, *, max_age: float = 0.0) -> Look:
        """Whether the person may watch, and the servers, as they are or were so many seconds ago."""
        return await _Looks.of_loop().get(self.scope["session"].session_key, max_age=max_age)

    # Sending

    def _say(self, key: str, message: Item) -> None:
        self._words[key] = message
        self._ready.set()

    async def _pump(self) -> None:
        told = 0.0
        while True:
            try:
                async with asyncio.timeout(NEWS_SECONDS):
                    await self._ready.wait()
            except TimeoutError:
                pass
            self._ready.clear()
            while self._words:
                await self._send(json.dumps(self._words.pop(next(iter(self._words))), separators=(",", ":")))
            if self._closing is not None:
                code, message = self._closing
                login = code == CLOSE_FORBIDDEN  # that mends it, if anything does
                await self._send(json.dumps({"type": "closed", "message": message, "login": login}))
                await self.close(code=code)
                return
            current, tab = self._current, self._tab
            if current is None or tab is None or tab.holding:
                continue
            while self._past and current is self._current:
                past = [self._past.popleft() for _ in range(min(CHUNK, len(self._past)))]
                await self._send_rows(current, tab, past, {"past": True})
            if current is not self._current:
                continue
            now = time.monotonic()
            news = self._news(tab) if now - told >= NEWS_SECONDS else {}
            rows = tab.take()
            if rows or news:
                told = now if news else told
                await self._send_rows(current, tab, rows, news)
            if tab.waiting:
                self._ready.set()  # the rest is due as soon as the browser can show it
            await asyncio.sleep(FLUSH_SECONDS_BUSY if tab.waiting else FLUSH_SECONDS)

    def _news(self, tab: Tab) -> Item:
        news: Item = {}
        if tab.left_out != self._left_out_sent:
            self._left_out_sent = tab.left_out
            news["left_out"] = _left_out_item(tab.left_out)
        if counts := tab.take_counts():
            news["counts"] = counts
        if not tab.waiting and not self._past and self._hub is not None:
            # Up to here the page has everything.
            reached = {server_id: self._hub.through(server_id) for server_id in tab.servers}
            if cursor := {
                str(server_id): str(last)
                for server_id, last in reached.items()
                if last and self._cursor_sent.get(server_id) != last
            }:
                news["cursor"] = cursor
                self._cursor_sent = reached
        return news

    async def _send_rows(self, current: Subscription, tab: Tab, rows: list[str], news: Item) -> None:
        # The rows are JSON already, and go out as they are.
        head = json.dumps({"type": "items", "seq": current.seq, **news}, separators=(",", ":"))
        await self._send(f'{head[:-1]},"items":[{",".join(rows)}]}}')

    async def _send(self, text: str) -> None:
        await self.send(text_data=text)

    def _close(self, code: int, message: str) -> None:
        """Let the pump close the socket; if the page doesn't take that, end without it."""
        if self._closing is None:
            self._closing = (code, message)
            self._wake.set()
            self._ready.set()
            self.start(self._stop_later())

    async def _stop_later(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        raise PageGone


def _left_out_item(left_out: LeftOut) -> Item:
    return {"count": left_out.count, "since": left_out.since, "until": left_out.until}


class _Looks:
    """Looks at the database, shared by the tabs of one session: somebody may have many open."""

    _of: ClassVar["WeakKeyDictionary[asyncio.AbstractEventLoop, _Looks]"] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._begun: dict[str | None, tuple[float, asyncio.Future[Look]]] = {}

    @classmethod
    def of_loop(cls) -> "_Looks":
        return cls._of.setdefault(asyncio.get_running_loop(), cls())

    async def get(self, session_key: str | None, *, max_age: float) -> Look:
        now = time.monotonic()
        begun, look = self._begun.get(session_key, (0.0, None))
        if look is None or begun + max_age <= now:
            for other in [key for key, (then, _) in self._begun.items() if then + LOOK_MAX_AGE <= now]:
                del self._begun[other]
            look = asyncio.ensure_future(database_sync_to_async(_look, thread_sensitive=False)(session_key))
            look.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._begun[session_key] = (now, look)
        return await asyncio.shield(look)


def _look(session_key: str | None) -> Look:
    user = session_user(session_key=session_key)
    allowed = user_may_watch(user=user)
    return allowed, live_servers(user=user) if allowed else []
