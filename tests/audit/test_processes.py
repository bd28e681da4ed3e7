"""Sealing by Celery's real processes, and what shows when the database's owner changes the audit."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from ami_integration.audit.models import AuditEntry, AuditSeal
from ami_integration.audit.services import entry_write
from ami_integration.audit.tasks import seal
from ami_integration.console.services import status_read
from ami_integration.heartbeats import Kind
from tests.audit.tampering import unguarded
from tests.polling import wait_until
from tests.processes import Stack

pytestmark = pytest.mark.django_db(transaction=True)


def write(name: str) -> AuditEntry:
    return entry_write(actor=None, origin="command", verb="server.change", object_name=name)


def test_beat_and_a_worker_seal_each_minute_and_tampering_shows(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seals = tmp_path / "seals"
    entry = write("Berlin")
    write("Bonn")
    told = {"AMIWEB_AUDIT_SEALS": str(seals)}
    stack.start("worker", env=told)
    stack.start("beat", env=told)
    # Promised within a minute, and the time that a worker takes.
    wait_until(
        lambda: seals.exists() and AuditSeal.objects.exists(),
        seconds=180,
        what=lambda: "the first seal; the worker's log:\n" + stack.log("worker"),
    )
    wait_until(lambda: seals.read_text().endswith("}\n"), seconds=10, what="the seal is told")
    stack.close()
    call_command("audit_verify", seals=seals)
    assert "2 entries" in capsys.readouterr().out
    with unguarded(), connection.cursor() as cursor:
        cursor.execute("UPDATE ami_integration_auditentry SET object_name = 'Rome' WHERE id = %s", [entry.pk])
    with pytest.raises(SystemExit):
        call_command("audit_verify", seals=seals)
    assert str(entry.pk) in "".join(capsys.readouterr())
    with unguarded(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM ami_integration_auditentry")
        cursor.execute("DELETE FROM ami_integration_auditseal")
    call_command("audit_verify")  # the database alone can't know that there was something
    with pytest.raises(SystemExit):
        call_command("audit_verify", seals=seals)


def test_a_worker_that_can_not_tell_the_seals_says_so_on_the_status(stack: Stack, tmp_path: Path) -> None:
    seals = tmp_path / "seals"
    seals.mkdir()  # no file can be written there
    stack.start("worker", env={"AMIWEB_AUDIT_SEALS": str(seals)})
    write("Berlin")
    seal.delay()
    wait_until(
        lambda: any("could not tell the audit's seals" in fault for fault in status_read().faults),
        seconds=15,
        what=lambda: f"the fault of the {Kind.WORKER}; there are {status_read().faults}",
    )
