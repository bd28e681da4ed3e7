"""The chain of seals: what shows that a sealed entry was changed, removed or inserted.

Every minute all entries without a seal get one: a row with its number, the SHA-256 of each of its entries,
and a digest over these and the digest of the seal before. So a change of any sealed entry, or of any seal,
breaks the chain from there on; only whoever rewrites all later seals could hide it, and these are told to a
place outside the database, too (`settings.AMIWEB_AUDIT_SEALS`), which also shows that an end was cut off.

Which entries are new can't be told by their numbers: on PostgreSQL a transaction takes its number early and
commits late, behind higher ones that are sealed already. A chain of ranges of numbers would pass such an
entry by, or would have to remember each hole, of which most are never filled. So the sealer writes its number
into the entries: what is committed and has none gets one, whatever its number is; what isn't committed yet is
the next seal's. One statement marks them, and what it marked is what is hashed, so no entry is in two seals,
and none is left without one for longer than the minute after its commit; the guard refuses to take a seal
away or to change it.

One sealer works at a time: the others find the lock taken and leave it to that one. A seal's number is the
one behind the last, in the transaction that seals, so numbers have no gap.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from ami_integration.audit.guard import guard_open
from ami_integration.audit.models import AuditEntry, AuditSeal, AuditSegment

#: Entries of one seal; what is more waits for the next one, which is made at once.
MOST = 5_000
#: Seals are made every minute; after so long without one, nobody makes them.
STANDS_STILL = timedelta(minutes=5)
#: What the first seal has for the digest of the seal before.
BEGINNING = "0" * 64
#: Says how hashes are made, as a part of what is hashed: an audit outlives versions.
FORMAT = 1
#: Bytes of one entry in `AuditSeal.hashes`: its number and its hash.
NUMBER, HASH = 8, 32
#: PostgreSQL's advisory lock of whoever seals or removes: "audit" in ASCII.
_LOCK = 0x6175646974


def entries_unsealed() -> Any:
    """The entries that wait for their seal."""
    return AuditEntry.objects.filter(seal=None)


def sealing_problem(*, now: datetime | None = None) -> str:
    """That sealing stands still, and what to do; "" while it goes on. Raises django.db.Error."""
    before = (now or timezone.now()) - STANDS_STILL
    if not entries_unsealed().filter(at__lt=before).exists():
        return ""
    # What the listener tells late has an old time, so a wait counts from the last seal on.
    last = AuditSeal.objects.order_by("-number").values_list("sealed_at", flat=True).first()
    if last is not None and last >= before:
        return ""
    since = f"since {last:%Y-%m-%d %H:%M} UTC" if last else "yet"
    return (
        f"No entry of the audit was sealed {since}, and entries wait: a change of these would not show. "
        "Beat and a worker have to run; the worker's log says why “audit.seal” fails."
    )


def entries_seal(*, most: int = MOST, now: datetime | None = None) -> AuditSeal | None:
    """Seal what is committed and not sealed yet.

    Args:
        most: entries of one seal.
        now: the moment; the clock's if not given.

    Returns:
        the seal; None if there was nothing to seal, or another sealer is at it.
    """
    if not entries_unsealed().exists():  # so that SQLite's one writer isn't kept from writing for nothing
        return None
    with guard_open("seal"):
        if not lock_try():
            return None
        number, previous = chain_end()
        waiting = entries_unsealed().order_by("pk").values("pk")[:most]
        AuditEntry.objects.filter(pk__in=waiting).update(seal_id=number)
        hashes = hashes_of(AuditEntry.objects.filter(seal_id=number).order_by("pk").iterator())
        if not hashes:  # another sealer was faster
            return None
        numbers = list(hashes)
        seal = AuditSeal(
            number=number,
            sealed_at=now or timezone.now(),
            entries=len(hashes),
            first_id=numbers[0],
            last_id=numbers[-1],
            hashes=hashes_pack(hashes),
            previous=previous,
        )
        seal.digest = seal_digest(seal)
        seal.save(force_insert=True)
    return seal


def lock_try() -> bool:
    """Be the one who seals or removes until this transaction ends; on SQLite whoever writes is alone."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])


def chain_end() -> tuple[int, str]:
    """The number of the next seal, and the digest of the one before it, which may have been pruned."""
    seal = AuditSeal.objects.order_by("-number").values_list("number", "digest").first()
    if seal is None:
        seal = AuditSegment.objects.order_by("-last_seal").values_list("last_seal", "digest").first()
    return (1, BEGINNING) if seal is None else (seal[0] + 1, seal[1])


def entry_hash(entry: AuditEntry) -> bytes:
    """The SHA-256 of all that an entry says, as it is read from the database."""
    says = {
        "id": entry.pk,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor_id,
        "actor_name": entry.actor_name,
        "origin": entry.origin,
        "address": entry.address,
        "verb": entry.verb,
        "what": entry.what,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "object_name": entry.object_name,
        "server": entry.server_id,
        "outcome": entry.outcome,
    }
    return hashlib.sha256(_canonical(says)).digest()


def hashes_of(entries: Iterable[AuditEntry]) -> dict[int, bytes]:
    """The hash of each entry by its number, in their order."""
    return {entry.pk: entry_hash(entry) for entry in entries}


def hashes_pack(hashes: dict[int, bytes]) -> bytes:
    """As `AuditSeal.hashes` has them."""
    return b"".join(number.to_bytes(NUMBER, "big") + digest for number, digest in hashes.items())


def hashes_unpack(packed: bytes) -> dict[int, bytes]:
    """The reverse of `hashes_pack`. Raises ValueError: it was none."""
    if len(packed) % (NUMBER + HASH):
        raise ValueError("these are no hashes of entries")
    pieces = [packed[at : at + NUMBER + HASH] for at in range(0, len(packed), NUMBER + HASH)]
    return {int.from_bytes(piece[:NUMBER], "big"): piece[NUMBER:] for piece in pieces}


def seal_digest(seal: AuditSeal) -> str:
    """The SHA-256, in hexadecimal, over a seal, its entries' hashes, and the digest of the seal before."""
    head = {"format": FORMAT, **seal_facts(seal)}
    return hashlib.sha256(_canonical(head) + b"\n" + bytes(seal.hashes)).hexdigest()


def seal_facts(seal: AuditSeal) -> dict[str, Any]:
    """What is told of a seal, but for its digest."""
    return {
        "number": seal.number,
        "sealed_at": seal.sealed_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "entries": seal.entries,
        "first_id": seal.first_id,
        "last_id": seal.last_id,
        "previous": seal.previous,
    }


def _canonical(value: Any) -> bytes:
    """One spelling for one meaning, whatever order a database keeps keys in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
