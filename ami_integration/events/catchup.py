"""What a page is shown before the live events: from the store, and, of what isn't kept, from the stream.

The store has what is kept. Everything else is found for as long as the stream holds it
(`AMIWEB_STREAM_KEEP_SECONDS`), by reading the stream's tail backwards. Both reads are bounded, and say when
the bound has cut something.
"""

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from ami_integration.access.pushes import VALKEY_ERRORS, valkey
from ami_integration.events.filters import EventFilter
from ami_integration.events.ids import first_id_at, id_earlier
from ami_integration.events.models import Event, Gap
from ami_integration.events.pushes import ID, Row, item_row
from ami_integration.events.queries import names_stored
from ami_integration.events.rows import EventRow, event_row, pushed_row
from ami_integration.events.services import gap_item, snapshots_after
from ami_integration.events.stream import (
    RECORDED,
    STREAM,
    BadEntry,
    EventBatch,
    Mark,
    StampedEvent,
    decode_entry,
    valkey_client,
)
from ami_integration.events.tabs import LeftOut

#: A page asks again for what is younger than its newest event minus this: batches of several listeners, and a
#: clock that was set back a little, may become visible out of order.
OVERLAP_SECONDS = 10.0
#: How many stored events are looked at for one page at most, and how many rows it is sent.
SCAN_LIMIT = 5_000
FIRST_SCAN_LIMIT = 2_000
PAGE_ROWS = 500
FIRST_PAGE_ROWS = 200
#: How much is sent besides of what is asked for again; most of it the page has.
OVERLAP_ROWS = 2_000
#: How much of the stream is read at most: bytes, seconds, events of the servers in question, those not kept.
#: Not entries: those of a fleet of quiet servers are small.
TAIL_BYTES = 50_000_000
TAIL_SECONDS = 2.0
TAIL_EVENTS = 10_000
TAIL_ROWS = 5_000
_TAIL_CHUNK = 200
_GAP_ROWS = 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tail:
    """What isn't kept of some servers, as far as the stream still has it.

    `rows` are by server, oldest first; `lowest_id` is how far back it was read: it knows nothing below.
    """

    rows: Mapping[int, Sequence[Row]] = field(default_factory=dict)
    lowest_id: int = 0

    def of(self, server_id: int, after_id: int, before_id: int | None = None) -> Iterator[Row]:
        """A server's rows between two ids (exclusive)."""
        for row in self.rows.get(server_id, ()):
            if row[ID] > after_id and (before_id is None or row[ID] < before_id):
                yield row


@dataclass(frozen=True)
class CatchUp:
    """What a page is sent first, oldest first.

    `left_out`: what it missed and isn't sent; `cut`: there may be more than that, which nobody counted.
    """

    rows: list[Row]
    cut: bool
    left_out: LeftOut


def bounds_of(*, since: Mapping[int, int], server_ids: Collection[int]) -> dict[int, int]:
    """From which id on (exclusive) a page asks again, by server.

    Args:
        since: per server the newest id that the page has.
        server_ids: those that it watches.
    """
    # A page can't be ahead of the time; if a listener's clock was, this finds what came after it was set
    # right.
    now_id = first_id_at(datetime.now(UTC))
    return {
        server: id_earlier(min(newest, now_id), seconds=OVERLAP_SECONDS)
        for server, newest in since.items()
        if server in server_ids
    }


