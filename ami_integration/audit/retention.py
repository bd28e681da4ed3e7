"""How the audit loses its oldest part, if somebody wants that: by default it is kept for ever.

What leaves is a segment: whole seals from the oldest on, with their entries. It is looked at before, since
removing a part that somebody tampered with would remove the traces. What stays is a row with its numbers,
its times, and the digest of its last seal, which covers all before it; the next seal goes on from there. An
entry tells that it was the retention, in the same transaction, and the next seal covers that entry, too.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from ami_integration.audit.guard import guard_open
from ami_integration.audit.models import AuditEntry, AuditSeal, AuditSegment
from ami_integration.audit.seals import lock_try
from ami_integration.audit.services import entry_write
from ami_integration.audit.verification import PRUNE_VERB, Verification, audit_verify


class NotClosed(Exception):
    """No segment was closed; says why. `found` is what was found, if the audit isn't intact."""

    def __init__(self, says: str, found: Verification | None = None) -> None:
        super().__init__(says)
        self.found = found


def segment_due(*, before: datetime) -> AuditSegment | None:
    """What `segment_close` would close, not stored; None: nothing is that old.

    Args:
        before: every entry of it was sealed before this moment, so each is older.
    """
    stays = AuditSeal.objects.filter(sealed_at__gte=before).order_by("number").values("number")[:1]
    old = AuditSeal.objects.order_by("number").defer("hashes")
    if (first_to_stay := stays.first()) is not None:
        old = old.filter(number__lt=first_to_stay["number"])
    first, last = old.first(), old.last()
    if first is None or last is None:
        return None
    leaving = AuditEntry.objects.filter(seal_id__gte=first.number, seal_id__lte=last.number)
    return AuditSegment(
        closed_at=timezone.now(),
        first_seal=first.number,
        last_seal=last.number,
        entries=leaving.aggregate(entries=Count("pk"))["entries"],
        first_at=first.sealed_at,
        last_at=last.sealed_at,
        digest=last.digest,
    )


def segment_close(*, before: datetime) -> AuditSegment | None:
    """Remove what was sealed before a moment, and keep the hash that closes it.

    Returns:
        the closed segment; None: nothing is that old.

    Raises:
        NotClosed: the audit isn't intact, or somebody seals or removes right now.
    """
    found = audit_verify()
    if not found.ok:
        raise NotClosed("The audit isn't intact, so nothing is removed: it may be evidence.", found)
    with transaction.atomic(), guard_open("remove"):
        if not lock_try():
            raise NotClosed("Somebody seals the audit right now. Try again.")
        segment = segment_due(before=before)
        if segment is None:
            return None
        segment.save(force_insert=True)
        leaving = AuditEntry.objects.filter(seal_id__gte=segment.first_seal, seal_id__lte=segment.last_seal)
        leaving._raw_delete(leaving.db)
        seals = AuditSeal.objects.filter(number__lte=segment.last_seal)
        seals._raw_delete(seals.db)
        entry_write(
            actor=None,
            origin="command",
            verb=PRUNE_VERB,
            what={
                "first_seal": segment.first_seal,
                "last_seal": segment.last_seal,
                "entries": segment.entries,
                "sealed_from": segment.first_at.isoformat(),
                "sealed_until": segment.last_at.isoformat(),
                "digest": segment.digest,
            },
            object_type="audit",
            object_name=str(segment),
        )
    return segment
