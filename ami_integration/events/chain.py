"""The chains of the stream's entries: where one is broken, events are missing, and how many is known.

Each entry names the last id of its server before it and how many events were numbered until then (see
`ami_integration.events.stream`). Whatever took an entry away, the next one tells.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from ami_integration.events.ids import id_moment
from ami_integration.events.models import Gap
from ami_integration.events.stream import Entry, EventBatch, GapNote, Mark, mark_of

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def with_holes(entries: Iterable[Entry], recorded: Mapping[int, Mark]) -> list[Entry]:
    """Put a gap where the chain of a server's ids is broken: the stream was cut before it was read.

    Args:
        entries: as they come from the stream.
        recorded: per server where its chain stood before them.
    """
    result: list[Entry] = []
    newest = dict(recorded)
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


def last_marks(entries: Iterable[Entry]) -> dict[int, Mark]:
    """Per server where its chain stands after these entries."""
    return {entry.server_id: mark_of(entry) for entry in entries}


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
