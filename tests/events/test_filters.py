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
    parse_filter,
    parse_subscription,
)
from ami_integration.events.pushes import Row, item_row

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


def event_filter(names: list[str] | None = None, text: str = "", linkedid: str = "") -> EventFilter:
    return parse_filter(names=names or [], text=text, linkedid=linkedid)


def row(name: str, headers: list[list[str]], linkedid: str = "") -> Row:
    return item_row({"kind": "event", "id": "1", "name": name, "linkedid": linkedid, "headers": headers})


HEADERS = [
    ["Event", "Newchannel"], ["Channel", "PJSIP/100-0001"], ["CallerIDName", "Jürgen"],
    ["ChanVariable(PJSIP/1)", "A=b"], ["Contact", "<sip:100@pbx>"],
]  # fmt: skip


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
        # In a header by its name, the value is asked for as a whole.
        ([], "Channel:PJSIP/1*", True),
        ([], "channel: pjsip/100-0001", True),
        ([], "Channel:PJSIP/100", False),
        ([], "Channel:*100*", True),
        ([], "CallerIDName:PJSIP*", False),
        ([], "ChanVariable(PJSIP/1):a=b", True),
        ([], "Variable:*", False),
        # A star before it: in any header, though it looks like one by its name.
        ([], "*sip:100@pbx", True),
        ([], "sip:100@pbx", False),
        # Names of headers and two headers at once are nothing to find.
        ([], "CallerIDName", False),
        ([], "0001*jürgen", False),
        ([], "*", True),
    ],
)
def test_names_and_text_are_both_asked_for(names: list[str], text: str, matches: bool) -> None:
    assert event_filter(names, text).matches_row(row("Newchannel", HEADERS)) is matches


@given(some_text, st.lists(st.text(alphabet="abA.[é", max_size=6), max_size=4))
def test_a_text_is_found_in_any_value(text: str, values: list[str]) -> None:
    found = row("Event", [["AbA", value] for value in values])
    expected = not text or any(Pattern.parse(text).within(value) for value in values)
    assert event_filter(text=text).matches_row(found) is expected


def test_a_linkedid_is_asked_for_as_it_is() -> None:
    assert event_filter(linkedid="17.2").matches_row(row("Hangup", HEADERS, "17.2"))
    assert not event_filter(linkedid="17.2").matches_row(row("Hangup", HEADERS, "17.21"))


def test_a_gap_passes_every_filter() -> None:
    assert event_filter(["Nothing"], "nothing", "17.2").matches_row(item_row({"kind": "gap", "id": "1"}))


def test_a_subscription_is_read_whole() -> None:
    found = parse_subscription(
        {"type": "subscribe", "seq": 4, "server": "12", "names": ["A"], "text": " ", "linkedid": " 17.2 "}
        | {"since": {"12": "99"}}
    )
    assert (found.seq, found.server_id, found.tag_id, found.since) == (4, 12, None, {12: 99})
    assert (found.filter.text, found.filter.linkedid) == (None, "17.2")
    assert parse_subscription({"seq": 1, "tag": "7"}).tag_id == 7


def test_equal_wishes_are_one_filter() -> None:
    one, two = event_filter(["A*", "b"], "x"), event_filter(["B", "a*", "b"], "X ")
    assert one == two and hash(one) == hash(two)
    assert one != event_filter(["A*"], "x")


def test_counts_are_of_everything_but_the_names() -> None:
    rows = [row(name, HEADERS) for name in ("Hangup", "Newchannel", "Hangup")] + [row("VarSet", [])]
    mark = item_row({"kind": "gap", "id": "5"})
    matching, counts = event_filter(["new*"], "jürgen").sift([*rows, mark])
    assert matching == [rows[1], mark]
    assert counts == {"Hangup": 2, "Newchannel": 1}
    everything, counts = event_filter().sift([*rows, mark])
    assert everything == [*rows, mark]
    assert counts == {"Hangup": 2, "Newchannel": 1, "VarSet": 1}


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
        {"tag": 5},
        {"tag": "x"},
        {"server": "1", "tag": "1"},
        {"linkedid": 5},
        {"linkedid": "x" * 151},
        {"names": "A"},
        {"names": ["*" * 21]},
        {"text": "a*" * 21},
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


@pytest.mark.parametrize("bad", ["\ud800", "a\udfff", "a\0b"])
@pytest.mark.parametrize("field", ["names", "text", "linkedid"])
def test_half_a_character_and_nul_are_refused_with_a_sentence(field: str, bad: str) -> None:
    wish = {"names": [], "text": "", "linkedid": ""} | {field: [bad] if field == "names" else bad}
    with pytest.raises(InvalidSubscription, match="half a character or a NUL"):
        parse_filter(**wish)


def test_a_whole_character_beyond_the_basic_plane_is_looked_for() -> None:
    assert parse_filter(names=[], text="\U0001f4de", linkedid="\U0001f4de").linkedid == "\U0001f4de"
