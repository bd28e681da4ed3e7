"""The oldest part leaves on demand, and the chain goes on from the hash that closed it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ami_integration.audit.models import AuditEntry, AuditSeal, AuditSegment
from ami_integration.audit.retention import NotClosed, segment_close, segment_due
from ami_integration.audit.seals import entries_seal
from ami_integration.audit.services import entry_write
from ami_integration.audit.verification import PRUNE_VERB, audit_verify
from tests.audit.tampering import unguarded

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def days_ago(days: int) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def aged() -> Iterator[list[AuditSeal]]:
    """Seals of 400, 300, 200 and 0 days ago, with two entries each."""
    seals = []
    for days in (400, 300, 200, 0):
        for number in range(2):
            entry_write(actor=None, origin="command", verb="server.change", object_name=f"{days} {number}")
        seal = entries_seal(now=days_ago(days))
        assert seal is not None
        seals.append(seal)
    yield seals


def test_what_is_old_leaves_in_whole_seals_and_its_hash_stays(aged: list[AuditSeal]) -> None:
    outside = [{"number": seal.number, "digest": seal.digest} for seal in aged]
    segment = segment_close(before=days_ago(250))
    assert segment is not None
    assert (segment.first_seal, segment.last_seal, segment.entries) == (1, 2, 4)
    assert (segment.digest, segment.first_at, segment.last_at) == (
        aged[1].digest,
        aged[0].sealed_at,
        aged[1].sealed_at,
    )
    assert list(AuditSeal.objects.order_by("number").values_list("number", flat=True)) == [3, 4]
    entry = AuditEntry.objects.get(verb=PRUNE_VERB)
    assert (entry.what["entries"], entry.what["digest"]) == (4, segment.digest)
    assert AuditEntry.objects.count() == 5
    assert audit_verify(told=outside).ok
    assert entries_seal() is not None and audit_verify(told=outside).ok


def test_the_chain_goes_on_when_all_of_it_was_closed_and_segments_follow_each_other(
    aged: list[AuditSeal],
) -> None:
    segment_close(before=days_ago(250))
    segment_close(before=NOW + timedelta(days=1))
    assert not AuditSeal.objects.exists() and audit_verify().ok
    seal = entries_seal()  # over the entries that tell of the retention
    assert seal is not None and (seal.number, seal.previous) == (5, aged[-1].digest)
    assert audit_verify().ok
    assert [str(one) for one in AuditSegment.objects.all()] == ["seals 3 to 4", "seals 1 to 2"]


def test_nothing_leaves_that_is_not_old_enough_or_has_no_seal(aged: list[AuditSeal]) -> None:
    assert segment_close(before=days_ago(500)) is None
    assert AuditEntry.objects.count() == 8 and not AuditSegment.objects.exists()


def test_a_part_that_somebody_tampered_with_is_kept(aged: list[AuditSeal]) -> None:
    with unguarded():
        AuditEntry.objects.filter(seal_id=1).update(verb="y")
    with pytest.raises(NotClosed, match="evidence"):
        segment_close(before=days_ago(250))
    assert AuditEntry.objects.count() == 8


def test_a_part_that_somebody_else_removed_shows(aged: list[AuditSeal]) -> None:
    due = segment_due(before=days_ago(250))
    assert due is not None
    with unguarded():
        AuditEntry.objects.filter(seal_id__lte=2).delete()
        AuditSeal.objects.filter(number__lte=2).delete()
        assert "Seals 1 to 2 are missing." in audit_verify().problems
        due.save()
    assert audit_verify().problems == [
        "No entry tells that the retention closed seals 1 to 2: somebody else may have removed them."
    ]


def test_a_segment_that_was_changed_breaks_the_chain(aged: list[AuditSeal]) -> None:
    segment_close(before=days_ago(250))
    with unguarded():
        AuditSegment.objects.update(digest="0" * 64)
    problems = audit_verify(told=[{"number": 2, "digest": aged[1].digest}]).problems
    assert "Seal 3 doesn't follow the one before it: one of both was changed." in problems
    assert "The digest that closed seals 1 to 2 isn't the one that was told outside." in problems


def prune(*arguments: str) -> str:
    out = StringIO()
    call_command("audit_prune", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_says_what_would_leave_and_what_left(aged: list[AuditSeal]) -> None:
    assert prune("--days", "250", "--dry-run").startswith("Would be removed: 4 entries, seals 1 to 2, sealed")
    assert AuditEntry.objects.count() == 8
    assert prune("--days", "250").startswith("Removed: 4 entries, seals 1 to 2, sealed")
    assert prune("--days", "250") == "Nothing that is sealed is that old.\n"


def test_the_command_refuses_to_remove_what_happened_just_now_or_was_tampered_with(
    aged: list[AuditSeal],
) -> None:
    with pytest.raises(CommandError, match="30 or more"):
        prune("--days", "29")
    with pytest.raises(CommandError, match="--days"):
        prune()
    with unguarded():
        AuditEntry.objects.filter(seal_id=1).update(verb="y")
    with pytest.raises(SystemExit):
        prune("--days", "250")
    assert AuditEntry.objects.count() == 8
