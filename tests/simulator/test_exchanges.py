"""The simulator answers actions, and refuses what it refuses, as a real Asterisk 22 answered them."""

import re
from pathlib import Path

import pytest

from ami_integration.simulator import Account, Limits, Plan, people
from ami_integration.simulator.catalogue import DESCRIPTIONS
from tests.simulator.comparison import Message, Normaliser, capture_folders, messages
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI
from tests.simulator.recording.exchanges import BEFORE_LOGIN, EXCHANGES, PING, action
from tests.simulator.scenes import DANA, SETTINGS

FOLDERS = [folder / "exchanges" for folder in capture_folders()]
# Told in the simulator's own words; looked at below.
OWN_WORDS = {name for name in EXCHANGES if "manager-show" in name} | {
    "list-commands",
    "command-core-show-uptime",
}
# Where the simulator has to say that it is one, or which PBX it is.
_MARKED = {"AsteriskVersion", "SystemName", "LocalAddress", "RemoteAddress", "LoginTime"}
_MARKS = {"CoreStartupDate", "CoreStartupTime", "CoreReloadDate", "CoreReloadTime", "CoreProcessedCalls"}


@pytest.fixture
def pbx(make_simulator: object) -> Simulator:
    return make_simulator(  # type: ignore[operator,no-any-return]
        settings=SETTINGS, accounts=[Account("recorder", "recorder")], limits=Limits(login_failed_pause=0.01)
    )


def _normal(found: list[Message]) -> list[Message]:
    normaliser = Normaliser()
    result = []
    for message in found:
        normal = []
        for name, value in normaliser.message(message):
            if name in _MARKED | _MARKS:
                value = "own"
            if name == "Output" and re.search(
                r"^Asterisk 22|processed$|Shows Asterisk version|Shows the version", value
            ):
                value = "own"
            normal.append((name, value))
        result.append(normal)
    return result


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
@pytest.mark.parametrize("name", sorted(set(EXCHANGES) - OWN_WORDS))
def test_an_exchange_goes_as_with_the_real_one(name: str, folder: Path, pbx: Simulator) -> None:
    capture = messages((folder / f"{name}.ami").read_bytes())
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder", "Events: off")
        ami.data = b""
        ami.send(EXCHANGES[name] + PING)
        assert _normal(ami.read_messages(len(capture))) == _normal(capture)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
@pytest.mark.parametrize("name", BEFORE_LOGIN)
def test_a_beginning_goes_as_with_the_real_one(name: str, folder: Path, pbx: Simulator) -> None:
    captured = (folder / f"{name}.ami").read_bytes()
    with RawAMI(pbx.host, pbx.port) as ami:
        assert ami.read_until(b"\r\n") == captured[: captured.index(b"\n") + 1]
        ami.send(BEFORE_LOGIN[name])
        expected = messages(captured)
        if expected:
            assert _normal(ami.read_messages(len(expected))) == _normal(expected)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_lists_of_a_busy_moment_look_like_the_real_ones(folder: Path, pbx: Simulator) -> None:
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder")
        pbx.call(lambda: people.call_from_trunk(pbx.office, DANA, "5550600", Plan(answer=0.05, talk=60)))
        while b"Event: BridgeEnter" not in ami.data or ami.data.count(b"Event: BridgeEnter") < 2:
            ami.receive()
        ami.action("Events", "EventMask: off")
        for name in ("core-show-channels", "core-status", "queue-status"):
            capture = messages((folder / f"{name}-in-a-call.ami").read_bytes())
            ami.data = b""
            ami.send(EXCHANGES.get(name, EXCHANGES["core-show-channels-none"]))
            told = ami.read_messages(len(capture))
            assert [[header for header, _ in message] for message in told] == [
                [header for header, _ in message] for message in capture
            ]
            if name != "queue-status":  # whose figures depend on what was before
                assert _normal(told) == _normal(capture)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_a_waiting_caller_is_an_entry_of_its_queue(folder: Path, pbx: Simulator) -> None:
    capture = messages((folder / "queue-status-with-a-caller.ami").read_bytes())
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder")
        pbx.call(lambda: people.call_from_trunk(pbx.office, DANA, "5550600", Plan(answer=None)))
        ami.read_until(b"DialStatus: RINGING")
        ami.action("Events", "EventMask: off")
        ami.data = b""
        ami.send(EXCHANGES["queue-status"])
        told = ami.read_messages(len(capture))
    real = next(message for message in capture if message[0][1] == "QueueEntry")
    entry = next(message for message in told if message[0][1] == "QueueEntry")
    assert [name for name, _ in entry] == [name for name, _ in real]


