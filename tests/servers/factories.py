"""Servers for tests, and a PBX that answers well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ami_integration.ami import TCP, TLS
from ami_integration.servers.models import Server
from tests.ami.scripted import Peer

SECRET = "gr8-s3cret-word"


def make_server(transport: TCP | None = None, **values: Any) -> Server:
    """A stored server; at `transport` where one is given, else where nothing is."""
    transport = transport or TCP("192.0.2.1")
    kind = Server.Transport.TLS if isinstance(transport, TLS) else Server.Transport.TCP
    values = {
        "name": "Berlin",
        "host": transport.host,
        "port": transport.port,
        "transport": kind,
        "username": "amiweb",
        "secret": SECRET,
    } | values
    return Server.objects.create(**values)


def healthy(*actions: str, settings: str = "Success") -> Callable[[Peer], None]:
    """The words of a PBX on which a connection test finds nothing wrong.

    Args:
        actions: what the account may run.
        settings: the answer to CoreSettings, `Success` or `Error`.
    """

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "AMIversion: 11.0.0", "AsteriskVersion: 22.10.0", response=settings)
        peer.answer(peer.hear(), *(f"{action}: what it does. (Priv: all)" for action in actions))
        assert peer.hear().name == "Logoff"

    return script
