"""Who gets which events, and what happens to those who are slow: for both clients."""

from __future__ import annotations

import pytest

from ami_integration.ami import Event, EventQueue
from ami_integration.ami.subscriptions import mask_classes, mask_with_call, passes
from tests.ami.conftest import MakeClient
from tests.ami.scripted import Peer, scripted

NAMES = ["QueueCallerJoin", "QueueMemberStatus", "Newchannel", "Hangup"]


def tells(*names: str, times: int = 1) -> object:
    def script(peer: Peer) -> None:
        peer.log_in()
        ping = peer.hear()
        for number in range(times):
            for name in names:
                peer.say(f"Event: {name}\r\nN: {number}\r\n\r\n".encode())
        peer.answer(ping)
        while True:
            peer.answer(peer.hear())

    return script


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, NAMES),
        ({"names": ["Hangup"]}, ["Hangup"]),
        ({"names": "Hangup"}, ["Hangup"]),
        ({"pattern": "Queue*"}, NAMES[:2]),
        ({"pattern": ["queue*", "New*"]}, ["Newchannel"]),
        ({"names": ["Hangup"], "pattern": "Queue*"}, [*NAMES[:2], "Hangup"]),
        ({"predicate": lambda event: event.name.endswith("p")}, ["Hangup"]),
        ({"pattern": "Queue*", "predicate": lambda event: "Member" in event.name}, ["QueueMemberStatus"]),
    ],
)
def test_events_are_chosen_by_name_pattern_and_predicate(
    make_client: MakeClient, options: dict[str, object], wanted: list[str]
) -> None:
    with scripted(tells(*NAMES)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        heard = client.subscribe(**options)
        client.connect()
        client.action("Ping")
        assert [event.name for event in heard.take()] == wanted
        assert heard.received == len(wanted)


def test_a_callback_gets_events_at_once_and_its_failures_harm_nobody(make_client: MakeClient) -> None:
    seen: list[str] = []

    def callback(event: Event) -> None:
        seen.append(event.name)
        if event.name == "Hangup":
            raise RuntimeError("the callback's own mistake")

    with scripted(tells(*NAMES, times=3)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        called, other = client.subscribe(callback=callback), client.subscribe()
        client.connect()
        client.action("Ping")
        assert seen == NAMES * 3
        assert (called.received, called.errors, called.waiting) == (12, 3, 0)
        assert other.waiting == 12
        assert client.action("Ping").success


def test_a_predicate_that_fails_means_no(make_client: MakeClient) -> None:
    with scripted(tells(*NAMES)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        heard = client.subscribe(predicate=lambda event: event.nonsense)
        client.connect()
        client.action("Ping")
        assert (heard.waiting, heard.errors) == (0, 4)


def test_a_full_queue_drops_its_oldest_and_counts_them(make_client: MakeClient) -> None:
    with scripted(tells("E", times=10)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        small, large = client.subscribe(maxsize=3), client.subscribe()
        client.connect()
        client.action("Ping")
        assert [event.get("N") for event in small.take()] == ["7", "8", "9"]
        assert (small.dropped, small.received) == (7, 10)
        assert (large.dropped, large.waiting) == (0, 10)


def test_a_blocking_queue_drops_nothing_and_harms_no_action(make_client: MakeClient) -> None:
    with scripted(tells("E", times=50)) as pbx:  # type: ignore[arg-type]
        client = make_client(pbx, events="on")
        heard = client.subscribe(maxsize=3, policy="block")
        client.connect()
        for _ in range(3):
            assert client.action("Ping").success
        assert [event.get("N") for event in heard.take()] == [str(number) for number in range(50)]
        assert heard.dropped == 0


@pytest.mark.parametrize("options", [{"maxsize": 0}, {"policy": "hope"}])
def test_a_queue_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        EventQueue(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mask", "wider"),
    [
        ("off", "call"),
        ("", "call"),
        ("user,agent", "agent,user,call"),
        ("on", None),
        ("all", None),
        ("call", None),
    ],
)
def test_the_mask_to_follow_a_call_with(mask: str, wider: str | None) -> None:
    assert mask_with_call(mask) == wider


@pytest.mark.parametrize(
    ("mask", "privilege", "seen"),
    [
        ("off", "call,all", False),
        ("call", "call,all", True),
        ("user", "call,all", False),
        ("system", "user,system,all", False),
        ("system,user", "user,system,all", True),
        ("on", "call,all", True),
    ],
)
def test_an_event_of_several_classes_needs_all_of_them(mask: str, privilege: str, seen: bool) -> None:
    event = Event.from_raw(f"Event: E\r\nPrivilege: {privilege}".encode())
    assert passes(event, mask_classes(mask)) is seen