def _page(data: bytes) -> dict[str, list[str]]:
    """The sections of a page of ``manager show command`` and their lines, lists of events included."""
    sections: dict[str, list[str]] = {}
    name = "head"
    for message in messages(data):
        for header, value in message:
            if header == "Output":
                if re.fullmatch(r"\[[A-Z].*\]", value):
                    name = value
                    while name in sections:
                        name += "+"
                sections.setdefault(name, []).append(value)
    return sections


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
@pytest.mark.parametrize("name", sorted(name for name in EXCHANGES if "manager-show" in name))
def test_an_actions_page_has_the_real_ones_form(name: str, folder: Path, pbx: Simulator) -> None:
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder", "Events: off")
        ami.data = b""
        ami.send(EXCHANGES[name] + PING)
        ami.read_until(b"ActionID: last")
        simulated = _page(ami.data)
    real = _page((folder / f"{name}.ami").read_bytes())
    assert list(simulated) == list(real)
    assert simulated["head"] == real["head"]
    for section in real:
        if section.startswith(("[Syntax]", "[Privilege]")):
            assert simulated[section] == real[section], section
    arguments = [line for line in real["[Arguments]"] if not line.startswith(" ")]
    assert [line for line in simulated["[Arguments]"] if not line.startswith(" ")] == arguments
    assert "simulator" in simulated["[Provided By]"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_actions_offered_need_the_classes_they_need_on_the_real_one(folder: Path, pbx: Simulator) -> None:
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder", "Events: off")
        (response,) = ami.action("ListCommands")
    real = dict(messages((folder / "list-commands.ami").read_bytes())[0])
    offered = [(name, text) for name, text in response if "(Priv:" in text]
    assert [name for name, _ in offered] == sorted((name for name, _ in offered), key=str.lower)
    assert len(offered) == len(DESCRIPTIONS)
    for name, text in offered:
        assert text.partition("(Priv:")[2] == real[name].partition("(Priv:")[2], name


def test_every_offered_action_has_a_page(pbx: Simulator) -> None:
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder", "Events: off")
        (response,) = ami.action("ListCommands")
        for name in (name for name, text in response if "(Priv:" in text):
            (page,) = ami.action("Command", f"Command: manager show command {name}")
            assert ("Output", f"Action: {name}") in page


@pytest.mark.parametrize("command", ["core show version", "core show uptime", "manager show commands"])
def test_a_command_of_the_simulator_succeeds(command: str, pbx: Simulator) -> None:
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder", "Events: off")
        ami.send(action("Command", f"Command: {command}"))
        ami.data = b""
        (response,) = ami.read_messages(1)
    assert response[0] == ("Response", "Success")


def test_it_says_that_it_is_simulated(pbx: Simulator) -> None:
    with RawAMI(pbx.host, pbx.port) as ami:
        ami.log_in("recorder", "recorder", "Events: off")
        (version,) = ami.action("Command", "Command: core show version")
        (settings,) = ami.action("CoreSettings")
    assert "(amiweb simulator)" in dict(version)["Output"]
    assert dict(version)["Output"].startswith("Asterisk 22.")
    assert "simulated" in dict(settings)["AsteriskVersion"]
