"""The server's manners towards its sessions: login, masks, order, faults, slow readers."""

import hashlib
import time
from collections.abc import Callable

import pytest

from ami_integration.simulator import Account, EventClass, Limits, Office, PortRefused, SimulatedPBX
from tests.polling import wait_until
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI

MakeSimulator = Callable[..., Simulator]
Connect = Callable[..., RawAMI]


def test_an_md5_login_with_its_challenge_is_accepted(simulator: Simulator) -> None:
    with RawAMI(simulator.host, simulator.port) as ami:
        (challenge,) = ami.action("Challenge", "AuthType: MD5")
        text = dict(challenge)["Challenge"] + simulator.secret
        key = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        (login,) = ami.action("Login", f"Username: {simulator.username}", "AuthType: md5", f"Key: {key}")
    assert dict(login)["Message"] == "Authentication accepted"


def test_an_upper_case_key_is_refused_as_the_real_one_does(simulator: Simulator) -> None:
    with RawAMI(simulator.host, simulator.port) as ami:
        (challenge,) = ami.action("Challenge", "AuthType: MD5")
        text = dict(challenge)["Challenge"] + simulator.secret
        key = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()
        (login,) = ami.action("Login", f"Username: {simulator.username}", "AuthType: MD5", f"Key: {key}")
    assert dict(login)["Message"] == "Authentication failed"


