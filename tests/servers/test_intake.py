"""Servers saved through the form of one, without a page."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from ami_integration.audit.models import AuditEntry
from ami_integration.servers.intake import server_form, server_saved
from ami_integration.servers.models import Server, Site, Tag
from tests.servers.factories import SECRET, make_server

pytestmark = pytest.mark.django_db

NEW = {"name": "Berlin", "host": "192.0.2.1", "username": "amiweb", "secret": SECRET}


def saved(form: object, user: User) -> Server | None:
    return server_saved(form=form, user=user, origin="admin", address="192.0.2.9", way="csv")  # type: ignore[arg-type]


def test_a_new_one_begins_with_what_the_page_begins_with(admin_user: User) -> None:
    form = server_form(user=admin_user, values=NEW)
    assert form.is_valid(), form.errors
    server = saved(form, admin_user)
    assert server is not None
    stored = Server.objects.get()
    assert (stored.port, stored.transport, stored.enabled, stored.max_sessions) == (5038, "tcp", True, 8)
    assert stored.secret.reveal() == SECRET
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.actor_name, entry.address) == ("server.add", "admin", "192.0.2.9")
    assert entry.what["way"] == "csv" and SECRET not in str(entry.what)


def test_a_stored_one_keeps_what_is_not_named(admin_user: User) -> None:
    tag, site = Tag.objects.create(name="office"), Site.objects.create(name="Tower Street")
    server = make_server(notes="Below the tower.", read_only=True, rate_per_minute=30, site=site)
    server.tags.add(tag)
    form = server_form(user=admin_user, server=server, values={"maintenance": True})
    assert form.is_valid(), form.errors
    assert form.changed_data == ["maintenance"]
    assert saved(form, admin_user) == server
    stored = Server.objects.get()
    assert stored.maintenance and stored.read_only and stored.rate_per_minute == 30
    assert (stored.notes, stored.site, [*stored.tags.all()]) == ("Below the tower.", site, [tag])
    assert stored.secret.reveal() == SECRET


def test_where_nothing_changes_nothing_is_told(admin_user: User) -> None:
    server = make_server()
    form = server_form(user=admin_user, server=server, values={"port": 5038, "tags": []})
    assert form.is_valid() and saved(form, admin_user) is None
    assert not AuditEntry.objects.exists()


def test_the_rules_of_the_page_hold(admin_user: User) -> None:
    server = make_server()
    form = server_form(user=admin_user, server=server, values={"host": "198.51.100.1"})
    assert "Enter the secret again" in str(form.errors["secret"])


def test_a_name_that_no_field_has_is_a_mistake_of_ours(admin_user: User) -> None:
    with pytest.raises(ValueError, match="a server has no colour"):
        server_form(user=admin_user, values={"colour": "red"})
