from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.test import RequestFactory

from ami_integration.audit.admin import LONGEST, value_plain
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.services import entry_write, request_address
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


def test_an_entry_keeps_who_from_where_what_and_on_which_object() -> None:
    ada = User.objects.create_user("ada")
    entry_write(
        actor=ada,
        origin="api",
        address="2001:db8::1",
        verb="run.submit",
        what={"action": "Ping"},
        object_type="run",
        object_id=7,
        object_name="Ping on Berlin",
        outcome=AuditEntry.Outcome.INTENT,
    )
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.actor_name, entry.origin, entry.address) == (ada, "ada", "api", "2001:db8::1")
    assert (entry.verb, entry.what, entry.outcome) == ("run.submit", {"action": "Ping"}, "intent")
    assert (entry.object_type, entry.object_id, entry.object_name) == ("run", "7", "Ping on Berlin")
    assert "ada: run.submit Ping on Berlin" in str(entry)


def test_an_entry_outlives_the_person_unchanged() -> None:
    ada = User.objects.create_user("ada")
    number = ada.pk
    entry_write(actor=ada, origin="admin", verb="x")
    ada.delete()
    entry = AuditEntry.objects.get()
    assert (entry.actor_id, entry.actor_name) == (number, "ada")


def test_an_entry_goes_with_the_transaction_that_it_tells_of() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        entry_write(actor=None, origin="command", verb="x")
        raise RuntimeError
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("actor", [None, AnonymousUser()])
def test_nobody_in_particular_is_no_actor(actor: AnonymousUser | None) -> None:
    entry = entry_write(actor=actor, origin="command", verb="x", object_name="n" * 300)
    assert (entry.actor, entry.actor_name) == (None, "")
    assert len(entry.object_name) == 200 and entry.object_name.endswith("…")


@pytest.mark.parametrize(
    ("remote", "address"),
    [("192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::1"), ("", ""), ("unix:", ""), (None, "")],
)
def test_the_address_is_the_one_that_the_server_saw(remote: str | None, address: str) -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-For": "203.0.113.9"})
    if remote is None:
        del request.META["REMOTE_ADDR"]
    else:
        request.META["REMOTE_ADDR"] = remote
    assert request_address(request) == address
    assert entry_write(actor=None, origin="admin", address=remote, verb="x").address == (address or None)


def test_values_of_a_form_become_plain() -> None:
    server = make_server()
    assert value_plain([server, None, 1, True]) == ["Berlin", None, 1, True]
    assert value_plain("x" * 600) == "x" * LONGEST + "…"
    assert value_plain(server) == "Berlin"
