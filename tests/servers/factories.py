"""Servers for tests, and a PBX that answers well."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ami_integration.ami import TCP, TLS
from ami_integration.servers.models import Server
from tests.ami.scripted import BANNER, Peer

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

    privileges = {"Originate": "originate,all", "Command": "command,all"}
    reads = "read perm: system,call,all" if "Command" in actions else ""

    def script(peer: Peer) -> None:
        peer.say(BANNER)
        while (action := peer.hear()).name != "Logoff":
            match action.name:
                case "Challenge":
                    peer.answer(action, "Challenge: 123456789")
                case "Login":
                    peer.answer(action, "Message: Authentication accepted")
                    peer.say(b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n")
                    peer.say(b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: PJSIP/1-1\r\n\r\n")
                case "CoreSettings":
                    peer.answer(action, "AMIversion: 11.0.0", "AsteriskVersion: 22.10.0", response=settings)
                case "ListCommands":
                    lines = (
                        f"{name}: what it does. (Priv: {privileges.get(name, '<none>')})" for name in actions
                    )
                    peer.answer(action, *lines)
                case "Ping":
                    peer.answer(action, "Ping: Pong", f"Timestamp: {time.time():.6f}")
                case "Command":
                    peer.answer(action, "Message: Command output follows", f"Output: {reads}")
                case other:
                    raise AssertionError(f"the doctor asks nothing of {other}")

    return script
