"""Each committed entry gets one seal, whatever its number and whoever else is writing."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from ami_integration.audit.models import AuditEntry, AuditSeal
from ami_integration.audit.sealed import seals_read
from ami_integration.audit.seals import BEGINNING, MOST, entries_seal, entry_hash, hashes_unpack
from ami_integration.audit.services import entry_write
from ami_integration.audit.tasks import seal as seal_task
from ami_integration.audit.verification import audit_verify
from amiweb.celery import app

pytestmark = pytest.mark.django_db


def write(name: str = "x", **values: Any) -> AuditEntry:
    return entry_write(actor=None, origin="command", verb="server.change", object_name=name, **values)


def told(path: Path) -> list[dict[str, Any]]:
    return list(seals_read(path))


def test_a_seal_holds_the_hash_of_each_entry_and_goes_on_from_the_seal_before() -> None:
    one, two = write("one"), write("two")
    first = entries_seal()
    assert first is not None
    assert (first.number, first.entries, first.previous) == (1, 2, BEGINNING)
    assert (first.first_id, first.last_id) == (one.pk, two.pk)
    stored = {entry.pk: entry_hash(entry) for entry in AuditEntry.objects.order_by("pk")}
    assert hashes_unpack(bytes(first.hashes)) == stored
    third = write("three")
    second = entries_seal()
    assert second is not None
    assert (second.number, second.entries, second.previous) == (2, 1, first.digest)
    assert list(AuditEntry.objects.order_by("pk").values_list("seal_id", flat=True)) == [1, 1, 2]
    assert second.first_id == third.pk and audit_verify().ok


def test_where_nothing_was_written_there_is_no_seal() -> None:
    assert entries_seal() is None
    write()
    assert entries_seal() is not None
    assert entries_seal() is None
    assert AuditSeal.objects.count() == 1


def test_a_seal_has_a_bounded_number_of_entries_and_the_next_has_the_rest() -> None:
    for number in range(5):
        write(str(number))
    sizes = []
    while (seal := entries_seal(most=2)) is not None:
        sizes.append(seal.entries)
    assert sizes == [2, 2, 1] and audit_verify().ok
    assert MOST > 2


def test_the_hash_covers_all_that_an_entry_says() -> None:
    ada = User.objects.create_user("ada")
    entry = write(what={"b": [1, 2.5, None, "ü"], "a": {"y": 1, "x": 2}}, address="2001:db8::1")
    entry = AuditEntry.objects.get(pk=entry.pk)
    hashes = {entry_hash(entry)}
    changes: dict[str, Any] = {
        "pk": 99,
        "at": entry.at + timedelta(microseconds=1),
        "actor_id": ada.pk,
        "actor_name": "ada",
        "origin": "api",
        "address": "2001:db8::2",
        "verb": "server.delete",
        "what": {"a": {"y": 1, "x": 2}},
        "object_type": "server",
        "object_id": "7",
        "object_name": "Oslo",
        "server_id": 7,
        "outcome": "refused",
    }
    fields = {field.attname for field in AuditEntry._meta.fields} - {"id", "seal_id"}
    assert fields == changes.keys() - {"pk"}
    for name, value in changes.items():
        other = AuditEntry.objects.get(pk=entry.pk)
        setattr(other, name, value)
        hashes.add(entry_hash(other))
    assert len(hashes) == 1 + len(changes)


@pytest.mark.django_db(transaction=True)
def test_an_entry_that_is_committed_behind_sealed_ones_with_higher_numbers_is_the_next_seals() -> None:
    if connection.vendor == "sqlite":
        return  # one writer at a time: numbers are the order of commits
    written, sealed = threading.Event(), threading.Event()

    def late() -> int:
        try:
            with transaction.atomic():
                entry = write("late")
                written.set()
                assert sealed.wait(30)
                return entry.pk
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        number = threads.submit(late)
        assert written.wait(30)
        early = write("early")
        first = entries_seal()
        sealed.set()
        assert first is not None and number.result(30) < early.pk
    assert (first.entries, first.first_id) == (1, early.pk)
    second = entries_seal()
    assert second is not None and (second.entries, second.first_id) == (1, number.result())
    assert audit_verify().ok


@pytest.mark.django_db(transaction=True)
def test_many_writers_and_sealers_at_once_leave_one_chain_with_every_entry_once() -> None:
    def work(kind: int) -> None:
        try:
            for number in range(20):
                if kind % 2:
                    entries_seal(most=3)
                else:
                    with transaction.atomic():
                        write(f"{kind} {number}")
                        write(f"{kind} {number} too")
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(work, kind) for kind in range(6)]:
            done.result(120)
    while entries_seal() is not None:
        pass
    found = audit_verify()
    assert found.ok, found.problems
    assert (found.entries, found.unsealed) == (120, 0)
    numbers = list(AuditSeal.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_seal_whose_telling_fails_is_told_with_the_next_one(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "away" / "seals"
    settings.AMIWEB_AUDIT_SEALS = str(path)
    write()
    seal_task()
    seal_task()
    lines = [record.getMessage() for record in caplog.records if "can't be written" in record.getMessage()]
    assert len(lines) == 1 and str(path) in lines[0]
    path.parent.mkdir()
    write()
    seal_task()
    seals = list(AuditSeal.objects.order_by("number"))
    assert [(seal["number"], seal["digest"]) for seal in told(path)] == [(s.number, s.digest) for s in seals]
    assert len(seals) == 2 and path.stat().st_mode & 0o007 == 0


def test_a_line_that_a_full_disk_cut_off_is_told_again(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "seals"
    settings.AMIWEB_AUDIT_SEALS = str(path)
    for _ in range(2):
        write()
        seal_task()
    path.write_text(path.read_text()[:-30])
    seal_task()
    assert [seal["number"] for seal in told(path)] == [1, 2]
    before = path.read_text()
    seal_task()
    assert path.read_text() == before


def test_the_log_tells_seals_whatever_its_level(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.AMIWEB_AUDIT_SEALS = "log"
    write()
    seal_task()
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "ami_integration.audit.sealed"
    ]
    mark, _, content = line.partition("{")
    assert mark == "audit seal "
    seal = AuditSeal.objects.get()
    assert json.loads("{" + content)["digest"] == seal.digest
    assert logging.getLogger("ami_integration.audit.sealed").level == logging.INFO


def test_beat_calls_for_seals_every_minute() -> None:
    entry = app.conf.beat_schedule["audit.seal"]
    assert (entry["task"], entry["schedule"]) == ("audit.seal", 60.0)
    assert entry["task"] in app.tasks


def test_a_seal_carries_the_moment_that_it_was_made() -> None:
    moment = timezone.now() - timedelta(days=400)
    write()
    seal = entries_seal(now=moment)
    assert seal is not None and AuditSeal.objects.get().sealed_at == moment
    assert audit_verify().ok
