"""Tests of ami_integration/actions/catalogue/differences.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription
from ami_integration.actions.catalogue.differences import actions_compare, events_compare

ITEM = EventDescription("Item", arguments=(Argument("A"), Argument("B")))
OLD = ActionDescription(
    "Act",
    synopsis="Old words.",
    arguments=(Argument("A", required=True), Argument("B", choices=("x", "y"))),
    privileges=("call", "all"),
    list_responses=(ITEM,),
    final_response=EventDescription("Done"),
)


def test_other_words_are_no_difference() -> None:
    arguments = tuple(replace(argument, text="New words.") for argument in OLD.arguments)
    assert actions_compare(OLD, replace(OLD, synopsis="New words.", arguments=arguments)) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"arguments": (*OLD.arguments, Argument("C"))}, "new header: C"),
        ({"arguments": OLD.arguments[1:]}, "header no more: A"),
        ({"arguments": ()}, "headers no more: A, B"),
        ({"arguments": (Argument("A"), OLD.arguments[1])}, "A is optional now"),
        ({"arguments": (OLD.arguments[0], Argument("B", choices=("x", "y", "z")))}, "B: new value: z"),
        ({"privileges": ("system",)}, "privileges are system instead of call,all"),
        ({"list_responses": ()}, "event of the list no more: Item"),
        ({"list_responses": (replace(ITEM, arguments=(Argument("A"),)),)}, "Item: header no more: B"),
        ({"final_response": EventDescription("Over")}, "new event of the list: Over"),
    ],
)
def test_what_a_request_has_to_heed_is_named(change: dict[str, object], sentence: str) -> None:
    assert sentence in actions_compare(OLD, replace(OLD, **change))  # type: ignore[arg-type]


def test_another_case_is_no_difference() -> None:
    arguments = (Argument("a", required=True), Argument("b", choices=("X", "y")))
    assert actions_compare(OLD, replace(OLD, arguments=arguments)) == []


def test_events_are_compared_by_their_headers() -> None:
    more = replace(ITEM, arguments=(*ITEM.arguments, Argument("C"), Argument("D")))
    assert events_compare(ITEM, more) == ["new headers: C, D"]
    assert events_compare(more, ITEM) == ["headers no more: C, D"]
