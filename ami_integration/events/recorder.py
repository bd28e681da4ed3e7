"""The recorder: takes batches from the stream, stores them, and then tells the pages.

For each read of the stream there is one transaction with one bulk insert, then the acknowledgement, then one
message for each server to its group. Everything may happen twice (a kill between any two of these steps) and
nothing is stored twice: an event is known by its id, a gap by its server and the event before it.

One recorder is active, by a lease; others stand by. What can't be stored at all is put aside with its error,
so that it doesn't hold up the rest; while the database or Valkey is away, nothing is put aside and everything
waits.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import redis
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DataError, Error, IntegrityError, connection, transaction

from ami_integration.events.chain import holes_of, last_marks, marks_merged, with_holes
from ami_integration.events.gaps import gap_store, snapshot_store
from ami_integration.events.keeping import KeepingRules
from ami_integration.events.leases import Lease
from ami_integration.events.partitions import partitions_ensure, strays_count
from ami_integration.events.pushes import ID, Row, batch_message, item_row
from ami_integration.events.retention import Retention
from ami_integration.events.rows import EventRow, event_row, pushed_row
from ami_integration.events.services import gap_item, group_name, snapshot_item
from ami_integration.events.storage import events_insert
from ami_integration.events.stream import (
    Aside,
    BadEntry,
    Entry,
    EventBatch,
    GapNote,
    Mark,
    SnapshotNote,
    StreamReader,
    decode_entry,
    mark_of,
    valkey_client,
)
from ami_integration.events.tally import Tally, counters_read, put_aside_last, stream_waiting
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: Entries of up to 500 events that one step takes. On SQLite, whoever else writes waits for each step.
ENTRIES_A_STEP = {"postgresql": 20, "sqlite": 5}
#: Items in one message to a group; a channel layer is no place for megabytes.
ITEMS_A_MESSAGE = 1_000
LEASE_SECONDS = 10.0

_PRUNE_INTERVAL = 60.0
_PRUNE_ROWS = 2_000  # at each call; small, so that what comes meanwhile needn't wait
_FINISH_SECONDS = 1.5
_RETRY_FIRST, _RETRY_CAP = 0.2, 5.0
#: What says that a row is bad, not that the database is away.
_REFUSED = (DataError, IntegrityError, ValueError, TypeError, OverflowError)

#: An entry, and what pages are told of it.
Told: TypeAlias = tuple[Entry, list[Row]]


class Recorder:
    """A recorder, active or standing by.

    Args:
        url: of Valkey.
        clock: seconds since 1970, for the retention.
    """

    def __init__(
        self, *, url: str, clock: Callable[[], float] = time.time, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._valkey = valkey_client(url)
        self._reader = StreamReader(self._valkey)
        self._lease = Lease(self._valkey, "recorder", ttl=lease_seconds)
        self._renewed = float("-inf")  # monotonic
        self._clock = clock
        self._pending = True  # what a dead recorder, or a failed step of ours, left comes first
        self._ready = False
        self._recorded: dict[int, Mark] = {}
        self._damaged: set[int] = set()  # servers of which Valkey has lost something since then
        self._prune_at = float("-inf")  # monotonic
        self._retention = Retention(batch=_PRUNE_ROWS)
        self._tally = Tally()
        self._turned = time.monotonic()  # when the last turn of `run` began
        self._keeping = KeepingRules()
        # One event loop for all messages: the channel layer keeps its connection by loop.
        self._runner = asyncio.Runner()
        self._away = Outage(logger, "the database or Valkey is away; events wait on the stream")
        self._untidy = Outage(logger, "the store's days can't be made or removed; tried again each minute")
        self._silent = Outage(logger, "pages can't be told of new events; they will find them in the store")

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set; returns within a few seconds then."""
        failures = 0
        told = False
        while not stop.is_set():
            self._turned = time.monotonic()
            try:
                if not self.active():
                    if not told:
                        told = True
                        logger.info("another recorder is at work; this one stands by")
                    stop.wait(1.0)
                    continue
                told = False
                self.step(block=0.5)
                self.prune()
            except (redis.RedisError, Error) as error:
                self._away.failed(error)
                connection.close()  # a broken one would fail for ever
                failures += 1
                stop.wait(_retry_seconds(failures))
            except Exception:
                logger.exception("a mistake of ours in the recorder; it goes on")
                failures += 1
                stop.wait(_retry_seconds(failures))
            else:
                failures = 0
                self._away.ended()
        self._finish()

    def _finish(self) -> None:
        """Store what has come meanwhile, the listener's last words among it, for a moment at most."""
        deadline = time.monotonic() + _FINISH_SECONDS
        try:
            while time.monotonic() < deadline and self.active() and self.step():
                pass
        except (redis.RedisError, Error) as error:
            logger.warning("what is on the stream waits for the next recorder: %s", error)

    def close(self) -> None:
        """Let the next recorder in at once."""
        try:
            self._lease.release()
        except redis.RedisError:
            pass  # it ends by itself
        self._runner.close()
        self._valkey.close()
        connection.close()

    def active(self) -> bool:
        """Be or become the one active recorder. Raises redis.RedisError if Valkey is away."""
        now = time.monotonic()
        if self._lease.epoch and now - self._renewed < self._lease.ttl / 4:
            return True
        owned = self._lease.renew() if self._lease.epoch else False
        if not owned:
            owned = self._lease.claim()
            self._ready = False  # another one may have recorded meanwhile
        self._renewed = now
        return owned

    def step(self, *, block: float = 0.0) -> int:
        """Store what the stream has, up to a bound; returns how many entries were dealt with.

        Args:
            block: seconds to wait for something new.

        Raises:
            redis.RedisError, django.db.Error: Valkey or the database is away. The next step takes it up
            again.
        """
        if not self._ready:
            self._reader.ensure_group()
            marks = self._reader.recorded()
            self._recorded = marks_merged(self._recorded, marks)
            self._damaged |= {server for server, mark in self._recorded.items() if marks.get(server) != mark}
            self._pending = True
            self._ready = True
        try:
            found = self._read(block)
            if not found:
                return 0
            aside: list[Aside] = []
            damaged = set(self._damaged)
            came, behind_damage = self._decode(found, aside, damaged)
            entries = with_holes(came, self._recorded, behind_damage)
            told = self._store(entries, aside, again=self._pending)
            for one in aside:
                logger.error("an entry of the stream can't be stored and is put aside: %s", one.error)
            recorded = last_marks(entries)
            wishes = holes_of(entries, came)
            entry_ids = [entry_id for entry_id, _ in found]
            if not self._reader.ack(entry_ids, recorded, lease=self._lease, aside=aside, wishes=wishes):
                self._renewed = float("-inf")  # another one is active: ask before reading on
        except Exception:
            # Whatever was read is pending now, and perhaps Valkey has forgotten our group.
            self._pending = True
            self._ready = False
            raise
        self._publish(told)
        self._recorded |= recorded
        self._damaged = damaged
        return len(found)

    def prune(self) -> None:
        """See to the store: days made ahead, and what has had its time removed from it and from the stream.

        Does so once a minute, or at each call while there is more to remove. What fails is tried again a
        minute later; it holds up nothing else. Of our clock and Valkey's the one that is behind counts: a
        clock that jumped ahead shall not empty the store.
        """
        now = time.monotonic()
        if now < self._prune_at:
            return
        self._prune_at = now + _PRUNE_INTERVAL
        seconds, _ = self._valkey.time()
        moment = datetime.fromtimestamp(min(self._clock(), seconds), UTC)
        try:
            partitions_ensure(now=moment)
            if self._retention.prune(now=moment).more:
                self._prune_at = now
            self._tally.strays = strays_count()
        except Error as error:
            self._untidy.failed(error)
            connection.close_if_unusable_or_obsolete()
        else:
            self._untidy.ended()
        self._reader.trim(keep=settings.AMIWEB_STREAM_KEEP_SECONDS)

    def status(self) -> dict[str, Any]:
        """What an operator should know; for any thread. Raises redis.RedisError if Valkey is away.

        `lag` is for how many seconds the oldest entry of the stream waits, `depth` how many entries do; both
        None for a recorder that stands by. `put_aside` counts what could not be stored, over all recorders,
        `refused` the events among it, and `put_aside_why` is the last error. `stored` and `not_kept` events
        are this recorder's, `rate` is events a second, and `turn` the seconds since its last turn began.
        """
        active = self._lease.epoch > 0
        waiting = stream_waiting(self._valkey) if active else None
        counters = counters_read(self._valkey)
        tally = self._tally
        return {
            "active": active,
            "lag": None if waiting is None else waiting.seconds,
            "depth": None if waiting is None else waiting.entries,
            "rate": tally.rate,
            "stored": tally.stored,
            "not_kept": tally.not_kept,
            "refused": counters.get("refused", 0),
            "put_aside": counters.get("put_aside", 0),
            "put_aside_why": put_aside_last(self._valkey),
            "strays": tally.strays,
            "turn": time.monotonic() - self._turned,
        }

    # Reading

    def _read(self, block: float) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        count = ENTRIES_A_STEP[connection.vendor]
        if self._pending:
            found = self._reader.read(pending=True, count=count, block=0)
            if found:
                return found
            self._pending = False
        return self._reader.read(pending=False, count=count, block=block)

    def _decode(
        self, found: Iterable[tuple[bytes, Mapping[bytes, bytes]]], aside: list[Aside], damaged: set[int]
    ) -> tuple[list[Entry], set[int]]:
        """The entries, and the places of those that are the first behind a damage.

        Args:
            aside: gets what can't be read.
            damaged: the servers whose last entry before these is damaged, and then that of these.
        """
        entries: list[Entry] = []
        behind: set[int] = set()
        for entry_id, fields in found:
            if not fields:
                continue  # cut from the stream before it was stored; the chain of ids shows what that cost
            try:
                entry = decode_entry(fields)
            except BadEntry as error:
                aside.append(Aside({b"entry": entry_id, **fields}, str(error)))
                if (text := fields.get(b"s", b"")).isdigit():
                    damaged.add(int(text))
                continue
            if entry.server_id in damaged:
                damaged.discard(entry.server_id)
                behind.add(len(entries))
            entries.append(entry)
        return entries, behind

    # Storing

    def _store(self, entries: Sequence[Entry], aside: list[Aside], *, again: bool) -> list[Told]:
        """Store all in one transaction, but what is to be put aside; returns what pages are told of each."""
        self._keeping.refresh()
        told: list[Told] = []
        refused: list[EventRow] = []
        rows: list[EventRow] = []
        not_kept = 0
        for entry in entries:
            news: list[Row] = []
            if isinstance(entry, EventBatch):
                keeps = self._keeping.of(entry.server_id).keeps
                for stamped in entry.events:
                    row = event_row(entry.server_id, stamped)
                    kept = keeps(row.name)
                    if kept:
                        rows.append(row)
                    else:
                        not_kept += 1
                    news.append(pushed_row(row, kept=kept))
            told.append((entry, news))
        with transaction.atomic():
            self._insert(rows, refused, aside, again=again)
            for note, news in told:
                if not isinstance(note, EventBatch):
                    news += self._store_note(note, aside)
        if refused:
            gone = {row.id for row in refused}
            told = [(entry, [row for row in news if row[ID] not in gone]) for entry, news in told]
        self._tally.add(stored=len(rows) - len(refused), not_kept=not_kept)
        return told

    def _store_note(self, note: GapNote | SnapshotNote, aside: list[Aside]) -> list[Row]:
        try:
            with transaction.atomic():
                if isinstance(note, GapNote):
                    return [item_row(gap_item(gap)) for gap in gap_store(note=note)]
                return [item_row(snapshot_item(one)) for one in snapshot_store(note=note)]
        except _REFUSED as error:
            fields = {b"s": str(note.server_id).encode(), b"d": note.encode()}
            aside.append(Aside(fields, f"{type(error).__name__}: {error}"))
            return []

    def _insert(
        self, rows: Sequence[EventRow], refused: list[EventRow], aside: list[Aside], *, again: bool
    ) -> None:
        """Store rows; those that the database refuses are found by halves, and the others stored."""
        try:
            with transaction.atomic():
                events_insert(rows=rows, again=again)
        except _REFUSED as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                self._insert(rows[:middle], refused, aside, again=True)
                self._insert(rows[middle:], refused, aside, again=True)
                return
            [row] = rows
            fields = {
                b"s": str(row.server_id).encode(),
                b"id": str(row.id).encode(),
                b"event": str(row.headers).encode("utf-8", "backslashreplace"),
            }
            refused.append(row)
            aside.append(Aside(fields, f"{type(error).__name__}: {error}", events=1))

    # Telling

    def _publish(self, told: Sequence[Told]) -> None:
        after: dict[int, int] = {}
        last: dict[int, int] = {}
        rows: dict[int, list[Row]] = {}
        for entry, news in told:
            after.setdefault(entry.server_id, entry.after_id)
            last[entry.server_id] = mark_of(entry).id
            rows.setdefault(entry.server_id, []).extend(news)
        messages = []
        for server_id, chain in after.items():
            found = rows[server_id]
            for start in range(0, max(1, len(found)), ITEMS_A_MESSAGE):
                part = found[start : start + ITEMS_A_MESSAGE]
                final = start + ITEMS_A_MESSAGE >= len(found)
                newest = last[server_id] if final else max(chain, part[-1][ID])
                message = batch_message(server_id=server_id, after_id=chain, last_id=newest, rows=part)
                messages.append((group_name(server_id), message))
                chain = newest
        if not messages:
            return
        try:
            self._runner.run(_send(messages))
        except (redis.RedisError, OSError) as error:
            self._silent.failed(error)
        else:
            self._silent.ended()


def _retry_seconds(failures: int) -> float:
    return min(_RETRY_CAP, _RETRY_FIRST * 2.0 ** min(failures, 10))


async def _send(messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
    layer = get_channel_layer()
    for group, message in messages:
        await layer.group_send(group, message)
