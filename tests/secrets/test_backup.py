"""Backup and restore as docs/secrets.md tells it: with the keys, and with one missing."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from ami_integration.secrets.columns import secrets_unreadable
from ami_integration.secrets.encryption import Secret
from ami_integration.servers.models import Server, ServerHealth, Site
from tests import postgres
from tests.secrets.conftest import NEW, OLD
from tests.servers.factories import SECRET, make_server

pytestmark = [pytest.mark.usefixtures("ring")]
STORED = "SELECT secret, ssh_password FROM ami_integration_server"


def warned() -> list[str]:
    return [str(one.msg) for one in run_checks(databases=["default"]) if one.id == "ami_integration.W002"]


@pytest.mark.django_db
@pytest.mark.parametrize("keys", [{"old": OLD}, {"new": NEW, "old": OLD}])
def test_servers_come_back_with_their_keys(ring: Settings, tmp_path: Path, keys: dict[str, str]) -> None:
    make_server(ssh_password="a-gate-w0rd", site=Site.objects.create(name="Tower Street"))
    dump = tmp_path / "servers.json"
    parts = [f"ami_integration.{part}" for part in ("server", "tag", "site")]
    call_command("dumpdata", *parts, output=str(dump))
    assert SECRET not in dump.read_text() and "a-gate-w0rd" not in dump.read_text()
    Server.objects.all().delete()
    Site.objects.all().delete()
    ring.AMIWEB_ENCRYPTION_KEYS = keys
    call_command("loaddata", str(dump), stdout=StringIO())
    server = Server.objects.get()
    assert server.ssh_password is not None and server.site is not None
    assert (server.secret.reveal(), server.ssh_password.reveal()) == (SECRET, "a-gate-w0rd")
    assert warned() == []
    call_command("rotate_secrets", stdout=StringIO())
    assert Server.objects.get().secret.key_id == next(iter(keys))


@pytest.mark.django_db
def test_restored_without_its_key_nothing_is_lost(ring: Settings, tmp_path: Path) -> None:
    make_server()
    dump = tmp_path / "servers.json"
    call_command("dumpdata", "ami_integration.server", output=str(dump))
    Server.objects.all().delete()
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    call_command("loaddata", str(dump), stdout=StringIO())
    server = Server.objects.get()
    assert server.state == ServerHealth.State.SECRET_UNREADABLE
    assert "its key 'old' is not in AMIWEB_ENCRYPTION_KEYS" in warned()[0] and "Berlin (id" in warned()[0]
    with pytest.raises(SystemExit):
        call_command("rotate_secrets", stdout=StringIO(), stderr=StringIO())
    server.notes = "edited meanwhile"
    server.save()
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    assert Server.objects.get().secret.reveal() == SECRET
    assert secrets_unreadable() == []


@pytest.mark.django_db(transaction=True)
def test_a_database_is_dumped_and_restored_without_a_secret_in_clear(tmp_path: Path) -> None:
    make_server(ssh_password="a-gate-w0rd")
    dump, token, password = _sqlite(tmp_path) if connection.vendor == "sqlite" else _postgres(tmp_path)
    assert SECRET.encode() not in dump and b"a-gate-w0rd" not in dump
    assert (Secret(token).reveal(), Secret(password).reveal()) == (SECRET, "a-gate-w0rd")


def _sqlite(folder: Path) -> tuple[bytes, str, str]:
    """The dump, and what stands in the database that was restored from it."""
    connection.ensure_connection()
    copy = folder / "amiweb.sqlite3"
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name)) as stored, closing(sqlite3.connect(copy)) as target:
        stored.backup(target)
        token, password = target.execute(STORED).fetchone()
    return copy.read_bytes(), token, password


def _postgres(folder: Path) -> tuple[bytes, str, str]:
    """The same, by the programs that docs/secrets.md names; restored beside the database of the tests."""
    programs, cluster = postgres.programs(), postgres.cluster()
    url, beside = cluster.url(str(connection.settings_dict["NAME"])), cluster.url("amiweb_restored")
    file = folder / "amiweb.dump"
    subprocess.run([programs / "pg_dump", "--format=custom", f"--file={file}", url], check=True)
    clear = subprocess.run([programs / "pg_restore", "--file=-", file], check=True, capture_output=True)
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS amiweb_restored")
        cursor.execute("CREATE DATABASE amiweb_restored")
    try:
        restore = [programs / "pg_restore", "--clean", "--if-exists", f"--dbname={beside}", file]
        subprocess.run(restore, check=True, capture_output=True)
        with psycopg.connect(beside) as restored:
            row = restored.execute(STORED).fetchone()
        assert row is not None
        return clear.stdout, row[0], row[1]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE amiweb_restored")
