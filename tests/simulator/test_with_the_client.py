"""amiweb's own clients meet the simulator as they would meet a PBX."""

import asyncio

import pytest

from ami_integration.ami import (
    TCP,
    ActionTimeout,
    AMIClient,
    AsyncAMIClient,
    ConnectionLost,
    LoginFailed,
    Timeouts,
)
from tests.simulator.fixtures import Simulator


def _client(simulator: Simulator, **options: object) -> AMIClient:
    transport = TCP(simulator.host, simulator.port)
    settings = {"username": simulator.username, "secret": simulator.secret} | options
    return AMIClient(transport, **settings)  # type: ignore[arg-type]


def test_the_blocking_client_runs_actions_lists_and_commands(simulator: Simulator) -> None:
    with _client(simulator) as client:
        assert client.ami_version == "11.0.0"
        assert client.action("Ping").response.get("Ping") == "Pong"
        assert "simulated" in (client.action("CoreSettings").response.get("AsteriskVersion") or "")
        status = client.action("QueueStatus")
        assert {event.name for event in status.events} == {"QueueParams", "QueueMember"}
        assert status.complete is not None
        assert client.command("core show version").output[0].startswith("Asterisk 22.")
        assert not client.command("nonsense of mine").success


def test_a_wrong_secret_is_a_failed_login(simulator: Simulator) -> None:
    with pytest.raises(LoginFailed):
        _client(simulator, secret="wrong").connect()


def test_an_action_that_hangs_times_out(simulator: Simulator) -> None:
    simulator.hang("CoreStatus")
    client = _client(simulator, timeouts=Timeouts(action=0.3))
    client.connect()
    with pytest.raises(ActionTimeout) as caught:
        client.action("CoreStatus")
    assert caught.value.sent
    client.close()


def test_a_kicked_client_knows_that_it_lost_its_connection(simulator: Simulator) -> None:
    client = _client(simulator)
    client.connect()
    simulator.kick()
    with pytest.raises(ConnectionLost):
        client.action("Ping")


async def test_the_asyncio_client_gets_the_events_of_a_call(simulator: Simulator) -> None:
    transport = TCP(simulator.host, simulator.port)
    names = []
    async with (
        AsyncAMIClient(
            transport, username=simulator.username, secret=simulator.secret, events="on"
        ) as client,
        asyncio.timeout(20),
    ):
        subscription = client.subscribe()
        headers = {"Channel": "Local/800@office", "Application": "Wait", "Data": "0", "Async": "true"}
        reply = await client.action("Originate", headers)
        assert reply.success
        async for event in subscription:
            names.append(event.name)
            if event.name == "OriginateResponse":
                assert event.action_id == reply.action_id
                break
    assert names.index("Newchannel") < names.index("DialEnd") < names.index("OriginateResponse")
