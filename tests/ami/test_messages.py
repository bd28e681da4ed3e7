from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.ami import MAX_HEADERS, MAX_LINE, Action, Event, InvalidAction, Response, unescape
from ami_integration.ami.messages import FollowsResponse, OddEvent, OddResponse, decode, encode, split_header


def test_action_and_action_id_come_first_and_end_in_a_blank_line() -> None:
    data = Action("Originate", {"Channel": "Local/1", "Async": "true"}, action_id="abc").encode()
    assert data == b"Action: Originate\r\nActionID: abc\r\nChannel: Local/1\r\nAsync: true\r\n\r\n"


def test_a_sequence_repeats_its_header_in_order() -> None:
    data = Action("Originate", {"Variable": ["a=1", "b=2"]}, action_id="x").encode()
    assert data.endswith(b"Variable: a=1\r\nVariable: b=2\r\n\r\n")


def test_pairs_keep_their_order_and_repeats() -> None:
    data = Action("X", [("Variable", "a=1"), ("Priority", 1), ("Variable", "b=2")], action_id="x").encode()
    assert data.endswith(b"Variable: a=1\r\nPriority: 1\r\nVariable: b=2\r\n\r\n")


def test_action_ids_are_unguessable_and_short_enough() -> None:
    ids = {Action("Ping").action_id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(one) == 32 for one in ids)


def test_an_action_id_among_the_headers_is_used() -> None:
    assert Action("Ping", {"actionid": "mine"}).encode() == b"Action: Ping\r\nActionID: mine\r\n\r\n"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize(
    "make",
    [
        lambda end: Action(f"Ping{end}Action: Command"),
        lambda end: Action("Ping", {"A": f"x{end}Action: Command"}),
        lambda end: Action("Ping", {f"A{end}B": "x"}),
        lambda end: Action("Ping", action_id=f"x{end}y"),
    ],
    ids=["name", "value", "header name", "action id"],
)
def test_a_line_end_or_nul_can_not_smuggle_in_anything(make, end: str) -> None:
    with pytest.raises(InvalidAction) as caught:
        make(end).encode()
    assert caught.value.sent is False


def test_a_line_may_have_1022_bytes_and_not_one_more() -> None:
    room = MAX_LINE - len("Data: ")
    assert Action("X", {"Data": "x" * room}).encode()
    with pytest.raises(InvalidAction, match="1023 bytes"):
        Action("X", {"Data": "x" * (room + 1)}).encode()


def test_the_limit_counts_bytes_and_not_characters() -> None:
    with pytest.raises(InvalidAction, match="bytes"):
        Action("X", {"Data": "é" * 600}).encode()


def test_128_headers_are_the_most() -> None:
    assert Action("X", [("Variable", "a=1")] * (MAX_HEADERS - 2)).encode()
    with pytest.raises(InvalidAction, match="129 headers"):
        Action("X", [("Variable", "a=1")] * (MAX_HEADERS - 1)).encode()


@pytest.mark.parametrize("action_id", ["", "x" * 68, "é" * 34])
def test_an_action_id_that_would_corrupt_the_stream_is_refused(action_id: str) -> None:
    with pytest.raises(InvalidAction, match="ActionID"):
        Action("Ping", action_id=action_id).encode()


@pytest.mark.parametrize("name", ["", "A:B", "A B", "A\tB"])
def test_a_name_that_would_be_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(InvalidAction, match="name"):
        Action("X", {name: "v"}).encode()


def test_a_second_action_header_is_refused() -> None:
    with pytest.raises(InvalidAction, match="twice"):
        Action("X", {"action": "Command"}).encode()


def test_indexed_names_of_aoc_are_allowed() -> None:
    assert b"UnitAmount(0): 3\r\n" in Action("AOCMessage", {"UnitAmount(0)": "3"}).encode()


def test_no_repr_shows_a_value() -> None:
    action = Action("Login", {"Secret": "hunter2"})
    event = Event.from_raw(b"Event: X\r\nSecret: hunter2")
    assert "hunter2" not in repr(action) + repr(event) + repr(
        Response.from_raw(b"Response: Success\r\nKey: hunter2")
    )


def test_headers_are_found_in_any_case_and_the_first_wins() -> None:
    event = Event.from_raw(b"Event: X\r\nchannel: a\r\nChannel: b\r\nEmpty: \r\nBare:c")
    assert event.get("CHANNEL") == "a"
    assert event.getall("Channel") == ["a", "b"]
    assert event.get("Empty") == ""
    assert event.get("Bare") == "c"
    assert event.get("Nothing") is None
    assert event.get("Nothing", "-") == "-"
    assert event.get("Event") == "X"
    assert "channel" in event and "missing" not in event


