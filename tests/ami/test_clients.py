"""What both clients promise, against a PBX that says exactly what each test wrote down."""

from __future__ import annotations

import hashlib
import pickle
import socket
import time
import traceback

import pytest

from ami_integration.ami import (
    TCP,
    Action,
    ActionTimeout,
    AMIClient,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    InvalidAction,
    LoginError,
    LoginFailed,
    LoginTimeout,
    MessageTooLarge,
    NameNotResolved,
    NoBanner,
    NotAMI,
    Timeouts,
)
from tests.ami.conftest import MakeClient
from tests.ami.scripted import BANNER, Peer, scripted


def idle(peer: Peer) -> None:
    peer.log_in()
    while True:
        peer.hear()


def test_the_login_proves_the_secret_without_sending_it(make_client: MakeClient) -> None:
    heard = []

    def script(peer: Peer) -> None:
        peer.log_in()
        heard.extend(peer.seen)
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="call,system")
        client.connect()
        assert client.client.banner == "Asterisk Call Manager/11.0.0"
        assert client.client.ami_version == "11.0.0"
        client.close()
    challenge, login = heard
    assert challenge.get("AuthType") == "MD5"
    key = hashlib.md5(b"123456789hunter2", usedforsecurity=False).hexdigest()
    assert login.get("Key") == key
    assert login.get("Events") == "call,system"
    assert b"hunter2" not in challenge.raw + login.raw


