"""The protocol: a machine from bytes to messages, without I/O.

Framing is done on bytes, since a character may be cut in two by a TCP segment. A line ends at LF, with or
without a CR before it; a blank line ends a message; blank lines between messages mean nothing. The one
exception is ``Response: Follows`` (Asterisk 13 and older), which runs to ``--END COMMAND--`` whatever blank
lines it holds.

Two ways lead through the same rule. What Asterisk nearly always sends, lines that hold a colon and end in
CRLF, is recognised for a whole chunk by a few searches that run in C, and cut by one ``split``. Everything
else (a bare LF, a line without a colon, a Follows answer) is cut message by message, and counted. Both take
time linear in the input, however it is split: what belongs to an unfinished message is put aside in pieces
and joined once, when its end has come.

========  ==============================  =========
State     Input                           Next
========  ==============================  =========
BANNER    a line                          MESSAGES   (a client starts here, a server in MESSAGES)
MESSAGES  a message                       MESSAGES
any       end of input                    CLOSED
any       a message beyond the limit      CLOSED, and `MessageTooLarge`
MESSAGES  an answer beyond it, if wanted  MESSAGES   (its beginning, and how much isn't there)
========  ==============================  =========

An answer that is cut still costs the time of its reading: only at its end does the next message begin, and
without that the session would be lost. Its rest is looked over for that end and kept nowhere.

What a PBX does wrong never raises here: it is counted in `Protocol.anomalies`, and the next message is whole.
"""

from __future__ import annotations

import enum
import io
import re
from collections import Counter, deque
from typing import Final, Literal

from ami_integration.ami.errors import MessageTooLarge
from ami_integration.ami.messages import (
    Event,
    FollowsResponse,
    Message,
    OddEvent,
    OddResponse,
    Response,
    decode,
    encode,
    is_irregular,
)

#: How many bytes one message may have before the session is given up.
DEFAULT_MAX_MESSAGE = 16 * 1024 * 1024

_BLANK_LINE = re.compile(rb"\n\r?\n")
_LINE_ENDS = re.compile(rb"(?:\r?\n)*")
_END_COMMAND = re.compile(rb"--END COMMAND--\r?\n\r?\n")
_LONGEST_END = len(b"--END COMMAND--\r\n\r\n")
_BANNER_NAME = b"Asterisk Call Manager/"
#: Every byte but those by which the quick way judges a chunk.
_NO_MARKS = bytes(set(range(256)) - set(b":\n"))
_new = object.__new__
_SAMPLES = 5
_SAMPLE_BYTES = 400


class NeedData(enum.Enum):
    """The answer of `Protocol.next_message` when no message is whole yet."""

    NEED_DATA = "NEED_DATA"


class Closed(enum.Enum):
    """The answer of `Protocol.next_message` when the input has ended and all messages are read."""

    CLOSED = "CLOSED"


NEED_DATA: Final = NeedData.NEED_DATA
CLOSED: Final = Closed.CLOSED


class State(enum.Enum):
    """Where a `Protocol` stands."""

    BANNER = "BANNER"
    MESSAGES = "MESSAGES"
    CLOSED = "CLOSED"


class Banner(Message):
    """The greeting line, for example ``Asterisk Call Manager/11.0.0``."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """The line for eyes; what isn't UTF-8 is replaced."""
        return self.raw.decode("utf-8", "replace")

    @property
    def raw(self) -> bytes:
        return encode(self._text)

    @property
    def ami_version(self) -> str | None:
        """The AMI version (not Asterisk's own), or None where the line is not an AMI banner."""
        name, slash, version = self.text.partition("/")
        return version.strip() if slash and name.endswith("Call Manager") else None


