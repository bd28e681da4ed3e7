"""Recordings of AMI sessions: written by `ami.record`, replayed by the simulator.

A recording is for finding a fault elsewhere than it happened, and for the simulator to replay. So it keeps
every byte with its time and the segments as they came, before any parser has seen them, and holds no secret.

The format, which a text editor shows as it is (``\\n`` ends its own lines)::

    AMI recording 1
    Started: 2026-11-23T09:43:54.123456+00:00
    Host: 192.0.2.10:5038
                                                a blank line ends the head
    0.001234 < 30                               seconds since the start, direction, number of bytes
    Asterisk Call Manager/11.0.0\\r\\n            the bytes as they are, and a "\\n" of the format's own
    0.001301 > 58
    …

``<`` came from the PBX, ``>`` was sent to it. A last record that is cut (a full disk, a kill) is left out on
reading. Secrets are overwritten with as many ``*``, so lengths and positions stay: the account's own secret
and login key, and what follows any name that sounds like a secret (``Password:``, ``secret=``). What a name
doesn't give away can't be known: callers' names and numbers are in a recording, so treat it as personal data.
"""

from __future__ import annotations

import datetime
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self

from ami_integration.ami.messages import encode

_MAGIC = b"AMI recording 1\n"
#: A message longer than this is masked line by line instead of whole.
_MOST_HELD = 1024 * 1024
_SHORTEST_SECRET = 4

_WORDS = (
    *(b"secret", b"passw", b"md5cred", b"md5_cred", b"authpass", b"auth_pass", b"pincode", b"credential"),
    *(
        b"receivedhash",
        b"expectedresponse",
    ),  # of InvalidPassword and ChallengeResponseFailed: good for guessing
)
_WORD = b"|".join(_WORDS)
_NAME = rb"[\w./-]{0,64}(?:" + _WORD + rb")[\w./-]{0,64}"
# `Password: x`, `Line-000001-000002: secret=x`, `Output:  password : x`; not `[Secret:] <value>` of a manual,
# and not `UsingPassword: 0`, which says how somebody logged in.
_VALUE = re.compile(
    rb"(?i)(?<![\w./-])(?!UsingPassword: [01]\r?\n)("
    + _NAME
    + rb"[ \t]*(?:=>?|:)[ \t]*)(?![<\]])([^\s][^\r\n]*)"
)
_PIN = re.compile(rb"(?im)^(pin:[ \t]*)([^\r\n]+)")
_DIGEST = re.compile(rb"(?im)^(response:[ \t]*)([0-9a-f]{32})(?=\r?$)")
# VarSet tells the name in one header and the value in the next; so does UpdateConfig.
_NAMED = re.compile(rb"(?i)(var[\w-]*: [^\r\n]*(?:" + _WORD + rb")[^\r\n]*\r?\nval[\w-]*: )([^\r\n]+)")
_LOGIN = re.compile(rb"(?i)(action:[ \t]*login\r?\n(?:[^\r\n]+\r?\n)*?(?:key|secret):[ \t]*)([^\r\n]+)")


class NotARecording(ValueError):
    """The file isn't a recording, or is of a later format."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What was read or written at once.

    Attributes:
        at: seconds since the recording's start.
        sent: whether it went to the PBX; else it came from it.
        data: its bytes.
    """

    at: float
    sent: bool
    data: bytes


@dataclass(slots=True)
class _Held:
    at: float
    sent: bool
    data: bytearray
    open: bool = False


@dataclass(slots=True)
class _Direction:
    parts: list[tuple[_Held, int]] = field(
        default_factory=list
    )  # of the unfinished message, with their start
    size: int = 0


