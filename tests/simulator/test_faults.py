"""Each fault is on the wire as it was seen on a real PBX, and the client survives it."""

import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from ami_integration.ami import TCP, ActionTimeout, AMIClient, ConnectionLost, Reply, Timeouts
from ami_integration.management.commands import simulate
from ami_integration.simulator import Faults, Limits
from tests.polling import wait_until
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI

MakeSimulator = Callable[..., Simulator]


def session(simulator: Simulator, **options: object) -> AMIClient:
    settings: dict[str, object] = {"username": simulator.username, "secret": simulator.secret}
    settings["timeouts"] = Timeouts(action=1.0)
    return AMIClient(TCP(simulator.host, simulator.port), **settings | options)  # type: ignore[arg-type]


def ask(simulator: Simulator, name: str, **headers: str) -> Reply:
    with session(simulator) as client:
        reply = client.action(name, headers)
        # None of them costs the next message.
        assert client.action("Ping").response.get("Ping") == "Pong"
    return reply


def test_segments_that_cut_lines_make_no_difference(make_simulator: MakeSimulator) -> None:
    plain, cut = make_simulator(), make_simulator(faults=Faults(segment=1))
    expected, found = (ask(one, "QueueStatus") for one in (plain, cut))
    assert [event.items()[1:-1] for event in found.events] == [
        event.items()[1:-1] for event in expected.events
    ]
    with RawAMI(cut.host, cut.port) as ami:
        ami.log_in(cut.username, cut.secret)

        def reads_of_an_answer() -> int:
            ami.data = b""
            ami.send("Action: ListCommands\r\n\r\n")
            reads = 0
            while not ami.data.endswith(b"\r\n\r\n"):
                assert ami.receive()
                reads += 1
            return reads

        # A busy machine may let us read late, and then all segments at once.
        wait_until(lambda: reads_of_an_answer() > 1, seconds=15, what="an answer in pieces")


