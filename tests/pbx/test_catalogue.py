"""What real Asterisks say of themselves, all of it: nothing that they print may get lost on the way."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

import pytest

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription
from ami_integration.actions.catalogue.pages import event_names_parse, names_parse
from ami_integration.actions.catalogue.reading import Reading, pbx_read
from ami_integration.actions.catalogue.services import action_describe, catalogue_sync, events_describe
from ami_integration.actions.catalogue.shipped import (
    action_facts,
    event_facts,
    major,
    release,
    shipped,
    shipped_major_for,
    shipped_majors,
)
from ami_integration.ami import TCP, AMIClient
from ami_integration.servers.models import Server
from tests.pbx.asterisk import Asterisk
from tests.servers.factories import make_server

SECTIONS = {
    "Synopsis", "Since", "Description", "Syntax", "Arguments", "Privilege", "See Also", "Provided By",
    "List Responses", "Final Response",
}  # fmt: skip


def session(asterisk: Asterisk, role: str = "admin") -> AMIClient:
    username, secret = asterisk.users[role]
    return AMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret, events="off")


def server_of(asterisk: Asterisk, role: str = "admin", **values: object) -> Server:
    username, secret = asterisk.users[role]
    return make_server(TCP(asterisk.host, asterisk.port), username=username, secret=secret, **values)


@pytest.fixture(scope="module")
def client(asterisk: Asterisk) -> Iterator[AMIClient]:
    with session(asterisk) as client:
        yield client


@pytest.fixture(scope="module")
def reading(client: AMIClient) -> Reading:
    return pbx_read(client)


def words(lines: Sequence[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.split())


def syntax_of(lines: Sequence[str]) -> list[tuple[str, bool]]:
    """The headers of a page's own syntax and whether they are required, found in the plainest way."""
    start = lines.index("[Syntax]") + 1
    end = next((n for n, line in enumerate(lines) if n > start and re.fullmatch(r"\[[A-Z][\w ]*\]", line)))
    headers = [line for line in lines[start + 1 : end] if line.endswith("<value>")]
    return [(line.strip("[]").split(":")[0], not line.startswith("[")) for line in headers]


def test_every_action_that_the_pbx_lists_is_described(client: AMIClient, reading: Reading) -> None:
    listed = set(names_parse(client.command("manager show commands").output))
    assert len(listed) > 120
    assert {action.name for action in reading.actions} == listed | set(reading.abilities)
    assert reading.unread == ()


def test_every_event_that_the_pbx_lists_is_described_under_its_whole_name(
    client: AMIClient, reading: Reading
) -> None:
    listed = event_names_parse(client.command("manager show events").output)
    names = [event.name for event in reading.events]
    assert len(names) == len(set(names)) == len(listed) > 140
    # 16 cuts names after 20 characters.
    assert all(any(name.startswith(word) for name in names) for word in listed)
    assert "BridgeVideoSourceUpdate" in names


def test_every_argument_in_a_syntax_has_its_entry(client: AMIClient, reading: Reading) -> None:
    counted = 0
    for action in reading.actions:
        page = client.command(f"manager show command {action.name}").output
        expected = [header for header in syntax_of(page) if header[0] != "ActionID"]
        assert [(each.name, each.required) for each in action.arguments] == expected, action.name
        counted += len(expected)
    assert counted > 240
    for event in reading.events:
        page = client.command(f"manager show event {event.name}").output
        assert {name for name, _ in syntax_of(page)} <= set(event.headers), event.name


def test_every_section_is_accounted_for_to_the_last_word(client: AMIClient, reading: Reading) -> None:
    for kind, descriptions in (("command", reading.actions), ("event", reading.events)):
        for description in descriptions:
            page = client.command(f"manager show {kind} {description.name}").output
            kept = [*description.sections]
            if isinstance(description, EventDescription):
                kept += [section for other in description.others for section in other.sections]
            lines = [
                line for title, text in kept for line in (f"[{title}]" if title else "", *text.split("\n"))
            ]
            printed = [line for line in page if not line.startswith("[End ")]
            assert words(lines) == words(printed), description.name
            assert {title for title, _ in kept if title} <= SECTIONS, description.name


def entries_of(arguments: Sequence[Argument]) -> list[str]:
    return [
        text
        for argument in arguments
        for text in (argument.name, argument.text, *argument.choices, *argument.choice_texts.values())
    ]


def action_id_lines(lines: Sequence[str]) -> list[str]:
    """What a page says of ActionID, for which no form asks."""
    if "ActionID" not in lines:
        return []
    start = lines.index("ActionID")
    below = takewhile(lambda line: line.startswith(" "), lines[start + 1 :])
    return ["ActionID", *below]


def test_what_is_said_of_an_argument_is_kept_to_the_last_word(reading: Reading) -> None:
    pages: list[tuple[ActionDescription | EventDescription, Sequence[Argument]]] = [
        *((action, action.arguments) for action in reading.actions),
        *((each, each.arguments) for event in reading.events for each in (event, *event.others)),
    ]
    for description, arguments in pages:
        lines = dict(description.sections).get("Arguments", "").split("\n")
        said = words(lines)
        own = words([*action_id_lines(lines), "Not available"])
        lost = said - words(entries_of(arguments)) - Counter({"-": said["-"]}) - own
        lost -= Counter({each.name: lost[each.name] for each in arguments if each.repeatable})  # listed twice
        assert not lost, (description.name, lost)


