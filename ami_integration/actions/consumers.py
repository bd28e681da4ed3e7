"""The WebSocket of a run's page.

It joins the run's group, then reads the row, then passes on what changes: in this order, nothing that
happens in between is missed. A push carries no content; the row is read again for each, so that a page
never shows anything but what the database says. Every few seconds the consumer looks by itself, whether the
person may still see this, and whether the row changed without a push (the channel layer may have been
away).
"""

import asyncio
import contextlib
import logging
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from ami_integration.access.services import session_user, user_may_view_runs
from ami_integration.actions.models import ActionRun
from ami_integration.actions.snapshots import run_snapshot

logger = logging.getLogger(__name__)

#: Seconds between two looks at the person's rights and at the row.
LOOK_AGAIN = 3.0
#: Close codes of our own: the page tells the person, and doesn't connect again.
CLOSE_FORBIDDEN = 4403
CLOSE_GONE = 4404
#: The protocol's "internal error": the page connects again.
CLOSE_FAILED = 1011


class RunConsumer(AsyncJsonWebsocketConsumer):
    """`/ws/runs/<id>/`: sends a snapshot whenever it differs from the last one sent."""

    look_again = LOOK_AGAIN

    async def connect(self) -> None:
        self.run_id = self.scope["url_route"]["kwargs"]["run_id"]
        self.sent: dict[str, Any] | None = None
        self.watch: asyncio.Task[None] | None = None
        self.reading = asyncio.Lock()
        self.group = ActionRun(pk=self.run_id).group
        if not await self._may_view():
            await self.close(CLOSE_FORBIDDEN)  # before accept: the handshake is refused with 403
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self._send_if_changed()
        self.watch = asyncio.create_task(self._watch())

    async def disconnect(self, code: int) -> None:
        if self.watch is not None:
            self.watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.watch
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The page has nothing to say here."""

    async def run_changed(self, message: dict[str, Any]) -> None:
        """A push of `doorbell.push`."""
        await self._send_if_changed()

    async def _watch(self) -> None:
        try:
            while True:
                await asyncio.sleep(self.look_again)
                if not await self._may_view():
                    await self.close(CLOSE_FORBIDDEN)
                    return
                await self._send_if_changed()
        except Exception:
            # Without this look a page could go stale, or stay open for somebody who lost the right: let it
            # come anew.
            logger.exception("The page of run %s can't be kept up to date", self.run_id)
            await self.close(CLOSE_FAILED)

    async def _send_if_changed(self) -> None:
        async with (
            self.reading
        ):  # a push and a look at the same time must not send an older row after a newer one
            snapshot = await database_sync_to_async(_snapshot)(self.run_id)
            if snapshot is None:
                await self.close(CLOSE_GONE)
            elif snapshot != self.sent:
                self.sent = snapshot
                await self.send_json(snapshot)

    async def _may_view(self) -> bool:
        allowed: bool = await database_sync_to_async(_may_view)(self.scope["session"].session_key)
        return allowed


def _may_view(session_key: str | None) -> bool:
    return user_may_view_runs(user=session_user(session_key=session_key))


def _snapshot(run_id: int) -> dict[str, Any] | None:
    run = ActionRun.objects.filter(pk=run_id).first()
    return None if run is None else run_snapshot(run)
