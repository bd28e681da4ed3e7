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
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from channels.layers import get_channel_layer
from django.db import DataError, Error, IntegrityError, connection, transaction

from ami_integration.ami import Event as Message
from ami_integration.events.ids import id_moment
from ami_integration.events.leases import Lease
from ami_integration.events.models import Event, Gap
from ami_integration.events.pushes import batch_message, item_row
from ami_integration.events.services import Item, event_item, events_prune, gap_item, group_name
from ami_integration.events.stream import (
    BadEntry,
    Entry,
    EventBatch,
    GapNote,
    Mark,
    StampedEvent,
    StreamReader,
    decode_entry,
    mark_of,
    valkey_client,
)
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: Entries that one step takes: 20 of up to 500 events.
ENTRIES_A_STEP = 20
#: Items in one message to a group; a channel layer is no place for megabytes.
ITEMS_A_MESSAGE = 1_000
LEASE_SECONDS = 10.0
#: Recorded entries stay on the stream for so long.
STREAM_KEEP_SECONDS = 600.0

_PRUNE_INTERVAL = 60.0
_PRUNE_ROWS = 2_000
_FINISH_SECONDS = 1.5
_RETRY_FIRST, _RETRY_CAP = 0.2, 5.0
#: What says that a row is bad, not that the database is away.
_REFUSED = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        self._pruned = 0.0
        # One event loop for all messages: the channel layer keeps its connection by loop.
        self._runner = asyncio.Runner()
        self._away = Outage(logger, "the database or Valkey is away; events wait on the stream")
        self._silent = Outage(logger, "pages can't be told of new events; they will find them in the store")

    def run(self, stop: threading.Event) -> None:
        """Record until `stop` is set; returns within a few seconds then."""
        failures = 0
        told = False
        while not stop.is_set():
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
            self._recorded = self._reader.recorded()
            self._pending = True
            self._ready = True
        try:
            found = self._read(block)
            if not found:
                return 0
            entries = self._decode(found)
            entries = self._with_holes(entries)
            items, refused = self._store(entries)
            for fields, error in refused:
                self._put_aside(fields, error)
            recorded = _last_marks(entries)
            if not self._reader.ack([entry_id for entry_id, _ in found], recorded, lease=self._lease):
                self._renewed = float("-inf")  # another one is active: ask before reading on
        except Exception:
            # Whatever was read is pending now, and perhaps Valkey has forgotten our group.
            self._pending = True
            self._ready = False
            raise
        self._publish(entries, items)
        self._recorded |= recorded
        return len(found)

    def prune(self) -> None:
        """Remove what has had its time: a batch of the store's oldest events, and what was recorded a while
        ago from the stream. Does so once a minute, or at each call while there is more.
        """
        if self._pruned and time.monotonic() - self._pruned < _PRUNE_INTERVAL:
            return
        if events_prune(now=datetime.fromtimestamp(self._clock(), UTC), limit=_PRUNE_ROWS) < _PRUNE_ROWS:
            self._reader.trim(keep=STREAM_KEEP_SECONDS)
            self._pruned = time.monotonic()

    # Reading

    def _read(self, block: float) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        if self._pending:
            found = self._reader.read(pending=True, count=ENTRIES_A_STEP, block=0)
            if found:
                return found
            self._pending = False
        return self._reader.read(pending=False, count=ENTRIES_A_STEP, block=block)

    def _decode(self, found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Entry]:
        entries: list[Entry] = []
        for entry_id, fields in found:
            if not fields:
                continue  # cut from the stream before it was stored; the chain of ids shows what that cost
            try:
                entries.append(decode_entry(fields))
            except BadEntry as error:
                self._put_aside({b"entry": entry_id, **fields}, str(error))
        return entries

    def _with_holes(self, entries: Sequence[Entry]) -> list[Entry]:
        """Put a gap where the chain of a server's ids is broken: the stream was cut before we had read it."""
        result: list[Entry] = []
        newest = dict(self._recorded)
        for entry in entries:
            last = newest.get(entry.server_id)
            if last is not None and (entry.after_id > last.id or entry.before_count > last.numbered):
                lost = max(0, entry.before_count - last.numbered)
                logger.error(
                    "server %d: %d events between %d and %d are missing",
                    entry.server_id, lost, last.id, entry.after_id,
                )  # fmt: skip
                first = entry.events[0].id if isinstance(entry, EventBatch) else entry.after_id + 1
                result.append(
                    GapNote(
                        id=entry.after_id,  # the last one that is missing: this id names nothing else
                        server_id=entry.server_id,
                        reason=Gap.Reason.OVERLOAD,
                        detail="They could not be stored: the stream had no room for them, or was damaged.",
                        started_at=_microseconds(id_moment(last.id)),
                        ended_at=_microseconds(id_moment(entry.after_id)),
                        after_id=last.id,
                        before_id=first,
                        # None missing means that a note about a gap is, and nobody knows what was in that.
                        lost=lost or None,
                        lost_kind="exact" if lost else "unknown",
                        before_count=last.numbered,
                        numbered=lost,
                    )
                )
            # Not the greatest: whoever writes an entry again writes those behind it again, too.
            newest[entry.server_id] = mark_of(entry)
            result.append(entry)
        return result

    # Storing

    def _store(
        self, entries: Sequence[Entry]
    ) -> tuple[dict[int, list[Item]], list[tuple[dict[bytes, bytes], str]]]:
        """Store all in one transaction; returns what pages are told, by server, and what was refused."""
        items: dict[int, list[Item]] = {}
        refused: list[tuple[dict[bytes, bytes], str]] = []
        with transaction.atomic():
            rows: list[Event] = []
            for entry in entries:
                if isinstance(entry, EventBatch):
                    rows += [
                        event_from_message(server_id=entry.server_id, stamped=event) for event in entry.events
                    ]
            for row in self._insert(rows, refused):
                items.setdefault(row.server_id, []).append(event_item(row))
            for entry in entries:
                if isinstance(entry, GapNote):
                    for gap in self._store_gap(entry, refused):
                        items.setdefault(entry.server_id, []).append(gap_item(gap))
        return items, refused

    def _store_gap(self, note: GapNote, refused: list[tuple[dict[bytes, bytes], str]]) -> list[Gap]:
        try:
            with transaction.atomic():
                return gap_store(note=note)
        except _REFUSED as error:
            fields = {b"s": str(note.server_id).encode(), b"d": note.encode()}
            refused.append((fields, f"{type(error).__name__}: {error}"))
            return []

    def _insert(self, rows: list[Event], refused: list[tuple[dict[bytes, bytes], str]]) -> list[Event]:
        try:
            with transaction.atomic():
                Event.objects.bulk_create(rows, ignore_conflicts=True)
            return rows
        except _REFUSED as error:
            logger.warning("a batch was refused (%s); its events are stored one by one", error)
        stored = []
        for row in rows:
            try:
                with transaction.atomic():
                    Event.objects.bulk_create([row], ignore_conflicts=True)
                stored.append(row)
            except _REFUSED as error:
                headers = "\n".join(f"{name}: {value}" for name, value in row.headers)
                fields = {
                    b"s": str(row.server_id).encode(),
                    b"id": str(row.pk).encode(),
                    b"event": headers.encode("utf-8", "backslashreplace"),
                }
                refused.append((fields, f"{type(error).__name__}: {error}"))
        return stored

    def _put_aside(self, fields: Mapping[bytes, bytes], error: str) -> None:
        logger.error("an entry of the stream can't be stored and was put aside: %s", error)
        self._reader.put_aside(fields, error)

    # Telling

    def _publish(self, entries: Sequence[Entry], items: Mapping[int, list[Item]]) -> None:
        after: dict[int, int] = {}
        for entry in entries:
            after.setdefault(entry.server_id, entry.after_id)
        last = _last_marks(entries)
        messages = []
        for server_id, chain in after.items():
            found = items.get(server_id, [])
            for start in range(0, max(1, len(found)), ITEMS_A_MESSAGE):
                part = found[start : start + ITEMS_A_MESSAGE]
                final = start + ITEMS_A_MESSAGE >= len(found)
                newest = last[server_id].id if final else int(part[-1]["id"])
                rows = [item_row(item) for item in part]
                message = batch_message(server_id=server_id, after_id=chain, last_id=newest, rows=rows)
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


