"""Answers that are odd, late, many or cut, and what is known of an action that failed: for both clients."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
import time

import pytest

from ami_integration.ami import ActionTimeout, AMIClient, ConnectionLost, LoginFailed, Message, Timeouts
from ami_integration.ami.filters import EventFilter, supports_criteria
from tests.ami.conftest import QUICK, Either, MakeClient
from tests.ami.scripted import BANNER, Peer, scripted
from tests.polling import wait_until


def item(action: Message, name: str, *lines: str) -> bytes:
    head = [f"Event: {name}", f"ActionID: {action.action_id}"]
    return "".join(f"{line}\r\n" for line in [*head, *lines, ""]).encode()


CLOSE_WAIT = 8


def end_arrived(client: Either) -> bool:
    """Whether the kernel has seen the PBX's end, or the client itself has."""
    inner = client.client
    sock = inner._sock if isinstance(inner, AMIClient) else inner._socket()
    return sock is None or sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSE_WAIT


# -- lists


@pytest.mark.parametrize(("said", "whole"), [("2", True), ("3", False), ("1", False), ("many", True)])
def test_a_list_that_lacks_items_says_so_and_is_counted(
    make_client: MakeClient, said: str, whole: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start")
        peer.say(
            item(action, "E") * 2 + item(action, "EComplete", "EventList: Complete", f"ListItems: {said}")
        )
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.action("List")
        assert len(reply.events) == 2
        assert reply.whole is whole
        assert client.client.anomalies["list_items"] == (0 if whole else 1)


def test_a_list_without_an_end_ends_in_time_with_what_came(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start", "Message: Items will follow")
        peer.say(item(action, "E", "N: 1") + item(action, "E", "N: 2"))
        ping = peer.hear()
        # Late, and expected: neither an event for readers nor an oddity.
        peer.say(item(action, "E", "N: 3") + item(action, "EComplete", "EventList: Complete"))
        peer.answer(ping)
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        heard = client.subscribe()
        client.connect()
        with pytest.raises(ActionTimeout) as caught:
            client.action("List", timeout=0.3)
        assert caught.value.sent is True
        assert caught.value.reply is not None
        assert caught.value.reply.message == "Items will follow"
        assert [event.get("N") for event in caught.value.reply.events[:2]] == ["1", "2"]
        assert caught.value.reply.complete is None
        assert client.action("Ping").success
        assert heard.waiting == 0
        assert not client.client.anomalies


def test_a_list_cut_by_the_end_of_the_connection_keeps_what_came(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start")
        peer.say(item(action, "E"))

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ConnectionLost) as caught:
            client.action("List")
        assert caught.value.sent is True
        assert caught.value.reply is not None and len(caught.value.reply.events) == 1
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
        assert (again.sent, len(again.reply.events)) == (True, 1)


def test_a_complete_after_an_error_is_taken_with_it(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start")
        peer.answer(action, "Message: Unable to find object", response="Error")
        peer.say(item(action, "EndpointDetailComplete", "EventList: Complete", "ListItems: 0"))
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        heard = client.subscribe()
        client.connect()
        assert client.action("PJSIPShowEndpoint").message == "Unable to find object"
        assert client.action("Ping").success
        assert heard.waiting == 0
        assert not client.client.anomalies


def test_further_responses_are_added_to_their_reply_and_counted(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        for words in ("first", "second", "third"):
            peer.answer(action, f"Message: {words}")
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.action("ModuleLoad")
        assert reply.message == "first"
        assert client.action("Ping").success
        assert [response.message for response in reply.responses] == ["first", "second", "third"]
        assert client.client.anomalies == {"further_response": 2}


def test_an_answer_without_a_response_header_belongs_to_the_action_that_gives_such(
    make_client: MakeClient,
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()
        peer.say(b"IAXNetstats: 0 active IAX channels\r\n\r\n")
        while True:
            peer.answer(peer.hear())

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        assert b"0 active" in client.action("IAXnetstats").response.raw
        assert client.action("Ping").success


# -- what failed, and whether it was sent


def test_an_action_that_the_kernel_does_not_take_was_never_sent(make_client: MakeClient) -> None:
    """A PBX that doesn't read: the first action fills the buffers and is cut, and the next doesn't leave."""
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.log_in()
        gone.wait(10)

    with scripted(script) as pbx:
        client = make_client(pbx, timeouts=Timeouts(keepalive=30))
        client.connect()
        large = [("X", "x" * 1000)] * 100
        outcomes = []
        for _ in range(200):
            with pytest.raises((ActionTimeout, ConnectionLost)) as caught:
                client.action("Large", large, timeout=0.05)
            outcomes.append(caught.value.sent)
            if not caught.value.sent:
                break
        gone.set()
    assert outcomes[0] is True
    assert outcomes[-1] is False


def test_an_action_after_the_pbx_has_gone_was_never_sent(make_client: MakeClient) -> None:
    with scripted(lambda peer: peer.log_in()) as pbx:
        client = make_client(pbx)
        client.connect()
        # The end has arrived, and nobody has looked.
        wait_until(lambda: end_arrived(client), seconds=5, what="the end")
        client.turn()
        with pytest.raises(ConnectionLost) as caught:
            client.action("Originate")
        assert caught.value.sent is False


def test_a_reset_connection_fails_what_waits(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ConnectionLost, match="reset") as caught:
            client.action("Originate")
        assert caught.value.sent is True


def test_nothing_is_ever_sent_again(make_client: MakeClient) -> None:
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        heard.append(peer.hear().name)

    def again(peer: Peer) -> None:
        peer.log_in()
        heard.append(peer.hear().name)
        peer.hear()

    with scripted(script, again) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ConnectionLost):
            client.action("Originate")
        client.connect()
        client.close()
        wait_until(lambda: len(heard) == 2, seconds=5, what="the second session's action")
    assert heard == ["Originate", "Logoff"]


# -- the kind of a refused login


def test_a_login_that_is_in_use_is_told_apart(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Login Already In Use", response="Error")

    with scripted(script) as pbx, pytest.raises(LoginFailed, match="allowmultiplelogin") as caught:
        make_client(pbx).connect()
    assert caught.value.reason == "in_use"


# -- EventMask and filters


def test_the_mask_and_the_filters_are_set_again_at_the_next_login(make_client: MakeClient) -> None:
    sessions: list[list[tuple[str, str | None]]] = []

    def script(peer: Peer) -> None:
        seen: list[tuple[str, str | None]] = []
        sessions.append(seen)
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        while True:
            action = peer.hear()
            if action.name == "Login":
                seen.append(("Login", action.get("Events")))
            elif action.name == "Ping":
                peer.answer(action)
                return
            else:
                seen.append((action.name, action.get("EventMask") or action.get("Filter")))
            peer.answer(action)

    with scripted(script, script) as pbx:
        client = make_client(pbx, events="on", filters=[EventFilter("Event: Hangup")])
        client.connect()
        client.add_filter(EventFilter("Channel: Local", exclude=True))
        client.set_events_mask("call,agent")
        client.action("Ping")
        with pytest.raises(ConnectionLost):
            client.action("Ping")
        client.connect()
        client.action("Ping")
    # No event comes before the filters are there.
    assert sessions[0] == [
        ("Login", "off"), ("Filter", "Event: Hangup"), ("Events", "on"),
        ("Filter", "!Channel: Local"), ("Events", "call,agent"),
    ]  # fmt: skip
    assert sessions[1] == [
        ("Login", "off"), ("Filter", "Event: Hangup"), ("Filter", "!Channel: Local"),
        ("Events", "call,agent"),
    ]  # fmt: skip


def test_a_filter_that_the_account_may_not_set_fails_the_login(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "Message: Permission denied", response="Error")

    with scripted(script) as pbx, pytest.raises(LoginFailed, match="write=system") as caught:
        make_client(pbx, filters=[EventFilter("x")]).connect()
    assert caught.value.reason == "filter"


def test_an_advanced_filter_is_never_sent_to_a_pbx_that_would_take_it_for_another(
    make_client: MakeClient,
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "AsteriskVersion: 16.28.0~dfsg")
        with pytest.raises(EOFError):
            peer.hear()

    with scripted(script) as pbx, pytest.raises(LoginFailed, match="16.28") as caught:
        make_client(pbx, filters=[EventFilter(name="Hangup")]).connect()
    assert caught.value.reason == "filter"


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("22.10.0~dfsg", True), ("22.1.0", True), ("22.0.0", False), ("21.6.1", True), ("21.5.0", False),
        ("20.11.0", True), ("20.9.3", False), ("19.8.1", False), ("18.26.0", True), ("18.9.0", False),
        ("16.28.0", False), ("23.0.0", True), ("GIT-master", False), ("", False),
    ],
)  # fmt: skip
def test_the_releases_that_know_advanced_filters(version: str, known: bool) -> None:
    assert supports_criteria(version) is known


# -- silence


def test_a_frozen_pbx_fails_what_waits_for_events_within_the_keepalive(make_client: MakeClient) -> None:
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            heard.append(peer.hear().name)

    with scripted(script) as pbx:
        client = make_client(pbx, events="on", timeouts=Timeouts(keepalive=0.4))
        client.connect()
        started = time.monotonic()
        with pytest.raises(ConnectionLost, match="silent"):
            client.next_event()
        assert time.monotonic() - started < 3 * 0.4
    assert heard == ["Ping"]


def test_a_frozen_pbx_fails_an_action_that_should_have_been_answered_at_once(
    make_client: MakeClient,
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, timeouts=QUICK)
        client.connect()
        started = time.monotonic()
        with pytest.raises((ActionTimeout, ConnectionLost)) as caught:
            client.action("Ping")
        assert caught.value.sent is True
        assert time.monotonic() - started < 3 * QUICK.action


def test_lag_tells_what_waits_in_the_kernel(make_client: MakeClient) -> None:
    spoken = threading.Event()

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"Event: E\r\n\r\n" * 1000)
        spoken.set()
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        client.connect()
        # Neither client reads while this thread waits.
        assert spoken.wait(10)
        wait_until(lambda: client.client.lag.bytes >= 1000 * 12 // 2, seconds=5, what="bytes in the kernel")
        assert client.client.lag.seconds > 0
        client.action("Ping")
        wait_until(lambda: client.client.lag.bytes == 0, seconds=5, what="an empty kernel")


def test_a_long_list_after_a_silence_warns_of_nothing(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            if action.name != "List":
                peer.answer(action)
                continue
            peer.answer(action, "EventList: start")
            peer.say(item(action, "E", f"Pad: {'x' * 500}") * 2000)
            peer.say(item(action, "EComplete", "EventList: Complete", "ListItems: 2000"))

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        # Twice, since the second is long after the first and the reader was not behind between them.
        for _ in range(2):
            client.action("Ping")
            assert client.action("List").whole
            time.sleep(0.6)
        assert client.client.lag_warnings == 0