def test_what_is_said_of_the_items_of_lists_is_kept_to_the_last_word(reading: Reading) -> None:
    def bare(lines: Sequence[str]) -> set[str]:
        return {word.strip("[]:,") for word in words(lines)}

    form = bare([*SECTIONS, "Event: <value> -= Info about Manager Event =-", "Not available", "None", "-"])
    for action in reading.actions:
        sections = dict(action.sections)
        printed = [sections.get("List Responses", ""), sections.get("Final Response", "")]
        kept = []
        for item in (*action.list_responses, *filter(None, [action.final_response])):
            kept += [item.name, f"'{item.name}'", item.synopsis, item.description, *item.see_also]
            kept += [item.provided_by, item.since, *entries_of(item.arguments)]
        assert bare(printed) <= bare(kept) | form, action.name


def test_the_events_of_lists_are_read_with_their_headers(reading: Reading) -> None:
    for action in reading.actions:
        nested = sum(
            dict(action.sections).get(title, "").count("[Synopsis]")
            for title in ("List Responses", "Final Response")
        )
        assert nested == len(action.list_responses) + (action.final_response is not None), action.name
    endpoints = next(action for action in reading.actions if action.name == "PJSIPShowEndpoints")
    assert endpoints.list_responses[0].name == "EndpointList"
    assert "ActiveChannels" in endpoints.list_responses[0].headers
    assert endpoints.final_response is not None
    assert endpoints.final_response.name == "EndpointListComplete"


def test_well_known_actions_are_read_right(reading: Reading) -> None:
    actions = {action.name: action for action in reading.actions}
    originate = actions["Originate"]
    assert [argument.name for argument in originate.arguments if argument.required] == ["Channel"]
    variable, is_async = originate.argument("variable"), originate.argument("Async")
    assert variable is not None
    assert is_async is not None
    assert variable.repeatable
    assert is_async.boolean == ("true", "false")
    assert originate.privileges == ("originate", "all")
    state = actions["MuteAudio"].argument("State")
    direction = actions["MuteAudio"].argument("Direction")
    assert state is not None
    assert direction is not None
    assert state.boolean == ("on", "off")
    assert (direction.choices, direction.closed) == (("in", "out", "all"), True)
    assert direction.choice_texts["in"].startswith("Set muting")


def test_two_logins_read_the_same_catalogue(asterisk: Asterisk, reading: Reading) -> None:
    with session(asterisk, "nocall") as client:
        other = pbx_read(client)
    assert other.content_hash == reading.content_hash


def test_the_shipped_catalogue_is_what_a_real_pbx_says(reading: Reading) -> None:
    number = major(reading.asterisk_version)
    if number not in shipped_majors():
        pytest.skip(f"amiweb ships no catalogue for Asterisk {number} yet: manage.py build_catalogue")
    ours = shipped(number)
    actions = {action.name: replace(action, shipped_for="") for action in ours.actions}
    real = {action.name: action_facts(action) for action in reading.actions}
    if release(reading.asterisk_version) == ours.asterisk_version:
        assert actions == real
        assert list(ours.events) == [event_facts(event) for event in reading.events]
    for name in actions.keys() & real.keys():  # a later release of the same version only adds
        assert set(headers_of(actions[name])) <= set(headers_of(real[name])), name
    assert len(actions.keys() & real.keys()) > 0.95 * len(actions)


def headers_of(action: ActionDescription) -> list[str]:
    return [argument.name for argument in action.arguments]


@pytest.mark.django_db
def test_a_sync_stores_what_the_pbx_says(asterisk: Asterisk) -> None:
    server = server_of(asterisk)
    synced = catalogue_sync(server=server)
    assert synced.changed
    assert synced.catalogue is not None
    assert not synced.catalogue.shipped
    server = Server.objects.get(pk=server.pk)
    assert server.action_privileges("originate") == "originate,all"
    described = action_describe(server=server, action="originate")
    assert isinstance(described, ActionDescription)
    assert described.description
    assert not described.shipped_for
    assert "Channel" in events_describe(servers=[server])["Newchannel"].headers
    assert not catalogue_sync(server=server).changed


@pytest.mark.django_db
def test_a_login_that_may_not_run_command_gets_the_shipped_catalogue(asterisk: Asterisk) -> None:
    server = server_of(asterisk, "originate")
    synced = catalogue_sync(server=server)
    assert synced.catalogue is not None
    assert synced.catalogue.shipped
    assert major(synced.catalogue.asterisk_version) == shipped_major_for(asterisk.version)
    described = action_describe(server=server, action="Originate")
    assert described is not None
    assert described.shipped_for == synced.catalogue.asterisk_version
    assert described.argument("Channel") is not None
    server = Server.objects.get(pk=server.pk)
    assert server.action_privileges("Originate") == "originate,all"
    assert server.action_privileges("Command") is None
