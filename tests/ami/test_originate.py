"""A call from its Originate to its outcome, for both clients, with a PBX that tells little."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ami_integration.ami import ConnectionLost, InvalidAction, Message, Outcome
from tests.ami.conftest import MakeClient
from tests.ami.scripted import Peer, scripted


def event(name: str, *lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in [f"Event: {name}", *lines, ""]).encode()


def outcome(action: Message, reason: int, *, response: str = "Failure") -> bytes:
    return event(
        "OriginateResponse",
        "Privilege: call,all",
        f"ActionID: {action.action_id}",
        f"Response: {response}",
        f"Reason: {reason}",
        "Uniqueid: <unknown>",
    )


def serve(on_originate: Callable[[Peer, Message], None], heard: list[Message] | None = None) -> object:
    """A PBX that says yes to everything but what the test has it say to an Originate."""

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            if heard is not None:
                heard.append(action)
            if action.name == "Originate":
                on_originate(peer, action)
            elif action.name in ("Status", "CoreShowChannels"):
                peer.answer(action, "Message: Permission denied", response="Error")
            else:
                peer.answer(action)

    return script


def accept(peer: Peer, action: Message) -> None:
    peer.answer(action, "Message: Originate successfully queued")


def accept_and(told: Callable[[Message], bytes]) -> Callable[[Peer, Message], None]:
    def script(peer: Peer, action: Message) -> None:
        accept(peer, action)
        peer.say(told(action))

    return script


CALL: dict[str, Any] = {"application": "Wait", "data": "1", "ring": 5}


@pytest.mark.parametrize(
    ("reason", "words"),
    [(0, "can't be reached"), (1, "hung up"), (3, "not answered in time"), (5, "busy"), (8, "congestion"),
     (77, "reason 77")],
)  # fmt: skip
def test_the_reason_of_a_failed_call_is_told_in_words(
    make_client: MakeClient, reason: int, words: str
) -> None:
    with scripted(serve(accept_and(lambda action: outcome(action, reason)))) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        done = client.originate("Local/1@phones", **CALL)
    assert (done.outcome, done.reason) == (Outcome.FAILED, reason)
    assert words in done.message


def test_an_originate_is_asynchronous_and_names_its_channel(make_client: MakeClient) -> None:
    heard: list[Message] = []
    script = serve(accept_and(lambda action: outcome(action, 4, response="Success")), heard)
    with scripted(script) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        done = client.originate(
            "Local/1@phones",
            context="office",
            exten="2",
            caller_id="Ada <1>",
            variables={"A": "b,c"},
            ring=1.5,
        )
    assert done.answered
    (action,) = [one for one in heard if one.name == "Originate"]
    headers = dict(action.items())
    assert headers["Async"] == "true"
    assert headers["ChannelId"] == done.channel_id
    assert headers["Timeout"] == "1500"
    assert (headers["Context"], headers["Exten"], headers["Priority"]) == ("office", "2", "1")
    assert headers["CallerID"] == "Ada <1>"
    assert headers["Variable"].startswith("A=")


@pytest.mark.parametrize(
    ("mask", "during"),
    [("off", "call"), ("system,user", "system,user,call"), ("on", None), ("call,agent", None)],
)
def test_the_mask_lets_calls_through_for_their_length(
    make_client: MakeClient, mask: str, during: str | None
) -> None:
    heard: list[Message] = []
    script = serve(accept_and(lambda action: outcome(action, 5)), heard)
    with scripted(script) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events=mask)
        client.connect()
        client.originate("Local/1@phones", **CALL)
        client.action("Ping")
    masks = [(one.name, one.get("EventMask")) for one in heard if one.name != "Ping"]
    expected: list[tuple[str, str | None]] = [("Originate", None)]
    if during is not None:
        expected = [("Events", during), *expected, ("Events", mask)]
    assert masks == expected


def test_who_asked_for_no_events_sees_none_of_a_followed_call(make_client: MakeClient) -> None:
    def told(action: Message) -> bytes:
        own = event("Newchannel", "Privilege: call,all", f"Uniqueid: {action.get('ChannelId')}")
        user = event("UserEvent", "Privilege: user,all")
        return own + user + outcome(action, 5)

    with scripted(serve(accept_and(told))) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="user")
        heard = client.subscribe()
        client.connect()
        client.originate("Local/1@phones", **CALL)
        client.action("Ping")
        assert [one.name for one in heard.take()] == ["UserEvent"]


def test_a_call_that_shows_nothing_is_accepted_and_unobservable(make_client: MakeClient) -> None:
    heard: list[Message] = []
    with scripted(serve(accept, heard)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        done = client.originate("Local/1@phones", **CALL)
    assert done.outcome is Outcome.UNOBSERVABLE
    assert "accepted" in done.message and "read=call" in done.message and "Filter" in done.message
    # It looked where it might be allowed to, once.
    assert [one.name for one in heard] == ["Originate", "Status", "CoreShowChannels"]


def test_another_sessions_call_is_not_taken_for_ours(make_client: MakeClient) -> None:
    def told(action: Message) -> bytes:
        foreign = event("OriginateResponse", "ActionID: x", "Response: Success", "Reason: 4", "Uniqueid: 1.1")
        return foreign + outcome(action, 5)

    with scripted(serve(accept_and(told))) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        assert client.originate("Local/1@phones", **CALL).reason == 5


def test_a_refused_call_is_told_in_the_words_of_the_pbx(make_client: MakeClient) -> None:
    def refuse(peer: Peer, action: Message) -> None:
        peer.answer(action, "Message: Extension does not exist.", response="Error")

    with scripted(serve(refuse)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        done = client.originate("Local/1@phones", **CALL)
    assert done.outcome is Outcome.REFUSED
    assert done.message == "The PBX refused the call: Extension does not exist."


def test_a_hangup_without_an_outcome_is_a_failed_call(make_client: MakeClient) -> None:
    def told(action: Message) -> bytes:
        own = f"Uniqueid: {action.get('ChannelId')}"
        return event("Hangup", "Privilege: call,all", own, "Cause: 17", "Cause-txt: User busy")

    with scripted(serve(accept_and(told))) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        done = client.originate("Local/1@phones", **CALL)
    assert done.outcome is Outcome.FAILED
    assert "User busy" in done.message


def test_a_cancelled_call_is_hung_up_by_its_own_id(make_client: MakeClient) -> None:
    queued = threading.Event()
    heard: list[Message] = []

    def queue(peer: Peer, action: Message) -> None:
        accept(peer, action)
        queued.set()

    with scripted(serve(queue, heard)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        client.originate_until(queued, "Local/1@phones", **CALL)
        assert client.action("Ping").success
    names = [one.name for one in heard]
    assert names == ["Events", "Originate", "Hangup", "Events", "Ping"]
    assert heard[2].get("Channel") == heard[1].get("ChannelId")
    assert heard[3].get("EventMask") == "off"


def test_a_call_whose_connection_ends_may_have_been_made(make_client: MakeClient) -> None:
    def vanish(peer: Peer, action: Message) -> None:
        accept(peer, action)
        raise EOFError

    with scripted(serve(vanish)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        client.connect()
        with pytest.raises(ConnectionLost) as caught:
            client.originate("Local/1@phones", **CALL)
    assert caught.value.sent is True


def test_a_call_that_can_not_be_written_is_never_sent(make_client: MakeClient) -> None:
    heard: list[Message] = []
    with scripted(serve(accept, heard)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx)
        client.connect()
        with pytest.raises(InvalidAction):
            client.originate("Local/1@phones\r\nAction: Command", **CALL)
        client.action("Ping")
    assert "Originate" not in [one.name for one in heard]


@pytest.mark.parametrize(
    "options", [{}, {"context": "a"}, {"context": "a", "exten": "1", "application": "Wait"}]
)
def test_an_originate_needs_either_an_extension_or_an_application(
    make_client: MakeClient, options: dict[str, Any]
) -> None:
    with scripted() as pbx, pytest.raises(ValueError, match="either"):
        make_client(pbx).originate("Local/1@phones", **options)
