"""The simulator's actions against a real Asterisk's: the same requests, step by step, with their events.

Each step is sent to both, with the names that the queue, the member or the channel has there. Compared is
what test_simulator.py compares, and of some headers (VALUES) the values too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from ami_integration.simulator import Account, EventClass, Plan, people
from ami_integration.simulator.catalogue import DESCRIPTIONS, EVENTS
from ami_integration.simulator.originating import Originate, originate
from tests.pbx.asterisk import Asterisk
from tests.pbx.fixtures import running
from tests.pbx.simulator_steps import (
    DATABASE,
    GLOBALS,
    MEMBERS,
    OF_A_CHANNEL,
    OF_A_CONFERENCE,
    OF_THE_CLI,
    OTHERS,
    REAL,
    SIMULATED,
    Step,
)
from tests.polling import wait_until
from tests.simulator.comparison import Message
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI
from tests.simulator.recording.exchanges import action

pytestmark = pytest.mark.pbx

VALUES = {
    "Message", "Paused", "Penalty", "PausedReason", "Membership", "Variable", "Value", "Val", "Family",
    "UserEvent", "Muted", "StatusText", "Conference", "Interface", "MemberName", "Category-000000",
    "Response",
}  # fmt: skip
#: Made by other threads for reasons of their own, or only by a build for tests.
ELSEWHERE = {"TestEvent", "SuccessfulAuth", "ExtensionStatus"}
SINCE_16 = {"CoreProcessedCalls", "EndMarkedAny"}
PAGES = [description.name for description in DESCRIPTIONS]


class Player:
    """A session that sends steps and gives what came of each, events included."""

    def __init__(self, host: str, port: int, account: tuple[str, str], names: Mapping[str, str]) -> None:
        self.ami = RawAMI(host, port, seconds=20)
        self.names = dict(names)
        self.ami.log_in(*account)
        self._steps = 0

    def send(self, step: Step) -> None:
        """Send a step and read its whole answer."""
        self._steps += 1
        last = f"ActionID: end{self._steps}\r\n".encode()
        text = action(step[0], *(line.format_map(self.names) for line in step[1:]))
        self.ami.data = b""
        self.ami.send(text + action("Ping", action_id=last.decode()[10:-2]))
        self.ami.read_until(last)
        while not self.ami.data.endswith(b"\r\n\r\n"):
            assert self.ami.receive()

    def found(self) -> list[object]:
        """What came until now: the answer in its order, then the events in theirs by name."""
        answers: list[object] = []
        events: list[object] = []
        for message in self.ami.messages():
            if ("Ping", "Pong") in message or message[0][1] in ELSEWHERE:
                continue
            fields = dict(message)
            is_event = message[0][0] == "Event" and "Privilege" in fields and fields["Privilege"] != "Call"
            if is_event and not self._of_interest(fields):
                continue
            shape = self._shape(message)
            if is_event:
                events.append(shape)
            elif message[0][0] != "Event" or shape not in answers:
                answers.append(shape)
        return [*answers, *sorted(events, key=repr)]

    def _of_interest(self, fields: dict[str, str]) -> bool:
        """Whether an event is of the step and not of what the channels do meanwhile."""
        name = fields["Event"]
        if name == "DeviceStateChange":
            return "_pause_" in fields["Device"] or fields["Device"].startswith("Custom:")
        if name == "VarSet":
            return fields["Variable"].lower() in {"colour", "__wide", "a b"}
        return name.startswith(("QueueMember", "UserEvent", "ConfbridgeMute", "ConfbridgeUnmute"))

    def _output(self, lines: list[str]) -> tuple[str, ...]:
        """What a command printed, with names and numbers as marks; of a usage, that it is one."""
        if lines[0].startswith("Usage:"):
            return ("Usage:",)
        text = "\n".join(lines)
        for name, value in sorted(self.names.items(), key=lambda item: -len(item[1])):
            text = text.replace(value, f"<{name}>")
        text = re.sub(r"\b1 (second|minute)\b", r"1 \1s", text)  # of an uptime
        return tuple(re.sub(r"\d+", "N", text).split("\n"))

    def _shape(self, message: Message) -> object:
        back = {value: f"<{name}>" for name, value in self.names.items()}
        names, values = [], []
        for name, value in message:
            if name in SINCE_16 or (name == "Reason" and ("Event", "QueueMemberPause") in message):
                continue
            names.append(name)
            if name in VALUES and not re.fullmatch(r"\d{10}\.\d+", value):
                values.append((name, back.get(value, value).replace("priveledges", "privileges")))
        kind = message[0]
        if "EndpointList" in kind or any(name.startswith("Line-") for name in names):
            names = names[:3]
        if "Output" in names:
            output = self._output([value for name, value in message if name == "Output"])
            return (kind, tuple(names[: names.index("Output") + 1]), tuple(values), output)
        return (kind, tuple(names), tuple(values))


@pytest.fixture(scope="module", params=["22", "16"])
def asterisk(request: pytest.FixtureRequest) -> Iterator[Asterisk]:
    """One of this module's own: its queues and its database are as they began."""
    yield from running(request.param)


@pytest.fixture
def pbx(make_simulator: Callable[..., Simulator], asterisk: Asterisk) -> Simulator:
    return make_simulator(accounts=[Account(*asterisk.users["admin"])])


@pytest.fixture
def players(asterisk: Asterisk, pbx: Simulator) -> Iterator[tuple[Player, Player]]:
    account = asterisk.users["admin"]
    real = Player(asterisk.host, asterisk.port, account, REAL)
    simulated = Player(pbx.host, pbx.port, account, SIMULATED)
    yield real, simulated
    real.ami.action("Hangup", "Channel: /./")
    wait_until(
        lambda: "0 active channels" in asterisk.cli("core show channels"), seconds=15, what="no channel left"
    )
    real.ami.close()
    simulated.ami.close()


