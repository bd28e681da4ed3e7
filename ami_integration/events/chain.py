"""The chains of the stream's entries: where one is broken, events are missing, and how many is known.

Each entry names the last id of its server before it and how many events were numbered until then (see
`ami_integration.events.stream`). Whatever took an entry away, the next one tells. Where Valkey has lost the
chain itself, the database tells how far it went.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from django.db.models import Max

from ami_integration.events.ids import id_moment
from ami_integration.events.models import Event, Gap
from ami_integration.events.stream import Entry, EventBatch, GapNote, Mark, mark_of

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def with_holes(
    entries: Iterable[Entry], recorded: Mapping[int, Mark], behind_damage: Collection[int] = ()
) -> list[Entry]:
    """Put a gap where the chain of a server's ids is broken: entries are gone that were never read.

    Args:
        entries: as they come from the stream.
        recorded: per server where its chain stood before them.
        behind_damage: which of them, by their place, are the first of their server after Valkey has lost data
            or given back what can't be read.

    Raises:
        django.db.Error: the database is away; it is asked about servers that `recorded` doesn't know.
    """
    result: list[Entry] = []
    newest = dict(recorded)
    for place, entry in enumerate(entries):
        last = newest.get(entry.server_id)
        if last is None:
            result += _hole_without_mark(entry)
        elif entry.after_id > last.id or entry.before_count > last.numbered:
            result.append(_hole(entry, last.id, last.numbered, damaged=place in behind_damage))
        # Not the greatest: whoever writes an entry again writes those behind it again, too.
        newest[entry.server_id] = mark_of(entry)
        result.append(entry)
    return result


def holes_of(entries: Iterable[Entry], came: Iterable[Entry]) -> dict[int, int]:
    """Per server the newest gap, by its `after_id`, that is among these entries and didn't come itself."""
    known = {id(entry) for entry in came}
    return {entry.server_id: entry.after_id for entry in entries if id(entry) not in known}


def _hole_without_mark(entry: Entry) -> list[GapNote]:
    """The gap, if any, before the first entry of a server in a Valkey that knows nothing of it.

    A chain that has just begun is that of a new server, unless something of it is stored: then Valkey has
    lost its data, and a listener that was restarted began anew. Where no event is stored, because none was
    kept or all have had their time, there is no last one that a gap could begin with; but one that lasts
    since the old chain ends.
    """
    if not entry.before_count:
        events = Event.objects.filter(server_id=entry.server_id, id__lte=entry.after_id)
        gaps = Gap.objects.open().filter(server_id=entry.server_id, after_id__lte=entry.after_id)
        if not events.exists() and not gaps.exists():
            return []
    last_id = stored_until(entry.server_id, entry.after_id)
    return [_hole(entry, last_id, None)] if entry.after_id > last_id else []


def _hole(entry: Entry, last_id: int, numbered: int | None, *, damaged: bool = False) -> GapNote:
    """The gap before an entry, after the last id and the count that are known of its server, if it is."""
    lost = 0 if numbered is None else max(0, entry.before_count - numbered)
    logger.error(
        "server %d: %s events between %d and %d are missing",
        entry.server_id, lost or "an unknown number of", last_id, entry.after_id,
    )  # fmt: skip
    reason = Gap.Reason.LOST
    if numbered is None or entry.before_count < numbered:
        detail = "Valkey has lost its data, and with it up to where events were stored; some may be missing."
    elif damaged:
        detail = "Valkey has lost its data, or a part of it was damaged, before they could be stored."
    else:
        reason = Gap.Reason.OVERLOAD
        detail = "They could not be stored: the stream had no room for them, or was damaged."
    return GapNote(
        id=entry.after_id,  # the last one that is missing: this id names nothing else
        server_id=entry.server_id,
        reason=reason,
        detail=detail,
        # Where nothing is stored nobody knows since when; certain is only that it ends here.
        started_at=_microseconds(id_moment(last_id or entry.after_id)),
        ended_at=_microseconds(id_moment(entry.after_id)),
        after_id=last_id,
        # What follows a note isn't known here. A gap adjoins this one and takes its end along (see
        # `gap_store`); a snapshot leaves it where the next event could be at the earliest.
        before_id=entry.events[0].id if isinstance(entry, EventBatch) else entry.after_id + 1,
        # None missing means that a note about a gap is, and nobody knows what was in that.
        lost=lost or None,
        lost_kind="exact" if lost else "unknown",
        before_count=entry.before_count - lost,
        numbered=lost,
    )


def stored_until(server_id: int, until: int) -> int:
    """The last id up to `until` that the database accounts for, by an event or by a gap; 0: none.

    Events that weren't kept are in neither, so what lies behind it need not be missing. Raises
    django.db.Error.
    """
    events = Event.objects.filter(server_id=server_id, id__lte=until).order_by("-id")
    gaps = Gap.objects.filter(server_id=server_id, after_id__lte=until).aggregate(
        begun=Max("after_id"), ended=Max("before_id")
    )
    return max(events.values_list("id", flat=True).first() or 0, gaps["begun"] or 0, (gaps["ended"] or 1) - 1)


def marks_merged(remembered: Mapping[int, Mark], found: Mapping[int, Mark]) -> dict[int, Mark]:
    """Per server where its chain stands, from a recorder's memory and from Valkey.

    Valkey's mark counts, another recorder may have written it; but a Valkey that lost its data, or has come
    back with those of an earlier time, takes nobody back. Ids alone don't show that, since they may go back
    when a clock was wrong, nor do counts, which begin again when a chain does: both do.
    """
    merged = dict(remembered)
    for server_id, mark in found.items():
        known = merged.get(server_id)
        if known is None or not (known.id > mark.id and known.numbered > mark.numbered):
            merged[server_id] = mark
    return merged


def last_marks(entries: Iterable[Entry]) -> dict[int, Mark]:
    """Per server where its chain stands after these entries."""
    return {entry.server_id: mark_of(entry) for entry in entries}


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
