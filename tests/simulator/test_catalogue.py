"""What the simulator says of its actions and events: the parser reads it, and the facts are Asterisk 22's."""

import json
from pathlib import Path
from typing import Any

import pytest

from ami_integration.actions.catalogue import shipped
from ami_integration.actions.catalogue.descriptions import Argument, EventDescription
from ami_integration.actions.catalogue.pages import (
    action_parse,
    event_names_parse,
    event_parse,
    names_parse,
)
from ami_integration.simulator.catalogue import DESCRIPTIONS, EVENTS
from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI

FACTS = json.loads((Path(shipped.__file__).parent / "data" / "22.json").read_text())
REAL_ACTIONS: dict[str, Any] = {action["name"]: action for action in FACTS["actions"]}
REAL_EVENTS: dict[str, Any] = {event["name"]: event for event in FACTS["events"]}
NAMES = [description.name for description in DESCRIPTIONS]
#: What a newcomer wants to try; fewer would make the trial poor.
EXPECTED = [
    "Challenge",
    "Command",
    "ConfbridgeKick",
    "ConfbridgeList",
    "ConfbridgeListRooms",
    "ConfbridgeMute",
    "ConfbridgeUnmute",
    "CoreSettings",
    "CoreShowChannels",
    "CoreStatus",
    "DBDel",
    "DBDelTree",
    "DBGet",
    "DBGetTree",
    "DBPut",
    "DeviceStateList",
    "Events",
    "ExtensionState",
    "ExtensionStateList",
    "GetConfig",
    "Getvar",
    "Hangup",
    "ListCommands",
    "Login",
    "Logoff",
    "Originate",
    "PJSIPShowEndpoint",
    "PJSIPShowEndpoints",
    "Ping",
    "QueueAdd",
    "QueuePause",
    "QueuePenalty",
    "QueueRemove",
    "QueueStatus",
    "QueueSummary",
    "Redirect",
    "Setvar",
    "Status",
    "UserEvent",
]


def lines_of(ami: RawAMI, command: str) -> list[str]:
    (page,) = ami.action("Command", f"Command: {command}")
    return [value for header, value in page if header == "Output"]


def facts_of(arguments: tuple[Argument, ...]) -> list[dict[str, Any]]:
    """Of each header what the file of facts holds."""
    return [
        {
            "name": argument.name,
            "required": argument.required,
            "choices": list(argument.choices),
            "closed": argument.closed,
            "repeatable": argument.repeatable,
            "boolean": list(argument.boolean or ()),
        }
        for argument in arguments
    ]


def real_facts(arguments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lacking = {"required": False, "choices": [], "closed": False, "repeatable": False, "boolean": []}
    return [{key: each.get(key, lacking.get(key)) for key in ("name", *lacking)} for each in arguments]


def same_event(event: EventDescription, real: dict[str, Any]) -> None:
    by_name = {fact["name"]: fact for fact in facts_of(event.arguments)}
    assert by_name == {fact["name"]: fact for fact in real_facts(real.get("arguments", []))}, event.name
    assert event.see_also == tuple(real.get("see_also", ())), event.name
    assert event.since == real.get("since", ""), event.name


def test_the_actions_are_those_that_a_newcomer_wants_to_try() -> None:
    assert sorted(NAMES, key=str.lower) == sorted(EXPECTED, key=str.lower)


def test_the_lists_of_actions_and_events_name_all_of_them(ami: RawAMI) -> None:
    assert names_parse(lines_of(ami, "manager show commands")) == NAMES
    assert event_names_parse(lines_of(ami, "manager show events")) == list(EVENTS)


@pytest.mark.parametrize("name", NAMES)
def test_an_action_is_described_with_the_facts_of_asterisk_22(name: str, ami: RawAMI) -> None:
    page = action_parse(name, lines_of(ami, f"manager show command {name}"))
    real = REAL_ACTIONS[name]
    assert facts_of(page.arguments) == real_facts(real.get("arguments", []))
    assert page.privileges == tuple(real.get("privileges", ()))
    assert page.see_also == tuple(real.get("see_also", ()))
    assert page.since == real.get("since", "")
    assert page.provided_by == "simulator"
    assert [title for title, _ in page.sections if title] == [
        "Synopsis", "Provided By", "Since", "Description", "Syntax", "Arguments", "Privilege", "See Also",
        "List Responses", "Final Response",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_header_of_an_action_is_explained(name: str, ami: RawAMI) -> None:
    page = action_parse(name, lines_of(ami, f"manager show command {name}"))
    assert page.synopsis
    assert page.description
    asked = [line.strip("[").partition(":")[0] for line in page.syntax.splitlines()]
    assert asked == ["Action", "ActionID", *(argument.name for argument in page.arguments)]
    assert all(argument.text or argument.choices for argument in page.arguments)
    # Sentences are one paragraph again, however the page broke them.
    assert not [text for text in (page.description, *(each.text for each in page.arguments)) if "\n" in text]


@pytest.mark.parametrize("name", NAMES)
def test_the_events_of_a_list_are_those_of_asterisk_22(name: str, ami: RawAMI) -> None:
    page = action_parse(name, lines_of(ami, f"manager show command {name}"))
    real = {event["name"]: event for event in REAL_ACTIONS[name].get("list_responses", ())}
    for event in page.list_responses:
        same_event(event, real[event.name])
    # Of an endpoint, the simulator has no objects of the other kinds.
    assert real.keys() - {event.name for event in page.list_responses} <= {
        "IdentifyDetail", "AuthDetail", "TransportDetail",
    }  # fmt: skip
    final = REAL_ACTIONS[name].get("final_response")
    assert (page.final_response is None) == (final is None)
    if page.final_response is not None:
        same_event(page.final_response, final)


@pytest.mark.parametrize("name", [name for name in EVENTS if name in REAL_EVENTS])
def test_an_event_is_described_with_the_headers_of_asterisk_22(name: str, ami: RawAMI) -> None:
    event = event_parse(name, lines_of(ami, f"manager show event {name}"))
    same_event(event, REAL_EVENTS[name])
    assert event.synopsis


def test_the_ends_of_lists_are_described_too(ami: RawAMI) -> None:
    for name in EVENTS.keys() - REAL_EVENTS.keys():
        assert name.endswith("Complete")
        assert event_parse(name, lines_of(ami, f"manager show event {name}")).headers


def test_events_that_calls_make_are_described(simulator: Simulator) -> None:
    """All but Newexten, which a real one doesn't describe either."""
    from tests.simulator.scenes import SCENES, Stage

    told = set()
    for scene in SCENES.values():
        stage = Stage()
        scene(stage)
        stage.play_to_the_end()
        told |= {event.name for event in stage.told}
    assert told - EVENTS.keys() == {"Newexten"}