def test_an_answer_that_stalls_comes_whole_in_the_end(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator()
    with session(simulator, events="user") as client:
        simulator.pbx.faults.stall = 0.3
        begun = time.monotonic()
        assert client.action("CoreSettings").response.get("SystemName") == "simulated"
        assert time.monotonic() - begun >= 0.3
        simulator.emit("UserEvent", classes="user")
        assert next(client.events(timeout=5)).name == "UserEvent"


def test_an_answer_that_ends_in_its_middle_is_a_lost_connection_and_no_answer(
    make_simulator: MakeSimulator,
) -> None:
    simulator = make_simulator(faults=Faults(half="CoreSettings"))
    with session(simulator) as client:
        assert client.action("Ping").success
        with pytest.raises(ConnectionLost) as lost:
            client.action("CoreSettings")
        assert lost.value.sent
        assert client.anomalies["truncated"] == 1


def test_a_kick_is_a_connection_that_ends_without_a_word(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(kick=0.2))
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in(simulator.username, simulator.secret)
        assert b"Goodbye" not in ami.read_to_the_end()
    with session(simulator) as client, pytest.raises(ConnectionLost):
        list(client.events(timeout=10))


def test_a_hole_glues_half_an_event_to_the_next(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(holes=2))
    with session(simulator, events="user") as client:
        simulator.emit("UserEvent", [("Note", "x" * 50)], "user", times=6)
        simulator.emit("UserEvent", [("Note", "last")], "user")
        notes: list[str] = []
        while "last" not in notes:
            event = next(client.events(timeout=5))
            assert event.name == "UserEvent"
            notes += event.getall("Note")
        assert client.action("Ping").success
    assert "x" * 50 in notes


def test_a_login_may_take_its_time(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(slow_login=0.3))
    begun = time.monotonic()
    assert ask(simulator, "Ping").success
    assert time.monotonic() - begun >= 0.3


def test_the_old_command_is_read_as_the_new_one(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(old_command=True))
    reply = ask(simulator, "Command", Command="core show version")
    assert reply.response.name == "Follows"
    assert reply.output == ask(make_simulator(), "Command", Command="core show version").output


def test_a_second_response_is_not_taken_for_the_next_actions(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(double_response=True))
    with session(simulator) as client:
        assert client.action("CoreSettings").response.get("SystemName")
        assert client.action("CoreStatus").response.get("CoreStartupDate")
        assert client.action("Ping").response.get("Ping") == "Pong"


def test_items_that_end_in_crlf_lf_are_items(make_simulator: MakeSimulator) -> None:
    expected = ask(make_simulator(), "QueueStatus")
    simulator = make_simulator(faults=Faults(crlf_lf=True))
    assert [event.name for event in ask(simulator, "QueueStatus").events] == [
        event.name for event in expected.events
    ]
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in(simulator.username, simulator.secret)
        ami.send("Action: QueueStatus\r\n\r\n")
        assert b"\r\n\n" in ami.read_until(b"ListItems")


def test_a_wrong_number_of_items_loses_none(make_simulator: MakeSimulator) -> None:
    right, wrong = (
        ask(make_simulator(), "QueueStatus"),
        ask(make_simulator(faults=Faults(list_items=3)), "QueueStatus"),
    )
    assert len(wrong.events) == len(right.events)
    assert right.whole
    assert not wrong.whole
    assert wrong.complete is not None
    assert wrong.complete.get("ListItems") == str(len(right.events) + 3)


@pytest.mark.parametrize("booting", [False, True])
def test_a_pbx_that_is_still_starting_says_no_fullybooted(
    make_simulator: MakeSimulator, booting: bool
) -> None:
    with session(make_simulator(faults=Faults(booting=booting)), events="system") as client:
        assert client.action("Ping").success  # answered behind what the login brings along
        assert [event.name for event in client.events(timeout=0.1)] == ["FullyBooted"] * (not booting)


def test_a_list_that_ends_in_an_error_is_an_error(make_simulator: MakeSimulator) -> None:
    reply = ask(make_simulator(faults=Faults(error_after_start=True)), "QueueStatus")
    assert not reply.success
    assert reply.message == "Simulated error after the start"
    assert reply.complete is None
    assert reply.events


def test_a_list_without_an_end_ends_in_its_time_limit_with_what_came(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(no_complete=True))
    with session(simulator) as client:
        with pytest.raises(ActionTimeout) as late:
            client.action("QueueStatus", timeout=0.3)
        assert late.value.sent
        assert late.value.reply is not None
        assert {event.name for event in late.value.reply.events} == {"QueueParams", "QueueMember"}
        assert client.action("Ping").success


def test_a_list_without_an_end_has_none_on_the_wire(make_simulator: MakeSimulator) -> None:
    simulator = make_simulator(faults=Faults(no_complete=True))
    with RawAMI(simulator.host, simulator.port) as ami:
        ami.log_in(simulator.username, simulator.secret)
        ami.data = b""
        ami.send("Action: QueueStatus\r\n\r\nAction: Ping\r\n\r\n")
        data = ami.read_until(b"Ping: Pong")
    assert b"EventList: start" in data
    assert b"Event: QueueMember" in data
    assert b"QueueStatusComplete" not in data


def test_a_slow_reader_is_cut_off_in_the_middle_of_an_event_without_goodbye(
    make_simulator: MakeSimulator,
) -> None:
    simulator = make_simulator(limits=Limits(write_timeout=0.1, buffer_bytes=1 << 26))
    with RawAMI(simulator.host, simulator.port, receive_buffer=4096) as ami:
        ami.log_in(simulator.username, simulator.secret)
        ami.data = b""
        simulator.emit("UserEvent", [("Note", "x" * 20_000_000)], "user")
        simulator.emit("Unseen", classes="user")
        while simulator.sessions:
            time.sleep(0.01)
        rest = ami.read_to_the_end()
    assert not rest.endswith(b"\r\n\r\n")
    assert b"Goodbye" not in rest
    assert b"Unseen" not in rest


def test_words_are_faults() -> None:
    words = ["segment=3", "stall=0.5", "half=CoreStatus", "old-command", "list-items=-1"]
    assert Faults.from_words(words) == Faults(
        segment=3, stall=0.5, half="CoreStatus", old_command=True, list_items=-1
    )


@pytest.mark.parametrize("word", ["nonsense", "segment", "segment=x", "old-command=1", "stall=-1"])
def test_a_word_that_is_no_fault_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        Faults.from_words([word])


def test_every_fault_has_a_test_and_stands_in_the_commands_help() -> None:
    help_text = Path(simulate.__file__).read_text()
    tests = Path(__file__).read_text()
    for field in fields(Faults):
        assert field.name.replace("_", "-") in help_text, field.name
        assert f"{field.name}=" in tests or f"faults.{field.name}" in tests, field.name
