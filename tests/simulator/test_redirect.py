"""Redirect and the kick out of a conference: each channel tells what it told on a real Asterisk 22.

The order within a channel is compared; threads of a real one interleave the channels as they please.
"""

import pytest

from ami_integration.simulator import Plan, people
from ami_integration.simulator.calls import Kicked, Place
from ami_integration.simulator.originating import Originate, originate, tell_outcome
from ami_integration.simulator.redirecting import redirect
from tests.simulator.scenes import DANA, Stage

ROOM = Place("office", "700", 1)
QUALITY = "RTPAUDIOQOS"


def send(stage: Stage, *starts: str, place: Place = ROOM) -> None:
    """Redirect the channels that begin so, and forget what was told before."""
    stage.told.clear()
    for start in starts:
        redirect(stage.office, stage.office.switch.channels[stage.channel(start)], place)


def told_of(stage: Stage, start: str) -> list[str]:
    """The events of a channel, in short: with variable, application or place where that says more."""
    found = []
    for event in stage.told:
        if not (event.get("Channel") or "").startswith(start):
            continue
        name, variable = event.name, event.get("Variable") or ""
        if variable.startswith(QUALITY):
            continue
        if name == "VarSet":
            found.append(f"{variable}={event.get('Value')}" if variable != "BRIDGEPVTCALLID" else variable)
        elif name == "Newexten":
            place = f"{event.get('Exten')}@{event.get('Context')}:{event.get('Priority')}"
            found.append(f"{event.get('Application')} {place}")
        else:
            found.append(name)
    return found


@pytest.fixture
def in_a_call() -> Stage:
    stage = Stage()
    people.call_from_phone(stage.office, "100", "101", Plan(answer=0.5, talk=600))
    stage.play(2)
    return stage


def test_a_caller_leaves_the_call_and_the_called_one_is_hung_up(in_a_call: Stage) -> None:
    send(in_a_call, "PJSIP/100")
    in_a_call.play(1)
    assert told_of(in_a_call, "PJSIP/100")[:7] == [
        "BRIDGEPEER=", "BRIDGEPVTCALLID", "Dial 700@office:1", "BridgeLeave", "DIALSTATUS=ANSWER",
        "ConfBridge 700@office:2", "BridgeEnter",
    ]  # fmt: skip
    assert told_of(in_a_call, "PJSIP/101") == ["BRIDGEPEER=", "BRIDGEPVTCALLID", "BridgeLeave", "Hangup"]


def test_a_called_one_goes_on_alone_and_the_caller_is_hung_up(in_a_call: Stage) -> None:
    send(in_a_call, "PJSIP/101")
    in_a_call.play(1)
    assert told_of(in_a_call, "PJSIP/101")[:6] == [
        "BRIDGEPEER=", "BRIDGEPVTCALLID", "AppDial 700@office:1", "BridgeLeave", "ConfBridge 700@office:2",
        "BridgeEnter",
    ]  # fmt: skip
    caller = told_of(in_a_call, "PJSIP/100")
    assert caller[-2:] == ["SoftHangupRequest", "Hangup"]
    assert "DIALSTATUS=ANSWER" in caller
    in_a_call.play_to_the_end()
    assert not in_a_call.office.switch.channels


@pytest.mark.parametrize("order", [("PJSIP/100", "PJSIP/101"), ("PJSIP/101", "PJSIP/100")])
def test_both_ends_of_a_call_go_on_together(order: tuple[str, str], in_a_call: Stage) -> None:
    send(in_a_call, *order)
    in_a_call.play(1)
    channels = in_a_call.office.conferences["700"].channels
    assert {channel.device for channel in channels} == {"PJSIP/100", "PJSIP/101"}
    assert not [event for event in in_a_call.told if event.name == "Hangup"]


def test_who_waits_in_a_queue_leaves_it() -> None:
    stage = Stage()
    people.call_from_trunk(stage.office, DANA, "5550600", Plan(answer=None))
    stage.play(1)
    send(stage, "PJSIP/trunk", place=Place("office", "100", 1))
    stage.play(0.5)
    told = told_of(stage, "PJSIP/trunk")
    at = told.index("Queue 100@office:1")
    assert told[at : at + 4] == [
        "Queue 100@office:1", "ABANDONED=TRUE", "QueueCallerAbandon", "QueueCallerLeave",
    ]  # fmt: skip
    assert told.count("MusicOnHoldStop") == 1
    assert "DialBegin" in told
    assert not stage.office.queues["sales"].callers


