"""The SSH tunnel from end to end: both clients, a real OpenSSH server, a real Asterisk."""

from __future__ import annotations

from ami_integration.ami import AMIClient, AsyncAMIClient
from tests.pbx.asterisk import Asterisk
from tests.sshd import Sshd


def test_asterisk_is_reached_through_an_ssh_server(asterisk: Asterisk, sshd: Sshd) -> None:
    username, secret = asterisk.users["admin"]
    transport = sshd.transport(asterisk.port)
    with AMIClient(transport, username=username, secret=secret) as client:
        assert client.action("Ping").response.get("Ping") == "Pong"
        assert len(client.action("ListCommands").response.items()) > 100
        assert any("Asterisk" in line for line in client.command("core show version").output)


async def test_events_of_asterisk_come_through_an_ssh_server(asterisk: Asterisk, sshd: Sshd) -> None:
    username, secret = asterisk.users["admin"]
    transport = sshd.transport(asterisk.port, ssh_key=None, ssh_password=sshd.password)
    async with AsyncAMIClient(transport, username=username, secret=secret, events="on") as client:
        events = client.events()
        assert (await client.action("UserEvent", {"UserEvent": "Tunnel", "Word": "Grüße"})).success
        async for event in events:
            if event.name == "UserEvent" and event.get("UserEvent") == "Tunnel":
                assert event.get("Word") == "Grüße"
                break