def test_of_several_spellings_the_one_asked_for_comes_first_and_then_the_first() -> None:
    event = Event.from_raw(b"Event: X\r\nchannel:a\r\nChannel: b\r\nBare:c\r\nBare: d")
    assert event.get("Channel") == "b"
    assert event.get("Bare") == "d"
    assert event.get("CHANNEL") == "a"
    assert event.getall("Channel") == ["a", "b"]
    assert Event.from_raw(b"Event: X\r\nResponse: Y").get("response") == "Y"
    assert Response.from_raw(b"Response: Error\r\nResponse: Y").get("Response") == "Error"
    assert OddEvent.from_raw(b"Event: X\r\nChannel: a\r\r\nChannel: b").get("Channel") == "a\r"
    assert OddEvent.from_raw(b"Event: X\r\nChannel: a\r").get("Channel") == "a\r"
    assert Event.from_raw(b"Event: X\r\nEvent: Y").get("event") == "X"
    assert Event.from_raw(b"Event: X\r\nA(1:2): b\r\nA(1: c").get("A(1:2)") == "b"


def test_a_value_is_no_header_even_if_it_looks_like_one() -> None:
    event = Event.from_raw(b"Event: X\r\nAppData: Channel: no\r\nChannel: yes")
    assert event.get("Channel") == "yes"


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("Channel: PJSIP/1", ("Channel", "PJSIP/1")),
        ("ChanVariable(IAX2/1.2.3.4:4569-1): a=b", ("ChanVariable(IAX2/1.2.3.4:4569-1)", "a=b")),
        ("AppData:sip:1@example.org", ("AppData", "sip:1@example.org")),
        ("Line-000000-000001: exten => 1,1,NoOp(a: b)", ("Line-000000-000001", "exten => 1,1,NoOp(a: b)")),
        ("Key: ", ("Key", "")),
        ("Key:", ("Key", "")),
        ("Output:   indented", ("Output", "  indented")),
        ("a b: c", ("a b", "c")),
        ("no colon at all", ("", "no colon at all")),
    ],
)
def test_lines_split_where_asterisk_meant_it(line: str, pair: tuple[str, str]) -> None:
    assert split_header(line) == pair


def test_bytes_that_are_not_utf8_survive_the_round_trip() -> None:
    event = Event.from_raw(b"Event: X\r\nCallerIDName: M\xfcller")
    name = event.get("CallerIDName")
    assert name is not None
    assert encode(name) == b"M\xfcller"


@given(st.binary())
def test_decode_and_encode_are_inverse(data: bytes) -> None:
    assert encode(decode(data)) == data


@given(
    st.lists(st.tuples(st.from_regex(r"[A-Za-z(][A-Za-z0-9()/.:;@-]*", fullmatch=True), st.text("ab: /,é\r")))
)
def test_one_header_read_alone_is_the_one_among_all(pairs: list[tuple[str, str]]) -> None:
    raw = b"\r\n".join([b"Event: X", *(encode(f"{name}: {value}") for name, value in pairs)])
    event = (Event if b"\r" not in raw.replace(b"\r\n", b"") else OddEvent).from_raw(raw)
    assert event.raw == raw
    everything = event.items()
    for spelled, _ in pairs:
        for name in (spelled, spelled.swapcase(), spelled + "s"):
            same = [value for key, value in everything if key.lower() == name.lower()]
            plain = [line for line in event.text.split("\r\n") if line.startswith(f"{name}: ")]
            exact = [line[len(name) + 2 :] for line in plain]
            assert event.get(name) == next(iter(exact + same), None)
            assert event.getall(name) == same


def test_follows_output_keeps_colons_blank_lines_and_an_unterminated_end() -> None:
    response = FollowsResponse.from_raw(
        b"Response: Follows\r\nPrivilege: Command\r\nActionID: 7\r\nName: x\n\nlast--END COMMAND--"
    )
    assert response.output == ["Name: x", "", "last"]
    assert response.action_id == "7"
    assert response.success


def test_output_keeps_blank_lines_and_drops_a_stray_cr() -> None:
    raw = b"Response: Error\r\nMessage: Command output follows\r\nOutput: a\r\r\nOutput: \r\nOutput: b"
    response = OddResponse.from_raw(raw)
    assert response.output == ["a", "", "b"]
    assert not response.success


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", "plain"),
        ("a,b", "a\\,b"),
        ('say "hi"', 'say \\"hi\\"'),
        ("C:\\dir", "C:\\\\dir"),
        ("f(x)[0]", "f\\(x\\)\\[0\\]"),
    ],
)
def test_a_variable_is_quoted_for_the_way_asterisk_reads_it(value: str, quoted: str) -> None:
    action = Action("Originate", {"Variable": "RAW=a,b"}, variables={"V": value})
    assert action.headers == [("Variable", "RAW=a,b"), ("Variable", f"V={quoted}")]


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("a\\nb", "a\nb"),
        ('\\"x\\"', '"x"'),
        ("\\\\n", "\\n"),
        ("\\r\\t", "\r\t"),
        ("ends in \\", "ends in \\"),
        ("plain", "plain"),
    ],
)
def test_c_escapes_are_undone_on_request(escaped: str, text: str) -> None:
    assert unescape(escaped) == text