def catch_up(
    *,
    server_ids: Collection[int],
    since: Mapping[int, int],
    bounds: Mapping[int, int],
    event_filter: EventFilter,
    tail: Tail,
) -> CatchUp:
    """What a page should have of the past.

    Args:
        server_ids: those that it watches.
        since: per server the newest id that the page has: what it has missed is above.
        bounds: of `bounds_of`; what lies between them and `since` is sent besides. Empty: a page that begins,
            which is shown the latest.
        event_filter: what it wants to see.
        tail: what isn't kept.
    """
    scan, most = (SCAN_LIMIT, PAGE_ROWS) if bounds else (FIRST_SCAN_LIMIT, FIRST_PAGE_ROWS)
    # One query for all servers, newest first: what a page missed is newer than what it has, so the limit cuts
    # nothing else unless the page was away for long, and then `cut` says so.
    lowest = min(bounds.values(), default=0)
    events = Event.objects.of_servers(list(server_ids)).filter(id__gt=lowest)
    if event_filter.linkedid:
        events = events.filter(linkedid=event_filter.linkedid)  # indexed: a whole call is found
    if event_filter.names:
        events = events.filter(name__in=[name for name in names_stored() if event_filter.matches_name(name)])
    if event_filter.text is None and not bounds:
        scan = most + 1  # each of them is shown
    if event_filter.text is None and bounds:
        # Each of them is shown or counted; only what is shown is read whole.
        ids: list[tuple[int, int]] = list(events.order_by("-id").values_list("id", "server_id")[:scan])
        scanned_to = ids[-1][0] if len(ids) == scan else lowest
        ids = [(pk, server) for pk, server in ids if pk > bounds.get(server, 0)]
        missed_ids = [pk for pk, server in ids if pk > since.get(server, 0)]
        overlap = [pk for pk, server in ids if pk <= since.get(server, 0)]
        chosen = missed_ids[:most] + overlap[:OVERLAP_ROWS]
        found = _stored(events.filter(id__in=chosen), len(chosen)) if chosen else []
        beyond = missed_ids[most:]
    else:
        found = _stored(events, scan)
        scanned_to = found[-1].id if len(found) == scan else lowest
        beyond = []
    rows = [pushed_row(row, kept=True) for row in found if row.id > bounds.get(row.server_id, 0)]
    had = {row.id for row in found if row.id <= since.get(row.server_id, 0)}
    for server_id in server_ids:
        for row in tail.of(server_id, max(bounds.get(server_id, 0), scanned_to)):
            rows.append(row)
            if row[ID] <= since.get(server_id, 0):
                had.add(row[ID])
    wanted = sorted((row for row in rows if event_filter.matches_row(row)), key=lambda row: int(row[ID]))
    missed = [row for row in wanted if row[ID] not in had]
    left_out = LeftOut()
    if bounds:
        over = [row[ID] for row in missed[: max(0, len(missed) - most)]] + beyond
        if over:
            left_out = left_out.plus(len(over), min(over), max(over))
    newest = max(since.values(), default=0)
    cut = bool(bounds) and (scanned_to > newest or tail.lowest_id > newest)
    missed = missed[-most:]
    shown = {row[ID] for row in missed}
    wanted = [row for row in wanted if row[ID] in had or row[ID] in shown]
    horizon = max(lowest, scanned_to, missed[0][ID] if len(missed) == most else 0)
    gaps = Gap.objects.filter(server_id__in=server_ids).filter(
        Q(id__gt=horizon) | Q(before_id__gt=horizon) | Q(before_id=None)
    )
    rows = wanted + _marks(gaps)
    rows.sort(key=lambda row: int(row[ID]))
    return CatchUp(rows, cut, left_out)


def rows_between(*, server_id: int, after_id: int, before_id: int | None) -> list[Row]:
    """A server's stored rows between two ids (exclusive), oldest first; at most 5,000, then the newest of
    them.
    """
    events = Event.objects.filter(server_id=server_id, id__gt=after_id)
    if before_id is not None:
        events = events.filter(id__lt=before_id)
    rows = [pushed_row(row, kept=True) for row in _stored(events, SCAN_LIMIT)]
    gaps = Gap.objects.filter(server_id=server_id).filter(
        Q(after_id__gte=after_id) | Q(before_id__gt=after_id)
    )
    rows += _marks(gaps)
    rows.sort(key=lambda row: int(row[ID]))
    return rows