def test_an_answer_finds_its_action_among_events_and_other_answers(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        ping = peer.hear()
        peer.say(b"Event: Newchannel\r\nChannel: Local/1\r\n\r\n")
        peer.say(b"Response: Success\r\nActionID: somebody-else\r\n\r\n")
        peer.answer(ping, "Ping: Pong")
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        assert client.action("Ping").response.get("Ping") == "Pong"
        assert client.next_event().name == "Newchannel"
        assert client.client.anomalies == {"unknown_action_id": 1}


def test_a_list_is_collected_to_its_end_and_live_events_stay_out(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start", "Message: Channels will follow")
        for number in (1, 2):
            peer.say(
                f"Event: CoreShowChannel\r\nActionID: {action.action_id}\r\nN: {number}\r\n\r\n".encode()
            )
            peer.say(b"Event: Hangup\r\nChannel: Local/1\r\n\r\n")
        peer.say(
            f"Event: CoreShowChannelsComplete\r\nActionID: {action.action_id}\r\n"
            f"EventList: Complete\r\nListItems: 2\r\n\r\n".encode()
        )
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.action("CoreShowChannels")
        assert [event.get("N") for event in reply.events] == ["1", "2"]
        assert reply.complete is not None and reply.complete.get("ListItems") == "2"
        assert client.next_event().name == "Hangup"


def test_a_list_of_asterisk_12_ends_with_its_complete_event(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "Message: Queue status will follow")
        for name in ("QueueParams", "QueueMember", "QueueStatusComplete"):
            peer.say(f"Event: {name}\r\nActionID: {action.action_id}\r\n\r\n".encode())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.action("QueueStatus")
        assert [event.name for event in reply.events] == ["QueueParams", "QueueMember"]


def test_an_error_after_the_start_of_a_list_ends_it(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, "EventList: start", "Message: will follow")
        peer.answer(action, "Message: No such channel", response="Error")
        peer.answer(peer.hear())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.action("CoreShowChannelMap")
        assert not reply.success
        assert reply.message == "No such channel"
        assert len(reply.responses) == 2
        assert client.action("Ping").success


def test_an_error_without_an_action_id_belongs_to_the_action_that_waits(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()
        peer.say(b"Response: Error\r\nMessage: Missing action in request\r\n\r\n")
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        assert client.action("X").message == "Missing action in request"


@pytest.mark.parametrize(
    "answer",
    [
        "Response: Success\r\nActionID: {id}\r\nMessage: Command output follows\r\n"
        "Output: a: 1\r\nOutput: \r\nOutput: z\r\n\r\n",
        "Response: Follows\r\nPrivilege: Command\r\nActionID: {id}\r\na: 1\n\nz\n--END COMMAND--\r\n\r\n",
    ],
    ids=["14 and later", "13 and older"],
)
def test_command_gives_every_line(make_client: MakeClient, answer: str) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        command = peer.hear()
        assert command.get("Command") == "core show version"
        peer.say(answer.format(id=command.action_id).encode())
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        reply = client.command("core show version")
        assert reply.output == ["a: 1", "", "z"]


def test_an_action_that_can_not_be_sent_harms_nothing(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear())
        peer.hear()
        assert [action.name for action in peer.seen] == ["Challenge", "Login", "Ping", "Logoff"]

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(InvalidAction) as caught:
            client.action("Ping", {"X": "a\r\n\r\nAction: Command"})
        assert caught.value.sent is False
        assert client.action("Ping").success
        client.close()


def test_an_action_without_an_answer_ends_in_time_and_its_late_answer_is_expected(
    make_client: MakeClient,
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        slow = peer.hear()
        quick = peer.hear()
        peer.answer(slow, "Ping: late")
        peer.answer(quick, "Ping: Pong")
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ActionTimeout) as caught:
            client.action("Slow", timeout=0.1)
        assert caught.value.sent is True
        assert client.action("Ping").response.get("Ping") == "Pong"
        assert not client.client.anomalies


def test_a_closed_connection_fails_what_waits_as_possibly_seen(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ConnectionLost) as caught:
            client.action("Originate")
        assert caught.value.sent is True
        with pytest.raises(ConnectionLost) as caught:
            client.action("Originate")
        assert caught.value.sent is False


def test_a_client_that_never_connected_sends_nothing(make_client: MakeClient) -> None:
    client = make_client(TCP("127.0.0.1", 1))
    with pytest.raises(ConnectionLost) as caught:
        client.action("Ping")
    assert caught.value.sent is False


def test_a_client_can_connect_again(make_client: MakeClient) -> None:
    def short(peer: Peer) -> None:
        peer.log_in()
        peer.hear()

    with scripted(short, idle) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises(ConnectionLost):
            client.action("Ping")
        client.connect()
        assert client.client.connected


def test_events_come_in_order_with_those_of_the_login_among_them(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        login = peer.hear()
        peer.say(
            f"Response: Success\r\nActionID: {login.action_id}\r\n\r\n"
            f"Event: FullyBooted\r\n\r\nEvent: A\r\n\r\nEvent: B\r\n\r\n".encode()
        )
        peer.hear()

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        client.connect()
        assert [client.next_event().name for _ in range(3)] == ["FullyBooted", "A", "B"]


def test_events_before_the_end_are_read_and_then_the_end_is_an_error(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"Event: Shutdown\r\n\r\n")

    with scripted(script) as pbx:
        client = make_client(pbx, events="on")
        client.connect()
        assert client.next_event().name == "Shutdown"
        with pytest.raises(ConnectionLost):
            client.next_event()


# -- opening, and what can be wrong with it


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_an_unknown_name_is_named(make_client: MakeClient) -> None:
    with pytest.raises(NameNotResolved, match="no-such-host.invalid") as caught:
        make_client(TCP("no-such-host.invalid")).connect()
    assert caught.value.phase == "resolve"
    assert caught.value.sent is False


def test_a_closed_port_is_refused(make_client: MakeClient) -> None:
    with pytest.raises(ConnectRefused, match="Nothing listens") as caught:
        make_client(TCP("127.0.0.1", free_port())).connect()
    assert caught.value.phase == "connect"


def test_a_host_that_does_not_answer_ends_within_the_limit(make_client: MakeClient) -> None:
    # A full backlog: the kernel drops further SYNs, like a firewall would.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        started = time.monotonic()
        with pytest.raises(ConnectTimeout, match="didn't answer"):
            make_client(TCP(*address), timeouts=Timeouts(connect=0.3)).connect()
        assert time.monotonic() - started < 5
        for filler in fillers:
            filler.close()


def test_silence_instead_of_a_banner_ends_within_the_limit(make_client: MakeClient) -> None:
    with scripted(lambda peer: peer.hear() and None) as pbx, pytest.raises(NoBanner, match="said nothing"):
        make_client(pbx).connect()


def test_a_close_before_the_banner_is_named(make_client: MakeClient) -> None:
    with scripted(lambda peer: None) as pbx, pytest.raises(NoBanner, match="authlimit"):
        make_client(pbx).connect()


@pytest.mark.parametrize(
    ("greeting", "what"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"),
        (b"220 mail.example.org ESMTP\r\n", "220 mail"),
        (b"\x00\x01\x02 no line end", "no line end"),
    ],
)
def test_another_protocol_is_named(make_client: MakeClient, greeting: bytes, what: str) -> None:
    def script(peer: Peer) -> None:
        peer.say(greeting)
        peer.hear()

    with scripted(script) as pbx, pytest.raises(NotAMI, match=what):
        make_client(pbx).connect()


def test_a_refused_login_tells_the_words_of_the_pbx(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(script) as pbx, pytest.raises(LoginFailed, match="Authentication failed"):
        make_client(pbx).connect()


def test_a_login_that_is_never_answered_ends_within_the_limit(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        while True:
            peer.hear()

    with scripted(script) as pbx, pytest.raises(LoginTimeout):
        make_client(pbx, timeouts=Timeouts(login=0.2)).connect()


def test_a_connection_closed_during_the_login_is_no_refusal(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.hear()

    with scripted(script) as pbx, pytest.raises(LoginError, match="during the login") as caught:
        make_client(pbx).connect()
    assert not isinstance(caught.value, LoginFailed)


def refuse_challenge(peer: Peer) -> None:
    peer.say(BANNER)
    peer.answer(peer.hear(), "Message: Must specify AuthType", response="Error")
    login = peer.hear()
    assert login.get("Secret") == "hunter2"
    peer.answer(login)
    peer.hear()


def test_a_plain_login_is_sent_over_loopback_where_the_challenge_is_refused(make_client: MakeClient) -> None:
    with scripted(refuse_challenge) as pbx:
        client = make_client(pbx)
        client.connect()
        assert client.client.connected


def test_a_plain_login_is_never_sent_where_others_could_read_it(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Message: no", response="Error")
        with pytest.raises((EOFError, OSError)):
            peer.hear()

    # The only addresses of this machine that a test may use are its own.
    for module in ("blocking", "aio"):
        monkeypatch.setattr(f"ami_integration.ami.{module}.is_private", lambda transport, peer: False)
    with scripted(script) as pbx, pytest.raises(LoginFailed, match="Use TLS"):
        make_client(pbx).connect()


def test_no_error_shows_the_secret(make_client: MakeClient) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        peer.answer(peer.hear(), "Challenge: 1")
        peer.answer(peer.hear(), "Message: Authentication failed", response="Error")

    with scripted(script) as pbx:
        client = make_client(pbx)
        with pytest.raises(LoginFailed) as caught:
            client.connect()
        text = (
            "".join(traceback.format_exception(caught.value)) + repr(client.client) + repr(vars(caught.value))
        )
        assert "hunter2" not in text


def test_an_error_survives_pickling_with_its_facts() -> None:
    error = pickle.loads(pickle.dumps(ConnectTimeout("slow", phase="tls")))  # noqa: S301 - our own bytes
    assert (str(error), error.phase, error.sent) == ("slow", "tls", False)
    assert Action("Ping").encode()


def test_an_answer_of_more_than_16_mib_ends_the_session_unless_it_is_to_be_cut(
    make_client: MakeClient,
) -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        line = b"Output: " + b"x" * 1000 + b"\r\n"
        peer.say(b"Response: Success\r\nActionID: %s\r\n" % str(action.action_id).encode() + line * 17_000)
        peer.say(b"\r\n")

    with scripted(script) as pbx:
        client = make_client(pbx)
        client.connect()
        with pytest.raises((MessageTooLarge, ConnectionLost), match="16777216 bytes") as failed:
            client.action("Command", {"Command": "x"})
        assert failed.value.sent
        assert not client.client.connected


def test_a_worker_may_have_the_beginning_of_an_answer_and_go_on_with_the_session() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        action = peer.hear()
        peer.answer(action, *["Output: " + "x" * 100] * 1_000)
        while (action := peer.hear()).name != "Logoff":
            peer.answer(action, "Ping: Pong")

    with (
        scripted(script) as pbx,
        AMIClient(pbx, username="u", secret="hunter2", max_message=50_000, cut_answers=True) as client,
    ):
        reply = client.command("core show much")
        assert set(reply.output) == {"x" * 100} and 400 < len(reply.output) < 500
        assert 50_000 < reply.missing < 70_000
        again = client.action("Ping")
        assert (again.response.get("Ping"), again.missing) == ("Pong", 0)
