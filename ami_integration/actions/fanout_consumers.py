"""The WebSocket of a fan-out's page.

It works as the one of a run (`consumers.py`): a push is a hint, the rows are the truth, and every few seconds
it looks by itself. Two things differ: pushes come in bursts, one for each run that changes, and are answered
together; and after the first answer only the rows that changed are sent.
"""

import asyncio
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from ami_integration.access.consumers import PageConsumer
from ami_integration.access.services import session_user, user_may_view_runs
from ami_integration.actions.consumers import CLOSE_FORBIDDEN, CLOSE_GONE, LOOK_AGAIN
from ami_integration.actions.fanout_snapshots import fanout_snapshot
from ami_integration.actions.models import FanOut

#: Seconds between two answers, at least.
PAUSE = 0.25


class FanOutConsumer(PageConsumer, AsyncJsonWebsocketConsumer):
    """`/ws/fanouts/<id>/`: sends the summary and the rows that changed."""

    look_again = LOOK_AGAIN

    async def connect(self) -> None:
        self.fanout_id = self.scope["url_route"]["kwargs"]["fanout_id"]
        self.sent_summary: dict[str, Any] = {}
        self.sent_rows: dict[str, dict[str, Any]] = {}
        self.changed = asyncio.Event()
        if not await self._look():
            await self.close(CLOSE_FORBIDDEN)
            return
        await self.join(FanOut(pk=self.fanout_id).group)
        await self.accept()
        self.changed.set()
        self.start(self._answer())

    async def fanout_changed(self, message: dict[str, Any]) -> None:
        """A push of `doorbell.push_fanout`."""
        self.changed.set()

    async def _answer(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.look_again):
                    await self.changed.wait()
            except TimeoutError:
                pass  # nobody told anything: look all the same
            self.changed.clear()
            snapshot = await self._look()
            if snapshot is None:
                await self.close(CLOSE_GONE)
                return
            if not snapshot:
                await self.close(CLOSE_FORBIDDEN)
                return
            await self._send_changes(snapshot)
            await asyncio.sleep(PAUSE)

    async def _send_changes(self, snapshot: dict[str, Any]) -> None:
        rows = {row["id"]: row for row in snapshot["rows"]}
        changed = [row for pk, row in rows.items() if self.sent_rows.get(pk) != row]
        if changed or snapshot["summary"] != self.sent_summary:
            await self.send_json({"summary": snapshot["summary"], "rows": changed})
            self.sent_summary, self.sent_rows = snapshot["summary"], rows

    async def _look(self) -> dict[str, Any] | None:
        """The snapshot; empty for who may not see it, None when the fan-out is gone."""
        look = database_sync_to_async(_look)
        seen: dict[str, Any] | None = await look(self.scope["session"].session_key, self.fanout_id)
        return seen


def _look(session_key: str | None, fanout_id: int) -> dict[str, Any] | None:
    user = session_user(session_key=session_key)
    if not user_may_view_runs(user=user):
        return {}
    fanout = FanOut.objects.filter(pk=fanout_id).first()
    if fanout is None:
        return None
    snapshot = fanout_snapshot(fanout, user=user)
    return snapshot if snapshot["rows"] else {}
