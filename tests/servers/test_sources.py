"""Servers whose secrets come from the environment or from files: form, rights, state, and what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from ami_integration.ami import SSH
from ami_integration.audit.models import AuditEntry
from ami_integration.console.secrets import UnreadableSecrets
from ami_integration.events.work import load_targets
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.forms import ServerForm
from ami_integration.servers.models import Server, ServerHealth
from ami_integration.servers.sessions import _fingerprint
from tests.access.factories import grant
from tests.servers.factories import make_server
from tests.servers.test_admin import fields

pytestmark = pytest.mark.django_db
HOST_KEY = "SHA256:" + "a" * 43


@pytest.fixture
def chooser() -> User:
    return person("choose_secret_source")


def person(*codenames: str) -> User:
    user = User.objects.create_user("worker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    grant(user)
    return User.objects.get(pk=user.pk)


def form(user: User, server: Server | None = None, **values: str) -> ServerForm:
    class Form(ServerForm):
        viewer = user

    return Form(fields(**values), instance=server)


def elsewhere(**values: object) -> Server:
    return make_server(
        **{"secret": None, "secret_source": "environment", "secret_name": "AMIWEB_SECRET_BERLIN"} | values
    )


def test_a_server_is_added_whose_secret_is_a_variable(chooser: User, settings: Settings) -> None:
    found = form(chooser, secret_source="environment", secret_name="AMIWEB_SECRET_BERLIN")
    assert found.is_valid(), found.errors
    server = found.save()
    assert server.secret is None
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": "word"}
    assert server.account[1].reveal() == "word"
    assert server.state == ServerHealth.State.UNKNOWN


def test_a_source_wants_its_name_and_no_secret_beside_it(chooser: User) -> None:
    found = form(chooser, secret_source="environment", secret_name="PATH", secret="typed")
    assert "begins with AMIWEB_SECRET_" in found.errors["secret_name"][0]
    assert "come from elsewhere" in found.errors["secret"][0]


def test_choosing_a_source_takes_a_permission_of_its_own() -> None:
    found = form(person(), secret_source="environment", secret_name="AMIWEB_SECRET_BERLIN")
    assert "Enter the secret" in found.errors["secret"][0]  # the choice is taken for “stored”
    assert "permission" in found.fields["secret_source"].help_text


def test_who_may_not_choose_moves_no_such_server_to_another_place(settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": "word"}
    server, user = elsewhere(), person()
    same = {"secret_source": "environment", "secret_name": "AMIWEB_SECRET_BERLIN"}
    moved = form(user, server, host="198.51.100.7", **same)
    assert "Can choose where a server's secrets come from" in moved.errors["host"][0]
    noted = form(user, Server.objects.get(), notes="by the door", **same)
    assert noted.is_valid(), noted.errors
    assert noted.save().secret_source == "environment"


def test_who_may_choose_moves_it(chooser: User, settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": "word"}
    same = {"secret_source": "environment", "secret_name": "AMIWEB_SECRET_BERLIN"}
    moved = form(chooser, elsewhere(), host="198.51.100.7", **same)
    assert moved.is_valid(), moved.errors


def test_what_was_stored_goes_when_it_comes_from_elsewhere(chooser: User) -> None:
    server = make_server(action_username="acting", action_secret="other")
    found = form(
        chooser,
        server,
        secret_source="environment",
        secret_name="AMIWEB_SECRET_BERLIN",
        action_username="acting",
    )
    assert found.is_valid(), found.errors
    found.save()
    stored = Server.objects.get()
    assert (stored.secret, stored.action_secret) == (None, None)
    assert stored.action_account[0] == "acting"


def test_going_back_to_stored_asks_for_the_secret(chooser: User) -> None:
    server = elsewhere()
    assert "Enter the secret" in form(chooser, server).errors["secret"][0]
    again = form(chooser, Server.objects.get(), secret="word")
    assert again.is_valid(), again.errors
    assert again.save().secret_name == ""


def test_the_second_account_and_the_tunnel_have_names_of_their_own(settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {
        "AMIWEB_SECRET_BERLIN": "listening",
        "AMIWEB_SECRET_BERLIN_ACTIONS": "acting",
        "AMIWEB_SECRET_BERLIN_SSH_PASSWORD": "tunnel",
    }
    server = elsewhere(
        action_username="acting", ssh_host="192.0.2.1", ssh_username="amiweb", ssh_host_key=HOST_KEY
    )
    server.transport = Server.Transport.SSH
    assert [secret.reveal() for secret in server.secrets] == ["listening", "acting", "tunnel"]
    transport = server.ami_transport()
    assert isinstance(transport, SSH)
    assert (transport.ssh_key, transport.ssh_password) == (None, "tunnel")
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": "listening"}
    with pytest.raises(SecretUnreadable, match="AMIWEB_SECRET_BERLIN_SSH_KEY"):
        server.ami_transport()


def test_a_missing_secret_is_a_state_and_told_by_check_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    server = elsewhere()
    assert server.state == ServerHealth.State.SECRET_UNREADABLE
    [said] = UnreadableSecrets().faults()
    assert "Server Berlin: The variable AMIWEB_SECRET_BERLIN is not set" in said
    call_command("check", database=["default"])
    assert "AMIWEB_SECRET_BERLIN is not set" in capsys.readouterr().err
    Server.objects.update(enabled=False)
    assert UnreadableSecrets().faults() == []


def test_a_file_that_everybody_may_read_is_warned_of(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.AMIWEB_SECRETS_DIR = str(tmp_path)
    (tmp_path / "berlin").write_text("word")
    (tmp_path / "berlin").chmod(0o644)
    elsewhere(secret_source="file", secret_name="berlin")
    call_command("check", database=["default"])
    assert "W004" in (said := capsys.readouterr().err)
    assert "chmod o-r" in said


def test_a_changed_file_means_another_session_for_the_listener_and_for_workers(
    tmp_path: Path, settings: Settings
) -> None:
    settings.AMIWEB_SECRETS_DIR = str(tmp_path)
    (tmp_path / "berlin").write_text("word")
    server = elsewhere(secret_source="file", secret_name="berlin")
    target, fingerprint = load_targets()[server.pk], _fingerprint(server)
    assert load_targets()[server.pk] == target
    (tmp_path / "berlin").write_text("another")
    assert load_targets()[server.pk] != target
    assert _fingerprint(server) != fingerprint


def test_the_audit_tells_of_another_source(chooser: User) -> None:
    browser = Client()
    chooser.user_permissions.add(*Permission.objects.filter(codename__in=["change_server", "view_server"]))
    browser.force_login(chooser)
    server = make_server()
    answer = browser.post(
        f"/admin/ami_integration/server/{server.pk}/change/",
        fields(secret_source="environment", secret_name="AMIWEB_SECRET_BERLIN"),
    )
    assert answer.status_code == 302, answer.content.decode()
    entry = AuditEntry.objects.get(verb="server.change")
    assert entry.what["secret_source"] == {"from": "stored", "to": "environment"}
    assert entry.what["secret_name"] == {"from": "", "to": "AMIWEB_SECRET_BERLIN"}
