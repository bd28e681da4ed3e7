"""Gaps and snapshots into the database, once however often they come."""

from ami_integration.events.models import Gap, Snapshot
from ami_integration.events.rows import clean_text, moment
from ami_integration.events.stream import GapNote, SnapshotNote


def gap_store(*, note: GapNote) -> list[Gap]:
    """Store the beginning or the end of a gap, once however often it comes; returns the rows that it is
    about.

    An end that is told again with a later event moves there, and never back. So does that of a gap which
    reaches to this one with no event between: both end where the next event is.
    """
    of_server = Gap.objects.filter(server_id=note.server_id)
    same = of_server.filter(after_id=note.name)
    Gap.objects.bulk_create(
        [
            Gap(
                id=note.id,
                server_id=note.server_id,
                reason=note.reason,
                detail=clean_text(note.detail),
                started_at=moment(note.started_at),
                ended_at=None if note.ended_at is None else moment(note.ended_at),
                after_id=note.name,
                before_id=note.before_id,
                lost=note.lost,
                lost_kind=note.lost_kind,
            )
        ],
        ignore_conflicts=True,
    )
    if note.before_id is not None and note.ended_at is not None:
        same.open().update(
            ended_at=moment(note.ended_at), before_id=note.before_id, lost=note.lost, lost_kind=note.lost_kind
        )
        # What has no event behind it ends at the id after the chain's; the next gap shows that it was none.
        reaching = {note.name + 1, note.after_id + 1, *same.values_list("before_id", flat=True)}
        earlier = of_server.filter(after_id__lt=note.name, before_id__in=reaching)
        for gaps in (earlier, same):
            gaps.filter(before_id__lt=note.before_id).update(before_id=note.before_id)
    return list(same)


def snapshot_store(*, note: SnapshotNote) -> list[Snapshot]:
    """Store what a PBX said after a gap."""
    snapshot = Snapshot(
        id=note.id,
        server_id=note.server_id,
        after_id=note.gap_after_id,
        at=moment(note.at),
        action=clean_text(note.action)[:100],
        items=[[[clean_text(name), clean_text(value)] for name, value in item] for item in note.items],
        error=clean_text(note.error),
    )
    Snapshot.objects.bulk_create([snapshot], ignore_conflicts=True)
    return [snapshot]