class Recording:
    """Writes a recording.

    Args:
        file: an open binary file.
        host: which PBX, for the head.
        secrets: values to overwrite wherever they occur; shorter ones than 4 bytes are masked by name only.

    Attributes:
        empty: whether nothing was received yet.

    It is a context manager; `close` writes what waits for the end of its message, and leaves the file open.
    """

    def __init__(self, file: BinaryIO, *, host: str = "", secrets: Iterable[str] = ()) -> None:
        self.empty = True
        self._file = file
        self._secrets: set[bytes] = set()
        self._start = time.monotonic()
        self._held: deque[_Held] = deque()
        self._directions = {False: _Direction(), True: _Direction()}
        for secret in secrets:
            self.hide(secret)
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        file.write(_MAGIC + f"Started: {started}\nHost: {host}\n\n".encode())

    def hide(self, secret: str) -> None:
        """Overwrite this value from now on."""
        if len(value := encode(secret)) >= _SHORTEST_SECRET:
            self._secrets.add(value)

    def received(self, data: bytes) -> None:
        """Bytes came from the PBX just now."""
        self.empty = self.empty and not data
        self._add(data, sent=False)

    def sent(self, data: bytes) -> None:
        """Bytes go to the PBX now."""
        self._add(data, sent=True)

    def close(self) -> None:
        """Write the rest, a cut message too."""
        for sent, direction in self._directions.items():
            self._mask(direction, sent)
        self._write()
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, data: bytes, *, sent: bool) -> None:
        if not data:
            return
        held = _Held(time.monotonic() - self._start, sent, bytearray(data))
        self._held.append(held)
        direction = self._directions[sent]
        # A secret may be cut by a segment, and its name may stand in the line before: so whole messages are
        # masked at once.
        end = _last_end(data)
        if not end and direction.size + len(data) > _MOST_HELD:
            end = data.rfind(b"\n") + 1 or len(data)
        if end:
            self._mask(direction, sent, (held, end))
            direction.parts = [(held, end)] if end < len(data) else []
            direction.size = len(data) - end
        else:
            direction.parts.append((held, 0))
            direction.size += len(data)
        for part, _ in direction.parts:
            part.open = True
        self._write()

    def _mask(self, direction: _Direction, sent: bool, last: tuple[_Held, int] | None = None) -> None:
        """Overwrite the secrets of the unfinished message, and of the last segment up to a place in it."""
        pieces = [(held.data, start, len(held.data)) for held, start in direction.parts]
        if last is not None:
            pieces.append((last[0].data, 0, last[1]))
        text = b"".join(bytes(data[start:end]) for data, start, end in pieces)
        masked = mask(text, self._secrets, sent=sent)
        if masked != text:
            at = 0
            for data, start, end in pieces:
                data[start:end] = masked[at : at + end - start]
                at += end - start
        for held, _ in direction.parts:
            held.open = False
        direction.parts, direction.size = [], 0

    def _write(self) -> None:
        while self._held and not self._held[0].open:
            held = self._held.popleft()
            head = f"{held.at:.6f} {'>' if held.sent else '<'} {len(held.data)}\n".encode()
            self._file.write(b"".join((head, held.data, b"\n")))


def _last_end(data: bytes) -> int:
    """Where the last whole message in it ends; 0 where none does."""
    return max((at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := data.rfind(end)) >= 0), default=0)


def mask(data: bytes, secrets: Iterable[bytes] = (), *, sent: bool = False) -> bytes:
    """The bytes with their secrets overwritten by as many ``*``.

    Args:
        data: whole messages.
        secrets: values to overwrite wherever they occur.
        sent: whether they go to the PBX: then a ``Key`` is a login's, and not one of a database.
    """
    for secret in secrets:
        data = data.replace(secret, b"*" * len(secret))
    lower = data.lower()
    # `in` is a hundred times faster than the expressions, and nearly nothing has such a word.
    if any(word in lower for word in _WORDS):
        data = _NAMED.sub(_stars, _VALUE.sub(_stars, data))
    if b"pin:" in lower:
        data = _PIN.sub(_stars, data)
    if b"expectedresponse" in lower:
        data = _DIGEST.sub(_stars, data)
    if sent:
        data = _LOGIN.sub(_stars, data)
    return data


def _stars(match: re.Match[bytes]) -> bytes:
    return match[1] + b"*" * len(match[2])


def read_recording(file: BinaryIO) -> Iterator[Segment]:
    """The segments of a recording, in order. A cut last one is left out.

    Raises:
        NotARecording: at the first step, or where a record isn't one.
    """
    if file.readline(len(_MAGIC)) != _MAGIC:
        raise NotARecording("This isn't an AMI recording of format 1.")
    while (line := file.readline()) not in (b"\n", b""):
        if b":" not in line:
            raise NotARecording(f"The head of the recording has a line that is none: {line[:60]!r}.")
    while line := file.readline():
        match = re.fullmatch(rb"(\d+\.\d+) ([<>]) (\d+)\n", line)
        if match is None:
            if not line.endswith(b"\n"):
                return
            raise NotARecording(f"The recording is damaged: a record begins with {line[:60]!r}.")
        size = int(match[3])
        data = file.read(size + 1)
        if len(data) <= size:
            return
        yield Segment(float(match[1]), match[2] == b">", data[:size])
