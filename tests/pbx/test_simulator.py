"""The same script runs against the simulator and against a real Asterisk, and the answers are built alike.

What a client must be ready for is compared: how many messages come, of what kind, with which headers in which
order, and every sentence that says no. Values that belong to one PBX (times, its channels, its version) are
not. So the simulator can't be kinder than the real one, nor stricter, where this script leads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from ami_integration.simulator import Account, EventClass, Limits
from tests.pbx.asterisk import Asterisk
from tests.pbx.fixtures import running
from tests.polling import wait_until
from tests.simulator.comparison import Message
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI
from tests.simulator.recording.exchanges import BEFORE_LOGIN, EXCHANGES, PING, action, raw

pytestmark = pytest.mark.pbx

TO = ("Context: office", "Exten: 100", "Priority: 1")
WAIT = ("Application: Wait", "Data: 1")
PHONE = "Channel: Local/answer@phones"
#: Besides those of the recording: what must not depend on the office, which the two don't share.
OWN = {
    "originate-refused": "".join(
        action("Originate", *lines, action_id=str(number))
        for number, lines in enumerate(
            [
                TO,
                ("Channel: Local", *TO),
                (PHONE, "Context: office", "Exten: 100", "Priority: one"),
                (PHONE, *TO, "Timeout: soon"),
                (PHONE, "Context: nowhere", "Exten: 100", "Priority: 1"),
                (PHONE,),
                (PHONE, "Exten: 100"),
                (PHONE, *WAIT, f"ChannelId: {'x' * 200}"),
            ]
        )
    ),
    "originate-queued": action("Originate", "Channel: Nonsense/1", *WAIT, "Async: true"),
    "originate-failed": action("Originate", "Channel: Nonsense/1", *WAIT),
    "pipelined": "".join(action("Ping", action_id=f"p{number}") for number in range(50)),
    "action-id-with-blanks": raw("Action: Ping", "ActionID:  two  words ", ""),
    "variable-that-is-no-pair": action(
        "Originate", "Channel: Nonsense/1", *WAIT, "Variable: x", "Async: true"
    ),
}
#: The two have other phones, queues and extensions.
OF_THE_OFFICE = {"originate-errors", "queue-status-one", "queue-status-member"}
#: The simulator is a 22; these headers have come since 16.
SINCE_16 = {"CoreProcessedCalls", "SoundsSearchCustomDir"}
SCRIPT = {name: text for name, text in EXCHANGES.items() if name not in OF_THE_OFFICE} | OWN


@pytest.fixture(scope="module", params=["22", "16"])
def asterisk(request: pytest.FixtureRequest) -> Iterator[Asterisk]:
    """One of this module's own: on the shared one, another test's calls may still go on and be listed."""
    yield from running(request.param)


@pytest.fixture
def pbx(make_simulator: Callable[..., Simulator], asterisk: Asterisk) -> Simulator:
    username, secret = asterisk.users["admin"]
    return make_simulator(accounts=[Account(username, secret)], limits=Limits(login_failed_pause=0.01))


def played(host: str, port: int, account: tuple[str, str], text: str, *, login: bool) -> list[Message]:
    with RawAMI(host, port, seconds=20) as ami:
        if login:
            ami.log_in(*account, "Events: off")
        else:
            ami.read_until(b"\r\n")
            username, secret = account
            text = text.replace("Username: recorder", f"Username: {username}")
            text = text.replace("Secret: recorder", f"Secret: {secret}")
        ami.data = b""
        ami.send(text + PING)
        while not ami.ended and not re.search(rb"ActionID: last\r\n(?s:.*)\r\n\r\n$", ami.data):
            ami.receive()
        return ami.messages()


def structure(found: list[Message]) -> list[object]:
    """What of an answer must be alike. Items of lists: each kind once, for how many there are differs."""
    shapes: list[object] = []
    for message in found:
        kind, value = message[0]
        if value == "SuccessfulAuth":  # another thread of the PBX tells it, before or after what follows
            continue
        names = [name for name, _ in message if name not in SINCE_16]
        if "Output" in names:
            names = names[: names.index("Output") + 1]
        elif any("(Priv: " in text for _, text in message):  # ListCommands: each has actions of its own
            names = names[:2]
        said = dict(message).get("Message", "")
        shape = (kind, value, tuple(names), said)
        if kind != "Event" or shape not in shapes:
            shapes.append(shape)
    return shapes


@pytest.mark.parametrize("name", sorted(SCRIPT))
def test_an_exchange_is_answered_alike(name: str, asterisk: Asterisk, pbx: Simulator) -> None:
    account, text = asterisk.users["admin"], SCRIPT[name]
    real = structure(played(asterisk.host, asterisk.port, account, text, login=True))
    simulated = structure(played(pbx.host, pbx.port, account, text, login=True))
    assert simulated == real


@pytest.mark.parametrize("name", sorted(BEFORE_LOGIN))
def test_a_beginning_is_answered_alike(name: str, asterisk: Asterisk, pbx: Simulator) -> None:
    account, text = asterisk.users["admin"], BEFORE_LOGIN[name]
    real = structure(played(asterisk.host, asterisk.port, account, text, login=False))
    simulated = structure(played(pbx.host, pbx.port, account, text, login=False))
    assert simulated == real


def test_headers_that_came_after_16_are_in_22(asterisk22: Asterisk) -> None:
    account = asterisk22.users["admin"]
    text = SCRIPT["core-settings"] + SCRIPT["core-status"]
    found = played(asterisk22.host, asterisk22.port, account, text, login=True)
    assert {name for message in found for name, _ in message} >= SINCE_16


def test_an_account_that_may_not_is_refused_alike(
    asterisk: Asterisk, make_simulator: Callable[..., Simulator]
) -> None:
    account = asterisk.users["readonly"]
    pbx = make_simulator(accounts=[Account(*account, write=EventClass.NONE)])
    text = "".join(
        action(name, action_id=name)
        for name in ("CoreSettings", "Hangup", "Originate", "Command", "QueueStatus")
    )
    real = structure(played(asterisk.host, asterisk.port, account, text, login=True))
    assert structure(played(pbx.host, pbx.port, account, text, login=True)) == real


def test_a_session_that_does_not_read_is_cut_off_alike(
    asterisk: Asterisk, make_simulator: Callable[..., Simulator]
) -> None:
    """Both after writetimeout, without Goodbye, and the rest of what they had to say is lost."""
    account = asterisk.users["slow"]
    simulated = make_simulator(accounts=[Account(*account)], limits=Limits(buffer_bytes=1 << 26))
    lines = [("X", "x" * 1000)] * 100
    flood = "".join(f"{name}: {value}\r\n" for name, value in lines)
    with (
        RawAMI(asterisk.host, asterisk.port, seconds=20) as slow,
        RawAMI(asterisk.host, asterisk.port, seconds=20) as other,
    ):
        slow.log_in(*account)
        other.log_in(*asterisk.users["admin"], "Events: off")
        for _ in range(200):  # 20 MB, more than the sockets of both sides hold
            other.send(f"Action: UserEvent\r\nUserEvent: Flood\r\n{flood}\r\n")
        other.action("Ping")
        wait_until(
            lambda: account[0] not in asterisk.cli("manager show connected"),
            seconds=15, what="the session gone from Asterisk",
        )  # fmt: skip
        real = slow.read_to_the_end()
    with RawAMI(simulated.host, simulated.port, seconds=20) as slow:
        slow.log_in(*account)
        simulated.emit("UserEvent", [("UserEvent", "Flood"), *lines], "user", times=200)
        wait_until(lambda: simulated.sessions == 0, seconds=15, what="the session gone from the simulator")
        told = slow.read_to_the_end()
    for data in (real, told):
        assert 0 < data.count(b"UserEvent: Flood\r\n") < 200
        assert b"Goodbye" not in data
        # In the middle of an event: the socket was full.
        assert not data.endswith(b"\r\n\r\n")
