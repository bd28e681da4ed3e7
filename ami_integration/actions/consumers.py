"""The WebSockets of a run's page, and of the page of what runs now.

A run's joins the run's group, then reads the row, then passes on what changes: in this order, nothing that
happens in between is missed. A push carries no content; the row is read again for each, so that a page
never shows anything but what the database says. Every few seconds the consumer looks by itself, whether the
person may still see this, and whether the row changed without a push (the channel layer may have been
away).
"""

import asyncio
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from ami_integration.access.consumers import PageConsumer
from ami_integration.access.services import session_user, user_may_view_runs
from ami_integration.actions.models import ActionRun
from ami_integration.actions.snapshots import run_snapshot, running_snapshot

#: Seconds between two looks at the person's rights and at the row.
LOOK_AGAIN = 3.0
#: Close codes of our own: the page tells the person, and doesn't connect again.
CLOSE_FORBIDDEN = 4403
CLOSE_GONE = 4404


class RunConsumer(PageConsumer, AsyncJsonWebsocketConsumer):
    """`/ws/runs/<id>/`: sends a snapshot whenever it differs from the last one sent."""

    look_again = LOOK_AGAIN

    async def connect(self) -> None:
        self.run_id = self.scope["url_route"]["kwargs"]["run_id"]
        self.sent: dict[str, Any] | None = None
        self.reading = asyncio.Lock()
        # A run that never was is refused like one that isn't to be seen: neither tells that the other exists.
        if not await self._may_view(gone=False):
            await self.close(CLOSE_FORBIDDEN)  # before accept: the handshake is refused with 403
            return
        await self.join(ActionRun(pk=self.run_id).group)
        await self.accept()
        await self._send_if_changed()
        self.start(self._watch())

    async def run_changed(self, message: dict[str, Any]) -> None:
        """A push of `doorbell.push`."""
        await self._send_if_changed()

    async def _watch(self) -> None:
        # If this fails, the socket ends and the page comes anew: it could go stale without, or stay open for
        # somebody who lost the right.
        while True:
            await asyncio.sleep(self.look_again)
            if not await self._may_view():
                await self.close(CLOSE_FORBIDDEN)
                return
            await self._send_if_changed()

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

    async def _may_view(self, *, gone: bool = True) -> bool:
        """Whether the person may see the run; of one that is gone, `gone`."""
        allowed: bool = await database_sync_to_async(_may_view)(
            self.scope["session"].session_key, self.run_id, gone=gone
        )
        return allowed


class RunningConsumer(PageConsumer, AsyncJsonWebsocketConsumer):
    """`/ws/runs/`: what runs now, sent whenever it differs from what was sent last.

    It looks every second by itself: a push for each step of each run would be many times that when much
    runs, and when little does, a second is soon enough.
    """

    look_again = 1.0

    async def connect(self) -> None:
        if await self._snapshot() is None:
            await self.close(CLOSE_FORBIDDEN)  # before accept: the handshake is refused with 403
            return
        await self.accept()
        self.start(self._watch())

    async def _watch(self) -> None:
        sent: dict[str, Any] = {}
        while True:
            snapshot = await self._snapshot()
            if snapshot is None:
                await self.close(CLOSE_FORBIDDEN)
                return
            if snapshot != sent:
                sent = snapshot
                await self.send_json(snapshot)
            await asyncio.sleep(self.look_again)

    async def _snapshot(self) -> dict[str, Any] | None:
        """None for somebody who may not see the log, or not any more."""
        session_key = self.scope["session"].session_key
        snapshot: dict[str, Any] | None = await database_sync_to_async(_running_snapshot)(session_key)
        return snapshot


def _running_snapshot(session_key: str | None) -> dict[str, Any] | None:
    user = session_user(session_key=session_key)
    return running_snapshot(user) if user_may_view_runs(user=user) else None


def _may_view(session_key: str | None, run_id: int, *, gone: bool) -> bool:
    user = session_user(session_key=session_key)
    if not user_may_view_runs(user=user):
        return False
    runs = ActionRun.objects.filter(pk=run_id)
    return runs.visible_to(user).exists() or (gone and not runs.exists())  # what is gone, the page says


def _snapshot(run_id: int) -> dict[str, Any] | None:
    run = ActionRun.objects.filter(pk=run_id).first()
    return None if run is None else run_snapshot(run)
