"""What manager.conf changes for a client, on an Asterisk that is set up unlike the others.

Limits before the login, accounts that are refused, permissions that change, and events that look otherwise.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ami_integration.ami import (
    TCP,
    ActionTimeout,
    AMIClient,
    LoginError,
    LoginFailed,
    NoBanner,
    Timeouts,
)
from tests.pbx.asterisk import Asterisk
from tests.pbx.capture import Recorder, Wire
from tests.pbx.conftest import Connect
from tests.pbx.fixtures import SUITE_OF, prepared
from tests.polling import wait_until

pytestmark = pytest.mark.pbx

SECONDS = 15.0
AUTHLIMIT = 4
AUTHTIMEOUT = 2

_RARE = f"""\
authlimit = {AUTHLIMIT}
authtimeout = {AUTHTIMEOUT}
timestampevents = yes
debug = on
brokeneventsaction = yes
disabledevents = DeviceStateChange
"""
_ACCOUNTS = """
; Known, and nowhere welcome.
[denied]
secret = @SECRET@
read = all
write = all
deny = 0.0.0.0/0.0.0.0

; One session at a time.
[single]
secret = @SECRET@
read = all
write = all
allowmultiplelogin = no

; Loses a class while it is logged in.
[changing]
secret = @SECRET@
read = all
write = all
"""


@pytest.fixture(scope="module", params=list(SUITE_OF))
def strict_asterisk(request: pytest.FixtureRequest) -> Iterator[Asterisk]:
    """One with the rarer settings, and accounts `denied`, `single` and `changing`."""
    asterisk = prepared(request.param)
    conf = asterisk.folder / "etc" / "manager.conf"
    text = conf.read_text().replace("[general]\n", f"[general]\n{_RARE}", 1)
    secret = asterisk.users["admin"][1]
    conf.write_text(text + _ACCOUNTS.replace("@SECRET@", secret))
    asterisk.users |= {role: (role, secret) for role in ("denied", "single", "changing")}
    with asterisk:
        yield asterisk


def log_in(wire: Wire, username: str, secret: str) -> None:
    wire.send(b"Action: Challenge\r\nAuthType: MD5\r\n\r\n")
    challenge = wire.wait(r"Challenge: (\d+)\r\n")[1]
    key = hashlib.md5(challenge + secret.encode(), usedforsecurity=False).hexdigest()
    wire.send(f"Action: Login\r\nUsername: {username}\r\nAuthType: MD5\r\nKey: {key}\r\n\r\n".encode())


# Before the login


def test_beyond_authlimit_the_connection_is_closed_without_a_banner(
    strict_asterisk: Asterisk, connect: Connect
) -> None:
    waiting = [Wire(strict_asterisk) for _ in range(AUTHLIMIT)]
    try:
        with pytest.raises(NoBanner, match="authlimit") as caught:
            connect(strict_asterisk)
        assert caught.value.reason == "closed"
    finally:
        for wire in waiting:
            wire.close()

    def welcome() -> bool:
        try:
            connect(strict_asterisk)
        except NoBanner:
            return False
        return True

    wait_until(welcome, seconds=SECONDS, what="room for another session")


def test_who_does_not_log_in_is_sent_away_without_a_word(strict_asterisk: Asterisk) -> None:
    with closing(Wire(strict_asterisk)) as wire:
        started = time.monotonic()
        assert wire.drain(SECONDS)
        assert time.monotonic() - started >= AUTHTIMEOUT - 1
        assert wire.received.count(b"\r\n") == 1  # the banner's


def test_a_login_that_comes_too_late_is_told_as_a_closed_connection(strict_asterisk: Asterisk) -> None:
    username, secret = strict_asterisk.users["admin"]
    client = AMIClient(TCP(strict_asterisk.host, strict_asterisk.port), username=username, secret=secret)
    client.open()
    assert client._sock is not None
    client._sock.settimeout(SECONDS)
    assert client._sock.recv(1) == b""  # the PBX's end, seen beside the client
    with pytest.raises(LoginError, match="during the login") as caught:
        client.login()
    assert not isinstance(caught.value, LoginFailed)


# Refused


def refusal(asterisk: Asterisk, username: str, secret: str) -> tuple[bytes, bool, float]:
    with closing(Wire(asterisk)) as wire:
        started = time.monotonic()
        log_in(wire, username, secret)
        closed = wire.drain(SECONDS)
        return re.sub(rb"Challenge: \d+", b"", wire.received), closed, time.monotonic() - started


def test_an_account_refused_by_its_acl_looks_like_a_wrong_secret(strict_asterisk: Asterisk) -> None:
    """To the byte, the second that it takes, and the end: so a client can't tell them apart."""
    secret = strict_asterisk.users["admin"][1]
    seen = [
        refusal(strict_asterisk, "denied", secret),
        refusal(strict_asterisk, "nobody", secret),
        refusal(strict_asterisk, "admin", "wrong"),
    ]
    answers = {(answer, closed) for answer, closed, _ in seen}
    assert len(answers) == 1
    assert all(0.9 <= took < 1.9 for _, _, took in seen), seen


