"""Every case runs whole, byte by byte, and with more behind it."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.ami import (
    CLOSED,
    NEED_DATA,
    Action,
    Banner,
    Message,
    MessageTooLarge,
    Protocol,
    Response,
)
from ami_integration.ami.protocol import State
from tests.ami.reference import assert_regular, reference

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
Seen = list[tuple[str, list[tuple[str, str]]]]


def read(chunks: list[bytes], *, greeted: bool = True) -> tuple[Seen, Protocol]:
    protocol = Protocol("client")
    seen: Seen = []
    for chunk in [BANNER, *chunks] if greeted else chunks:
        protocol.receive_data(chunk)
        while isinstance(message := protocol.next_message(), Message):
            if not isinstance(message, Banner):
                seen.append((type(message).__name__.removeprefix("Odd"), message.items()))
    return seen, protocol


CASES: dict[str, tuple[bytes, Seen]] = {
    "an event": (
        b"Event: FullyBooted\r\nPrivilege: system,all\r\n\r\n",
        [("Event", [("Event", "FullyBooted"), ("Privilege", "system,all")])],
    ),
    "blank lines between messages": (
        b"\r\n\r\nResponse: Success\r\n\r\n\r\n\r\nEvent: A\r\n\r\n",
        [("Response", [("Response", "Success")]), ("Event", [("Event", "A")])],
    ),
    "an event with a Response header of its own": (
        b"Event: OriginateResponse\r\nResponse: Failure\r\n\r\n",
        [("Event", [("Event", "OriginateResponse"), ("Response", "Failure")])],
    ),
    "a message text that ends in LF": (
        b"Response: Success\r\nMessage: Park successful\n\r\n\r\nEvent: A\r\n\r\n",
        [
            ("Response", [("Response", "Success"), ("Message", "Park successful")]),
            ("Event", [("Event", "A")]),
        ],
    ),
    "a value with an LF in it": (
        b"Response: Success\r\nValue: one\ntwo\r\nVariable: V\r\n\r\n",
        [("Response", [("Response", "Success"), ("Value", "one\ntwo"), ("Variable", "V")])],
    ),
    "a blank line that is CR LF LF": (
        b"Event: A\r\nX: 1\r\n\nEvent: B\r\n\r\n",
        [("Event", [("Event", "A"), ("X", "1")]), ("Event", [("Event", "B")])],
    ),
    "lines that end in LF alone": (
        b"Event: A\nX: 1\n\nEvent: B\n\n",
        [("Event", [("Event", "A"), ("X", "1")]), ("Event", [("Event", "B")])],
    ),
    "a Follows answer with blank lines and colons": (
        b"Response: Follows\r\nPrivilege: Command\r\nActionID: 1\r\n"
        b"A: b\n\nEvent: no\n\nend--END COMMAND--\r\n\r\n"
        b"Event: A\r\n\r\n",
        [
            (
                "FollowsResponse",
                [
                    ("Response", "Follows"),
                    ("Privilege", "Command"),
                    ("ActionID", "1"),
                    ("Output", "A: b"),
                    ("Output", ""),
                    ("Output", "Event: no"),
                    ("Output", ""),
                    ("Output", "end"),
                ],
            ),
            ("Event", [("Event", "A")]),
        ],
    ),
    "a line without a colon": (
        b"Event: A\r\nnonsense\r\nX: 1\r\n\r\n",
        [("Event", [("Event", "A"), ("", "nonsense"), ("X", "1")])],
    ),
    "a truncated event glued to the next": (
        b"Event: A\r\nChanEvent: B\r\nX: 1\r\n\r\n",
        [("Event", [("Event", "A"), ("ChanEvent", "B"), ("X", "1")])],
    ),
    "output that mentions Follows": (
        b"Response: Success\r\nOutput: what follows\r\n\r\nEvent: A\r\n\r\n",
        [("Response", [("Response", "Success"), ("Output", "what follows")]), ("Event", [("Event", "A")])],
    ),
    "bytes that are no text": (
        b"Event: A\r\nName: \xff\xfe\r\n\r\n",
        [("Event", [("Event", "A"), ("Name", "\udcff\udcfe")])],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_whole(case: tuple[bytes, Seen]) -> None:
    data, expected = case
    assert read([data])[0] == expected


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_byte_by_byte(case: tuple[bytes, Seen]) -> None:
    data, expected = case
    assert read([data[at : at + 1] for at in range(len(data))])[0] == expected


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_with_more_behind_it(case: tuple[bytes, Seen]) -> None:
    data, expected = case
    more: Seen = [("Event", [("Event", "Next"), ("Y", "2")])]
    assert read([data + b"Event: Next\r\nY: 2\r\n\r\nEvent: Ne"])[0] == expected + more


@given(st.permutations(list(CASES)), st.data())
def test_any_cut_of_any_order_gives_the_same_messages(order: list[str], data: st.DataObject) -> None:
    stream = b"".join(CASES[name][0] for name in order)
    expected = [one for name in order for one in CASES[name][1]]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    bounds = [0, *cuts, len(stream)]
    assert read([stream[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if a < b])[0] == expected


@given(st.lists(st.binary(min_size=1), max_size=30))
def test_garbage_never_raises_and_the_next_message_is_whole(garbage: list[bytes]) -> None:
    # A Follows answer swallows what comes until its end, so garbage may be one: end it.
    seen, _ = read([*garbage, b"--END COMMAND--\r\n\r\n", b"\r\n\r\nEvent: Next\r\nY: 2\r\n\r\n"])
    assert seen[-1] == ("Event", [("Event", "Next"), ("Y", "2")])


def test_the_banner_comes_first_and_tells_the_ami_version() -> None:
    protocol = Protocol("client")
    protocol.receive_data(BANNER[:5])
    assert protocol.next_message() is NEED_DATA
    assert protocol.state is State.BANNER
    protocol.receive_data(BANNER[5:] + b"Event: A\r\n\r\n")
    banner = protocol.next_message()
    assert isinstance(banner, Banner)
    assert banner.ami_version == "11.0.0"
    assert isinstance(protocol.next_message(), Message)


@pytest.mark.parametrize("line", [b"SSH-2.0-OpenSSH_9.2", b"HTTP/1.1 400 Bad Request", b"", b"220 mail"])
def test_another_greeting_is_no_ami_banner(line: bytes) -> None:
    assert Banner.from_raw(line).ami_version is None


def test_the_end_of_input_is_told_after_the_last_message() -> None:
    seen, protocol = read([b"Event: A\r\n\r\n", b""])
    assert len(seen) == 1
    assert protocol.next_message() is CLOSED
    assert not protocol.anomalies


def test_a_message_cut_by_the_end_of_input_is_counted_and_not_handed_on() -> None:
    seen, protocol = read([b"Event: A\r\nX: 1\r\n", b""])
    assert seen == []
    assert protocol.anomalies["truncated"] == 1
    assert protocol.anomalies.samples["truncated"] == [b"Event: A\r\nX: 1\r\n"]


def test_a_bare_lf_is_counted_with_a_sample() -> None:
    _, protocol = read([b"Response: Error\r\nMessage: x\n\r\n"])
    assert protocol.anomalies["bare_lf"] == 1


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["unfinished", "whole"])
def test_a_message_beyond_the_limit_ends_in_a_clear_error(end: bytes) -> None:
    protocol = Protocol("client", max_message=1000)
    protocol.receive_data(BANNER + b"Event: A\r\n\r\nEvent: B\r\nX: " + b"x" * 1000 + end)
    assert isinstance(protocol.next_message(), Banner)
    assert isinstance(protocol.next_message(), Message)
    with pytest.raises(MessageTooLarge, match="1000 bytes"):
        protocol.next_message()


LONG = b"".join(b"Output: line %d\r\n" % number for number in range(200))
CUT = {
    "a Command answer": (b"Response: Success\r\nActionID: 1\r\nMessage: x\r\n" + LONG + b"\r\n", "line 0"),
    "with bare line feeds": (
        b"Response: Success\nActionID: 1\n" + LONG.replace(b"\r", b"") + b"\n",
        "line 0",
    ),
    "of Asterisk 13, with blank lines in it": (
        b"Response: Follows\r\nActionID: 1\r\n"
        + LONG.replace(b"line", b"\n\nline")
        + b"--END COMMAND--\r\n\r\n",
        "Output: ",
    ),
    "one line": (b"Response: Success\r\nActionID: 1\r\nJSON: " + b"x" * 3000 + b"\r\n\r\n", None),
}


@pytest.mark.parametrize("piece", [1, 7, 61, 1000, 1001, 100_000])
@pytest.mark.parametrize("name", CUT)
def test_an_answer_beyond_the_limit_is_cut_where_that_is_wanted_and_the_next_message_is_whole(
    name: str, piece: int
) -> None:
    answer, first = CUT[name]
    data = BANNER + b"Event: A\r\n\r\n" + answer + b"Event: B\r\nX: 1\r\n\r\n" + answer
    protocol = Protocol("client", max_message=1000, cut_answers=True)
    seen = []
    for start in range(0, len(data), piece):
        protocol.receive_data(data[start : start + piece])
        while isinstance(message := protocol.next_message(), Message):
            seen.append(message)
    _, before, cut, after, again = seen
    assert (before.text, after.text) == ("Event: A", "Event: B\r\nX: 1")
    assert isinstance(cut, Response) and isinstance(again, Response)
    assert (cut.text, cut.missing, cut.action_id, cut.success) == (again.text, again.missing, "1", True)
    assert answer.startswith(cut.raw) and len(cut.raw) <= 1000
    assert abs(len(cut.raw) + cut.missing - len(answer)) <= len("\r\n\r\n")
    if first is None:
        assert cut.output == []
    else:
        assert cut.output[0] == first and len(cut.output) > 30


def test_an_event_beyond_the_limit_ends_the_session_though_answers_may_be_cut() -> None:
    protocol = Protocol("client", max_message=1000, cut_answers=True)
    protocol.receive_data(BANNER + b"Event: B\r\nX: " + b"x" * 1000)
    assert isinstance(protocol.next_message(), Banner)
    with pytest.raises(MessageTooLarge, match="1000 bytes"):
        protocol.next_message()


def test_an_answer_that_is_cut_and_never_ends_is_counted_and_not_handed_on() -> None:
    protocol = Protocol("client", max_message=1000, cut_answers=True)
    for data in (BANNER, b"Response: Success\r\n" + LONG, LONG, b""):
        protocol.receive_data(data)
    assert isinstance(protocol.next_message(), Banner)
    assert protocol.next_message() is CLOSED
    assert protocol.anomalies["truncated"] == 1


LINES = b"".join(b"Output: line %d: %s\r\n" % (number, b"x" * 30) for number in range(100_000))
LARGE = {
    "a Command answer of 100,000 lines": (
        b"Response: Success\r\nMessage: Command output follows\r\n" + LINES + b"\r\n",
        lambda message: len(message.output) == 100_000 and message.output[-1].startswith("line 99999: x"),
    ),
    "the same of Asterisk 13, with lines that look like its end": (
        b"Response: Follows\r\n" + LINES.replace(b"xxxxx\r\n", b"COMMAND--\n\n") + b"--END COMMAND--\r\n\r\n",
        lambda message: len(message.output) == 200_000 and message.output[-2].endswith("xCOMMAND--"),
    ),
    "a line of 10 MB": (
        b"Event: UserEvent\r\nBody: " + b"y" * 10_000_000 + b"\r\n\r\n",
        lambda message: len(message.get("Body")) == 10_000_000,
    ),
}


@pytest.mark.parametrize("piece", [61, 1448, 65536, 100_000_000])
@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_looked_at_once_however_it_is_split(
    name: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, is_right = LARGE[name]
    looked_at = 0
    cut = Protocol._cut

    def counting(self: Protocol, chunk: bytes) -> None:
        nonlocal looked_at
        looked_at += len(chunk)
        cut(self, chunk)

    monkeypatch.setattr(Protocol, "_cut", counting)
    protocol = Protocol("client")
    protocol.receive_data(BANNER)
    protocol.next_message()
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    tracemalloc.start()
    try:
        for one in pieces:
            protocol.receive_data(one)
        message = protocol.next_message()
        assert isinstance(message, Message)
        # The whole chunk, its text, and the message's.
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()
    assert is_right(message)
    # Once when its end has come, and its beginning when that has.
    assert looked_at <= len(data) + piece + len(BANNER)
    assert protocol.next_message() is NEED_DATA


def test_a_server_reads_actions_without_a_banner() -> None:
    protocol = Protocol("server")
    protocol.receive_data(Action("Ping", action_id="1").encode())
    action = protocol.next_message()
    assert isinstance(action, Message)
    assert (action.kind, action.name, action.action_id) == ("Action", "Ping", "1")


PIECES = [
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"Event: A",
    b"X: 1",
    b"Response: Success",
    b"noise",
    b": ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=60), st.lists(st.integers(0, 300), max_size=8))
def test_the_quick_way_and_the_reference_agree_on_any_stream(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    protocol = Protocol("client")
    protocol.receive_data(BANNER)
    protocol.next_message()
    seen = []
    for a, b in zip(bounds, bounds[1:], strict=False):
        if a < b:
            protocol.receive_data(stream[a:b])
        while isinstance(message := protocol.next_message(), Message):
            *lines, last = message.raw.split(b"\n")
            seen.append([*(line.removesuffix(b"\r") for line in lines), last])
            assert_regular(message)
    assert seen == reference(stream)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"Event: A\r\nnonsense\r\n\r\n", "no_colon"),
        (b"Event: A\r\nX: 1\n\r\n", "bare_lf"),
        (b"Event: A\r\nX: 1\ra\nY: 2\r\n\r\n", "bare_lf"),
        (b"Event: A\r\nX: 1\r\n\nEvent: B\r\n\r\n", "bare_lf_blank"),
        (b"noise: 1\r\n\r\n", "unknown_kind"),
    ],
)
def test_each_oddity_is_counted_once_with_its_bytes(data: bytes, kind: str) -> None:
    _, protocol = read([data, b"Event: Next\r\n\r\n"])
    assert protocol.anomalies[kind] == 1
    assert protocol.anomalies.samples[kind][0] in data


def test_bytes_before_the_banner_are_counted_and_do_not_hide_it() -> None:
    protocol = Protocol("client")
    for at in range(len(data := b"\r\n\r\nnoise" + BANNER + b"Event: A\r\n\r\n")):
        protocol.receive_data(data[at : at + 1])
    banner = protocol.next_message()
    assert isinstance(banner, Banner)
    assert banner.ami_version == "11.0.0"
    assert protocol.anomalies == {"before_banner": 3}
    assert isinstance(protocol.next_message(), Message)


def test_samples_are_few_and_short() -> None:
    _, protocol = read([b"Event: A\r\n" + b"x" * 10_000 + b"\r\n\r\n"] * 50)
    assert protocol.anomalies["no_colon"] == 50
    assert len(protocol.anomalies.samples["no_colon"]) == 5
    assert all(len(sample) == 400 for sample in protocol.anomalies.samples["no_colon"])
