"""Sessions with a stored server."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from ami_integration.ami import LoginFailed
from ami_integration.servers.encryption import SecretUnreadable
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import open_session
from tests.ami.scripted import BANNER, Peer, scripted


def test_a_session_is_logged_in_within_its_block_and_logged_off_after_it() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Ping: Pong")
        assert peer.hear().name == "Logoff"
        assert [action.name for action in peer.seen] == ["Challenge", "Login", "Ping", "Logoff"]
        assert peer.seen[1].get("Events") == "off"

    with scripted(script) as transport:
        server = Server(host=transport.host, port=transport.port, username="amiweb", secret="word")
        with open_session(server) as client:
            assert client.action("Ping").success
        assert not client.connected


def test_a_refused_login_is_an_error_at_the_head_of_the_block() -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(script) as transport:
        server = Server(host=transport.host, port=transport.port, username="amiweb", secret="word")
        with pytest.raises(LoginFailed), open_session(server):
            pytest.fail("the block ran without a login")


def test_with_an_unreadable_secret_nothing_is_connected(settings: Settings) -> None:
    server = Server(host="192.0.2.1", username="amiweb", secret="word")
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    with pytest.raises(SecretUnreadable), open_session(server):
        pytest.fail("the block ran without a secret")
