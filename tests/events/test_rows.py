"""An event's row, and what pages get of it: the quick way and the long way say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ami_integration.ami import Message
from ami_integration.events import rows
from ami_integration.events.models import Event
from ami_integration.events.pushes import JSON, item_row
from ami_integration.events.rows import EventRow, event_row, moment, pushed_row
from ami_integration.events.services import event_item
from ami_integration.events.stream import StampedEvent
from tests.events.making import raw, stamped

CAPTURES = Path(__file__).parent.parent / "captures"


def long_way(stamped: StampedEvent) -> EventRow:
    text = rows.clean_text(stamped.raw.decode("utf-8", "surrogateescape"))
    return rows._any_row(1, stamped, Message(text).items())


def row_of(data: bytes) -> EventRow:
    return event_row(1, stamped(data))


def headers_of(data: bytes) -> Any:
    return json.loads(row_of(data).headers)


def test_every_captured_event_reads_the_same_either_way() -> None:
    seen = quick = 0
    for path in sorted(CAPTURES.glob("*/*.ami")):
        for data in path.read_bytes().split(b"\r\n\r\n"):
            if not data.startswith(b"Event: "):
                continue
            one = StampedEvent(1, 1, data)
            assert event_row(1, one) == long_way(one)
            text = data.decode("utf-8", "surrogateescape")
            quick += rows._regular_row(1, one, text, text.count("\r\n") + 1) is not None
            seen += 1
    assert seen > 500
    assert quick > 0.99 * seen


_names = st.text('abE: -()/xé\\"', min_size=0, max_size=12) | st.sampled_from(
    ["Channel", "channel", "Linkedid", "Uniqueid", "CallerIDNum", "ChanVariable(IAX2/192.0.2.1:4569-1)"]
)
_values = st.text(max_size=20) | st.sampled_from(
    ["", "a: b", "two\nlines", "\udcff", "\0", '"', "\\", "x\ty"]
)


@given(st.lists(st.tuples(_names, _values), max_size=8), st.sampled_from(["UserEvent", "Newchannel", "X: y"]))
def test_whatever_comes_reads_the_same_either_way(headers: list[tuple[str, str]], name: str) -> None:
    lines = [f"Event: {name}", *(f"{header}: {value}" for header, value in headers)]
    one = StampedEvent(1, 1, "\r\n".join(lines).encode("utf-8", "surrogatepass"))
    row = event_row(1, one)
    assert row == long_way(one)
    assert row.headers.encode()
    assert "\0" not in "".join(map(str, row))


def test_a_long_name_is_cut_in_its_column_and_whole_in_the_headers() -> None:
    row = row_of(raw("N" * 300, Channel="c" * 300, Uniqueid="u" * 300, Linkedid="l" * 300))
    assert [len(value) for value in row[3:7]] == [100, 200, 150, 150]
    assert json.loads(row.headers)[:2] == [["Event", "N" * 300], ["Channel", "c" * 300]]


def test_a_value_with_a_bare_line_feed_stays_one_header() -> None:
    found = headers_of(b"Event: X\r\nVariable: two\nlines\r\nLast: z")
    assert found == [["Event", "X"], ["Variable", "two\nlines"], ["Last", "z"]]


def test_headers_that_repeat_differ_in_case_or_have_no_blank_are_kept() -> None:
    found = headers_of(b"Event: X\r\nVariable: a\r\nvariable: b\r\nEmpty:\r\nno colon\r\nVariable: a")
    assert found == [
        *(["Event", "X"], ["Variable", "a"], ["variable", "b"], ["Empty", ""], ["", "no colon"]),
        ["Variable", "a"],
    ]


def test_the_first_of_several_headers_fills_a_column_in_whatever_case() -> None:
    row = row_of(b"Event: X\r\nCHANNEL: \r\nchannel: a\r\nChannel: b\r\nlinkedid: 1.2")
    assert (row.channel, row.linkedid) == ("a", "1.2")


def test_pages_get_of_a_fresh_event_what_they_get_of_the_stored_one() -> None:
    for data in (raw("Hangup", Channel="PJSIP/1", Quoted='"\\ a: b'), b"Event: Caf\xe9\r\nX: \xc3\xa9\0"):
        row = row_of(data)
        event = Event(**row._asdict() | {"at": moment(row.at), "headers": json.loads(row.headers)})
        assert list(pushed_row(row, kept=True)[:JSON]) == list(item_row(event_item(event))[:JSON])
        assert json.loads(pushed_row(row, kept=True)[JSON]) == event_item(event)
        assert pushed_row(row, kept=True)[JSON + 1] == item_row(event_item(event))[JSON + 1]
        assert json.loads(pushed_row(row, kept=False)[JSON])["kept"] is False


def test_names_that_strangers_make_up_are_not_remembered_without_end() -> None:
    before = len(rows._uses)
    for number in range(rows._MOST_USES + 10):
        row_of(raw("X", **{f"Made-up-{number}": "1"}))
    assert before < len(rows._uses) <= rows._MOST_USES
    rows._uses.clear()
