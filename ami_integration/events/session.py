"""The listener's event session with one server: stamps what comes and tells when nothing could come.

It reads and forwards, and waits for nobody: a reader that is slow for 100 ms is cut off by Asterisk. It
doesn't parse either; the recorder does.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ami_integration.ami import (
    TCP,
    TLS,
    AMIError,
    Connected,
    ConnectFailed,
    Event,
    LoginFailed,
    ReconnectingClient,
    Resumed,
)
from ami_integration.ami import Gap as Lost
from ami_integration.events.health import HealthReporter
from ami_integration.events.ids import IdSource, id_milliseconds
from ami_integration.events.models import Gap
from ami_integration.events.outbox import Outbox
from ami_integration.events.stream import START, EventBatch, GapNote, Mark, StampedEvent, mark_of
from ami_integration.servers.encryption import Secret, SecretUnreadable
from ami_integration.servers.models import ServerHealth

logger = logging.getLogger(__name__)

#: A batch is written when it has so many events, or so many seconds after its first.
BATCH_EVENTS = 500
BATCH_SECONDS = 0.05

_SEEN_INTERVAL = 10.0
_VERSION_TIMEOUT = 10.0

State = ServerHealth.State


@dataclass(frozen=True)
class Target:
    """A server as the listener knows it. Two that differ in more than their name need another session."""

    server_id: int
    name: str = field(compare=False)
    transport: TCP | TLS
    username: str
    secret: Secret


class Session:
    """The session with one server, over as many connections as it takes.

    Args:
        target: where and as whom.
        ids: the listener's ids.
        outbox: where batches go.
        health: where states go.
        mark: where the server's chain stands, by whomever it was written.
        gap: why nobody listened until now, for the gap after `last_id`.
    """

    def __init__(
        self,
        target: Target,
        *,
        ids: IdSource,
        outbox: Outbox,
        health: HealthReporter,
        mark: Mark = START,
        gap: Gap.Reason = Gap.Reason.LISTENER_STOPPED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.target = target
        self.mark = mark
        self._ids = ids
        self._outbox = outbox
        self._health = health
        self._clock = clock
        self._client: ReconnectingClient | None = None
        self._dropped = 0
        self._pending: list[StampedEvent] = []
        self._flush_handle: asyncio.TimerHandle | None = None
        self._gap: GapNote | None = None
        self._before = gap
        self._state = ""
        self._seen_at = 0.0
        self._version: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        if self.mark.id:
            self._open_gap(self._before, "", started_at=id_milliseconds(self.mark.id) * 1000)
        try:
            secret = self.target.secret.reveal()
        except SecretUnreadable as error:
            self._say(State.SECRET_UNREADABLE, error=str(error))
            logger.error("%s: %s", self.target.name, error)
            # Only another secret helps, and with that comes another session.
            await asyncio.Event().wait()
            return
        self._say(State.CONNECTING)
        client = self._client = ReconnectingClient(
            self.target.transport, username=self.target.username, secret=secret, events="on"
        )
        try:
            async with contextlib.aclosing(client.batches()) as items:
                async for item in items:
                    match item:
                        case list():
                            self._take(item)
                        case Connected() | Resumed():
                            self._connected(client)
                        case ConnectFailed():
                            self._failed(item.error)
                        case Lost():
                            self._lost(item.since, item.error)
        finally:
            if self._version is not None:
                self._version.cancel()
            self._flush()

    def close(self, reason: Gap.Reason) -> None:
        """After the end of `run`: from here on nobody listens, and why."""
        if self.mark.id and self._gap is None:
            self._open_gap(reason, "", started_at=self._now())

    def report_seen(self) -> None:
        """Note that the server still talks, at most every 10 s. To be called every few seconds."""
        client = self._client.client if self._client is not None else None
        if client is None or client.last_received <= self._seen_at:
            return
        if time.monotonic() - self._seen_at >= _SEEN_INTERVAL:
            self._seen_at = time.monotonic()
            self._say(State.ONLINE)

    # What comes

    def _take(self, events: list[Event]) -> None:
        client = self._client
        assert client is not None
        now = self._now()
        next_id = self._ids.next
        stamped = [StampedEvent(next_id(), now, event.raw) for event in events]
        if client.dropped > self._dropped:
            lost = client.dropped - self._dropped
            self._dropped = client.dropped
            self._overload(lost, now, stamped[0].id)
        self._pending += stamped
        if len(self._pending) >= BATCH_EVENTS:
            self._flush()
        elif self._flush_handle is None:
            self._flush_handle = asyncio.get_running_loop().call_later(BATCH_SECONDS, self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), BATCH_EVENTS):
            batch = EventBatch(self.target.server_id, *self.mark, pending[start : start + BATCH_EVENTS])
            self.mark = mark_of(batch)
            self._outbox.put(batch)

    def _connected(self, client: ReconnectingClient) -> None:
        session = client.client
        assert session is not None
        logger.info("%s: listening (%s)", self.target.name, session.banner)
        if self._gap is not None:
            self._end_gap(self._gap)
        elif not self.mark.id:
            # Nothing is known from before; what may be missing later is what comes after this moment.
            self.mark = Mark(self._ids.next(), self.mark.numbered)
        self._seen_at = time.monotonic()
        self._say(State.ONLINE, ami_version=session.ami_version)
        self._version = asyncio.create_task(self._learn_version(client))

    async def _learn_version(self, client: ReconnectingClient) -> None:
        try:
            session = client.client
            if session is None:
                return
            reply = await session.action("CoreSettings", timeout=_VERSION_TIMEOUT)
        except AMIError:
            return  # the session ends or is slow; the next one asks again
        version = reply.response.get("AsteriskVersion", "")
        if reply.success and version and self._state == State.ONLINE:
            self._say(State.ONLINE, asterisk_version=version)

    def _failed(self, error: AMIError) -> None:
        state = State.LOGIN_FAILED if isinstance(error, LoginFailed) else State.OFFLINE
        if state != self._state:
            logger.warning("%s: %s", self.target.name, error)
        self._say(state, error=str(error))

    def _lost(self, since: float, error: AMIError) -> None:
        self._flush()
        logger.warning("%s: %s", self.target.name, error)
        self._open_gap(Gap.Reason.DISCONNECTED, str(error), started_at=int(since * 1_000_000))
        self._say(State.OFFLINE, error=str(error))

    def _say(self, state: State, **values: str) -> None:
        self._state = state
        self._health.note(self.target.server_id, state=state, **values)

    # Gaps

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _open_gap(self, reason: Gap.Reason, detail: str, *, started_at: int) -> None:
        self._gap = GapNote(
            id=self._ids.next(),
            server_id=self.target.server_id,
            reason=reason,
            detail=detail,
            started_at=started_at,
            after_id=self.mark.id,
            before_count=self.mark.numbered,
        )
        self._outbox.put(self._gap)

    def _end_gap(self, gap: GapNote) -> None:
        ended = GapNote(
            id=gap.id,
            server_id=gap.server_id,
            reason=gap.reason,
            detail=gap.detail,
            started_at=gap.started_at,
            after_id=gap.after_id,
            ended_at=self._now(),
            before_id=self._ids.next(),
            before_count=self.mark.numbered,
        )
        self._gap = None
        self.mark = mark_of(ended)
        self._outbox.put(ended)

    def _overload(self, lost: int, now: int, before_id: int) -> None:
        self._flush()
        note = GapNote(
            id=self._ids.next(),
            server_id=self.target.server_id,
            reason=Gap.Reason.OVERLOAD,
            detail="The PBX sent more than the listener could take.",
            started_at=now,
            ended_at=now,
            after_id=self.mark.id,
            before_id=before_id,
            lost=lost,
            lost_kind="exact",
            before_count=self.mark.numbered,
            numbered=lost,
        )
        self._outbox.put(note)
        self.mark = mark_of(note)
