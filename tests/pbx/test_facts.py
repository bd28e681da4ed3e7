"""What our client is built upon, shown on the real thing: each test is one fact about AMI.

On a bare socket, so that nothing of ours stands between the fact and its test. Where a new Asterisk breaks
one of these, the client or the simulator has to follow.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.pbx.asterisk import Asterisk, AsteriskError
from tests.pbx.capture import Recorder, Wire, channel_of, originate
from tests.polling import wait_until

pytestmark = pytest.mark.pbx

PONG = "Ping: Pong\r\n"


@pytest.fixture
def wire(asterisk: Asterisk) -> Iterator[Wire]:
    """Not logged in."""
    with closing(Wire(asterisk)) as connection:
        yield connection


@pytest.fixture
def quiet(asterisk: Asterisk) -> Iterator[Recorder]:
    """Logged in, without events."""
    with closing(Recorder(asterisk, events="off")) as connection:
        yield connection


@pytest.fixture
def session(asterisk: Asterisk) -> Iterator[Recorder]:
    """Logged in, with all events."""
    with closing(Recorder(asterisk)) as connection:
        yield connection


def answer(session: Wire, data: bytes) -> bytes:
    before = len(session.received)
    session.send(data + b"Action: Ping\r\nActionID: the-end\r\n\r\n")
    session.wait(r"ActionID: the-end\r\nPing: Pong\r\nTimestamp: [\d.]+\r\n\r\n")
    found = session.received[before:]
    session.received = session.received.replace(b"the-end", b"-past-")
    return found[: found.index(b"Response: Success\r\nActionID: the-end")]


# Banner and login


def test_the_banner_is_one_line_with_a_version_of_three_parts(wire: Wire) -> None:
    wire.drain(0.1)
    assert re.fullmatch(rb"Asterisk Call Manager/\d+\.\d+\.\d+\r\n", wire.received)


def test_before_the_login_actions_are_denied_and_the_connection_stays(wire: Wire) -> None:
    for _ in range(2):
        wire.send(b"Action: Ping\r\nActionID: 1\r\n\r\n")
    wire.wait("Response: Error\r\nActionID: 1\r\nMessage: Permission denied\r\n\r\n", 2)


def test_a_wrong_secret_costs_a_second_and_the_connection(wire: Wire) -> None:
    started = time.monotonic()
    wire.send(b"Action: Login\r\nUsername: admin\r\nSecret: wrong\r\n\r\n")
    assert wire.drain(10)
    assert wire.received.endswith(b"Response: Error\r\nMessage: Authentication failed\r\n\r\n")
    assert time.monotonic() - started >= 0.9


def test_the_key_of_the_challenge_is_compared_in_lower_case(asterisk: Asterisk, wire: Wire) -> None:
    username, secret = asterisk.users["admin"]
    wire.send(b"Action: Challenge\r\nAuthType: MD5\r\n\r\n")
    challenge = wire.wait(r"Challenge: (\d{1,9})\r\n")[1]
    key = hashlib.md5(challenge + secret.encode(), usedforsecurity=False).hexdigest().upper()
    wire.send(f"Action: Login\r\nUsername: {username}\r\nAuthType: MD5\r\nKey: {key}\r\n\r\n".encode())
    wire.wait("Authentication failed")


def test_a_challenge_of_another_kind_than_md5_is_refused(wire: Wire) -> None:
    wire.send(b"Action: Challenge\r\nAuthType: SHA256\r\n\r\n")
    wire.wait("Response: Error\r\nMessage: Must specify AuthType\r\n\r\n")


def test_fully_booted_follows_the_login_before_anything_else(session: Recorder) -> None:
    session.wait("Event: FullyBooted\r\n")
    login, _, after = session.received.partition(b"Message: Authentication accepted\r\n\r\n")
    assert b"Event:" not in login
    assert after.startswith(b"Event: FullyBooted\r\n")


def test_a_second_login_changes_nothing(quiet: Recorder) -> None:
    assert b"Already authenticated" in quiet.response("Login", Username="nobody", Secret="x")


def test_logoff_says_goodbye_and_closes(quiet: Recorder) -> None:
    quiet.action("Logoff")
    assert quiet.drain(10)
    assert b"Response: Goodbye\r\n" in quiet.received


def test_an_event_mask_without_meaning_is_taken_as_off(session: Recorder) -> None:
    assert b"Response: Success\r\n" in (reply := session.response("Events", EventMask="nonsense"))
    assert b"Events: Off\r\n" in reply


def test_a_session_has_one_challenge(wire: Wire) -> None:
    for _ in range(2):
        wire.send(b"Action: Challenge\r\nAuthType: MD5\r\n\r\n")
    wire.wait(r"Challenge: \d{1,9}\r\n", 2)
    assert len(set(re.findall(rb"Challenge: (\d+)\r\n", wire.received))) == 1


def test_the_banner_tells_the_ami_version_of_the_release(asterisk: Asterisk, wire: Wire) -> None:
    major = {"16": b"5.0.", "22": b"11.0."}.get(asterisk.version.partition(".")[0])
    if major is not None:  # other releases have others, known or not
        assert wire.received.startswith(b"Asterisk Call Manager/" + major)


def test_without_the_class_system_no_fully_booted_follows_the_login(asterisk: Asterisk) -> None:
    with closing(Recorder(asterisk, events="call")) as session:
        session.response("Ping")
        assert b"FullyBooted" not in session.received


# Parser


def test_a_line_of_1022_bytes_is_taken(quiet: Recorder) -> None:
    assert PONG.encode() in answer(quiet, b"Action: Ping\r\nX: " + b"x" * 1019 + b"\r\n\r\n")


@pytest.mark.parametrize("length", [1024, 1500, 2045])
def test_a_longer_line_loses_its_action(quiet: Recorder, length: int) -> None:
    line = b"X: " + b"x" * (length - 3)
    reply = answer(quiet, b"Action: Ping\r\nActionID: 1\r\n" + line + b"\r\n\r\n")
    expected = b"Response: Error\r\nActionID: 1\r\nMessage: Failed to parse message: line too long\r\n\r\n"
    assert reply == expected


@pytest.mark.parametrize("length", [1023, 2046])
def test_a_line_of_exactly_1023_bytes_makes_two_actions_of_one(quiet: Recorder, length: int) -> None:
    line = b"X: " + b"x" * (length - 3)
    reply = answer(
        quiet, b"Action: Ping\r\nActionID: 1\r\n" + line + b"\r\nAction: Events\r\nActionID: 2\r\n\r\n"
    )
    first, second = reply.removesuffix(b"\r\n\r\n").split(b"\r\n\r\n")
    assert b"ActionID: 1\r\nMessage: Failed to parse message: line too long" in first
    assert b"ActionID: 2\r\n" in second


def test_128_headers_are_taken_and_129_are_not(quiet: Recorder) -> None:
    head = b"Action: Ping\r\nActionID: 1\r\n"
    assert PONG.encode() in answer(quiet, head + b"X: y\r\n" * 126 + b"\r\n")
    reply = answer(quiet, head + b"X: y\r\n" * 127 + b"\r\n")
    assert reply == (
        b"Response: Error\r\nActionID: 1\r\nMessage: Too many lines in message or allocation failure\r\n\r\n"
    )


def test_an_error_of_the_parser_has_the_action_id_only_if_it_came_first(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: Ping\r\n" + b"X: y\r\n" * 128 + b"ActionID: 1\r\n\r\n")
    assert b"Too many lines" in reply
    assert b"ActionID" not in reply


def test_a_lone_blank_line_is_answered(quiet: Recorder) -> None:
    assert answer(quiet, b"\r\n") == b"Response: Error\r\nMessage: Missing action in request\r\n\r\n"


def test_lf_alone_ends_a_line(quiet: Recorder) -> None:
    assert PONG.encode() in answer(quiet, b"Action: Ping\nActionID: 1\n\n")


def test_header_names_have_no_case_and_the_first_wins(quiet: Recorder) -> None:
    reply = answer(quiet, b"aCTION: Ping\r\nACTIONID: 1\r\nActionID: 2\r\n\r\n")
    assert reply.startswith(b"Response: Success\r\nActionID: 1\r\nPing: Pong")


def test_a_blank_before_the_colon_hides_the_header(quiet: Recorder) -> None:
    assert b"Missing action in request" in answer(quiet, b"Action : Ping\r\n\r\n")


def test_leading_blanks_of_a_value_are_skipped_and_trailing_ones_kept(quiet: Recorder) -> None:
    assert b"\r\nActionID: 1 \r\n" in answer(quiet, b"Action:   Ping\r\nActionID:   1 \r\n\r\n")


def test_a_nul_cuts_its_line(quiet: Recorder) -> None:
    assert b"\r\nActionID: 1\r\n" in answer(quiet, b"Action: Ping\r\nActionID: 1\x0023\r\n\r\n")


def test_a_line_end_in_a_value_is_another_action(quiet: Recorder) -> None:
    value = b"harmless\r\n\r\nAction: Ping\r\nActionID: injected"
    reply = answer(quiet, b"Action: CoreStatus\r\nX: " + value + b"\r\n\r\n")
    assert b"ActionID: injected\r\nPing: Pong" in reply


def test_a_byte_order_mark_hides_the_action(quiet: Recorder) -> None:
    reply = answer(quiet, b"\xef\xbb\xbfAction: Ping\r\nActionID: 1\r\n\r\n")
    assert reply == b"Response: Error\r\nActionID: 1\r\nMessage: Missing action in request\r\n\r\n"


def test_an_empty_action_is_skipped_for_the_next(quiet: Recorder) -> None:
    assert PONG.encode() in answer(quiet, b"Action: \r\nAction: Ping\r\nActionID: 1\r\n\r\n")


def test_an_action_id_of_more_than_67_bytes_glues_two_headers_together(session: Recorder) -> None:
    originate(session, "Local/1001@phones", "conference")
    session.wait("Event: ConfbridgeJoin\r\n")
    for length, glue in ((67, b"\r\n"), (68, b"\r"), (69, b"")):
        action_id = "i" * length
        session.send(f"Action: ConfbridgeList\r\nActionID: {action_id}\r\nConference: 1000\r\n\r\n".encode())
        session.wait(rf"Event: ConfbridgeListComplete\r\nActionID: {action_id}\r\n(?s:.*?)\r\n\r\n")
        item = b"Event: ConfbridgeList\r\nActionID: " + action_id.encode()
        assert item + glue + b"Conference: 1000\r\n" in session.received
    session.action("Hangup", Channel=channel_of(session, "1001"))
    session.everyone_hung_up()


def test_one_variable_header_is_cut_at_its_commas_into_at_most_64(session: Recorder) -> None:
    many = ",".join(f"V{number}={number}" for number in range(1, 71))
    session.action(
        "Originate", Channel="Local/answer@phones", Application="Wait", Data="1", Async="true", Variable=many
    )
    session.wait("Variable: V1\r\nValue: 1\r\n")  # the last; OriginateResponse may come before it
    session.wait("Event: OriginateResponse\r\n")
    seen = re.findall(rb"Variable: (V\d+)\r\nValue: (.*)\r\n", session.received)
    assert len({name for name, _ in seen}) == 64
    assert (b"V1", b"1") in seen
    # The last one takes the rest.
    assert any(name == b"V64" and value.startswith(b"64,V65=65,") for name, value in seen)
    # And they are set in reverse order.
    assert [name for name, _ in seen].index(b"V2") < [name for name, _ in seen].index(b"V1")
    session.everyone_hung_up()


# Answers


def test_answers_come_in_order(quiet: Recorder) -> None:
    names = (b"CoreSettings", b"Ping", b"ListCommands", b"NoSuch", b"Ping")
    sent = b"".join(b"Action: %s\r\nActionID: %d\r\n\r\n" % (name, n) for n, name in enumerate(names))
    assert re.findall(rb"ActionID: (\d)", answer(quiet, sent)) == [b"0", b"1", b"2", b"3", b"4"]


def test_command_output_keeps_blank_lines_and_ends_like_any_response(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: Command\r\nActionID: 1\r\nCommand: manager show command Ping\r\n\r\n")
    assert reply.startswith(
        b"Response: Success\r\nActionID: 1\r\nMessage: Command output follows\r\nOutput: "
    )
    assert b"\r\nOutput: \r\n" in reply
    assert reply.count(b"\r\n\r\n") == 1
    assert reply.endswith(b"\r\n\r\n")


def test_a_failed_command_has_output_too(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: Command\r\nActionID: 1\r\nCommand: no such command\r\n\r\n")
    assert reply.startswith(b"Response: Error\r\n")
    assert b"Output: No such command" in reply


@pytest.mark.parametrize("command", ["module load app_dial.so", "restart gracefully"])
def test_some_commands_are_refused_to_everybody(quiet: Recorder, command: str) -> None:
    reply = answer(quiet, f"Action: Command\r\nActionID: 1\r\nCommand: {command}\r\n\r\n".encode())
    assert reply == b"Response: Error\r\nActionID: 1\r\nMessage: Command blacklisted\r\n\r\n"


def test_the_headers_of_a_response_have_their_order(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: CoreShowChannels\r\nActionID: 1\r\n\r\n")
    assert reply.startswith(b"Response: Success\r\nActionID: 1\r\nEventList: start\r\nMessage: ")


def test_one_action_may_be_answered_twice(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: ModuleLoad\r\nActionID: 1\r\nLoadType: load\r\n\r\n")
    assert re.findall(rb"ActionID: 1\r\nMessage: (.*)\r\n", reply) == [
        b"Need module name",
        b"Could not load module.",
    ]


def test_wait_event_ends_with_an_event_after_its_response_and_early_when_more_is_sent(
    quiet: Recorder,
) -> None:
    started = time.monotonic()
    quiet.action("WaitEvent", Timeout="60")
    assert not quiet.drain(0.3)  # no answer yet, and nothing else
    quiet.response("Ping")
    assert time.monotonic() - started < 20
    assert re.search(
        rb"Message: Waiting for Event completed\.\r\n\r\nEvent: WaitEventComplete\r\nActionID: \S+\r\n\r\n",
        quiet.received,
    )


def test_queue_rule_ends_with_two_blank_lines(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: QueueRule\r\nActionID: 1\r\n\r\n")
    assert reply == b"Response: Success\r\nActionID: 1\r\n\r\n\r\n"


def test_getvar_prints_line_ends_raw_and_breaks_its_own_framing(quiet: Recorder) -> None:
    head = b"Action: Getvar\r\nActionID: 1\r\nVariable: "
    assert answer(quiet, head + b"STRFTIME(0,UTC,one%ntwo)\r\n\r\n").endswith(b"Value: one\ntwo\r\n\r\n")
    reply = answer(quiet, head + b"STRFTIME(0,UTC,one%n%nEvent: two)\r\n\r\n")
    assert reply.endswith(b"Value: one\n\nEvent: two\r\n\r\n")


def test_hangup_with_a_pattern_is_a_list_and_without_is_not(quiet: Recorder) -> None:
    listed = answer(quiet, b"Action: Hangup\r\nActionID: 1\r\nChannel: /^Local.nobody/\r\n\r\n")
    assert b"EventList: start\r\n" in listed
    assert b"Event: ChannelsHungupListComplete\r\n" in listed
    single = answer(quiet, b"Action: Hangup\r\nActionID: 1\r\nChannel: Local/nobody\r\n\r\n")
    assert single == b"Response: Error\r\nActionID: 1\r\nMessage: No such channel\r\n\r\n"


def test_nothing_found_is_often_an_error(quiet: Recorder) -> None:
    for action in (b"PJSIPShowEndpoint\r\nEndpoint: nobody", b"CoreShowChannelMap\r\nChannel: nobody"):
        reply = answer(quiet, b"Action: " + action + b"\r\nActionID: 1\r\n\r\n")
        assert reply.startswith(b"Response: Error\r\nActionID: 1\r\n")
        assert reply.count(b"Response: ") == 1
        assert b"EventList" not in reply


def test_an_error_of_pjsip_ends_in_a_bare_lf(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: PJSIPShowEndpoint\r\nActionID: 1\r\nEndpoint: nobody\r\n\r\n")
    assert reply.endswith(b"Unable to retrieve endpoint nobody\n\r\n\r\n")


def test_iaxnetstats_answers_without_a_response(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: IAXnetstats\r\nActionID: 1\r\n\r\n")
    assert b"Response" not in reply
    assert b"ActionID" not in reply


def test_items_of_a_list_have_no_privilege(quiet: Recorder) -> None:
    reply = answer(quiet, b"Action: QueueStatus\r\nActionID: 1\r\n\r\n")
    assert b"EventList: start\r\n" in reply
    assert b"Event: QueueMember\r\n" in reply
    assert b"EventList: Complete\r\n" in reply
    assert b"Privilege" not in reply


def test_a_filter_leaves_lists_alone(quiet: Recorder) -> None:
    assert b"Response: Success" in quiet.response("Filter", Operation="Add", Filter="Event: Nothing")
    reply = answer(quiet, b"Action: QueueStatus\r\nActionID: 1\r\n\r\n")
    assert b"Event: QueueMember\r\n" in reply


def test_list_commands_shows_only_what_the_user_may_run(asterisk: Asterisk) -> None:
    def offered(role: str) -> set[bytes]:
        with closing(Recorder(asterisk, role, events="off")) as session:
            return set(re.findall(rb"\r\n(\w+): .*\(Priv: ", session.response("ListCommands")))

    everything, reading, originating = offered("admin"), offered("readonly"), offered("originate")
    assert b"Originate" in originating < everything
    assert b"Ping" in reading < everything
    assert b"Originate" not in reading


# Events


def test_originate_without_async_makes_the_session_deaf(session: Recorder) -> None:
    session.action("Originate", Channel="Local/ring@phones", Application="Wait", Data="1", Timeout="700")
    session.action("Ping")
    session.wait(PONG)
    # The Originate's own answer comes after its time limit; only then what happened meanwhile, and the Pong.
    answered = session.received.index(b"Response: Error\r\nActionID: amiweb-3\r\n")
    assert answered < session.received.index(b"Event: Newchannel\r\n")
    assert answered < session.received.index(PONG.encode())


def test_originate_response_is_an_event_with_a_response_header_for_everybody(
    session: Recorder, asterisk: Asterisk
) -> None:
    with closing(Recorder(asterisk)) as other:
        session.action("Originate", Channel="Local/busy@phones", Application="Wait", Async="true")
        for one in (session, other):
            event = one.wait(r"Event: OriginateResponse\r\n(?s:.*?)\r\n\r\n")[0]
            assert b"\r\nActionID: amiweb-3\r\n" in event
            assert b"\r\nResponse: Failure\r\n" in event
            assert b"\r\nReason: 5\r\n" in event
            assert b"\r\nUniqueid: <null>\r\n" in event or b"\r\nUniqueid: <unknown>\r\n" in event


def test_the_client_may_choose_the_uniqueid(session: Recorder) -> None:
    session.action("Originate", Channel="Local/answer@phones", Application="Wait", Data="1", Async="true",
                   ChannelId="chosen-1", OtherChannelId="chosen-2")  # fmt: skip
    session.wait("Event: Hangup\r\n(?s:.*?)Uniqueid: chosen-1\r\n")
    assert b"Uniqueid: chosen-2\r\n" in session.received


def test_a_uniqueid_that_is_too_long_is_refused(session: Recorder) -> None:
    reply = session.response(
        "Originate", Channel="Local/answer@phones", Application="Wait", ChannelId="z" * 200
    )
    assert b"Message: Uniqueid length exceeds maximum of 149\n\r\n\r\n" in reply


def test_a_user_event_carries_a_foreign_action_id_to_everybody(session: Recorder, asterisk: Asterisk) -> None:
    with closing(Recorder(asterisk)) as other:
        headers = b"ActionID: yours\r\nUserEvent: X\r\nResponse: Success\r\nA: 1\r\nA: 2\r\n"
        other.send(b"Action: UserEvent\r\n" + headers + b"\r\n")
        event = session.wait(r"Event: UserEvent\r\n(?s:.*?)\r\n\r\n")[0]
        assert b"\r\nActionID: yours\r\n" in event
        assert b"\r\nResponse: Success\r\n" in event
        assert b"\r\nA: 1\r\nA: 2\r\n" in event


def test_values_of_variables_are_escaped_in_events(session: Recorder) -> None:
    originate(session, "Local/1001@phones", "hold")
    session.wait("Event: OriginateResponse\r\n")
    channel = channel_of(session, "1001")
    session.response("Setvar", Channel=channel, Variable="NOTE", Value='back\\slash "quote"')
    shown = session.wait(r"Variable: NOTE\r\nValue: (.*)\r\n")[1]
    assert shown == rb"back\\slash \"quote\""
    session.action("Hangup", Channel=channel)
    session.everyone_hung_up()


def test_a_stop_is_announced_by_a_shutdown_event(private_asterisk: Asterisk) -> None:
    with closing(Recorder(private_asterisk)) as session:
        private_asterisk.stop()
        assert session.drain(10)
        assert b"Event: Shutdown\r\n" in session.received


def test_a_pbx_that_waits_for_its_last_call_refuses_every_action(private_asterisk: Asterisk) -> None:
    with closing(Recorder(private_asterisk)) as session:
        originate(session, "Local/1001@phones", "hold")
        session.wait("Event: OriginateResponse\r\n")
        thread = threading.Thread(target=stop_gracefully, args=(private_asterisk,))
        thread.start()
        try:
            wait_until(
                lambda: b"Message: Asterisk is shutting down\r\n" in session.response("Ping"),
                seconds=15, what="the refusal",
            )  # fmt: skip
        finally:
            private_asterisk.kill()
            thread.join(30)


def stop_gracefully(asterisk: Asterisk) -> None:
    with suppress(AsteriskError):  # it is killed meanwhile
        asterisk.cli("core stop gracefully")


def test_a_kicked_session_ends_without_a_word(asterisk: Asterisk) -> None:
    if asterisk.version.startswith("16"):
        pytest.skip("manager kick session is of 18.23, 20.8, 21.3 and later")
    with closing(Recorder(asterisk, "nocall", events="off")) as session:
        session.drain(0.1)
        before = len(session.received)
        (row,) = [
            line.split()
            for line in asterisk.cli("manager show connected").splitlines()
            if line.split()[:1] == ["nocall"]
        ]
        asterisk.cli(f"manager kick session {row[4]}")
        assert session.drain(10)
        assert session.received[before:] == b""


def test_a_session_that_does_not_read_is_cut_off(asterisk: Asterisk) -> None:
    headers = (b"X: " + b"x" * 1000 + b"\r\n") * 100
    event = b"Action: UserEvent\r\nUserEvent: Flood\r\n" + headers + b"\r\n"
    with closing(Recorder(asterisk, "slow")) as slow, closing(Recorder(asterisk, events="off")) as flood:
        for _ in range(200):  # 20 MB, more than the sockets of both sides hold
            flood.send(event)
        flood.response("Ping")
        wait_until(
            lambda: "slow" not in asterisk.cli("manager show connected"),
            seconds=15, what="the session gone from Asterisk",
        )  # fmt: skip
        with suppress(ConnectionResetError):
            assert slow.drain(10)
        assert 0 < slow.received.count(b"UserEvent: Flood") < 200
        assert b"Response: Goodbye" not in slow.received
