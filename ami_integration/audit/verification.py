"""Whether the audit is as it was sealed: finds each sealed entry that was changed, removed or inserted.

The chain is followed from the segment that the retention closed last, or from its beginning, to the last seal
that there was when this began; what is written and sealed meanwhile is the next look's. Then it is compared
with the seals that were told outside the database.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db.models import Max, Min

from ami_integration.audit.models import AuditEntry, AuditSeal, AuditSegment
from ami_integration.audit.seals import BEGINNING, entries_unsealed, hashes_of, hashes_unpack, seal_digest

#: What the retention says of itself in the audit.
PRUNE_VERB = "audit.prune"
#: Entries of one look that are named; of more, their number is told.
NAMED = 100


@dataclass
class Verification:
    """What was found.

    Attributes:
        problems: sentences; none: the sealed audit is intact.
        notes: what else somebody should know.
        seals, entries: how many were looked at.
        unsealed: how many entries wait for their seal, `oldest_unsealed` since when.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seals: int = 0
    entries: int = 0
    unsealed: int = 0
    oldest_unsealed: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def audit_verify(*, told: Iterable[dict[str, Any]] | None = None) -> Verification:
    """Look at the whole audit.

    Args:
        told: the seals that were told outside, as `sealed.seals_read` gives them; None: there are none.
    """
    found = Verification()
    last = AuditSeal.objects.aggregate(last=Max("number"))["last"] or 0
    segment = _segments_verify(found)
    digests = _chain_verify(found, segment, last)
    _strangers_verify(found, segment, last)
    if told is not None:
        _told_verify(found, segment, digests, told)
    waiting = entries_unsealed()
    found.unsealed = waiting.count()
    found.oldest_unsealed = waiting.aggregate(oldest=Min("at"))["oldest"]
    return found


def _segments_verify(found: Verification) -> AuditSegment | None:
    """The newest closed segment, if there is one."""
    end = 0
    segment = None
    for segment in AuditSegment.objects.order_by("last_seal"):
        if segment.first_seal != end + 1:
            found.problems.append(
                f"The closed segments don't follow each other: {segment} comes after seal {end}."
            )
        end = segment.last_seal
    # Those before it were named by entries that left with it.
    if segment is not None and not any(
        entry.what.get("last_seal") == segment.last_seal and entry.what.get("digest") == segment.digest
        for entry in AuditEntry.objects.filter(verb=PRUNE_VERB, outcome=AuditEntry.Outcome.DONE)
    ):
        found.problems.append(
            f"No entry tells that the retention closed {segment}: somebody else may have removed them."
        )
    return segment


def _chain_verify(found: Verification, segment: AuditSegment | None, last: int) -> dict[int, str]:
    """Follow the chain. Returns the digest of each seal by its number."""
    number, previous = (segment.last_seal, segment.digest) if segment else (0, BEGINNING)
    entries = AuditEntry.objects.filter(seal_id__lte=last).order_by("seal_id", "pk")
    groups = groupby(entries.iterator(), key=lambda entry: entry.seal_id)
    group = next(groups, None)
    digests = {}
    for seal in AuditSeal.objects.filter(number__lte=last).order_by("number").iterator(chunk_size=100):
        if seal.number <= number:
            found.problems.append(f"Seal {seal.number} lies in a segment that is closed.")
            continue
        if seal.number != number + 1:
            found.problems.append(f"{_seals(number + 1, seal.number - 1)} missing.")
        elif seal.previous != previous:
            found.problems.append(
                f"Seal {seal.number} doesn't follow the one before it: one of both was changed."
            )
        number, previous = seal.number, seal.digest
        digests[number] = seal.digest
        while group is not None and group[0] < number:
            group = next(groups, None)  # of seals that don't exist: `_strangers_verify` has them
        there = {}
        if group is not None and group[0] == number:
            there = hashes_of(group[1])
            group = next(groups, None)
        _seal_verify(found, seal, there)
    return digests


def _seal_verify(found: Verification, seal: AuditSeal, there: dict[int, bytes]) -> None:
    found.seals += 1
    found.entries += len(there)
    if seal_digest(seal) != seal.digest:
        found.problems.append(f"Seal {seal.number} was changed itself.")
    try:
        sealed = hashes_unpack(bytes(seal.hashes))
    except ValueError:
        return  # changed, as was said
    _name(found, sealed.keys() - there.keys(), f"is missing: seal {seal.number} has it.")
    _name(found, there.keys() - sealed.keys(), f"was inserted: seal {seal.number} doesn't have it.")
    changed = {key for key in sealed.keys() & there.keys() if sealed[key] != there[key]}
    _name(found, changed, f"was changed since seal {seal.number}.")


def _strangers_verify(found: Verification, segment: AuditSegment | None, last: int) -> None:
    """Entries that say they were sealed by a seal that there isn't."""
    seals = AuditSeal.objects.values("number")
    sealed = AuditEntry.objects.exclude(seal=None)
    strangers = sealed.filter(seal_id__lte=last).exclude(seal_id__in=seals).order_by("pk")
    _name(found, strangers.values_list("pk", flat=True), "names a seal that doesn't exist.")
    # Asked for after the numbers of the seals, so what is sealed meanwhile has its seal by now.
    later = sealed.filter(seal_id__gt=last).exclude(seal_id__in=seals).order_by("pk")
    _name(found, later.values_list("pk", flat=True), "names a seal behind the last one.")
    if segment is not None:
        left = AuditSeal.objects.filter(number__lte=segment.last_seal).count()
        if left:
            found.notes.append(f"{left} seals of closed segments are still there.")


def _told_verify(
    found: Verification, segment: AuditSegment | None, digests: dict[int, str], told: Iterable[dict[str, Any]]
) -> None:
    closed = segment.last_seal if segment else 0
    heard = {}
    for seal in told:
        heard[seal["number"]] = seal["digest"]
        number = seal["number"]
        if segment is not None and number == closed and seal["digest"] != segment.digest:
            found.problems.append(f"The digest that closed {segment} isn't the one that was told outside.")
        if number > closed and digests.get(number, seal["digest"]) != seal["digest"]:
            found.problems.append(f"Seal {number} isn't the one that was told outside.")
    newest = max(heard, default=0)
    last = max(digests, default=closed)
    if newest > last and not AuditSeal.objects.filter(number=newest).exists():
        found.problems.append(
            f"{_seals(last + 1, newest)} missing: told outside, and not in the database. The end was cut off."
        )
    for first, end in _ranges(number for number in digests if number < newest and number not in heard):
        found.problems.append(f"{_seals(first, end)} not among those that were told outside.")
    untold = [number for number in digests if number > newest]
    if untold:
        found.notes.append(f"{_seals(min(untold), max(untold))} not told outside yet.")


def _name(found: Verification, numbers: Iterable[int], what: str) -> None:
    ordered = sorted(numbers)
    found.problems += [f"Entry {number} {what}" for number in ordered[:NAMED]]
    if len(ordered) > NAMED:
        found.problems.append(f"{len(ordered) - NAMED} more: each {what}")


def _seals(first: int, last: int) -> str:
    return f"Seal {first} is" if first == last else f"Seals {first} to {last} are"


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """What follows each other among ordered numbers, as first and last."""
    first = last = 0
    for number in numbers:
        if first and number == last + 1:
            last = number
            continue
        if first:
            yield first, last
        first = last = number
    if first:
        yield first, last