def play(players: tuple[Player, Player], steps: tuple[Step, ...]) -> None:
    real, simulated = players
    for step in steps:
        simulated.send(step)
        expected = simulated.found()
        real.send(step)
        # The real one's events come when its threads get to it.
        deadline = time.monotonic() + 5
        while len(real.found()) < len(expected) and time.monotonic() < deadline:
            real.ami.stays_silent(0.2)
        assert expected == real.found(), step


@pytest.mark.parametrize(
    "steps", [MEMBERS, DATABASE, GLOBALS, OTHERS], ids=["members", "database", "globals", "others"]
)
def test_the_same_steps_have_the_same_answers_and_events(
    steps: tuple[Step, ...], players: tuple[Player, Player]
) -> None:
    play(players, steps)


def test_commands_of_the_cli_are_answered_alike(players: tuple[Player, Player]) -> None:
    play(players, tuple(("Command", f"Command: {line}") for line in OF_THE_CLI))


def test_a_channel_is_read_changed_sent_elsewhere_and_ended_alike(
    players: tuple[Player, Player], pbx: Simulator
) -> None:
    real, _ = players
    real.ami.action("Originate", "Channel: Local/hold@phones/n", "Application: Wait", "Data: 60")
    wanted = Originate("PJSIP/100", application="Wait", data="60")
    pbx.call(lambda: originate(pbx.office, wanted, Plan(answer=0.01)))
    for player in players:
        learn_the_channel(player)
    play(players, OF_A_CHANNEL)


def test_a_conference_is_listed_muted_and_kicked_alike(
    players: tuple[Player, Player], pbx: Simulator
) -> None:
    real, _ = players
    to = ("Context: office", "Exten: conference", "Priority: 1")
    real.ami.send(action("Originate", "Channel: Local/hold@phones/n", *to))
    pbx.call(lambda: people.call_from_phone(pbx.office, "100", "700", Plan(talk=600)))
    for player in players:
        player.ami.read_until(b"Event: ConfbridgeJoin")
        learn_the_channel(player)
    play(players, OF_A_CONFERENCE)
    for player in players:
        player.send(("ConfbridgeKick", "Conference: {room}", "Channel: {channel}"))
        assert b"Message: User kicked" in player.ami.data
        player.ami.read_until(b"Event: ConfbridgeEnd")
        player.ami.read_until(b"Application: Hangup")
        assert b"Variable: CONFBRIDGE_RESULT\r\nValue: KICKED" in player.ami.data


def learn_the_channel(player: Player) -> None:
    """Have the steps mean the first channel that is up and no ;2."""

    def found() -> dict[str, str] | None:
        player.send(("CoreShowChannels",))
        listed = [dict(message) for message in player.ami.messages() if ("ChannelStateDesc", "Up") in message]
        return next((fields for fields in listed if not fields["Channel"].endswith(";2")), None)

    fields = wait_until(found, seconds=15, what="a channel that is up")
    assert fields is not None
    name = fields["Channel"]
    player.names |= {"channel": name, "lower": name.lower(), "uniqueid": fields["Uniqueid"]}
    player.names["beginning"] = name[:-3]


def test_an_account_without_the_class_is_refused_alike(
    asterisk: Asterisk, make_simulator: Callable[..., Simulator]
) -> None:
    account = asterisk.users["readonly"]
    pbx = make_simulator(accounts=[Account(*account, write=EventClass.NONE)])
    real = Player(asterisk.host, asterisk.port, account, REAL)
    simulated = Player(pbx.host, pbx.port, account, SIMULATED)
    names = {step[0] for steps in (MEMBERS, DATABASE, GLOBALS, OTHERS, OF_A_CHANNEL) for step in steps}
    free = {"QueueStatus", "QueueSummary"}
    play((real, simulated), tuple((name,) for name in sorted(names - free)))
    real.ami.close()
    simulated.ami.close()


def test_no_sentence_of_the_real_pages_is_in_the_simulators(
    asterisk22: Asterisk, make_simulator: Callable[..., Simulator]
) -> None:
    account = asterisk22.users["admin"]
    pbx = make_simulator(accounts=[Account(*account)])
    said = []
    for host, port in ((asterisk22.host, asterisk22.port), (pbx.host, pbx.port)):
        with RawAMI(host, port, seconds=20) as ami:
            ami.log_in(*account, "Events: off")
            pages = [_sentences(ami, f"manager show command {name}") for name in PAGES]
            pages += [_sentences(ami, f"manager show event {name}") for name in EVENTS]
            said.append(set().union(*pages))
    real, simulated = said
    assert sorted(real & simulated) == []


def _sentences(ami: RawAMI, command: str) -> set[str]:
    """What a page says in four words or more, in whatever lines."""
    (page,) = ami.action("Command", f"Command: {command}")
    lines = [value.strip() for header, value in page if header == "Output"]
    paragraphs = "\n".join(line for line in lines if not line.startswith(("[", "-=", "See"))).split("\n\n")
    found = {
        sentence.strip(" .")
        for paragraph in paragraphs
        for sentence in re.split(r"[.:;] |\n(?=[A-Za-z]+\n)|^\w+\n", paragraph.replace(" - ", ". "))
    }
    return {
        " ".join(text.split())
        for text in found
        if len(re.findall(r"\b[a-z]{2,}\b", text)) >= 4 and "<value>" not in text and " " in text
    }
