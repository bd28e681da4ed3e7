"""What the WebSockets of all pages share: their ends.

A socket ends when its page goes, when the person may not look any more, when Valkey or the database is away,
or by a mistake of ours. Whichever it is, its tasks end with it, its groups are left, no traceback tells what
one line can, and a page that is still there gets a code after which it comes back by itself.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error

from ami_integration.access.pushes import VALKEY_ERRORS, valkey
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: The protocol's "internal error" and "try again later"; the page connects again after either.
CLOSE_FAILED = 1011
CLOSE_AWAY = 1013
#: How long a cancelled task may take to end, before it is cancelled again.
AGAIN_SECONDS = 1.0

database = Outage(logger, "the database is away; pages are closed, and come back by themselves")


class PageGone(Exception):
    """The page is there no more, or doesn't take what it is sent."""


class PageConsumer(AsyncWebsocketConsumer):
    """The WebSocket of one page.

    What it starts by `start` runs as long as the socket, and what fails there ends the socket.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._works: asyncio.TaskGroup
        self._started: list[asyncio.Task[None]] = []
        self._member_of: set[str] = set()

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
            for name in list(self._member_of):
                with contextlib.suppress(*VALKEY_ERRORS):  # with Valkey's end the membership has ended too
                    await self.leave(name)
        if code:
            with contextlib.suppress(Exception):  # the page may have gone meanwhile
                await send({"type": "websocket.close", "code": code})

    async def websocket_connect(self, message: Any) -> None:
        valkey.ended()  # the channel of this socket has just been made
        await super().websocket_connect(message)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the socket, until its end."""
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