def _stored(events: QuerySet[Event], limit: int) -> list[EventRow]:
    """The newest of these events, newest first, without reading their headers: those are JSON already."""
    columns = ("id", "server_id", "at", "name", "channel", "uniqueid", "linkedid", "tokens")
    found = events.order_by("-id").values_list(*columns, Cast("headers", TextField()))[:limit]
    return [EventRow(pk, server_id, _microseconds(at), *rest) for pk, server_id, at, *rest in found]


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _marks(gaps: QuerySet[Gap]) -> list[Row]:
    """The newest of these gaps, and what the PBXs said after them."""
    found = list(gaps.order_by("-id")[:_GAP_ROWS])
    said = snapshots_after({(gap.server_id, gap.after_id) for gap in found})
    return [item_row(item) for item in (*map(gap_item, found), *said)]


def tail_read(*, url: str, servers: Collection[int], lowest_id: int) -> Tail:
    """What isn't kept, of these servers, from the newest back to an id, or to a bound. Blocks.

    Only what the recorder has dealt with: the rest will come live. Without Valkey there is nothing.
    """
    oldest = first_id_at(datetime.fromtimestamp(time.time() - settings.AMIWEB_STREAM_KEEP_SECONDS, UTC))
    lowest_id = max(lowest_id, oldest)
    try:
        with valkey_client(url) as client:
            events, lowest_id = _tail_events(client, frozenset(servers), lowest_id)
    except VALKEY_ERRORS as error:
        valkey.failed(error)
        return Tail()
    valkey.ended()
    if not events:
        return Tail(lowest_id=lowest_id)
    stored = set(
        Event.objects.of_servers(list(servers))
        .filter(id__gte=events[0][1].id, id__lte=events[-1][1].id)
        .values_list("id", flat=True)
    )
    unkept = [one for one in events if one[1].id not in stored]
    if len(unkept) > TAIL_ROWS:
        lowest_id = unkept[-TAIL_ROWS][1].id
    rows: dict[int, list[Row]] = {}
    for server_id, stamped in unkept[-TAIL_ROWS:]:
        rows.setdefault(server_id, []).append(pushed_row(event_row(server_id, stamped), kept=False))
    return Tail(rows, lowest_id)


def _tail_events(
    client: "redis.Redis", servers: frozenset[int], lowest_id: int
) -> tuple[list[tuple[int, StampedEvent]], int]:
    """Recorded events of these servers by their ids, and how far back they go."""
    found_marks: Any = client.hgetall(RECORDED)
    recorded = {int(server): Mark.decode(mark).id for server, mark in found_marks.items()}
    events: deque[tuple[int, StampedEvent]] = deque()
    newest = b"+"
    # Ids of entries are Valkey's time and ids of events the listener's; the stream's own order is that of
    # writing, so some seconds on either side cost a look more and miss nothing.
    floor = (lowest_id >> 21) - int(OVERLAP_SECONDS * 1000)
    size, ends = 0, time.monotonic() + TAIL_SECONDS
    while True:
        found: Any = client.xrevrange(STREAM, max=newest, min=max(0, floor), count=_TAIL_CHUNK)
        for _entry_id, fields in found:
            if int(fields.get(b"s", 0)) not in servers:
                continue
            try:
                entry = decode_entry(fields)
            except BadEntry:
                continue  # the recorder puts it aside and tells of it
            if isinstance(entry, EventBatch) and entry.last_id <= recorded.get(entry.server_id, 0):
                events.extendleft(
                    (entry.server_id, one) for one in reversed(entry.events) if one.id >= lowest_id
                )
        if len(found) < _TAIL_CHUNK:
            break
        newest = b"(" + found[-1][0]
        size += sum(len(fields.get(b"d", b"")) for _, fields in found)
        if len(events) > TAIL_EVENTS or size > TAIL_BYTES or time.monotonic() > ends:
            # What came after this entry was read, so what is younger than it was.
            lowest_id = max(lowest_id, int(found[-1][0].partition(b"-")[0]) << 21)
            break
    return sorted(events, key=lambda one: one[1].id), lowest_id
