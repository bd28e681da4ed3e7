"""Between the listener's sessions and the stream: a bounded buffer and the thread that empties it.

The sessions must never wait, or Asterisk cuts them off; Valkey may be away for a while. So `put` only
appends, and what a full buffer can't hold is dropped, counted by server, and told as a gap with that number
once there is room again. Entries wait packed, as they will be written, so the bound in bytes is one of
memory; and the thread has nothing to do but I/O, many servers' entries in one call.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice

import redis

from ami_integration.events.models import Gap
from ami_integration.events.stream import (
    Entry,
    EventBatch,
    GapNote,
    Mark,
    SnapshotNote,
    end_again,
    mark_of,
)
from ami_integration.events.writer import LeaseLost, Packed, SlotLost, StreamWriter, pack
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

MAX_EVENTS = 200_000
MAX_BYTES = 128 * 1024 * 1024
#: What one call to Valkey brings at most.
_ENTRIES_A_WRITE = 512
_BYTES_A_WRITE = 4 * 1024 * 1024
#: Of a small entry that waits, what it takes beside its data.
_OVERHEAD = 400
_RETRY_SECONDS = 0.5


@dataclass
class _Dropped:
    """What was dropped of one server since the buffer filled up."""

    epoch: int
    after_id: int
    started_at: int
    before_count: int
    number: int = 0
    last_id: int = 0
    last_at: int = 0
    notes: bool = False  # notes of gaps, too


@dataclass(frozen=True)
class Waiting:
    """What an outbox holds: events and bytes, since when (seconds), and how many events it ever dropped."""

    events: int
    bytes: int
    seconds: float
    dropped: int


class Outbox:
    """The buffer and its thread.

    Args:
        writer: where entries go.
        on_lease_lost: called in the thread with the servers (and epochs) that another listener turns out to
            have, maybe several times.
        on_slot_lost: called in the thread when the slot isn't ours now; everything waits meanwhile.
        on_dropped: called in any thread when dropped events were told as a gap: server and the gap's
            `after_id`.
        on_failure: called once, in the thread, if it ends by a mistake of ours.
        max_events, max_bytes: how much may wait. When it is full, events are dropped until half is free.
    """

    def __init__(
        self,
        writer: StreamWriter,
        *,
        on_lease_lost: Callable[[Collection[tuple[int, int]]], object],
        on_slot_lost: Callable[[], object] = lambda: None,
        on_dropped: Callable[[int, int], object] = lambda server_id, after_id: None,
        on_failure: Callable[[], object] = lambda: None,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._writer = writer
        self._on_lease_lost = on_lease_lost
        self._on_slot_lost = on_slot_lost
        self._on_dropped = on_dropped
        self._on_failure = on_failure
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._entries: deque[tuple[Packed, float]] = deque()  # and when it was put (monotonic)
        self._events = 0  # waiting in _entries
        self._bytes = 0
        self._dropping = False
        self._dropped: dict[int, _Dropped] = {}
        self._unmet: dict[int, GapNote] = {}  # by server: the told gap behind which no event came yet
        self._dropped_ever = 0
        self._changed = threading.Condition()
        self._deadline: float | None = None  # monotonic; set by stop()
        self._outage = Outage(logger, "Valkey is away; events wait in memory")
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, entry: Entry, *, epoch: int = 0) -> None:
        """Take an entry that was made under this epoch, or count its events as dropped. Never waits."""
        with self._changed:
            server_id = entry.server_id
            if self._full(len(entry.events) if isinstance(entry, EventBatch) else 0) and (
                server_id in self._dropped or not _tells_again(entry)  # that alone drops nothing
            ):
                self._drop(entry, epoch)
                return
            self._tell_dropped(server_id, before=entry)
            if not isinstance(entry, SnapshotNote):
                self._meet(entry, epoch)
            self._take(pack(entry, epoch))

    def release(self, server_id: int, *, epoch: int) -> None:
        """Give a server's lease up once all of it is written."""
        with self._changed:
            self._tell_dropped(server_id)
            # The next owner's gap adjoins it, and takes its end along.
            self._unmet.pop(server_id, None)
            self._take(Packed(server_id, epoch, Mark(), b""))

    def stop(self, *, seconds: float) -> int:
        """Write what waits, for so long at most; returns how many events could not be written."""
        with self._changed:
            for server_id in list(self._dropped):
                self._tell_dropped(server_id)
            self._deadline = time.monotonic() + seconds
            self._changed.notify()
        self._thread.join(seconds + 1)
        with self._changed:
            return self._events

    def waiting(self) -> Waiting:
        """What waits now."""
        with self._changed:
            seconds = time.monotonic() - self._entries[0][1] if self._entries else 0.0
            return Waiting(self._events, self._bytes, seconds, self._dropped_ever)

    # Putting

    def _full(self, events: int) -> bool:
        if self._dropping:
            self._dropping = not self._half_free()
        elif self._events + events > self._max_events or self._bytes > self._max_bytes:
            logger.error(
                "Valkey hasn't taken %d events (%d bytes), the buffer is full: events are dropped",
                self._events,
                self._bytes,
            )
            self._dropping = True
        return self._dropping

    def _half_free(self) -> bool:
        return self._events <= self._max_events // 2 and self._bytes <= self._max_bytes // 2

    def _take(self, packed: Packed) -> None:
        self._events += packed.events
        self._bytes += len(packed.data) + _OVERHEAD
        self._entries.append((packed, time.monotonic()))
        self._changed.notify()

    def _drop(self, entry: Entry, epoch: int) -> None:
        if isinstance(entry, SnapshotNote):
            logger.error("server %d: a snapshot (%s) was dropped", entry.server_id, entry.action)
            return
        begun, ended = _times(entry)
        dropped = self._dropped.get(entry.server_id)
        if dropped is None:
            dropped = self._dropped[entry.server_id] = _Dropped(
                epoch, entry.after_id, begun, entry.before_count
            )
        number = entry.last_count - entry.before_count
        dropped.epoch = epoch
        dropped.number += number
        dropped.last_id = entry.last_id
        dropped.last_at = ended
        dropped.notes = dropped.notes or (
            isinstance(entry, GapNote) and entry.before_id is not None and not _tells_again(entry)
        )
        self._dropped_ever += number

    def _meet(self, entry: EventBatch | GapNote, epoch: int) -> None:
        """Tell the end of a gap again if these are the first events behind it.

        If it is a gap, that one adjoins it and takes its end along.
        """
        unmet = self._unmet.pop(entry.server_id, None)
        if unmet is None or not isinstance(entry, EventBatch):
            return
        mark, first = mark_of(unmet), entry.events[0].id
        if mark == (entry.after_id, entry.before_count) and first != unmet.before_id:
            self._take(pack(end_again(unmet, mark=mark, before_id=first), epoch))

    def _tell_dropped(self, server_id: int, *, before: Entry | None = None) -> None:
        """Say in the stream what is missing of a server, if anything is.

        Args:
            before: what comes after it.
        """
        dropped = self._dropped.pop(server_id, None)
        if dropped is None or dropped.last_id == dropped.after_id:
            return
        logger.error("server %d: %d events were dropped while Valkey was away", server_id, dropped.number)
        # The first event behind it, or, while nobody knows that, where it would be at the earliest. What
        # comes next moves it on: an event (see `_meet`), or another gap, which adjoins this one.
        first = before.events[0].id if isinstance(before, EventBatch) else dropped.last_id + 1
        gap = GapNote(
            # The id of a dropped event names nothing else, and the next event has a greater one.
            id=dropped.last_id,
            server_id=server_id,
            reason=Gap.Reason.OVERLOAD,
            detail="Valkey was away for longer than the listener's buffer lasts.",
            started_at=dropped.started_at,
            ended_at=dropped.last_at,
            after_id=dropped.after_id,
            before_id=first,
            # Where the session was lost meanwhile, more is missing than was dropped.
            lost=dropped.number,
            lost_kind="estimated" if dropped.notes else "exact",
            before_count=dropped.before_count,
            numbered=dropped.number,
        )
        if not isinstance(before, EventBatch):
            self._unmet[server_id] = gap
        self._take(pack(gap, dropped.epoch))
        self._on_dropped(server_id, dropped.after_id)

    # Writing

    def _run(self) -> None:
        try:
            while chunk := self._next_chunk():
                if self._write(chunk):
                    self._done(chunk)
                elif self._deadline is not None and time.monotonic() > self._deadline:
                    return
        except Exception:
            logger.exception("the outbox ended by a mistake of ours; the listener starts again")
            self._on_failure()

    def _next_chunk(self) -> list[Packed]:
        """What to write next, without removing it; empty when stopped and everything is written."""
        chunk: list[Packed] = []
        size = 0
        with self._changed:
            while not self._entries and self._deadline is None:
                self._changed.wait()
            for packed, _ in islice(self._entries, _ENTRIES_A_WRITE):
                chunk.append(packed)
                size += len(packed.data)
                if size > _BYTES_A_WRITE:
                    break
        return chunk

    def _write(self, chunk: list[Packed]) -> bool:
        try:
            self._writer.write(chunk)
        except LeaseLost as lost:
            refused = {(chunk[at].server_id, chunk[at].epoch) for at in lost.positions}
            self._on_lease_lost(refused)
        except SlotLost:
            self._on_slot_lost()
            self._pause()
            return False
        except redis.RedisError as error:
            self._outage.failed(error)
            self._pause()
            return False
        self._outage.ended()
        return True

    def _pause(self) -> None:
        with self._changed:
            if self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, _RETRY_SECONDS)
            else:
                self._changed.wait(0.1)

    def _done(self, chunk: list[Packed]) -> None:
        with self._changed:
            for packed in chunk:
                self._entries.popleft()
                self._events -= packed.events
                self._bytes -= len(packed.data) + _OVERHEAD
            if self._dropped and self._half_free():
                self._dropping = False
                for server_id in list(self._dropped):
                    self._tell_dropped(server_id)


def _tells_again(entry: Entry) -> bool:
    """Whether it says of a gap that was told where it ends; no event is lost with it."""
    return isinstance(entry, GapNote) and entry.gap_after_id is not None


def _times(entry: EventBatch | GapNote) -> tuple[int, int]:
    if isinstance(entry, EventBatch):
        return entry.events[0].at, entry.events[-1].at
    return entry.started_at, entry.ended_at or entry.started_at
