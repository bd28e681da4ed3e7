"""Tests of ami_integration/actions/catalogue/pages.py on pages of our own; tests/pbx reads the real ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.actions.catalogue.descriptions import ActionDescription, EventDescription
from ami_integration.actions.catalogue.pages import (
    NoPage,
    action_parse,
    event_names_parse,
    event_parse,
    names_parse,
)
from tests.actions.catalogue.printed import EVENT_22, PAGE_16, PAGE_22


@pytest.fixture
def juggle() -> ActionDescription:
    return action_parse("Juggle", PAGE_22)


def test_what_an_action_is_for_is_read(juggle: ActionDescription) -> None:
    assert juggle.synopsis == "Throw balls."
    assert juggle.privileges == ("call", "all")
    assert juggle.see_also == ("Catch", "Throw()")
    assert (juggle.provided_by, juggle.since) == ("app_circus", "18.1.0, 19.0.0")


def test_broken_lines_are_put_together_and_paragraphs_stay(juggle: ActionDescription) -> None:
    assert juggle.description.splitlines() == [
        "Keeps balls in the air until somebody claps. The line is broken where there is no room for more.",
        "A new line that had room is a paragraph of its own.",
    ]


def test_headers_come_in_the_syntaxs_order_without_the_action_id(juggle: ActionDescription) -> None:
    names = [argument.name for argument in juggle.arguments]
    assert names == ["Artist", "Kind", "Loud", "Prop", "Colour(0)", "Trick-000000", "Silent"]
    assert [argument.name for argument in juggle.arguments if argument.required] == ["Artist"]


def test_a_header_without_a_text_has_an_entry_all_the_same(juggle: ActionDescription) -> None:
    silent = juggle.argument("silent")
    assert silent is not None
    assert (silent.text, silent.required, silent.choices) == ("", False, ())


def test_a_list_of_values_is_told_from_the_sentence_before_it(juggle: ActionDescription) -> None:
    kind = juggle.argument("Kind")
    assert kind is not None
    assert kind.choices == ("BallsOfIvory", "Torches", "Knives")
    assert kind.closed
    assert kind.text == "What is thrown, in a sentence that is as long as its line is wide, no less."


def test_values_keep_what_is_said_of_them(juggle: ActionDescription) -> None:
    colour = juggle.argument("Colour(0)")
    assert colour is not None
    assert colour.choices == ("red", "blue")
    assert colour.choice_texts["blue"].endswith("to be seen anywhere at all.")


def test_lists_inside_lists_are_text(juggle: ActionDescription) -> None:
    trick = juggle.argument("Trick-000000")
    assert trick is not None
    assert trick.choices == ()
    assert trick.numbered
    assert "    left - This hand." in trick.text.splitlines()


def test_yes_and_no_and_several_of_one_header_are_read_from_the_sentences(juggle: ActionDescription) -> None:
    loud, prop = juggle.argument("Loud"), juggle.argument("Prop")
    assert loud is not None
    assert prop is not None
    assert loud.boolean == ("true", "false")
    assert prop.repeatable
    assert not loud.repeatable


@pytest.mark.parametrize(
    ("lines", "boolean"),
    [
        (["    Whether to shout.", "    yes", "    no"], ("yes", "no")),
        (["    If set to 'yes', '1', 'true' or any other word."], ("yes", "no")),
        (["    Loud or not (true/false or 1/0)."], ("true", "false")),
        (["    If true, then shout."], ("true", "false")),
        (["    1 to turn on, 0 to turn off."], ("1", "0")),
        (["    If no name is given, nobody shouts."], None),
        (["    on - Shout.", "    off - Don't.", "    often,seldom,... - Now and then."], None),
    ],
)
def test_words_for_yes_and_no(lines: list[str], boolean: tuple[str, str] | None) -> None:
    page = ["[Syntax]", "Action: A", "Loud: <value>", "", "[Arguments]", "Loud", *lines]
    assert action_parse("A", page).arguments[0].boolean == boolean


def test_a_list_that_is_not_all_is_open() -> None:
    lines = ["Name", "    The name of a ball or one of:", "    red", "    blue"]
    page = ["[Syntax]", "Action: A", "Name: <value>", "", "[Arguments]", *lines]
    name = action_parse("A", page).arguments[0]
    assert name.choices == ("red", "blue")
    assert not name.closed


def test_one_word_is_a_text() -> None:
    page = ["[Syntax]", "Action: A", "Name: <value>", "", "[Arguments]", "Name", "    Ignored"]
    name = action_parse("A", page).arguments[0]
    assert (name.text, name.choices) == ("Ignored", ())


def test_the_items_and_the_end_of_a_list_are_read(juggle: ActionDescription) -> None:
    thrown, dropped = juggle.list_responses
    assert (thrown.name, thrown.headers) == ("BallThrown", ["Ball", "Height"])
    assert not thrown.arguments[1].required
    assert dropped.headers == ["Event", "Ball"]
    assert juggle.final_response is not None
    assert juggle.final_response.headers == ["ListItems"]


def test_a_page_of_an_older_asterisk_is_read_alike() -> None:
    juggle = action_parse("Juggle", PAGE_16)
    assert juggle.synopsis == "Throw balls."
    assert juggle.privileges == ()
    assert juggle.privileges_text == "<none>"
    assert juggle.arguments[0].choices == ("Mo", "Flo")
    assert [event.headers for event in juggle.list_responses] == [["Ball"]]
    assert juggle.list_responses[0].arguments[0].text == "Which."
    assert juggle.final_response is not None
    assert juggle.final_response.name == "JuggleComplete"


def test_an_event_with_two_descriptions_keeps_both() -> None:
    event = event_parse("Applause", EVENT_22)
    assert event.synopsis == "Raised when people clap."
    assert event.arguments[0].choices == ("Low", "High")
    assert [other.synopsis for other in event.others] == ["Raised when people go on clapping."]
    assert event.headers == ["Volume", "Seconds"]


def test_sections_that_nobody_knows_are_kept() -> None:
    page = ["[Weather]", "Fine.", "", *PAGE_16]
    assert ("Weather", "Fine.") in action_parse("Juggle", page).sections


@pytest.mark.parametrize("lines", [[], [""], ["No such command 'manager show command'"]])
def test_what_is_no_page_is_refused(lines: list[str]) -> None:
    with pytest.raises(NoPage):
        action_parse("Juggle", lines)
    with pytest.raises(NoPage):
        event_parse("Applause", lines)


def test_names_are_read_from_the_tables() -> None:
    actions = ["  Action      Synopsis", "  ------      --------", "  Catch       Get it. ", "  Juggle     "]
    assert names_parse(actions) == ["Catch", "Juggle"]
    events = ["Events:", "  ------  ------ ", "  Applause   Boo  ", "  Boo  ", "", "3 events registered."]
    assert event_names_parse(events) == ["Applause", "Boo"]


def test_descriptions_survive_storage(juggle: ActionDescription) -> None:
    assert ActionDescription.from_json(json.loads(json.dumps(juggle.to_json()))) == juggle
    event = event_parse("Applause", EVENT_22)
    assert EventDescription.from_json(json.loads(json.dumps(event.to_json()))) == event


LINES = st.one_of(
    st.text(max_size=90),
    st.sampled_from([line for page in (PAGE_22, PAGE_16, EVENT_22) for line in page]),
)


@given(st.lists(LINES, max_size=60))
def test_whatever_a_pbx_prints_is_a_page_or_none(lines: list[str]) -> None:
    for parse in (action_parse, event_parse):
        try:
            found = parse("Juggle", lines)
        except NoPage:
            continue
        assert type(found).from_json(json.loads(json.dumps(found.to_json()))) == found
