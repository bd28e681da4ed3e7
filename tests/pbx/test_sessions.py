"""Calls followed to their outcome, filters, and lists, on real Asterisks, by both clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from ami_integration.ami import (
    TCP,
    Action,
    AMIClient,
    Backoff,
    ConnectionLost,
    EventFilter,
    Gap,
    LoginFailed,
    Outcome,
    ReconnectingClient,
    Resumed,
    Timeouts,
)
from ami_integration.ami.messages import unescape
from tests.pbx.asterisk import Asterisk
from tests.pbx.conftest import Connect
from tests.polling import wait_until

pytestmark = pytest.mark.pbx

SECONDS = 15.0


def channels(asterisk: Asterisk) -> str:
    return asterisk.cli("core show channels concise")


# Calls


@pytest.mark.parametrize("events", ["off", "on", "system"])
def test_an_answered_call_is_told_whatever_the_mask(
    asterisk: Asterisk, connect: Connect, events: str
) -> None:
    client = connect(asterisk, events=events)
    done = client.originate("Local/answer@phones", application="Wait", data="1", ring=5)
    assert (done.outcome, done.reason) == (Outcome.ANSWERED, 4)
    assert done.channel.startswith("Local/answer@phones-")
    assert done.event is not None and done.event.get("Uniqueid") == done.channel_id
    assert client.client.events_mask == events


@pytest.mark.parametrize(("exten", "reasons"), [("busy", {0, 5}), ("congestion", {0, 8}), ("ring", {3})])
def test_a_call_that_nobody_answers_has_its_reason(
    asterisk: Asterisk, connect: Connect, exten: str, reasons: set[int]
) -> None:
    client = connect(asterisk)
    done = client.originate(f"Local/{exten}@phones", application="Wait", data="1", ring=1)
    assert done.outcome is Outcome.FAILED
    assert done.reason in reasons, done


def test_a_channel_that_does_not_exist_fails(asterisk: Asterisk, connect: Connect) -> None:
    done = connect(asterisk).originate("Local/nobody@nowhere", application="Wait", data="1", ring=2)
    assert (done.outcome, done.reason) == (Outcome.FAILED, 0), done


def test_an_extension_that_does_not_exist_is_refused(asterisk: Asterisk, connect: Connect) -> None:
    done = connect(asterisk).originate("Local/answer@phones", context="nowhere", exten="1", ring=2)
    assert done.outcome is Outcome.REFUSED, done


def test_an_account_that_may_not_originate_is_refused(asterisk: Asterisk, connect: Connect) -> None:
    done = connect(asterisk, "readonly").originate("Local/answer@phones", application="Wait", data="1")
    assert done.outcome is Outcome.REFUSED
    assert "Permission denied" in done.message


def test_a_click_to_call_account_sees_its_call(asterisk: Asterisk, connect: Connect) -> None:
    done = connect(asterisk, "originate").originate("Local/answer@phones", application="Wait", data="1")
    assert done.outcome is Outcome.ANSWERED


def test_without_read_call_the_pbx_is_asked(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk, "nocall", events="on")
    done = client.originate("Local/hold@phones", application="Wait", data="20", ring=5)
    assert done.outcome is Outcome.ANSWERED, done
    assert "asking" in done.message
    assert client.action("Hangup", {"Channel": done.channel_id}).success


def test_without_read_call_a_call_that_rings_is_followed_and_its_end_is_unknown(
    asterisk: Asterisk, connect: Connect
) -> None:
    client = connect(asterisk, "nocall")
    done = client.originate("Local/ring@phones", application="Wait", data="1", ring=4)
    assert done.outcome is Outcome.UNOBSERVABLE
    assert "read=call" in done.message


def test_with_a_filter_that_hides_it_the_pbx_is_asked(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk, filters=[EventFilter("Event: FullyBooted")])
    done = client.originate("Local/hold@phones", application="Wait", data="20", ring=5)
    assert done.outcome is Outcome.ANSWERED
    assert client.action("Hangup", {"Channel": done.channel_id}).success


def test_a_cancelled_call_is_hung_up(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    ringing = threading.Event()

    def watch() -> None:
        wait_until(lambda: "Local/ring@phones" in channels(asterisk), seconds=SECONDS, what="the call")
        ringing.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    client.originate_until(ringing, "Local/ring@phones", application="Wait", data="1", ring=60)
    watcher.join(SECONDS)
    wait_until(lambda: "Local/ring@phones" not in channels(asterisk), seconds=SECONDS, what="no call")
    assert client.action("Ping").success


def test_a_call_cancelled_at_once_is_hung_up(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    at_once = threading.Event()
    at_once.set()
    client.originate_until(at_once, "Local/ring@phones", application="Wait", data="1", ring=60)
    wait_until(lambda: "Local/ring@phones" not in channels(asterisk), seconds=SECONDS, what="no call")


def test_without_async_the_response_is_the_outcome(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    done = client.originate("Local/answer@phones", application="Wait", data="1", wait=True)
    assert done.outcome is Outcome.ANSWERED
    done = client.originate("Local/ring@phones", application="Wait", data="1", ring=1, wait=True)
    assert done.outcome is Outcome.FAILED, done


def test_variables_of_a_call_arrive_as_they_are(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk, events="on")
    heard = client.subscribe(["VarSet"], predicate=lambda event: event.get("Variable") in ("A", "B"))
    values = {"A": 'one, "two" \\ (three', "B": "b"}
    done = client.originate("Local/answer@phones", application="Wait", data="1", variables=values)
    assert done.answered
    seen: dict[str | None, str] = {}

    def both() -> bool:
        client.action("Ping")
        seen.update({event.get("Variable"): unescape(event.get("Value", "")) for event in heard.take()})
        return len(seen) == 2

    wait_until(both, seconds=SECONDS, what="both variables")
    assert seen == values


def test_a_followed_call_shows_nothing_to_who_asked_for_nothing(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk, events="off")
    heard = client.subscribe()
    assert client.originate("Local/answer@phones", application="Wait", data="1").answered
    client.action("Ping")
    assert heard.waiting == 0


# Lists


def test_every_list_has_as_many_items_as_it_says(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    names = [
        "CoreShowChannels", "QueueStatus", "QueueSummary", "Status", "ParkedCalls", "Parkinglots", "Agents",
        "PJSIPShowEndpoints", "PJSIPShowAors", "PJSIPShowContacts", "BridgeList", "ExtensionStateList",
        "DeviceStateList", "PresenceStateList", "ConfbridgeListRooms", "IAXpeerlist", "VoicemailUsersList",
        "ShowDialPlan", "BridgeTechnologyList", "FAXSessions", "DBGetTree",
        "MWIGet",
    ]  # fmt: skip
    odd = []
    for name in names:
        reply = client.action(name)
        if reply.complete is not None and not reply.whole:
            odd.append((name, reply.complete.get("ListItems"), len(reply.events)))
    assert client.action("PJSIPShowEndpoint", {"Endpoint": "nobody"}).success is False
    assert client.action("Ping").success
    # Asterisk 16 counts the trees of DBGetTree, not its items: so this is told, and no error.
    assert [name for name, _, _ in odd] in ([], ["DBGetTree"])
    # Some error texts of Asterisk end in a bare LF.
    assert set(client.client.anomalies) <= {"bare_lf", "list_items"}, client.client.anomalies.samples


# Answers that are odd


@pytest.mark.parametrize(
    ("name", "headers", "said"),
    [
        ("ModuleLoad", {"LoadType": "load"}, ["Need module name", "Could not load module."]),
        ("PJSIPShowEndpoint", {"Endpoint": "nobody"}, ["Unable to retrieve endpoint nobody"]),
        ("Hangup", {"Channel": "/^Local.nobody/"}, ["Channels hung up will follow"]),
        ("Command", {"Command": "module load app_dial.so"}, ["Command blacklisted"]),
        ("QueueRule", {}, [""]),
        ("IAXnetstats", {}, [""]),
        ("NoSuchAction", {}, None),
        ("CoreShowChannelMap", {"Channel": "nobody"}, None),
        ("GetConfig", {"Filename": "queues.conf"}, [""]),
        ("AOCMessage", {"Channel": "nobody", "UnitAmount(0)": "1", "UnitType(0)": "1"}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_odd_answer_ends_and_the_next_one_is_its_own(
    asterisk: Asterisk, connect: Connect, name: str, headers: dict[str, str], said: list[str] | None
) -> None:
    client = connect(asterisk)
    heard = client.subscribe()
    reply = client.action(name, headers)
    assert client.action("Ping").response.get("Ping") == "Pong"
    if said is not None:
        assert [response.message for response in reply.responses] == said
    assert heard.waiting == 0
    assert set(client.client.anomalies) <= {"bare_lf", "further_response", "no_colon", "unknown_kind"}


def test_wait_event_is_answered_and_its_trailer_is_an_event(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    assert client.action("WaitEvent", {"Timeout": "1"}).success
    assert client.next_event().name == "WaitEventComplete"
    assert client.action("Ping").success
    assert not client.client.anomalies


def test_a_value_with_line_ends_in_it_harms_only_its_own_answer(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    reply = client.action("Getvar", {"Variable": "STRFTIME(0,UTC,one%ntwo)"})
    assert reply.response.get("Value") == "one\ntwo"
    # A blank line in it ends the message; AMI has no way to tell.
    reply = client.action("Getvar", {"Variable": "STRFTIME(0,UTC,one%n%ntwo)"})
    assert reply.response.get("Value") == "one"
    assert client.action("Ping").response.get("Ping") == "Pong"
    assert client.client.anomalies["bare_lf"] == 2


def test_channels_hung_up_by_a_pattern_are_listed(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    made = client.originate("Local/hold@phones", application="Wait", data="20", ring=5)
    assert made.answered
    call = made.channel.partition(";")[0]
    reply = client.action("Hangup", {"Channel": f"/^{call}/"})
    assert reply.whole
    # The end of one half ends the other, which Asterisk may then not find any more.
    listed = {item.get("Channel") for item in reply.events}
    assert listed and listed <= {f"{call};1", f"{call};2"}


def test_an_action_id_may_have_67_bytes(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk)
    action = Action("QueueStatus", action_id="ü" + "i" * 65)
    reply = client.action(action)
    assert {item.action_id for item in reply.events} == {action.action_id}


# Filters


def test_a_filter_is_applied_by_the_pbx(asterisk: Asterisk, connect: Connect) -> None:
    client = connect(asterisk, events="on", filters=[EventFilter("UserEvent: Wanted")])
    heard = client.subscribe()
    client.action("UserEvent", {"UserEvent": "Other"})
    client.action("UserEvent", {"UserEvent": "Wanted"})
    assert client.next_event().get("UserEvent") == "Wanted"
    assert [event.get("UserEvent") for event in heard.take()] == ["Wanted"]


def test_an_advanced_filter_is_applied_or_refused_by_the_version(
    asterisk: Asterisk, connect: Connect
) -> None:
    wanted = EventFilter("Want", name="UserEvent", header="UserEvent", method="starts_with")
    if asterisk.version.startswith("16"):
        with pytest.raises(LoginFailed, match="16"):
            connect(asterisk, events="on", filters=[wanted])
        return
    unwanted = EventFilter("2", exclude=True, name="UserEvent", header="UserEvent", method="ends_with")
    client = connect(asterisk, events="on", filters=[wanted, unwanted])
    for name in ("Other", "Wanted2", "Wanted"):
        client.action("UserEvent", {"UserEvent": name})
    assert client.next_event().get("UserEvent") == "Wanted"


def test_an_account_without_write_system_may_not_filter(asterisk: Asterisk, connect: Connect) -> None:
    with pytest.raises(LoginFailed, match="write=system") as caught:
        connect(asterisk, "readonly", filters=[EventFilter("x")])
    assert caught.value.reason == "filter"


def test_the_mask_and_the_filters_outlive_a_kick(asterisk: Asterisk) -> None:
    """A restart of the session on the PBX's side: what was asked of it holds again."""
    username, secret = asterisk.users["admin"]
    reconnecting = ReconnectingClient(
        TCP(asterisk.host, asterisk.port),
        username=username,
        secret=secret,
        events="user",
        filters=[EventFilter("UserEvent: Wanted")],
        backoff=Backoff(first=0.05, cap=0.2),
    )

    async def run() -> list[str]:
        names: list[str] = []
        async with asyncio.timeout(SECONDS), contextlib.aclosing(reconnecting.batches()) as items:
            async for item in items:
                if isinstance(item, list):
                    return names + [event.get("UserEvent", "") for event in item]
                names.append(type(item).__name__)
                client = reconnecting.client
                if client is None:
                    continue
                if not isinstance(item, Resumed):
                    # Logoff: the PBX closes, and nothing here asked this client to.
                    with contextlib.suppress(ConnectionLost):
                        await client.action("Logoff")
                else:
                    await client.action("UserEvent", {"UserEvent": "Other"})
                    await client.action("UserEvent", {"UserEvent": "Wanted"})
        raise AssertionError("the iteration ended")

    assert asyncio.run(run()) == ["Connected", Gap.__name__, "Resumed", "Wanted"]


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_pbx_that_is_gone_fails_a_blocking_reader_within_the_keepalive(
    private_asterisk: Asterisk, how: str
) -> None:
    username, secret = private_asterisk.users["admin"]
    keepalive = 1.0
    client = AMIClient(
        TCP(private_asterisk.host, private_asterisk.port),
        username=username,
        secret=secret,
        events="call",
        timeouts=Timeouts(keepalive=keepalive),
    )
    with client:
        getattr(private_asterisk, how)()
        started = time.monotonic()
        try:
            with pytest.raises(ConnectionLost):
                for _ in client.events():
                    pass
        finally:
            if how == "freeze":
                private_asterisk.thaw()
        # Half of it in silence, and the other half for the answer to a Ping; times three, on a busy machine.
        assert time.monotonic() - started < 3 * keepalive