def test_a_failed_login_waits_is_refused_and_closes(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(limits=Limits(login_failed_pause=0.4))
    with RawAMI(simulator.host, simulator.port) as ami:
        begun = time.monotonic()
        ami.send(
            f"Action: Login\r\nUsername: {simulator.username}\r\nSecret: wrong\r\n\r\nAction: Ping\r\n\r\n"
        )
        assert ami.read_to_the_end().endswith(b"Response: Error\r\nMessage: Authentication failed\r\n\r\n")
        assert time.monotonic() - begun >= 0.4


def test_the_pause_after_a_failed_login_is_a_second_as_the_real_ones() -> None:
    assert Limits().login_failed_pause == 1.0


def test_a_secret_that_is_not_ascii_works_both_ways(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(accounts=[Account("jörg", "gehëim")])
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in("jörg", "gehëim")
    with RawAMI(simulator.host, simulator.port) as ami:
        (login,) = ami.action("Login", "Username: jörg", "AuthType: MD5", "Key: ü")
    assert dict(login)["Message"] == "Authentication failed"


def test_who_does_not_log_in_is_closed_without_a_word(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(limits=Limits(auth_timeout=0.2))
    with RawAMI(simulator.host, simulator.port) as ami:
        assert ami.read_to_the_end() == b"Asterisk Call Manager/11.0.0\r\n"


def test_one_too_many_without_login_gets_no_banner(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(limits=Limits(auth_sessions=1))
    with RawAMI(simulator.host, simulator.port) as first:
        first.read_until(b"\r\n")
        with RawAMI(simulator.host, simulator.port) as second:
            assert second.read_to_the_end() == b""


def test_the_banner_carries_the_version_it_is_given(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(ami_version="5.0.4")
    with RawAMI(simulator.host, simulator.port) as ami:
        assert ami.read_until(b"\n") == b"Asterisk Call Manager/5.0.4\r\n"


def test_events_reach_only_those_who_may_and_want_to_read_them(
    make_simulator: MakeSimulator, connect: Connect
) -> None:
    simulator = make_simulator(
        accounts=[Account("all", "x"), Account("nocall", "x", read=EventClass.ALL & ~EventClass.CALL)]
    )
    sessions = {}
    for name, username, mask in (
        ("everything", "all", "on"),
        ("calls", "all", "call"),
        ("nothing", "all", "off"),
        ("may not", "nocall", "on"),
    ):
        sessions[name] = connect(simulator, login=False)
        sessions[name].log_in(username, "x", f"Events: {mask}")
    simulator.emit("Newchannel", classes="call")
    simulator.emit("AgentCalled", classes="agent")
    simulator.emit("VoicemailPasswordChange", classes="system,user")
    simulator.emit("Both", classes="call,agent")
    told = {}
    for name, session in sessions.items():
        session.send("Action: Logoff\r\n\r\n")
        told[name] = {
            event
            for event in (b"Newchannel", b"AgentCalled", b"VoicemailPasswordChange", b"Both")
            if b"Event: " + event in session.read_to_the_end()
        }
    assert told == {
        "everything": {b"Newchannel", b"AgentCalled", b"VoicemailPasswordChange", b"Both"},
        "calls": {b"Newchannel"},
        "nothing": set(),
        "may not": {b"AgentCalled", b"VoicemailPasswordChange"},
    }


def test_an_action_beyond_the_accounts_write_classes_is_refused(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(accounts=[Account("reader", "x", write=EventClass.REPORTING)])
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in("reader", "x", "Events: off")
        assert dict(ami.action("Originate", "Channel: PJSIP/100")[0])["Message"] == "Permission denied"
        assert dict(ami.action("Command", "Command: core show version")[0])["Message"] == "Permission denied"
        assert dict(ami.action("CoreStatus")[0])["Response"] == "Success"
        offered = [name for name, text in ami.action("ListCommands")[0] if "(Priv:" in text]
    assert "CoreStatus" in offered
    assert "Originate" not in offered


def test_without_class_system_an_originate_may_not_run_programs(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(accounts=[Account("dialler", "x", write=EventClass.ORIGINATE)])
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in("dialler", "x", "Events: off")
        (response,) = ami.action("Originate", "Channel: PJSIP/100", "Application: System", "Data: ls")
    assert "requires the additional System privilege" in dict(response)["Message"]


def test_a_hung_action_is_never_answered_and_keeps_its_session(simulator: Simulator, ami: RawAMI) -> None:
    simulator.hang("CoreStatus")
    ami.data = b""
    ami.send("Action: CoreStatus\r\nActionID: 1\r\n\r\nAction: Ping\r\nActionID: 2\r\n\r\n")
    wait_until(lambda: simulator.blocked_sessions == 1, seconds=5, what="CoreStatus hangs")
    simulator.emit("Newchannel")
    assert ami.stays_silent(0.3)
    simulator.unhang("CoreStatus")
    with RawAMI(simulator.host, simulator.port) as other:
        other.log_in(simulator.username, simulator.secret)
        assert dict(other.action("CoreStatus")[0])["Response"] == "Success"


def test_kick_closes_sessions_without_a_word_and_leaves_the_port_open(
    simulator: Simulator, ami: RawAMI
) -> None:
    ami.action("Ping")
    ami.data = b""
    simulator.kick()
    assert ami.read_to_the_end() == b""
    with RawAMI(simulator.host, simulator.port) as again:
        again.log_in(simulator.username, simulator.secret)


def test_stopped_it_refuses_and_started_again_it_answers_on_the_same_port(
    simulator: Simulator, ami: RawAMI
) -> None:
    port = simulator.port
    simulator.stop()
    ami.read_to_the_end()
    with pytest.raises(OSError, match=r"refused"):
        RawAMI(simulator.host, port)
    simulator.start()
    assert simulator.port == port
    with RawAMI(simulator.host, port) as again:
        again.log_in(simulator.username, simulator.secret)
        again.action("Ping")


def test_stop_ends_a_session_whose_action_hangs(simulator: Simulator, ami: RawAMI) -> None:
    simulator.hang("Ping")
    ami.send("Action: Ping\r\n\r\n")
    simulator.stop()
    ami.read_to_the_end()


def test_a_reader_that_stops_is_cut_off_and_the_others_are_not(
    make_simulator: MakeSimulator, connect: Connect
) -> None:
    simulator = make_simulator(limits=Limits(write_timeout=0.2))
    connect(simulator, receive_buffer=4096)
    quick = connect(simulator)
    padding = [("Note", "x" * 1000)]
    while simulator.pbx.slow_sessions == 0:
        simulator.emit("UserEvent", padding, "user", times=500)
        quick.action("Ping")
    wait_until(lambda: simulator.sessions == 1, seconds=5, what="the slow session is gone")
    quick.action("Ping")


def test_what_waits_for_a_slow_reader_is_bounded(make_simulator: MakeSimulator, connect: Connect) -> None:
    simulator = make_simulator(limits=Limits(write_timeout=60, buffer_bytes=100_000))
    connect(simulator, receive_buffer=4096)
    for _ in range(200):
        simulator.emit("UserEvent", [("Note", "x" * 1000)], "user", times=100)
        if not simulator.sessions:
            break
    assert simulator.pbx.slow_sessions == 1
    assert simulator.sessions == 0


def test_what_waits_for_a_blocked_session_is_bounded(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(limits=Limits(buffer_bytes=100_000))
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in(simulator.username, simulator.secret)
        simulator.hang("Ping")
        ami.send("Action: Ping\r\n\r\n")
        wait_until(lambda: simulator.blocked_sessions == 1, seconds=5, what="the Ping hangs")
        simulator.emit("UserEvent", [("Note", "x" * 1000)], "user", times=200)
        ami.read_to_the_end()
    assert simulator.pbx.slow_sessions == 1


def test_port_5038_is_refused() -> None:
    with pytest.raises(PortRefused, match="choose another port"):
        SimulatedPBX(Office(start=0), [], port=5038)


def test_no_secret_is_in_an_accounts_repr() -> None:
    assert "hush" not in repr(Account("me", "hush"))