class Anomalies(Counter[str]):
    """Counts of oddities by kind, with a few samples of the raw bytes of each."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: dict[str, list[bytes]] = {}

    def record(self, kind: str, raw: bytes) -> None:
        """Count one oddity.

        Args:
            kind: ``bare_lf`` (in a message), ``bare_lf_blank`` (the blank line that ends one), ``no_colon``,
                ``unknown_kind``, ``before_banner``, ``truncated``, ``unknown_action_id`` …
            raw: the bytes it came with; the first 400 are kept of the first 5.
        """
        self[kind] += 1
        kept = self.samples.setdefault(kind, [])
        if len(kept) < _SAMPLES:
            kept.append(raw[:_SAMPLE_BYTES])


class Protocol:
    """One side of an AMI connection.

    Args:
        role: a ``client`` expects a banner line first; a ``server`` reads actions.
        max_message: bytes that one message may have.
        cut_answers: hand on the beginning of a longer answer instead of giving up; its `Response.missing`
            says how much was left out.

    Attributes:
        state: a `State`.
        anomalies: what was odd, counted by kind.
    """

    def __init__(
        self,
        role: Literal["client", "server"] = "client",
        *,
        max_message: int = DEFAULT_MAX_MESSAGE,
        cut_answers: bool = False,
    ) -> None:
        self.role = role
        self.state = State.BANNER if role == "client" else State.MESSAGES
        self.anomalies = Anomalies()
        self._max_message = max_message
        self._cut_answers = cut_answers
        # The beginning of an answer that is too long, while its rest is skipped, and how long that is so far.
        self._beginning: bytes | None = None
        self._skipped = 0
        self._eof = False
        self._ready: deque[Message] = deque()
        # The events after those, last first, as the text that they are made of when they are asked for.
        self._bodies: list[str] = []
        # What came of a message that isn't whole yet, and what would end it.
        self._pieces: list[bytes] = []
        self._size = 0
        self._last = b""  # their last bytes
        self._in_follows = False
        self._too_large = False

    @property
    def unread(self) -> bytes:
        """The bytes of a message (or banner) that isn't whole yet."""
        return b"".join(self._pieces)

    def receive_data(self, data: bytes) -> None:
        """Feed what was read; empty bytes mean the end of the input."""
        if not data:
            self._receive_eof()
        elif self.state is State.CLOSED:
            return
        elif self._beginning is not None:
            self._skip(data)
        elif not self._pieces:
            self._cut(data)
        else:
            border = self._last + data[:_LONGEST_END]  # an end may lie across the border of two pieces
            self._pieces.append(data)
            self._size += len(data)
            self._last = (border if len(data) < _LONGEST_END else data)[-_LONGEST_END:]
            if self._may_end(border) or self._may_end(data):
                chunk = b"".join(self._pieces)
                self._put_aside(b"")
                self._cut(chunk)
            elif self._size > self._max_message:
                self._too_long()

    def next_message(self) -> Message | NeedData | Closed:
        """The next whole message; `NEED_DATA` when more must be read, `CLOSED` after the last.

        Raises:
            MessageTooLarge: a message passed the limit; close the connection.
        """
        if self._bodies and not self._ready:
            # Half the time of Event(…), which would run an __init__.
            event = _new(Event)
            event._text = self._bodies.pop()
            return event
        if self._ready:
            return self._ready.popleft()
        if self._too_large:
            raise MessageTooLarge(
                f"The PBX sent a message of more than {self._max_message} bytes; the session was given up.",
                sent=True,
            )
        return CLOSED if self._eof else NEED_DATA

    def next_events(self) -> list[Event]:
        """All events up to the next message that is none, at once; maybe none. Cheaper than one by one."""
        events: list[Event] = []
        while self._ready and isinstance(message := self._ready[0], Event):
            events.append(message)
            self._ready.popleft()
        if not self._ready and self._bodies:
            bodies, self._bodies = self._bodies, []
            bodies.reverse()
            events += map(Event, bodies)
        return events

    def _may_end(self, data: bytes) -> bool:
        if self._in_follows:
            return _END_COMMAND.search(data) is not None
        if self.state is State.BANNER:
            return b"\n" in data
        return b"\n\r\n" in data or b"\n\n" in data

    def _put_aside(self, rest: bytes) -> None:
        if rest:
            self._pieces = [rest]
            self._size = len(rest)
            self._last = rest[-_LONGEST_END:]
            if self._size > self._max_message:
                self._too_long()
        elif self._pieces:
            self._pieces, self._size, self._last = [], 0, b""

    def _cut(self, chunk: bytes) -> None:
        """Take all whole messages out of a chunk that begins with a message, and put the rest aside."""
        if self.state is State.BANNER:
            chunk = self._take_banner(chunk)
        if self.state is State.MESSAGES and not self._cut_by_split(chunk):
            self._cut_one_by_one(chunk)

    def _take_banner(self, chunk: bytes) -> bytes:
        while True:
            line, end, chunk_rest = chunk.partition(b"\n")
            if not end:
                self._put_aside(chunk)
                return b""
            line = line.removesuffix(b"\r")
            before, name, version = line.rpartition(_BANNER_NAME)
            if before or not line:
                self.anomalies.record("before_banner", before or b"\n")
            if line:
                break
            chunk = chunk_rest
        self._ready.append(Banner.from_raw(name + version if name else line))
        self.state = State.MESSAGES
        return chunk_rest

    def _cut_by_split(self, chunk: bytes) -> bool:
        """The quick way, for a chunk without any oddity; False (and nothing done) if there is one."""
        if self._in_follows or self.role == "server" or len(chunk) > self._max_message:
            return False
        end = chunk.rfind(b"\r\n\r\n")
        if end < 0:
            return False
        text = str(memoryview(chunk)[:end], "utf-8", "surrogateescape")
        newlines = io.IncrementalNewlineDecoder(None, translate=False)
        newlines.decode(text, final=True)
        if newlines.newlines not in ("\r\n", None):
            return False  # a bare LF or CR
        marks = chunk.translate(None, _NO_MARKS)
        blank_lines = marks.count(b"\n") - marks.count(b":\n")  # or lines without a colon
        if text[:7] == "Event: ":
            bodies = text[7:].split("\r\n\r\nEvent: ")
            if len(bodies) == blank_lines:
                self._put_events(bodies)
                self._put_aside(chunk[end + 4 :])
                return True
        parts = text.split("\r\n\r\n")
        if len(parts) != blank_lines:
            return False  # a line without a colon, or blank lines between messages
        messages: list[Message] = []
        for part in parts:
            if part[:7] == "Event: ":
                messages.append(Event(part[7:]))
            elif part[:10] == "Response: " and part[10:17].lower() != "follows":
                messages.append(Response(part[10:]))
            else:
                return False
        if self._bodies:
            self._make_events()
        self._ready.extend(messages)
        self._put_aside(chunk[end + 4 :])
        return True

    def _put_events(self, bodies: list[str]) -> None:
        if self._ready or self._bodies:
            self._make_events()
            self._ready.extend(map(Event, bodies))
        else:
            bodies.reverse()
            self._bodies = bodies

    def _make_events(self) -> None:
        """Make events of what waits to become some, since other messages are to follow them."""
        self._ready.extend(map(Event, reversed(self._bodies)))
        self._bodies.clear()

    def _cut_one_by_one(self, chunk: bytes) -> None:
        """The careful way, which notices and counts what is odd."""
        start = 0
        while True:
            start = _match_end(_LINE_ENDS, chunk, start)
            self._in_follows = _is_follows(chunk, start)
            found = (_END_COMMAND if self._in_follows else _BLANK_LINE).search(chunk, start)
            if found is None:
                break
            if self._in_follows:
                # END COMMAND stays: it is glued to an unterminated last line, and is cut off by the message.
                raw = chunk[start : found.start() + len(b"--END COMMAND--")]
                self._emit(raw, FollowsResponse)
            else:
                # Without the line end of its last line, be it CRLF or a bare LF.
                raw = chunk[start : found.start()]
                whole = raw.endswith(b"\r")
                self._emit(raw.removesuffix(b"\r"), None, ends_bare=not whole)
                if whole and found[0] == b"\n\n" and self.role == "client":
                    self.anomalies.record("bare_lf_blank", raw + found[0])
            start = found.end()
            self._in_follows = False
        self._put_aside(chunk[start:])

    def _emit(self, raw: bytes, kind: type[Message] | None, *, ends_bare: bool = False) -> None:
        if len(raw) > self._max_message:
            if self._may_be_cut(raw):
                beginning = _whole_lines(raw[: self._max_message])
                self._emit_cut(beginning, len(raw) - len(beginning))
                return
            self._fail_too_large()
        if self._too_large:
            return
        if kind is None:
            start = raw[:9].lower()
            if start.startswith(b"event:"):
                kind = OddEvent
            elif start.startswith(b"response:"):
                kind = OddResponse
            else:
                kind = Message
            if self.role == "client":
                self._notice(raw, kind, ends_bare)
        self._make_events()
        self._ready.append(kind.from_raw(raw))

    def _notice(self, raw: bytes, kind: type[Message], ends_bare: bool) -> None:
        if kind is Message:
            self.anomalies.record("unknown_kind", raw)
        if ends_bare or is_irregular(decode(raw)):
            self.anomalies.record("bare_lf", raw)
        # What follows a bare LF belongs to the value before it, and needs no colon.
        if any(b":" not in line for line in raw.split(b"\r\n")):
            self.anomalies.record("no_colon", raw)

    def _may_be_cut(self, raw: bytes) -> bool:
        return self._cut_answers and self.role == "client" and raw[:9].lower() == b"response:"

    def _too_long(self) -> None:
        """What was put aside is over the limit, and its end hasn't come."""
        raw = b"".join(self._pieces).lstrip(b"\r\n")
        if not self._may_be_cut(raw):
            self._fail_too_large()
            return
        self._in_follows = _is_follows(raw, 0)
        self._beginning = _whole_lines(raw[: self._max_message])
        self._skipped = len(raw) - len(self._beginning)
        self._pieces, self._size = [], 0

    def _skip(self, data: bytes) -> None:
        """Look for the end of an answer that is cut; what follows it is read as usual."""
        assert self._beginning is not None
        looked_at = self._last + data  # an end may lie across the border
        found = (_END_COMMAND if self._in_follows else _BLANK_LINE).search(looked_at)
        if found is None:
            self._skipped += len(data)
            self._last = looked_at[-_LONGEST_END:]
            return
        end = found.end() - len(self._last)
        self._emit_cut(self._beginning, self._skipped + end)
        self._beginning, self._in_follows, self._last = None, False, b""
        if rest := data[end:]:
            self._cut(rest)

    def _emit_cut(self, beginning: bytes, missing: int) -> None:
        self._make_events()
        kind = FollowsResponse if _is_follows(beginning, 0) else OddResponse
        response = kind.from_raw(beginning)
        response._missing = missing
        self._ready.append(response)

    def _fail_too_large(self) -> None:
        self._too_large = True
        self.state = State.CLOSED
        self._pieces = []
        self._size = 0

    def _receive_eof(self) -> None:
        if self._eof:
            return
        self._eof = True
        if self._beginning is not None:
            self.anomalies.record("truncated", self._beginning)
            self._beginning = None
        if self.unread.strip(b"\r\n"):
            # A message cut in the middle: counted, and not handed on as if it were whole.
            self.anomalies.record("truncated", self.unread)
        self._put_aside(b"")
        self.state = State.CLOSED


def _match_end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    match = pattern.match(data, start)
    assert match is not None  # it matches nothing, too
    return match.end()


def _whole_lines(data: bytes) -> bytes:
    """The lines at the beginning that are whole, without the line end of the last."""
    return data[: data.rfind(b"\n") + 1].removesuffix(b"\n").removesuffix(b"\r")


def _is_follows(chunk: bytes, start: int) -> bool:
    line = chunk[start : start + 32].partition(b"\n")[0].lower()
    name, _, value = line.partition(b":")
    return name == b"response" and value.strip() == b"follows"
