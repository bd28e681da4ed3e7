"""Between the listener's sessions and the stream: a bounded buffer and the thread that empties it.

The sessions must never wait, or Asterisk cuts them off; Valkey may be away for a while. So `put` only
appends, and what a full buffer can't hold is dropped, counted by server, and told as a gap once there is room
again.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import redis

from ami_integration.events.models import Gap
from ami_integration.events.stream import Entry, EventBatch, GapNote, LeaseLost, StreamWriter
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

_ENTRIES_A_WRITE = 64
_RETRY_SECONDS = 0.5


@dataclass
class _Dropped:
    """What was dropped of one server since the buffer filled up."""

    after_id: int
    started_at: int
    before_count: int
    number: int = 0
    last_id: int = 0
    last_at: int = 0


class Outbox:
    """The buffer and its thread.

    Args:
        writer: where entries go.
        on_lease_lost: called once, in the thread, when another listener turns out to own the servers.
        max_events: how many events may wait. When it is full, events are dropped until half of it is free.
    """

    def __init__(
        self, writer: StreamWriter, *, on_lease_lost: Callable[[], object], max_events: int = 100_000
    ) -> None:
        self._writer = writer
        self._on_lease_lost = on_lease_lost
        self._max_events = max_events
        self._entries: deque[Entry] = deque()
        self._events = 0  # waiting in _entries
        self._dropping = False
        self._dropped: dict[int, _Dropped] = {}
        self._changed = threading.Condition()
        self._deadline: float | None = None  # monotonic; set by stop()
        self._outage = Outage(logger, "Valkey is away; events wait in memory")
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Take an entry, or count its events as dropped. Never waits; gaps are always taken."""
        with self._changed:
            if isinstance(entry, EventBatch):
                if self._dropping and self._events > self._max_events // 2:
                    self._drop(entry)
                    return
                if self._events + len(entry.events) > self._max_events:
                    if not self._dropping:
                        logger.error(
                            "Valkey hasn't taken %d events, the buffer is full: events are dropped",
                            self._events,
                        )
                    self._dropping = True
                    self._drop(entry)
                    return
                self._dropping = False
                self._events += len(entry.events)
            self._tell_dropped(entry.server_id)
            self._entries.append(entry)
            self._changed.notify()

    def stop(self, *, seconds: float) -> int:
        """Write what waits, for so long at most; returns how many events could not be written."""
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._changed.notify()
        self._thread.join(seconds + 1)
        with self._changed:
            return self._events + sum(dropped.number for dropped in self._dropped.values())

    def _drop(self, batch: EventBatch) -> None:
        dropped = self._dropped.get(batch.server_id)
        if dropped is None:
            dropped = self._dropped[batch.server_id] = _Dropped(
                batch.after_id, batch.events[0].at, batch.before_count
            )
        dropped.number += len(batch.events)
        dropped.last_id = batch.last_id
        dropped.last_at = batch.events[-1].at

    def _tell_dropped(self, server_id: int) -> None:
        dropped = self._dropped.pop(server_id, None)
        if dropped is None:
            return
        logger.error("server %d: %d events were dropped while Valkey was away", server_id, dropped.number)
        self._entries.append(
            GapNote(
                # The id of a dropped event names nothing else, and the next event has a greater one.
                id=dropped.last_id,
                server_id=server_id,
                reason=Gap.Reason.OVERLOAD,
                detail="Valkey was away for longer than the listener's buffer lasts.",
                started_at=dropped.started_at,
                ended_at=dropped.last_at,
                after_id=dropped.after_id,
                before_id=dropped.last_id + 1,
                lost=dropped.number,
                lost_kind="exact",
                before_count=dropped.before_count,
                numbered=dropped.number,
            )
        )

    def _run(self) -> None:
        try:
            while chunk := self._next_chunk():
                if self._write(chunk):
                    self._done(chunk)
                elif self._deadline is not None and time.monotonic() > self._deadline:
                    return
        except LeaseLost:
            self._on_lease_lost()
        except Exception:
            logger.exception("the outbox ended by a mistake of ours; the listener starts again")
            self._on_lease_lost()

    def _next_chunk(self) -> list[Entry]:
        """What to write next, without removing it; empty when stopped and everything is written."""
        with self._changed:
            while not self._entries and self._deadline is None:
                self._changed.wait()
            return [self._entries[i] for i in range(min(len(self._entries), _ENTRIES_A_WRITE))]

    def _write(self, chunk: list[Entry]) -> bool:
        try:
            self._writer.append(chunk)
        except redis.RedisError as error:
            self._outage.failed(error)
            with self._changed:
                if self._deadline is None:
                    self._changed.wait_for(lambda: self._deadline is not None, _RETRY_SECONDS)
                else:
                    self._changed.wait(0.1)
            return False
        self._outage.ended()
        return True

    def _done(self, chunk: list[Entry]) -> None:
        with self._changed:
            for entry in chunk:
                self._entries.popleft()
                if isinstance(entry, EventBatch):
                    self._events -= len(entry.events)
            if self._dropped and self._events <= self._max_events // 2:
                for server_id in list(self._dropped):
                    self._tell_dropped(server_id)
