"""What can't be read: found in every column, told by row and key, by check, page and command."""

from __future__ import annotations

from io import StringIO

import pytest
import redis
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from ami_integration.console import services
from ami_integration.console.secrets import UnreadableSecrets
from ami_integration.console.services import status_read
from ami_integration.secrets import columns
from ami_integration.secrets.columns import encrypted_columns, secrets_unreadable
from ami_integration.secrets.encryption import EncryptedTextField
from ami_integration.servers.models import Server
from tests.actions.factories import make_run
from tests.processes import Valkey
from tests.schedules.alerts.factories import make_webhook
from tests.secrets.conftest import NEW, OLD
from tests.servers.factories import SECRET, make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]


@pytest.fixture(autouse=True)
def fresh_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the status knows is kept for half a minute, which is longer than a test."""
    monkeypatch.setattr(services, "unreadable", UnreadableSecrets())


def warnings() -> list[str]:
    found = run_checks(databases=["default"])
    return [str(one.msg) for one in found if one.id == "ami_integration.W002"]


def test_every_encrypted_field_of_every_model_is_found() -> None:
    declared = {
        (model._meta.db_table, field.name)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.get_fields()
        if isinstance(field, EncryptedTextField)
    }
    found = {(one.model._meta.db_table, one.field) for one in encrypted_columns()}
    assert found == declared
    assert ("ami_integration_server", "secret") in found and len(found) >= 8


def test_what_the_ring_opens_is_no_matter() -> None:
    make_server(action_username="acting", action_secret="word")
    make_run(server=Server.objects.get())
    assert secrets_unreadable() == []
    assert warnings() == []


def test_a_missing_key_is_told_with_its_rows(ring: Settings) -> None:
    berlin = make_server()
    make_server(name="Rom")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    make_server(name="Oslo")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    (found,) = secrets_unreadable()
    assert (found.count, found.exact) == (2, True)
    assert f"Berlin (id {berlin.pk}), Rom (id " in str(found) and "Oslo" not in str(found)
    assert "2 rows of server (server.secret) can't be read: its key 'old' is not in" in str(found)
    assert warnings() == [str(found)]


def test_a_wrong_key_under_a_right_id_is_told(ring: Settings) -> None:
    make_server()
    make_run(server=Server.objects.get())
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": NEW}
    texts = [str(found) for found in secrets_unreadable()]
    assert [("server.secret" in text, "actionrun.payload" in text) for text in texts] == [
        (False, True),
        (True, False),
    ]
    assert all(
        "the key 'old' in AMIWEB_ENCRYPTION_KEYS is not the one that encrypted it" in text for text in texts
    )


def test_of_many_rows_the_oldest_and_newest_are_opened(
    ring: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "OPENED_ALL", 4)
    monkeypatch.setattr(columns, "OPENED_SOME", 2)
    for number in range(6):
        make_server(name=f"pbx{number}")
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": NEW}
    (found,) = secrets_unreadable()
    assert (found.count, found.exact, len(found.rows)) == (6, True, 4)
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    assert secrets_unreadable() == []
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": NEW}
    Server.objects.filter(name="pbx5").update(secret=SECRET)
    (found,) = secrets_unreadable()
    assert str(found).startswith("Up to 6 rows of server")


@pytest.mark.parametrize("stored", ["clear-text", "clear:text", "", "old:gAAAA", "old:gAAAAnonsense"])
def test_of_a_damaged_value_not_a_word_is_told(stored: str) -> None:
    server = make_server()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ami_integration_server SET secret = %s WHERE id = %s", [stored, server.pk])
    (found,) = secrets_unreadable()
    assert f"Berlin (id {server.pk})" in str(found)
    assert "clear" not in str(found) and "nonsense" not in str(found)


def test_the_status_page_and_the_command_tell_it(ring: Settings, valkey: Valkey) -> None:
    valkey.start()
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    make_webhook("https://chat.example.com/very-s3cret", secret="s1gning")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    told = [fault for fault in status_read().faults if "can't be read" in fault]
    assert len(told) == 2
    assert {word for word in ("alertchannel.url", "alertchannel.secret") if word in " ".join(told)} == {
        "alertchannel.url",
        "alertchannel.secret",
    }
    errors = StringIO()
    with pytest.raises(SystemExit):
        call_command("status", stdout=StringIO(), stderr=errors)
    assert all(fault in errors.getvalue() for fault in told)
    assert "Chat (id" in errors.getvalue() and "very-s3cret" not in errors.getvalue()


def test_the_status_looks_again_only_after_a_while(ring: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_server()
    look = UnreadableSecrets()
    assert look.faults() == []
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    assert look.faults() == []  # known for half a minute
    look._until = 0.0
    assert "Berlin" in look.faults()[0]
