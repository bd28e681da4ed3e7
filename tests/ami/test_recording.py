"""The format of recordings: every byte, its time and its segment, and no secret."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ami_integration.ami.recording import NotARecording, Recording, Segment, mask, read_recording


def written(*segments: tuple[bool, bytes], secrets: tuple[str, ...] = ()) -> bytes:
    file = io.BytesIO()
    with Recording(file, host="pbx:5038", secrets=secrets) as recording:
        for sent, data in segments:
            (recording.sent if sent else recording.received)(data)
    return file.getvalue()


def read(data: bytes) -> list[Segment]:
    return list(read_recording(io.BytesIO(data)))


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=50))))
def test_every_segment_comes_back_as_it_was_and_in_order(segments: list[tuple[bool, bytes]]) -> None:
    for direction in (False, True):
        said = b"".join(data for sent, data in segments if sent is direction)
        assume(mask(said, sent=direction) == said)  # rubbish can spell "Password:", too
    found = read(written(*segments))
    assert [(one.sent, one.data) for one in found] == segments
    assert all(before.at <= after.at for before, after in pairwise(found))


def test_it_is_readable_as_text() -> None:
    lines = written((False, b"Asterisk Call Manager/11.0.0\r\n")).split(b"\n")
    assert lines[0] == b"AMI recording 1"
    assert lines[1].startswith(b"Started: 20")
    assert lines[2:4] == [b"Host: pbx:5038", b""]
    assert lines[4].endswith(b" < 30")
    assert lines[5] == b"Asterisk Call Manager/11.0.0\r"


@given(st.integers(min_value=0, max_value=200))
def test_of_a_cut_file_all_whole_segments_are_read(cut: int) -> None:
    whole = written((False, b"one\r\n\r\n"), (True, b"two\r\n\r\n"))
    found = read(whole[: max(len(whole) - cut, whole.index(b"\n\n") + 2)])
    assert found == read(whole)[: len(found)]


@pytest.mark.parametrize("data", [b"", b"Asterisk Call Manager/11.0.0\r\n", b"AMI recording 2\n\n"])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(NotARecording):
        read(data)


def test_a_damaged_record_is_told() -> None:
    data = written((False, b"one\r\n\r\n")) + b"garbage\n"
    with pytest.raises(NotARecording, match="garbage"):
        read(data)


@pytest.mark.parametrize(
    ("data", "masked"),
    [
        (b"Event: AuthDetail\r\nPassword: hunter2\r\nRealm: x\r\n\r\n", b"Password: *******\r\nRealm: x"),
        (b"Response: Success\r\nLine-000000-000001: secret=hunter2\r\n\r\n", b"-000001: secret=*******\r\n"),
        (b"Output:  Secret          : hunter2\r\n\r\n", b"Secret          : *******\r\n"),
        (b"Variable: DB_PASSWORD\r\nValue: hunter2\r\n\r\n", b"Value: *******\r\n"),
        (b"Event: X\r\nPIN: 1234\r\n\r\n", b"PIN: ****\r\n"),
        (b"Event: X\r\nNewPassword: a:b c\r\n\r\n", b"NewPassword: *****\r\n"),
        (
            b"Event: InvalidPassword\r\nChallenge: 12345\r\nReceivedHash: 0123abcd\r\n\r\n",
            b"Challenge: 12345\r\nReceivedHash: ********\r\n",
        ),
        (
            b"Event: ChallengeResponseFailed\r\nResponse: " + b"0" * 32 + b"\r\nExpectedResponse: 1\r\n\r\n",
            b"Response: " + b"*" * 32 + b"\r\nExpectedResponse: *\r\n",
        ),
        (b"said my-own-secret here\r\n\r\n", b"said ************* here\r\n"),
    ],
)
def test_secrets_are_overwritten_and_lengths_stay(data: bytes, masked: bytes) -> None:
    found = mask(data, [b"my-own-secret"])
    assert masked in found
    assert len(found) == len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"Output: [Secret:] <value>\r\n\r\n",
        b"Event: DBGetResponse\r\nFamily: amiweb\r\nKey: colour\r\nVal: blue\r\n\r\n",
        b"Response: Success\r\nChallenge: 123456789\r\n\r\n",
        b"Event: SuccessfulAuth\r\nService: AMI\r\nUsingPassword: 0\r\n\r\n",
        b"Event: VarSet\r\nVariable: SHIPPING\r\nValue: 7\r\n\r\n",
    ],
)
def test_what_is_no_secret_stays(data: bytes) -> None:
    assert mask(data, [b"my-own-secret"]) == data


@pytest.mark.parametrize("header", [b"Secret: hunter2", b"Key: 0123456789abcdef"])
def test_the_login_is_masked(header: bytes) -> None:
    login = b"Action: Login\r\nActionID: 1\r\nUsername: me\r\n" + header + b"\r\n\r\n"
    assert header not in (found := mask(login, sent=True))
    assert b"Username: me\r\n" in found


def test_the_key_of_a_database_is_none_even_beside_a_login() -> None:
    database = b"Action: DBGet\r\nFamily: amiweb\r\nKey: colour\r\n\r\n"
    login = b"Action: Login\r\nKey: hunter2\r\n\r\n"
    assert (
        mask(database + login + database, sent=True)
        == database + login.replace(b"hunter2", b"*******") + database
    )


@given(st.lists(st.integers(min_value=1, max_value=20), min_size=1))
def test_however_a_secret_is_cut_into_segments_it_is_overwritten(sizes: list[int]) -> None:
    stream = (
        b"Event: VarSet\r\nVariable: MY_SECRET\r\nValue: hunter2\r\n\r\nEvent: X\r\nA: top-secret-x\r\n\r\n"
    )
    segments, at = [], 0
    while at < len(stream):
        size = sizes[len(segments) % len(sizes)]
        segments.append((False, stream[at : at + size]))
        segments.append((True, b"Action: Ping\r\n\r\n"))
        at += size
    found = read(written(*segments, secrets=("top-secret-x",)))
    assert [len(one.data) for one in found] == [len(data) for _, data in segments]
    received = b"".join(one.data for one in found if not one.sent)
    assert received == stream.replace(b"hunter2", b"*" * 7).replace(b"top-secret-x", b"*" * 12)


def test_a_message_without_an_end_is_not_held_for_ever() -> None:
    file = io.BytesIO()
    recording = Recording(file)
    line = b"Output: " + b"x" * 1000 + b"\r\n"
    for _ in range(3000):
        recording.received(line)
    assert len(file.getvalue()) > 1_000_000
    recording.close()
    assert b"".join(one.data for one in read(file.getvalue())) == line * 3000
