"""Ways to a real Asterisk: its certificate pinned, and a real OpenSSH server in front of it."""

from __future__ import annotations

import asyncio

import pytest

from ami_integration.ami import TLS, AMIClient, AsyncAMIClient, TLSFailed, fetch_certificate
from ami_integration.ami.transports import connect_async, handshake_async, resolve_async
from tests.pbx.asterisk import Asterisk
from tests.sshd import Sshd


def test_the_certificate_that_asterisk_shows_can_be_pinned(asterisk: Asterisk) -> None:
    username, secret = asterisk.users["admin"]
    shown = fetch_certificate(TLS(asterisk.host, asterisk.tls_port))
    assert "localhost" in shown.names and "CN=localhost" in shown.subject
    pinned = TLS(asterisk.host, asterisk.tls_port, server_name="elsewhere.example", pin=shown.fingerprint)
    with AMIClient(pinned, username=username, secret=secret) as client:
        assert client.action("Ping").success

    async def greeting() -> bytes:
        came, gone = (asyncio.get_running_loop().create_future() for _ in range(2))

        class Reader(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                came.set_result(data)

            def connection_lost(self, error: Exception | None) -> None:
                gone.set_result(None)

        addresses = await resolve_async(pinned, 5)
        made = await handshake_async(pinned, await connect_async(pinned, addresses, 5), Reader, 5)
        async with asyncio.timeout(15):
            data = await came
            made.close()
            await gone
        assert isinstance(data, bytes)
        return data

    assert asyncio.run(greeting()).startswith(b"Asterisk Call Manager/")
    other = TLS(asterisk.host, asterisk.tls_port, ca_file=str(asterisk.ca_file), pin="0" * 64)
    with pytest.raises(TLSFailed, match=shown.sha256) as caught:
        AMIClient(other, username=username, secret=secret).connect()
    assert caught.value.reason == "pin"


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
