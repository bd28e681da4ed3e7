"""What servers do that a client must bear, in simulated bytes: for both clients.

What a real Asterisk of today still does is shown in tests/pbx as well; docs/ami.md lists which is where.
"""

from __future__ import annotations

import pytest

from ami_integration.ami import ActionTimeout, ConnectionLost, Event, Message
from tests.ami.conftest import MakeClient
from tests.ami.scripted import BANNER, Peer, scripted
from tests.ami.test_sessions import end_arrived
from tests.polling import wait_until


def with_id(action: Message, text: str) -> bytes:
    """The text as bytes, every line ended by CRLF, with the action's id in it."""
    return text.format(id=action.action_id).replace("\n", "\r\n").encode()


def answers(*texts: str, then: int = 1) -> object:
    """A script that answers its first action with these words, and some further ones as usual."""

    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        for text in texts:
            peer.say(with_id(action, text))
        for _ in range(then):
            peer.answer(peer.hear())
        peer.hear()

    return script


# Responses


@pytest.mark.parametrize("word", ["Success", "Pong", "Goodbye", "Follows of another kind"])
def test_every_response_but_error_is_agreement(make_client: MakeClient, word: str) -> None:
    with scripted(answers(f"Response: {word}\nActionID: {{id}}\n\n")) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        assert client.action("Ping").success
        assert client.action("Ping").success


def test_an_event_that_carries_the_id_of_an_action_is_no_answer_to_it(make_client: MakeClient) -> None:
    """UserEvent copies all headers of its action to every session, ids and a Response among them."""
    copied = "Event: UserEvent\nActionID: {id}\nUserEvent: X\nResponse: Error\nEventList: Complete\n\n"
    answer = "Response: Success\nActionID: {id}\nMessage: the real one\n\n"
    with scripted(answers(copied, answer)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        reply = client.action("CoreStatus")
        assert (reply.success, reply.message, reply.events) == (True, "the real one", [])
        assert client.next_event().get("Response") == "Error"


def test_an_event_with_a_strange_id_never_joins_a_list(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start")
        peer.say(b"Event: QueueMember\r\nActionID: somebody-else\r\nName: no\r\n\r\n")
        peer.say(b"Event: QueueStatusComplete\r\nActionID: somebody-else\r\nEventList: Complete\r\n\r\n")
        peer.say(with_id(action, "Event: QueueMember\nActionID: {id}\nName: yes\n\n"))
        peer.say(b"Event: QueueMember\r\nName: live\r\n\r\n")
        peer.say(with_id(action, "Event: QueueStatusComplete\nActionID: {id}\nEventList: Complete\n\n"))
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        client.connect()
        # The names are those of live events, too: the id alone tells them apart.
        assert [item.get("Name") for item in client.action("QueueStatus").events] == ["yes"]
        assert [client.next_event().get("Name") for _ in range(3)] == ["no", None, "live"]


def test_the_trailer_of_wait_event_is_an_event(make_client: MakeClient) -> None:
    answer = "Response: Success\nActionID: {id}\nMessage: Waiting for Event completed.\n\n"
    trailer = "Event: WaitEventComplete\nActionID: {id}\n\n"
    with scripted(answers(answer, trailer)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        assert client.action("WaitEvent", {"Timeout": "1"}).complete is None
        assert client.next_event().name == "WaitEventComplete"
        assert client.action("Ping").success
        assert not client.client.anomalies


def test_two_blank_lines_after_an_answer_mean_nothing(make_client: MakeClient) -> None:
    with scripted(answers("Response: Success\nActionID: {id}\n\n\n")) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        assert client.action("QueueRule").success
        assert client.action("Ping").success
        assert not client.client.anomalies


def test_repeated_and_numbered_names_of_a_response_are_all_there(make_client: MakeClient) -> None:
    answer = (
        "Response: Success\nActionID: {id}\nCategory-000000: general\nLine-000000-000000: a=b: c\n"
        "Rule: one\nRule: two\nListen: Does (Priv: system,all)\n\n"
    )
    with scripted(answers(answer)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        response = client.action("GetConfig").response
        assert response.get("Line-000000-000000") == "a=b: c"
        assert response.getall("Rule") == ["one", "two"]
        assert response.items()[-1] == ("Listen", "Does (Priv: system,all)")


# Lists


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("EventList: start", "EventList: Complete\nListItems: 1\nItems: 7\n"),
        ("EventList: Start", "EventList: complete\nListItems: 1\n"),
        ("EventList: start", "EventList: Cancelled\n"),
        ("Message: Result will follow", ""),
    ],
    ids=["further headers", "another case", "cancelled", "12 and older"],
)
def test_a_list_begins_and_ends_however_it_is_spelled(make_client: MakeClient, start: str, end: str) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, start)
        peer.say(with_id(action, "Event: DBGetResponse\nActionID: {id}\nVal: v\n\n"))
        # Asterisk 12 ends DBGet with a bare Complete.
        peer.say(
            with_id(action, f"Event: DBGetComplete\nActionID: {{id}}\n{end}\n\n".replace("\n\n\n", "\n\n"))
        )
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        heard = client.subscribe()
        client.connect()
        reply = client.action("DBGet")
        assert [item.get("Val") for item in reply.events] == ["v"]
        assert reply.complete is not None
        assert reply.whole
        assert client.action("Ping").success
        assert heard.waiting == 0
        assert not client.client.anomalies


# What never comes, and what must not be sent


def test_an_action_that_is_never_answered_leaves_the_session_usable(make_client: MakeClient) -> None:
    """As an EventMask under brokeneventsaction."""
    with scripted(answers()) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ActionTimeout):
            client.action("Events", {"EventMask": "on"}, timeout=0.2)
        assert client.action("Ping").success


