"""Secrets at rest: what a wrong, missing or rotated key may and may not do."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from ami_integration.secrets.encryption import Secret, SecretUnreadable
from ami_integration.servers.forms import ServerForm
from ami_integration.servers.models import Server
from tests.servers.factories import SECRET, make_server

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def ring(settings: Settings) -> Settings:
    settings.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    return settings


def stored_token(server: Server) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM ami_integration_server WHERE id = %s", [server.pk])
        return str(cursor.fetchone()[0])


def test_a_secret_comes_back_as_it_went_in() -> None:
    for text in ("", "word", "a:b:c", "ünïcode ☎", " blanks ", "x" * 10_000):
        assert Secret.from_plain(text).reveal() == text


def test_without_any_key_a_secret_is_unreadable_and_none_can_be_stored(settings: Settings) -> None:
    secret = Secret.from_plain(SECRET)
    settings.AMIWEB_ENCRYPTION_KEYS = {}
    assert not secret.readable
    with pytest.raises(SecretUnreadable, match="its key 'old' is not in AMIWEB_ENCRYPTION_KEYS"):
        secret.reveal()
    with pytest.raises(ImproperlyConfigured, match="holds no key"):
        Secret.from_plain(SECRET)


def test_a_secret_never_shows_in_text() -> None:
    secret = Secret.from_plain(SECRET)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", "%s" % secret, repr([secret])):  # noqa: UP031
        assert "<secret>" in shown
        assert SECRET not in shown
        assert secret.token not in shown
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_a_secret_survives_copies_and_pickles_without_its_text() -> None:
    secret = Secret.from_plain(SECRET)
    assert SECRET.encode() not in pickle.dumps(secret)
    assert pickle.loads(pickle.dumps(secret)) == copy.deepcopy(secret) == secret  # noqa: S301  our own bytes


@pytest.mark.django_db
def test_the_database_holds_the_key_id_and_a_token() -> None:
    token = stored_token(make_server())
    assert token.startswith("old:gAAAA")
    assert SECRET not in token


@pytest.mark.django_db
def test_no_instance_carries_the_plain_text() -> None:
    server = Server(secret=SECRET)
    assert SECRET not in repr(vars(server))
    server.secret = "another"
    assert "another" not in repr(vars(server))
    assert server.secret.reveal() == "another"


@pytest.mark.django_db
@pytest.mark.parametrize("keys", [{"old": NEW}, {"new": NEW}, {"new": NEW, "old": NEW}])
def test_under_a_wrong_or_missing_key_a_save_keeps_the_token(ring: Settings, keys: dict[str, str]) -> None:
    token = stored_token(make_server())
    ring.AMIWEB_ENCRYPTION_KEYS = keys
    server = Server.objects.get()
    assert not server.secret.readable
    server.notes = "edited while the key was away"
    server.full_clean()
    server.save()
    assert stored_token(server) == token
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": OLD}
    assert Server.objects.get().secret.reveal() == SECRET


@pytest.mark.django_db
def test_an_unreadable_secret_says_which_key_is_missing(ring: Settings) -> None:
    secret = make_server().secret
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    with pytest.raises(SecretUnreadable, match="its key 'old' is not in AMIWEB_ENCRYPTION_KEYS"):
        secret.reveal()
    ring.AMIWEB_ENCRYPTION_KEYS = {"old": NEW}
    with pytest.raises(SecretUnreadable, match="the key 'old' .* is not the one that encrypted it"):
        secret.reveal()


@pytest.mark.parametrize("token", ["", "old", "old:", "old:nonsense", "old:gAAAA☎", ":", "plain text"])
def test_a_damaged_token_is_unreadable_and_nothing_else(token: str) -> None:
    with pytest.raises(SecretUnreadable):
        Secret(token).reveal()


@pytest.mark.django_db
def test_after_a_rotation_the_first_key_encrypts_and_all_decrypt(ring: Settings) -> None:
    make_server()
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    server = Server.objects.get()
    assert (server.secret.key_id, server.secret.reveal()) == ("old", SECRET)
    server.secret = server.secret.reveal()
    server.save()
    assert stored_token(server).startswith("new:")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    assert Server.objects.get().secret.reveal() == SECRET


@pytest.mark.django_db
def test_an_update_in_bulk_encrypts_too() -> None:
    make_server()
    Server.objects.update(secret="another")
    server = Server.objects.get()
    assert "another" not in stored_token(server)
    assert server.secret.reveal() == "another"


@pytest.mark.django_db
def test_a_search_by_secret_is_refused() -> None:
    for lookup in ("secret", "secret__contains", "secret__startswith"):
        with pytest.raises(FieldError, match="encrypted"):
            Server.objects.filter(**{lookup: "x"})
    assert not Server.objects.filter(secret__isnull=True).exists()


@pytest.mark.django_db
def test_a_dump_holds_the_token_and_a_load_brings_it_back() -> None:
    server = make_server()
    token = stored_token(server)
    dump = serializers.serialize("json", [server])
    assert SECRET not in dump
    server.delete()
    for loaded in serializers.deserialize("json", dump):
        loaded.save()
    assert stored_token(Server.objects.get()) == token


@pytest.mark.django_db
def test_no_automatic_form_offers_a_secret() -> None:
    from django.forms import modelform_factory

    automatic = modelform_factory(Server, fields="__all__")
    assert "secret" not in automatic.base_fields
    assert SECRET not in str(ServerForm(instance=make_server()))