def test_who_is_in_a_conference_leaves_it() -> None:
    stage = Stage()
    people.call_from_phone(stage.office, "100", "701", Plan(talk=600))
    stage.play(1)
    send(stage, "PJSIP/100")
    stage.play(1)
    assert told_of(stage, "PJSIP/100")[:6] == [
        "BRIDGEPEER=", "ConfBridge 700@office:1", "ConfbridgeLeave", "BridgeLeave",
        "CONFBRIDGE_RESULT=HANGUP", "ConfBridge 700@office:2",
    ]  # fmt: skip
    assert list(stage.office.conferences) == ["700"]


@pytest.mark.parametrize("channel", ["PJSIP/101", "Local/101@office"])
def test_who_still_rings_is_sent_too_and_the_originate_has_failed(channel: str) -> None:
    stage = Stage()
    wanted = Originate(channel, application="Wait", data="60", done=tell_outcome(stage.office, "o1"))
    originate(stage.office, wanted, Plan(answer=30.0))
    stage.play(1)
    send(stage, channel)
    stage.play(1)
    response = next(event for event in stage.told if event.name == "OriginateResponse")
    assert (response.get("Response"), response.get("Reason")) == ("Failure", "0")
    assert "Answer 700@office:1" in told_of(stage, channel)[:2]
    assert "700" in stage.office.conferences


@pytest.mark.parametrize(
    "place", [Place("office", "999", 1), Place("nowhere", "100", 1), Place("office", "100", 9)]
)
def test_who_is_sent_to_nowhere_is_hung_up(place: Place, in_a_call: Stage) -> None:
    send(in_a_call, "PJSIP/100", place=place)
    in_a_call.play(1)
    assert told_of(in_a_call, "PJSIP/100")[-2:] == ["SoftHangupRequest", "Hangup"]
    assert not in_a_call.office.switch.channels


def test_a_later_priority_begins_there(in_a_call: Stage) -> None:
    send(in_a_call, "PJSIP/100", place=Place("office", "700", 2))
    in_a_call.play(1)
    assert "700" in in_a_call.office.conferences
    assert not [text for text in told_of(in_a_call, "PJSIP/100") if text.startswith("Answer")]


def test_who_is_kicked_out_of_a_conference_goes_on_in_the_dialplan() -> None:
    stage = Stage()
    for number in ("100", "101"):
        people.call_from_phone(stage.office, number, "700", Plan(talk=600))
    stage.play(1)
    stage.told.clear()
    channel = stage.office.switch.channels[stage.channel("PJSIP/100")]
    channel.owner.interrupt(Kicked(channel, 0))
    stage.play(1)
    assert told_of(stage, "PJSIP/100") == [
        "CONFBRIDGE_RESULT=KICKED", "BRIDGEPEER=", "ConfbridgeLeave", "BridgeLeave", "Hangup 700@office:3",
        "SoftHangupRequest", "Hangup",
    ]  # fmt: skip
    assert len(stage.office.conferences["700"].channels) == 1


def test_members_of_a_higher_penalty_ring_only_if_no_other_is_free() -> None:
    stage = Stage()
    queue = stage.office.queues["support"]
    queue.members[0].penalty = 5
    people.call_from_trunk(stage.office, DANA, "5550601", Plan(answer=None))
    stage.play(1)
    rung = {event.get("Interface") for event in stage.told if event.name == "AgentCalled"}
    assert rung == {member.interface for member in queue.members[1:]}


def test_a_member_that_pauses_is_not_called() -> None:
    stage = Stage()
    for member in stage.office.queues["support"].members:
        member.paused = True
    people.call_from_trunk(stage.office, DANA, "5550601", Plan(answer=None, patience=3))
    stage.play_to_the_end()
    assert not [event for event in stage.told if event.name == "AgentCalled"]