def _last_marks(entries: Iterable[Entry]) -> dict[int, Mark]:
    return {entry.server_id: mark_of(entry) for entry in entries}


def event_from_message(*, server_id: int, stamped: StampedEvent) -> Event:
    """The row of an event, not yet stored.

    Databases hold no NUL, which is dropped, and no lone surrogates, which are what bytes that aren't UTF-8
    decode to: these stay visible as ``\\udcff``.
    """
    message = Message.from_raw(stamped.raw)
    headers = [[clean_text(name), clean_text(value)] for name, value in message.items()]
    first: dict[str, str] = {}
    for name, value in headers:
        first.setdefault(name.lower(), value)
    return Event(
        id=stamped.id,
        server_id=server_id,
        at=_EPOCH + timedelta(microseconds=stamped.at),
        name=clean_text(message.name)[:100],
        channel=first.get("channel", "")[:200],
        uniqueid=first.get("uniqueid", "")[:150],
        linkedid=first.get("linkedid", "")[:150],
        headers=headers,
    )


def clean_text(text: str) -> str:
    """A text that every database and every browser takes."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode("utf-8")


def gap_store(*, note: GapNote) -> list[Gap]:
    """Store the beginning or the end of a gap, once however often it comes; returns the rows that it is
    about.
    """
    same = Gap.objects.filter(server_id=note.server_id, after_id=note.after_id)
    Gap.objects.bulk_create(
        [
            Gap(
                id=note.id,
                server_id=note.server_id,
                reason=note.reason,
                detail=clean_text(note.detail),
                started_at=_EPOCH + timedelta(microseconds=note.started_at),
                ended_at=_moment(note.ended_at),
                after_id=note.after_id,
                before_id=note.before_id,
                lost=note.lost,
            )
        ],
        ignore_conflicts=True,
    )
    if note.before_id is not None:
        same.open().update(ended_at=_moment(note.ended_at), before_id=note.before_id, lost=note.lost)
    return list(same)


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
