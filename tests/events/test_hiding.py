"""Secrets in events are masked before an event leaves the listener."""

from __future__ import annotations

import pytest

from ami_integration.access import masking
from ami_integration.access.masking import MASK
from ami_integration.ami import Event
from ami_integration.ami.messages import OddEvent
from ami_integration.events.hiding import raw_hidden
from tests.events.making import raw

CANARY = "k4n4rie"


def hidden(data: bytes) -> bytes:
    return raw_hidden(Event.from_raw(data))


@pytest.mark.parametrize(
    "data",
    [
        raw("VarSet", Channel="PJSIP/1-1", Variable="API_SECRET", Value=CANARY, Uniqueid="1.1"),
        raw("VarSet", Variable="__agentPin", Value=CANARY),
        raw("Newexten", Application="Set", AppData=f"dbpass={CANARY}"),
        raw("Newexten", Application="CURL", AppData=f"https://amiweb:{CANARY}@example.com/"),
        raw("UserEvent", UserEvent="Login", AuthToken=CANARY),
        raw("VarSet", Variable="PASSWORD_Jürgen", Value=CANARY),
    ],
)
def test_a_secret_in_an_event_is_masked_and_its_other_headers_stay(data: bytes) -> None:
    found = hidden(data)
    assert CANARY.encode() not in found
    assert [line.partition(b": ")[0] for line in found.split(b"\r\n")] == [
        line.partition(b": ")[0] for line in data.split(b"\r\n")
    ]
    assert MASK.encode() in found


def test_an_odd_event_with_a_secret_is_masked_too() -> None:
    data = f"Event: UserEvent\nno header\nSecret: {CANARY}".encode()
    found = raw_hidden(OddEvent.from_raw(data))
    assert CANARY.encode() not in found
    assert b"no header" in found


@pytest.mark.parametrize(
    "data",
    [
        raw("Newchannel", Channel="Local/100@default-0001;1", Exten="100"),
        raw("Hangup", Cause="16", **{"Cause-txt": "Normal Clearing"}),
        raw("VarSet", Variable="KEYPAD", Value="1"),
        b"Event: X\r\nCallerIDName: \xff\xfe\r\nAccountCode: pineapple",
    ],
)
def test_other_events_are_forwarded_as_they_came(data: bytes) -> None:
    assert hidden(data) == data


def test_whatever_the_words_of_masking_are_the_quick_look_lets_none_pass() -> None:
    for core in masking._CORES:
        pairs = [("Event", "VarSet"), ("Variable", f"my_{core}"), ("Value", CANARY)]
        masked = masking.headers_mask(pairs) != pairs
        assert (CANARY.encode() not in hidden(raw("VarSet", Variable=f"my_{core}", Value=CANARY))) == masked
