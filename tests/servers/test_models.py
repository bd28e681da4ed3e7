"""What a server may be, and what state it shows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ValidationError
from django.utils import timezone
from pytest_django import Settings

from ami_integration.ami import TCP, TLS
from ami_integration.servers import services
from ami_integration.servers.models import Server, ServerHealth
from tests.servers.factories import make_server


@pytest.mark.parametrize(
    "host", ["pbx", "pbx.example.com", "192.0.2.10", "2001:db8::10", "fe80::1%eth0", "büro.example"]
)
def test_a_name_or_an_address_is_a_host(host: str) -> None:
    Server(name="x", host=host, username="u", secret="s").full_clean(validate_unique=False)


@pytest.mark.parametrize(
    "host",
    [
        "http://pbx",
        "pbx:5038",
        "[2001:db8::10]",
        "pbx/ami",
        "me@pbx",
        "two words",
        "pbx\r\nAction: x",
        ".pbx",
        "",
    ],
)
def test_what_people_paste_instead_of_a_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Server(name="x", host=host, username="u", secret="s").full_clean(validate_unique=False)
    assert set(caught.value.message_dict) == {"host"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("username", "a\r\nAction: Originate"),
        ("username", "a\0b"),
        ("tls_ca", "not a certificate"),
        ("tls_ca", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
        ("tls_ca", "zertifikät"),
        ("timezone", "Europe/Bonn"),
        ("timezone", "../../etc/passwd"),
        ("timezone", ""),
    ],
)
def test_a_wrong_value_is_refused_before_a_connection_fails_on_it(name: str, value: object) -> None:
    values = {"name": "x", "host": "pbx", "username": "u", "secret": "s", name: value}
    with pytest.raises(ValidationError) as caught:
        Server(**values).full_clean(validate_unique=False)
    assert set(caught.value.message_dict) == {name}


def test_the_transport_is_what_the_form_says() -> None:
    assert Server(host="pbx", port=5038).ami_transport() == TCP("pbx", 5038)
    tls = Server(host="pbx", port=5039, transport="tls", tls_ca="PEM").ami_transport()
    assert tls == TLS("pbx", 5039, ca_pem="PEM")
    assert Server(host="2001:db8::1", port=5038).address == "[2001:db8::1]:5038"


@pytest.mark.django_db
def test_the_settings_come_before_what_was_last_seen(settings: Settings) -> None:
    server = make_server()
    assert server.state == "unknown"
    services.server_health_set(server_id=server.pk, state="online")
    assert Server.objects.get().state == "online"
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    assert Server.objects.get().state == "secret_unreadable"
    Server.objects.update(enabled=False)
    assert Server.objects.get().state == ServerHealth.State.DISABLED
    assert not Server.objects.enabled().exists()


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["online", "connecting", "offline", "login_failed"])
def test_a_state_that_nobody_has_repeated_for_minutes_is_not_known_any_more(state: str) -> None:
    server = make_server()
    now = timezone.now()
    services.server_health_set(server_id=server.pk, state=state, now=now - timedelta(seconds=180))
    assert Server.objects.get().state == "unknown"
    assert [list(Server.objects.in_state(one)) for one in (state, "unknown")] == [[], [server]]
    services.server_health_set(server_id=server.pk, state=state, now=now - timedelta(seconds=60))
    assert Server.objects.get().state == state
    assert [list(Server.objects.in_state(one)) for one in (state, "unknown")] == [[server], []]
    Server.objects.update(enabled=False)
    assert [list(Server.objects.in_state(one)) for one in (state, "disabled")] == [[], [server]]


@pytest.mark.django_db
def test_a_server_that_nobody_has_ever_watched_is_in_the_state_unknown() -> None:
    server = make_server()
    assert list(Server.objects.in_state("unknown")) == [server]
    services.server_health_set(server_id=server.pk, state="unknown")
    assert list(Server.objects.in_state("unknown")) == [server]
