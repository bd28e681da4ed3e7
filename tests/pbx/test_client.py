"""Our client against real Asterisks: whatever it may assume, these have the last word."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from ami_integration.ami import (
    TCP,
    TLS,
    AMIClient,
    AMIError,
    AsyncAMIClient,
    Backoff,
    Connected,
    ConnectError,
    ConnectFailed,
    ConnectionLost,
    Event,
    Gap,
    LoginFailed,
    ReconnectingClient,
    Resumed,
    Timeouts,
    TLSFailed,
)
from tests.pbx.asterisk import PHONES, Asterisk
from tests.polling import wait_until

pytestmark = pytest.mark.pbx

SECONDS = 15.0


def session(asterisk: Asterisk, role: str = "admin", *, events: str = "off") -> AMIClient:
    username, secret = asterisk.users[role]
    return AMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret, events=events)


def async_session(asterisk: Asterisk, *, events: str = "off") -> AsyncAMIClient:
    username, secret = asterisk.users["admin"]
    return AsyncAMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret, events=events)


def events_until(client: AMIClient, wanted: Callable[[Event], bool]) -> list[Event]:
    """All events up to the wanted one, which comes last."""
    seen = []
    for event in client.events(timeout=SECONDS):
        seen.append(event)
        if wanted(event):
            return seen
    raise AssertionError(f"it didn't come; these did: {[event.name for event in seen]}")


@pytest.fixture
def admin(asterisk: Asterisk) -> Iterator[AMIClient]:
    with session(asterisk) as client:
        yield client


# Login


def test_it_logs_in_by_md5_over_tcp(asterisk: Asterisk, admin: AMIClient) -> None:
    assert admin.banner == f"Asterisk Call Manager/{admin.ami_version}"
    assert admin.action("Ping").response.get("Ping") == "Pong"
    assert admin.action("CoreSettings").response.get("AsteriskVersion", "").startswith(asterisk.version)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_logs_in_over_tls_with_the_certificate_checked(asterisk: Asterisk, host: str) -> None:
    username, secret = asterisk.users["admin"]
    transport = TLS(host, asterisk.tls_port, ca_file=str(asterisk.ca_file))
    with AMIClient(transport, username=username, secret=secret) as client:
        assert client.action("Ping").success


def test_a_certificate_of_an_unknown_authority_is_refused(asterisk: Asterisk) -> None:
    username, secret = asterisk.users["admin"]
    client = AMIClient(TLS(asterisk.host, asterisk.tls_port), username=username, secret=secret)
    with pytest.raises(TLSFailed) as caught:
        client.connect()
    assert caught.value.reason == "unknown_ca"
    assert not client.connected


def test_a_certificate_for_another_name_is_refused(asterisk: Asterisk) -> None:
    username, secret = asterisk.users["admin"]
    transport = TLS(
        asterisk.host, asterisk.tls_port, ca_file=str(asterisk.ca_file), server_name="pbx.example.com"
    )
    with pytest.raises(TLSFailed) as caught:
        AMIClient(transport, username=username, secret=secret).connect()
    assert caught.value.reason == "name"


def test_the_asyncio_client_logs_in_over_both(asterisk: Asterisk) -> None:
    username, secret = asterisk.users["admin"]

    async def ping(transport: TCP) -> bool:
        async with AsyncAMIClient(transport, username=username, secret=secret) as client:
            return (await client.action("Ping")).success

    assert asyncio.run(ping(TCP(asterisk.host, asterisk.port)))
    assert asyncio.run(ping(TLS("localhost", asterisk.tls_port, ca_file=str(asterisk.ca_file))))


def test_a_wrong_secret_is_refused_in_the_words_of_asterisk(asterisk: Asterisk) -> None:
    client = AMIClient(TCP(asterisk.host, asterisk.port), username="admin", secret="wrong")
    with pytest.raises(LoginFailed, match="Authentication failed"):
        client.connect()
    assert not client.connected


def test_tls_to_the_clear_port_is_told_as_that(asterisk: Asterisk) -> None:
    username, secret = asterisk.users["admin"]
    transport = TLS(asterisk.host, asterisk.port, ca_file=str(asterisk.ca_file))
    started = time.monotonic()
    with pytest.raises(ConnectError, match="clear text") as caught:
        AMIClient(transport, username=username, secret=secret).connect()
    assert caught.value.phase == "tls"
    assert time.monotonic() - started < 3 * Timeouts().tls


def test_clear_text_to_the_tls_port_ends_within_the_time_limit(asterisk: Asterisk) -> None:
    username, secret = asterisk.users["admin"]
    client = AMIClient(
        TCP(asterisk.host, asterisk.tls_port), username=username, secret=secret, timeouts=Timeouts(banner=0.5)
    )
    with pytest.raises(ConnectError, match="TLS") as caught:
        client.connect()
    assert caught.value.phase == "banner"
    assert not client.connected


# Actions


def test_list_commands_names_every_action_with_its_privileges(admin: AMIClient) -> None:
    reply = admin.action("ListCommands")
    actions = dict(reply.response.items())
    assert len(actions) > 100
    assert "Priv: originate,all" in actions["Originate"]
    assert admin.anomalies.total() == 0


def test_a_list_of_two_thousand_endpoints_arrives_whole(admin: AMIClient) -> None:
    reply = admin.action("PJSIPShowEndpoints")
    assert reply.success
    assert reply.complete is not None
    assert reply.complete.get("ListItems") == str(len(PHONES))
    assert sorted(item.get("ObjectName", "") for item in reply.events) == [str(phone) for phone in PHONES]


def test_an_empty_list_is_a_list(admin: AMIClient) -> None:
    reply = admin.action("ParkedCalls")
    assert reply.success
    assert reply.events == []
    assert reply.complete is not None


def test_a_list_that_finds_nothing_is_an_error_without_items(admin: AMIClient) -> None:
    reply = admin.action("PJSIPShowEndpoint", {"Endpoint": "nobody"})
    assert not reply.success
    assert reply.events == []
    assert admin.action("Ping").success


def test_command_output_has_every_line(asterisk: Asterisk, admin: AMIClient) -> None:
    reply = admin.command("manager show command Originate")
    assert reply.success
    assert "" in reply.output
    # Its own CLI prints the same, wrapped in line ends of its own.
    printed = asterisk.cli("manager show command Originate").splitlines()
    assert [line for line in reply.output if line.strip()] == [line for line in printed if line.strip()]
    assert "[Synopsis]" in reply.output


def test_a_failed_command_keeps_its_output(admin: AMIClient) -> None:
    reply = admin.command("no such command")
    assert not reply.success
    assert reply.output[0].startswith("No such command 'no such command'")


def test_an_unknown_action_is_an_error_reply_and_the_session_goes_on(admin: AMIClient) -> None:
    reply = admin.action("NoSuchAction")
    assert not reply.success
    assert "Invalid/unknown command: NoSuchAction" in reply.message
    assert admin.action("Ping").success


def test_a_user_without_the_class_is_told_permission_denied(asterisk: Asterisk) -> None:
    with session(asterisk, "readonly") as client:
        reply = client.action("CoreSettings")
        assert not reply.success
        assert reply.message == "Permission denied"
        assert "Originate" not in dict(client.action("ListCommands").response.items())
    with session(asterisk, "originate") as client:
        assert "Originate" in dict(client.action("ListCommands").response.items())
        assert not client.command("core show version").success


def test_pipelined_actions_get_their_own_answers(asterisk: Asterisk) -> None:
    async def run() -> list[str]:
        async with async_session(asterisk) as client:
            await client.action("Setvar", {"Variable": "AMIWEB", "Value": "x"})
            replies = await asyncio.gather(
                *(
                    client.action("DBPut", {"Family": "amiweb", "Key": f"k{n}", "Val": f"v{n}"})
                    for n in range(50)
                ),
                *(client.action("PJSIPShowEndpoint", {"Endpoint": str(n)}) for n in range(1000, 1010)),
            )
            assert all(reply.success for reply in replies)
            found = await asyncio.gather(
                *(client.action("DBGet", {"Family": "amiweb", "Key": f"k{n}"}) for n in range(50))
            )
            return [reply.events[0].get("Val", "") for reply in found]

    assert asyncio.run(run()) == [f"v{n}" for n in range(50)]


def test_text_beyond_ascii_survives_the_round_trip(admin: AMIClient) -> None:
    value = "Jürgen Weiß, 日本 \udcff"  # the last one stands for a byte that isn't UTF-8
    assert admin.action("DBPut", {"Family": "amiweb", "Key": "text", "Val": value}).success
    assert admin.action("DBGet", {"Family": "amiweb", "Key": "text"}).events[0].get("Val") == value


# Events


def test_events_of_an_originate_arrive_with_its_channel(asterisk: Asterisk) -> None:
    with session(asterisk, events="on") as client:
        reply = client.action(
            "Originate",
            {
                "Channel": "Local/1001@phones", "Context": "office", "Exten": "answer", "Priority": "1",
                "Async": "true", "CallerID": "Ada <1001>",
                "ChannelId": "amiweb-1", "OtherChannelId": "amiweb-2",
                "Variable": ["COLOUR=blue", "SHAPE=round"],
            },
        )  # fmt: skip
        assert reply.success
        assert reply.message == "Originate successfully queued"
        seen = events_until(client, lambda event: event.name == "OriginateResponse")
        done = seen[-1]
        assert done.kind == "Event"
        assert done.get("Response") == "Success"
        assert done.action_id == reply.action_id
        assert done.get("Uniqueid") == "amiweb-1"
        seen += events_until(
            client, lambda event: event.name == "Hangup" and event.get("Uniqueid") == "amiweb-1"
        )
        names = [event.name for event in seen]
        assert names.index("Newchannel") < names.index("DialBegin") < names.index("BridgeEnter")
        set_variables = {
            event.get("Variable"): event.get("Value") for event in seen if event.name == "VarSet"
        }
        assert set_variables["COLOUR"] == "blue"
        assert set_variables["SHAPE"] == "round"
        assert client.anomalies.total() == 0
        assert client.dropped == 0


def test_originate_of_a_user_without_read_call_shows_only_the_response(asterisk: Asterisk) -> None:
    with session(asterisk, "nocall", events="on") as client, session(asterisk, events="on") as admin:
        reply = client.action(
            "Originate",
            {"Channel": "Local/answer@phones", "Application": "Wait", "Data": "1", "Async": "true"},
        )
        assert reply.success
        events_until(admin, lambda event: event.name == "OriginateResponse")
        client.action("UserEvent", {"UserEvent": "Done"})
        seen = events_until(client, lambda event: event.name == "UserEvent")
        assert not {"OriginateResponse", "Newchannel", "Hangup"} & {event.name for event in seen}


def test_a_user_event_keeps_its_headers_in_order_and_repeated(asterisk: Asterisk) -> None:
    with session(asterisk, events="on") as client:
        client.action(
            "UserEvent", [("UserEvent", "Amiweb"), ("Key(0)/Sub", "a: b"), ("Same", "1"), ("Same", "2")]
        )
        event = events_until(client, lambda event: event.get("UserEvent") == "Amiweb")[-1]
        assert event.getall("Same") == ["1", "2"]
        assert event.get("Key(0)/Sub") == "a: b"


def test_the_event_mask_narrows_what_arrives(asterisk: Asterisk) -> None:
    with session(asterisk, events="user") as client:
        client.action(
            "Originate",
            {"Channel": "Local/1001@phones", "Context": "office", "Exten": "userevent", "Priority": "1"},
        )
        seen = events_until(client, lambda event: event.get("Note") == "from the dialplan")
        assert {event.name for event in seen} == {"UserEvent"}


# Loss


def test_a_stop_of_the_server_is_connection_lost(private_asterisk: Asterisk) -> None:
    with session(private_asterisk, events="on") as client:
        private_asterisk.stop()
        with pytest.raises(ConnectionLost):
            events_until(client, lambda event: event.name == "NeverSent")
        with pytest.raises(ConnectionLost) as caught:
            client.action("Ping")
        assert not caught.value.sent


def test_a_killed_server_fails_the_action_that_waits_as_sent(private_asterisk: Asterisk) -> None:
    async def run() -> AMIError:
        async with async_session(private_asterisk) as client:
            # Without Async it waits for an answer that never comes.
            waiting = asyncio.create_task(
                client.action(
                    "Originate",
                    {"Channel": "Local/ring@phones", "Application": "Wait", "Data": "1", "Timeout": "60000"},
                    timeout=60,
                )
            )
            await asyncio.to_thread(
                wait_until,
                lambda: "Local/ring@phones" in private_asterisk.cli("core show channels concise"),
                seconds=SECONDS,
                what="the call",
            )
            await asyncio.to_thread(private_asterisk.kill)
            with pytest.raises(ConnectionLost) as caught:
                await waiting
            return caught.value

    assert asyncio.run(run()).sent


def test_a_frozen_server_is_noticed_by_keepalive(private_asterisk: Asterisk) -> None:
    username, secret = private_asterisk.users["admin"]

    async def run() -> None:
        client = AsyncAMIClient(
            TCP(private_asterisk.host, private_asterisk.port),
            username=username,
            secret=secret,
            timeouts=Timeouts(keepalive=1.0),
        )
        async with client:
            subscription = client.subscribe()
            private_asterisk.freeze()
            async with asyncio.timeout(3 * 1.0):
                with pytest.raises(ConnectionLost):
                    async for _ in subscription:
                        pass

    try:
        asyncio.run(run())
    finally:
        private_asterisk.thaw()


def test_a_reconnecting_client_resumes_after_a_restart_and_tells_the_gap(private_asterisk: Asterisk) -> None:
    username, secret = private_asterisk.users["admin"]
    client = ReconnectingClient(
        TCP(private_asterisk.host, private_asterisk.port),
        username=username,
        secret=secret,
        backoff=Backoff(first=0.1, cap=0.5),
    )

    async def run() -> list[object]:
        items: list[object] = []
        async with contextlib.aclosing(client.batches()) as batches:
            async for item in batches:
                if isinstance(item, list):
                    if isinstance(items[-1], Resumed) and any(e.get("UserEvent") == "Back" for e in item):
                        return items
                    continue
                items.append(item)
                if isinstance(item, Connected):
                    await asyncio.to_thread(private_asterisk.kill)
                elif isinstance(item, Gap):
                    await asyncio.to_thread(private_asterisk.start)
                elif isinstance(item, Resumed):
                    assert client.client is not None
                    await client.client.action("UserEvent", {"UserEvent": "Back"})
        raise AssertionError("the iteration ended")

    async def limited() -> list[object]:
        async with asyncio.timeout(3 * SECONDS):
            return await run()

    items = [item for item in asyncio.run(limited()) if not isinstance(item, ConnectFailed)]
    assert [type(item) for item in items] == [Connected, Gap, Resumed]
    assert isinstance(items[1], Gap)
    assert isinstance(items[2], Resumed)
    assert items[2].gap == items[1]
    assert items[1].since <= items[2].at