def test_another_session_that_reads_security_is_told_why_a_login_failed(strict_asterisk: Asterisk) -> None:
    secret = strict_asterisk.users["admin"][1]
    with closing(Recorder(strict_asterisk)) as watching:
        for username, given, why in (
            ("denied", secret, "FailedACL"),
            ("nobody", secret, "InvalidAccountID"),
            ("admin", "wrong", "ChallengeResponseFailed"),
        ):
            refusal(strict_asterisk, username, given)
            watching.wait(rf"Event: {why}\r\nPrivilege: security,all\r\n")


def test_a_client_names_all_three_reasons_of_a_refused_login(
    strict_asterisk: Asterisk, connect: Connect
) -> None:
    said = []
    for role, options in (("denied", {}), ("admin", {"secret": "wrong"})):
        with pytest.raises(LoginFailed, match="the name, the secret or this machine's address") as caught:
            connect(strict_asterisk, role, **options)
        assert caught.value.reason == "refused"
        said.append(str(caught.value).replace(role, "?"))
    assert said[0] == said[1]


def test_an_account_of_one_session_refuses_the_second_even_at_the_challenge(
    strict_asterisk: Asterisk, connect: Connect
) -> None:
    first = connect(strict_asterisk, "single")
    with pytest.raises(LoginFailed, match="Login Already In Use") as caught:
        connect(strict_asterisk, "single")
    assert caught.value.reason == "in_use"
    with closing(Wire(strict_asterisk)) as wire:
        wire.send(b"Action: Challenge\r\nAuthType: MD5\r\nUsername: single\r\n\r\n")
        assert wire.drain(SECONDS)
        assert wire.received.endswith(b"Response: Error\r\nMessage: Login Already In Use\r\n\r\n")
    assert first.action("Ping").success


def test_permissions_are_those_of_the_login(strict_asterisk: Asterisk, connect: Connect) -> None:
    before = connect(strict_asterisk, "changing")
    conf = strict_asterisk.folder / "etc" / "manager.conf"
    head, section, tail = conf.read_text().partition("[changing]\n")
    conf.write_text(head + section + tail.replace("write = all", "write =", 1))
    try:
        strict_asterisk.cli("manager reload")
        after = connect(strict_asterisk, "changing")
        assert after.action("CoreStatus").message == "Permission denied"
        assert before.action("CoreStatus").success
    finally:
        conf.write_text(head + section + tail)
        strict_asterisk.cli("manager reload")


# Events


@pytest.mark.parametrize("mask", ["on", "all"])
def test_with_brokeneventsaction_some_masks_are_never_answered_and_the_session_goes_on(
    strict_asterisk: Asterisk, connect: Connect, mask: str
) -> None:
    client = connect(strict_asterisk, timeouts=Timeouts(action=0.5))
    with pytest.raises(ActionTimeout) as caught:
        client.set_events_mask(mask)
    assert caught.value.sent is True
    assert client.action("Ping", timeout=SECONDS).success
    assert not client.client.anomalies


def test_the_headers_of_an_event_have_their_order(strict_asterisk: Asterisk) -> None:
    with closing(Recorder(strict_asterisk)) as session:
        session.response("UserEvent", UserEvent="Ordered")
        event = session.wait(r"Event: UserEvent\r\n(?s:.*?)\r\n\r\n")[0]
        names = re.findall(rb"^([^:\r\n]+):", event, re.MULTILINE)
        assert names[:8] == [
            b"Event", b"Privilege", b"Timestamp", b"SequenceNumber", b"File", b"Line", b"Func", b"UserEvent",
        ]  # fmt: skip
        assert re.search(rb"\r\nTimestamp: \d+\.\d{6}\r\n", event)


def test_sequence_numbers_count_what_a_session_is_not_shown(strict_asterisk: Asterisk) -> None:
    with (
        closing(Recorder(strict_asterisk)) as everything,
        closing(Recorder(strict_asterisk, events="user")) as session,
    ):
        session.response("UserEvent", UserEvent="Mine")
        session.wait("UserEvent: Mine\r\n")
        everything.response("Originate", Channel="Local/answer@phones", Application="Wait", Data="1")
        everything.wait("Event: Hangup\r\n", 2)
        session.response("UserEvent", UserEvent="Mine")
        session.wait("UserEvent: Mine\r\n", 2)
        first, second = (int(number) for number in re.findall(rb"SequenceNumber: (\d+)", session.received))
        assert second - first > 5


def test_disabled_events_are_shown_to_nobody(strict_asterisk: Asterisk) -> None:
    with closing(Recorder(strict_asterisk)) as session:
        session.response("Originate", Channel="Local/answer@phones", Application="Wait", Data="1")
        session.wait("Event: Hangup\r\n", 2)
        assert b"Event: Newstate\r\n" in session.received
        assert b"Event: DeviceStateChange\r\n" not in session.received
