"""A replay tells sessions what was recorded, byte for byte, as far as each may read, at any speed."""

import time
from collections.abc import Callable

import pytest

from ami_integration.ami.recording import Segment
from ami_integration.simulator import Account, EventClass, Replay
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI

MakeSimulator = Callable[..., Simulator]

LOGIN = "Action: Login\r\nActionID: l\r\nUsername: amiweb\r\nSecret: *********\r\nEvents: on\r\n\r\n"
CALL = b"Event: Newchannel\r\nPrivilege: call,all\r\nCallerIDName: J\xfcrgen\r\nNote: a: b\r\n\r\n"
AGENT = b"Event: AgentCalled\r\nPrivilege: agent,all\r\nQueue: support\r\n\r\n"
ODD = b"Event: Odd\r\nPrivilege: system,all\r\nMessage: x\n\r\nNext: y\r\n\r\n"


def received(at: float, data: bytes) -> Segment:
    return Segment(at, sent=False, data=data)


def sent(at: float, text: str) -> Segment:
    return Segment(at, sent=True, data=text.encode())


HEAD = [
    received(5.0, b"Asterisk Call Manager/5.0.4\r\n"),
    sent(5.0, LOGIN),
    received(5.1, b"Response: Success\r\nActionID: l\r\nMessage: Authentication accepted\r\n\r\n"),
]


def log_in(simulator: Simulator, *lines: str) -> RawAMI:
    ami = RawAMI(simulator.host, simulator.port)
    ami.read_until(b"\r\n")
    login = ("Action: Login", f"Username: {simulator.username}", f"Secret: {simulator.secret}", *lines)
    ami.send("".join(f"{line}\r\n" for line in (*login, "")))
    ami.read_until(b"Authentication accepted\r\n\r\n")
    ami.data = ami.data.partition(b"accepted\r\n\r\n")[2]
    return ami


def test_every_byte_of_the_events_comes_in_order_and_nothing_else(make_simulator: MakeSimulator) -> None:
    whole = CALL + AGENT + ODD
    pieces = [received(5.1 + at / 1000, whole[at : at + 7]) for at in range(0, len(whole), 7)]
    simulator = make_simulator(replay=Replay([*HEAD, *pieces], speed=0))
    with log_in(simulator) as ami:
        assert ami.read_until(whole) == whole
        ami.action("Ping")
        assert b"FullyBooted" not in ami.data


def test_classes_and_masks_hold_in_a_replay_too(make_simulator: MakeSimulator) -> None:
    replay = Replay([*HEAD, received(5.2, CALL + AGENT + CALL)], speed=0)
    simulator = make_simulator(
        replay=replay, accounts=[Account("amiweb", "simulated", read=EventClass.ALL & ~EventClass.AGENT)]
    )
    with log_in(simulator) as ami:
        assert ami.read_until(CALL * 2) == CALL * 2
    with log_in(simulator, "Events: agent") as ami:
        assert ami.stays_silent(0.2)


@pytest.mark.parametrize(("gap", "speed"), [(0.5, 1.0), (10.0, 20.0)])
def test_it_keeps_the_recorded_pace_times_the_speed(
    gap: float, speed: float, make_simulator: MakeSimulator
) -> None:
    events = [received(5.1, CALL), received(5.1 + gap, AGENT)]
    simulator = make_simulator(replay=Replay([*HEAD, *events], speed=speed))
    begun = time.monotonic()
    with log_in(simulator) as ami:
        ami.read_until(AGENT)
    assert 0.5 <= time.monotonic() - begun < 8


def test_a_recorded_action_is_answered_as_it_was_and_another_by_the_office(
    make_simulator: MakeSimulator,
) -> None:
    parts = [
        b"Response: Success\r\nActionID: r1\r\nEventList: start\r\nMessage: Peers will follow\r\n\r\n",
        b"Event: PeerEntry\r\nActionID: r1\r\nObjectName: 100\r\n\r\n",
        b"Event: PeerlistComplete\r\nActionID: r1\r\nEventList: Complete\r\nListItems: 1\r\n\r\n",
    ]
    segments = [
        sent(6, "Action: SIPpeers\r\nActionID: r1\r\n\r\n"),
        received(6.1, parts[0] + CALL),
        received(6.2, parts[1] + parts[2]),
    ]
    simulator = make_simulator(replay=Replay([*HEAD, *segments], speed=0))
    with log_in(simulator, "Events: off") as ami:
        ami.send("Action: sippeers\r\nActionID: mine\r\n\r\n")
        assert ami.read_until(b"ListItems: 1\r\n\r\n") == b"".join(parts).replace(b"r1", b"mine")
        assert dict(ami.action("CoreSettings")[0])["SystemName"] == "simulated"


def test_asked_again_it_gives_the_next_recorded_answer(make_simulator: MakeSimulator) -> None:
    segments = []
    for number in (1, 2):
        segments.append(sent(6, f"Action: Ping\r\nActionID: r{number}\r\n\r\n"))
        answer = f"Response: Success\r\nActionID: r{number}\r\nTimestamp: {number}\r\n\r\n"
        segments.append(received(6, answer.encode()))
    simulator = make_simulator(replay=Replay([*HEAD, *segments], speed=0))
    with log_in(simulator, "Events: off") as ami:
        assert [dict(ami.action("Ping")[0])["Timestamp"] for _ in range(3)] == ["1", "2", "2"]


def test_a_reader_that_takes_its_time_gets_all_of_a_long_recording(make_simulator: MakeSimulator) -> None:
    events = [received(5.2, CALL * 100) for _ in range(1000)]
    simulator = make_simulator(replay=Replay([*HEAD, *events], speed=0))
    with log_in(simulator) as ami:
        count = ami.data.count(b"Event: Newchannel")
        ami.data = ami.data[-40:] if count else ami.data
        total = len(CALL) * 100_000
        seen = len(ami.data)
        first = seen
        while seen - first < total - 100_000:
            ami.data = b""
            assert ami.receive()
            seen += len(ami.data)


def test_it_can_begin_again(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(replay=Replay([*HEAD, received(5.2, CALL)], speed=0, loop=True))
    with log_in(simulator) as ami:
        ami.read_until(CALL * 50)


def test_a_recording_without_a_login_or_a_speed_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no login"):
        Replay([received(0, b"Asterisk Call Manager/5.0.4\r\n")])
    with pytest.raises(ValueError, match="speed"):
        Replay(HEAD, speed=-1)