def test_nothing_is_sent_before_the_login_but_the_login(make_client: MakeClient) -> None:
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.say(BANNER)
        challenge = peer.hear()
        peer.answer(challenge, "Challenge: 1")
        login = peer.hear()
        heard.extend([challenge.name, login.name])
        peer.answer(login)
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        with pytest.raises(ConnectionLost) as caught:
            client.action("Ping")
        assert caught.value.sent is False
        client.connect()
    assert heard == ["Challenge", "Login"]


# Oddities

ODD: dict[str, tuple[str, bytes, bytes]] = {
    "a line without a colon": ("no_colon", b"Event: A\r\nnonsense\r\n\r\n", b"nonsense"),
    "an LF in a value": ("bare_lf", b"Event: A\r\nX: 1\n2\r\n\r\n", b"X: 1\n2"),
    "an LF at the end": ("bare_lf", b"Event: A\r\nX: 1\n\r\n", b"X: 1"),
    "a blank line without its CR": ("bare_lf_blank", b"Event: A\r\nX: 1\r\n\n", b"X: 1\r\n\n"),
    "a stray response": (
        "unknown_action_id",
        b"Response: Success\r\nActionID: 1\r\n\r\n",
        b"ActionID: 1",
    ),
    "neither event nor response": ("unknown_kind", b"Rubbish: 1\r\nX: 2\r\n\r\n", b"Rubbish: 1"),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
def test_an_oddity_is_counted_and_costs_neither_the_next_event_nor_the_next_answer(
    make_client: MakeClient, odd: tuple[str, bytes, bytes], pieces: str
) -> None:
    kind, data, sample = odd

    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        answer = with_id(action, "Response: Success\nActionID: {id}\n\n")
        stream = data * 3 + b"Event: Next\r\nY: 2\r\n\r\n" + answer
        for at in range(0, len(stream), len(stream) if pieces == "at once" else 1):
            peer.say(stream[at:] if pieces == "at once" else stream[at : at + 1])
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        heard = client.subscribe(["Next"])
        client.connect()
        assert client.action("Ping").success
        (event,) = heard.take()
        assert isinstance(event, Event)
        assert event.get("Y") == "2"
        anomalies = client.client.anomalies
        assert anomalies[kind] == 3
        assert set(anomalies) <= {kind, "no_colon"}  # the rest of a cut value has none
        assert len(anomalies.samples[kind]) == 3
        assert sample in anomalies.samples[kind][0]


def test_bytes_before_the_banner_are_counted_and_the_session_is_opened(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(b"\r\nnoise")
        peer.log_in()
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        assert client.client.banner == BANNER.decode().strip()
        assert client.client.anomalies == {"before_banner": 2}
        assert client.client.anomalies.samples["before_banner"][-1] == b"noise"


def test_a_message_cut_by_the_end_is_counted_and_handed_to_nobody(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.say(b"Event: Whole\r\n\r\n")
        peer.say(with_id(action, "Response: Success\nActionID: {id}\nMessage: cut he"))

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        heard = client.subscribe()
        client.connect()
        with pytest.raises(ConnectionLost) as caught:
            client.action("CoreStatus")
        assert caught.value.sent is True
        assert caught.value.reply is None
        assert [event.name for event in heard.take()] == ["Whole"]
        assert client.client.anomalies == {"truncated": 1}
        assert client.client.anomalies.samples["truncated"][0].endswith(b"Message: cut he")


def test_a_hole_in_the_stream_costs_the_message_around_it_and_no_other(make_client: MakeClient) -> None:
    """An Asterisk before 16.25 whose client was slow: an event breaks off, and the next one follows."""

    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.say(b"Event: A\r\nChannel: Loc" + b"Event: B\r\nX: 1\r\n\r\n" + b"Event: C\r\nX: 2\r\n\r\n")
        peer.answer(action)
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        heard = client.subscribe()
        client.connect()
        assert client.action("Ping").success
        assert [(event.name, event.get("X")) for event in heard.take()] == [("A", "1"), ("C", "2")]


def test_the_end_of_a_kicked_session_is_a_lost_connection_and_no_error_of_the_reader(
    make_client: MakeClient,
) -> None:
    with scripted(lambda peer: peer.log_in()) as pbx:
        client = make_client(pbx, events="on")
        client.connect()
        wait_until(lambda: end_arrived(client), seconds=5, what="the end")
        with pytest.raises(ConnectionLost, match="closed the connection"):
            client.next_event()
        assert not client.client.anomalies


def test_an_answer_of_nothing_but_a_blank_line_ends_when_the_next_one_comes(make_client: MakeClient) -> None:
    """IAXnetstats of a PBX without IAX calls: a Ping behind it tells that there is no more."""
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        heard.append(peer.hear().name)
        peer.say(b"\r\n")
        while True:
            action = peer.hear()
            heard.append(action.name)
            peer.answer(action, f"Echo: {action.name}")

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.action("IAXnetstats")
        assert (reply.success, reply.message, reply.events) == (True, "", [])
        assert client.action("CoreStatus").response.get("Echo") == "CoreStatus"
        assert not client.client.anomalies
    assert heard[:3] == ["IAXnetstats", "Ping", "CoreStatus"]
