from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.events.filters import (
    EventFilter,
    InvalidSubscription,
    Pattern,
    parse_subscription,
)

some_text = st.text(alphabet="abA*.[é", max_size=8)


def translated(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece) for piece in pattern.casefold().split("*")), re.DOTALL)


@given(some_text, st.text(alphabet="abA.[é", max_size=12))
def test_a_pattern_means_what_the_same_regular_expression_means(pattern: str, value: str) -> None:
    expression, folded = translated(pattern), value.casefold()
    assert Pattern.parse(pattern).within(value) == bool(expression.search(folded))
    assert Pattern.parse(pattern).whole(value) == bool(expression.fullmatch(folded))


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not Pattern.parse("a*" * 100 + "b").within("a" * 100_000)


def event_filter(names: list[str] | None = None, text: str = "") -> EventFilter:
    return parse_subscription({"seq": 1, "names": names or [], "text": text}).filter


HEADERS = [["Event", "Newchannel"], ["Channel", "PJSIP/100-0001"], ["CallerIDName", "Jürgen"]]


@pytest.mark.parametrize(
    ("names", "text", "matches"),
    [
        ([], "", True),
        (["newchannel"], "", True),
        (["Hangup", "NEW*"], "", True),
        (["Hangup"], "", False),
        (["New"], "", False),
        ([], "pjsip/100", True),
        ([], "PJSIP/1*1", True),
        ([], "JÜRGEN", True),
        ([], "nobody", False),
        (["Newchannel"], "nobody", False),
        (["Hangup"], "pjsip", False),
    ],
)
def test_names_and_text_are_both_asked_for(names: list[str], text: str, matches: bool) -> None:
    assert event_filter(names, text).matches("Newchannel", HEADERS) is matches


def test_a_gap_passes_every_filter() -> None:
    assert event_filter(["Nothing"], "nothing").matches_item({"kind": "gap"})


def test_a_subscription_is_read_whole() -> None:
    found = parse_subscription(
        {"type": "subscribe", "seq": 4, "server": "12", "names": ["A"], "text": " ", "since": {"12": "99"}}
    )
    assert (found.seq, found.server_id, found.since) == (4, 12, {12: 99})
    assert found.filter.text is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": None},
        {"seq": True},
        {"seq": -1},
        {"server": 5},
        {"server": "x"},
        {"server": "-1"},
        {"server": "٣"},
        {"server": "9" * 20},
        {"names": "A"},
        {"names": ["A"] * 51},
        {"names": ["A" * 101]},
        {"names": [""]},
        {"names": [5]},
        {"text": 5},
        {"text": "x" * 201},
        {"since": []},
        {"since": {"1": 5}},
        {"since": {"x": "5"}},
        {"since": {"1": "9223372036854775808"}},
        {"since": {str(n): "1" for n in range(10_001)}},
    ],
)
def test_what_a_page_would_never_send_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSubscription):
        parse_subscription({"type": "subscribe", "seq": 1} | wrong)
