"""Reading actions with the real one's limits and oddities, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.simulator.requests import LINE_TOO_LONG, TOO_MANY_LINES, Request, RequestReader


def _read(data: bytes, size: int | None = None) -> list[Request]:
    reader = RequestReader()
    step = size or max(1, len(data))
    return [request for at in range(0, len(data), step) for request in reader.feed(data[at : at + step])]


STREAMS = {
    "two actions": b"Action: Ping\r\nActionID: 1\r\n\r\nAction: Logoff\r\n\r\n",
    "line of 1,022 bytes": b"Action: Ping\r\nX: " + b"x" * 1019 + b"\r\n\r\nAction: Ping\r\n\r\n",
    "line of 1,023 bytes": b"Action: Ping\r\nX: " + b"x" * 1020 + b"\r\nAction: Ping\r\n\r\n",
    "line of 1,024 bytes": b"Action: Ping\r\nX: " + b"x" * 1021 + b"\r\n\r\nAction: Ping\r\n\r\n",
    "129 headers": b"Action: Ping\r\n" + b"X: 1\r\n" * 128 + b"\r\nAction: Ping\r\n\r\n",
    "LF alone": b"Action: Ping\nActionID: 1\n\n\nAction: Ping\n\n",
}


@pytest.mark.parametrize("size", [1, 2, 7, 1024, None])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_reads_the_same_in_any_pieces(name: str, size: int | None) -> None:
    assert _read(STREAMS[name], size) == _read(STREAMS[name])


@given(
    data=st.lists(st.sampled_from([b"Action: Ping", b"\r\n", b"\n", b"\r", b"x" * 1020, b"\0", b":"])).map(
        b"".join
    )
)
def test_any_bytes_read_the_same_whole_and_byte_by_byte(data: bytes) -> None:
    assert _read(data, 1) == _read(data)


def test_a_line_of_1022_bytes_is_read() -> None:
    (request, _) = _read(STREAMS["line of 1,022 bytes"])
    assert request.error is None
    assert len(request.get("X")) == 1019


def test_a_longer_line_costs_the_action_and_not_the_next() -> None:
    first, second = _read(STREAMS["line of 1,024 bytes"])
    assert (first.error, second.error) == (LINE_TOO_LONG, None)


def test_after_a_line_of_1023_bytes_the_rest_is_taken_for_a_new_action() -> None:
    first, second = _read(STREAMS["line of 1,023 bytes"])
    assert (first.error, second.error, second.action) == (LINE_TOO_LONG, None, "Ping")


def test_128_headers_are_read_and_129_refused() -> None:
    assert _read(b"Action: Ping\r\n" + b"X: 1\r\n" * 127 + b"\r\n")[0].error is None
    assert _read(b"Action: Ping\r\n" + b"X: 1\r\n" * 128 + b"\r\n")[0].error == TOO_MANY_LINES


def test_the_first_header_wins_and_its_case_does_not_matter() -> None:
    request = Request(["ACTIONID:  a ", "ActionID: b", "ActionID : c"])
    assert request.action_id == "a "
    assert request.getall("actionid") == ["a ", "b"]


def test_an_empty_action_is_passed_over() -> None:
    assert Request(["Action: ", "Action: Ping"]).action == "Ping"


def test_bytes_that_are_not_utf_8_survive() -> None:
    (request,) = _read(b"Action: Ping\r\nName: J\xf6rg\r\n\r\n")
    assert request.get("Name").encode("utf-8", "surrogateescape") == b"J\xf6rg"
