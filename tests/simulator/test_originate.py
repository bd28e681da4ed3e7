"""Originate and Hangup over AMI: what the one that asked is told, and when."""

import pytest

from ami_integration.simulator.actions.originate import read_caller_id, read_variables
from tests.simulator.comparison import Message
from tests.simulator.raw import RawAMI


def _event(ami: RawAMI, name: str) -> dict[str, str]:
    ami.read_until(f"Event: {name}\r\n".encode())
    while not ami.data.endswith(b"\r\n\r\n"):
        ami.receive()
    return dict(next(message for message in ami.messages() if message[0] == ("Event", name)))


def _channels(ami: RawAMI) -> list[Message]:
    ami.action("CoreShowChannels")
    ami.read_until(b"ListItems")
    return [message for message in ami.messages() if message[0][1] == "CoreShowChannel"]


def test_an_asynchronous_one_is_queued_and_tells_its_outcome_later(ami: RawAMI) -> None:
    ami.data = b""
    ami.send(
        "Action: Originate\r\nActionID: o1\r\nChannel: Local/800@office\r\nContext: office\r\nExten: 800\r\n"
        "Priority: 1\r\nAsync: true\r\nCallerID: Desk <9>\r\n\r\n"
    )
    outcome = _event(ami, "OriginateResponse")
    begin = ami.messages()[:2]
    assert begin[0][-1] == ("Message", "Originate successfully queued")
    assert begin[1][0] == ("Event", "Newchannel")
    assert (outcome["ActionID"], outcome["Response"], outcome["Reason"]) == ("o1", "Success", "4")
    assert (outcome["CallerIDNum"], outcome["CallerIDName"]) == ("9", "Desk")


def test_a_synchronous_one_answers_after_the_call_and_nothing_comes_before(ami: RawAMI) -> None:
    ami.data = b""
    ami.send(
        "Action: Originate\r\nActionID: o1\r\nChannel: Local/800@office\r\n"
        "Application: Wait\r\nData: 0\r\n\r\n"
        "Action: Ping\r\nActionID: p\r\n\r\n"
    )
    ami.read_until(b"Ping: Pong")
    first, *rest = ami.messages()
    assert first == [
        ("Response", "Success"),
        ("ActionID", "o1"),
        ("Message", "Originate successfully queued"),
    ]
    assert ("Event", "Newchannel") in [message[0] for message in rest]
    assert b"OriginateResponse" not in ami.data


def test_of_a_phone_that_does_not_exist_it_fails(ami: RawAMI) -> None:
    (queued,) = ami.action(
        "Originate", "Channel: PJSIP/nobody", "Application: Wait", "Data: 1", "Async: true"
    )[:1]
    assert dict(queued)["Response"] == "Success"
    outcome = _event(ami, "OriginateResponse")
    assert (outcome["Response"], outcome["Reason"], outcome["Uniqueid"]) == ("Failure", "0", "<unknown>")


def test_the_channel_has_the_id_that_was_asked_for_and_no_other_gets_it(ami: RawAMI) -> None:
    wanted = ("Channel: PJSIP/100", "Application: Wait", "Data: 1", "ChannelId: mine")
    ami.action("Originate", *wanted, "Async: true")
    assert _event(ami, "Newchannel")["Uniqueid"] == "mine"
    assert [dict(channel)["Uniqueid"] for channel in _channels(ami)] == ["mine"]
    assert dict(ami.action("Originate", *wanted)[0])["Message"] == "Originate failed"


def test_its_timeout_counts(ami: RawAMI) -> None:
    ami.action("Originate", "Channel: PJSIP/100", "Application: Wait", "Async: 1", "Timeout: 1")
    outcome = _event(ami, "OriginateResponse")
    # Whoever is called takes longer than a millisecond, or is busy.
    assert (outcome["Response"], outcome["Reason"]) in (("Failure", "3"), ("Failure", "0"))


def test_variables_are_set_the_last_one_first(ami: RawAMI) -> None:
    ami.data = b""
    ami.action(
        "Originate",
        "Channel: Local/800@office",
        "Application: Wait",
        "Async: 1",
        'Variable: A=1,B="x,y"',
        "Variable: C=3",
    )
    _event(ami, "OriginateResponse")
    told = [dict(message) for message in ami.messages() if message[0][1] == "VarSet"]
    first = [(event["Variable"], event["Value"]) for event in told if event["Channel"].endswith(";1")]
    assert first[:3] == [("C", "3"), ("B", "x,y"), ("A", "1")]


def test_a_hung_up_channel_is_gone_from_the_list(ami: RawAMI) -> None:
    ami.action("Originate", "Channel: Local/800@office", "Application: Wait", "Data: 60", "Async: 1")
    name = _event(ami, "OriginateResponse")["Channel"]
    response = ami.action("Hangup", f"Channel: {name}")[0]
    assert dict(response)["Message"] == "Channel Hungup"
    ami.read_until(b"Event: Hangup\r\n")
    while _channels(ami):
        ami.data = b""
    assert dict(ami.action("Hangup", f"Channel: {name}")[0])["Message"] == "No such channel"


def test_a_pattern_hangs_up_all_that_it_fits(ami: RawAMI) -> None:
    for _ in range(2):
        ami.action("Originate", "Channel: Local/800@office", "Application: Wait", "Data: 60", "Async: 1")
        _event(ami, "OriginateResponse")
    ami.action("Hangup", "Channel: /^Local.800@office/")
    ami.read_until(b"ChannelsHungupListComplete")
    while _channels(ami):
        ami.data = b""


@pytest.mark.parametrize(
    ("text", "caller"),
    [
        ("Front Desk <100>", ("100", "Front Desk")),
        ('"Front Desk" <100>', ("100", "Front Desk")),
        ("<100>", ("100", "<unknown>")),
        ("+49 30 1", ("+49 30 1", "<unknown>")),
        ("Front Desk", ("<unknown>", "Front Desk")),
        ("", None),
    ],
)
def test_a_caller_id_is_read(text: str, caller: tuple[str, str] | None) -> None:
    assert read_caller_id(text) == caller


def test_variables_are_split_at_commas_outside_quotes_and_brackets() -> None:
    assert read_variables(['A="1,2",B=f(3,4)', r"C=5\,6", "nonsense"]) == [
        ("C", "5,6"),
        ("B", "f(3,4)"),
        ("A", "1,2"),
    ]
