"""What the database refuses by itself, on PostgreSQL and on SQLite."""

# ruff: noqa: S608 - the names in these statements are constants

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from ami_integration.audit.guard import ENTRIES, Mode, guard_open
from ami_integration.audit.models import AuditEntry, AuditSeal, AuditSegment
from ami_integration.audit.services import entry_write

pytestmark = pytest.mark.django_db


def write(name: str = "x") -> AuditEntry:
    return entry_write(actor=None, origin="command", verb="server.change", object_name=name)


def make_seal(number: int = 1) -> AuditSeal:
    return AuditSeal.objects.create(
        number=number,
        sealed_at=timezone.now(),
        entries=1,
        first_id=1,
        last_id=1,
        hashes=b"",
        previous="",
        digest=f"{number:064}",
    )


def make_segment() -> AuditSegment:
    now = timezone.now()
    return AuditSegment.objects.create(
        closed_at=now, first_seal=1, last_seal=2, entries=3, first_at=now, last_at=now, digest="0" * 64
    )


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def refused(change: Callable[[], object]) -> bool:
    """Whether the database refused it with our sentence."""
    try:
        with transaction.atomic():
            change()
    except IntegrityError as error:
        assert "The audit is only ever added to" in str(error)
        return True
    return False


def test_an_entry_is_neither_changed_nor_removed_by_whatever_way() -> None:
    entry = write()
    entry.object_name = "y"
    assert refused(entry.save)
    assert refused(lambda: AuditEntry.objects.update(what={"other": 1}))
    assert refused(lambda: AuditEntry.objects.update(seal=7))
    assert refused(entry.delete)
    assert refused(AuditEntry.objects.all().delete)
    assert refused(lambda: run(f"UPDATE {ENTRIES} SET id = 99"))
    assert refused(lambda: run(f"DELETE FROM {ENTRIES}"))
    assert AuditEntry.objects.get().object_name == "x"


def test_a_row_is_not_replaced_nor_emptied_in_the_dialect_of_its_database() -> None:
    entry = write()
    columns = "at, actor_name, origin, verb, what, object_type, object_id, object_name, outcome"
    if connection.vendor == "sqlite":
        replace = f"INSERT OR REPLACE INTO {ENTRIES} (id, {columns}) SELECT id, {columns} FROM {ENTRIES}"
        ways = [replace, f"UPDATE {ENTRIES} SET rowid = 99", f"UPDATE OR IGNORE {ENTRIES} SET verb = 'y'"]
    else:
        replace = (
            f"INSERT INTO {ENTRIES} (id, {columns}) SELECT id, {columns} FROM {ENTRIES} "
            "ON CONFLICT (id) DO UPDATE SET verb = 'y'"
        )
        ways = [replace, f"TRUNCATE {ENTRIES}"]
    for sql in ways:
        assert refused(lambda sql=sql: run(sql)), sql  # type: ignore[misc]
    assert AuditEntry.objects.get() == entry


@pytest.mark.parametrize("make", [make_seal, make_segment])
def test_seals_and_closed_segments_stay_as_they_are(make: Callable[[], AuditSeal | AuditSegment]) -> None:
    row = make()
    row.digest = "f" * 64
    assert refused(row.save) and refused(row.delete)
    with guard_open("seal"):
        assert refused(row.save) and refused(row.delete)


def test_nobody_adds_an_entry_that_says_it_was_sealed() -> None:
    with guard_open("seal"):
        assert refused(lambda: AuditEntry.objects.create(origin="command", verb="x", seal=make_seal()))


def test_the_sealer_gives_an_entry_its_seal_once_and_changes_nothing_else() -> None:
    write()
    first, second = make_seal(1), make_seal(2)
    with guard_open("seal"):
        assert refused(lambda: AuditEntry.objects.update(seal=first, verb="y"))
        assert refused(lambda: AuditEntry.objects.update(verb="y"))
        assert refused(AuditEntry.objects.all().delete)
        AuditEntry.objects.update(seal=first)
        assert refused(lambda: AuditEntry.objects.update(seal=second))
        assert refused(lambda: AuditEntry.objects.update(seal=None))
    assert AuditEntry.objects.get().seal == first


def test_who_may_remove_may_not_change() -> None:
    write()
    with guard_open("remove"):
        assert refused(lambda: AuditEntry.objects.update(verb="y"))
        AuditEntry.objects.all().delete()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("mode", ["seal", "remove"])
def test_the_mark_ends_with_its_transaction_whether_that_succeeds_or_not(mode: Mode) -> None:
    write()
    with guard_open(mode):
        pass
    with pytest.raises(RuntimeError), guard_open(mode):
        raise RuntimeError
    assert refused(AuditEntry.objects.all().delete)
    assert refused(lambda: AuditEntry.objects.update(seal=1))


@pytest.mark.django_db(transaction=True)
def test_a_flush_between_tests_empties_the_audit_too() -> None:
    write()
    make_seal()
    make_segment()
    call_command("flush", interactive=False)
    assert not AuditEntry.objects.exists() and not AuditSeal.objects.exists()
    assert not AuditSegment.objects.exists()
