"""The protocol reads every recorded session of a real Asterisk, whole or in pieces, and finds it sane."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ami_integration.ami import CLOSED, NEED_DATA, Banner, Event, Message, Protocol, Response
from tests.pbx.capture import CAPTURES

FILES = sorted(path for path in CAPTURES.glob("*/*.ami") if not path.name.endswith(".sent.ami"))
#: Scenarios that were recorded because Asterisk is odd in them: messages that end in a bare LF.
ODD = {"errors_of_pjsip", "park"}


def read(pieces: list[bytes]) -> tuple[list[Message], Protocol]:
    protocol = Protocol("client")
    messages: list[Message] = []
    for piece in [*pieces, b""]:
        protocol.receive_data(piece)
        while (message := protocol.next_message()) is not NEED_DATA and message is not CLOSED:
            messages.append(message)
    return messages, protocol


def test_there_are_captures_of_both_versions() -> None:
    assert {path.parent.name for path in FILES} == {"16", "22"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_session_is_read_without_oddities(path: Path) -> None:
    data = path.read_bytes()
    messages, protocol = read([data])
    assert isinstance(messages[0], Banner)
    assert all(isinstance(message, (Response, Event)) for message in messages[1:])
    assert sum(message.raw.startswith(b"Event: ") for message in messages) == data.count(b"\nEvent: ")
    if path.stem in ODD:
        assert set(protocol.anomalies) == {"bare_lf"}
    else:
        assert protocol.anomalies.total() == 0, protocol.anomalies
    for message in messages[1:]:
        assert all(name and name.strip() == name for name, _ in message.items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_how_it_was_cut_into_segments_makes_no_difference(path: Path) -> None:
    data = path.read_bytes()
    cuts = sorted({0, len(data), *random.sample(range(len(data)), min(300, len(data)))})
    pieces = [data[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    whole, _ = read([data])
    cut, _ = read(pieces)
    assert [message.raw for message in cut] == [message.raw for message in whole]
