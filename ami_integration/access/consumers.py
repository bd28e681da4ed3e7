"""What the WebSockets of all pages share: their limits and their ends.

A page of ours sends a few small messages at most. Whoever holds a login can send anything by a program of his
own: what is too much, too big or no text closes the socket, before anything reads it.

A socket ends when its page goes, when the person may not look any more, when Valkey or the database is away,
or by a mistake of ours. Whichever it is, its tasks end with it, its groups are left, no traceback tells what
one line can, and a page that is still there gets a code after which it comes back by itself.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, ClassVar

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User
from django.db import Error

from ami_integration.access.pushes import VALKEY_ERRORS, valkey
from ami_integration.audit.bounded import Bounded, told_with
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: The protocol's "internal error" and "try again later"; the page connects again after either.
CLOSE_FAILED = 1011
CLOSE_AWAY = 1013
#: Our own: the page sent what no page of ours sends. It isn't told when to come back.
CLOSE_INVALID = 4400
CLOSE_TOO_MUCH = 4429
#: Characters of a message from a page: a cursor for each of some thousand servers fits.
MAX_MESSAGE = 256 * 1024
#: Messages from a page at once, and in the long run for each second.
BURST = 50
RATE = 10.0
#: Sockets of one login in this process: somebody may have many tabs.
MOST_SOCKETS = 100
#: How long a cancelled task may take to end, before it is cancelled again.
AGAIN_SECONDS = 1.0

database = Outage(logger, "the database is away; pages are closed, and come back by themselves")
#: What is told to the audit of one person's refused sockets, by the reason.
refusals = Bounded(burst=1)


class PageGone(Exception):
    """The page is there no more, or doesn't take what it is sent."""


class PageConsumer(AsyncWebsocketConsumer):
    """The WebSocket of one page.

    What it starts by `start` runs as long as the socket, and what fails there ends the socket. What a page
    sends is refused, unless `receive` knows better.
    """

    #: How many there are, by the key of the session.
    _open: ClassVar[Counter[str]] = Counter()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._works: asyncio.TaskGroup
        self._started: list[asyncio.Task[None]] = []
        self._member_of: set[str] = set()
        self._counted_as: str | None = None
        self._refused = False
        self._accepted = False
        self._left = float(BURST)
        self._heard = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_to_page(message: Any) -> None:
            try:
                await send(message)
            except Exception as error:  # each ASGI server says in its own way that the page has gone
                raise PageGone from error

        code = 0
        try:
            async with asyncio.TaskGroup() as self._works:
                try:
                    await super().__call__(scope, receive, send_to_page)
                finally:
                    await _end(self._started)
        except* PageGone:
            pass
        except* VALKEY_ERRORS as group:
            valkey.failed(group.exceptions[0])
            code = CLOSE_AWAY
        except* Error as group:
            database.failed(group.exceptions[0])
            code = CLOSE_AWAY
        except* Exception as group:
            logger.error("a page's socket ended by a mistake of ours", exc_info=group)
            code = CLOSE_FAILED
        finally:
            self._count_off()
            for name in list(self._member_of):
                with contextlib.suppress(*VALKEY_ERRORS):  # with Valkey's end the membership has ended too
                    await self.leave(name)
        if code:
            with contextlib.suppress(Exception):  # the page may have gone meanwhile
                await send({"type": "websocket.close", "code": code})

    async def websocket_connect(self, message: Any) -> None:
        valkey.ended()  # the channel of this socket has just been made
        key = self.scope["session"].session_key or ""
        if self._open[key] >= MOST_SOCKETS:
            logger.warning("a page's socket was refused: its login has %d already", MOST_SOCKETS)
            await self._note_refusal(f"its login has {MOST_SOCKETS} sockets already")
            await super().close()
            return
        self._counted_as = key
        self._open[key] += 1
        await super().websocket_connect(message)

    async def websocket_receive(self, message: Any) -> None:
        if self._refused:
            return  # what was under way when it was told to go
        now = time.monotonic()
        self._left = min(BURST, self._left + RATE * (now - self._heard)) - 1
        self._heard = now
        text = message.get("text")
        if self._left < 0:
            await self._refuse(CLOSE_TOO_MUCH, "it sent more messages than any page of ours")
        elif text is None or len(text) > MAX_MESSAGE:
            await self._refuse(CLOSE_INVALID, "it sent what is no text, or too long")
        else:
            await self.receive(text_data=text)

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        """Let the page have its socket."""
        self._accepted = True
        await super().accept(*args, **kwargs)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """End the socket; before it was accepted, that is to refuse it to somebody."""
        if not self._accepted:
            await self._note_refusal("it may not be opened by this person")
        await super().close(code, reason)

    async def _note_refusal(self, why: str) -> None:
        """Tell the audit that a socket was refused, of each person and reason once a minute."""
        user = self.scope.get("user")
        if not isinstance(user, User) or (left := refusals.take((user.pk, why))) is None:
            return
        await database_sync_to_async(entry_write)(
            actor=user,
            origin="admin",
            address=(self.scope.get("client") or [""])[0],
            verb="socket.send" if self._accepted else "socket.open",
            what={"reason": why} | told_with(left),
            object_type="page",
            object_name=str(self.scope.get("path", "")),
            outcome=AuditEntry.Outcome.REFUSED,
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A page that has nothing to say said something."""
        await self._refuse(CLOSE_INVALID, "it sent something, where pages only listen")

    async def refused(self, code: int) -> None:
        """End the socket, since it sent what no page of ours sends."""
        await self.close(code)

    async def _refuse(self, code: int, why: str) -> None:
        self._refused = True
        user = self.scope["user"]
        logger.warning("a socket of %s was closed: %s", user.get_username(), why)
        await self._note_refusal(why)
        await self.refused(code)

    def _count_off(self) -> None:
        key, self._counted_as = self._counted_as, None
        if key is not None:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the socket, until its end."""
        self._started[:] = [task for task in self._started if not task.done()]
        self._started.append(self._works.create_task(work))

    async def join(self, group: str) -> None:
        """Get what is sent to a group. Raises one of VALKEY_ERRORS."""
        self._member_of.add(group)  # at once: the layer too counts it as a member, even if this fails
        await self.channel_layer.group_add(group, self.channel_name)
        database.ended()  # it was asked before whether this person may join

    async def leave(self, group: str) -> None:
        """The reverse. Raises one of VALKEY_ERRORS."""
        self._member_of.discard(group)
        await self.channel_layer.group_discard(group, self.channel_name)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    Once isn't enough on Python 3.11: its `asyncio.wait_for`, through which redis-py writes, loses a
    cancellation that comes together with what it waits for. A gone page's task would go on for ever.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=AGAIN_SECONDS)
