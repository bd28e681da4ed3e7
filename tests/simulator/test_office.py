"""The office: the same seed gives the same history, and what it lists fits what it told."""

import random
from collections import Counter

import pytest

from ami_integration.simulator import Event, OfficeSettings, open_office, originating
from ami_integration.simulator.channels import State

START = 1_700_000_000.0


def _history(seed: int, *, seconds: float, step: float, rate: float = 1.0) -> bytes:
    office = open_office(seed=seed, start=START, settings=OfficeSettings(calls_per_second=rate))
    told: list[Event] = []
    office.publish = told.append
    for count in range(round(seconds / step)):
        office.advance(START + (count + 1) * step)
    return b"".join(event.encoded for event in told)


def test_the_same_seed_gives_the_same_history_byte_by_byte() -> None:
    assert _history(7, seconds=120, step=120) == _history(7, seconds=120, step=120)


def test_the_history_does_not_depend_on_how_often_it_is_looked_at() -> None:
    assert _history(7, seconds=120, step=0.05) == _history(7, seconds=120, step=120)


def test_another_seed_gives_another_history() -> None:
    assert _history(7, seconds=60, step=60) != _history(8, seconds=60, step=60)


def test_calls_come_at_the_rate_that_was_asked_for() -> None:
    office = open_office(seed=3, start=START, settings=OfficeSettings(calls_per_second=5))
    office.advance(START + 200)
    # Conferences count several calls; a busy moment may skip some.
    assert 800 < office.switch.calls_processed + office.skipped_calls < 1400


def test_an_office_without_calls_is_quiet() -> None:
    assert _history(1, seconds=100, step=10, rate=0) == b""


@pytest.mark.parametrize("seed", range(3))
def test_what_is_listed_fits_what_was_told_at_every_moment(seed: int) -> None:
    office = open_office(seed=seed, start=START, settings=OfficeSettings(calls_per_second=2))
    live: dict[str, str] = {}
    bridged: dict[str, str] = {}
    waiting: Counter[str] = Counter()
    ids: set[str] = set()

    def hear(event: Event) -> None:
        channel, uniqueid = event.get("Channel"), event.get("Uniqueid")
        if event.name == "Newchannel" and channel and uniqueid:
            assert uniqueid not in ids, "ids are never used twice"
            ids.add(uniqueid)
            live[channel] = uniqueid
        elif channel is not None:
            assert live.get(channel) == uniqueid, f"{event.name} of a channel that isn't there"
        if event.name == "Hangup" and channel:
            del live[channel]
            assert channel not in bridged, "left its bridge before"
        elif event.name == "BridgeEnter" and channel:
            bridged[channel] = event.get("BridgeUniqueid") or ""
        elif event.name == "BridgeLeave" and channel:
            assert bridged.pop(channel) == event.get("BridgeUniqueid")
        elif event.name in {"QueueCallerJoin", "QueueCallerLeave"}:
            queue = event.get("Queue") or ""
            waiting[queue] += 1 if event.name == "QueueCallerJoin" else -1
            assert event.get("Count") == str(waiting[queue])

    office.publish = hear
    for _ in range(400):
        office.advance(office.time + 0.5)
        channels = office.switch.channels.values()
        assert {channel.name: channel.uniqueid for channel in channels} == live
        assert {c.name: c.bridge.uniqueid for c in channels if c.bridge} == bridged
        assert {queue.name: len(queue.callers) for queue in office.queues.values()} == {
            name: waiting[name] for name in office.queues
        }
        assert all(channel.linkedid in ids for channel in channels)
        assert all(
            channel.state is not State.DOWN or channel.created >= office.time - 0.5 for channel in channels
        )
    assert office.switch.calls_processed > 200


@pytest.mark.parametrize("seed", range(3))
def test_hangups_and_originates_at_any_moment_leave_nothing_behind(seed: int) -> None:
    chance = random.Random(seed)
    settings = OfficeSettings(
        calls_per_second=3, phones=20, queue_timeout=30, ring_seconds=8, member_timeout=5
    )
    office = open_office(seed=seed, start=START, settings=settings)
    live: set[str] = set()
    bridged: set[str] = set()

    def hear(event: Event) -> None:
        channel = event.get("Channel")
        if channel is None or event.name == "OriginateResponse":
            return
        if event.name == "Newchannel":
            live.add(channel)
        assert channel in live, f"{event.name} of {channel}, which isn't there"
        if event.name == "BridgeEnter":
            bridged.add(channel)
        elif event.name == "BridgeLeave":
            bridged.remove(channel)
        elif event.name == "Hangup":
            assert channel not in bridged
            live.remove(channel)

    office.publish = hear
    targets = (
        "PJSIP/100",
        "PJSIP/110",
        "PJSIP/999",
        *(f"Local/{exten}@office" for exten in (101, 600, 700, 800)),
    )
    for _ in range(500):
        office.advance(office.time + chance.expovariate(3))
        channels = office.switch.channels
        if chance.random() < 0.4 and channels:
            channel = channels[chance.choice(list(channels))]
            channel.owner.hang_up_requested(channel, chance.choice((0, 16, 17, 19)))
        if chance.random() < 0.2:
            wanted = originating.Originate(
                channel=chance.choice(targets),
                context="office",
                exten=chance.choice(("100", "105", "600", "601", "700", "800")),
                application=chance.choice(("", "Wait")),
                data="5",
                timeout=chance.choice((1.0, 5.0, 30.0)),
            )
            originating.originate(office, wanted)
        assert live == set(channels)
        assert bridged == {channel.name for channel in channels.values() if channel.bridge}
        waiting = {one.channel.name for queue in office.queues.values() for one in queue.callers}
        talking = {channel.name for room in office.conferences.values() for channel in room.channels}
        assert waiting | talking <= live


def test_every_kind_of_call_happens() -> None:
    text = _history(5, seconds=400, step=400)
    for event in (
        b"DialEnd", b"BridgeEnter", b"Hold", b"Unhold", b"ConfbridgeJoin", b"QueueCallerAbandon",
        b"AgentConnect",
        b"AgentRingNoAnswer", b"AgentComplete", b"MusicOnHoldStart",
    ):  # fmt: skip
        assert b"Event: " + event + b"\r\n" in text, event
    for status in (b"ANSWER", b"BUSY", b"NOANSWER", b"CANCEL"):
        assert b"DialStatus: " + status in text, status


def test_names_of_callers_are_not_all_ascii() -> None:
    text = _history(5, seconds=60, step=60).decode()
    assert any(ord(letter) > 127 for letter in text)


def test_a_queue_counts_what_happened_in_it() -> None:
    office = open_office(seed=2, start=START, settings=OfficeSettings(calls_per_second=1))
    told: Counter[str] = Counter()
    office.publish = lambda event: told.update([event.name])
    office.advance(START + 1200)
    assert sum(queue.completed for queue in office.queues.values()) == told["AgentComplete"]
    assert sum(queue.abandoned for queue in office.queues.values()) == told["QueueCallerAbandon"]
    taken = sum(member.calls_taken for queue in office.queues.values() for member in queue.members)
    assert taken == told["AgentComplete"]
